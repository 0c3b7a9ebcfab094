//! The parts of incidents: tasks, cgroups, events, and the stages that make reports of them.

use crashtrace::cgroup::NodeRoot;
use crashtrace::classify::{Verdict, classify};
use crashtrace::correlate::{Correlator, Incident};
use crashtrace::describe::{Description, describe};
use crashtrace::enrich::{Case, enrich};
use crashtrace::event::{
    Constraint, Event, Hook, Level, Limit, Lineage, OomControl, OomDecision, OomVictim, Rss, Stack, Stamp,
    Task,
};
use crashtrace::fold::KillFolds;
use crashtrace::names::{
    Answer, ContainerLife, ContainerNames, MemoryBounds, Names, PodLife, PodNames, Who, Workload,
};
use crashtrace::node::{CgroupFiles, Look, Looked, Node, ProcFile, ProcFiles};
use crashtrace::report;
use crashtrace::schema::{self, ContainerRole, NameSource, Qos};
use crashtrace::stats::Stats;

use crate::cases::{context, node_holders};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const KTIME: u64 = 812_345_678_901;
pub(crate) const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb2f8a1c4_0d3e_4b6a_9c57_1e2f3a4b5c6d.slice";
pub(crate) const API: &str =
    "cri-containerd-3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef.scope";

pub(crate) const CHARGE: [&str; 3] = ["oom_kill_process", "mem_cgroup_out_of_memory", "try_charge_memcg"];

pub(crate) fn stamp(hook: Hook) -> Stamp {
    Stamp { ktime_ns: KTIME, cpu: 3, seq: 1, hook, decision_ns: None }
}

/// A little after the decision at [`KTIME`].
fn of_decision(hook: Hook) -> Stamp {
    Stamp { ktime_ns: KTIME + 40_000, decision_ns: Some(KTIME), ..stamp(hook) }
}

pub(crate) fn task(pid: u32, comm: &str, resident_mib: u64) -> Task {
    Task {
        pid: Some(pid),
        tid: Some(pid),
        container_pid: Some(1),
        comm: Some(comm.into()),
        thread_comm: Some(comm.into()),
        uid: Some(1000),
        oom_score_adj: Some(986),
        rss: Some(Rss {
            anon_bytes: resident_mib.saturating_sub(10) * MIB,
            file_bytes: 6 * MIB,
            shmem_bytes: 4 * MIB,
            swap_bytes: 0,
        }),
        page_table_bytes: Some(MIB),
        total_vm_bytes: Some(4096 * MIB),
        start_boottime_ns: Some(700_000_000_000),
        exiting: Some(false),
    }
}

pub(crate) fn marked(task: Task, cgroups: Lineage) -> Event {
    // The mark comes after the signal.
    let task = Task { exiting: Some(true), ..task };
    let stamp = of_decision(Hook::RawTracepoint);
    Event::OomVictim(Box::new(OomVictim {
        stamp,
        marker_tid: 4218,
        cgroups: Some(cgroups),
        in_decision: false,
        task,
    }))
}

pub(crate) fn end(hook: Hook) -> Event {
    Event::OomDecisionEnd(Stamp { ktime_ns: KTIME + 90_000, ..of_decision(hook) })
}

pub(crate) fn decision(hook: Hook, functions: &[&str]) -> OomDecision {
    OomDecision {
        stamp: Stamp { decision_ns: Some(KTIME), ..stamp(hook) },
        control: None,
        message: None,
        trigger: Task::default(),
        trigger_cgroups: None,
        victim: None,
        victim_cgroups: None,
        limit_cgroups: None,
        limit_memory: None,
        victim_memory: None,
        stack: Some(Stack(functions.iter().map(|&name| name.to_owned()).collect())),
    }
}

/// `victim_mib` is the victim's memory, page tables included, at an `oom_score_adj` of 986.
pub(crate) fn control(constraint: Constraint, total_bytes: u64, victim_mib: u64) -> OomControl {
    let badness = victim_mib * MIB + total_bytes / 1000 * 986;
    OomControl {
        total_bytes,
        points_bytes: badness.cast_signed(),
        gfp: 0xcc0,
        order: Some(0),
        constraint,
        memcg: constraint == Constraint::Memcg,
        zonelist: constraint != Constraint::Memcg,
    }
}

pub(crate) fn in_pod(container: &str) -> String {
    format!("{POD}/{container}")
}

/// The cgroups of a path, without limits. Equal paths have equal ids.
pub(crate) fn lineage(path: &str) -> Lineage {
    let names: Vec<&[u8]> = path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect();
    lineage_of(&names)
}

