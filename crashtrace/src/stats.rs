//! Every counter of the user side: one name, one unit (records or events), one line.

use std::collections::BTreeMap;

use strum::{IntoStaticStr, VariantArray};

mod ends;
pub use ends::{EndCounts, EndedHow, Term};

/// The counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Counter {
    /// Records that did not fit into the ring, from gaps in their numbers. Lost.
    RecordsLost,
    /// Of these, killed processes.
    KillsLost,
    /// Of these, failed allocations: one of each kind in a second, as they are recorded.
    FailuresLost,
    /// Of these, ends of containers.
    EndsLost,
    /// Records of the right layout with invalid bytes. Lost.
    RecordsMalformed,
    /// Records of a kind that this version does not know. Lost.
    RecordsOfUnknownKind,
    /// Records that another version wrote. Lost.
    RecordsOfAnotherLayout,
    /// Ends whose decision was lost.
    EndsWithoutDecision,
    /// Records of the holders of the node's memory whose decision was lost.
    HoldersWithoutDecision,
    /// Tasks that were dying already when they were marked as victims, outside of any decision: no incident.
    MarkedAlreadyDying,
    /// Limits that were lowered, with usage below them while the kernel looked for one more victim and found none: no incident.
    LimitWritesMet,
    /// Incidents that the filters dropped.
    IncidentsFiltered,
    /// Incidents that were reported.
    IncidentsReported,
    /// Memcg OOMs that ended without a kill because none was needed; counted in the kernel.
    MemcgOomRoutine,
    /// OOMs without a victim that were folded in the kernel.
    NoVictimFolded,
    /// Failed allocations, but for those of the next two; counted in the kernel.
    AllocFailed,
    /// Allocations that failed as their callers expected (`__GFP_NOWARN`); counted in the kernel. With `--include-nowarn` they
    /// count as any other.
    AllocNowarn,
    /// Failed allocations of processes that exit after an OOM kill, which belong to that; counted in the kernel.
    AllocOfVictim,
    /// Failed allocations of kinds without a record, because the kernel side wrote so many of others. Lost.
    AllocUntold,
    /// Ends of containers without a record, because half of the ring was full. Lost.
    ExitsCrowdedOut,
    /// Ends of processes that a runtime had started in a container, where it is unknown which process is the container's first: no
    /// incident; counted in the kernel.
    ExitsUnsure,
    /// Ends of processes that are no container's, such as a container's monitor: no incident.
    ExitsOfNoContainer,
    /// Ends of the runtime's own process in a pod: no incident.
    ExitsOfSandboxes,
    /// Ends of containers that Kubernetes stopped on purpose, not reported.
    #[strum(serialize = "ends_not_reported_stopped")]
    EndsStopped,
    /// Ends of containers that ended with code 0 and are not started again, not reported.
    #[strum(serialize = "ends_not_reported_done")]
    EndsWell,
    /// Ends of containers that failed, not reported because none was wanted (`--exits none`).
    #[strum(serialize = "ends_not_reported_unwanted")]
    EndsUnwanted,
    /// Ends of containers in a storm of them, of more pods than can wait for a line. Lost.
    EndsUntold,
    /// Lines that the journal dropped undelivered, for lack of room or because of their age. Lost.
    JournalDropped,
    /// Lines of the journal that were damaged, or never written because the disk took nothing. Lost.
    JournalDamaged,
    /// Messages about the agent itself that could not be written to standard error.
    MessagesDropped,
    /// Such messages that were suppressed because there were many of their kind.
    MessagesKeptBack,
    /// Times that a sink other than standard output (a recording, the journal) failed or left a record out.
    SinkFailures,
}

impl Counter {
    /// Whether it says what the records of another counter were: then they are not added to the sum.
    #[must_use]
    pub fn is_part_of_loss(self) -> bool {
        matches!(self, Self::KillsLost | Self::FailuresLost | Self::EndsLost)
    }

    /// Its name in the stream.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Whether a record or a line that counts here is lost to the user.
    #[must_use]
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::RecordsLost
                | Self::RecordsMalformed
                | Self::RecordsOfUnknownKind
                | Self::RecordsOfAnotherLayout
                | Self::AllocUntold
                | Self::ExitsCrowdedOut
                | Self::EndsUntold
                | Self::JournalDropped
                | Self::JournalDamaged
        )
    }
}

/// The counters of one session.
#[derive(Clone, Debug)]
pub struct Stats([u64; Counter::VARIANTS.len()]);

impl Default for Stats {
    fn default() -> Self {
        Self([0; Counter::VARIANTS.len()])
    }
}

impl Stats {
    /// Adds to a counter.
    pub fn add(&mut self, counter: Counter, by: u64) {
        let value = &mut self.0[counter as usize];
        *value = value.saturating_add(by);
    }

    /// Sets a counter that is counted elsewhere, and only rises.
    pub fn set(&mut self, counter: Counter, value: u64) {
        self.0[counter as usize] = value;
    }

    /// Value of a counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Records and lines lost to the user, for any reason.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let losses = Counter::VARIANTS.iter().copied().filter(|counter| counter.is_loss());
        losses.map(|counter| self.get(counter)).fold(0, u64::saturating_add)
    }

    /// All counters by name, zeroes too.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        Counter::VARIANTS
            .iter()
            .copied()
            .map(|counter| (counter.name().to_owned(), self.get(counter)))
            .collect()
    }

    /// Counters of losses, and of their parts, that rose since `earlier`, by how much.
    #[must_use]
    pub fn losses_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let rise = |counter: Counter| self.get(counter).saturating_sub(earlier.get(counter));
        let losses = Counter::VARIANTS
            .iter()
            .copied()
            .filter(|counter| counter.is_loss() || counter.is_part_of_loss());
        let risen = losses.map(|counter| (counter, rise(counter))).filter(|(_, rise)| *rise > 0);
        risen.map(|(counter, rise)| (counter.name().to_owned(), rise)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_saturate_at_the_largest_number() {
        let mut stats = Stats::default();
        stats.set(Counter::RecordsLost, u64::MAX);
        stats.add(Counter::RecordsLost, 1);
        stats.add(Counter::RecordsMalformed, 2);
        assert_eq!((stats.get(Counter::RecordsLost), stats.lost()), (u64::MAX, u64::MAX));
    }
}
