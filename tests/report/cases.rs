//! Cases and verdicts by hand, as the stages before the report would hand them over.

use std::collections::BTreeMap;

use crashtrace::classify::{Cause, Certainty, Level as VerdictLevel, LimitFinding, Origin, Verdict};
use crashtrace::correlate::{Incident, OomNoKill};
use crashtrace::enrich::{Case, Held, Memory, Owner, OwnerKind};
use crashtrace::event::{
    Constraint, Hook, Limit, Lineage, Name, NoKill, OomControl, OomDecision, OomNoVictim, OomVictim, Task,
};
use crashtrace::gfp::GfpNames;
use crashtrace::kernel::host::BtfSource;
use crashtrace::kernel::types::BtfInUse;
use crashtrace::report::{
    self, AgentStarted, AgentStartedKind, AgentStopping, AgentStoppingKind, ClockChanged, ClockChangedKind,
    Context, Envelope, Line, Loss, LossKind, NameSource, SCHEMA, Text, Unresolved,
};

use crate::parts::{
    API, KTIME, MIB, POD, bounds, case, container, control, decision, gap, host_service, in_pod, kubepods,
    level_of, lineage, marked, named, pod, stamp, task, verdict, with_oom_group,
};

pub(crate) fn context() -> Context {
    Context {
        memory_cgroup_v1: Some(false),
        boot_id: "7e0a4f0e-52c5-4f37-8d1b-6f2f5a3c9b10".into(),
        page_size_bytes: 4096,
        // 2026-11-22T07:23:15.123456789Z at KTIME.
        realtime_offset_ns: 1_795_331_382_777_777_888,
        gfp: GfpNames::fallback(),
    }
}

/// As the agent stamps it at emission.
pub(crate) fn envelope() -> Envelope {
    Envelope {
        schema: SCHEMA.into(),
        agent: "0.1.0".into(),
        node: Text::from("worker-3"),
        boot_id: context().boot_id,
        session: "b51c77d2-0c53-44f0-9f0c-0e8b1a6d2f43".into(),
        seq: 17,
        lost: 0,
    }
}

/// Every case that is built into an incident.
pub(crate) fn built() -> Vec<(&'static str, (Case, Verdict))> {
    let of_cgroups_and_tasks = vec![
        ("container_oom", container_oom()),
        ("system_oom", system_oom()),
        ("oom_group", oom_group()),
        ("no_kill", no_kill()),
        ("oom_wait", oom_wait()),
        ("raw_tracepoint", raw_tracepoint()),
        ("decision_lost", decision_lost()),
        ("hostile_names", hostile_names()),
        ("claims", crate::claims::imitation()),
    ];
    of_cgroups_and_tasks.into_iter().chain(crate::pages::built()).collect()
}

/// Every line that is reviewed in `tests/fixtures/report`.
pub(crate) fn all() -> Vec<(&'static str, Line)> {
    let incidents = built().into_iter().map(|(name, (case, verdict))| {
        let mut incident = report::incident(&case, &verdict, &context());
        incident.envelope = envelope();
        (name, Line::Incident(Box::new(incident)))
    });
    incidents.chain(agent_lines()).collect()
}

/// One container in the pod, so the pod's limit is the one that the kernel hits.
pub(crate) fn container_oom() -> (Case, Verdict) {
    let java = Task { tid: Some(4218), thread_comm: Some("GC Thread#1".into()), ..task(4211, "java", 480) };
    let victim = task(4211, "java", 480);
    let limit = level_of(POD, 512 * MIB, 512 * MIB);
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 512 * MIB)),
        trigger: java,
        trigger_cgroups: Some(lineage(&in_pod(API))),
        victim: Some(victim.clone()),
        victim_cgroups: Some(lineage(&in_pod(API))),
        limit_cgroups: Some(limit.clone()),
        ..decision(Hook::Fentry)
    };
    let case = Case {
        trigger: Some(named(container(API))),
        victims: vec![Some(named(container(API)))],
        limit: Some(named(pod())),
        limit_shmem_bytes: Some(20 * MIB),
        ..case(Some(decision), vec![marked(victim, &in_pod(API))])
    };
    let verdict = Verdict {
        limit: Some(LimitFinding { cgroups: limit, party: named(pod()), charged_at: VerdictLevel::Pod }),
        kubernetes: Some(bounds()),
        evidence: vec![
            "in use 512.0 MiB of 512.0 MiB when the kernel decided".into(),
            "java held 480 MiB, 470 MiB of it anonymous".into(),
        ],
        ..verdict(
            "container api of pod shop/api-7f9c4d8b6-x2x7q hit its own limit of 512 MiB; java (pid 4211) killed",
            "Raise the container's memory limit, or lower what java keeps (heap, threads, direct buffers).",
        )
    };
    (case, verdict)
}

