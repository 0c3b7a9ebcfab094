//! Ends of containers' first processes.

use super::{Description, owner};
use crate::classify::{ExitFacts, FailedProbe, Row, Verdict};
use crate::correlate::ContainerEnd;
use crate::enrich::{Case, Party};
use crate::event::signals::SIGKILL;
use crate::event::{ContainerExit, Signal, WaitStatus};
use crate::names::{Names, ProbeAction};
use crate::phrase::{self, span};
use crate::schema::{EndedBy, ProbeKind, Stop};

mod contradictions;
mod evidence;
mod log;
mod remedy;
#[cfg(test)]
mod tests;

/// What the sentences are about.
struct Told<'a> {
    case: &'a Case,
    end: &'a ContainerEnd,
    event: &'a ContainerExit,
    verdict: &'a Verdict,
    facts: &'a ExitFacts,
}

pub(super) fn end(case: &Case, end: &ContainerEnd, verdict: &Verdict, facts: &ExitFacts) -> Description {
    let told = Told { case, end, event: &end.event, verdict, facts };
    Description {
        summary: told.summary(),
        evidence: evidence::sentences(&told),
        remedy: remedy::of(&told),
        contradictions: contradictions::sentences(&told),
        ..Description::default()
    }
}

impl<'a> Told<'a> {
    fn names(&self) -> Option<&'a Names> {
        self.case.exited()?.owner.names.as_deref()
    }

    fn ran_ns(&self) -> Option<u64> {
        Some(self.event.stamp.ktime_ns.saturating_sub(self.event.task.start_boottime_ns?))
    }

    fn before_end(&self, ktime_ns: u64) -> u64 {
        self.event.stamp.ktime_ns.saturating_sub(ktime_ns)
    }

    fn subject(&self) -> String {
        self.case.exited().map_or_else(|| phrase::process(&self.event.task), owner)
    }

    /// ` after 12.3 s`
    fn after(&self) -> String {
        self.ran_ns().map_or_else(String::new, |ran| format!(" after {}", span(ran)))
    }

    fn summary(&self) -> String {
        let (subject, after) = (self.subject(), self.after());
        let how = self.how();
        match self.facts.row {
            Row::Oom => match self.case.exit.as_ref().and_then(|exit| exit.oom.as_ref()) {
                Some(oom) => {
                    // Its own limit: the container need not be named again.
                    let rest = oom.summary.strip_prefix(&subject).map(|rest| format!("it{rest}"));
                    let why = rest.as_deref().unwrap_or(&oom.summary);
                    format!("{subject} was killed by the OOM killer{after}: {why}")
                }
                None => format!("{subject} was killed by the OOM killer{after}"),
            },
            Row::OomUnseen => {
                format!("{subject} was killed by the OOM killer{after}; there is no record of that OOM kill")
            }
            Row::StatusUnread => format!("{subject} ended{after}; its status could not be read"),
            Row::HealthCheck => format!("{subject} {}; {how}", self.probe()),
            Row::Stopped => format!("{subject} was stopped: {}; {how}", self.stop()),
            Row::Runtime => {
                format!("{subject} was stopped by the container runtime{after}, and why is not known; {how}")
            }
            Row::Killed => format!("{subject} was killed by {}{after}", self.signal_from()),
            Row::KilledByHandled => format!("{subject} {how}, {}", self.upon()),
            Row::PidNamespace => {
                format!(
                    "{subject} was killed{after} because process 1 of its pid namespace, {}, ended",
                    self.killer()
                )
            }
            Row::CpuLimit => format!("{subject} was killed{after} at its limit of CPU time (RLIMIT_CPU)"),
            Row::Kernel => format!("{subject} was killed by the kernel{after}: {how}"),
            Row::NotStarted => format!(
                "{subject} did not start: {} of the container runtime {how} before it executed the container's program",
                phrase::process(&self.event.task)
            ),
            Row::OwnSignal if self.facts.hidden_abort => {
                format!("{subject} called abort(){after}, which the status shows as {how}")
            }
            Row::Fault | Row::OwnSignal => {
                match self.event.raised.as_ref().filter(|_| self.killed().is_none()) {
                    Some(raised) => {
                        let verb =
                            if self.facts.row == Row::Fault { "crashed with" } else { "ended by its own" };
                        let signal = phrase::signal(raised.number);
                        format!("{subject} {verb} {signal}{after}: {}", phrase::raised(raised))
                    }
                    None => format!("{subject} sent itself SIGKILL{after}"),
                }
            }
            Row::Exited => format!("{subject} {how}{after}"),
            Row::SignalUnseen => format!("{subject} {how}{after}; no record tells who sent that signal"),
        }
    }

    /// How it ended: `exited with code 1`; after the runtime's signal: `it ignored SIGTERM and was killed after 4.0 s`.
    fn how(&self) -> String {
        let told = self.event.asked.as_ref().filter(|_| self.facts.asked_by == Some(EndedBy::Runtime));
        let by_runtime = matches!(self.facts.row, Row::HealthCheck | Row::Stopped | Row::Runtime);
        let status = match self.event.status {
            None => "ended".to_owned(),
            Some(WaitStatus::Exited { code }) => format!("exited with code {code}"),
            Some(WaitStatus::Signaled { signal, core_dumped }) => {
                let core = if core_dumped { " (core dumped)" } else { "" };
                format!("ended by {}{core}", phrase::signal(signal))
            }
        };
        match told.filter(|_| by_runtime) {
            Some(asked) if self.facts.ignored_term => {
                let since = self.killed().map_or(0, |kill| kill.ktime_ns.saturating_sub(asked.ktime_ns));
                format!(
                    "it did not end upon {} and was killed after {}",
                    phrase::signal(asked.number),
                    span(since)
                )
            }
            Some(asked) => {
                let since = span(self.before_end(asked.ktime_ns));
                format!("it {status} {since} after {}", phrase::signal(asked.number))
            }
            None if by_runtime => format!("it {status}"),
            None => status,
        }
    }

    fn killed(&self) -> Option<&'a Signal> {
        self.event.killed.as_ref()
    }

    /// The signal that killed it, and its sender.
    fn signal_from(&self) -> String {
        match self.decisive() {
            Some((signal, by, party)) => {
                format!("{} from {}", phrase::signal(signal.number), sender(signal, by, party))
            }
            None => "a signal".to_owned(),
        }
    }

    /// `2.0 s after SIGTERM from ...`
    fn upon(&self) -> String {
        match self.decisive() {
            Some((signal, ..)) => {
                format!("{} after {}", span(self.before_end(signal.ktime_ns)), self.signal_from())
            }
            None => "after a signal".to_owned(),
        }
    }

    /// The signal of another process that ended it, who sent it, and the sender's owner.
    fn decisive(&self) -> Option<(&'a Signal, Option<EndedBy>, Option<&'a Party>)> {
        let by_kill = self.event.status.and_then(WaitStatus::signal) == Some(SIGKILL);
        match self.killed().filter(|_| by_kill) {
            Some(kill) => Some((kill, self.facts.killed_by, self.killers_owner())),
            None => Some((self.event.asked.as_ref()?, self.facts.asked_by, self.owner_of_asked())),
        }
    }

    fn killers_owner(&self) -> Option<&'a Party> {
        self.case.owners.killed()?.nearest().ok()
    }

    fn owner_of_asked(&self) -> Option<&'a Party> {
        self.case.owners.asked()?.nearest().ok()
    }

    fn killer(&self) -> String {
        self.killed().map_or_else(|| "a process".to_owned(), |kill| phrase::process(&kill.sender.task))
    }

    /// `failed its liveness probe (HTTP GET, 3 times in a row, every 10 s: connection refused)`
    fn probe(&self) -> String {
        let Some(probe) = &self.facts.probe else { return "failed a probe".to_owned() };
        let name = match probe.kind {
            // Processes of a readiness probe look the same, and its failures end nothing.
            ProbeKind::Unknown if !probe.unsaid => "a liveness, startup (or readiness) probe".to_owned(),
            ProbeKind::Unknown => "a liveness or startup probe".to_owned(),
            kind => format!("its {} probe", kind_name(kind)),
        };
        let said =
            probe.message.as_deref().map_or_else(String::new, |said| format!(": {}", phrase::quoted(said)));
        match settings(probe) {
            settings if settings.is_empty() => format!("failed {name}{said}"),
            settings => format!("failed {name} ({settings}{said})"),
        }
    }

    fn stop(&self) -> String {
        let message = self.names().and_then(|names| names.life.message.as_deref());
        let message = message.map_or_else(String::new, |said| format!(" ({})", phrase::quoted(said)));
        match self.facts.stop.unwrap_or(Stop::Other) {
            Stop::Deleted => "its pod was deleted (by a user, a rollout or a scale-down)".to_owned(),
            Stop::Drained => "its pod was evicted through the API, as for a drain of the node".to_owned(),
            Stop::Evicted => format!("kubelet evicted its pod{message}"),
            Stop::Preempted => format!("its pod made room for one of a higher priority{message}"),
            Stop::DeadlineExceeded => "its pod ran for longer than activeDeadlineSeconds allows".to_owned(),
            Stop::NodeShutdown => format!("the node shuts down{message}"),
            Stop::PodDone => "its pod's other containers have ended, and it is a sidecar".to_owned(),
            Stop::PostStartHook => "its hook postStart failed".to_owned(),
            Stop::SandboxChanged => "its pod's sandbox ended, and all its containers start anew".to_owned(),
            Stop::SpecChanged => {
                "its spec changed in a way that needs a restart (a resize, for one)".to_owned()
            }
            Stop::Other => {
                let reason = self.names().and_then(|names| {
                    let life = &names.life;
                    life.reason.as_deref().or(life.disruption.as_deref())
                });
                let reason = reason.map_or_else(|| "for a reason of its own".to_owned(), phrase::quoted);
                format!("Kubernetes ended its pod, {reason}{message}")
            }
        }
    }
}

