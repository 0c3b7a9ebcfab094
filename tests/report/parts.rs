//! What cases are put together from: tasks, cgroups, owners.

use crashtrace::cgroup::{Qos, Runtime, parse};
use crashtrace::classify::{Cause, Certainty, Level as VerdictLevel, Origin, Verdict};
use crashtrace::correlate::{Incident, OomKill};
use crashtrace::enrich::{Case, Gap, NameBook, NodeRoot, Owner, OwnerKind, Party};
use crashtrace::event::{
    Constraint, Hook, Level, Limit, Lineage, OomControl, OomDecision, OomVictim, Rss, Stamp, Task,
};
use crashtrace::pods::names::{ContainerNames, ContainerRole, NameSource, Names};
use crashtrace::pods::pod::{MemoryBounds, Workload};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const KTIME: u64 = 812_345_678_901;
pub(crate) const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podb2f8a1c4_0d3e_4b6a_9c57_1e2f3a4b5c6d.slice";
pub(crate) const API: &str =
    "cri-containerd-3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef.scope";

pub(crate) fn stamp(hook: Hook) -> Stamp {
    Stamp { ktime_ns: KTIME, cpu: 3, seq: 1, hook, decision_ns: None }
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

pub(crate) fn marked(task: Task, cgroup: &str) -> OomVictim {
    OomVictim { stamp: stamp(Hook::RawTracepoint), marker_tid: 4218, cgroups: Some(lineage(cgroup)), task }
}

pub(crate) fn decision(hook: Hook) -> OomDecision {
    OomDecision {
        stamp: stamp(hook),
        control: None,
        message: None,
        trigger: Task::default(),
        trigger_cgroups: None,
        victim: None,
        victim_cgroups: None,
        limit_cgroups: None,
        stack: None,
    }
}

pub(crate) fn control(constraint: Constraint, total_bytes: u64) -> OomControl {
    OomControl {
        total_bytes,
        points_bytes: 481 * 1024 * 1024,
        gfp: 0xcc0,
        order: Some(0),
        constraint,
        memcg: constraint == Constraint::Memcg,
        zonelist: constraint != Constraint::Memcg,
    }
}

pub(crate) fn case(decision: Option<OomDecision>, victims: Vec<OomVictim>) -> Case {
    let kill = OomKill {
        ktime_ns: KTIME,
        cpu: 3,
        decision: decision.map(Box::new),
        victims,
        holders: None,
        zones: None,
        revision: 1,
        complete: true,
        may_grow: false,
        unlisted: 0,
        folded: None,
    };
    Case {
        incident: Incident::OomKill(Box::new(kill)),
        trigger: None,
        victims: Vec::new(),
        limit: None,
        limit_shmem_bytes: None,
        memory: None,
        request: None,
        traits: None,
        unmovable: None,
        node_root: NodeRoot::default(),
        page_size_bytes: 4096,
        node_memory_bytes: None,
        unresolved: Vec::new(),
        names: NameBook::default(),
        nameless: Vec::new(),
    }
}

pub(crate) fn verdict(summary: &str, remedy: &str) -> Verdict {
    Verdict {
        cause: Cause::CgroupOom,
        shortage: None,
        level: Some(VerdictLevel::Container),
        origin: Some(Origin::Charge),
        constraint: Some(Constraint::Memcg),
        limit: None,
        kubernetes: None,
        certainty: Certainty::Observed,
        inferred: Vec::new(),
        summary: summary.into(),
        evidence: Vec::new(),
        remedy: remedy.into(),
        unresolved: Vec::new(),
        assessment: None,
    }
}

pub(crate) fn in_pod(container: &str) -> String {
    format!("{POD}/{container}")
}

pub(crate) fn lineage(path: &str) -> Lineage {
    let named = path.split('/').filter(|name| !name.is_empty()).rev();
    let named = named.map(|name| Level { name: Some(name.into()), ..Level::default() });
    let root = Level { name: Some("".into()), root: true, ..Level::default() };
    Lineage { levels: named.chain([root]).collect(), skipped: 0, incomplete: false, unified: false }
}

pub(crate) fn level_of(path: &str, usage: u64, limit: u64) -> Lineage {
    let mut lineage = lineage(path);
    lineage.levels[0] = Level {
        usage_bytes: Some(usage),
        limit: Some(Limit::Bytes(limit)),
        swap_usage_bytes: Some(0),
        swap_limit: Some(Limit::Unlimited),
        oom_group: Some(false),
        ..lineage.levels[0].clone()
    };
    lineage
}

pub(crate) fn with_oom_group(mut lineage: Lineage) -> Lineage {
    lineage.levels[0].oom_group = Some(true);
    lineage
}

pub(crate) fn gap(field: &str, reason: &str) -> Gap {
    Gap { field: field.into(), reason: reason.into() }
}

pub(crate) fn party(path: String, kind: OwnerKind) -> Party {
    let owner = Owner {
        kind,
        pod_uid: None,
        static_pod: false,
        container_id: None,
        qos_class: None,
        runtime: None,
        unit: None,
        names: None,
        claims: None,
    };
    Party { placement: parse(path.as_bytes()), path: path.into_bytes(), owner }
}

/// What Kubernetes has as the container's bounds.
pub(crate) fn bounds() -> MemoryBounds {
    MemoryBounds {
        request_bytes: Some(256 * MIB),
        limit_bytes: Some(512 * MIB),
        limit_in_force_bytes: Some(512 * MIB),
    }
}

/// With the names that the API server has for it.
pub(crate) fn named(mut party: Party) -> Party {
    let container = ContainerNames {
        name: Some("api".into()),
        role: Some(ContainerRole::App),
        image: Some("registry.example/shop/api:1.4.2".into()),
        restart_count: Some(3),
        memory: bounds(),
    };
    party.owner.names = Some(Box::new(Names {
        source: NameSource::Kube,
        namespace: Some("shop".into()),
        pod: Some("api-7f9c4d8b6-x2x7q".into()),
        workload: Some(Workload { kind: "Deployment".into(), name: "api".into(), inferred: true }),
        qos: Some(Qos::Burstable),
        pod_memory: bounds(),
        container: Some(container).filter(|_| party.owner.kind == OwnerKind::Container),
        stale_seconds: None,
    }));
    party
}

pub(crate) fn pod() -> Party {
    let party = party(POD.to_owned(), OwnerKind::Pod);
    let uid = Some("b2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d".into());
    Party { owner: Owner { pod_uid: uid, qos_class: Some(Qos::Burstable), ..party.owner }, ..party }
}

pub(crate) fn container(name: &str) -> Party {
    let id = name.strip_prefix("cri-containerd-").and_then(|name| name.strip_suffix(".scope"));
    Party {
        path: in_pod(name).into_bytes(),
        placement: parse(in_pod(name).as_bytes()),
        owner: Owner {
            kind: OwnerKind::Container,
            container_id: id.map(str::to_owned),
            runtime: Some(Runtime::Containerd),
            ..pod().owner
        },
    }
}

pub(crate) fn kubepods() -> Party {
    party("/kubepods.slice".to_owned(), OwnerKind::Kubepods)
}

pub(crate) fn host_service(unit: &str) -> Party {
    let party = party(format!("/system.slice/{unit}"), OwnerKind::HostService);
    Party { owner: Owner { unit: Some(unit.to_owned()), ..party.owner }, ..party }
}
