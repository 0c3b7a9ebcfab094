//! Case and verdict to report. Pure: the clocks, the page size and the names of flags are passed in.
//!
//! Nothing is decided here, what the earlier stages found is only put into the schema's words. One thing is added:
//! the order of the victims, the largest first. Why a field is null is for the stage to say that could not find it.

use std::cmp::Reverse;

use crate::classify::{Cause, LimitFinding, Verdict};
use crate::correlate::{AllocFailures, Incident, OomKill, OomNoKill};
use crate::enrich::{self, Case, Party};
use crate::event::{self, Asked, Limit, Lineage, Name, OomVictim, Task};
use crate::fold::Folded;
use crate::gfp::GfpNames;
use crate::pods::names::Names;
use crate::report::{
    self, Allocation, Claims, Constraint, Envelope, Kind, Kubernetes, LimitHit, MigrateType, Owner,
    OwnerKind, Process, Text, Unresolved, Workload,
};

mod memory;

/// What the report needs to know about the machine that the events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The kernel's id of the boot that the events belong to.
    pub boot_id: String,
    /// Size of a page.
    pub page_size_bytes: u64,
    /// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`. It changes when the wall clock is set.
    pub realtime_offset_ns: i64,
    /// The memory controller is on cgroup v1, whose limit of swap is one of memory and swap together. `None` where
    /// that is not known.
    pub memory_cgroup_v1: Option<bool>,
    /// Names of the allocation flags.
    pub gfp: GfpNames,
}

impl Context {
    /// A time of `CLOCK_BOOTTIME` as UTC, RFC 3339 with nine fractional digits.
    #[must_use]
    pub fn time(&self, ktime_ns: u64) -> String {
        let since_epoch_ns = i128::from(ktime_ns) + i128::from(self.realtime_offset_ns);
        // The sum is between the years 1677 and 2847, which jiff can hold: the other branch is never taken.
        let time = jiff::Timestamp::from_nanosecond(since_epoch_ns).unwrap_or(jiff::Timestamp::MAX);
        format!("{time:.9}")
    }
}

/// The report on a case. Its envelope is empty: the one who sends it fills that in.
#[must_use]
pub fn incident(case: &Case, verdict: &Verdict, context: &Context) -> report::Incident {
    match &case.incident {
        Incident::OomKill(kill) => oom_kill(case, kill, verdict, context),
        Incident::OomNoKill(no_kill) => oom_no_kill(case, no_kill, verdict, context),
        Incident::AllocFailure(failures) => alloc_failure(case, failures, verdict, context),
    }
}

fn oom_kill(case: &Case, kill: &OomKill, verdict: &Verdict, context: &Context) -> report::Incident {
    let decision = kill.decision.as_deref();
    let control = decision.and_then(|decision| decision.control);
    let order = largest_first(&kill.victims);
    let victims = order.iter().map(|&index| {
        let victim = &kill.victims[index];
        process(&victim.task, victim.cgroups.as_ref(), case.victims.get(index).and_then(Option::as_ref))
    });
    let hooks = decision.into_iter().map(|decision| match decision.stamp.hook {
        event::Hook::RawTracepoint => format!("{}:mark_victim", decision.stamp.hook),
        hook => format!("{hook}:oom_kill_process"),
    });
    let hooks = hooks.chain(kill.victims.iter().map(|victim| format!("{}:mark_victim", victim.stamp.hook)));

    report::Incident {
        revision: kill.revision,
        hooks: each_once(hooks),
        complete: kill.complete && kill.folded.as_ref().is_none_or(|folded| folded.incomplete == 0),
        trigger: decision.map(|it| process(&it.trigger, it.trigger_cgroups.as_ref(), case.trigger.as_ref())),
        victims: victims.collect(),
        victims_total: kill
            .killed()
            .saturating_add(kill.folded.as_ref().map_or(0, |folded| folded.victims_total)),
        repeats: kill.folded.as_ref().map_or(0, |folded| folded.kills),
        folded: kill.folded.as_deref().map(|it| folded(it, context)),
        allocation: control.map(|control| Allocation {
            scope_total_bytes: Some(control.total_bytes),
            // 0 is no process's weight: the kernel weighed nobody.
            victim_points_bytes: Some(control.points_bytes).filter(|points| *points != 0),
            ..request(control.gfp, control.order, control.memcg, context)
        }),
        memory: memory::of(case, kill.zones.as_deref(), verdict, context),
        unresolved: unresolved(case, verdict, &order),
        ..frame(Kind::OomKill, (kill.ktime_ns, kill.cpu), case, verdict, context)
    }
}

