//! OOM kills, and OOMs without a victim.

use std::cmp::Reverse;

use super::parts::{allocation, frame, process, unresolved};
use super::{Context, Told, memory};
use crate::correlate::{Folded, OomKill, OomNoKill};
use crate::enrich::Case;
use crate::event::{self, OomVictim};
use crate::schema::{self, Allocation, Kind, Text};

pub(super) fn kill(case: &Case, kill: &OomKill, told: Told<'_>, context: &Context) -> schema::Incident {
    let decision = kill.decision.as_deref();
    let control = decision.and_then(|decision| decision.control);
    let order = largest_first(&kill.victims);
    let victims = order.iter().map(|&index| {
        let victim = &kill.victims[index];
        process(&victim.task, victim.cgroups.as_ref(), case.victim(index))
    });
    let hooks = decision.into_iter().map(|decision| match decision.stamp.hook {
        event::Hook::RawTracepoint => format!("{}:mark_victim", decision.stamp.hook),
        hook => format!("{hook}:oom_kill_process"),
    });
    let hooks = hooks.chain(kill.victims.iter().map(|victim| format!("{}:mark_victim", victim.stamp.hook)));

    schema::Incident {
        revision: kill.revision,
        hooks: each_once(hooks),
        complete: kill.complete && kill.folded.as_ref().is_none_or(|folded| folded.incomplete == 0),
        trigger: decision.map(|it| process(&it.trigger, it.trigger_cgroups.as_ref(), case.trigger())),
        victims: victims.collect(),
        victims_total: kill
            .killed()
            .saturating_add(kill.folded.as_ref().map_or(0, |folded| folded.victims_total)),
        repeats: kill.folded.as_ref().map_or(0, |folded| folded.kills),
        folded: kill.folded.as_deref().map(|it| folded(it, context)),
        allocation: control.map(|control| Allocation {
            scope_total_bytes: Some(control.total_bytes),
            // 0 is no process's weight: the kernel weighed no process.
            victim_points_bytes: Some(control.points_bytes).filter(|points| *points != 0),
            ..request(control.gfp, control.order, control.memcg, context)
        }),
        memory: memory::of(case, kill.zones.as_deref(), control, told.verdict, context),
        unresolved: unresolved(case, told, &order),
        ..frame(Kind::OomKill, (kill.ktime_ns, kill.cpu), case, told, context)
    }
}

pub(super) fn no_kill(
    case: &Case,
    no_kill: &OomNoKill,
    told: Told<'_>,
    context: &Context,
) -> schema::Incident {
    let event = &*no_kill.event;
    let (kind, function) = match (event.why, event.memcg) {
        (event::NoKill::SwitchedOff, _) => (Kind::OomWait, "mem_cgroup_oom_synchronize"),
        (event::NoKill::NobodyFound, true) => (Kind::OomNoKill, "mem_cgroup_out_of_memory"),
        (event::NoKill::NobodyFound, false) => (Kind::OomNoKill, "out_of_memory"),
    };
    schema::Incident {
        hooks: vec![format!("{}:{function}", event.stamp.hook)],
        complete: true,
        repeats: no_kill.repeats,
        trigger: Some(process(&event.trigger, event.trigger_cgroups.as_ref(), case.trigger())),
        allocation: event.gfp.map(|gfp| request(gfp, event.order, event.memcg, context)),
        memory: memory::of(case, None, None, told.verdict, context),
        unresolved: unresolved(case, told, &[]),
        ..frame(kind, (event.stamp.ktime_ns, event.stamp.cpu), case, told, context)
    }
}

fn folded(it: &Folded, context: &Context) -> schema::Folded {
    let victims = it.victims.iter().map(|victim| schema::FoldedVictim {
        pid: victim.pid,
        comm: victim.comm.as_ref().map(|name| Text::new(&name.0)),
        ktime_ns: victim.ktime_ns,
        cgroup: victim.cgroup.as_deref().map(Text::new),
    });
    schema::Folded {
        victims_total: it.victims_total,
        exiting_total: it.exiting,
        resident_bytes: Some(it.resident_bytes).filter(|_| it.unread == 0),
        until: context.time(it.until_ns),
        until_ktime_ns: it.until_ns,
        victims: victims.collect(),
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

/// The allocation behind an OOM. A charge has its own flags, for any use of the charged memory.
fn request(gfp: u32, order: Option<u32>, memcg: bool, context: &Context) -> Allocation {
    let asked = allocation(gfp, order, context);
    Allocation { migrate_type: asked.migrate_type.filter(|_| !memcg), ..asked }
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
