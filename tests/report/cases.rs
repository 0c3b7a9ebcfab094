//! The reviewed lines. The stages make each from the events that are built here: every sentence in them is one that
//! crashtrace writes.

use crashtrace::decode::Machine;
use crashtrace::event::{
    Constraint, Event, Holder, Hook, Level, Limit, Lineage, Name, NoKill, OomControl, OomDecision,
    OomHolders, OomNoVictim, OomVictim, Stack, Stamp, Task,
};
use crashtrace::filter::Filter;
use crashtrace::gfp::GfpNames;
use crashtrace::messages::Unsaid;
use crashtrace::pipeline::{Pipeline, Session};
use crashtrace::report::Context;
use crashtrace::schema::{BlindSpot, BtfInUse, BtfSource, Envelope, Line, NameSource, SCHEMA, Text};
use crashtrace_ebpf::counter;

use crate::parts::{
    API, CHARGE, KTIME, MIB, Made, POD, control, decision, end, in_pod, limited, lineage, lineage_of, made,
    marked, node, stamp, task, with_oom_group,
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

/// As the agent stamps it when it sends.
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

/// Every incident that is reviewed.
pub(crate) fn built() -> Vec<(&'static str, Made)> {
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
        ("system_oom_time_up", system_oom_time_up()),
    ];
    of_cgroups_and_tasks.into_iter().chain(crate::pages::built()).chain(crate::exits::built()).collect()
}

/// Every line that is reviewed in `tests/fixtures/report`.
pub(crate) fn all() -> Vec<(&'static str, Line)> {
    let incidents = built().into_iter().map(|(name, made)| {
        let mut incident = made.report();
        incident.envelope = envelope();
        (name, Line::Incident(Box::new(incident)))
    });
    incidents.chain(agent_lines()).collect()
}

/// The container at the limit of its pod, which is its own.
pub(crate) fn api() -> Lineage {
    let container = limited(lineage(&in_pod(API)), 0, 511 * MIB, 512 * MIB);
    limited(container, 1, 512 * MIB, 512 * MIB)
}

/// One container in the pod, so the pod's limit is the one that the kernel hits.
pub(crate) fn container_oom_events() -> Vec<Event> {
    let java = Task { tid: Some(4218), thread_comm: Some("GC Thread#1".into()), ..task(4211, "java", 480) };
    let victim = task(4211, "java", 480);
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 512 * MIB, 481)),
        trigger: java,
        trigger_cgroups: Some(api()),
        victim: Some(victim.clone()),
        victim_cgroups: Some(api()),
        limit_cgroups: Some(api().from_level(1)),
        limit_memory: Some(Box::new(crate::memory::of(&api().from_level(1), 470, 6))),
        victim_memory: Some(Box::new(crate::memory::of(&api(), 470, 6))),
        ..decision(Hook::Fentry, &CHARGE)
    };
    vec![Event::OomDecision(Box::new(decision)), marked(victim, api()), end(Hook::Fentry)]
}

pub(crate) fn container_oom() -> Made {
    made(container_oom_events())
}

/// A service that outgrew the node, beside pods that kept within theirs.
fn system_oom() -> Made {
    let [service, pod] = node_holders();
    of_node(OomHolders { holders: [service, pod].concat(), ..walk_of_node() })
}

/// The same on a node of so many cgroups that the walk did not come to the pod; the second look does ([`crate::parts`]).
fn system_oom_time_up() -> Made {
    let [mut holders, mut pod] = node_holders();
    pod.truncate(1);
    holders.append(&mut pod);
    of_node(OomHolders {
        holders,
        small: 25_997,
        looked_at: 26_000,
        total: Some(61_000),
        unfinished: true,
        time_up: true,
        ..walk_of_node()
    })
}

/// A large service and a large pod, each with what it is in.
pub(crate) fn node_holders() -> [Vec<Holder>; 2] {
    let at = |parent: Option<usize>, name: &str, mib: u64, limit: Limit| {
        let level = Level {
            name: Some(name.into()),
            usage_bytes: Some(mib * MIB),
            swap_usage_bytes: Some(0),
            limit: Some(limit),
            ..Level::default()
        };
        Holder { parent, level }
    };
    let mut pod = POD.split('/').skip(1);
    let mut pod_name = || pod.next().expect("three names");
    [
        vec![
            at(None, "system.slice", 6000, Limit::Unlimited),
            at(Some(0), "batch.service", 5900, Limit::Unlimited),
        ],
        vec![
            at(None, pod_name(), 1800, Limit::Bytes(6144 * MIB)),
            at(Some(2), pod_name(), 1760, Limit::Unlimited),
            at(Some(3), pod_name(), 1700, Limit::Unlimited),
        ],
    ]
}

