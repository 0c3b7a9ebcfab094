//! Counts of failed allocations: a record and the map of counts may each be behind the other.

use super::stamp;
use crate::correlate::alloc::AllocFolds;
use crate::correlate::{FOLD_NS, Incident};
use crate::event::{AllocFailure, Asked, Counted, FailureKey, Hook, Task};

const KEY: FailureKey = FailureKey { cgroup_id: 1, format_address: 2, argument: 10, gfp: 0xcc0, pad: 0 };

fn failure(ktime_ns: u64, counted: Counted) -> Box<AllocFailure> {
    Box::new(AllocFailure {
        stamp: stamp(ktime_ns, Hook::Kprobe, None),
        key: KEY,
        counted,
        asked: Asked::Pages { order: 10 },
        vmalloc: None,
        format: None,
        gfp: KEY.gfp,
        migrate_type: None,
        nodemask: None,
        mems_allowed: None,
        numa_node: 0,
        task: Task::default(),
        cgroups: None,
        stack: None,
        zones: None,
        unmovable: None,
    })
}

fn told(incidents: &[Incident]) -> Vec<(u64, u32, u64)> {
    let of = |incident: &Incident| match incident {
        Incident::AllocFailure(failures) => {
            (failures.event.stamp.ktime_ns, failures.revision, failures.repeats)
        }
        _ => unreachable!("nothing else was pushed"),
    };
    incidents.iter().map(of).collect()
}

/// A count, with the time of the latest record.
fn since(since_ns: u64, total: u64, sent_ns: u64) -> Counted {
    Counted { since_ns, total, sent_ns }
}

#[test]
fn a_record_that_was_written_before_the_counts_were_read_adds_nothing_to_them() {
    let mut folds = AllocFolds::default();
    assert_eq!(told(&folds.push(failure(10, since(9, 1, 9)))), [(10, 1, 0)]);
    // If a record was lost, the count is reported at the second reading.
    folds.counts(&[(KEY, since(9, 530, 19))]);
    assert_eq!(folds.deadline_ns(), None);
    folds.counts(&[(KEY, since(9, 540, 19))]);
    // Or late: 527 was true when it was written, and is among the 540.
    assert_eq!(told(&folds.push(failure(20, since(9, 527, 19)))), []);
    assert_eq!(told(&folds.tick(10 + FOLD_NS)), [(20, 1, 538)]);
    assert_eq!(folds.deadline_ns(), None);
}

#[test]
fn a_count_that_began_anew_counts_from_zero() {
    let mut folds = AllocFolds::default();
    folds.push(failure(10, since(9, 500, 9)));
    // Fewer than before, and all of them new.
    assert_eq!(told(&folds.push(failure(10 + FOLD_NS, since(700, 3, 700)))), [(10 + FOLD_NS, 1, 2)]);
    // The rest of the count before that is not.
    assert_eq!(told(&folds.push(failure(20, since(9, 501, 19)))), []);
    assert_eq!(told(&folds.finish()), []);
}

#[test]
fn a_count_that_is_ahead_of_its_record_waits_for_it() {
    let mut folds = AllocFolds::default();
    folds.push(failure(10, since(9, 1, 9)));
    // Hours later.
    let later = 10_000 * FOLD_NS;
    folds.counts(&[(KEY, since(9, 4, later))]);
    assert_eq!(folds.deadline_ns(), None, "the old incident has nothing to add");
    assert_eq!(told(&folds.push(failure(later + 1, since(9, 2, later)))), [(later + 1, 1, 0)]);
    folds.counts(&[(KEY, since(9, 4, later))]);
    assert_eq!(told(&folds.tick(later + 1 + FOLD_NS)), [(later + 1, 2, 2)]);
}

#[test]
fn failures_counted_after_a_record_belong_to_its_kind() {
    let mut folds = AllocFolds::default();
    folds.push(failure(10, since(9, 1, 9)));
    // The same key, but now for another allocation.
    let mut other = failure(2 * FOLD_NS, since(9, 2, 2 * FOLD_NS));
    other.asked = Asked::Pages { order: 4 };
    assert_eq!(told(&folds.push(other)), [(2 * FOLD_NS, 1, 0)]);
    folds.counts(&[(KEY, since(9, 10, 2 * FOLD_NS))]);
    assert_eq!(told(&folds.tick(4 * FOLD_NS)), [(2 * FOLD_NS, 2, 8)]);
}

#[test]
fn what_an_earlier_session_told_is_not_told_again() {
    let other = FailureKey { cgroup_id: 2, ..KEY };
    let mut folds = AllocFolds::default();
    folds.told_before(&[(KEY, since(9, 5, 20)), (other, since(9, 3, 20))]);
    assert_eq!(folds.told().count(), 2);
    // Neither as failures nor as failures without a record.
    for _ in 0..3 {
        folds.counts(&[(KEY, since(9, 5, 20)), (other, since(9, 3, 20))]);
        assert_eq!(folds.untold(true), 0);
    }
    // Of eight this session tells three.
    assert_eq!(told(&folds.push(failure(30, since(9, 8, 30)))), [(30, 1, 2)]);
    assert_eq!(folds.told().find(|(key, _)| *key == KEY), Some((KEY, since(9, 8, 30))));
    // A kind that the kernel side had forgotten begins anew.
    let mut folds = AllocFolds::default();
    folds.told_before(&[(KEY, since(9, 5, 20))]);
    assert_eq!(told(&folds.push(failure(60, since(50, 2, 60)))), [(60, 1, 1)]);
}

/// A loss is told once, too: the next session takes it as told.
#[test]
fn failures_that_were_told_as_lost_are_told() {
    let mut folds = AllocFolds::default();
    for settled in [false, true] {
        folds.counts(&[(KEY, since(9, 5, 20))]);
        assert_eq!((folds.untold(false) == 5, folds.told().count() == 1), (settled, settled));
    }
    let mut next = AllocFolds::default();
    next.told_before(&folds.told().collect::<Vec<_>>());
    next.counts(&[(KEY, since(9, 6, 20))]);
    assert_eq!(next.untold(true), 1);
}
