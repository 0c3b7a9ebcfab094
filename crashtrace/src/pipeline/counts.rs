//! The kernel side's own counts, and what an earlier session told of them.

use crashtrace_ebpf::FailureKey;
use crashtrace_ebpf::counter::{self, Counts};

use super::Pipeline;
use crate::event::Counted;
use crate::stats::Counter;

/// What was before this session, where hooks that were on recorded for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Since when they were on.
    pub accepts_ns: u64,
    /// The kernel side's counters as the earlier session told them last, those of `carried` included.
    pub told: Counts,
    /// Counters of hooks that were replaced.
    pub carried: Counts,
    /// Failures that were told, by kind.
    pub failures: Vec<(FailureKey, Counted)>,
    /// The numbers of records go on: the first of each stream is no loss.
    pub adopts: bool,
}

impl Pipeline {
    /// Goes on with what was before. To be called first.
    pub fn follows(&mut self, before: &Before) {
        self.accepts_ns = Some(before.accepts_ns);
        (self.carried, self.adopts) = (before.carried, before.adopts);
        self.correlator.alloc_told(&before.failures);
        self.counted = before.told;
        self.take_counts();
        self.stats.set(Counter::RecordsLost, self.kernel_lost());
    }

    /// From here on records are of other hooks: their numbers begin at 0.
    pub fn numbers_anew(&mut self) {
        self.next.clear();
        self.adopts = false;
    }

    /// Takes the kernel side's own counts, by [`counter`]: records that did not fit are not seen as a gap until their CPU
    /// writes another.
    pub fn kernel_counts(&mut self, counts: &Counts) {
        for ((counted, count), carried) in self.counted.iter_mut().zip(counts).zip(&self.carried) {
            *counted = count.saturating_add(*carried);
        }
        let lost = self.kernel_lost().max(self.gaps);
        if lost > self.stats.get(Counter::RecordsLost) {
            self.gap(self.now_ns);
        }
        self.stats.set(Counter::RecordsLost, lost);
        self.take_counts();
    }

    /// Records that did not fit, by the counts that were read last.
    fn kernel_lost(&self) -> u64 {
        let of = |index: u32| self.counted[index as usize];
        of(counter::RING_FULL).saturating_add(of(counter::SCRATCH_BUSY))
    }

    fn take_counts(&mut self) {
        for (name, index) in [
            (Counter::KillsLost, counter::RING_FULL_VICTIMS),
            (Counter::FailuresLost, counter::RING_FULL_FAILURES),
            (Counter::EndsLost, counter::RING_FULL_EXITS),
            (Counter::MemcgOomRoutine, counter::MEMCG_OOM_ROUTINE),
            (Counter::NoVictimFolded, counter::NO_VICTIM_FOLDED),
            (Counter::AllocFailed, counter::ALLOC_FAILED),
            (Counter::AllocNowarn, counter::ALLOC_NOWARN),
            (Counter::AllocOfVictim, counter::ALLOC_OF_VICTIM),
            (Counter::ExitsCrowdedOut, counter::EXITS_CROWDED_OUT),
            (Counter::ExitsUnsure, counter::EXITS_UNSURE),
        ] {
            self.stats.set(name, self.counted[index as usize]);
        }
    }

    /// The kernel side's counters as the latest line told them, those of hooks before included.
    #[must_use]
    pub fn kernel_told(&self) -> &Counts {
        &self.kernel_told
    }

    /// Up to which counts failures have been reported, or are about to be, by kind.
    pub fn failures_told(&self) -> impl Iterator<Item = (FailureKey, Counted)> + '_ {
        self.correlator.failures_told()
    }
}
