//! Records that come after their incident was given up, and marks that no kill led to.

use super::*;
use crate::event::{OomControl, Stack};

fn revisions(incidents: &[Incident]) -> Vec<u32> {
    let of = |incident: &Incident| match incident {
        Incident::OomKill(kill) => kill.revision,
        _ => panic!("no kill: {incident:?}"),
    };
    incidents.iter().map(of).collect()
}

/// A line for each victim on a slow console splits a group kill if no record shows its end.
#[test]
fn late_victims_of_a_group_make_another_revision_of_the_same_incident() {
    let mut desk = Desk::default();
    desk.all([decision(100, Hook::RawTracepoint, Some(cgroups(Some(0)))), mark(101, Some(100), 7)]);
    let first = desk.correlator.tick(101 + QUIET_NS);
    assert_eq!((shapes(&first), revisions(&first)), (vec![(100, true, vec![7], false)], vec![1]));
    let late = 102 + QUIET_NS;
    assert_eq!(desk.all([mark(late, Some(100), 8), mark(late + 1, Some(100), 7)]), []);
    let second = desk.correlator.tick(late + 1 + QUIET_NS);
    assert_eq!((shapes(&second), revisions(&second)), (vec![(100, true, vec![7, 8], false)], vec![2]));
    desk.push(mark(late + 2 + QUIET_NS, Some(100), 9));
    let third = desk.push(decision(late + 3 + QUIET_NS, Hook::RawTracepoint, Some(cgroups(None))));
    assert_eq!((shapes(&third), revisions(&third)), (vec![(100, true, vec![7, 8, 9], true)], vec![3]));
}

#[test]
fn a_late_victim_and_a_late_end_complete_an_incident_that_was_given_up() {
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, None));
    let late = 100 + CONSOLE_NS;
    let first = desk.push(mark(late, Some(100), 7));
    assert_eq!((shapes(&first), revisions(&first)), (vec![(100, true, vec![], false)], vec![1]));
    let second = desk.push(end(late + 1, 100));
    assert_eq!((shapes(&second), revisions(&second)), (vec![(100, true, vec![7], true)], vec![2]));
    assert_eq!(desk.stats.get(Counter::EndsWithoutDecision), 0);
}

#[test]
fn records_that_come_too_late_make_a_new_incident() {
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, None));
    assert_eq!(desk.correlator.tick(100 + CONSOLE_NS).len(), 1);
    let late = 100 + CONSOLE_NS + LATE_NS;
    assert_eq!(desk.push(mark(late, Some(100), 7)), []);
    let done = desk.correlator.finish();
    assert_eq!((shapes(&done), revisions(&done)), (vec![(late, false, vec![7], false)], vec![1]));
}

/// The raw tracepoint's record of a mark, with these functions on the stack.
fn gathered(ktime_ns: u64, functions: &[&str], control: Option<OomControl>) -> Event {
    let Event::OomDecision(mut event) = decision(ktime_ns, Hook::RawTracepoint, Some(cgroups(None))) else {
        unreachable!()
    };
    event.stack = Some(Stack(functions.iter().map(|&name| name.to_owned()).collect()));
    event.control = control;
    Event::OomDecision(event)
}

/// A victim allocates from the reserves to die: no kill, however often.
#[test]
fn a_dying_task_that_is_marked_again_is_no_incident() {
    let control = OomControl {
        total_bytes: 1,
        points_bytes: 1,
        gfp: 1,
        order: Some(0),
        constraint: crate::event::Constraint::None,
        memcg: false,
        zonelist: true,
    };
    let dying = ["mark_oom_victim", "out_of_memory"];
    let killed = ["mark_oom_victim", "__oom_kill_process", "oom_kill_process", "out_of_memory"];
    let count = |kills_show, functions: &[&str], control| {
        let mut desk = Desk::default();
        desk.correlator.kills_show(kills_show);
        let done = desk.all([gathered(10, functions, control), mark(11, Some(10), 7)]);
        (done.len(), desk.stats.get(Counter::MarkedAlreadyDying))
    };
    assert_eq!(count(true, &dying, None), (0, 1));
    assert_eq!(count(true, &killed, None), (1, 0));
    assert_eq!(count(true, &["mark_oom_victim"], None), (1, 0), "the stack ends before it tells");
    assert_eq!(count(true, &dying, Some(control)), (1, 0), "the kernel's request has chosen it");
    assert_eq!(count(false, &dying, None), (1, 0), "oom_kill_process would not show");

    // Nor does it end the open decision.
    let mut desk = Desk::default();
    desk.correlator.kills_show(true);
    desk.all([decision(5, Hook::RawTracepoint, Some(cgroups(Some(0)))), mark(6, Some(5), 1)]);
    assert_eq!(desk.all([gathered(10, &dying, None), mark(11, Some(10), 1)]), []);
    desk.push(mark(12, Some(5), 2));
    assert_eq!(shapes(&desk.correlator.finish()), [(5, true, vec![1, 2], false)]);
}
