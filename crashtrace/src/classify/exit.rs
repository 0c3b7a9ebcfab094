//! Ends of containers' first processes: who or what ended them.
//!
//! The first row that fits decides. "The runtime" and the others are told by the cgroup, user and namespaces of the signal's
//! sender (`sender.rs`).
//!
//! | what the kernel saw | what Kubernetes says | cause | ended by |
//! |---|---|---|---|
//! | an OOM decision chose the process, and no other SIGKILL was first | | that of the OOM kill, with its level | `oom_killer` |
//! | SIGKILL, no other one first, and the kernel had marked it as OOM victim; no record of the decision names it | | `unknown` | `oom_killer` |
//! | the status could not be read | | `unknown` | none |
//! | the runtime's signal (usually SIGTERM) within the grace period before the end, or its SIGKILL | an Event `Killing` of this run: a probe failed | `health_check` | `runtime` |
//! | the same | the pod's `status.reason`, its condition `DisruptionTarget`, its deletion; then an Event of this run | `stopped` | `runtime` |
//! | the same; and processes that came by `exec` failed at a probe's interval, the last just before | nothing | `health_check`, inferred | `runtime` |
//! | the same | the API server says that the pod goes on, the container has a liveness or startup probe, and no Event of this run comes | `health_check`, inferred | `runtime` |
//! | the same | nothing | `unknown` | `runtime` |
//! | SIGHUP, SIGINT, SIGQUIT, SIGTERM or SIGKILL of the same container, or `exit` with 0, 130, 137, 143 or 128 and the signal that it got | the pod's `status.reason`, its condition `DisruptionTarget`, its deletion | `stopped`, inferred | `same_container`, or `itself` |
//! | another process's signal, and the status is that signal | | `killed` | by sender |
//! | another process's SIGHUP, SIGINT, SIGQUIT or SIGTERM at most 10 s before it called `exit` | | `killed`, inferred | by sender |
//! | SIGKILL, since process 1 of its pid namespace ended | an Event `SandboxChanged` of this run | `stopped` | `pid_namespace` |
//! | the same | nothing | `killed` | `pid_namespace` |
//! | SIGKILL by the kernel in its own timer tick, with a hard limit of CPU time or SIGXCPU before | | `container_exit`; inferred without a SIGXCPU before | `cpu_limit` |
//! | another signal of the kernel | | `unknown` | `kernel` |
//! | it had not executed a program | | `container_exit` | `itself` |
//! | a fault, or a limit of its own | | `container_exit` | `fault` |
//! | a signal that it raised; SIGABRT, where the fault behind it in `abort` is the status | | `container_exit` | `itself` |
//! | `exit` | | `container_exit` | `itself` |
//! | a signal of which there is no record | | `unknown` | none |
//!
//! A signal of the runtime precedes what Kubernetes knows: a process that ignores SIGTERM and exits within the grace period, or
//! exits with whatever code while it shuts down, was still told to stop. Where the grace period is not known, so does an end up to
//! 10 minutes after one of the signals that stop programs (SIGTERM, SIGINT, SIGQUIT, SIGWINCH, real-time), 10 s after another. A
//! crash that the kernel saw is a crash where the grace period is over or not known.
//!
//! A hook `preStop` may end the program itself, and then the runtime has nothing left to send a signal to. So a pod that ends explains
//! an end that looks like a stop. It does not explain a crash, nor another exit code: those are failures whatever the pod does. Nor does it
//! where the pod went on when the end was read: it was deleted later.
//!
//! kubelet drops Events of a pod once it has written 25 of them, and those of a crash loop are such. Of a pod that goes on it stops a
//! container for a failed probe, a changed spec, or a failed hook `postStart` (`computePodActions`, `pkg/kubelet/kuberuntime`).

use super::{Facts, NoWord, Open, Reason, Verdict, certainty};
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::event::signals::{
    SIGABRT, SIGHUP, SIGILL, SIGINT, SIGKILL, SIGQUIT, SIGSEGV, SIGTERM, SIGTRAP, SIGXCPU, SIGXFSZ,
};
use crate::event::{Outcome, Raised, Signal, WaitStatus};
use crate::names::Probe;
use crate::schema::{Cause, Certainty, EndedBy, ExitField, Field, ProbeKind, Stop, VerdictField};

