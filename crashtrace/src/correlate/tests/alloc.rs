//! Failed allocations: the first at once, and each counted once, in any order of events.

use std::collections::BTreeMap;

use super::*;
use crate::correlate::alloc::KINDS;
use crate::event::{AllocFailure, Asked, MigrateType, Stack};

mod flood;

pub(super) fn key(cgroup_id: u64) -> FailureKey {
    FailureKey { cgroup_id, format_address: 2, argument: 9, gfp: 0xcc0, pad: 0 }
}

/// Failure number `total` of the kind `css`, in cgroup `css` mod 1000.
pub(super) fn failure(ktime_ns: u64, css: u64, total: u64) -> Event {
    let mut cgroups = cgroups(None);
    cgroups.levels[0].cgroup_id = Some(css % 1000);
    Event::AllocFailure(Box::new(AllocFailure {
        stamp: stamp(ktime_ns, Hook::Kprobe, None),
        key: key(css),
        counted: counted(total, ktime_ns),
        asked: Asked::Pages { order: 9 },
        vmalloc: None,
        format: None,
        gfp: 0xcc0,
        migrate_type: Some(MigrateType::Unmovable),
        nodemask: None,
        mems_allowed: None,
        numa_node: 0,
        task: Task::default(),
        cgroups: Some(cgroups),
        stack: Some(Stack(Vec::new())),
        zones: None,
        unmovable: None,
    }))
}

/// A count that began at time 0, and the time of its latest record.
pub(super) fn counted(total: u64, sent_ns: u64) -> Counted {
    Counted { since_ns: 0, total, sent_ns }
}

fn changed(event: Event, change: impl FnOnce(&mut AllocFailure)) -> Event {
    let Event::AllocFailure(mut failure) = event else { panic!("no failure: {event:?}") };
    change(&mut failure);
    Event::AllocFailure(failure)
}

/// Time of its first failure, number of further ones, and revision.
pub(super) fn told(incident: &Incident) -> (u64, u64, u32) {
    let Incident::AllocFailure(failures) = incident else { panic!("no failure: {incident:?}") };
    (failures.event.stamp.ktime_ns, failures.repeats, failures.revision)
}

fn all_told(incidents: &[Incident]) -> Vec<(u64, u64, u32)> {
    incidents.iter().map(told).collect()
}

/// Failures that all incidents count: of each the highest revision.
pub(super) fn sum(incidents: &[Incident]) -> u64 {
    let mut last: BTreeMap<(u64, Option<u64>), (u32, u64)> = BTreeMap::new();
    for incident in incidents {
        let Incident::AllocFailure(failures) = incident else { panic!("no failure: {incident:?}") };
        let cgroups = failures.event.cgroups.as_ref();
        let id = (failures.event.stamp.ktime_ns, cgroups.and_then(|cgroups| cgroups.levels[0].cgroup_id));
        let before = last.insert(id, (failures.revision, 1 + failures.repeats));
        let (revision, repeats) = before.unwrap_or((0, 0));
        assert!(failures.revision == revision + 1, "revision {} after {revision}", failures.revision);
        assert!(1 + failures.repeats >= repeats, "a revision stands for all that the one before did");
    }
    last.values().map(|(_, failures)| failures).sum()
}

#[test]
fn the_first_goes_out_at_once_with_the_unrecorded_failures_before_it() {
    let mut desk = Desk::default();
    assert_eq!(all_told(&desk.push(failure(10, 5, 1))), [(10, 0, 1)]);
    assert_eq!(all_told(&desk.push(failure(11, 6, 40))), [(11, 39, 1)]);
    assert_eq!((desk.correlator.deadline_ns(), desk.correlator.finish()), (None, vec![]));
}

#[test]
fn a_second_record_waits_for_its_second_and_includes_the_failures_since() {
    let mut desk = Desk::default();
    desk.push(failure(10, 5, 1));
    assert_eq!(desk.push(failure(20, 5, 4)), []);
    assert_eq!(desk.push(failure(30, 5, 9)), []);
    assert_eq!(desk.correlator.deadline_ns(), Some(10 + FOLD_NS));
    assert_eq!(desk.correlator.tick(9 + FOLD_NS), []);
    // The second to the ninth, of which the first record is of the fourth.
    assert_eq!(all_told(&desk.correlator.tick(10 + FOLD_NS)), [(20, 7, 1)]);
    assert_eq!(desk.correlator.deadline_ns(), None);
}

#[test]
fn failures_in_the_counts_alone_make_a_revision_of_the_incident_before() {
    let mut desk = Desk::default();
    desk.push(failure(10, 5, 1));
    assert_eq!(desk.correlator.alloc_counts(&[(key(5), counted(7, 10))]), 0);
    assert_eq!(desk.correlator.alloc_counts(&[(key(5), counted(9, 10))]), 0);
    assert_eq!(all_told(&desk.correlator.tick(10 + FOLD_NS)), [(10, 8, 2)]);
    desk.correlator.alloc_counts(&[(key(5), counted(9, 10))]);
    assert_eq!(desk.correlator.deadline_ns(), None, "nothing new");
    desk.correlator.alloc_counts(&[(key(5), counted(10, 10))]);
    assert_eq!(all_told(&desk.correlator.finish()), [(10, 9, 3)]);
}

