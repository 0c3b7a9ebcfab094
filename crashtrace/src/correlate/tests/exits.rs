//! Ends of containers, and the OOM kills that they are joined to.

use super::super::exit::{HELD, MARK_NS};
use super::*;
use crate::classify::tests::build::{self, API, POD, SIDE};
use crate::event::{ContainerExit, WaitStatus};

const CONTAINER: &str = API;
const OTHER: &str = SIDE;

/// A cgroup of this container, below it if there is more.
fn lineage(container: &str, below: &[&str]) -> Lineage {
    build::lineage(&[&[POD, container], below].concat().join("/"))
}

fn task(pid: u32, start_ns: u64) -> Task {
    let comm = Some("java".into());
    Task { pid: Some(pid), tid: Some(pid), start_boottime_ns: Some(start_ns), comm, ..Task::default() }
}

fn marked(ktime_ns: u64, decision_ns: Option<u64>, task: Task, container: &str) -> Event {
    let stamp = stamp(ktime_ns, Hook::Fentry, decision_ns);
    let cgroups = Some(lineage(container, &["worker"]));
    Event::OomVictim(Box::new(OomVictim { stamp, task, cgroups, in_decision: false, marker_tid: 1 }))
}

pub(super) fn exit(ktime_ns: u64, pid: u32, start_ns: u64) -> ContainerExit {
    let task = task(pid, start_ns);
    ContainerExit {
        cgroups: Some(lineage(CONTAINER, &[])),
        status: Some(WaitStatus::Signaled { signal: 9, core_dumped: false }),
        is_init: true,
        ..ContainerExit::new(stamp(ktime_ns, Hook::RawTracepoint, None), task)
    }
}

fn ended(exit: ContainerExit) -> Event {
    Event::ContainerExit(Box::new(exit))
}

fn oom_marked(exit: ContainerExit) -> Event {
    ended(ContainerExit { oom_marked: true, ..exit })
}

fn told(incident: &Incident) -> &ContainerEnd {
    let Incident::ContainerExit(end) = incident else { panic!("no end: {incident:?}") };
    end
}

/// The kill that ended it, and those before.
fn kills(incident: &Incident) -> (Option<u64>, Vec<u64>, u64) {
    let end = told(incident);
    let before = end.oom_before.iter().map(|kill| kill.ktime_ns).collect();
    (end.oom.as_ref().map(|kill| kill.ktime_ns), before, end.oom_before_total)
}

#[test]
fn an_end_without_a_kill_goes_out_at_once() {
    let mut desk = Desk::default();
    let done = desk.push(ended(exit(100, 7, 5)));
    assert_eq!(done.iter().map(kills).collect::<Vec<_>>(), [(None, vec![], 0)]);
    assert_eq!((desk.correlator.deadline_ns(), desk.correlator.finish()), (None, vec![]));
}

#[test]
fn the_end_of_a_victim_waits_for_its_decision_and_names_it() {
    let mut desk = Desk::default();
    let cgroups = Some(lineage(CONTAINER, &[]));
    desk.all([decision(100, Hook::Fentry, cgroups), marked(110, Some(100), task(7, 5), CONTAINER)]);
    // The group's other processes are still to be marked.
    assert_eq!(desk.push(ended(exit(115, 7, 5))), []);
    assert_eq!(desk.push(marked(116, Some(100), task(8, 6), CONTAINER)), []);
    let done = desk.push(end(120, 100));
    assert_eq!(shapes(&done[..1]), [(100, true, vec![7, 8], true)], "the kill goes out first");
    assert_eq!(kills(&done[1]), (Some(100), vec![], 0), "the same kill is not also one before");
    let oom = told(&done[1]).oom.as_ref().expect("a kill");
    assert_eq!((oom.kill(), oom.pid, oom.comm.clone()), ((100, 2), Some(7), Some("java".into())));
}

/// In this tier a decision without a group is over with its mark.
#[test]
fn the_end_of_a_victim_that_comes_after_its_incident_names_it_too() {
    let mut desk = Desk::default();
    let done = desk.all([
        decision(100, Hook::RawTracepoint, Some(cgroups(None))),
        marked(101, Some(100), task(7, 5), CONTAINER),
        ended(exit(102, 7, 5)),
        // Any member of a group is a victim.
        decision(200, Hook::RawTracepoint, Some(cgroups(Some(0)))),
        marked(201, Some(200), task(8, 5), CONTAINER),
        marked(202, Some(200), task(9, 5), CONTAINER),
        decision(300, Hook::RawTracepoint, Some(cgroups(None))),
        marked(301, Some(300), task(10, 5), OTHER),
        ended(exit(302, 9, 5)),
    ]);
    let ends: Vec<_> = done.iter().filter(|it| matches!(it, Incident::ContainerExit(_))).map(kills).collect();
    assert_eq!(ends, [(Some(100), vec![], 0), (Some(200), vec![100], 1)]);
}

