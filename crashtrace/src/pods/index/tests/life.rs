//! Pods that come, change and go.

use std::time::Instant;

use super::super::{Index, KEPT, SWEEP};
use super::{SECOND, container, id, mirror, pod, running};
use crate::pods::pod::Pod;

/// UID, whether it is the newest run, and its count.
fn found(index: &Index, number: usize) -> Option<(String, bool, Option<u32>)> {
    let found = index.find_container(&id(number))?;
    Some((found.pod.uid.to_string(), found.current, found.restart_count))
}

fn a(current: bool, restart_count: u32) -> (String, bool, Option<u32>) {
    ("a".to_owned(), current, Some(restart_count))
}

#[test]
fn each_run_is_known_by_its_own_count() {
    let (mut index, now) = (Index::default(), Instant::now());
    assert!(index.apply(running("a", 1, None, 0), now));
    assert_eq!(found(&index, 1), Some(a(true, 0)));
    index.apply(running("a", 2, Some(1), 1), now);
    // In the back-off both are the same run.
    index.apply(running("a", 2, Some(2), 1), now);
    assert_eq!((found(&index, 1), found(&index, 2)), (Some(a(false, 0)), Some(a(true, 1))));
    index.apply(running("a", 3, Some(2), 2), now);
    assert_eq!(
        (found(&index, 1), found(&index, 2), found(&index, 3)),
        (Some(a(false, 0)), Some(a(false, 1)), Some(a(true, 2)))
    );
    // Deaths that were missed: the object's last run is told by its count alone.
    index.apply(running("a", 9, Some(8), 7), now);
    assert_eq!(
        (found(&index, 3), found(&index, 8), found(&index, 9)),
        (Some(a(false, 2)), Some(a(false, 6)), Some(a(true, 7)))
    );
    assert_eq!((index.pods(), index.containers(), index.gone()), (1, 5, 0));
    assert_eq!((found(&index, 4), index.find_container(""), index.find_container("x")), (None, None, None));
    let upper = id(0xabc).to_uppercase();
    index.apply(running("b", 0xabc, None, 0), now);
    assert!(index.find_container(&id(0xabc)).is_some() && index.find_container(&upper).is_none());
}

#[test]
fn a_container_that_lost_its_id_is_still_found_by_it() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 4), now);
    index.apply(Pod { containers: [container("c", None, None, Some(4))].into(), ..pod("a") }, now);
    assert_eq!(found(&index, 1), Some(a(false, 4)));
    // And it is the newest again if the object says so.
    index.apply(running("a", 1, None, 4), now);
    assert_eq!((found(&index, 1), index.containers()), (Some(a(true, 4)), 1));
    // Without counts nothing is said of them.
    index.apply(Pod { containers: [container("c", Some(2), Some(1), None)].into(), ..pod("a") }, now);
    let unknown = |current| Some(("a".to_owned(), current, None));
    assert_eq!((found(&index, 1), found(&index, 2)), (unknown(false), unknown(true)));
    index.apply(Pod { containers: [container("c", Some(2), Some(1), Some(0))].into(), ..pod("a") }, now);
    assert_eq!(found(&index, 1), unknown(false), "a count below zero");
}

#[test]
fn earlier_runs_follow_their_container_by_name() {
    let (mut index, now) = (Index::default(), Instant::now());
    let two = |containers: [_; 2]| Pod { containers: containers.into(), ..pod("a") };
    index.apply(two([container("x", Some(1), None, Some(0)), container("y", Some(2), None, Some(0))]), now);
    index.apply(two([container("y", Some(3), None, Some(1)), container("x", Some(1), None, Some(0))]), now);
    let at = |number| {
        index.find_container(&id(number)).map(|found| found.pod.containers[found.container].name.clone())
    };
    assert_eq!((at(1).as_deref(), at(2).as_deref(), at(3).as_deref()), (Some("x"), Some("y"), Some("y")));
    index.apply(two([container("x", Some(1), None, Some(0)), container("z", None, None, None)]), now);
    assert_eq!((found(&index, 1), found(&index, 2), found(&index, 3)), (Some(a(true, 0)), None, None));
}

#[test]
fn earlier_runs_are_forgotten_in_time() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 0), now);
    index.apply(running("a", 2, None, 1), now + SECOND);
    let other = |index: &mut Index, at: Instant| index.apply(running("b", 10, None, 0), at);
    other(&mut index, now + KEPT);
    assert_eq!(found(&index, 1), Some(a(false, 0)));
    other(&mut index, now + SECOND + KEPT + SWEEP);
    assert_eq!((found(&index, 1), found(&index, 2)), (None, Some(a(true, 1))));
    assert_eq!(index.containers(), 2);
}

#[test]
fn a_pod_that_is_gone_stays_known_for_a_while() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 0), now);
    index.remove("a", now);
    index.remove("never seen", now);
    assert_eq!((index.pods(), index.gone(), found(&index, 1)), (0, 1, Some(a(true, 0))));
    // The time counts from the first.
    index.remove("a", now + KEPT / 2);
    index.sweep(now + KEPT / 2);
    assert!(index.find_pod("a").is_some());
    index.sweep(now + KEPT);
    assert_eq!((index.find_pod("a"), found(&index, 1), index.gone(), index.bytes()), (None, None, 0, 0));
    // A clock that went back does no harm.
    index.apply(running("a", 1, None, 0), now + KEPT);
    index.remove("a", now + KEPT);
    index.sweep(now);
    assert_eq!(found(&index, 1), Some(a(true, 0)));
}

