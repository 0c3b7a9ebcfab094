//! Ends of containers, one for each cause.

use crashtrace::correlate::{ContainerEnd, Incident, KilledBy};
use crashtrace::enrich::{ExitContext, OomVerdict, enrich};
use crashtrace::event::{
    ContainerExit, Hook, Name, Outcome, Parent, Raised, SI_KERNEL, Sender, Signal, Task, WaitStatus,
};
use crashtrace::names::{
    Answer, ContainerLife, EndedStatus, Events, Names, PodEvent, PodLife, PodNames, Probe, ProbeAction,
    RestartPolicy, Who,
};
use crashtrace::node::Node;
use crashtrace::schema::{Cause, Certainty, Level};

use crate::cases::context;
use crate::parts::{API, KTIME, Made, in_pod, lineage, node, stamp, task};

const SECOND: u64 = 1_000_000_000;
/// `PROC_PID_INIT_INO`.
const HOST_NS: u32 = 0xefff_fffc;

/// The names of `Shop` with what else Kubernetes knows of the end.
#[derive(Debug)]
struct WithLife {
    names: Box<dyn PodNames>,
    pod: PodLife,
    container: ContainerLife,
}

impl PodNames for WithLife {
    fn find(&mut self, who: Who<'_>) -> Answer {
        let mut answer = self.names.find(who);
        if let Some(Names { life, container, .. }) = &mut answer.names {
            *life = self.pod.clone();
            if let Some(container) = container {
                container.life = self.container.clone();
            }
        }
        answer
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
fn ended(reason: &str, exit_code: i32) -> Option<EndedStatus> {
    Some(EndedStatus { reason: Some(reason.into()), exit_code: Some(exit_code), finished_at_s: None })
}

fn always() -> PodLife {
    PodLife { restart_policy: Some(RestartPolicy::Always), grace_seconds: Some(30), ..PodLife::default() }
}

/// The first process of the container `api`, started 40 s before.
fn event(comm: &str, status: WaitStatus) -> ContainerExit {
    let task = Task {
        rss: None,
        page_table_bytes: None,
        total_vm_bytes: None,
        start_boottime_ns: Some(KTIME - 40 * SECOND),
        exiting: Some(true),
        ..task(4211, comm, 0)
    };
    ContainerExit {
        cgroups: Some(lineage(&in_pod(API))),
        status: Some(status),
        parent: Parent { pid: Some(3900), comm: Some("containerd-shim".into()) },
        pid_ns: Some(4_026_532_500),
        is_init: true,
        ..ContainerExit::new(stamp(Hook::RawTracepoint), task)
    }
}

const KILLED: WaitStatus = WaitStatus::Signaled { signal: 9, core_dumped: false };

fn sent(number: u8, before_ns: u64, sender: Sender) -> Signal {
    Signal { ktime_ns: KTIME - before_ns, number, code: 0, outcome: Outcome::Delivered, count: 1, sender }
}

fn sender(comm: &str, pid: u32, uid: u32, parent: (u32, &str), cgroup: &str) -> Sender {
    Sender {
        task: Task {
            pid: Some(pid),
            tid: Some(pid),
            container_pid: Some(pid),
            comm: Some(comm.into()),
            thread_comm: Some(comm.into()),
            uid: Some(uid),
            start_boottime_ns: Some(KTIME - 300 * SECOND),
            oom_score_adj: Some(0),
            exiting: Some(false),
            ..Task::default()
        },
        parent: Parent { pid: Some(parent.0), comm: Some(parent.1.into()) },
        pid_ns: Some(HOST_NS),
        exiting: false,
        cgroups: Some(lineage(cgroup)),
    }
}

fn runc(number: u8, before_ns: u64) -> Signal {
    let parent = (3900, "containerd-shim");
    sent(number, before_ns, sender("runc", 5107, 0, parent, "/system.slice/containerd.service"))
}

/// SIGTERM that the process, without a handler, does not get, and SIGKILL 30 s later.
fn stubborn(event: ContainerExit) -> ContainerExit {
    let asked = Signal { outcome: Outcome::Ignored, ..runc(15, 30 * SECOND + SECOND / 50) };
    ContainerExit { asked: Some(asked), killed: Some(runc(9, SECOND / 500)), ..event }
}

/// An Event so long before the end.
fn said(reason: &str, message: &str, before_s: i64) -> PodEvent {
    let end_s = (i128::from(KTIME) + i128::from(context().realtime_offset_ns)) / i128::from(SECOND);
    let at = i64::try_from(end_s).expect("in range") - before_s;
    PodEvent {
        reason: reason.into(),
        message: message.into(),
        count: 1,
        first_s: Some(at),
        last_s: Some(at),
        container: Some("api".into()),
    }
}

fn end(event: ContainerExit) -> ContainerEnd {
    ContainerEnd {
        event: Box::new(event),
        oom: None,
        oom_before: Vec::new(),
        oom_before_total: 0,
        oom_before_is_whole: true,
    }
}

fn made(end: ContainerEnd, outside: ExitContext, node: &mut Node) -> Made {
    let mut case = enrich(Incident::ContainerExit(Box::new(end)), node);
    case.exit = Some(ExitContext { realtime_offset_ns: context().realtime_offset_ns, ..outside });
    Made::judged(case)
}

fn in_cluster(pod: PodLife, container: ContainerLife) -> Node {
    let Node { pods: names, .. } = node();
    Node { pods: Box::new(WithLife { names, pod, container }), ..node() }
}

fn crash_loop() -> Made {
    let container = ContainerLife { ended: ended("Error", 1), ..ContainerLife::default() };
    let outside = ExitContext { ends_last_hour: 6, ..ExitContext::default() };
    made(end(event("api", WaitStatus::Exited { code: 1 })), outside, &mut in_cluster(always(), container))
}

fn fault() -> Made {
    let raised = Raised {
        ktime_ns: KTIME - SECOND / 100,
        number: 11,
        code: 1,
        outcome: Outcome::Delivered,
        count: 1,
        address: Some(0x18),
        syscall: None,
    };
    let status = WaitStatus::Signaled { signal: 11, core_dumped: true };
    let event = ContainerExit { raised: Some(raised), ..event("api", status) };
    let container = ContainerLife { ended: ended("Error", 139), ..ContainerLife::default() };
    made(end(event), ExitContext::default(), &mut in_cluster(always(), container))
}

fn probe() -> Made {
    let probe = Probe {
        action: ProbeAction::HttpGet,
        initial_delay_seconds: 5,
        period_seconds: 10,
        timeout_seconds: 1,
        failure_threshold: 3,
        grace_seconds: None,
    };
    let container =
        ContainerLife { liveness: Some(probe), ended: ended("Error", 137), ..ContainerLife::default() };
    let refused = "Liveness probe failed: Get \"http://10.42.0.17:8080/healthz\": dial tcp 10.42.0.17:8080: connect: connection refused";
    let list = vec![
        said("Unhealthy", refused, 31),
        said("Killing", "Container api failed liveness probe, will be restarted", 30),
    ];
    let events = Some(Events { list, missing: None, soon: false });
    let mut event = stubborn(event("api", KILLED));
    event.task.start_boottime_ns = Some(KTIME - 60 * SECOND);
    let outside = ExitContext { events, ends_last_hour: 2, ..ExitContext::default() };
    made(end(event), outside, &mut in_cluster(always(), container))
}

fn killed_by_user() -> Made {
    let bash = sender("bash", 812, 1000, (790, "sshd"), "/user.slice/user-1000.slice/session-3.scope");
    let event = ContainerExit { killed: Some(sent(9, 400_000, bash)), ..event("api", KILLED) };
    let container = ContainerLife { ended: ended("Error", 137), ..ContainerLife::default() };
    made(end(event), ExitContext::default(), &mut in_cluster(always(), container))
}

fn evicted() -> Made {
    let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 91712Ki. Container api was using 620800Ki, request is 256Mi, has larger consumption of memory. ";
    let pod = PodLife {
        reason: Some("Evicted".into()),
        message: Some(message.into()),
        disruption: Some("TerminationByKubelet".into()),
        ..always()
    };
    let container = ContainerLife { ended: ended("Error", 137), ..ContainerLife::default() };
    made(end(stubborn(event("api", KILLED))), ExitContext::default(), &mut in_cluster(pod, container))
}

fn oom() -> Made {
    let mut kernel =
        sent(9, SECOND / 10, sender("java", 4211, 1000, (3900, "containerd-shim"), &in_pod(API)));
    kernel.code = SI_KERNEL;
    let event = ContainerExit { killed: Some(kernel), oom_marked: true, ..event("java", KILLED) };
    let kill = KilledBy {
        ktime_ns: KTIME - SECOND / 10,
        cpu: 2,
        pid: Some(4211),
        comm: Some(Name(b"java".to_vec())),
    };
    let end = ContainerEnd { oom: Some(kill), ..end(event) };
    let oom = OomVerdict {
        ktime_ns: KTIME - SECOND / 10,
        cpu: 2,
        cause: Cause::CgroupOom,
        level: Some(Level::Container),
        certainty: Certainty::Observed,
        level_is_inferred: false,
        summary: "container api of pod shop/api-7f9c4d8b6-x2x7q hit its own limit of 512 MiB; java (pid 4211) killed".into(),
        remedy: "Raise the container's memory limit, or find the leak.".into(),
    };
    let container = ContainerLife { ended: ended("OOMKilled", 137), ..ContainerLife::default() };
    let outside = ExitContext { oom: Some(oom), oom_watched: true, ..ExitContext::default() };
    made(end, outside, &mut in_cluster(always(), container))
}

/// The runtime was told to stop it, and no source of names is in use.
fn unknown() -> Made {
    let event = ContainerExit {
        asked: Some(runc(15, 1_200_000_000)),
        ..event("api", WaitStatus::Exited { code: 143 })
    };
    made(end(event), ExitContext::default(), &mut Node::unseen("no source of names is in use"))
}

/// The OOM killer took a child, and the first process ended eight seconds later.
fn child_killed_before() -> Made {
    let before = KilledBy {
        ktime_ns: KTIME - 8 * SECOND,
        cpu: 1,
        pid: Some(4302),
        comm: Some(Name(b"worker".to_vec())),
    };
    let end = ContainerEnd {
        oom_before: vec![before],
        oom_before_total: 1,
        ..end(event("sh", WaitStatus::Exited { code: 0 }))
    };
    let container = ContainerLife { ended: ended("OOMKilled", 0), ..ContainerLife::default() };
    made(end, ExitContext::default(), &mut in_cluster(always(), container))
}

pub(crate) fn built() -> Vec<(&'static str, Made)> {
    vec![
        ("exit_code", crash_loop()),
        ("exit_fault", fault()),
        ("exit_probe", probe()),
        ("exit_killed", killed_by_user()),
        ("exit_evicted", evicted()),
        ("exit_oom", oom()),
        ("exit_unknown", unknown()),
        ("exit_child_killed", child_killed_before()),
    ]
}