mod contradictions;
mod scene;
mod sender;
mod word;

pub use contradictions::Contradiction;
use scene::Scene;
use word::Word;

/// A process that handles a signal ends soon.
const HANDLES_WITHIN_NS: u64 = 10_000_000_000;
/// An end this soon after the runtime's signal leaves no time for another reason to stop the container.
const AT_ONCE_NS: u64 = 2_000_000_000;

/// The facts behind the verdict on a container's end.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitFacts {
    /// The row of the table that fits.
    pub row: Row,
    /// Who or what ended it.
    pub ended_by: Option<EndedBy>,
    /// Who sent its latest fatal signal but SIGKILL, and who its SIGKILL.
    pub asked_by: Option<EndedBy>,
    /// See `asked_by`.
    pub killed_by: Option<EndedBy>,
    /// The probe that failed.
    pub probe: Option<FailedProbe>,
    /// Why Kubernetes ended it on purpose.
    pub stop: Option<Stop>,
    /// It did not end upon the runtime's signal, and the runtime killed it.
    pub ignored_term: bool,
    /// An OOM decision had chosen it, but it ended for another reason.
    pub oom_too_late: bool,
    /// It called `abort`, and the status has the fault that followed a SIGABRT that the kernel had dropped.
    pub hidden_abort: bool,
    /// Contradictions of the status and the kernel.
    pub contradictions: Vec<Contradiction>,
    /// The pod's Events decide, or could.
    pub wants_events: bool,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    Oom,
    OomUnseen,
    StatusUnread,
    HealthCheck,
    Stopped,
    Runtime,
    Killed,
    /// It called `exit` upon the signal.
    KilledByHandled,
    PidNamespace,
    CpuLimit,
    Kernel,
    NotStarted,
    Fault,
    OwnSignal,
    Exited,
    SignalUnseen,
}

/// A probe that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedProbe {
    pub kind: ProbeKind,
    /// What it reported last.
    pub message: Option<String>,
    pub spec: Option<Probe>,
    /// Processes of it that the kernel saw fail, at its interval, as many as are stored.
    pub execs: usize,
    /// Nothing says that it failed: it is what is left of kubelet's reasons.
    pub unsaid: bool,
}

/// What the table gives.
struct Found {
    row: Row,
    cause: Cause,
    ended_by: Option<EndedBy>,
    probe: Option<FailedProbe>,
    stop: Option<Stop>,
    inferred: Vec<Field>,
    open: Option<Reason>,
}

const CAUSE: Field = Field::Verdict(VerdictField::Cause);
const LEVEL: Field = Field::Verdict(VerdictField::Level);

pub(super) fn verdict(case: &Case, end: &ContainerEnd) -> Verdict {
    let scene = Scene::of(case, end);
    let found = scene.decide();
    let oom = case.exit.as_ref().and_then(|exit| exit.oom.as_ref()).filter(|_| found.row == Row::Oom);
    let mut unresolved = Vec::new();
    if let Some(reason) = found.open.filter(|_| found.cause == Cause::Unknown) {
        unresolved.push(Open { field: CAUSE, reason });
    }
    if found.ended_by.is_none() {
        let reason = found.open.unwrap_or(Reason::SenderUnknown);
        unresolved.push(Open { field: Field::Exit(ExitField::EndedBy), reason });
    }
    Verdict {
        cause: found.cause,
        shortage: None,
        level: oom.and_then(|oom| oom.level),
        origin: None,
        constraint: None,
        limit: None,
        kubernetes: None,
        certainty: certainty(&found.inferred),
        inferred: found.inferred,
        unresolved,
        assessment: None,
        facts: Facts::Exit(ExitFacts {
            row: found.row,
            ended_by: found.ended_by,
            asked_by: scene.asked_by,
            killed_by: scene.killed_by,
            probe: found.probe,
            stop: found.stop,
            ignored_term: scene.ignored_term(),
            hidden_abort: found.row == Row::OwnSignal && scene.has_hidden_abort(),
            oom_too_late: (end.oom.is_some() || end.event.oom_marked)
                && !matches!(found.row, Row::Oom | Row::OomUnseen | Row::StatusUnread),
            contradictions: contradictions::find(&scene, found.row),
            wants_events: scene.wants_events(found.row),
        }),
    }
}

