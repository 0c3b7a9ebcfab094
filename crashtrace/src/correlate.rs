//! Incidents: the events that belong together. Pure; events and callers give the time. Each kind has its file.

use crate::cgroup::NodeRoot;
use crate::event::{Counted, Event, FailureKey};
use crate::stats::Stats;

mod alloc;
mod exit;
mod oom;
#[cfg(test)]
mod tests;

pub use alloc::AllocFailures;
use alloc::AllocFolds;
use exit::Ends;
pub use exit::{ContainerEnd, KilledBy};
use oom::Ooms;
pub use oom::{Folded, FoldedVictim, OomKill, OomNoKill, complete_victims, same_process};

/// Time and CPU of an OOM kill, which name its incident.
pub type KillId = (u64, u32);

/// Between two incidents that fold.
pub const FOLD_NS: u64 = 1_000_000_000;

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub enum Incident {
    /// The OOM killer chose a victim.
    OomKill(Box<OomKill>),
    /// An OOM had no victim.
    OomNoKill(Box<OomNoKill>),
    /// Allocations failed.
    AllocFailure(Box<AllocFailures>),
    /// A container's first process ended.
    ContainerExit(Box<ContainerEnd>),
}

/// Puts events together.
#[derive(Debug, Default)]
pub struct Correlator {
    ooms: Ooms,
    allocs: AllocFolds,
    ends: Ends,
}

impl Correlator {
    /// `decisions_hooked`: a hook is attached to `oom_kill_process`. `root`: where the node's cgroups begin.
    #[must_use]
    pub fn new(decisions_hooked: bool, root: NodeRoot) -> Self {
        Self { ooms: Ooms::new(decisions_hooked, root), ..Self::default() }
    }

    /// Whether `oom_kill_process` can be named when it is on a stack, from here on.
    pub fn kills_show(&mut self, kills_show: bool) {
        self.ooms.kills_show = kills_show;
    }

    /// Takes one event; gives the incidents that it completes, in order.
    pub fn push(&mut self, event: Event, stats: &mut Stats) -> Vec<Incident> {
        let now_ns = event.stamp().ktime_ns;
        let mut done = self.tick(now_ns);
        let completed = match event {
            Event::OomDecision(decision) => self.ooms.decision(decision, stats).into_iter().collect(),
            Event::OomDecisionEnd(stamp) => self.ooms.decision_end(stamp, stats).into_iter().collect(),
            Event::OomVictim(victim) => self.ooms.victim(*victim, stats),
            Event::OomHolders(holders) => {
                self.ooms.holders(holders, stats);
                Vec::new()
            }
            Event::OomZones(stamp, zones, node) => {
                self.ooms.zones(stamp, zones, node, stats);
                Vec::new()
            }
            Event::OomMemory(stamp, memory) => {
                self.ooms.memory(&stamp, memory, stats);
                Vec::new()
            }
            Event::OomNoVictim(event) => self.ooms.no_victim(event, stats),
            Event::AllocFailure(failure) => self.allocs.push(failure),
            Event::ContainerExit(event) => self.ends.push(event, &self.ooms).into_iter().collect(),
        };
        done.extend(completed);
        done.extend(self.ends.due(now_ns, &self.ooms));
        done
    }

    /// Takes the kernel side's counts of failed allocations, of all kinds. Gives the number of failures whose kind had no
    /// record.
    pub fn alloc_counts(&mut self, counts: &[(FailureKey, Counted)]) -> u64 {
        self.allocs.counts(counts);
        self.allocs.untold(false)
    }

    /// Takes the counts up to which failures were told before the first event, by kind.
    pub fn alloc_told(&mut self, told: &[(FailureKey, Counted)]) {
        self.allocs.told_before(told);
    }

    /// Up to which counts failures have been told, or are about to be.
    pub fn failures_told(&self) -> impl Iterator<Item = (FailureKey, Counted)> + '_ {
        self.allocs.told()
    }

    /// Until when the next record of the open decision is waited for; `None` if none is open.
    #[must_use]
    pub fn deciding_until_ns(&self) -> Option<u64> {
        self.ooms.deciding_until_ns()
    }

    /// That number if no more records come.
    #[must_use]
    pub fn alloc_untold(&self) -> u64 {
        self.allocs.untold(true)
    }

    /// Notes that records were lost: an open incident may lack one.
    pub fn gap(&mut self) {
        self.ooms.gap();
    }

    /// Advances the time; gives the incidents that are due.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Incident> {
        let mut done = self.ooms.tick(now_ns);
        done.extend(self.allocs.tick(now_ns));
        done.extend(self.ends.due(now_ns, &self.ooms));
        done
    }

    /// When the next [`Self::tick`] is due, if no event comes before.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let deadlines =
            [self.ooms.deadline_ns(), self.allocs.deadline_ns(), self.ends.deadline_ns(&self.ooms)];
        deadlines.into_iter().flatten().min()
    }

    /// Gives all open incidents: no more events will come.
    pub fn finish(&mut self) -> Vec<Incident> {
        let mut done = self.ooms.finish();
        done.extend(self.allocs.finish());
        done.extend(self.ends.finish(&self.ooms));
        done
    }
}
