//! The one sentence of a verdict: what ran out, and who was killed.

use super::scene::{Actor, Scene};
use super::words::{self, bytes, owner, process, processes};
use super::{Cause, Level, LimitFinding, Origin, Shortage, Verdict};
use crate::cgroup::Place;
use crate::event::{Constraint, Limit};
use crate::fold::Folded;

/// The summary.
pub(super) fn of(scene: &Scene<'_>, verdict: &Verdict) -> String {
    let owner = limit_owner(scene, verdict);
    let what = match verdict.cause {
        Cause::CgroupOom => match &owner {
            Some(owner) => limit(verdict, owner),
            None if verdict.origin == Some(Origin::LimitWrite) => {
                "the limit of a memory cgroup was lowered below what it used, but whose is not known"
                    .to_owned()
            }
            None => "a memory cgroup hit its limit, but whose is not known".to_owned(),
        },
        Cause::SystemOom => match &scene.sight {
            Some(sight) if verdict.shortage == Some(Shortage::Fragmentation) => format!(
                "the node ran out of large pieces of memory: {}, and {} was asked for",
                sight.fragmented(),
                sight.asked()
            ),
            _ => system(scene, verdict).to_owned(),
        },
        Cause::Fragmentation | Cause::LowMemory | Cause::Unknown => {
            "the OOM killer was at work, but what had run out could not be told".to_owned()
        }
    };
    format!("{what}; {}", outcome(scene, owner.as_deref()))
}

fn system(scene: &Scene<'_>, verdict: &Verdict) -> &'static str {
    let constraint = scene.request.and_then(|request| request.constraint);
    match (verdict.origin, constraint) {
        (Some(Origin::Sysrq), _) => {
            "somebody requested a kill by sysrq, which says nothing about the node's memory"
        }
        (Some(Origin::Kswapd), _) => {
            "the node could not keep memory in use resident for as long as lru_gen's min_ttl_ms demands"
        }
        (None, _) => "the node ran out of memory, or somebody requested a kill by sysrq",
        (_, Some(Constraint::Cpuset)) => "the NUMA nodes that a cpuset allows ran out of memory",
        (_, Some(Constraint::Mempolicy)) => "the NUMA nodes that a memory policy allows ran out of memory",
        (_, Some(Constraint::Other(_))) => "the node, or some part of its memory, ran out",
        (_, Some(_)) => "the node ran out of memory",
        (_, None) => "the node ran out of memory, or the part of it that the request was bound to",
    }
}

fn limit(verdict: &Verdict, owner: &str) -> String {
    let limit = verdict.limit.as_ref().and_then(limit_bytes).map(bytes);
    if verdict.origin == Some(Origin::LimitWrite) {
        let to = limit.map_or_else(String::new, |limit| format!(" to {limit}"));
        return format!("the memory limit of {owner} was lowered{to}, below what was in use");
    }
    let of = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    // No charge leads far beyond a limit, but whether it was lowered was not seen.
    if verdict.origin.is_none() && verdict.limit.as_ref().is_some_and(is_beyond) {
        return format!("{owner} was beyond its limit{of}");
    }
    match verdict.level {
        Some(Level::Container) => format!("{owner} hit its own limit{of}"),
        Some(Level::Qos) => format!("{owner} together hit the limit{of} of their class"),
        Some(Level::NodeAllocatable) => {
            format!("{owner} together hit the limit{of} that the node sets for them (node allocatable)")
        }
        _ => format!("{owner} hit its limit{of}"),
    }
}

/// More in use than the limit allows, by more than what CPUs keep in stock.
fn is_beyond(finding: &LimitFinding) -> bool {
    const STOCK_BYTES: u64 = 2 << 20;
    let level = finding.cgroups.levels.first();
    let usage = level.and_then(|level| level.usage_bytes);
    usage.zip(limit_bytes(finding)).is_some_and(|(usage, limit)| usage > limit.saturating_add(STOCK_BYTES))
}

/// The limit in bytes.
pub(crate) fn limit_bytes(finding: &LimitFinding) -> Option<u64> {
    finding.cgroups.levels.first()?.limit.and_then(Limit::bytes)
}

/// Whom people would call the owner of the limit: where a pod's limit is its container's, the container.
pub(crate) fn limit_owner(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let finding = verdict.limit.as_ref()?;
    let party = &finding.party;
    if verdict.level == Some(Level::Container) && finding.charged_at != Level::Container {
        let actor = scene.victim.as_ref().or(scene.trigger.as_ref());
        return actor.and_then(actor_owner);
    }
    let name = owner(party);
    Some(match (verdict.level, party.placement.place) {
        (Some(Level::Cgroup), Place::Container | Place::HostService) if party.placement.claims.is_some() => {
            format!("a cgroup inside {name}")
        }
        (Some(Level::Cgroup), Place::Container | Place::HostService) => {
            format!("{} inside {name}", words::cgroup(party))
        }
        (Some(Level::Cgroup), _) => words::cgroup(party),
        _ => name,
    })
}

/// Whose process it is.
pub(crate) fn actor_owner(actor: &Actor<'_>) -> Option<String> {
    actor.party.as_ref().map(owner)
}

/// Who was killed. The owner is left out where it has just been named.
fn outcome(scene: &Scene<'_>, named: Option<&str>) -> String {
    if scene.waits() {
        let name =
            scene.trigger.as_ref().map_or_else(|| "a task".to_owned(), |trigger| process(trigger.task));
        return format!("{name} hangs there, for its OOM killer is switched off");
    }
    let Some(kill) = scene.kill else { return "nobody could be killed".to_owned() };
    let Some(victim) = &scene.victim else { return "who was killed is not known".to_owned() };
    let whose = match actor_owner(victim) {
        Some(owner) if Some(owner.as_str()) != named => format!(" of {owner}"),
        _ => String::new(),
    };
    let name = format!("{}{whose}", process(victim.task));
    let ending = victim.task.exiting == Some(true);
    let outcome = match kill.killed() {
        0 if ending || kill.complete => {
            format!("{name} was chosen but was ending already, so nobody was killed")
        }
        0 => format!("{name} was chosen, but whether it was killed was not seen"),
        1 if ending => format!("{name} was ending already, the kernel only gave it access to the reserves"),
        1 if scene.kill_in_doubt() => format!("{name} killed, unless it was ending already"),
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

/// How many kills more a report stands for.
fn folded_kills(begun_ns: u64, folded: &Folded) -> String {
    let seconds = folded.until_ns.saturating_sub(begun_ns) as f64 / 1e9;
    let kills = if folded.kills == 1 {
        "1 more such kill".to_owned()
    } else {
        format!("{} more such kills", folded.kills)
    };
    format!("{kills} within {seconds:.1} s, of {}", processes(folded.victims_total))
}