fn oom_no_kill(case: &Case, no_kill: &OomNoKill, verdict: &Verdict, context: &Context) -> report::Incident {
    let event = &*no_kill.event;
    let (kind, function) = match (event.why, event.memcg) {
        (event::NoKill::SwitchedOff, _) => (Kind::OomWait, "mem_cgroup_oom_synchronize"),
        (event::NoKill::NobodyFound, true) => (Kind::OomNoKill, "mem_cgroup_out_of_memory"),
        (event::NoKill::NobodyFound, false) => (Kind::OomNoKill, "out_of_memory"),
    };
    report::Incident {
        hooks: vec![format!("{}:{function}", event.stamp.hook)],
        complete: true,
        repeats: no_kill.repeats,
        trigger: Some(process(&event.trigger, event.trigger_cgroups.as_ref(), case.trigger.as_ref())),
        allocation: event.gfp.map(|gfp| request(gfp, event.order, event.memcg, context)),
        unresolved: unresolved(case, verdict, &[]),
        ..frame(kind, (event.stamp.ktime_ns, event.stamp.cpu), case, verdict, context)
    }
}

fn alloc_failure(
    case: &Case,
    failures: &AllocFailures,
    verdict: &Verdict,
    context: &Context,
) -> report::Incident {
    let event = &*failures.event;
    let (kind, order) = match event.asked {
        _ if verdict.cause == Cause::CgroupOom => {
            (Kind::ChargeFailure, case.request.map(|request| request.order))
        }
        Asked::Pages { order } => (Kind::AllocFailure, Some(order)),
        Asked::Vmalloc { .. } => (Kind::VmallocFailure, None),
        Asked::Other => (Kind::OtherAllocFailure, None),
    };
    let function = match event.stamp.hook {
        event::Hook::RawTracepoint => "mm_page_alloc",
        event::Hook::Fentry | event::Hook::Kprobe => "warn_alloc",
    };
    let mut asked = allocation(event.gfp, order, context);
    if let Asked::Vmalloc { bytes } = event.asked {
        asked.bytes = bytes;
    }
    // A cpuset that allows all nodes there are binds to none.
    let bound = case.request.and_then(|request| request.nodes);
    let binds = matches!(verdict.constraint, Some(event::Constraint::Cpuset | event::Constraint::Mempolicy));
    let bound = bound.filter(|_| binds);
    asked.numa_nodes = (0..64).filter(|node| bound.is_some_and(|nodes| nodes >> node & 1 == 1)).collect();
    report::Incident {
        revision: failures.revision,
        hooks: vec![format!("{}:{function}", event.stamp.hook)],
        complete: true,
        repeats: failures.repeats,
        trigger: (!event.in_interrupt())
            .then(|| process(&event.task, event.cgroups.as_ref(), case.trigger.as_ref())),
        allocation: Some(asked),
        memory: memory::of(case, event.zones.as_ref(), verdict, context),
        unresolved: unresolved(case, verdict, &[]),
        ..frame(kind, (event.stamp.ktime_ns, event.stamp.cpu), case, verdict, context)
    }
}

/// What all kinds of incidents have.
fn frame(
    kind: Kind,
    (ktime_ns, cpu): (u64, u32),
    case: &Case,
    verdict: &Verdict,
    context: &Context,
) -> report::Incident {
    report::Incident {
        envelope: Envelope::default(),
        id: format!("{}-{ktime_ns}-{cpu}", context.boot_id),
        revision: 1,
        redelivered: false,
        kind,
        time: context.time(ktime_ns),
        ktime_ns,
        verdict: report::Verdict {
            cause: verdict.cause,
            shortage: verdict.shortage,
            level: verdict.level,
            certainty: verdict.certainty,
            inferred: verdict.inferred.iter().map(ToString::to_string).collect(),
            summary: verdict.summary.clone(),
            evidence: verdict.evidence.clone(),
            remedy: verdict.remedy.clone(),
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
        unresolved: Vec::new(),
        truncated: false,
    }
}

fn folded(it: &Folded, context: &Context) -> report::Folded {
    let victims = it.victims.iter().map(|victim| report::FoldedVictim {
        pid: victim.pid,
        comm: victim.comm.as_ref().map(|name| Text::new(&name.0)),
        ktime_ns: victim.ktime_ns,
        cgroup: victim.cgroup.as_deref().map(Text::new),
    });
    report::Folded {
        victims_total: it.victims_total,
        exiting_total: it.exiting,
        resident_bytes: Some(it.resident_bytes).filter(|_| it.unread == 0),
        until: context.time(it.until_ns),
        until_ktime_ns: it.until_ns,
        victims: victims.collect(),
    }
}

/// What the kernel says in other numbers than ours is unknown; the verdict has the reason.
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
        owner: Some(owner(&party.owner)),
        limit_bytes: level.limit.and_then(Limit::bytes),
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

/// Indices of the victims, the largest (resident and swapped) first, then by pid. One of unknown size is last.
fn largest_first(victims: &[OomVictim]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..victims.len()).collect();
    order.sort_by_key(|&index| {
        let task = &victims[index].task;
        let size = task.rss.map(|rss| rss.resident_bytes().saturating_add(rss.swap_bytes));
        (Reverse(size), task.pid.is_none(), task.pid, task.tid)
    });
    order
}