fn walk_of_node() -> OomHolders {
    OomHolders {
        stamp: Stamp { decision_ns: Some(KTIME), ..stamp(Hook::Kprobe) },
        least_bytes: 64 * MIB,
        holders: Vec::new(),
        left_out: 0,
        small: 31,
        small_bytes: 300 * MIB,
        looked_at: 36,
        total: Some(88),
        unfinished: false,
        time_up: false,
        of_limit: false,
        removed_small: None,
    }
}

fn of_node(holders: OomHolders) -> Made {
    let hog = task(990, "stress-ng-vm", 5900);
    let service = "/system.slice/batch.service";
    let decision = OomDecision {
        control: Some(OomControl { gfp: 0x14_0dca, ..control(Constraint::None, 8192 * MIB, 5901) }),
        trigger: Task { uid: Some(0), ..task(412, "kubelet", 90) },
        trigger_cgroups: Some(lineage("/system.slice/kubelet.service")),
        victim: Some(hog.clone()),
        victim_cgroups: Some(lineage(service)),
        ..decision(Hook::Kprobe, &["oom_kill_process", "out_of_memory"])
    };
    let of_decision = holders.stamp;
    made(vec![
        Event::OomDecision(Box::new(decision)),
        Event::OomHolders(Box::new(holders)),
        Event::OomZones(
            of_decision,
            Box::new(crate::pages::used_up()),
            Some(Box::new(crate::memory::node())),
        ),
        marked(hog, lineage(service)),
        end(Hook::Kprobe),
    ])
}

fn oom_group() -> Made {
    let cgroups = || with_oom_group(limited(lineage(&in_pod(API)), 0, 256 * MIB, 256 * MIB));
    let workers = [(52, "php-fpm", 90), (51, "nginx", 20), (53, "php-fpm", 90), (54, "php-fpm", 31)];
    let decision = OomDecision {
        control: Some(control(Constraint::Memcg, 256 * MIB, 91)),
        trigger: task(54, "php-fpm", 31),
        trigger_cgroups: Some(cgroups()),
        victim: Some(task(52, "php-fpm", 90)),
        victim_cgroups: Some(cgroups()),
        limit_cgroups: Some(cgroups()),
        limit_memory: Some(Box::new(crate::memory::of(&cgroups(), 190, 12))),
        ..decision(Hook::Fentry, &CHARGE)
    };
    let mut events = vec![Event::OomDecision(Box::new(decision))];
    // The way up to the root could not be read of the last one.
    let of = |pid| Lineage { incomplete: pid == 54, ..cgroups() };
    events.extend(workers.map(|(pid, comm, mib)| marked(task(pid, comm, mib), of(pid))));
    events.push(end(Hook::Fentry));
    made(events)
}

fn no_victim(why: NoKill) -> OomNoVictim {
    let service = limited(lineage("/system.slice/agent.service"), 0, 20 * MIB, 16 * MIB);
    OomNoVictim {
        stamp: stamp(Hook::Kprobe),
        repeats: 411,
        why,
        gfp: Some(0xcc0),
        order: Some(0),
        memcg: true,
        trigger: Task { oom_score_adj: Some(-1000), rss: None, ..task(77, "agent", 0) },
        trigger_cgroups: Some(service.clone()),
        limit_memory: Some(Box::new(crate::memory::of(&service, 6, 1))),
        limit_cgroups: Some(service),
        stack: Some(Stack(CHARGE.map(str::to_owned)[1..].to_vec())),
    }
}

fn no_kill() -> Made {
    made(vec![Event::OomNoVictim(Box::new(no_victim(NoKill::NobodyFound)))])
}

/// Two more tasks hang at the same limit.
fn oom_wait() -> Made {
    let waits = OomNoVictim { repeats: 2, gfp: None, order: None, ..no_victim(NoKill::SwitchedOff) };
    made(vec![Event::OomNoVictim(Box::new(waits))])
}