#[test]
fn an_end_names_the_incident_that_its_mark_went_into() {
    // Outside of any decision; of a lost one; and of one that was given up and is open again.
    let mut desk = Desk::default();
    desk.all([marked(50, None, task(7, 5), CONTAINER)]);
    assert_eq!(kills(&desk.push(ended(exit(60, 7, 5)))[0]).0, Some(50));
    let mut desk = Desk::default();
    desk.all([marked(70, Some(40), task(7, 5), CONTAINER), ended(exit(71, 7, 5))]);
    let done = desk.correlator.tick(70 + QUIET_NS);
    assert_eq!((shape(&done[0]).0, kills(&done[1]).0), (70, Some(70)));
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, None));
    let late = 100 + CONSOLE_NS;
    assert_eq!(desk.correlator.tick(late).len(), 1);
    desk.all([marked(late + 1, Some(100), task(7, 5), CONTAINER), ended(exit(late + 2, 7, 5))]);
    let done = desk.push(end(late + 3, 100));
    assert_eq!((shape(&done[0]).0, kills(&done[1]).0), (100, Some(100)));
}

#[test]
fn a_reused_process_id_is_another_process() {
    for (mark, start_ns, oom_marked, joins) in [
        (task(7, 5), 5, false, true),
        (task(7, 5), 6, true, false),
        (Task { pid: Some(7), ..Task::default() }, 5, true, true),
        // An old kernel's mark: a bare thread id.
        (Task { tid: Some(7), ..Task::default() }, 5, true, true),
        (Task { tid: Some(7), ..Task::default() }, 5, false, false),
        (Task { tid: Some(7), ..Task::default() }, 105, true, false),
        (Task { tid: Some(8), ..Task::default() }, 5, true, false),
        (Task { pid: Some(8), tid: Some(7), ..Task::default() }, 5, true, false),
    ] {
        let mut desk = Desk::default();
        desk.push(marked(100, None, mark.clone(), CONTAINER));
        let end = ContainerExit { oom_marked, ..exit(200, 7, start_ns) };
        let mut done = desk.push(ended(end));
        done.extend(desk.correlator.tick(200 + MARK_NS));
        assert_eq!(kills(&done[0]).0.is_some(), joins, "{mark:?} {start_ns} {oom_marked}");
    }
    let mut desk = Desk::default();
    desk.push(marked(100, None, Task { tid: Some(7), ..Task::default() }, CONTAINER));
    let unread = ContainerExit { task: Task { pid: Some(7), ..Task::default() }, ..exit(200, 7, 5) };
    desk.push(oom_marked(unread));
    assert_eq!(kills(&desk.correlator.finish()[0]).0, None, "its start is not known");
}

/// 5.10: the decision has the facts that the mark lacks.
#[test]
fn a_bare_thread_id_is_completed_by_its_decision() {
    let mut desk = Desk::default();
    let Event::OomDecision(mut chosen) = decision(100, Hook::Fentry, None) else { unreachable!() };
    chosen.victim = Some(Task { tid: Some(9), ..task(7, 5) });
    chosen.victim_cgroups = Some(lineage(CONTAINER, &[]));
    let Event::OomVictim(mut mark) = mark_of(110, Some(100), Task { tid: Some(9), ..Task::default() }) else {
        unreachable!()
    };
    mark.cgroups = None;
    desk.all([Event::OomDecision(chosen), Event::OomVictim(mark), end(120, 100)]);
    assert_eq!(kills(&desk.push(ended(exit(130, 7, 5)))[0]).0, Some(100), "without the end's own flag");
    assert_eq!(
        kills(&desk.push(ended(exit(131, 1, 2)))[0]),
        (None, vec![100], 1),
        "and the container is known"
    );
}

#[test]
fn a_marked_process_without_a_mark_waits_for_it_and_then_goes_out_without() {
    let mut desk = Desk::default();
    assert_eq!(desk.push(oom_marked(exit(100, 7, 5))), []);
    assert_eq!(desk.correlator.deadline_ns(), Some(100 + MARK_NS));
    // The mark is in another ring, which is read later.
    desk.push(decision(80, Hook::Fentry, None));
    assert_eq!(desk.push(marked(90, Some(80), task(7, 5), CONTAINER)), []);
    assert_eq!(desk.correlator.tick(100 + MARK_NS), [], "the decision is open");
    let done = desk.push(end(101 + MARK_NS, 80));
    assert_eq!((shape(&done[0]).0, kills(&done[1]).0), (80, Some(80)));

    let mut desk = Desk::default();
    desk.push(oom_marked(exit(100, 7, 5)));
    let done = desk.correlator.tick(100 + MARK_NS);
    assert_eq!(kills(&done[0]).0, None);
    assert!(told(&done[0]).event.oom_marked, "the fact stays");
}