#[test]
fn a_record_that_the_counts_overtook_reports_no_failure_twice() {
    let mut desk = Desk::default();
    desk.push(failure(10, 5, 1));
    // Written before the counts were read, and taken from the ring after that.
    desk.correlator.alloc_counts(&[(key(5), counted(50, 20))]);
    assert_eq!(desk.push(failure(20, 5, 40)), []);
    assert_eq!(all_told(&desk.correlator.tick(10 + FOLD_NS)), [(20, 38, 1)], "the record tells of them");
    desk.correlator.alloc_counts(&[(key(5), counted(50, 20))]);
    assert_eq!(desk.push(failure(19, 5, 50)), []);
    assert_eq!(all_told(&desk.correlator.tick(20 + 2 * FOLD_NS)), [(19, 9, 1)]);
    // From another CPU, out of order.
    assert_eq!(desk.push(failure(20 + 3 * FOLD_NS, 5, 53)).len(), 1);
    assert_eq!(desk.push(failure(21 + 3 * FOLD_NS, 5, 52)), []);
    assert_eq!(desk.correlator.finish(), []);
}

#[test]
fn kinds_fold_by_allocation_and_cgroup() {
    let mut desk = Desk::default();
    let done = desk.all([
        failure(10, 5, 1),
        // The cgroup's number again, at another address: removed and made anew, or counted separately for its format.
        failure(11, 1005, 1),
        failure(12, 6, 1),
        changed(failure(13, 5, 1), |failure| {
            failure.gfp = 0x820;
            failure.key.gfp = 0x820;
        }),
        changed(failure(14, 5, 1), |failure| {
            failure.asked = Asked::Pages { order: 3 };
            failure.key.argument = 3;
        }),
    ]);
    assert_eq!(all_told(&done), [(10, 0, 1), (12, 0, 1), (13, 0, 1), (14, 0, 1)]);
    assert_eq!(all_told(&desk.correlator.finish()), [(11, 0, 1)]);
}

/// The interrupted task has nothing to do with it.
#[test]
fn allocations_of_interrupts_fold_for_any_current_task() {
    let mut desk = Desk::default();
    let by_interrupt = |at, css| {
        changed(failure(at, css, 1), |failure| {
            failure.stack = Some(Stack(vec!["handle_softirqs".to_owned(), "out_of_memory".to_owned()]));
        })
    };
    let done = desk.all((0..50).map(|css| by_interrupt(10 + css, css)));
    assert_eq!(all_told(&done), [(10, 0, 1)]);
    assert_eq!(all_told(&desk.push(failure(100, 7, 2))), [(100, 0, 1)], "not an interrupt's");
    assert_eq!(all_told(&desk.correlator.finish()), [(11, 48, 1)]);
}

#[test]
fn failures_without_a_record_are_lost_once_a_record_would_have_come() {
    let mut desk = Desk::default();
    let counts = |desk: &mut Desk, counts: &[(u64, u64)]| {
        let counts: Vec<_> = counts.iter().map(|(css, total)| (key(*css), counted(*total, 10))).collect();
        desk.correlator.alloc_counts(&counts)
    };
    assert_eq!(counts(&mut desk, &[(5, 1), (6, 3)]), 0, "their records may be on their way");
    assert_eq!(desk.correlator.alloc_untold(), 4, "unless none come any more");
    desk.push(failure(10, 5, 1));
    assert_eq!(counts(&mut desk, &[(5, 1), (6, 4)]), 4);
    assert_eq!(counts(&mut desk, &[(5, 1)]), 4, "forgotten by the kernel, and lost for good");
    assert_eq!(counts(&mut desk, &[(5, 1), (6, 2), (7, 9)]), 4);
    assert_eq!(counts(&mut desk, &[(5, 1), (6, 2), (7, 9)]), 4 + 2 + 9);
    desk.push(failure(20, 7, 9));
    assert_eq!(desk.correlator.alloc_untold(), 4 + 2, "told after all");
}

/// Ids of removed cgroups never come back: months of pods leave nothing behind.
#[test]
fn kinds_that_the_kernel_has_forgotten_are_forgotten() {
    let mut desk = Desk::default();
    for pod in 0..5_000 {
        desk.push(failure(pod * SECOND, pod, 1));
        let counts: Vec<_> =
            (pod.saturating_sub(3)..=pod).map(|css| (key(css), counted(1, css * SECOND))).collect();
        assert_eq!(desk.correlator.alloc_counts(&counts), 0);
        let (counts, kinds) = desk.correlator.allocs.kept();
        assert!(counts <= 10 && kinds <= KINDS, "{counts} {kinds}");
    }
    assert_eq!(desk.correlator.finish(), []);
}

#[test]
fn a_kind_that_was_forgotten_here_is_not_told_again_when_it_comes_back() {
    let mut desk = Desk::default();
    let kinds = KINDS as u64;
    // Each of another order.
    let of = |at, number: u64, total| {
        changed(failure(at, 5, total), |failure| {
            failure.asked = Asked::Vmalloc { bytes: Some(number) };
            failure.key.argument = number;
        })
    };
    let mut done = desk.all((0..kinds).map(|number| of(number, number, 2)));
    assert_eq!(done.len() as u64, kinds);
    done.extend(desk.push(of(5_000, kinds, 2)));
    // The first has been forgotten. Its count goes on, and is reported with its next record.
    let count = |total| [(FailureKey { argument: 0, ..key(5) }, counted(total, 0))];
    assert_eq!(desk.correlator.alloc_counts(&count(6)), 0);
    let again = desk.push(of(6_000, 0, 7));
    assert_eq!(all_told(&again), [(6_000, 4, 1)]);
    done.extend(again);
    done.extend(desk.correlator.finish());
    assert_eq!(sum(&done), 2 * (kinds + 1) + 5);
    assert_eq!(desk.correlator.alloc_untold(), 0);
}
