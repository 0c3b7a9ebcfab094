//! Ends of containers: which make a line, when, and what is remembered for them.

use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::classify::tests::build::{self, POD, lineage};
use crate::event::{ContainerExit, Event, Hook, Outcome, Parent, Sender, Signal, Stamp, Task, WaitStatus};
use crate::filter::Exits;
use crate::names::{Answer, EndedStatus, Events, MemoryBounds, Names, PodNames, RestartPolicy, Who};
use crate::pods::names::tests::shop;
use crate::schema::ContainerRole;
use crate::stats::{EndedHow, Term};

mod joined;
mod kubernetes;
mod storm;

const START: u64 = 700 * SECOND;
const END: u64 = 760 * SECOND;
const SHIM: u32 = 3900;
const NOW: u64 = END + 1000;

/// The API server, as the test sets it.
#[derive(Debug, Default)]
struct Api {
    answer: Answer,
    events: Events,
    /// How often Events were looked up.
    looked: u32,
}

#[derive(Debug)]
struct Server(Rc<RefCell<Api>>);

impl PodNames for Server {
    fn find(&mut self, who: Who<'_>) -> Answer {
        let mut answer = self.0.borrow().answer.clone();
        if who.container_id.is_none() {
            answer.names = answer.names.map(Names::without_container);
        }
        answer
    }

    fn events(&mut self, _: Who<'_>) -> Events {
        let mut api = self.0.borrow_mut();
        api.looked += 1;
        api.events.clone()
    }
}

/// Stages with an API server.
struct Desk {
    stages: Pipeline,
    api: Rc<RefCell<Api>>,
}

impl Desk {
    fn new(filter: Filter, answer: Answer) -> Self {
        let api = Rc::new(RefCell::new(Api { answer, ..Api::default() }));
        let mut stages = pipeline(filter);
        stages.node = Node { pods: Box::new(Server(Rc::clone(&api))), ..Node::unseen("a test") };
        Self { stages, api }
    }

    /// Without a source of names.
    fn alone(exits: Exits) -> Self {
        Self::new(Filter { exits, ..Filter::default() }, Answer::default())
    }

    fn push(&mut self, event: impl Into<Box<ContainerExit>>) -> Vec<Value> {
        let event = event.into();
        let now_ns = event.stamp.ktime_ns;
        let incidents = self.stages.correlator.push(Event::ContainerExit(event), &mut self.stages.stats);
        self.stages.fold(incidents, now_ns).iter().map(json).collect()
    }

    fn tick(&mut self, now_ns: u64) -> Vec<Value> {
        self.stages.tick(now_ns).iter().map(json).collect()
    }

    /// All lines until nothing waits, with the times of their ticks.
    fn rest(&mut self) -> Vec<(u64, Value)> {
        let mut lines = Vec::new();
        while let Some(due_ns) = self.stages.deadline_ns() {
            lines.extend(self.tick(due_ns).into_iter().map(|line| (due_ns, line)));
        }
        lines
    }

    fn count(&self, counter: Counter) -> u64 {
        self.stages.stats.get(counter)
    }

    fn counted(&self, cause: Cause, how: EndedHow) -> u64 {
        self.stages.ends().ends.get(&(cause.into(), how)).copied().unwrap_or_default()
    }

    fn set(&self, names: Names) {
        self.api.borrow_mut().answer = known(names);
    }
}

fn known(names: Names) -> Answer {
    Answer { names: Some(names), ..Answer::default() }
}

fn soon() -> Answer {
    Answer { names: None, missing: Some("not listed yet".into()), soon: true, ..Answer::default() }
}

/// The container `api` of `shop/api-7f9c`, whose status does not have the end yet.
fn named(policy: RestartPolicy) -> Names {
    let mut names = shop(MemoryBounds::default());
    names.life.restart_policy = Some(policy);
    names
}

fn with_status(mut names: Names, reason: &str, code: i32) -> Names {
    let ended = EndedStatus { reason: Some(reason.into()), exit_code: Some(code), finished_at_s: None };
    names.container.as_mut().expect("a container").life.ended = Some(ended);
    names
}

fn code(code: u8) -> ContainerExit {
    let task = Task { rss: None, start_boottime_ns: Some(START), ..build::task("api", 4211) };
    ContainerExit {
        cgroups: Some(lineage(&build::api())),
        status: Some(WaitStatus::Exited { code }),
        parent: Parent { pid: Some(SHIM), comm: Some("containerd-shim".into()) },
        pid_ns: Some(4_026_532_500),
        is_init: true,
        ..ContainerExit::new(
            Stamp { ktime_ns: END, decision_ns: None, ..build::stamp(Hook::RawTracepoint) },
            task,
        )
    }
}

