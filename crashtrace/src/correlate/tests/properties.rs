//! Properties of any sequence of events.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::exits::exit;
use super::folds::none;
use super::*;

/// One step of a correlator's input.
#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    Tick(u64),
    Gap,
}

fn time() -> impl Strategy<Value = u64> {
    // Close together, so that times meet; far apart, so that all deadlines pass; and the ends of the clock.
    prop_oneof![
        0_u64..40,
        (0_u64..40).prop_map(|step| step * 300_000_000),
        Just(u64::MAX),
        Just(u64::MAX - 1)
    ]
}

fn hook() -> impl Strategy<Value = Hook> {
    prop_oneof![Just(Hook::Fentry), Just(Hook::Kprobe), Just(Hook::RawTracepoint)]
}

fn step() -> impl Strategy<Value = Step> {
    let group = prop_oneof![Just(None), Just(Some(cgroups(None))), Just(Some(cgroups(Some(1))))];
    let task = (prop::option::of(0_u32..4), prop::option::of(0_u32..4), any::<Option<bool>>());
    let task = task.prop_map(|(pid, tid, exiting)| Task { pid, tid, exiting, ..Task::default() });
    prop_oneof![
        3 => (time(), hook(), group).prop_map(|(at, hook, group)| Step::Event(decision(at, hook, group))),
        5 => (time(), prop::option::of(time()), task).prop_map(|(at, of, task)| Step::Event(mark_of(at, of, task))),
        2 => (time(), time()).prop_map(|(at, of)| Step::Event(end(at, of))),
        4 => (time(), 0_u64..5, 0_u64..4).prop_map(|(at, id, repeats)| Step::Event(none(at, id, repeats))),
        3 => (time(), 0_u32..4, time(), any::<bool>()).prop_map(|(at, pid, start, oom_marked)| {
            let end = crate::event::ContainerExit { oom_marked, ..exit(at, pid, start) };
            Step::Event(Event::ContainerExit(Box::new(end)))
        }),
        2 => time().prop_map(Step::Tick),
        1 => Just(Step::Gap),
    ]
}

/// Runs `steps`, with each mark numbered in `marker_tid`, and each decision in `seq`: two at one time are two.
fn run(steps: Vec<Step>) -> (Desk, Vec<Incident>) {
    let mut desk = Desk::default();
    let mut done = Vec::new();
    for (number, step) in (1..).zip(steps) {
        match step {
            Step::Event(mut event) => {
                match &mut event {
                    Event::OomVictim(victim) => victim.marker_tid = number,
                    Event::OomDecision(decision) => decision.stamp.seq = number.into(),
                    _ => {}
                }
                done.extend(desk.push(event));
            }
            Step::Tick(now_ns) => done.extend(desk.correlator.tick(now_ns)),
            Step::Gap => desk.correlator.gap(),
        }
    }
    (desk, done)
}

fn ends(done: &[Incident]) -> usize {
    done.iter().filter(|incident| matches!(incident, Incident::ContainerExit(_))).count()
}

proptest! {
    #[test]
    fn no_mark_is_in_two_incidents_and_a_complete_one_has_its_decision(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let decisions = steps.iter().filter(|step| matches!(step, Step::Event(Event::OomDecision(_)))).count();
        let (mut desk, mut done) = run(steps);
        done.extend(desk.correlator.finish());
        prop_assert_eq!(desk.correlator.deadline_ns(), None);
        let (mut marks, mut reported) = (BTreeSet::new(), 0);
        let mut kills: Vec<&OomKill> = Vec::new();
        for incident in &done {
            let Incident::OomKill(kill) = incident else { continue };
            prop_assert!(kill.decision.is_some() || !kill.complete && !kill.victims.is_empty());
            if kill.revision > 1 {
                // It replaces the incident that went out before, and has all of its facts.
                let replaced = |earlier: &&&OomKill| {
                    earlier.revision + 1 == kill.revision
                        && earlier.decision == kill.decision
                        && kill.victims.starts_with(&earlier.victims)
                };
                let earlier = kills.iter().rev().find(replaced).expect("the revision before");
                for victim in &earlier.victims {
                    marks.remove(&victim.marker_tid);
                }
            } else {
                reported += usize::from(kill.decision.is_some());
            }
            for victim in &kill.victims {
                prop_assert!(marks.insert(victim.marker_tid), "twice");
            }
            kills.push(kill);
        }
        prop_assert_eq!(reported, decisions, "each decision is reported, once");
    }

    #[test]
    fn each_end_goes_out_once_and_after_the_kill_that_it_names(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let pushed = steps.iter().filter(|step| matches!(step, Step::Event(Event::ContainerExit(_)))).count();
        let (mut desk, mut done) = run(steps);
        done.extend(desk.correlator.finish());
        prop_assert_eq!(ends(&done), pushed);
        let mut named = BTreeSet::new();
        for incident in &done {
            match incident {
                Incident::OomKill(kill) => {
                    named.insert(kill.id());
                }
                Incident::ContainerExit(end) => {
                    let kills = end.oom.iter().chain(&end.oom_before);
                    prop_assert!(end.oom.as_ref().is_none_or(|kill| named.contains(&kill.kill())));
                    prop_assert!(kills.count() <= 5);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_tick_at_the_deadline_always_gives_an_incident(steps in prop::collection::vec(step(), 0..60)) {
        let (mut desk, _) = run(steps);
        for _ in 0..100 {
            let Some(deadline_ns) = desk.correlator.deadline_ns() else { return Ok(()) };
            if let Some(before) = deadline_ns.checked_sub(1) {
                prop_assert_eq!(desk.correlator.tick(before), [], "nothing is due before");
            }
            prop_assert!(!desk.correlator.tick(deadline_ns).is_empty());
        }
        prop_assert!(false, "still waiting");
    }

}

proptest! {
    // Each of these is a thousand events.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_oom_without_a_victim_is_counted_in_exactly_one_incident(
        events in prop::collection::vec((0_u64..3_000_000_000, 0_u64..2 * FOLDS as u64, 0_u64..5), 0..1200),
        sorted: bool,
    ) {
        let mut events = events;
        if sorted {
            events.sort_unstable();
        }
        let told: u64 = events.iter().map(|(_, _, repeats)| 1 + repeats).sum();
        let mut desk = Desk::default();
        let mut done = Vec::new();
        for (at, id, repeats) in events {
            done.extend(desk.push(none(at, id, repeats)));
            prop_assert!(desk.correlator.ooms.folds.len() <= FOLDS);
        }
        done.extend(desk.correlator.finish());
        let counted = done.iter().map(|incident| match incident {
            Incident::OomNoKill(none) => 1 + none.repeats,
            _ => 0,
        });
        prop_assert_eq!(counted.sum::<u64>(), told);
    }
}
