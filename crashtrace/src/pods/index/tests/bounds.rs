//! A server that sends without end.

use std::time::{Duration, Instant};

use super::super::{Index, KEPT, MAX_BYTES, MAX_EARLIER_RUNS, MAX_GONE, MAX_PODS};
use super::{SECOND, container, id, pod, running};
use crate::pods::object::{MAX_CONTAINERS, MAX_IMAGE_BYTES, MAX_NAME_BYTES};
use crate::pods::pod::Pod;

#[test]
fn the_newest_earlier_runs_of_a_container_stay() {
    let (mut index, now) = (Index::default(), Instant::now());
    let both = |number: usize| {
        let containers = [
            container("still", Some(usize::MAX), None, Some(0)),
            container("c", Some(number), None, Some(number as u32)),
        ];
        Pod { containers: containers.into(), ..pod("a") }
    };
    for number in 0..100 {
        index.apply(both(number), now);
    }
    let known: Vec<_> = (0..100).filter(|number| index.find_container(&id(*number)).is_some()).collect();
    assert_eq!(known, (99 - MAX_EARLIER_RUNS..100).collect::<Vec<_>>());
    let oldest = index.find_container(&id(99 - MAX_EARLIER_RUNS)).expect("it is known");
    assert_eq!((oldest.container, oldest.restart_count), (1, Some((99 - MAX_EARLIER_RUNS) as u32)));
    assert_eq!(index.containers(), MAX_EARLIER_RUNS + 2);
}

#[test]
fn those_gone_for_longest_go_first() {
    let (mut index, now) = (Index::default(), Instant::now());
    for number in 0..MAX_GONE + 10 {
        index.apply(running(&number.to_string(), number, None, 0), now);
    }
    // Not in the order in which they came.
    for number in (0..MAX_GONE + 10).rev() {
        index.remove(&number.to_string(), now);
    }
    assert_eq!((index.pods(), index.gone(), index.containers()), (0, MAX_GONE, MAX_GONE));
    assert!(index.find_pod("0").is_some() && index.find_pod(&(MAX_GONE + 9).to_string()).is_none());
    index.sweep(now + KEPT);
    assert_eq!((index.gone(), index.containers(), index.bytes()), (0, 0, 0));
}

#[test]
fn one_pod_too_many_is_refused_and_counted() {
    let (mut index, now) = (Index::default(), Instant::now());
    for number in 0..MAX_PODS {
        assert!(index.apply(running(&number.to_string(), number, None, 0), now));
    }
    assert!(!index.apply(running("more", MAX_PODS, None, 0), now));
    assert_eq!((index.pods(), index.refused(), index.find_pod("more")), (MAX_PODS, 1, None));
    assert!(index.find_container(&id(MAX_PODS)).is_none());
    // An existing pod may change, and a pod that goes makes room.
    assert!(index.apply(running("7", 70_000, Some(7), 1), now));
    index.remove("8", now);
    assert!(index.apply(running("more", MAX_PODS, None, 0), now));
    assert_eq!(index.refused(), 1);
}

/// As large as a pod can be.
fn huge(uid: usize) -> Pod {
    let name = |number: usize| format!("{number:0MAX_NAME_BYTES$}");
    let one = |at: usize| {
        let (first, second) = (uid * 1000 + at * 2, uid * 1000 + at * 2 + 1);
        let mut container = container(&name(at), Some(first), Some(second), Some(1));
        container.image = Some("i".repeat(MAX_IMAGE_BYTES).into());
        container
    };
    Pod { containers: (0..MAX_CONTAINERS).map(one).collect(), ..pod(&name(uid)) }
}

#[test]
fn huge_pods_meet_the_bound_of_bytes() {
    let (mut index, now) = (Index::default(), Instant::now());
    let mut number = 0;
    while index.apply(huge(number), now) {
        number += 1;
        assert!(index.bytes() <= MAX_BYTES);
    }
    assert!(number > 100 && number < MAX_PODS, "{number}");
    assert_eq!((index.pods(), index.refused()), (number, 1));
    // Those that are gone make room, and only as many as it takes.
    for gone in 0..5 {
        index.remove(&huge(gone).uid, now);
    }
    assert!(index.apply(huge(number), now));
    assert_eq!((index.pods(), index.gone()), (number - 4, 4));
    assert!(index.find_pod(&huge(0).uid).is_none() && index.find_pod(&huge(1).uid).is_some());
}

/// A pod that grew until it has no room is not known by its earlier state either.
#[test]
fn a_pod_that_does_not_fit_any_more_is_not_known() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(Pod { containers: Box::default(), ..huge(0) }, now);
    let mut number = 1;
    while index.apply(huge(number), now) {
        number += 1;
    }
    assert!(!index.apply(huge(0), now));
    assert_eq!((index.find_pod(&huge(0).uid), index.refused()), (None, 2));
}

/// Many events, always other ids and other pods: as much is held at the end as after the first round.
#[test]
fn memory_does_not_grow_with_events() {
    let (mut index, start) = (Index::default(), Instant::now());
    let mut held = Vec::new();
    for round in 0..60_usize {
        let now = start + SECOND * 60 * u32::try_from(round).expect("small");
        for number in 0..50 {
            let restarts = u32::try_from(round).expect("small");
            index.apply(running(&format!("stays{number:03}"), round * 1000 + number, None, restarts), now);
            let passing = format!("passes{:06}", round * 1000 + number);
            index.apply(running(&passing, 1_000_000 + round * 1000 + number, None, 0), now);
            index.remove(&passing, now + Duration::from_millis(1));
        }
        held.push((index.pods(), index.gone(), index.containers(), index.bytes()));
    }
    assert_eq!(held[29], held[59]);
    assert_eq!(held[59].0, 50);
}