/// A signal of `runc`, a child of the shim, so long before the end.
fn runc(number: u8, before_ns: u64) -> Signal {
    let task = Task { rss: None, ..build::task("runc", 5000) };
    Signal {
        ktime_ns: END - before_ns,
        number,
        code: 0,
        outcome: Outcome::Delivered,
        count: 1,
        sender: Sender {
            task,
            parent: Parent { pid: Some(SHIM), comm: Some("containerd-shim".into()) },
            pid_ns: Some(0xefff_fffc),
            exiting: false,
            cgroups: Some(lineage("/system.slice/containerd.service")),
        },
    }
}

fn at(ktime_ns: u64, exit: ContainerExit) -> ContainerExit {
    ContainerExit { stamp: Stamp { ktime_ns, ..exit.stamp }, ..exit }
}

#[test]
fn failures_make_a_line_and_ends_that_are_done_are_counted() {
    for (exits, status, reported) in [
        (Exits::Failed, code(1), true),
        (Exits::Failed, code(0), false),
        (Exits::All, code(0), true),
        (Exits::None, code(1), false),
        (Exits::None, code(0), false),
        (Exits::Failed, ContainerExit { status: None, ..code(0) }, true),
        (
            Exits::Failed,
            ContainerExit { status: Some(WaitStatus::Signaled { signal: 11, core_dumped: true }), ..code(0) },
            true,
        ),
    ] {
        let mut desk = Desk::alone(exits);
        let what = format!("{exits:?} {:?}", status.status);
        let lines = desk.push(status.clone());
        assert_eq!(kinds(&lines), vec!["container_exit"; usize::from(reported)], "{what}");
        assert_eq!(desk.rest(), [], "{what}");
        let not_reported = [Counter::EndsWell, Counter::EndsStopped, Counter::EndsUnwanted];
        let counts = not_reported.map(|counter| desk.count(counter));
        assert_eq!(counts.iter().sum::<u64>(), u64::from(!reported), "{what}");
        assert_eq!(
            desk.count(Counter::EndsUnwanted) == 1,
            exits == Exits::None && status != code(0),
            "{what}"
        );
        // The metrics do not depend on what is reported.
        assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), 1, "{what}");
    }
    let mut desk = Desk::alone(Exits::Failed);
    desk.push(code(127));
    assert_eq!(desk.counted(Cause::ContainerExit, EndedHow::NotFound), 1);
}

#[test]
fn code_0_is_a_failure_where_the_container_is_always_started_again() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (pods, own, role, reported) in [
        (Always, None, ContainerRole::App, true),
        (OnFailure, None, ContainerRole::App, false),
        (Never, None, ContainerRole::App, false),
        (Never, Some(Always), ContainerRole::Sidecar, true),
        (Always, Some(Never), ContainerRole::App, false),
        (Always, None, ContainerRole::Init, false),
        (Always, None, ContainerRole::Ephemeral, false),
    ] {
        let mut names = with_status(named(pods), "Completed", 0);
        let container = names.container.as_mut().expect("a container");
        (container.role, container.life.restart_policy) = (Some(role), own);
        let mut desk = Desk::new(Filter::default(), known(names));
        assert_eq!(desk.push(code(0)).len(), usize::from(reported), "{pods:?} {own:?} {role:?}");
        assert_eq!(desk.rest(), [], "nothing more is awaited");
        assert_eq!(desk.count(Counter::EndsWell), u64::from(!reported));
    }
}

#[test]
fn a_policy_that_becomes_known_makes_the_first_line_then() {
    let mut desk = Desk::new(Filter::default(), soon());
    assert_eq!(desk.push(code(0)), [Value::Null; 0]);
    assert_eq!(desk.stages.deadline_ns(), Some(END + 250_000_000));
    assert_eq!(desk.tick(END + SECOND), [Value::Null; 0]);
    desk.set(named(RestartPolicy::Always));
    let [line] = desk.tick(END + 2 * SECOND).try_into().expect("one line");
    assert_eq!((&line["revision"], &line["exit"]["exit_code"]), (&1.into(), &0.into()));
    // The status changes nothing that a reader does not want to know.
    desk.set(with_status(named(RestartPolicy::Always), "Completed", 0));
    let revised = desk.rest();
    assert!(revised.len() <= 1 && revised.iter().all(|(_, line)| line["revision"] == 2), "{revised:?}");
    assert_eq!(desk.stages.ends().ends.values().sum::<u64>(), 1, "once");

    let mut desk = Desk::new(Filter::default(), soon());
    desk.push(code(0));
    assert_eq!(desk.rest(), [], "it is not waited for longer than seconds");
    assert_eq!(desk.count(Counter::EndsWell), 1);
}

