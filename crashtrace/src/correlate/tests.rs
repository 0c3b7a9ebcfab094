//! The correlator against sequences of events: complete ones, incomplete ones, and arbitrary ones.

use super::oom::*;
use super::*;
use crate::event::{Hook, Level, Lineage, NoKill, OomDecision, OomNoVictim, OomVictim, Stamp, Task, Zones};
use crate::stats::Counter;

mod alloc;
mod counts;
mod exits;
mod folds;
mod halves;
mod holders;
mod late;
mod properties;

const SECOND: u64 = 1_000_000_000;

fn stamp(ktime_ns: u64, hook: Hook, decision_ns: Option<u64>) -> Stamp {
    Stamp { ktime_ns, cpu: 2, seq: 0, hook, decision_ns }
}

/// `/a/b/c` with `memory.oom.group` on one of them, or on none.
fn cgroups(oom_group: Option<usize>) -> Lineage {
    let level = |at| Level {
        cgroup_id: Some(at),
        oom_group: Some(oom_group == Some(at as usize)),
        ..Level::default()
    };
    Lineage { levels: (0..3).map(level).collect(), skipped: 0, incomplete: false, unified: false }
}

fn decision(ktime_ns: u64, hook: Hook, victim_cgroups: Option<Lineage>) -> Event {
    Event::OomDecision(Box::new(OomDecision {
        limit_memory: None,
        victim_memory: None,
        stamp: stamp(ktime_ns, hook, Some(ktime_ns)),
        control: None,
        message: None,
        trigger: Task::default(),
        trigger_cgroups: None,
        victim: None,
        victim_cgroups,
        limit_cgroups: None,
        stack: None,
    }))
}

fn mark(ktime_ns: u64, decision_ns: Option<u64>, pid: u32) -> Event {
    let task = Task { pid: Some(pid), tid: Some(pid), start_boottime_ns: Some(1), ..Task::default() };
    mark_of(ktime_ns, decision_ns, task)
}

fn mark_of(ktime_ns: u64, decision_ns: Option<u64>, task: Task) -> Event {
    let stamp = stamp(ktime_ns, Hook::RawTracepoint, decision_ns);
    Event::OomVictim(Box::new(OomVictim { stamp, task, cgroups: None, in_decision: false, marker_tid: 1 }))
}

fn end(ktime_ns: u64, decision_ns: u64) -> Event {
    Event::OomDecisionEnd(stamp(ktime_ns, Hook::Fentry, Some(decision_ns)))
}

/// A correlator with its counters.
#[derive(Default)]
struct Desk {
    correlator: Correlator,
    stats: Stats,
}

impl Desk {
    fn push(&mut self, event: Event) -> Vec<Incident> {
        self.correlator.push(event, &mut self.stats)
    }