/// The tier that sees marks only, where the second mark is but a thread id.
fn raw_tracepoint() -> Made {
    let java = task(4211, "java", 480);
    let group = || with_oom_group(api());
    let decision = OomDecision {
        trigger: task(9, "worker", 3),
        victim: Some(java.clone()),
        victim_cgroups: Some(group()),
        ..decision(
            Hook::RawTracepoint,
            &["__oom_kill_process", "oom_kill_process", "mem_cgroup_out_of_memory"],
        )
    };
    let only_tid = Task { tid: Some(5000), ..Task::default() };
    let mut bare = marked(only_tid, group());
    if let Event::OomVictim(victim) = &mut bare {
        victim.cgroups = None;
        victim.task.exiting = None;
    }
    made(vec![Event::OomDecision(Box::new(decision)), marked(java, group()), bare])
}

/// The ring was full when the decision was made; the marks came through, from cgroups deeper than a record holds.
fn decision_lost() -> Made {
    let deep = |pid, mib| {
        let cgroups = Lineage { skipped: 3, ..lineage(&in_pod(API)) };
        let Event::OomVictim(mut victim) = marked(task(pid, "make", mib), cgroups) else { panic!("a mark") };
        victim.task.uid = None;
        victim.stamp.ktime_ns = KTIME;
        Event::OomVictim(Box::new(OomVictim { ..*victim }))
    };
    made(vec![deep(61, 12), deep(62, 12)])
}

fn hostile_names() -> Made {
    let name = b"a\x1b[2Jb\n\xff\\\xe2\x80\xae".to_vec();
    let cgroups = || {
        let names: [&[u8]; 3] = [b"kube\xffpods", b"\x1b]0;pwned\x07", "\u{200b}\u{9b}数据".as_bytes()];
        limited(lineage_of(&names), 0, 512 * MIB, 512 * MIB)
    };
    let mut events = container_oom_events();
    for event in &mut events {
        match event {
            Event::OomDecision(decision) => {
                decision.trigger_cgroups = Some(cgroups());
                decision.victim_cgroups = Some(cgroups());
                decision.limit_cgroups = Some(cgroups());
            }
            Event::OomVictim(victim) => {
                victim.cgroups = Some(cgroups());
                victim.task.comm = Some(Name(name.clone()));
            }
            _ => {}
        }
    }
    made(events)
}

/// The blind spots of the raw tracepoints, as an agent that used them reported them.
fn blind_spots() -> Vec<BlindSpot> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/recordings/host-own-limit.json");
    let lines: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).expect("a fixture")).expect("JSON");
    serde_json::from_value(lines[0]["blind"].clone()).expect("blind spots")
}

/// The agent's lines about itself: at the start, of a loss, of a clock that was set, and at the end.
fn agent_lines() -> Vec<(&'static str, Line)> {
    let session = Session {
        node: "worker-3".into(),
        session: envelope().session,
        kernel: "6.12.48-cloud-amd64".into(),
        hooks: vec!["raw_tp:mark_victim".into(), "raw_tp:mm_page_alloc".into()],
        btf: Some(BtfInUse { path: "/sys/kernel/btf/vmlinux".into(), source: BtfSource::Kernel }),
        names_from: vec![NameSource::Kube, NameSource::Cri],
        blind: blind_spots(),
        replay: false,
        pin: None,
    };
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    let mut stages = Pipeline::new(session, machine, context(), Filter::default(), node());
    let started = stages.started(KTIME);
    let mut counts = counter::Counts::default();
    counts[counter::RING_FULL as usize] = 12;
    stages.kernel_counts(&counts);
    stages.unsaid(Unsaid { dropped: 3, kept_back: 0 });
    let loss = stages.losses(KTIME + 1_000_000_000).expect("a loss");
    let changed = stages.clock(KTIME + 2_000_000_000, context().realtime_offset_ns + 60_000_000_000);
    let stopping = stages.stopping(KTIME + 9_000_000_000, "signal").pop().expect("the end");
    let lines = [
        ("agent_started", started),
        ("loss", loss),
        ("clock_changed", changed),
        ("agent_stopping", stopping),
    ];
    // The version and the numbers are those of each release and line.
    lines
        .map(|(name, mut line)| {
            line.envelope_mut().agent = envelope().agent;
            (name, line)
        })
        .into()
}
