//! The holders of the node's memory belong to their decision, and to no other.

use super::*;
use crate::event::OomHolders;

fn holders(ktime_ns: u64, decision_ns: u64) -> Event {
    Event::OomHolders(Box::new(OomHolders {
        stamp: stamp(ktime_ns, Hook::Fentry, Some(decision_ns)),
        least_bytes: 1,
        holders: Vec::new(),
        left_out: 0,
        small: 3,
        small_bytes: 3,
        looked_at: 3,
        total: Some(3),
        unfinished: false,
        time_up: false,
        of_limit: false,
        removed_small: None,
    }))
}

fn has_holders(incidents: &[Incident]) -> Vec<bool> {
    let of = |incident: &Incident| match incident {
        Incident::OomKill(kill) => kill.holders.is_some(),
        _ => panic!("no kill: {incident:?}"),
    };
    incidents.iter().map(of).collect()
}

#[test]
fn the_holders_go_with_their_decision() {
    for (hook, closes) in [(Hook::Fentry, true), (Hook::RawTracepoint, false)] {
        let mut desk = Desk::default();
        let mut done = desk.push(decision(10, hook, Some(cgroups(None))));
        done.extend(desk.push(holders(11, 10)));
        done.extend(desk.push(mark(12, Some(10), 1)));
        if closes {
            done.extend(desk.push(end(13, 10)));
        }
        assert_eq!(has_holders(&done), [true], "{hook}");
        assert_eq!(desk.stats.get(Counter::HoldersWithoutDecision), 0);
    }
}

#[test]
fn holders_of_a_lost_decision_are_counted_and_in_no_incident() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(holders(5, 4)), []);
    desk.push(decision(10, Hook::Fentry, Some(cgroups(None))));
    desk.push(holders(11, 4));
    let done = desk.push(end(13, 10));
    assert_eq!(has_holders(&done), [false]);
    assert_eq!(desk.stats.get(Counter::HoldersWithoutDecision), 2);
}

#[test]
fn the_zones_go_with_their_decision_and_with_no_other() {
    let zones = |ktime_ns, decision_ns| {
        let zones = Zones { left_out: 5, ..Zones::default() };
        Event::OomZones(stamp(ktime_ns, Hook::Fentry, Some(decision_ns)), Box::new(zones), None)
    };
    let left_out = |incidents: &[Incident]| match incidents {
        [Incident::OomKill(kill)] => kill.zones.as_ref().map(|zones| zones.left_out),
        other => panic!("no kill: {other:?}"),
    };
    let mut desk = Desk::default();
    assert_eq!(desk.push(zones(5, 4)), []);
    desk.push(decision(10, Hook::Fentry, Some(cgroups(None))));
    desk.push(zones(11, 4));
    desk.push(mark(12, Some(10), 7));
    assert_eq!(left_out(&desk.push(end(13, 10))), None);
    assert_eq!(desk.stats.get(Counter::HoldersWithoutDecision), 2);
    desk.push(decision(20, Hook::Fentry, Some(cgroups(None))));
    desk.push(zones(21, 20));
    desk.push(holders(22, 20));
    let done = desk.push(end(23, 20));
    assert_eq!((left_out(&done), has_holders(&done)), (Some(5), vec![true]));
}

/// A cgroup may have no victim, and later hang with its OOM killer off: neither is a repeat of the other.
#[test]
fn a_wait_does_not_fold_into_an_oom_without_a_victim() {
    let mut desk = Desk::default();
    let wait = |ktime_ns| {
        let Event::OomNoVictim(mut event) = folds::none(ktime_ns, 7, 0) else { unreachable!() };
        event.why = NoKill::SwitchedOff;
        Event::OomNoVictim(event)
    };
    assert_eq!(desk.push(folds::none(1, 7, 0)).len(), 1);
    assert_eq!(desk.push(wait(2)).len(), 1);
    assert_eq!(desk.push(wait(3)).len(), 0, "this one is a repeat");
    let done = desk.correlator.tick(2 + FOLD_NS);
    let [Incident::OomNoKill(folded)] = done.as_slice() else { panic!("{done:?}") };
    assert_eq!((folded.event.why, folded.repeats), (NoKill::SwitchedOff, 0));
}

/// What the kernel counts of the limit owner is copied at the first mark, and is a fact of the decision.
#[test]
fn the_memory_of_the_limit_owner_goes_with_its_decision() {
    use crate::event::{LimitMemory, MemcgMemory};

    let memory = |ktime_ns, decision_ns| {
        let of = |id| Some(Box::new(MemcgMemory { cgroup_id: Some(id), ..MemcgMemory::default() }));
        let memory = LimitMemory { limit: of(1), victim: of(2) };
        Event::OomMemory(stamp(ktime_ns, Hook::RawTracepoint, Some(decision_ns)), memory)
    };
    let ids = |incidents: &[Incident]| match incidents {
        [Incident::OomKill(kill)] => {
            let decision = kill.decision.as_ref().expect("a decision");
            [&decision.limit_memory, &decision.victim_memory]
                .map(|memory| memory.as_ref().and_then(|memory| memory.cgroup_id))
        }
        other => panic!("no kill: {other:?}"),
    };
    let mut desk = Desk::default();
    desk.push(decision(10, Hook::Fentry, Some(cgroups(None))));
    desk.push(memory(11, 4));
    desk.push(mark(12, Some(10), 7));
    assert_eq!(ids(&desk.push(end(13, 10))), [None, None], "of another decision");
    assert_eq!(desk.stats.get(Counter::HoldersWithoutDecision), 1);
    desk.push(decision(20, Hook::Fentry, Some(cgroups(None))));
    desk.push(memory(21, 20));
    desk.push(mark(22, Some(20), 7));
    assert_eq!(ids(&desk.push(end(23, 20))), [Some(1), Some(2)]);
}
