//! Ends of containers' first processes, built as the kernel side and Kubernetes would give them.

use super::build::{self, POD, Told, api, lineage, side};
use crate::classify::{ExitFacts, Facts};
use crate::correlate::{ContainerEnd, Incident};
use crate::enrich::{Case, enrich};
use crate::event::{
    ContainerExit, FailedExec, Hook, Outcome, Parent, Raised, SI_KERNEL, Sender, Signal, Stamp, Task,
    WaitStatus,
};
use crate::names::{
    Answer, ContainerLife, ContainerNames, Events, MemoryBounds, Names, PodEvent, PodLife, PodNames, Probe,
    ProbeAction, RestartPolicy, Who,
};
use crate::node::Node;
use crate::schema::{ContainerRole, NameSource};

mod rows;
mod senders;
mod words;

pub(crate) const NAMELESS: &str = "a test";
pub(crate) const SECOND: u64 = 1_000_000_000;
/// When the process began and ended.
pub(crate) const START: u64 = 700 * SECOND;
pub(crate) const END: u64 = 760 * SECOND;
/// The clock of Kubernetes at the kernel's zero.
pub(crate) const ZERO_S: i64 = 1_795_330_000;
pub(crate) const CONTAINERS_NS: u32 = 4_026_532_500;
pub(crate) const HOST_NS: u32 = 0xefff_fffc;
/// The shim.
pub(crate) const SHIM: u32 = 3900;
pub(crate) const CONTAINERD: &str = "/system.slice/containerd.service";