/// As in an outage of the server: only a list, or the server's word, takes a pod away.
#[test]
fn an_existing_pod_stays_known_however_long_no_event_comes() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 0), now);
    index.sweep(now + 6 * KEPT);
    assert_eq!((index.pods(), index.gone(), found(&index, 1)), (1, 0, Some(a(true, 0))));
    assert!(index.find_pod("a").is_some());
}

#[test]
fn a_pod_that_comes_again_is_there() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 0), now);
    index.remove("a", now);
    index.apply(running("a", 1, None, 0), now + SECOND);
    assert_eq!((index.pods(), index.gone()), (1, 0));
    index.sweep(now + SECOND + KEPT);
    assert_eq!(found(&index, 1), Some(a(true, 0)));
}

#[test]
fn a_list_tells_who_is_gone() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.replace(vec![running("a", 1, None, 0), running("b", 2, None, 0)], now);
    index.replace(vec![running("b", 2, None, 0), running("c", 3, None, 0)], now);
    assert_eq!((index.pods(), index.gone(), found(&index, 1)), (2, 1, Some(a(true, 0))));
    index.sweep(now + KEPT);
    assert_eq!((found(&index, 1), index.containers()), (None, 2));

    // A list that breaks off tells nothing, and pods that came meanwhile are known.
    index.begin_replace();
    index.apply(running("b", 2, None, 0), now);
    index.begin_replace();
    index.apply(running("c", 3, None, 0), now);
    index.apply(running("d", 4, None, 0), now);
    assert_eq!((index.pods(), index.gone()), (3, 0));
    index.end_replace(now);
    assert_eq!((index.pods(), index.gone()), (2, 1));
    assert!(index.find_pod("b").is_some());
    // Without a list before it, there is nothing to tell.
    index.end_replace(now);
    assert_eq!((index.pods(), index.gone()), (2, 1));
}

#[test]
fn the_newest_mirror_pod_has_the_hash_and_the_containers() {
    let (mut index, now) = (Index::default(), Instant::now());
    let holder = |index: &Index| {
        (index.find_pod("h").map(|pod| pod.uid.clone()), found(index, 1).map(|found| found.0))
    };
    let both = |uid: &str| (Some(uid.into()), Some(uid.to_owned()));
    index.apply(mirror("old", 1), now);
    assert_eq!(holder(&index), both("old"));
    index.remove("old", now);
    assert_eq!(holder(&index), both("old"));
    index.apply(mirror("new", 1), now);
    assert_eq!(holder(&index), both("new"));
    index.sweep(now + KEPT);
    assert_eq!((holder(&index), index.find_pod("old")), (both("new"), None));

    // In a list, the new one may come before the old one is missed, and the old one may change once more.
    index.begin_replace();
    index.apply(mirror("newer", 1), now);
    index.apply(mirror("new", 1), now);
    assert_eq!(holder(&index), both("newer"));
    assert!(index.find_pod("new").is_some());
    index.remove("new", now);
    assert_eq!(holder(&index), both("newer"));
}

/// Annotations and statuses can be written by others than kubelet.
#[test]
fn a_pod_keeps_its_containers() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(mirror("static", 1), now);
    let thief = Pod { name: "thief".into(), ..mirror("thief", 1) };
    index.apply(thief.clone(), now);
    // Which of the two is kubelet's mirror cannot be told: neither has the hash. The container stays with its first pod.
    let hash_of = |index: &Index| (index.disputed("h"), index.find_pod("h").map(|pod| pod.name.to_string()));
    assert_eq!(hash_of(&index), (true, None));
    assert_eq!(found(&index, 1).map(|found| found.0).as_deref(), Some("static"));
    // Also while the thief, or its victim, is gone and still known.
    index.remove("thief", now);
    assert_eq!(hash_of(&index), (true, None));
    index.sweep(now + KEPT);
    assert_eq!(hash_of(&index), (false, Some("static".to_owned())));
    assert!(found(&index, 1).is_some());
    index.remove("static", now + KEPT);
    index.apply(thief, now + KEPT);
    assert_eq!(hash_of(&index), (true, None));
    // Once its owner is forgotten, no other pod claims it.
    index.sweep(now + KEPT + KEPT);
    assert_eq!(hash_of(&index), (false, Some("thief".to_owned())));
    assert!(!index.disputed("unknown"));
}

/// An annotation can name any pod's UID, also the UID of a pod that is not known.
#[test]
fn a_hash_in_the_form_of_a_uid_is_no_mirrors() {
    let (mut index, now) = (Index::default(), Instant::now());
    let uid = "1f6cbd1e-0d5a-4a4f-8f5c-2b8f0a2f6f11";
    index.apply(Pod { config_hash: Some(uid.into()), ..mirror("thief", 1) }, now);
    assert_eq!(index.find_pod(uid), None);
    index.apply(pod(uid), now);
    assert_eq!(index.find_pod(uid).map(|pod| pod.uid.to_string()).as_deref(), Some(uid));
    // Nor do two of them take that pod's names away.
    let accomplice =
        Pod { config_hash: Some(uid.into()), name: "accomplice".into(), ..mirror("accomplice", 2) };
    index.apply(accomplice, now);
    assert!(!index.disputed(uid));
    assert_eq!(index.find_pod(uid).map(|pod| pod.uid.to_string()).as_deref(), Some(uid));
}