/// A process. Where nobody can be named by its cgroup, what is known of the path is shown none the less.
fn process(task: &Task, cgroups: Option<&Lineage>, party: Option<&Party>) -> Process {
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
        owner: party.map(|party| owner(&party.owner)),
    }
}

pub(super) fn owner(owner: &enrich::Owner) -> Owner {
    let text = |value: &Option<String>| value.as_deref().map(Text::from);
    let names = owner.names.as_deref();
    let container = names.and_then(|names| names.container.as_ref());
    Owner {
        kind: owner.kind,
        namespace: names.and_then(|names| text(&names.namespace)),
        pod: names.and_then(|names| text(&names.pod)),
        container: container.and_then(|container| text(&container.name)),
        kubernetes: names.map(|names| kubernetes(names, owner.kind)),
        pod_uid: text(&owner.pod_uid),
        static_pod: owner.static_pod,
        container_id: text(&owner.container_id),
        qos_class: owner.qos_class.or_else(|| names.and_then(|names| names.qos)),
        runtime: owner.runtime,
        unit: text(&owner.unit),
        claims: owner.claims.as_deref().map(|claims| Claims {
            kind: claims.kind,
            pod_uid: text(&claims.pod_uid),
            container_id: text(&claims.container_id),
            qos_class: claims.qos_class,
        }),
    }
}

fn kubernetes(names: &Names, kind: OwnerKind) -> Kubernetes {
    let container = names.container.as_ref();
    let memory = match kind {
        OwnerKind::Container => container.map(|container| container.memory).unwrap_or_default(),
        _ => names.pod_memory,
    };
    Kubernetes {
        role: container.and_then(|container| container.role),
        workload: names.workload.as_ref().map(|workload| Workload {
            kind: Text::from(&*workload.kind),
            name: Text::from(&*workload.name),
            inferred: workload.inferred,
        }),
        image: container.and_then(|container| container.image.as_deref()).map(Text::from),
        restart_count: container.and_then(|container| container.restart_count),
        memory_request_bytes: memory.request_bytes,
        memory_limit_bytes: memory.limit_bytes,
        source: names.source,
        stale_seconds: names.stale_seconds,
    }
}

/// A request; one of an order that no kernel has is of no size.
fn allocation(gfp: u32, order: Option<u32>, context: &Context) -> Allocation {
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

/// What led to an OOM. A charge has flags of its own, whatever the memory is for that is charged.
fn request(gfp: u32, order: Option<u32>, memcg: bool, context: &Context) -> Allocation {
    let asked = allocation(gfp, order, context);
    Allocation { migrate_type: asked.migrate_type.filter(|_| !memcg), ..asked }
}

/// What case and verdict leave open. The case counts the victims as the kernel marked them, the report by `order`.
fn unresolved(case: &Case, verdict: &Verdict, order: &[usize]) -> Vec<Unresolved> {
    let gaps = case.unresolved.iter().chain(&verdict.unresolved).chain(&case.nameless);
    let listed = gaps.map(|gap| {
        let place = victim_field(&gap.field).and_then(|(index, rest)| {
            let place = order.iter().position(|&at| at == index)?;
            Some(format!("victims[{place}]{rest}"))
        });
        Unresolved { field: place.unwrap_or_else(|| gap.field.clone()), reason: gap.reason.clone() }
    });
    listed.collect()
}

/// `victims[3].uid` taken apart: 3 and `.uid`.
pub(super) fn victim_field(field: &str) -> Option<(usize, &str)> {
    let (index, rest) = field.strip_prefix("victims[")?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

fn each_once(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}
