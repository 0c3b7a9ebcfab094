//! Ends of containers' first processes: who or what ended them.
//!
//! The first row that fits decides. "The runtime" and the others are told by the cgroup, user and namespaces of the signal's
//! sender (`sender.rs`).
//!
//! | what the kernel saw | what Kubernetes says | cause | ended by |
//! |---|---|---|---|
//! | an OOM decision killed the process | | that of the OOM kill, with its level | `oom_killer` |
//! | SIGKILL, and the kernel had marked it as OOM victim; no record of the decision names it | | `unknown` | `oom_killer` |
//! | the status could not be read | | `unknown` | none |
//! | the runtime's signal (usually SIGTERM) within the grace period before the end, or its SIGKILL | an Event `Killing` of this run: a probe failed | `health_check` | `runtime` |
//! | the same | the pod's `status.reason`, its condition `DisruptionTarget`, its deletion; then an Event of this run | `stopped` | `runtime` |
//! | the same; and processes that came by `exec` failed at a probe's interval, the last just before | nothing | `health_check`, inferred | `runtime` |
//! | the same | nothing | `unknown` | `runtime` |
//! | another process's signal, and the status is that signal | | `killed` | by sender |
//! | another process's SIGHUP, SIGINT, SIGQUIT or SIGTERM at most 10 s before it called `exit` | | `killed`, inferred | by sender |
//! | SIGKILL, since process 1 of its pid namespace ended | an Event `SandboxChanged` of this run | `stopped` | `pid_namespace` |
//! | the same | nothing | `killed` | `pid_namespace` |
//! | SIGKILL by the kernel in its own timer tick | | `container_exit`; inferred without a SIGXCPU before | `cpu_limit` |
//! | another signal of the kernel | | `unknown` | `kernel` |
//! | it had not executed a program | | `container_exit` | `itself` |
//! | a fault, or a limit of its own | | `container_exit` | `fault` |
//! | a signal that it raised | | `container_exit` | `itself` |
//! | `exit` | | `container_exit` | `itself` |
//! | a signal of which there is no record | | `unknown` | none |
//!
//! A signal of the runtime precedes what Kubernetes knows: a process that ignores SIGTERM and exits within the grace period, or
//! crashes while it shuts down, was still told to stop. Where the grace period is not known, any end after it counts as such.

use super::{Facts, NoWord, Open, Reason, Verdict, certainty};
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::event::{Outcome, Raised, Signal, WaitStatus};
use crate::names::Probe;
use crate::schema::{Cause, Certainty, EndedBy, ExitField, Field, ProbeKind, Stop, VerdictField};

mod contradictions;
mod scene;
mod sender;
mod word;

pub use contradictions::Contradiction;
use scene::Scene;
pub use sender::{SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGXCPU};
use word::Word;

/// A process that handles a signal ends soon.
const HANDLES_WITHIN_NS: u64 = 10_000_000_000;
/// An end this soon after the runtime's signal leaves no time for another reason to stop the container.
const AT_ONCE_NS: u64 = 2_000_000_000;

/// The facts behind the verdict on a container's end.
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
        if self.end.oom.is_some() {
            return self.by_oom();
        }
        if self.event.oom_marked && self.signal() == Some(SIGKILL) {
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
            WaitStatus::Signaled { signal, .. } => {
                match self.event.raised.as_ref().filter(|raised| raised.number == signal) {
                    Some(raised) if is_fault(raised) => own(Row::Fault, EndedBy::Fault),
                    Some(_) => own(Row::OwnSignal, EndedBy::Itself),
                    None => Found::new(Row::SignalUnseen, Cause::Unknown, None).open(Reason::SignalUnseen),
                }
            }
        }
    }

    fn by_oom(&self) -> Found {
        let oom = self.context().and_then(|context| context.oom.as_ref());
        let by = Some(EndedBy::OomKiller);
        match oom {
            None => Found::new(Row::Oom, Cause::Unknown, by).open(Reason::OomVerdictUnknown),
            Some(oom) => {
                let inferred: &[Field] = if oom.certainty == Certainty::Inferred { &[CAUSE] } else { &[] };
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
                return match word::of_ending_pod(self) {
                    Stop::PodDone => stop(Stop::PodDone).inferring(&[Field::Exit(ExitField::Stop)]),
                    why => stop(why),
                };
            }
            (None, None) => {}
        }
        if let Some(probe) = word::of_execs(self, at_ns) {
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
        let explained = self.names().is_some_and(|names| word::of_status(&names.life).is_some());
        let probed = self.life().is_none_or(|life| life.liveness.is_some() || life.startup.is_some());
        !explained || (probed && self.since(signal) > AT_ONCE_NS)
    }
}

/// The kernel raised it for what the process did: a fault, or a limit of its own. The kernel sends SIGXFSZ as if from the process
/// itself (`SEND_SIG_NOINFO`; `generic_write_check_limits`, `fs/read_write.c`, 5.10 to 7.3).
fn is_fault(raised: &Raised) -> bool {
    const SIGXFSZ: u8 = 25;
    raised.code > 0 || raised.number == SIGXFSZ
}