fn kind_name(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Liveness => "liveness",
        ProbeKind::Startup => "startup",
        ProbeKind::Unknown => "liveness or startup",
    }
}

/// `HTTP GET, 3 times in a row, every 10 s`
fn settings(probe: &FailedProbe) -> String {
    match &probe.spec {
        Some(spec) => {
            let action = match spec.action {
                ProbeAction::Exec => "exec",
                ProbeAction::HttpGet => "HTTP GET",
                ProbeAction::TcpSocket => "TCP",
                ProbeAction::Grpc => "gRPC",
            };
            match spec.failure_threshold {
                0 | 1 => format!("{action}, once"),
                times => format!("{action}, {times} times in a row, every {} s", spec.period_seconds),
            }
        }
        None if probe.execs > 0 => format!("exec, {} failures in a row", probe.execs),
        None => String::new(),
    }
}

/// `bash (pid 812, uid 1000) of host unit session-3.scope`
fn sender(signal: &Signal, by: Option<EndedBy>, party: Option<&Party>) -> String {
    let task = &signal.sender.task;
    let comm = task.comm.as_ref().or(task.thread_comm.as_ref());
    let comm = comm.map_or_else(|| "a process".to_owned(), |comm| phrase::path(&comm.0));
    let ids: Vec<_> = [task.pid.map(|pid| format!("pid {pid}")), task.uid.map(|uid| format!("uid {uid}"))]
        .into_iter()
        .flatten()
        .collect();
    let ids = if ids.is_empty() { String::new() } else { format!(" ({})", ids.join(", ")) };
    let place = match by {
        None => " of an unknown cgroup".to_owned(),
        Some(EndedBy::Runtime) => " of the container runtime".to_owned(),
        Some(EndedBy::SameContainer) => " in the same container".to_owned(),
        Some(EndedBy::Itself) => ", the process itself".to_owned(),
        Some(by) if is_kernels(by) => return "the kernel".to_owned(),
        Some(EndedBy::Host) => match party {
            Some(party) if party.owner.unit.is_some() => format!(" in {}", owner(party)),
            Some(party) => format!(" on the host (cgroup {})", phrase::path(&party.path)),
            None => " on the host".to_owned(),
        },
        Some(_) => party.map_or_else(String::new, |party| format!(" in {}", owner(party))),
    };
    format!("{comm}{ids}{place}")
}

fn is_kernels(by: EndedBy) -> bool {
    matches!(by, EndedBy::Kernel | EndedBy::CpuLimit | EndedBy::PidNamespace | EndedBy::OomKiller)
}