/// The container `api` of a pod: its first process exited with code 1.
pub(crate) fn an_end() -> ContainerExit {
    let task = Task {
        rss: None,
        page_table_bytes: None,
        total_vm_bytes: None,
        start_boottime_ns: Some(START),
        exiting: Some(true),
        ..build::task("api", 4211)
    };
    ContainerExit {
        cgroups: Some(lineage(&api())),
        status: Some(WaitStatus::Exited { code: 1 }),
        parent: Parent { pid: Some(SHIM), comm: Some("containerd-shim".into()) },
        pid_ns: Some(CONTAINERS_NS),
        is_init: true,
        ..ContainerExit::new(Stamp { ktime_ns: END, ..build::stamp(Hook::RawTracepoint) }, task)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(crate) fn signaled(signal: u8) -> Option<WaitStatus> {
    Some(WaitStatus::Signaled { signal, core_dumped: false })
}

/// SIGKILL just before the end, by root's process of the host in this cgroup.
pub(crate) fn by(comm: &str, pid: u32, cgroup: &str) -> Signal {
    Signal {
        ktime_ns: END - SECOND / 1000,
        number: 9,
        code: 0,
        outcome: Outcome::Delivered,
        count: 1,
        sender: Sender {
            task: Task {
                pid: Some(pid),
                tid: Some(pid),
                comm: Some(comm.into()),
                uid: Some(0),
                start_boottime_ns: Some(END - SECOND),
                ..Task::default()
            },
            parent: Parent { pid: Some(2), comm: Some("sh".into()) },
            pid_ns: Some(HOST_NS),
            exiting: false,
            cgroups: Some(lineage(cgroup)),
        },
    }
}

/// A signal of `runc`, a child of the shim, so long before the end.
pub(crate) fn runc(number: u8, before_ns: u64) -> Signal {
    let mut signal = by("runc", 5000, CONTAINERD);
    signal.sender.parent = Parent { pid: Some(SHIM), comm: Some("containerd-shim".into()) };
    Signal { ktime_ns: END - before_ns, number, ..signal }
}

/// A signal of the kernel while `pid` ran.
pub(crate) fn kernels(number: u8, pid: u32) -> Signal {
    Signal { number, code: SI_KERNEL, ..by("api", pid, &api()) }
}

/// A process of a container: `sh` in the container's pid namespace.
pub(crate) fn inside(cgroup: &str) -> Signal {
    let mut signal = by("sh", 4300, cgroup);
    signal.sender.pid_ns = Some(CONTAINERS_NS);
    signal
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
pub(crate) fn raised(number: u8, code: i32, address: u64) -> Option<Raised> {
    Some(Raised {
        ktime_ns: END - 1000,
        number,
        code,
        outcome: Outcome::Delivered,
        count: 1,
        address: Some(address),
        syscall: None,
    })
}

/// Probes by exec that failed, the last this long before the end, each `apart_ns` before the one after it.
pub(crate) fn failed_execs(count: u32, last_ns: u64, apart_ns: u64) -> Vec<FailedExec> {
    let at = |place: u32| FailedExec {
        ktime_ns: END - last_ns - u64::from(place) * apart_ns,
        status: WaitStatus::Exited { code: 1 },
        comm: Some("cat".into()),
    };
    (0..count.min(4)).map(at).collect()
}

pub(crate) fn container_end(event: ContainerExit) -> Incident {
    Incident::ContainerExit(Box::new(ContainerEnd {
        event: Box::new(event),
        oom: None,
        oom_before: Vec::new(),
        oom_before_total: 0,
        oom_before_is_whole: true,
    }))
}

/// An Event at so many seconds of the kernel's clock.
pub(crate) fn event(reason: &str, message: &str, at_ns: u64) -> PodEvent {
    let at = i64::try_from(at_ns / SECOND).expect("small") + ZERO_S;
    PodEvent {
        reason: reason.to_owned(),
        message: message.to_owned(),
        count: 1,
        first_s: Some(at),
        last_s: Some(at),
        container: matches!(reason, "Killing" | "Unhealthy" | "FailedPostStartHook")
            .then(|| "api".to_owned()),
    }
}

pub(crate) fn events(list: &[PodEvent]) -> Events {
    Events { list: list.to_vec(), ..Events::default() }
}

pub(crate) fn liveness(action: ProbeAction) -> Probe {
    Probe {
        action,
        initial_delay_seconds: 5,
        period_seconds: 10,
        timeout_seconds: 1,
        failure_threshold: 3,
        grace_seconds: None,
    }
}

/// The pod `shop/api-7f9c`, whose first container is `api`, as the API server knows it.
pub(crate) fn names() -> Names {
    Names {
        pod_limit_is_own: None,
        shares_pids: None,
        memory_volumes: None,
        source: NameSource::Kube,
        namespace: Some("shop".to_owned()),
        pod: Some("api-7f9c".to_owned()),
        workload: None,
        qos: None,
        pod_memory: MemoryBounds::default(),
        life: PodLife {
            restart_policy: Some(RestartPolicy::Always),
            grace_seconds: Some(30),
            ..PodLife::default()
        },
        container: Some(ContainerNames {
            memory_volumes: None,
            name: Some("api".to_owned()),
            role: Some(ContainerRole::App),
            image: None,
            restart_count: Some(2),
            memory: MemoryBounds::default(),
            life: ContainerLife::default(),
        }),
        stale_seconds: None,
    }
}

/// One pod, whose every container has these names but for its own.
#[derive(Debug)]
struct OnePod(Names);

impl PodNames for OnePod {
    fn find(&mut self, who: Who<'_>) -> Answer {
        let mut names = self.0.clone();
        if who.container_id.is_some_and(|id| id != build::API) {
            names.container = None;
        }
        Answer { names: POD.ends_with(who.pod_uid).then_some(names), ..Answer::default() }
    }
}

/// A case to be changed before it is judged.
#[derive(Debug)]
pub(crate) struct Scenery {
    pub(crate) event: ContainerExit,
    pub(crate) names: Option<Names>,
    pub(crate) events: Option<Events>,
    pub(crate) change: fn(&mut ContainerEnd, &mut crate::enrich::ExitContext),
}

impl Scenery {
    pub(crate) fn of(event: ContainerExit) -> Self {
        Self { event, names: Some(names()), events: None, change: |_, _| {} }
    }

    pub(crate) fn life(mut self, change: impl FnOnce(&mut PodLife, &mut ContainerLife)) -> Self {
        let names = self.names.as_mut().expect("names");
        change(&mut names.life, &mut names.container.as_mut().expect("a container").life);
        self
    }

    pub(crate) fn events(self, list: &[PodEvent]) -> Self {
        Self { events: Some(events(list)), ..self }
    }

    pub(crate) fn case(self) -> Case {
        let mut node = Node::unseen(NAMELESS);
        if let Some(names) = self.names {
            node.pods = Box::new(OnePod(names));
        }
        let mut end = container_end(self.event);
        let mut context = crate::enrich::ExitContext {
            events: self.events,
            realtime_offset_ns: ZERO_S * 1_000_000_000,
            ..Default::default()
        };
        if let Incident::ContainerExit(end) = &mut end {
            (self.change)(end, &mut context);
        }
        let mut case = enrich(end, &mut node);
        case.exit = Some(context);
        case
    }

    pub(crate) fn told(self) -> Told {
        build::told(&self.case())
    }
}

impl Told {
    pub(crate) fn exit(&self) -> &ExitFacts {
        match &self.verdict.facts {
            Facts::Exit(facts) => facts,
            other => panic!("an exit: {other:?}"),
        }
    }
}

/// The sibling of the container in its pod.
pub(crate) fn sibling() -> String {
    side()
}