    /// All incidents of `events`.
    fn all(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<Incident> {
        events.into_iter().flat_map(|event| self.push(event)).collect()
    }
}

/// Name, whether the decision is there, pids of the victims, and whether it is complete.
fn shape(incident: &Incident) -> (u64, bool, Vec<u32>, bool) {
    let Incident::OomKill(kill) = incident else { panic!("no kill: {incident:?}") };
    let pids = kill.victims.iter().map(|victim| victim.task.pid.unwrap_or_default()).collect();
    (kill.ktime_ns, kill.decision.is_some(), pids, kill.complete)
}

fn shapes(incidents: &[Incident]) -> Vec<(u64, bool, Vec<u32>, bool)> {
    incidents.iter().map(shape).collect()
}

#[test]
fn a_decision_its_victim_and_its_end_are_one_incident_at_the_end() {
    for hook in [Hook::Fentry, Hook::Kprobe] {
        let mut desk = Desk::default();
        assert_eq!(desk.all([decision(100, hook, Some(cgroups(None))), mark(110, Some(100), 7)]), []);
        assert_eq!(desk.correlator.deadline_ns(), Some(110 + CONSOLE_NS));
        assert_eq!(shapes(&desk.push(end(120, 100))), [(100, true, vec![7], true)]);
        assert_eq!((desk.correlator.deadline_ns(), desk.correlator.finish()), (None, vec![]));
        assert_eq!(desk.stats.by_name().into_values().sum::<u64>(), 0);
    }
}

#[test]
fn a_victim_has_the_cgroups_of_the_decision_where_it_says_so() {
    let victim = |event: Event| match event {
        Event::OomVictim(victim) => Event::OomVictim(Box::new(OomVictim { in_decision: true, ..*victim })),
        other => panic!("{other:?}"),
    };
    let of_first = |done: &[Incident]| {
        let [Incident::OomKill(kill)] = done else { panic!("{done:?}") };
        kill.victims[0].cgroups.clone()
    };
    let mut desk = Desk::default();
    let begun = decision(100, Hook::Fentry, Some(cgroups(None)));
    let done = desk.all([begun.clone(), victim(mark(110, Some(100), 7)), end(120, 100)]);
    assert_eq!(of_first(&done), Some(cgroups(None)));
    let done = desk.all([begun, mark(110, Some(100), 7), end(120, 100)]);
    assert_eq!(of_first(&done), None, "it does not say so");
    let done = desk.all([victim(mark(210, Some(200), 8)), end(220, 200)]);
    assert_eq!(of_first(&done), None, "the decision is lost");
}

#[test]
fn a_decision_may_end_without_a_victim() {
    let mut desk = Desk::default();
    let done = desk.all([decision(100, Hook::Fentry, None), end(120, 100)]);
    assert_eq!(shapes(&done), [(100, true, vec![], true)]);
}

#[test]
fn a_group_is_one_incident_with_each_process_once() {
    let mut desk = Desk::default();
    let mut events = vec![decision(100, Hook::Fentry, Some(cgroups(Some(1)))), mark(101, Some(100), 7)];
    events.extend((1..=300).map(|pid| mark(101 + u64::from(pid), Some(100), pid)));
    events.push(end(500, 100));
    assert_eq!(
        shapes(&desk.all(events)),
        [(100, true, [7].into_iter().chain((1..=300).filter(|&pid| pid != 7)).collect(), true)]
    );
}

/// A tenant decides how many processes die together.
#[test]
fn of_a_very_large_group_the_first_and_the_largest_are_stored_and_the_rest_counted() {
    let task = |pid: u32| Task {
        pid: Some(pid),
        rss: Some(crate::event::Rss { anon_bytes: pid.into(), ..crate::event::Rss::default() }),
        ..Task::default()
    };
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, Some(cgroups(Some(1)))));
    desk.all((0..2000).map(|pid| mark_of(101, Some(100), task(pid))));
    // The chosen process is marked twice.
    desk.push(mark_of(101, Some(100), task(0)));
    let done = desk.push(end(500, 100));
    let Incident::OomKill(kill) = &done[0] else { panic!("no kill") };
    assert_eq!((kill.victims.len(), kill.killed(), kill.complete), (VICTIMS, 2000, true));
    let mut pids: Vec<_> = kill.victims.iter().filter_map(|victim| victim.task.pid).collect();
    assert_eq!(pids[0], 0);
    pids.sort_unstable();
    assert_eq!(pids[1..], (2001 - VICTIMS as u32..2000).collect::<Vec<_>>());
}

#[test]
fn the_same_pid_started_at_another_time_is_another_process() {
    let task =
        |pid, tid, start| Task { pid, tid: Some(tid), start_boottime_ns: Some(start), ..Task::default() };
    let mut desk = Desk::default();
    let done = desk.all([
        decision(100, Hook::Fentry, None),
        mark_of(101, Some(100), task(Some(7), 7, 1)),
        mark_of(102, Some(100), task(Some(7), 7, 2)),
        // Another thread of the first.
        mark_of(103, Some(100), task(Some(7), 8, 1)),
        // Only a thread id, twice; and no field at all, twice.
        mark_of(104, Some(100), task(None, 9, 1)),
        mark_of(105, Some(100), task(None, 9, 1)),
        mark_of(106, Some(100), Task::default()),
        mark_of(107, Some(100), Task::default()),
        end(110, 100),
    ]);
    assert_eq!(shapes(&done), [(100, true, vec![7, 7, 0, 0, 0], true)]);
}

