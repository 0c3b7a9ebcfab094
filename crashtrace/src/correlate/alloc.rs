//! Failed allocations, folded: of failures with the same request in the same cgroup the first is an incident at once, the
//! rest one a second with a count.
//!
//! The kernel side counts each failure and writes a record of few. A count reaches this side with the next record of its
//! kind, or when the map of counts is read ([`AllocFolds::counts`]), whichever is first: so each is told, whether more
//! records come or not. What is known by the map alone has no record of its own, and goes out as another revision of the
//! incident before, with the count of both.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{FOLD_NS, Incident};
use crate::event::{AllocFailure, Asked, Counted, FailureKey};

/// Kinds that are remembered: more than the kernel side counts apart.
const KINDS: usize = 600;

/// Allocations that failed alike.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocFailures {
    /// The first of them since the last incident.
    pub event: Box<AllocFailure>,
    /// How many more this stands for.
    pub repeats: u64,
    /// 1; higher where the incident went out before, and more were counted since.
    pub revision: u32,
}

/// What folds together, as far as anybody outside the kernel can tell. Of a request that an interrupt made the cgroup is
/// nobody's.
type Kind = (Asked, u32, Option<u64>);

/// The kinds of late.
#[derive(Debug, Default)]
pub(crate) struct AllocFolds {
    /// What the kernel side counts apart may look alike from here: the same message from two places, say.
    told: BTreeMap<FailureKey, Told>,
    folds: BTreeMap<Kind, Fold>,
}

/// What has been told of a key.
#[derive(Debug)]
struct Told {
    /// As counted then.
    counted: Counted,
    /// What the latest record was of.
    kind: Kind,
    /// A record that was not here yet when the map was read last.
    awaited_ns: Option<u64>,
}

#[derive(Debug)]
struct Fold {
    /// The incident that went out last.
    last: AllocFailures,
    sent_ns: u64,
    /// The one to go out next, and the time of its record.
    waiting: Option<Box<AllocFailure>>,
    /// Failures that no incident has told.
    untold: u64,
}

impl AllocFolds {
    /// Takes a record.
    pub(crate) fn push(&mut self, event: Box<AllocFailure>) -> Vec<Incident> {
        let now_ns = event.stamp.ktime_ns;
        let cgroup = event.cgroups.as_ref().and_then(|cgroups| cgroups.levels.first()?.cgroup_id);
        let kind = (event.asked, event.gfp, cgroup.filter(|_| !event.in_interrupt()));
        let nothing = Counted { total: 0, ..event.counted };
        let told = self.told.entry(event.key).or_insert(Told { counted: nothing, kind, awaited_ns: None });
        // What is counted from here on belongs to what this record is of.
        told.kind = kind;
        let new = told.rise(event.counted);
        if new == 0 {
            // It was written before the map of counts was read, and has been told by that.
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

    /// Takes the kernel side's counts. Gives how many failures are of kinds that no record was seen of.
    ///
    /// A count may be ahead of its record, which is then on its way: it must not be told as a revision of an incident of
    /// hours ago. What is still on its way at the next reading is lost.
    pub(crate) fn counts(&mut self, counts: &[(FailureKey, Counted)]) -> u64 {
        let mut unknown = 0_u64;
        for &(key, counted) in counts {
            let Some(told) = self.told.get_mut(&key) else {
                unknown = unknown.saturating_add(counted.total);
                continue;
            };
            let is_ahead = counted.sent_ns > told.counted.sent_ns;
            if is_ahead && told.awaited_ns != Some(counted.sent_ns) {
                told.awaited_ns = Some(counted.sent_ns);
                continue;
            }
            let new = told.rise(counted);
            if let Some(fold) = self.folds.get_mut(&told.kind) {
                fold.untold = fold.untold.saturating_add(new);
            }
        }
        unknown
    }

    /// Gives what is due.
    pub(crate) fn tick(&mut self, now_ns: u64) -> Vec<Incident> {
        self.folds.values_mut().filter_map(|fold| fold.due(now_ns)).collect()
    }

    /// When there is something to give.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let waiting = self.folds.values().filter(|fold| fold.untold > 0);
        waiting.map(|fold| fold.sent_ns.saturating_add(FOLD_NS)).min()
    }

    /// Gives all that is untold.
    pub(crate) fn finish(&mut self) -> Vec<Incident> {
        self.tick(u64::MAX)
    }

    /// Makes room for a kind: the one that has been quiet longest goes, and what it has untold goes out before its time.
    fn forget(&mut self, newcomer: &Kind) -> Vec<Incident> {
        if self.folds.len() < KINDS || self.folds.contains_key(newcomer) {
            return Vec::new();
        }
        let quietest = self.folds.iter().min_by_key(|(_, fold)| (fold.untold > 0, fold.sent_ns));
        let Some(kind) = quietest.map(|(kind, _)| *kind) else { return Vec::new() };
        self.told.retain(|_, told| told.kind != kind);
        self.folds.remove(&kind).and_then(|mut fold| fold.due(u64::MAX)).into_iter().collect()
    }
}

impl Told {
    /// By how much the count has risen. Records and the map are read one after the other, so one may be behind the other.
    fn rise(&mut self, counted: Counted) -> u64 {
        let before = match counted.since_ns.cmp(&self.counted.since_ns) {
            Ordering::Less => return 0,
            Ordering::Equal => self.counted.total,
            // The kernel side had forgotten this kind.
            Ordering::Greater => 0,
        };
        self.counted = Counted { total: counted.total.max(before), ..counted };
        counted.total.saturating_sub(before)
    }
}

impl Fold {
    /// The next incident, if there is something to tell and it is time.
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
