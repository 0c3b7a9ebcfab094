//! Recorded ends of containers (`tests/fixtures/deaths`), with the verdict that is known to be true of each.

use serde::Deserialize;

use super::*;
use crate::enrich::{ExitContext, OomVerdict};
use crate::names::EndedStatus;
use crate::schema::{Cause, Certainty, EndedBy, Level, Stop};

#[derive(Debug, Deserialize)]
struct Death {
    case: String,
    container: String,
    cgroup: String,
    pid: u32,
    container_pid: u32,
    parent_pid: u32,
    comm: String,
    started_ns: u64,
    ended_ns: u64,
    exit_code: u8,
    status_reason: String,
    signals: Vec<Sent>,
    restart_policy: String,
    grace_seconds: u32,
    deleting: bool,
    deletion_grace_seconds: Option<u32>,
    reason: Option<String>,
    message: Option<String>,
    disruption: Option<String>,
    liveness: Option<Settings>,
    startup: Option<Settings>,
    events: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Sent {
    time_ns: u64,
    number: u8,
    code: i32,
    result: u32,
    by_comm: String,
    by_pid: u32,
    by_cgroup: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Settings {
    initial_delay_seconds: u32,
    period_seconds: u32,
    timeout_seconds: u32,
    failure_threshold: u32,
}

#[derive(Debug, Deserialize)]
struct Said {
    reason: String,
    message: String,
    count: u32,
    first_s: Option<i64>,
    last_s: Option<i64>,
    container: Option<String>,
}

/// The recording's clock begins here for the kernel's.
const ZERO_NS: u64 = 1_795_000_000_000_000_000;

impl Death {
    fn signal(&self, sent: &Sent) -> Signal {
        let is_runc = sent.by_comm == "runc";
        let mut signal = match &sent.by_cgroup {
            Some(cgroup) => by(&sent.by_comm, sent.by_pid, cgroup),
            None if is_runc => by(&sent.by_comm, sent.by_pid, CONTAINERD),
            None => by(&sent.by_comm, sent.by_pid, "/user.slice/user-0.slice/session-1.scope"),
        };
        if is_runc {
            signal.sender.parent =
                Parent { pid: Some(self.parent_pid), comm: Some("containerd-shim".into()) };
        }
        Signal {
            ktime_ns: sent.time_ns - ZERO_NS,
            number: sent.number,
            code: sent.code,
            outcome: if sent.result == 1 { Outcome::Ignored } else { Outcome::Delivered },
            ..signal
        }
    }

    fn event(&self) -> ContainerExit {
        let last = |is_kill: bool| self.signals.iter().rev().find(|sent| (sent.number == 9) == is_kill);
        let killed = last(true).map(|sent| self.signal(sent));
        // The recording has no wait status: SIGKILL gives 137 where one was delivered.
        let by_kill = self.exit_code == 137 && killed.is_some();
        ContainerExit {
            stamp: Stamp { ktime_ns: self.ended_ns - ZERO_NS, ..build::stamp(Hook::RawTracepoint) },
            task: Task {
                pid: Some(self.pid),
                container_pid: Some(self.container_pid),
                comm: Some(self.comm.as_str().into()),
                start_boottime_ns: Some(self.started_ns - ZERO_NS),
                ..an_end().task
            },
            cgroups: Some(lineage(&self.cgroup)),
            status: if by_kill { signaled(9) } else { Some(WaitStatus::Exited { code: self.exit_code }) },
            parent: Parent { pid: Some(self.parent_pid), comm: Some("containerd-shim".into()) },
            asked: last(false).map(|sent| self.signal(sent)),
            oom_marked: killed.as_ref().is_some_and(Signal::is_kernels),
            killed,
            ..an_end()
        }
    }

    fn names(&self) -> Names {
        let probe = |settings: &Settings| Probe {
            action: ProbeAction::Exec,
            initial_delay_seconds: settings.initial_delay_seconds,
            period_seconds: settings.period_seconds,
            timeout_seconds: settings.timeout_seconds,
            failure_threshold: settings.failure_threshold,
            grace_seconds: None,
        };
        let mut names = names();
        names.life = PodLife {
            restart_policy: Some(match self.restart_policy.as_str() {
                "Always" => RestartPolicy::Always,
                "Never" => RestartPolicy::Never,
                other => panic!("{other}"),
            }),
            grace_seconds: Some(self.grace_seconds),
            deleting: self.deleting,
            deletion_grace_seconds: self.deletion_grace_seconds,
            reason: self.reason.clone(),
            message: self.message.clone(),
            disruption: self.disruption.clone(),
        };
        let container = names.container.as_mut().expect("a container");
        container.name = Some(self.container.clone());
        container.life = ContainerLife {
            restart_policy: None,
            liveness: self.liveness.as_ref().map(probe),
            startup: self.startup.as_ref().map(probe),
            ended: Some(EndedStatus {
                reason: Some(self.status_reason.clone()),
                exit_code: Some(self.exit_code.into()),
                finished_at_s: None,
            }),
        };
        names
    }

    fn told(&self) -> Told {
        let said = |said: &Said| PodEvent {
            reason: said.reason.clone(),
            message: said.message.clone(),
            count: said.count,
            first_s: said.first_s,
            last_s: said.last_s,
            container: said.container.clone(),
        };
        let mut node = Node::unseen(NAMELESS);
        node.pods = Box::new(Pod(self.names()));
        let mut end = container_end(self.event());
        let oom = self.event().oom_marked;
        if let Incident::ContainerExit(end) = &mut end
            && oom
        {
            end.oom =
                Some(crate::correlate::KilledBy { ktime_ns: 1, cpu: 0, pid: Some(self.pid), comm: None });
        }
        let mut case = enrich(end, &mut node);
        case.exit = Some(ExitContext {
            oom: oom.then(|| OomVerdict {
                ktime_ns: 1,
                cpu: 0,
                cause: Cause::CgroupOom,
                level: Some(Level::Container),
                certainty: Certainty::Observed,
                summary: "container hog hit its own limit of 32 MiB".to_owned(),
            }),
            events: Some(events(&self.events.iter().map(said).collect::<Vec<_>>())),
            ends_last_hour: 0,
            oom_watched: true,
            realtime_offset_ns: i64::try_from(ZERO_NS).expect("in range"),
        });
        build::told(&case)
    }
}

/// A pod, whatever its UID.
#[derive(Debug)]
struct Pod(Names);

impl PodNames for Pod {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer { names: Some(self.0.clone()), missing: None, soon: false }
    }
}

/// Of a case while its pod is not being deleted, and while it is: cause, who ended it, why it was stopped.
type Truth = (&'static str, bool, Cause, EndedBy, Option<Stop>);

const TRUTH: [Truth; 22] = [
    ("abort", false, Cause::ContainerExit, EndedBy::Itself, None),
    ("deadline", false, Cause::Stopped, EndedBy::Runtime, Some(Stop::DeadlineExceeded)),
    ("del-kill", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("del-term", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("evict-api", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Drained)),
    ("evict-mem", false, Cause::Stopped, EndedBy::Runtime, Some(Stop::Evicted)),
    ("exit0", false, Cause::ContainerExit, EndedBy::Itself, None),
    ("exit1", false, Cause::ContainerExit, EndedBy::Itself, None),
    ("hostkill", false, Cause::Killed, EndedBy::Host, None),
    ("hostpid", false, Cause::ContainerExit, EndedBy::Itself, None),
    ("inkill", false, Cause::ContainerExit, EndedBy::Itself, None),
    ("inkill", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("live-143", false, Cause::HealthCheck, EndedBy::Runtime, None),
    ("live-kill", false, Cause::HealthCheck, EndedBy::Runtime, None),
    // The pod was deleted after the probe had failed, in the grace period.
    ("live-kill", true, Cause::HealthCheck, EndedBy::Runtime, None),
    ("live-term", false, Cause::HealthCheck, EndedBy::Runtime, None),
    ("ready", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("segv-child", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("selfkill", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("share", true, Cause::Stopped, EndedBy::Runtime, Some(Stop::Deleted)),
    ("sharehog", false, Cause::CgroupOom, EndedBy::OomKiller, None),
    ("startup", false, Cause::HealthCheck, EndedBy::Runtime, None),
];

fn deaths() -> Vec<Death> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/deaths/deaths.jsonl");
    let text = std::fs::read_to_string(path).expect("a fixture");
    text.lines().map(|line| serde_json::from_str(line).expect("a death")).collect()
}

#[test]
fn each_recorded_death_has_the_verdict_that_is_true() {
    let deaths = deaths();
    for (case, deleting, cause, ended_by, stop) in TRUTH {
        let mut of_case = deaths.iter().filter(|it| it.case == case && it.deleting == deleting).peekable();
        assert!(of_case.peek().is_some(), "{case}");
        for death in of_case {
            let told = death.told();
            let facts = told.exit();
            assert_eq!(
                (told.cause, facts.ended_by, facts.stop, told.certainty),
                (cause, Some(ended_by), stop, Certainty::Observed),
                "{death:#?}\n{told:#?}"
            );
            // SIGTERM ignored, then SIGKILL.
            let stubborn = death.signals.len() == 2;
            assert_eq!(facts.ignored_term, stubborn, "{case}");
        }
    }
    let is_known =
        |death: &Death| TRUTH.iter().any(|truth| truth.0 == death.case && truth.1 == death.deleting);
    assert!(deaths.iter().all(is_known));
}

#[test]
fn the_status_of_a_recorded_death_contradicts_the_kernel_only_where_a_probe_failed() {
    for death in deaths() {
        let told = death.told();
        let completed = told.cause == Cause::HealthCheck && death.exit_code == 0;
        assert_eq!(told.contradictions.len(), usize::from(completed), "{death:#?} {:?}", told.contradictions);
    }
}

#[test]
fn without_events_a_recorded_death_by_the_runtime_is_unknown_or_the_pods_own_end() {
    for mut death in deaths() {
        death.events.clear();
        let told = death.told();
        // The pod of one was deleted after its probe had failed: that is all that is left then.
        let ended = death.deleting || death.reason.is_some();
        if told.exit().ended_by == Some(EndedBy::Runtime) {
            assert_eq!(told.cause, if ended { Cause::Stopped } else { Cause::Unknown }, "{death:#?}");
        }
    }
}