#[test]
fn names_that_come_make_a_revision_and_the_same_names_none() {
    let mut desk = Desk::new(Filter::default(), soon());
    let [first] = desk.push(code(1)).try_into().expect("one line at once");
    desk.set(with_status(named(RestartPolicy::Always), "Error", 1));
    let [(_, second)] = desk.rest().try_into().expect("one more");
    assert_eq!((&second["revision"], &second["id"]), (&2.into(), &first["id"]));
    assert_eq!(second["exit"]["process"]["owner"]["pod"], "api-7f9c");

    let mut desk = Desk::new(Filter::default(), known(with_status(named(RestartPolicy::Always), "Error", 1)));
    assert_eq!(desk.push(code(1)).len(), 1);
    assert_eq!(desk.rest(), []);
    // A status that does not come, from an API server that is heard: as it was.
    let mut desk = Desk::new(Filter::default(), known(named(RestartPolicy::Always)));
    assert_eq!(desk.push(code(1)).len(), 1);
    assert_eq!(desk.rest(), []);
    let mut stale = named(RestartPolicy::Always);
    stale.stale_seconds = Some(60);
    let mut desk = Desk::new(Filter::default(), known(stale));
    desk.push(code(1));
    assert_eq!(desk.stages.deadline_ns(), None, "no status comes from a server that is not heard");
}

#[test]
fn filters_by_cause_and_by_namespace_hold_for_ends() {
    for (causes, namespace, reported) in [
        (vec![Cause::ContainerExit], None, true),
        (vec![Cause::Killed], None, false),
        (vec![], Some("shop"), true),
        (vec![], Some("other"), false),
    ] {
        let namespaces = namespace.map(str::to_owned).into_iter().collect();
        let filter = Filter { causes, namespaces, exits: Exits::Failed };
        let mut desk = Desk::new(filter, known(with_status(named(RestartPolicy::Always), "Error", 1)));
        assert_eq!(desk.push(code(1)).len(), usize::from(reported), "{namespace:?}");
        assert_eq!(desk.count(Counter::IncidentsFiltered), u64::from(!reported));
        assert_eq!(desk.counted(Cause::ContainerExit, EndedHow::Code), 1, "counted all the same");
    }
    // A namespace that turns out to be another one: no further line.
    let filter = Filter { namespaces: vec!["other".into()], ..Filter::default() };
    let mut desk = Desk::new(filter, soon());
    assert_eq!(desk.push(code(1)).len(), 1);
    desk.set(with_status(named(RestartPolicy::Always), "Error", 1));
    assert_eq!(desk.rest(), []);
}

#[test]
fn what_is_no_container_and_sandboxes_are_only_counted() {
    let with = |path: &str, comm: &str| ContainerExit {
        cgroups: Some(lineage(path)),
        task: Task { comm: Some(comm.into()), ..code(1).task },
        ..code(1)
    };
    let mut sandbox = shop(MemoryBounds::default());
    sandbox.container = Some(crate::names::ContainerNames::sandbox());
    let mut odd = named(RestartPolicy::Always);
    odd.container.as_mut().expect("a container").name = Some("pause".into());
    let docker = format!("/system.slice/docker-{}.scope", build::SIDE);
    for (end, answer, counter) in [
        (
            with("/system.slice/backup.service", "backup"),
            Answer::default(),
            Some(Counter::ExitsOfNoContainer),
        ),
        (with(POD, "conmon"), Answer::default(), Some(Counter::ExitsOfNoContainer)),
        (with(&build::api(), "pause"), Answer::default(), Some(Counter::ExitsOfSandboxes)),
        (with(&build::api(), "sleep"), known(sandbox), Some(Counter::ExitsOfSandboxes)),
        (with(&build::api(), "pause"), known(odd), None),
        (with(&docker, "pause"), Answer::default(), None),
        (ContainerExit { cgroups: None, ..code(1) }, Answer::default(), None),
    ] {
        let mut desk = Desk::new(Filter::default(), answer);
        let path = end.cgroups.as_ref().map(|cgroups| cgroups.path().escape_ascii().to_string());
        let lines = desk.push(end);
        assert_eq!(lines.len(), usize::from(counter.is_none()), "{path:?}");
        desk.rest();
        for of in [Counter::ExitsOfNoContainer, Counter::ExitsOfSandboxes] {
            assert_eq!(desk.count(of), u64::from(counter == Some(of)), "{path:?}");
        }
        assert_eq!(desk.stages.ends().ends.is_empty(), counter.is_some(), "{path:?}");
        assert_eq!(desk.stages.stats.lost(), 0);
    }
}

