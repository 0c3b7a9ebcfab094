//! What the index knows of the ends of pods and containers.

use std::time::Instant;

use super::super::{Index, KEPT};
use super::{container, id, pod, running};
use crate::names::{ContainerLife, EndedStatus, Names, Probe, ProbeAction, RestartPolicy};
use crate::pods::life::{Ended, OfContainer, word};
use crate::pods::object::pod as pod_of;
use crate::pods::object::tests::recorded::{Event, events};
use crate::pods::pod::{Container, Pod};

const ENDS: &str = include_str!("../../../../../tests/fixtures/kubernetes/api/watch/ends.jsonl");

fn ended(exit_code: i32) -> Ended {
    Ended { reason: word("Error"), exit_code: Some(exit_code), finished_at_s: Some(7) }
}

/// The exit code of a run that is known, if it has ended.
fn code(index: &Index, number: usize) -> Option<i32> {
    index.find_container(&id(number)).expect("it is known").ended.and_then(|ended| ended.exit_code)
}

/// A container with these ids and statuses.
fn with(now: (usize, Option<i32>), last: Option<(usize, i32)>, count: u32) -> Pod {
    let life = OfContainer {
        ended: now.1.map(ended).map(Box::new),
        last_ended: last.map(|(_, code)| Box::new(ended(code))),
        ..OfContainer::default()
    };
    let container = container("c", Some(now.0), last.map(|(id, _)| id), Some(count));
    Pod { containers: [Container { life, ..container }].into(), ..pod("a") }
}

#[test]
fn each_run_has_its_own_end_and_no_others() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(with((1, None), None, 0), now);
    assert_eq!(code(&index, 1), None, "it runs");
    index.apply(with((1, Some(11)), None, 0), now);
    assert_eq!(code(&index, 1), Some(11));
    // In the back-off `lastState` has the newest run.
    index.apply(with((1, None), Some((1, 11)), 0), now);
    assert_eq!(code(&index, 1), Some(11));
    index.apply(with((2, None), Some((1, 11)), 1), now);
    assert_eq!((code(&index, 1), code(&index, 2)), (Some(11), None));
    index.apply(with((3, None), Some((2, 22)), 2), now);
    index.apply(with((4, Some(44)), Some((3, 33)), 3), now);
    let codes = [1, 2, 3, 4].map(|number| code(&index, number));
    assert_eq!(codes, [11, 22, 33, 44].map(Some), "earlier runs keep theirs");
    // A run whose status was never seen has none, whatever the others have.
    index.apply(with((9, None), Some((8, 88)), 7), now);
    index.apply(with((10, Some(1)), Some((10, 2)), 8), now);
    assert_eq!((code(&index, 9), code(&index, 10)), (None, Some(1)));
}

#[test]
fn the_ends_of_earlier_runs_are_counted_and_forgotten() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("a", 1, None, 0), now);
    let without = index.bytes();
    for (count, number) in (1..100).zip(1..) {
        let last = (number, i32::try_from(count).expect("a small number"));
        index.apply(with((number + 1, None), Some(last), count), now);
    }
    assert!(index.bytes() > without + 8 * size_of::<Ended>(), "{} and {without}", index.bytes());
    index.sweep(now + KEPT);
    assert_eq!((index.containers(), code(&index, 99)), (2, Some(99)));
    index.remove("a", now);
    index.sweep(now + KEPT);
    assert_eq!((index.bytes(), index.containers()), (0, 0));
}

/// By a forced deletion, or one during an outage. A mirror is not the static pod.
#[test]
fn a_pod_that_is_gone_was_deleted() {
    let (mut index, now) = (Index::default(), Instant::now());
    index.apply(running("forced", 1, None, 0), now);
    index.apply(super::mirror("mirror", 2), now);
    index.remove("forced", now);
    index.remove("mirror", now);
    let deleting =
        |index: &Index, number: usize| index.find_container(&id(number)).map(|found| found.pod.life.deleting);
    assert_eq!((deleting(&index, 1), deleting(&index, 2)), (Some(true), Some(false)));
    assert_eq!(index.find_pod("forced").map(|pod| pod.life.deleting), Some(true));
    index.apply(running("missed", 3, None, 0), now);
    index.replace(Vec::new(), now);
    assert_eq!((deleting(&index, 3), index.pods(), index.gone()), (Some(true), 0, 3));
}