#[test]
fn victims_of_a_lost_decision_are_together_and_not_complete() {
    let mut desk = Desk::default();
    let marks = [mark(110, Some(100), 7), mark(111, Some(100), 8)];
    assert_eq!(desk.all(marks.clone()), []);
    assert_eq!(shapes(&desk.push(end(120, 100))), [(110, false, vec![7, 8], false)], "closed by its end");
    desk.all(marks.clone());
    assert_eq!(shapes(&desk.correlator.tick(111 + QUIET_NS)), [(110, false, vec![7, 8], false)], "by time");
    desk.all(marks);
    let next = desk.push(decision(200, Hook::Fentry, None));
    assert_eq!(shapes(&next), [(110, false, vec![7, 8], false)], "by the next decision");
    assert_eq!(desk.stats.get(Counter::EndsWithoutDecision), 0);
}

#[test]
fn an_end_without_a_decision_is_counted() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(end(120, 100)), []);
    desk.push(decision(200, Hook::Fentry, None));
    assert_eq!(desk.push(end(210, 100)), [], "the open decision is another");
    assert_eq!(desk.stats.get(Counter::EndsWithoutDecision), 2);
    assert_eq!(shapes(&desk.push(end(220, 200))), [(200, true, vec![], true)]);
}

#[test]
fn a_lost_end_is_made_up_for_by_the_next_decision_or_by_time() {
    let begin = || [decision(100, Hook::Fentry, Some(cgroups(None))), mark(110, Some(100), 7)];
    let incomplete = [(100, true, vec![7], false)];
    let mut desk = Desk::default();
    desk.all(begin());
    assert_eq!(shapes(&desk.push(decision(200, Hook::Fentry, None))), incomplete);
    let mut desk = Desk::default();
    desk.all(begin());
    assert_eq!(desk.correlator.tick(110 + LOST_END_NS), [], "nothing was lost, so it will come");
    desk.correlator.gap();
    assert_eq!(shapes(&desk.correlator.tick(110 + LOST_END_NS)), incomplete);
    let mut desk = Desk::default();
    desk.all(begin());
    assert_eq!(shapes(&desk.push(mark(200, Some(190), 9))), incomplete, "of a decision that was lost");
    let mut desk = Desk::default();
    desk.all(begin());
    assert_eq!(shapes(&desk.correlator.finish()), incomplete);
}

/// `dump_header` runs between decision and mark, and a serial console is slow.
#[test]
fn a_victim_may_come_long_after_its_decision() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(decision(100, Hook::Fentry, None)), []);
    assert_eq!(desk.correlator.tick(100 + 30 * SECOND), []);
    assert_eq!(desk.push(mark(100 + 30 * SECOND, Some(100), 7)), []);
    let done = desk.push(end(101 + 30 * SECOND, 100));
    assert_eq!(shapes(&done), [(100, true, vec![7], true)]);
}

#[test]
fn without_an_end_one_victim_completes_a_decision_without_a_group() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(decision(100, Hook::RawTracepoint, Some(cgroups(None)))), []);
    assert_eq!(shapes(&desk.push(mark(101, Some(100), 7))), [(100, true, vec![7], true)]);
    assert_eq!(desk.correlator.deadline_ns(), None);
}

