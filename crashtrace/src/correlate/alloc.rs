//! Failed allocations, folded: of equal allocations that fail in the same cgroup, the first is an incident at once, the rest
//! one a second with a count.
//!
//! The kernel side counts each failure and writes few records. A count reaches this side with the next record of its kind, or
//! when the map of counts is read ([`AllocFolds::counts`]), whichever is first: so each failure is reported, even if no more
//! records come. Failures that only the map has counted have no record, and go out as another revision of the incident before,
//! with the count of both.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{FOLD_NS, Incident};
use crate::event::{AllocFailure, Asked, Counted, FailureKey};

/// Kinds that are remembered: more than the kernel side's map has.
pub(super) const KINDS: usize = 600;

/// Allocations that failed in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocFailures {
    /// The first of them since the last incident.
    pub event: Box<AllocFailure>,
    /// How many more failures this incident counts.
    pub repeats: u64,
    /// 1; higher if the incident went out before, and more were counted since.
    pub revision: u32,
}

/// Key for folding, with the facts that are known outside the kernel. An allocation in an interrupt belongs to no cgroup.
type Kind = (Asked, u32, Option<u64>);

/// Recent kinds.
#[derive(Debug, Default)]
pub(crate) struct AllocFolds {
    /// Kinds of the kernel side may be equal here: the same message from two places, for example. Kinds that the kernel side
    /// has forgotten are forgotten here, too.
    told: BTreeMap<FailureKey, Told>,
    folds: BTreeMap<Kind, Fold>,
    /// Counts up to which an earlier session told failures of kinds that had no record since.
    before: BTreeMap<FailureKey, Counted>,
    /// Failures of unknown kinds, by the counts that were read last; their record may still come.
    untold: BTreeMap<FailureKey, Untold>,
    /// Such failures whose kind the kernel side has forgotten.
    lost: u64,
}

/// State of one count.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// The count up to which failures have been reported, or are about to be.
    counted: Counted,
    /// Kind of the latest record.
    kind: Kind,
    /// The count that was read last, if it is ahead of a record that has not arrived yet.
    ahead: Option<Counted>,
    /// It was missing among the counts that were read last.
    gone: bool,
}

#[derive(Clone, Copy, Debug)]
struct Untold {
    failures: u64,
    counted: Counted,
    /// The previous reading had this count too, so a record of it would have arrived by now.
    settled: bool,
}

#[derive(Debug)]
struct Fold {
    /// The incident that went out last.
    last: AllocFailures,
    sent_ns: u64,
    /// The next incident to go out, and the time of its record.
    waiting: Option<Box<AllocFailure>>,
    /// Failures that no incident has counted yet.
    untold: u64,
}

impl AllocFolds {
    /// Takes a record.
    pub(crate) fn push(&mut self, event: Box<AllocFailure>) -> Vec<Incident> {
        let now_ns = event.stamp.ktime_ns;
        let cgroup = event.cgroups.as_ref().and_then(|cgroups| cgroups.levels.first()?.cgroup_id);
        let kind = (event.asked, event.gfp, cgroup.filter(|_| !event.in_interrupt()));
        let new = self.recorded(&event, kind);
        if new == 0 && self.folds.get(&kind).is_none_or(|fold| fold.untold == 0) {
            // The counts were read before the record, and all of its failures have been reported.
            return Vec::new();
        }
        let mut done = self.forget(&kind);
        match self.folds.get_mut(&kind) {
            None => {
                let last = AllocFailures { event, repeats: new.saturating_sub(1), revision: 1 };
                done.push(incident(&last));
                self.folds.insert(kind, Fold { last, sent_ns: now_ns, waiting: None, untold: 0 });
            }
            Some(fold) => {
                fold.untold = fold.untold.saturating_add(new);
                fold.waiting.get_or_insert(event);
                done.extend(fold.due(now_ns));
            }
        }
        done
    }

    /// Takes the counts up to which an earlier session has told failures.
    pub(crate) fn told_before(&mut self, told: &[(FailureKey, Counted)]) {
        self.before.extend(told.iter().copied());
    }