fn probe(period_seconds: u32, failure_threshold: u32) -> Probe {
    Probe {
        action: ProbeAction::Exec,
        initial_delay_seconds: 0,
        period_seconds,
        timeout_seconds: 1,
        failure_threshold,
        grace_seconds: None,
    }
}

/// The recorded ends, as a report has them; of deleted pods afterwards.
#[test]
fn what_a_real_server_says_of_ends_is_kept() {
    let (mut index, now, mut found) = (Index::default(), Instant::now(), Vec::new());
    for event in events(ENDS) {
        let (object, deleted) = match &event {
            Event::Added(object) | Event::Modified(object) => (object, false),
            Event::Deleted(object) => (object, true),
            Event::Bookmark(_) => panic!("no bookmark is in it"),
        };
        let pod = pod_of(object).expect("a pod");
        assert!(index.apply(pod.clone(), now));
        if deleted {
            index.remove(&pod.uid, now);
        }
        let of_run = |id: &str| {
            let found = index.find_container(id).expect("it is known");
            let container = &found.pod.containers[found.container];
            let names = Names::of_pod(&found.pod, None).with_container(container, None, found.ended.as_ref());
            let life = names.container.expect("a container").life;
            (names.pod.unwrap_or_default(), names.life, life)
        };
        found.push(of_run(pod.containers[0].id.as_deref().expect("an id")));
    }
    let [exits, ignores, startup, deadline, evicted, forced, deleted] = &found[..] else { panic!("seven") };
    let status = |life: &ContainerLife| {
        let EndedStatus { reason, exit_code, finished_at_s } = life.ended.clone().expect("it ended");
        (reason.unwrap_or_default(), exit_code.unwrap_or_default(), finished_at_s.unwrap_or_default())
    };
    for ((name, _, life), reason, code, finished) in [
        (exits, "Completed", 0, 1_795_336_091),
        (ignores, "Error", 137, 1_795_336_081),
        (startup, "Error", 143, 1_795_336_062),
        (deadline, "Error", 137, 1_795_335_694),
        (evicted, "Error", 137, 1_795_335_719),
        (forced, "Error", 1, 1_795_336_016),
        (deleted, "Error", 137, 1_795_335_794),
    ] {
        assert_eq!(status(life), (reason.to_owned(), code, finished), "{name}");
    }
    assert_eq!((&exits.2.liveness, &exits.2.startup), (&Some(probe(2, 2)), &None));
    assert_eq!((&startup.2.liveness, &startup.2.startup), (&None, &Some(probe(2, 3))));
    let of_pod = |it: &(String, crate::names::PodLife, ContainerLife)| {
        (it.1.restart_policy, it.1.grace_seconds, it.1.deleting, it.1.deletion_grace_seconds)
    };
    assert_eq!(of_pod(exits), (Some(RestartPolicy::Always), Some(5), false, None));
    assert_eq!(of_pod(forced), (Some(RestartPolicy::Always), Some(2), true, Some(0)));
    assert!(of_pod(deleted).2);
    let why =
        |it: &(String, crate::names::PodLife, ContainerLife)| (it.1.reason.clone(), it.1.message.clone());
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(why(exits), (None, None));
    assert_eq!(
        why(evicted),
        (text("Evicted"), text("Usage of EmptyDir volume \"d\" exceeds the limit \"4Mi\"."))
    );
    let active = "Pod was active on the node longer than the specified deadline";
    assert_eq!(why(deadline), (text("DeadlineExceeded"), text(active)));
}