/// Who held the memory of the node in [`system_oom`]: a service most of it, then a pod.
fn memory() -> Memory {
    let held = |party, mib: u64, limit| Held { party, usage_bytes: mib * MIB, limit };
    Memory {
        large: std::collections::BTreeSet::new(),
        pods: Some(held(kubepods(), 1800, Some(Limit::Bytes(6144 * MIB)))),
        holders: vec![
            held(host_service("batch.service"), 5900, Some(Limit::Unlimited)),
            held(pod(), 1700, None),
        ],
        least_bytes: 64 * MIB,
        small: 31,
        small_bytes: 300 * MIB,
        looked_at: 37,
        total: Some(88),
        incomplete: false,
    }
}

fn system_oom() -> (Case, Verdict) {
    let hog = task(990, "stress-ng-vm", 6000);
    let decision = OomDecision {
        control: Some(OomControl { gfp: 0x14_0dca, ..control(Constraint::None, 8192 * MIB) }),
        trigger: Task { uid: Some(0), ..task(412, "kubelet", 90) },
        trigger_cgroups: Some(lineage("/system.slice/kubelet.service")),
        victim: Some(hog.clone()),
        ..decision(Hook::Kprobe)
    };
    let case = Case {
        trigger: Some(host_service("kubelet.service")),
        victims: vec![Some(host_service("batch.service"))],
        memory: Some(memory()),
        ..case(Some(decision), vec![marked(hog, "/system.slice/batch.service")])
    };
    let verdict = Verdict {
        cause: Cause::SystemOom,
        constraint: Some(Constraint::None),
        level: Some(VerdictLevel::Node),
        origin: Some(Origin::Allocation),
        evidence: vec!["the request was bound to no cgroup and no node: constraint none".into()],
        ..verdict(
            "the node ran out of memory; stress-ng-vm (pid 990, batch.service) killed",
            "Limit what batch.service may use, or reserve more for the system.",
        )
    };
    (case, verdict)
}

fn oom_group() -> (Case, Verdict) {
    let limit = with_oom_group(level_of(&in_pod(API), 256 * MIB, 256 * MIB));
    let workers = [(51, "nginx", 20), (52, "php-fpm", 90), (53, "php-fpm", 90), (54, "php-fpm", 31)];
    let victims = workers.map(|(pid, comm, mib)| marked(task(pid, comm, mib), &in_pod(API)));
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 256 * MIB)),
        trigger: task(54, "php-fpm", 31),
        trigger_cgroups: Some(lineage(&in_pod(API))),
        victim: Some(task(52, "php-fpm", 90)),
        limit_cgroups: Some(limit.clone()),
        ..decision(Hook::Fentry)
    };
    let mut owners = vec![Some(container(API)); 4];
    owners[3] = None;
    let case = Case {
        trigger: Some(container(API)),
        victims: owners,
        limit: Some(container(API)),
        // Of the fourth in the kernel's order, which is the third by size.
        unresolved: vec![gap("victims[3].owner", "the cgroup was gone")],
        ..case(Some(decision), victims.into())
    };
    let verdict = Verdict {
        limit: Some(LimitFinding {
            cgroups: limit,
            party: container(API),
            charged_at: VerdictLevel::Container,
        }),
        evidence: vec!["memory.oom.group is set: all 4 processes were killed together".into()],
        ..verdict(
            "container 3f2a9c0d1e4b hit its own limit of 256 MiB; 4 processes killed",
            "Raise the limit.",
        )
    };
    (case, verdict)
}