impl Found {
    fn new(row: Row, cause: Cause, ended_by: Option<EndedBy>) -> Self {
        Self { row, cause, ended_by, probe: None, stop: None, inferred: Vec::new(), open: None }
    }

    fn open(self, reason: Reason) -> Self {
        Self { open: Some(reason), ..self }
    }

    fn inferring(self, inferred: &[Field]) -> Self {
        Self { inferred: inferred.to_vec(), ..self }
    }

    fn stopped(stop: Stop, ended_by: EndedBy) -> Self {
        Self { stop: Some(stop), ..Self::new(Row::Stopped, Cause::Stopped, Some(ended_by)) }
    }

    fn probe(probe: FailedProbe) -> Self {
        Self { probe: Some(probe), ..Self::new(Row::HealthCheck, Cause::HealthCheck, Some(EndedBy::Runtime)) }
    }
}

impl Scene<'_> {
    fn decide(&self) -> Found {
        let found = self.by_what_the_kernel_saw();
        self.in_an_ending_pod(&found).unwrap_or(found)
    }

    /// A pod that ends can end its processes without a signal of the runtime.
    fn in_an_ending_pod(&self, found: &Found) -> Option<Found> {
        if self.context().is_some_and(|context| context.pod_went_on) {
            return None;
        }
        let asked = self.event.asked.as_ref().filter(|_| found.row == Row::KilledByHandled);
        let of_signal = |number: u8| asked.is_some_and(|asked| asked.number == number);
        let is_a_stop = match (found.row, self.event.status?) {
            (Row::Exited | Row::KilledByHandled, WaitStatus::Exited { code }) => {
                matches!(code, 0 | 130 | 137 | 143) || code.checked_sub(128).is_some_and(of_signal)
            }
            (Row::Killed, WaitStatus::Signaled { signal, .. }) => {
                found.ended_by == Some(EndedBy::SameContainer)
                    && matches!(signal, SIGHUP | SIGINT | SIGQUIT | SIGTERM | SIGKILL)
            }
            _ => false,
        };
        let of_pod = matches!(found.ended_by, Some(EndedBy::Itself | EndedBy::SameContainer));
        let why = word::of_status(&self.names()?.life).filter(|_| is_a_stop && of_pod)?;
        let stopped = Found::stopped(why, found.ended_by?);
        Some(stopped.inferring(&[CAUSE, Field::Exit(ExitField::Stop)]))
    }

    fn by_what_the_kernel_saw(&self) -> Found {
        if self.end.oom.is_some() && self.may_be_by_oom() {
            return self.by_oom();
        }
        if self.event.oom_marked && self.signal() == Some(SIGKILL) && self.may_be_by_oom() {
            return Found::new(Row::OomUnseen, Cause::Unknown, Some(EndedBy::OomKiller))
                .open(Reason::OomKillUnseen);
        }
        let Some(status) = self.event.status else {
            return Found::new(Row::StatusUnread, Cause::Unknown, None).open(Reason::Unreadable);
        };
        if let Some(signal) = self.runtimes_signal() {
            return self.by_runtime(signal.ktime_ns);
        }
        if let Some(kill) = self.kill() {
            return self.by_kill(kill);
        }
        if let Some(found) = self.event.asked.as_ref().and_then(|asked| self.by_asked(status, asked)) {
            return found;
        }
        let own = |row, ended_by| Found::new(row, Cause::ContainerExit, Some(ended_by));
        match status {
            WaitStatus::Exited { .. } if self.event.before_exec => own(Row::NotStarted, EndedBy::Itself),
            WaitStatus::Exited { .. } => own(Row::Exited, EndedBy::Itself),
            WaitStatus::Signaled { signal, .. } => match self.event.raised.as_ref() {
                Some(raised) if raised.number != signal && is_abort(raised, signal) => {
                    own(Row::OwnSignal, EndedBy::Itself)
                }
                Some(raised) if raised.number == signal && is_fault(raised) => {
                    own(Row::Fault, EndedBy::Fault)
                }
                Some(raised) if raised.number == signal => own(Row::OwnSignal, EndedBy::Itself),
                _ => Found::new(Row::SignalUnseen, Cause::Unknown, None).open(Reason::SignalUnseen),
            },
        }
    }

    /// Also a process that is ending can be chosen: the kernel prefers it. A status that could not be read says nothing else.
    fn may_be_by_oom(&self) -> bool {
        let others = |kill: &Signal| !kill.is_kernels() && kill.outcome != Outcome::Ignored;
        self.event.status.is_none_or(|status| status.signal() == Some(SIGKILL))
            && !self.event.killed.as_ref().is_some_and(others)
    }

    fn has_hidden_abort(&self) -> bool {
        let hidden = |raised: &Raised| self.signal().is_some_and(|signal| is_abort(raised, signal));
        self.event.raised.as_ref().is_some_and(hidden)
    }

    fn by_oom(&self) -> Found {
        let oom = self.context().and_then(|context| context.oom.as_ref());
        let by = Some(EndedBy::OomKiller);
        match oom {
            None => Found::new(Row::Oom, Cause::Unknown, by).open(Reason::OomVerdictUnknown),
            Some(oom) => {
                let inferred: &[Field] = match oom.certainty {
                    Certainty::Inferred if oom.level_is_inferred => &[LEVEL],
                    Certainty::Inferred => &[CAUSE],
                    Certainty::Observed => &[],
                };
                Found::new(Row::Oom, oom.cause, by).inferring(inferred).open(Reason::CauseUnknown)
            }
        }
    }

    /// The runtime was told to end it, and sent its first signal at this time.
    fn by_runtime(&self, at_ns: u64) -> Found {
        let events = self.context().and_then(|context| context.events.as_ref());
        let word = events.and_then(|events| word::of_events(self, events, at_ns));
        let stop = |stop| Found::stopped(stop, EndedBy::Runtime);
        let of_status = self.names().and_then(|names| word::of_status(&names.life));
        match (word, of_status) {
            (Some(Word::Probe(probe)), _) => return Found::probe(probe),
            // A change of the container is not for the pod's end.
            (Some(Word::Stop(why @ (Stop::PostStartHook | Stop::SpecChanged))), Some(Stop::Deleted)) => {
                return stop(why);
            }
            (_, Some(why)) | (Some(Word::Stop(why)), None) => return stop(why),
            (Some(Word::PodEnds), None) => {
                return stop(word::of_ending_pod(self)).inferring(&[Field::Exit(ExitField::Stop)]);
            }
            (None, None) => {}
        }
        if let Some(probe) = word::of_execs(self, at_ns) {
            return Found::probe(probe).inferring(&[CAUSE, Field::Exit(ExitField::Probe)]);
        }
        if let Some(probe) = events.and_then(|events| word::of_silence(self, events)) {
            return Found::probe(probe).inferring(&[CAUSE, Field::Exit(ExitField::Probe)]);
        }
        let why = match events {
            _ if !self.is_in_pod() => NoWord::NoPod,
            None => NoWord::NotLookedUp,
            Some(events) if events.missing.is_some() => NoWord::EventsMissing,
            Some(_) => NoWord::NoneFits,
        };
        Found::new(Row::Runtime, Cause::Unknown, Some(EndedBy::Runtime)).open(Reason::RuntimesReason(why))
    }

    fn by_kill(&self, kill: &Signal) -> Found {
        match self.killed_by {
            Some(EndedBy::Itself) => Found::new(Row::OwnSignal, Cause::ContainerExit, Some(EndedBy::Itself)),
            Some(EndedBy::CpuLimit) => {
                let soft = self.event.raised.as_ref().is_some_and(|raised| raised.number == SIGXCPU);
                let inferred: &[Field] = if soft { &[] } else { &[Field::Exit(ExitField::EndedBy)] };
                Found::new(Row::CpuLimit, Cause::ContainerExit, Some(EndedBy::CpuLimit)).inferring(inferred)
            }
            Some(EndedBy::PidNamespace) => self.by_pid_namespace(kill.ktime_ns),
            Some(by @ (EndedBy::Kernel | EndedBy::OomKiller)) => {
                Found::new(Row::Kernel, Cause::Unknown, Some(by)).open(Reason::KernelsReason)
            }
            by => Found::new(Row::Killed, Cause::Killed, by).open(Reason::SenderUnknown),
        }
    }

    fn by_pid_namespace(&self, at_ns: u64) -> Found {
        let events = self.context().and_then(|context| context.events.as_ref());
        let word = events.and_then(|events| word::of_events(self, events, at_ns));
        match word {
            Some(Word::Stop(Stop::SandboxChanged)) => {
                Found::stopped(Stop::SandboxChanged, EndedBy::PidNamespace)
            }
            _ => Found::new(Row::PidNamespace, Cause::Killed, Some(EndedBy::PidNamespace)),
        }
    }

    /// Another process than the runtime sent a signal that is not SIGKILL.
    fn by_asked(&self, status: WaitStatus, asked: &Signal) -> Option<Found> {
        if asked.outcome == Outcome::Ignored || self.asked_by == Some(EndedBy::Itself) {
            return None;
        }
        match status {
            WaitStatus::Signaled { signal, .. } if signal == asked.number && asked.is_kernels() => Some(
                Found::new(Row::Kernel, Cause::Unknown, Some(EndedBy::Kernel)).open(Reason::KernelsReason),
            ),
            WaitStatus::Signaled { signal, .. } if signal == asked.number => {
                Some(Found::new(Row::Killed, Cause::Killed, self.asked_by).open(Reason::SenderUnknown))
            }
            WaitStatus::Exited { .. }
                if matches!(asked.number, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
                    && !asked.is_kernels()
                    && self.since(asked) <= HANDLES_WITHIN_NS =>
            {
                let found = Found::new(Row::KilledByHandled, Cause::Killed, self.asked_by);
                Some(found.inferring(&[CAUSE, Field::Exit(ExitField::EndedBy)]).open(Reason::SenderUnknown))
            }
            _ => None,
        }
    }

    fn is_in_pod(&self) -> bool {
        self.owner.is_some_and(|owner| owner.placement.is_in_pod())
    }

    /// Events decide where the runtime ended it, unless the pod's own end explains it: then only if a probe could have been first.
    fn wants_events(&self, row: Row) -> bool {
        if !self.is_in_pod() || matches!(row, Row::Oom | Row::OomUnseen | Row::StatusUnread) {
            return false;
        }
        let by_namespace = self.kill().is_some() && self.killed_by == Some(EndedBy::PidNamespace);
        let Some(signal) = self.runtimes_signal() else { return by_namespace };
        let events = self.context().and_then(|context| context.events.as_ref());
        let word = events.and_then(|events| word::of_events(self, events, signal.ktime_ns));
        if word.is_some_and(|word| word != Word::PodEnds) {
            return false;
        }
        let explained = self.names().is_some_and(|names| word::of_status(&names.life).is_some());
        let probed = self.life().is_none_or(|life| life.liveness.is_some() || life.startup.is_some());
        !explained || (probed && self.since(signal) > AT_ONCE_NS)
    }
}

/// `abort` raises SIGABRT, which process 1 of a pid namespace without a handler does not get, and then executes an instruction that
/// faults (`abort.c` of glibc, `abort.c` of musl: `hlt` is SIGSEGV, `ud2` SIGILL, `brk` SIGTRAP).
fn is_abort(raised: &Raised, status: u8) -> bool {
    raised.number == SIGABRT && matches!(status, SIGILL | SIGTRAP | SIGSEGV)
}

/// The kernel raised it for what the process did: a fault, or a limit of its own. The kernel sends SIGXFSZ as if from the process
/// itself (`SEND_SIG_NOINFO`; `generic_write_check_limits`, `fs/read_write.c`, 5.10 to 7.3).
fn is_fault(raised: &Raised) -> bool {
    raised.code > 0 || raised.number == SIGXFSZ
}
