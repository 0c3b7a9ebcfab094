//! Limits that were lowered below usage: OOMs without a victim that belong to such a kill are no incident.

use super::OomKill;
use crate::event::{Limit, OomNoVictim};

/// How long the kernel may take to free the memory of a killed process: `exit_mmap` of a large one, on a busy machine.
pub(in crate::correlate) const ON_ITS_WAY_NS: u64 = 2_000_000_000;
/// The function that lowers a limit, and kills until usage is below it.
const LIMIT_WRITE: &str = "memory_max_write";

/// A kill for a limit that was lowered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    cgroup_id: u64,
    latest_ns: u64,
    /// Anonymous memory of the victims.
    held_bytes: u64,
}

impl Written {
    /// This kill, if it is for a limit that was lowered; `latest_ns` is the time of its latest record.
    pub(super) fn of(kill: &OomKill, latest_ns: u64) -> Option<Self> {
        let decision = kill.decision.as_ref()?;
        decision.stack.as_ref().filter(|stack| stack.has(LIMIT_WRITE))?;
        // Shared memory may stay when they die.
        let victims = kill.victims.iter().filter_map(|victim| victim.task.rss);
        Some(Self {
            cgroup_id: decision.limit_cgroups.as_ref()?.levels.first()?.cgroup_id?,
            latest_ns,
            held_bytes: victims.fold(0, |sum, rss| sum.saturating_add(rss.anon_bytes)),
        })
    }
}

/// Whether this is the writer of a limit above usage again, or as soon as the memory of the killed processes is freed.
/// `memory_max_write` (`mm/memcontrol.c`, 5.10 to 7.3) kills one victim after the other until usage is below the new limit, and
/// may invoke the OOM killer once more while the last victim exits: there is no victim left then, and no memory is short. A
/// charge without a victim has failed, whatever the usage is a moment later.
pub(super) fn met(event: &OomNoVictim, killed: Option<Written>) -> bool {
    let written = event.stack.as_ref().is_some_and(|stack| stack.has(LIMIT_WRITE));
    let Some(level) = event.limit_cgroups.as_ref().and_then(|cgroups| cgroups.levels.first()) else {
        return false;
    };
    let on_its_way = killed.filter(|killed| {
        Some(killed.cgroup_id) == level.cgroup_id
            && event.stamp.ktime_ns <= killed.latest_ns.saturating_add(ON_ITS_WAY_NS)
    });
    let on_its_way_bytes = on_its_way.map_or(0, |killed| killed.held_bytes);
    let within = match (level.usage_bytes, level.limit) {
        (Some(usage), Some(Limit::Bytes(limit))) => usage.saturating_sub(on_its_way_bytes) <= limit,
        (_, Some(Limit::Unlimited)) => true,
        _ => false,
    };
    written && within && event.repeats == 0
}