    /// Up to which counts failures have been told, as failures or as lost, or are about to be.
    pub(crate) fn told(&self) -> impl Iterator<Item = (FailureKey, Counted)> + '_ {
        let told = self.told.iter().map(|(key, told)| (*key, told.counted));
        let lost = self.untold.iter().filter(|(_, untold)| untold.settled);
        // Last, since they are ahead of those before.
        told.chain(self.before.iter().map(|(key, counted)| (*key, *counted)))
            .chain(lost.map(|(key, untold)| (*key, untold.counted)))
    }

    /// By how much a record raises its count.
    fn recorded(&mut self, event: &AllocFailure, kind: Kind) -> u64 {
        self.untold.remove(&event.key);
        let nothing = Counted { total: 0, ..event.counted };
        let nothing = self.before.remove(&event.key).unwrap_or(nothing);
        let new = Told { counted: nothing, kind, ahead: None, gone: false };
        let told = self.told.entry(event.key).or_insert(new);
        // Failures counted from here on belong to this record's kind.
        (told.kind, told.ahead, told.gone) = (kind, None, false);
        told.rise(event.counted)
    }

    /// Takes the kernel side's counts, all of them.
    pub(crate) fn counts(&mut self, counts: &[(FailureKey, Counted)]) {
        let mut seen = BTreeSet::new();
        let mut untold = BTreeMap::new();
        for &(key, counted) in counts {
            seen.insert(key);
            let failures = self.counted(key, counted);
            if failures > 0 {
                let settled = self.untold.contains_key(&key);
                untold.insert(key, Untold { failures, counted, settled });
            }
        }
        // A record that was written before the counts were read arrives before they are read again.
        self.told.retain(|key, told| {
            let stays = seen.contains(key) || !told.gone;
            told.gone = !seen.contains(key);
            stays
        });
        self.before.retain(|key, _| seen.contains(key));
        let before = std::mem::replace(&mut self.untold, untold);
        let forgotten = before.iter().filter(|(key, _)| !seen.contains(key));
        self.lost = forgotten.fold(self.lost, |lost, (_, untold)| lost.saturating_add(untold.failures));
    }

    /// Takes one of them. Gives how many of its failures cannot be attributed to an incident.
    ///
    /// A count may be ahead of its record, which is then still in the ring: it must not be reported as a revision of an
    /// incident of hours ago. A record that is missing at the next reading is lost.
    fn counted(&mut self, key: FailureKey, counted: Counted) -> u64 {
        let Some(told) = self.told.get_mut(&key) else {
            let before = self.before.get(&key).filter(|before| before.since_ns == counted.since_ns);
            return counted.total.saturating_sub(before.map_or(0, |before| before.total));
        };
        let is_ahead = counted.sent_ns > told.counted.sent_ns;
        if is_ahead && told.ahead.is_none_or(|before| before.sent_ns != counted.sent_ns) {
            told.ahead = Some(counted);
            return 0;
        }
        // The next record of a kind that was forgotten here carries its count.
        let Some(fold) = self.folds.get_mut(&told.kind) else { return { *told }.rise(counted) };
        fold.untold = fold.untold.saturating_add(told.rise(counted));
        0
    }

    /// How many failures have a kind without a record: for certain, or with `with_late` if no more records come.
    pub(crate) fn untold(&self, with_late: bool) -> u64 {
        let open = self.untold.values().filter(|untold| with_late || untold.settled);
        open.fold(self.lost, |sum, untold| sum.saturating_add(untold.failures))
    }

    /// Gives the incidents that are due.
    pub(crate) fn tick(&mut self, now_ns: u64) -> Vec<Incident> {
        self.folds.values_mut().filter_map(|fold| fold.due(now_ns)).collect()
    }

    /// Number of counts and kinds.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.told.len(), self.folds.len())
    }

    /// When the next incident is due.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let waiting = self.folds.values().filter(|fold| fold.untold > 0);
        waiting.map(|fold| fold.sent_ns.saturating_add(FOLD_NS)).min()
    }

    /// Gives all unreported failures. Records that have not come by now are lost.
    pub(crate) fn finish(&mut self) -> Vec<Incident> {
        for told in self.told.values_mut() {
            let Some(fold) = self.folds.get_mut(&told.kind) else { continue };
            let ahead = told.ahead.take();
            fold.untold = fold.untold.saturating_add(ahead.map_or(0, |counted| told.rise(counted)));
        }
        self.tick(u64::MAX)
    }

    /// Makes room for a kind: the one without failures for the longest time goes, and its unreported failures go out early. The
    /// counts that were reported stay, so that they are not reported again when it comes back.
    fn forget(&mut self, newcomer: &Kind) -> Vec<Incident> {
        if self.folds.len() < KINDS || self.folds.contains_key(newcomer) {
            return Vec::new();
        }
        let quietest = self.folds.iter().min_by_key(|(_, fold)| (fold.untold > 0, fold.sent_ns));
        let Some(kind) = quietest.map(|(kind, _)| *kind) else { return Vec::new() };
        self.folds.remove(&kind).and_then(|mut fold| fold.due(u64::MAX)).into_iter().collect()
    }
}

impl Told {
    /// The rise of the count. Records and the counts are read one after the other, so one may be behind the other.
    fn rise(&mut self, counted: Counted) -> u64 {
        let before = match counted.since_ns.cmp(&self.counted.since_ns) {
            Ordering::Less => return 0,
            Ordering::Equal => self.counted.total,
            // The kernel side had forgotten this kind.
            Ordering::Greater => 0,
        };
        let sent_ns = counted.sent_ns.max(self.counted.sent_ns);
        self.counted = Counted { total: counted.total.max(before), sent_ns, ..counted };
        counted.total.saturating_sub(before)
    }
}

impl Fold {
    /// The next incident, if one is due.
    fn due(&mut self, now_ns: u64) -> Option<Incident> {
        if self.untold == 0 || now_ns < self.sent_ns.saturating_add(FOLD_NS) {
            return None;
        }
        let untold = std::mem::take(&mut self.untold);
        if let Some(event) = self.waiting.take() {
            self.last = AllocFailures { event, repeats: untold - 1, revision: 1 };
        } else {
            self.last.repeats = self.last.repeats.saturating_add(untold);
            self.last.revision = self.last.revision.saturating_add(1);
        }
        self.sent_ns = now_ns;
        Some(incident(&self.last))
    }
}

fn incident(failures: &AllocFailures) -> Incident {
    Incident::AllocFailure(Box::new(failures.clone()))
}
