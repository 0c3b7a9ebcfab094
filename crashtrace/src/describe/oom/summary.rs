//! What ran out, and which process was killed, in one sentence.

use super::{Oom, account, actor_owner, free, swap};
use crate::classify::LimitFinding;
use crate::classify::oom::OomCause;
use crate::correlate::Folded;
use crate::describe::zones;
use crate::event::Constraint;
use crate::phrase::{process, processes, seconds, size};
use crate::schema::{Level, Origin};

pub(super) fn of(oom: &Oom<'_>) -> String {
    let owner = oom.limit_owner();
    let what = match oom.cause() {
        OomCause::Limit => match &owner {
            Some(owner) => limit(oom, owner),
            None if oom.origin() == Some(Origin::LimitWrite) => {
                "the limit of a memory cgroup of unknown owner was lowered below what it used".to_owned()
            }
            None => "a memory cgroup of unknown owner hit its limit".to_owned(),
        },
        OomCause::Node => match &oom.scene.sight {
            Some(sight) if oom.is_fragmentation() => format!(
                "the node had no free block for an {} allocation: {}",
                zones::order(sight),
                zones::fragmented(sight)
            ),
            _ => system(oom),
        },
        OomCause::Unknown => "the OOM killer ran, cause unknown".to_owned(),
    };
    format!("{what}; {}", outcome(oom, owner.as_deref()))
}

fn system(oom: &Oom<'_>) -> String {
    let constraint = oom.scene.request.and_then(|request| request.constraint);
    let words = match (oom.origin(), constraint) {
        (Some(Origin::Sysrq), _) => {
            "a kill was requested by sysrq, which says nothing about the node's memory"
        }
        (Some(Origin::Kswapd), _) => {
            "the node could not keep recently used memory resident for as long as lru_gen's min_ttl_ms demands"
        }
        (None, _) => "the node ran out of memory, or a kill was requested by sysrq",
        (_, Some(Constraint::Cpuset)) => "the NUMA nodes that a cpuset allows ran out of memory",
        (_, Some(Constraint::Mempolicy)) => "the NUMA nodes that a memory policy allows ran out of memory",
        (_, Some(Constraint::Other(_)) | None) => {
            "the node, or some of its zones or NUMA nodes, ran out of memory"
        }
        (_, Some(_)) => return of_node(oom),
    };
    words.to_owned()
}

/// What ran out, where that was not all of the node's memory, and where the most of it is.
fn of_node(oom: &Oom<'_>) -> String {
    let node = "the node ran out of memory".to_owned();
    let (what, reserve) = match free::of(oom) {
        Some(free) if free.much_ineligible() => (
            format!(
                "the zones that the allocation may use ran out of memory, while {} are free in {}",
                size(free.ineligible_bytes),
                free.ineligible_zones()
            ),
            String::new(),
        ),
        Some(free) if free.much_kept() => (
            node,
            format!(
                "; {} are free, but are the kernel's reserve",
                size(free.kept_bytes.min(free.eligible_bytes))
            ),
        ),
        _ => (node, String::new()),
    };
    match account::summary(oom) {
        Some(most) => format!("{what}: {most}{reserve}"),
        None => format!("{what}{reserve}"),
    }
}

fn limit(oom: &Oom<'_>, owner: &str) -> String {
    let limit = oom.limit().and_then(LimitFinding::bytes).map(size);
    if oom.origin() == Some(Origin::LimitWrite) {
        let to = limit.map_or_else(String::new, |limit| format!(" to {limit}"));
        return format!("the memory limit of {owner} was lowered{to}, below what was in use");
    }
    let of = swap::summary(oom).or_else(|| limit.map(|limit| format!(" of {limit}"))).unwrap_or_default();
    // No charge leads far beyond a limit, but the write that lowered it was not seen.
    if oom.origin().is_none() && oom.limit().is_some_and(is_beyond) {
        return format!("{owner} was above its limit{of}");
    }
    match oom.level() {
        Some(Level::Container) if oom.limit().is_some_and(|limit| limit.charged_at == Level::Pod) => {
            format!("{owner} hit its limit{of}, which is its pod's too")
        }
        Some(Level::Container) => format!("{owner} hit its own limit{of}"),
        Some(Level::Qos) => format!("{owner} together hit the limit{of} of their QoS class"),
        Some(Level::NodeAllocatable) => format!("{owner} together hit the node-allocatable limit{of}"),
        _ => format!("{owner} hit its limit{of}"),
    }
}

/// Usage above the limit, by more than the CPUs' stocks.
fn is_beyond(finding: &LimitFinding) -> bool {
    const STOCK_BYTES: u64 = 2 << 20;
    let both = finding.usage_bytes().zip(finding.bytes());
    both.is_some_and(|(usage, limit)| usage > limit.saturating_add(STOCK_BYTES))
}

/// The killed processes. The owner is left out if the sentence has just named it.
fn outcome(oom: &Oom<'_>, named: Option<&str>) -> String {
    let scene = &oom.scene;
    if scene.waits() {
        let name =
            scene.trigger.as_ref().map_or_else(|| "a task".to_owned(), |trigger| process(trigger.task));
        return format!("{name} hangs, because the OOM killer of that cgroup is switched off");
    }
    let Some(kill) = scene.kill else { return "no process could be killed".to_owned() };
    let Some(victim) = &scene.victim else { return "the victim is not known".to_owned() };
    let whose = match actor_owner(victim) {
        Some(owner) if Some(owner.as_str()) != named => format!(" of {owner}"),
        _ => String::new(),
    };
    let name = format!("{}{whose}", process(victim.task));
    let exiting = victim.task.exiting == Some(true);
    let outcome = match kill.killed() {
        0 if exiting || kill.complete => {
            format!("{name} was chosen but was already exiting, so no process was killed")
        }
        0 => format!("{name} was chosen, but whether it was killed was not observed"),
        1 if exiting => format!("{name} was already exiting: the kernel only gave it access to the reserves"),
        1 if scene.kill_in_doubt() => format!("{name} killed, unless it was already exiting"),
        1 => format!("{name} killed"),
        count => {
            let least = if kill.complete { "" } else { "at least " };
            format!("{name} and {least}{} more killed", count - 1)
        }
    };
    match &kill.folded {
        Some(folded) => format!("{outcome}; {}", folded_kills(kill.ktime_ns, folded)),
        None => outcome,
    }
}

/// How many more kills the report counts.
fn folded_kills(begun_ns: u64, folded: &Folded) -> String {
    let kills = if folded.kills == 1 { "kill" } else { "kills" };
    format!(
        "{} more such {kills} within {}, of {}",
        folded.kills,
        seconds(folded.until_ns.saturating_sub(begun_ns)),
        processes(folded.victims_total)
    )
}