fn no_kill() -> (Case, Verdict) {
    let limit = level_of("/system.slice/agent.service", 20 * MIB, 16 * MIB);
    let event = OomNoVictim {
        stamp: stamp(Hook::Kprobe),
        repeats: 0,
        why: NoKill::NobodyFound,
        gfp: Some(0xcc0),
        order: Some(0),
        memcg: true,
        trigger: Task { oom_score_adj: Some(-1000), rss: None, ..task(77, "agent", 0) },
        trigger_cgroups: Some(lineage("/system.slice/agent.service")),
        limit_cgroups: Some(limit.clone()),
        stack: None,
    };
    let case = Case {
        incident: Incident::OomNoKill(Box::new(OomNoKill { event: Box::new(event), repeats: 411 })),
        trigger: Some(host_service("agent.service")),
        limit: Some(host_service("agent.service")),
        unresolved: ["trigger.anon_bytes", "trigger.file_bytes", "trigger.shmem_bytes", "trigger.swap_bytes"]
            .map(|field| gap(field, "could not be read from the kernel"))
            .into(),
        ..case(None, Vec::new())
    };
    let verdict = Verdict {
        level: Some(VerdictLevel::HostService),
        limit: Some(LimitFinding {
            cgroups: limit,
            party: host_service("agent.service"),
            charged_at: VerdictLevel::HostService,
        }),
        evidence: vec!["no process of the cgroup may be killed: oom_score_adj is -1000".into()],
        ..verdict("agent.service is over its limit of 16 MiB and has no process to kill", "Raise MemoryMax.")
    };
    (case, verdict)
}

/// The tier that sees marks only, where the second mark is but a thread id.
fn raw_tracepoint() -> (Case, Verdict) {
    let java = task(4211, "java", 480);
    let decision = OomDecision {
        trigger: task(9, "worker", 3),
        victim: Some(java.clone()),
        victim_cgroups: Some(lineage(&in_pod(API))),
        ..decision(Hook::RawTracepoint)
    };
    let only_tid = Task { tid: Some(5000), ..Task::default() };
    let bare = OomVictim { cgroups: None, ..marked(only_tid, "/") };
    let mut case = Case {
        victims: vec![None, Some(container(API))],
        unresolved: vec![
            gap("allocation", "this tier cannot see the request"),
            gap("trigger.cgroup", "its cgroups could not be read"),
            gap("trigger.owner", "its cgroups could not be read"),
            gap("victims[0]", "the mark is no more than a thread id"),
        ],
        ..case(Some(decision), vec![bare, marked(java, &in_pod(API))])
    };
    if let Incident::OomKill(kill) = &mut case.incident {
        kill.complete = false;
    }
    let limit = level_of(POD, 512 * MIB, 512 * MIB);
    let verdict = Verdict {
        limit: Some(LimitFinding { cgroups: limit, party: pod(), charged_at: VerdictLevel::Pod }),
        certainty: Certainty::Inferred,
        inferred: vec!["limit"],
        origin: None,
        unresolved: vec![gap("origin", "no function that would tell was found on the kernel's stack")],
        ..verdict("a cgroup hit its limit; java (pid 4211) killed", "See the pod's limit.")
    };
    (case, verdict)
}

/// The ring was full when the decision was made; the marks came through, from cgroups deeper than a record holds.
fn decision_lost() -> (Case, Verdict) {
    let deep = |pid, mib| {
        let mut victim = marked(task(pid, "make", mib), &in_pod(API));
        victim.task.uid = None;
        victim.cgroups = victim.cgroups.map(|cgroups| Lineage { skipped: 3, ..cgroups });
        victim
    };
    let lost = "the record of the decision was lost";
    let mut case = Case {
        victims: vec![None, None],
        unresolved: vec![
            gap("trigger", lost),
            gap("allocation", lost),
            gap("victims[*].uid", "of 2 of 2 processes: could not be read from the kernel"),
            gap("victims[*].owner", "of 2 of 2 processes: the path is deeper than a record holds"),
        ],
        ..case(None, vec![deep(61, 12), deep(62, 12)])
    };
    if let Incident::OomKill(kill) = &mut case.incident {
        kill.complete = false;
    }
    let verdict = Verdict {
        cause: Cause::Unknown,
        level: None,
        origin: None,
        constraint: None,
        unresolved: ["verdict.cause", "verdict.level", "origin", "constraint", "limit"]
            .map(|field| gap(field, lost))
            .into(),
        ..verdict("2 processes were killed; the record that says why was lost", "Look for earlier lines.")
    };
    (case, verdict)
}