pub(crate) fn lineage_of(names: &[&[u8]]) -> Lineage {
    let mut id = 1_u64;
    let mut levels =
        vec![Level { cgroup_id: Some(id), name: Some("".into()), root: true, ..Level::default() }];
    for name in names {
        id = name.iter().fold(id, |id, byte| (id ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let level = Level {
            cgroup_id: Some(id),
            name: Some(crashtrace::event::Name(name.to_vec())),
            root: false,
            usage_bytes: Some(MIB),
            limit: Some(Limit::Unlimited),
            swap_usage_bytes: Some(0),
            swap_limit: Some(Limit::Unlimited),
            oom_group: Some(false),
            oom_kill_disable: false,
            removed: false,
        };
        levels.insert(0, level);
    }
    Lineage { levels, skipped: 0, incomplete: false, unified: false }
}

/// Sets usage and limit of the cgroup so many levels up.
pub(crate) fn limited(mut lineage: Lineage, up: usize, usage: u64, limit: u64) -> Lineage {
    let level = &mut lineage.levels[up];
    level.usage_bytes = Some(usage);
    level.limit = Some(Limit::Bytes(limit));
    lineage
}

pub(crate) fn with_oom_group(mut lineage: Lineage) -> Lineage {
    lineage.levels[0].oom_group = Some(true);
    lineage
}

/// The container's request and limit in Kubernetes.
fn bounds() -> MemoryBounds {
    MemoryBounds {
        request_bytes: Some(256 * MIB),
        limit_bytes: Some(512 * MIB),
        limit_in_force_bytes: Some(512 * MIB),
    }
}

/// The API server, which knows the pod.
#[derive(Debug)]
struct Shop;

impl PodNames for Shop {
    fn find(&mut self, who: Who<'_>) -> Answer {
        if who.pod_uid != "b2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d" {
            let missing = Some("the API server has no such pod on this node".to_owned());
            return Answer { missing, ..Answer::default() };
        }
        let container = who.container_id.map(|_| ContainerNames {
            memory_volumes: Some(Vec::new()),
            name: Some("api".into()),
            role: Some(ContainerRole::App),
            image: Some("registry.example/shop/api:1.4.2".into()),
            restart_count: Some(3),
            memory: bounds(),
            life: ContainerLife::default(),
        });
        let names = Names {
            pod_limit_is_own: Some(false),
            shares_pids: Some(false),
            memory_volumes: Some(Vec::new()),
            source: NameSource::Kube,
            namespace: Some("shop".into()),
            pod: Some("api-7f9c4d8b6-x2x7q".into()),
            workload: Some(Workload { kind: "Deployment".into(), name: "api".into(), inferred: true }),
            qos: Some(Qos::Burstable),
            pod_memory: bounds(),
            life: PodLife::default(),
            container,
            stale_seconds: None,
        };
        Answer { names: Some(names), ..Answer::default() }
    }
}

#[derive(Debug)]
struct Files;

impl CgroupFiles for Files {
    fn memory_stat(&mut self, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
        Ok(b"anon 1\nshmem 20971520\n".to_vec())
    }

    /// By then the victim's service has become smaller.
    fn large(&mut self, _: u64, least_bytes: u64) -> Look {
        let mut holders = node_holders().concat();
        for holder in &mut holders[..2] {
            holder.level.usage_bytes = Some(80 * MIB);
        }
        let is_large = holders.iter().all(|holder| holder.level.usage_bytes >= Some(least_bytes));
        assert!(is_large, "none is below what is looked for");
        Look::Done(Looked { holders, looked_at: 50_000, unfinished: true })
    }
}

/// Memory that cannot be moved.
pub(crate) const MEMINFO: &[u8] = b"SUnreclaim: 183296 kB\nSReclaimable: 20480 kB\nPageTables: 9216 kB\nKernelStack: 4096 kB\n\
                         Unevictable: 6144 kB\nHugePages_Total: 0\nHugePages_Free: 0\nHugepagesize: 2048 kB\n";

impl ProcFiles for Files {
    fn read(&mut self, _: ProcFile) -> Result<Vec<u8>, String> {
        Ok(MEMINFO.to_vec())
    }
}

/// A node of 8 GiB, in a cluster.
pub(crate) fn node() -> Node {
    Node {
        memory_bytes: Some(8192 * MIB),
        cgroups: Box::new(Files),
        proc: Box::new(Files),
        pods: Box::new(Shop),
        gfp: context().gfp,
        ..Node::unseen("a test")
    }
}

/// An incident with all that the stages make of it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) case: Case,
    pub(crate) verdict: Verdict,
    pub(crate) description: Description,
}

impl Made {
    pub(crate) fn of(incident: Incident, node: &mut Node) -> Self {
        Self::judged(enrich(incident, node))
    }

    pub(crate) fn judged(case: Case) -> Self {
        let verdict = classify(&case);
        let description = describe(&case, &verdict);
        Self { case, verdict, description }
    }

    pub(crate) fn report(&self) -> schema::Incident {
        report::incident(&self.case, &self.verdict, &self.description, &context())
    }
}

/// The incidents of these events.
pub(crate) fn incidents(events: Vec<Event>) -> Vec<Incident> {
    let probed = events.iter().any(
        |event| matches!(event, Event::OomDecision(decision) if decision.stamp.hook != Hook::RawTracepoint),
    );
    let (mut correlator, mut folds, mut stats) =
        (Correlator::new(probed, NodeRoot::default()), KillFolds::default(), Stats::default());
    correlator.kills_show(true);
    let mut done = Vec::new();
    for event in events {
        let now_ns = event.stamp().ktime_ns;
        done.extend(folds.tick(now_ns));
        for incident in correlator.push(event, &mut stats) {
            done.extend(folds.push(incident, NodeRoot::default(), now_ns));
        }
    }
    for incident in correlator.finish() {
        done.extend(folds.push(incident, NodeRoot::default(), KTIME));
    }
    done.extend(folds.finish());
    done
}

/// The one incident that comes of these events, through all stages.
pub(crate) fn made(events: Vec<Event>) -> Made {
    let mut incidents = incidents(events);
    assert_eq!(incidents.len(), 1, "{incidents:?}");
    Made::of(incidents.remove(0), &mut node())
}
