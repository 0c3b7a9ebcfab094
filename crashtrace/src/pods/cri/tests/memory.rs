//! Which items stay known, for how long, and when another list is made.

use std::time::{Duration, Instant};

use super::super::cache::{Cache, KEPT, Listed, MOST_KEPT, MOST_KEPT_BYTES};
use super::super::{CriState, Listing};
use super::listing::{containers, sandboxes};
use super::message::{Container, listing};

const SECOND: Duration = Duration::from_secs(1);

fn recorded() -> Listing {
    listing(sandboxes(), containers())
}

fn one(id: &str, state: i32) -> Listing {
    listing(Vec::new(), vec![Container { id: id.to_owned(), state, ..Container::default() }])
}

fn state(known: &Cache, id: &str) -> Option<CriState> {
    match known.find(id)? {
        Listed::Container(it) => Some(it.state),
        Listed::Sandbox(_) => None,
    }
}

#[test]
fn containers_sandboxes_and_pods_are_found() {
    let (mut known, now) = (Cache::default(), Instant::now());
    let recorded = recorded();
    known.take(recorded.clone(), true, now);
    for it in &recorded.containers {
        assert_eq!(known.find(&it.id), Some(Listed::Container(it.clone().into())));
    }
    for it in &recorded.sandboxes {
        assert_eq!(known.find(&it.id), Some(Listed::Sandbox(it.clone().into())));
        let pod = known.pod(it.pod_uid.as_deref().expect("a uid")).expect("it is known");
        assert!(pod.created_unix_ns >= it.created_unix_ns);
    }
    assert_eq!((known.find(""), known.pod("")), (None, None));
}

#[test]
fn an_item_that_is_gone_stays_known_for_a_while() {
    let (mut known, now) = (Cache::default(), Instant::now());
    known.take(one("a", 1), true, now);
    known.take(one("a", 2), true, now + SECOND);
    assert_eq!(state(&known, "a"), Some(CriState::Exited));
    known.take(Listing::default(), true, now + SECOND * 2);
    // The time counts from when it was first missed.
    known.take(Listing::default(), true, now + SECOND + KEPT);
    assert_eq!(state(&known, "a"), Some(CriState::Exited));
    known.take(Listing::default(), true, now + SECOND * 2 + KEPT);
    assert_eq!((state(&known, "a"), known.containers()), (None, 0));
}

#[test]
fn an_item_that_a_partial_list_lacks_is_not_gone() {
    let (mut known, now) = (Cache::default(), Instant::now());
    known.take(one("a", 1), true, now);
    for round in 1..4 {
        known.take(one("b", 1), false, now + KEPT * round);
        assert_eq!(state(&known, "a"), Some(CriState::Running));
    }
}

#[test]
fn items_that_are_gone_are_bounded_and_the_latest_stay() {
    let (mut known, now) = (Cache::default(), Instant::now());
    for second in 0..3 {
        let many =
            (0..MOST_KEPT / 2).map(|at| Container { id: format!("{second}-{at}"), ..Container::default() });
        known.take(listing(Vec::new(), many.collect()), true, now + SECOND * second);
    }
    known.take(one("now", 1), true, now + SECOND * 3);
    assert_eq!(known.containers(), MOST_KEPT + 1);
    let there: Vec<_> = (0..3).map(|second| known.find(&format!("{second}-7")).is_some()).collect();
    assert_eq!(there, [false, true, true]);
}

#[test]
fn items_that_are_gone_are_bounded_in_bytes() {
    let (mut known, now) = (Cache::default(), Instant::now());
    let many = (0..3000).map(|at| Container {
        id: at.to_string(),
        image_ref: "i".repeat(1024),
        ..Container::default()
    });
    known.take(listing(Vec::new(), many.collect()), true, now);
    let all = known.containers();
    known.take(one("now", 1), true, now + SECOND);
    assert!(
        known.containers() * 1024 < MOST_KEPT_BYTES && known.containers() > all / 4,
        "{}",
        known.containers()
    );
}

/// A runtime that gives a part of its list each time, or one of two that gives none, must not fill the memory.
#[test]
fn items_that_partial_lists_lack_are_bounded_and_the_latest_stay() {
    let (mut known, now) = (Cache::default(), Instant::now());
    for second in 0..4 {
        let many =
            (0..MOST_KEPT / 2).map(|at| Container { id: format!("{second}-{at}"), ..Container::default() });
        known.take(listing(Vec::new(), many.collect()), false, now + SECOND * second);
    }
    assert_eq!(known.containers(), MOST_KEPT + MOST_KEPT / 2);
    let there: Vec<_> = (0..4).map(|second| known.find(&format!("{second}-7")).is_some()).collect();
    assert_eq!(there, [false, true, true, true]);
}

#[test]
fn an_id_is_worth_one_list_that_was_begun_after_the_question() {
    let (mut known, now) = (Cache::default(), Instant::now());
    known.take(Listing::default(), true, now);
    assert!(known.wants("docker's", now + SECOND));
    // One that was under way, and one that is not whole, settle nothing.
    known.take(Listing::default(), true, now);
    assert!(known.wants("docker's", now + SECOND));
    known.take(Listing::default(), false, now + SECOND * 2);
    assert!(known.wants("docker's", now + SECOND * 2));
    known.take(Listing::default(), true, now + SECOND * 3);
    assert!(!known.wants("docker's", now + SECOND * 4));
    assert!(known.wants("another", now + SECOND * 4));
}

#[test]
fn questions_are_bounded() {
    let (mut known, now) = (Cache::default(), Instant::now());
    for at in 0..5000 {
        assert!(known.wants(&at.to_string(), now + SECOND * at));
    }
    known.take(Listing::default(), true, now + SECOND * 5000);
    assert!(!known.wants("4999", now + SECOND * 5001), "the latest is remembered");
    assert!(known.wants("0", now + SECOND * 5001), "the first is not");
}