/// A sandbox whose names come later has no line, and a container that calls itself so has one.
#[test]
fn a_sandbox_that_is_known_later_is_no_end() {
    let mut desk = Desk::new(Filter::default(), soon());
    desk.push(code(0));
    let mut sandbox = shop(MemoryBounds::default());
    sandbox.container = Some(crate::names::ContainerNames::sandbox());
    desk.set(sandbox);
    assert_eq!(desk.rest(), []);
    assert_eq!((desk.count(Counter::ExitsOfSandboxes), desk.count(Counter::EndsWell)), (1, 0));
}

/// A program may be named as the runtime's own process is.
#[test]
fn a_process_named_pause_waits_for_its_names() {
    let pause = || {
        let mut end = code(1);
        end.task.comm = Some("pause".into());
        end
    };
    let mut desk = Desk::new(Filter::default(), soon());
    assert_eq!(desk.push(pause()), [Value::Null; 0]);
    desk.set(named(RestartPolicy::Always));
    let rest = desk.rest();
    assert_eq!(rest.len(), 1, "its name says that it is a container");
    assert_eq!(rest[0].1["verdict"]["cause"], "container_exit");
    // No name comes.
    let mut desk = Desk::new(Filter::default(), soon());
    desk.push(pause());
    assert_eq!((desk.rest(), desk.count(Counter::ExitsOfSandboxes)), (vec![], 1));
}

#[test]
fn ends_of_the_last_hour_are_those_of_the_same_container() {
    let names = with_status(named(RestartPolicy::Always), "Error", 1);
    let mut desk = Desk::new(Filter::default(), known(names.clone()));
    let mut count = |at_ns| desk.push(at(at_ns, code(1)))[0]["exit"]["ends_last_hour"].as_u64();
    assert_eq!([0, 300, 900, 3700].map(|s| count(END + s * SECOND)), [0, 1, 2, 2].map(Some));
    let mut desk = Desk::alone(Exits::Failed);
    assert_eq!(desk.push(code(1))[0]["exit"]["ends_last_hour"], 0);
    assert_eq!(desk.push(code(1))[0]["exit"]["ends_last_hour"], 1, "by the process while no name is known");
    let docker = format!("/system.slice/docker-{}.scope", build::SIDE);
    let of_docker = || ContainerExit { cgroups: Some(lineage(&docker)), ..code(1) };
    desk.push(of_docker());
    assert_eq!(desk.push(of_docker())[0]["exit"]["ends_last_hour"], 0);
}

#[test]
fn a_term_that_ended_nothing_is_counted() {
    let killed = |asked: Option<Signal>, killed| ContainerExit {
        status: Some(WaitStatus::Signaled { signal: 9, core_dumped: false }),
        asked,
        killed,
        ..code(0)
    };
    let ignored = |signal: Option<Signal>| signal.map(|it| Signal { outcome: Outcome::Ignored, ..it });
    for (end, expected) in [
        (killed(ignored(Some(runc(15, 4 * SECOND))), Some(runc(9, 1000))), Some(Term::Ignored)),
        (killed(Some(runc(15, 4 * SECOND)), Some(runc(9, 1000))), Some(Term::Handled)),
        (killed(None, Some(runc(9, 1000))), None),
        (ContainerExit { asked: Some(runc(15, SECOND)), ..code(0) }, None),
    ] {
        let mut desk = Desk::alone(Exits::None);
        desk.push(end);
        desk.rest();
        let counted: Vec<_> = desk.stages.ends().terms.iter().map(|(term, count)| (*term, *count)).collect();
        assert_eq!(counted, expected.map(|term| (term, 1)).into_iter().collect::<Vec<_>>());
    }
}
