//! The parts that lines of several kinds have.

use super::{Context, Told};
use crate::classify::{LimitFinding, Verdict};
use crate::enrich::{Case, Party};
use crate::event::{self, Limit, Lineage, Name, Task};
use crate::schema::{
    self, Allocation, Constraint, Envelope, Field, Kind, LimitHit, MigrateType, Process, Text, Unresolved,
};

/// The fields of all kinds of incidents.
pub(super) fn frame(
    kind: Kind,
    (ktime_ns, cpu): (u64, u32),
    case: &Case,
    told: Told<'_>,
    context: &Context,
) -> schema::Incident {
    let Told { verdict, description } = told;
    schema::Incident {
        envelope: Envelope::default(),
        id: context.id(ktime_ns, cpu),
        revision: 1,
        redelivered: false,
        kind,
        time: context.time(ktime_ns),
        ktime_ns,
        verdict: schema::Verdict {
            cause: verdict.cause,
            shortage: verdict.shortage,
            level: verdict.level,
            certainty: verdict.certainty,
            inferred: verdict.inferred.clone(),
            summary: description.summary.clone(),
            evidence: description.evidence.clone(),
            remedy: description.remedy.clone(),
        },
        hooks: Vec::new(),
        origin: verdict.origin,
        constraint: constraint(verdict.constraint),
        complete: false,
        repeats: 0,
        limit: verdict.limit.as_ref().map(|limit| limit_hit(limit, verdict, case.limit_shmem_bytes, context)),
        memory: None,
        trigger: None,
        victims: Vec::new(),
        victims_total: 0,
        folded: None,
        allocation: None,
        exit: None,
        unresolved: Vec::new(),
        truncated: false,
    }
}

/// A constraint with an unknown number is unknown; the verdict has the reason.
fn constraint(constraint: Option<event::Constraint>) -> Option<Constraint> {
    match constraint? {
        event::Constraint::None => Some(Constraint::None),
        event::Constraint::Cpuset => Some(Constraint::Cpuset),
        event::Constraint::Mempolicy => Some(Constraint::Mempolicy),
        event::Constraint::Memcg => Some(Constraint::Memcg),
        event::Constraint::Other(_) => None,
    }
}

fn limit_hit(
    finding: &LimitFinding,
    verdict: &Verdict,
    shmem_bytes: Option<u64>,
    context: &Context,
) -> LimitHit {
    let LimitFinding { cgroups, party, charged_at } = finding;
    let level = cgroups.levels.first().cloned().unwrap_or_default();
    LimitHit {
        cgroup: Text::new(&party.path),
        charged_at: Some(*charged_at),
        owner: Some(party.owner.in_schema().clone()),
        limit_bytes: finding.bytes(),
        kind: context.memory_cgroup_v1.and_then(|v1| finding.kind(v1)),
        unlimited: level.limit == Some(Limit::Unlimited),
        kubernetes_limit_bytes: verdict.kubernetes.and_then(|bounds| bounds.limit_bytes),
        kubernetes_limit_in_force_bytes: verdict.kubernetes.and_then(|bounds| bounds.limit_in_force_bytes),
        usage_bytes: level.usage_bytes,
        shmem_bytes,
        swap_usage_bytes: level.swap_usage_bytes,
        swap_limit_bytes: level.swap_limit.and_then(Limit::bytes),
        swap_unlimited: level.swap_limit == Some(Limit::Unlimited),
        swap_includes_memory: context.memory_cgroup_v1,
        oom_group: level.oom_group,
    }
}

/// A process. If the owner is not known, the known part of the path is still shown.
pub(super) fn process(task: &Task, cgroups: Option<&Lineage>, party: Option<&Party>) -> Process {
    let cgroup = party.map(|party| Text::new(&party.path));
    let cgroup = cgroup.or_else(|| Some(Text::new(&cgroups?.path())));
    let text = |name: &Option<Name>| name.as_ref().map(|name| Text::new(&name.0));
    Process {
        pid: task.pid,
        tid: task.tid,
        container_pid: task.container_pid,
        comm: text(&task.comm),
        thread_comm: text(&task.thread_comm),
        uid: task.uid,
        start_boottime_ns: task.start_boottime_ns,
        anon_bytes: task.rss.map(|rss| rss.anon_bytes),
        file_bytes: task.rss.map(|rss| rss.file_bytes),
        shmem_bytes: task.rss.map(|rss| rss.shmem_bytes),
        swap_bytes: task.rss.map(|rss| rss.swap_bytes),
        page_table_bytes: task.page_table_bytes,
        total_vm_bytes: task.total_vm_bytes,
        oom_score_adj: task.oom_score_adj,
        exiting: task.exiting,
        cgroup,
        cgroup_cut: cgroups.is_some_and(|cgroups| cgroups.skipped > 0 || cgroups.incomplete),
        owner: party.map(|party| party.owner.in_schema().clone()),
    }
}

/// An allocation; if no kernel has its order, it has no size.
pub(super) fn allocation(gfp: u32, order: Option<u32>, context: &Context) -> Allocation {
    let bytes = order.and_then(|order| 1_u64.checked_shl(order)?.checked_mul(context.page_size_bytes));
    Allocation {
        order,
        bytes,
        migrate_type: order.map(|_| match context.gfp.traits(gfp) {
            traits if traits.movable => MigrateType::Movable,
            traits if traits.reclaimable => MigrateType::Reclaimable,
            _ => MigrateType::Unmovable,
        }),
        numa_nodes: Vec::new(),
        gfp: context.gfp.names(gfp),
        gfp_mask: gfp,
        scope_total_bytes: None,
        victim_points_bytes: None,
    }
}

/// Unresolved fields of case and verdict. The case counts the victims as the kernel marked them, the report by `order`.
pub(super) fn unresolved(case: &Case, told: Told<'_>, order: &[usize]) -> Vec<Unresolved> {
    let gaps = case.unresolved.iter().chain(&told.description.unresolved).chain(&case.nameless);
    let in_order = |field: Field| {
        let place = order.iter().position(|&at| Some(at) == field.victim());
        place.map_or(field, |place| field.of_victim(place))
    };
    gaps.map(|gap| Unresolved { field: in_order(gap.field), reason: gap.reason.clone() }).collect()
}