#[test]
fn kills_of_other_processes_are_those_in_the_container_while_it_ran() {
    let mut desk = Desk::default();
    desk.all([
        marked(100, None, task(20, 1), CONTAINER),
        marked(200, None, task(21, 1), CONTAINER),
        marked(300, None, task(22, 1), OTHER),
    ]);
    desk.all((0..6).map(|at| marked(400 + at, None, task(30 + at as u32, 1), CONTAINER)));
    // Before it started, and in another container of the pod.
    let done = desk.push(ended(exit(1000, 7, 150)));
    assert_eq!(kills(&done[0]), (None, vec![405, 404, 403, 402], 7));
    let none = ContainerExit { cgroups: None, ..exit(1001, 8, 1) };
    assert_eq!(kills(&desk.push(ended(none))[0]), (None, vec![], 0));
    let unread = Lineage { incomplete: true, ..lineage(CONTAINER, &[]) };
    let none = ContainerExit { cgroups: Some(unread), ..exit(1001, 8, 1) };
    assert_eq!(kills(&desk.push(ended(none))[0]), (None, vec![], 0), "its path lacks the beginning");
    // A process further down in it, as an init system in a container has them.
    let below = ContainerExit { cgroups: Some(lineage(CONTAINER, &["init.scope"])), ..exit(1002, 9, 1) };
    assert_eq!(kills(&desk.push(ended(below))[0]).2, 8);
}

#[test]
fn a_kill_of_several_processes_is_one_kill_before() {
    let mut desk = Desk::default();
    desk.push(decision(100, Hook::Fentry, None));
    desk.all((0..50).map(|at| marked(101 + at, Some(100), task(20 + at as u32, 1), CONTAINER)));
    desk.push(end(200, 100));
    assert_eq!(kills(&desk.push(ended(exit(300, 7, 5)))[0]), (None, vec![100], 1));
}

/// A tenant decides how many processes its containers have.
#[test]
fn one_containers_victims_take_no_room_from_anothers_and_old_ones_are_forgotten() {
    let mut desk = Desk::default();
    desk.push(marked(100, None, task(7, 5), CONTAINER));
    desk.all((0..6000).map(|at| marked(200 + at, None, task(1000 + at as u32, 5), OTHER)));
    assert_eq!(kills(&desk.push(ended(exit(9000, 7, 5)))[0]).0, Some(100));
    assert_eq!(
        kills(&desk.push(ended(exit(9000, 6999, 5)))[0]).0,
        Some(6199),
        "the latest of the others too"
    );
    assert_eq!(kills(&desk.push(ended(exit(9000, 1000, 5)))[0]).0, None);
    let others = ContainerExit { cgroups: Some(lineage(OTHER, &[])), ..exit(9001, 8, 1) };
    assert_eq!(kills(&desk.push(ended(others))[0]).2, 6000, "all are counted");
    let later = 2 * 3600 * SECOND;
    desk.push(marked(later, None, task(9, 5), OTHER));
    assert_eq!(kills(&desk.push(ended(exit(later + 1, 7, 5)))[0]), (None, vec![100], 1));
}

/// A kill that is not remembered, or cannot be placed, may have been in any container.
#[test]
fn an_end_knows_whether_all_kills_while_it_ran_are_remembered() {
    let whole = |desk: &mut Desk, start_ns| {
        told(&desk.push(ended(exit(900_000, 7, start_ns)))[0]).oom_before_is_whole
    };
    let mut desk = Desk::default();
    let container = |number: u64| format!("{number:064x}");
    desk.all((0..1024).map(|at| marked(1000 + at, None, task(10 + at as u32, 5), &container(at))));
    assert!(whole(&mut desk, 5));
    desk.push(marked(5000, None, task(9, 5), &container(2000)));
    assert!(!whole(&mut desk, 1000) && whole(&mut desk, 1001), "the first container is forgotten");
    desk.push(mark_of(6000, None, task(8, 5)));
    assert!(!whole(&mut desk, 6000) && whole(&mut desk, 6001), "its cgroups are not known");
    let unplaced = ContainerExit { cgroups: None, ..exit(900_001, 7, 800_000) };
    assert!(!told(&desk.push(ended(unplaced))[0]).oom_before_is_whole);
}

#[test]
fn the_ends_that_wait_are_bounded_and_go_out_when_no_more_events_come() {
    let mut desk = Desk::default();
    let early = desk.all((0..300).map(|at| oom_marked(exit(100 + at, 1000 + at as u32, 5))));
    assert_eq!(early.len(), 300 - HELD);
    let mut pids: Vec<_> = early.iter().map(|it| told(it).event.task.pid.expect("a pid")).collect();
    pids.extend(desk.correlator.finish().iter().map(|it| told(it).event.task.pid.expect("a pid")));
    assert_eq!(pids, (1000..1300).collect::<Vec<_>>(), "each once, the oldest first");
}