/// Two tasks more hang at the same limit.
fn oom_wait() -> (Case, Verdict) {
    let (mut case, verdict) = no_kill();
    if let Incident::OomNoKill(none) = &mut case.incident {
        none.repeats = 2;
        none.event.why = NoKill::SwitchedOff;
        none.event.gfp = None;
        none.event.order = None;
    }
    let verdict = Verdict {
        summary: "agent.service hit its limit of 16 MiB; agent (pid 77) hangs there, for its OOM killer is switched off"
            .into(),
        evidence: vec!["oom_kill_disable is set".into()],
        remedy: "Set oom_kill_disable to 0.".into(),
        ..verdict
    };
    (case, verdict)
}

fn hostile_names() -> (Case, Verdict) {
    let (mut case, mut verdict) = container_oom();
    let name = b"a\x1b[2Jb\n\xff\\\xe2\x80\xae".to_vec();
    let path = [b"/kube\xffpods/\x1b]0;pwned\x07".as_slice(), "/\u{200b}\u{9b}数据".as_bytes()].concat();
    if let Incident::OomKill(kill) = &mut case.incident {
        kill.victims[0].task.comm = Some(Name(name));
    }
    if let Some(Some(party)) = case.victims.get_mut(0) {
        party.path.clone_from(&path);
        party.owner =
            Owner { kind: OwnerKind::Cgroup, container_id: None, pod_uid: None, ..party.owner.clone() };
    }
    if let Some(limit) = &mut verdict.limit {
        limit.party.path = path;
    }
    verdict.summary = "a\u{1b}[2Jb\n\u{202e}said so".into();
    (case, verdict)
}

fn agent_lines() -> Vec<(&'static str, Line)> {
    let counters = BTreeMap::from([("ring_full".to_owned(), 12), ("decode_failed".to_owned(), 0)]);
    let time = context().time(KTIME);
    let envelope = Envelope { lost: 12, ..envelope() };
    let started = AgentStarted {
        envelope: self::envelope(),
        kind: AgentStartedKind::AgentStarted,
        time: time.clone(),
        ktime_ns: KTIME,
        kernel: Text::from("6.12.48-cloud-amd64"),
        hooks: vec!["fentry:oom_kill_process".into(), "raw_tp:mark_victim".into()],
        btf: Some(BtfInUse { path: "/sys/kernel/btf/vmlinux".into(), source: BtfSource::Kernel }),
        names_from: vec![NameSource::Kube, NameSource::Cri],
        blind: vec![Unresolved {
            field: "oom_no_kill".into(),
            reason: "kretprobes cannot be used here".into(),
        }],
        replay: false,
    };
    let loss = Loss {
        envelope: envelope.clone(),
        kind: LossKind::Loss,
        time: time.clone(),
        counters: counters.clone(),
    };
    let changed = ClockChanged {
        envelope: envelope.clone(),
        kind: ClockChangedKind::ClockChanged,
        time: time.clone(),
        time_before: context().time(KTIME - 60_000_000_000),
        ktime_ns: KTIME,
        step_ns: 60_000_000_000,
    };
    let stopping = AgentStopping {
        envelope,
        kind: AgentStoppingKind::AgentStopping,
        time,
        ktime_ns: KTIME,
        reason: "signal".into(),
        counters,
    };
    vec![
        ("agent_started", Line::AgentStarted(Box::new(started))),
        ("loss", Line::Loss(Box::new(loss))),
        ("clock_changed", Line::ClockChanged(Box::new(changed))),
        ("agent_stopping", Line::AgentStopping(Box::new(stopping))),
    ]
}
