//! A decision that is not over yet.

use super::{CONSOLE_NS, LOST_END_NS, OomKill, QUIET_NS, VICTIMS};
use crate::event::{Hook, OomDecision, OomVictim, Stamp};

#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) kill: OomKill,
    /// The decision's time in its other records.
    pub(super) decision_ns: u64,
    /// Records were lost since it began.
    pub(super) torn: bool,
    /// There will be an end record.
    pub(super) has_end: bool,
    /// More victims may come after the first.
    pub(super) group: bool,
    /// Time of its latest event.
    pub(super) latest_ns: u64,
}

impl Open {
    pub(super) fn new(decision: Box<OomDecision>) -> Self {
        let stamp = decision.stamp;
        let group = decision.victim_cgroups.as_ref().is_none_or(|cgroups| {
            cgroups.incomplete || cgroups.levels.iter().any(|level| level.oom_group == Some(true))
        });
        Self {
            kill: OomKill::begun(stamp.ktime_ns, stamp.cpu, Some(decision)),
            decision_ns: stamp.ktime_ns,
            torn: false,
            has_end: stamp.hook != Hook::RawTracepoint,
            group,
            latest_ns: stamp.ktime_ns,
        }
    }

    /// A decision whose record was lost: whether an end will come is not known, so the wait for it is short.
    pub(super) fn lost(decision_ns: u64, victim: &Stamp) -> Self {
        Self {
            kill: OomKill::begun(victim.ktime_ns, victim.cpu, None),
            decision_ns,
            torn: true,
            has_end: false,
            group: true,
            latest_ns: victim.ktime_ns,
        }
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        self.latest_ns.saturating_add(match (self.has_end, self.kill.victims.is_empty()) {
            (true, false) if self.torn => LOST_END_NS,
            (true, _) => CONSOLE_NS,
            (false, _) => QUIET_NS,
        })
    }

    /// A group kill goes through the chosen process twice, and each process is one victim. Two unreadable tasks are two
    /// victims. Of very many the first, which the kernel chose, and the largest are stored.
    pub(super) fn add(&mut self, victim: OomVictim) {
        // `oom_kill_process` kills the chosen process before the others of its group (`mm/oom_kill.c`, 5.10 to 7.3). If only
        // marks are seen, the hooks may have been switched on in the middle of a group.
        let chosen = self.kill.decision.as_ref().and_then(|decision| decision.victim.as_ref()?.pid);
        if !self.has_end && self.kill.victims.is_empty() && chosen.is_some() && chosen != victim.task.pid {
            self.torn = true;
        }
        let known = |other: &OomVictim| match (other.task.pid, victim.task.pid) {
            (Some(a), Some(b)) => a == b && other.task.start_boottime_ns == victim.task.start_boottime_ns,
            _ => other.task.tid.is_some() && other.task.tid == victim.task.tid,
        };
        let victims = &mut self.kill.victims;
        if victims.iter().any(known) {
            return;
        }
        if victims.is_empty() {
            // There is hardly ever another.
            victims.reserve_exact(1);
        }
        if victims.len() < VICTIMS {
            victims.push(victim);
            return;
        }
        self.kill.unlisted = self.kill.unlisted.saturating_add(1);
        let size = |victim: &OomVictim| victim.task.rss.map(|rss| rss.resident_bytes());
        if let Some(smallest) = victims.iter_mut().skip(1).min_by_key(|victim| size(victim))
            && size(smallest) < size(&victim)
        {
            *smallest = victim;
        }
    }
}
