//! Decisions that had begun when the hooks were switched on, or were not over when they were switched off.

use super::*;

fn chose(event: Event, pid: u32) -> Event {
    let Event::OomDecision(decision) = event else { panic!("no decision") };
    let victim = Some(Task { pid: Some(pid), tid: Some(pid), ..Task::default() });
    Event::OomDecision(Box::new(OomDecision { victim, ..*decision }))
}

/// The mark replaces a decision at which its hook did not run; without a hook there is nothing to replace.
#[test]
fn a_decision_that_only_its_mark_shows_is_incomplete_if_it_has_a_hook() {
    for decisions_hooked in [true, false] {
        let mut desk =
            Desk { correlator: Correlator::new(decisions_hooked, NodeRoot::default()), ..Desk::default() };
        let begun = decision(100, Hook::RawTracepoint, Some(cgroups(None)));
        let done = desk.all([chose(begun, 7), mark(101, Some(100), 7)]);
        assert_eq!(shapes(&done), [(100, true, vec![7], !decisions_hooked)]);
        assert_eq!(desk.push(Event::OomDecisionEnd(stamp(102, Hook::Fentry, None))), []);
        assert_eq!(desk.stats.lost(), 0);
        let whole = desk.all([decision(200, Hook::Fentry, None), mark(201, Some(200), 8), end(202, 200)]);
        assert_eq!(shapes(&whole), [(200, true, vec![8], true)]);
    }
}

#[test]
fn a_group_whose_first_mark_is_not_the_chosen_process_is_incomplete() {
    for (first, whole) in [(7, true), (8, false)] {
        let mut desk = Desk::default();
        let begun = decision(100, Hook::RawTracepoint, Some(cgroups(Some(0))));
        desk.all([chose(begun, 7), mark(101, Some(100), first), mark(102, Some(100), 9)]);
        let done = desk.push(decision(200, Hook::RawTracepoint, None));
        assert_eq!(shapes(&done), [(100, true, vec![first, 9], whole)]);
    }
}

#[test]
fn a_decision_that_is_open_at_the_end_is_always_incomplete() {
    for hook in [Hook::Fentry, Hook::Kprobe, Hook::RawTracepoint] {
        for marks in 0..3 {
            let mut desk = Desk::default();
            desk.push(decision(100, hook, Some(cgroups(Some(0)))));
            let pids: Vec<_> = (1..=marks).collect();
            assert_eq!(desk.all(pids.iter().map(|pid| mark(100, Some(100), *pid))), []);
            assert_eq!(shapes(&desk.correlator.finish()), [(100, true, pids, false)]);
        }
    }
}