#[test]
fn without_an_end_a_group_is_complete_at_the_next_decision_and_not_by_time() {
    let unread = Lineage { incomplete: true, ..cgroups(None) };
    for group in [Some(cgroups(Some(0))), Some(cgroups(Some(2))), Some(unread), None] {
        let begin = || {
            [
                decision(100, Hook::RawTracepoint, group.clone()),
                mark(101, Some(100), 7),
                mark(102, Some(100), 8),
            ]
        };
        let mut desk = Desk::default();
        assert_eq!(desk.all(begin()), []);
        let next = desk.push(decision(200, Hook::RawTracepoint, Some(cgroups(None))));
        assert_eq!(shapes(&next), [(100, true, vec![7, 8], true)]);
        let mut desk = Desk::default();
        desk.all(begin());
        assert_eq!(desk.correlator.tick(101 + QUIET_NS), [], "quiet since the last victim, not the first");
        assert_eq!(desk.correlator.deadline_ns(), Some(102 + QUIET_NS));
        assert_eq!(shapes(&desk.correlator.tick(102 + QUIET_NS)), [(100, true, vec![7, 8], false)]);
    }
}

/// The decision is seen by its first mark: without a mark it is lost.
#[test]
fn without_an_end_a_decision_without_a_victim_is_never_complete() {
    for group in [cgroups(None), cgroups(Some(0))] {
        let lost = [(100, true, vec![], false)];
        let mut desk = Desk::default();
        desk.push(decision(100, Hook::RawTracepoint, Some(group.clone())));
        assert_eq!(shapes(&desk.push(decision(200, Hook::RawTracepoint, None))), lost);
        let mut desk = Desk::default();
        desk.push(decision(100, Hook::RawTracepoint, Some(group)));
        assert_eq!(shapes(&desk.correlator.tick(100 + QUIET_NS)), lost);
    }
}

#[test]
fn an_incident_that_lost_a_record_is_not_complete() {
    let whole = || [decision(100, Hook::Fentry, None), mark(101, Some(100), 7), end(110, 100)];
    for at in 0..=3 {
        let mut desk = Desk::default();
        let mut done = Vec::new();
        for (index, event) in whole().into_iter().enumerate() {
            if index == at {
                desk.correlator.gap();
            }
            done.extend(desk.push(event));
        }
        // Before it began and after it was over, it lacks nothing.
        assert_eq!(shapes(&done), [(100, true, vec![7], at == 0 || at == 3)], "{at}");
    }
    let mut desk = Desk::default();
    desk.correlator.gap();
    assert!(desk.all(whole()).iter().all(|incident| shape(incident).3), "nothing was open");
}

#[test]
fn a_mark_outside_of_any_decision_is_a_kill_unless_the_task_was_dying() {
    let task = |exiting| Task { pid: Some(7), tid: Some(7), exiting, ..Task::default() };
    let mut desk = Desk::default();
    assert_eq!(desk.push(mark_of(100, None, task(Some(true)))), []);
    assert_eq!(desk.stats.get(Counter::MarkedAlreadyDying), 1);
    for exiting in [Some(false), None] {
        let done = desk.push(mark_of(200, None, task(exiting)));
        assert_eq!(shapes(&done), [(200, false, vec![7], false)]);
    }
    assert_eq!(desk.stats.get(Counter::MarkedAlreadyDying), 1);
}

#[test]
fn a_mark_outside_leaves_the_open_decision_open() {
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, None));
    assert_eq!(desk.push(mark(105, None, 1)).len(), 1);
    let done = desk.all([mark(110, Some(100), 7), end(120, 100)]);
    assert_eq!(shapes(&done), [(100, true, vec![7], true)]);
}

#[test]
fn incidents_come_out_in_the_order_in_which_they_end() {
    let mut desk = Desk::default();
    let done = desk.all([
        decision(100, Hook::Fentry, None),
        folds::none(105, 5, 0),
        mark(110, Some(100), 7),
        end(120, 100),
        decision(200, Hook::Fentry, None),
        end(210, 200),
    ]);
    assert!(matches!(&done[0], Incident::OomNoKill(_)), "does not wait for the decision that is open");
    assert_eq!(shapes(&done[1..]), [(100, true, vec![7], true), (200, true, vec![], true)]);
}
