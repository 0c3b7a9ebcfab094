//! What Kubernetes knows decides whether there is a line, and what it says.

use super::*;
use crate::event::SI_KERNEL;
use crate::names::PodEvent;
use crate::pipeline::ends::WAIT_NS;

/// Ended by the runtime's SIGTERM, which the process handled, got, or ignored until its SIGKILL.
fn told_to_stop() -> [ContainerExit; 3] {
    let by = |signal| Some(WaitStatus::Signaled { signal, core_dumped: false });
    let handled = ContainerExit { asked: Some(runc(15, SECOND)), ..code(0) };
    let ignored = Some(Signal { outcome: Outcome::Ignored, ..runc(15, 4 * SECOND) });
    [
        handled.clone(),
        ContainerExit { status: by(15), ..handled.clone() },
        ContainerExit { status: by(9), asked: ignored, killed: Some(runc(9, 1000)), ..handled },
    ]
}

fn deleting(policy: RestartPolicy) -> Names {
    let mut names = named(policy);
    names.life.deleting = true;
    (names.life.grace_seconds, names.life.deletion_grace_seconds) = (Some(30), Some(30));
    names
}

fn event(reason: &str, message: &str) -> PodEvent {
    // When the runtime was told, at the latest.
    let at_s = i64::try_from(END / SECOND).expect("it fits") - 4;
    PodEvent {
        reason: reason.into(),
        message: message.into(),
        count: 1,
        first_s: Some(at_s),
        last_s: Some(at_s),
        container: Some("api".into()),
    }
}

fn events(list: Vec<PodEvent>) -> Events {
    Events { list, missing: None, soon: false }
}

fn awaited() -> Events {
    Events { soon: true, ..Events::default() }
}

fn failed_probe() -> Events {
    events(vec![event("Killing", "Container api failed liveness probe, will be restarted")])
}

/// `deletionTimestamp` is in the watch before the runtime is told to stop the pod.
#[test]
fn a_rollout_makes_no_line_and_with_all_it_makes_one() {
    for end in told_to_stop() {
        let mut desk = Desk::new(Filter::default(), known(deleting(RestartPolicy::Always)));
        desk.api.borrow_mut().events = events(vec![event("Killing", "Stopping container api")]);
        assert_eq!(desk.push(end.clone()), [Value::Null; 0], "{:?}", end.status);
        assert_eq!(desk.stages.deadline_ns(), None, "nothing is awaited");
        desk.set(with_status(deleting(RestartPolicy::Always), "Error", 143));
        assert_eq!(desk.rest(), [], "{:?}", end.status);
        assert_eq!(desk.count(Counter::EndsStopped), 1);
        assert_eq!(desk.count(Counter::IncidentsReported), 0);
        assert_eq!(desk.stages.ends().ends.keys().map(|(cause, _)| *cause).collect::<Vec<_>>(), ["stopped"]);

        let filter = Filter { exits: Exits::All, ..Filter::default() };
        let mut desk = Desk::new(filter, known(with_status(deleting(RestartPolicy::Always), "Error", 143)));
        let [line] = desk.push(end).try_into().expect("one line at once");
        assert_eq!((&line["verdict"]["cause"], &line["revision"]), (&"stopped".into(), &1.into()));
        assert_eq!(desk.rest(), []);
    }
}

/// SIGTERM and then code 0: only the Event tells.
#[test]
fn a_failed_probe_makes_its_line_when_the_events_are_there() {
    for (end, how) in told_to_stop().into_iter().zip([EndedHow::Zero, EndedHow::Term, EndedHow::Kill]) {
        for policy in [RestartPolicy::Always, RestartPolicy::OnFailure] {
            let mut desk = Desk::new(Filter::default(), known(named(policy)));
            desk.api.borrow_mut().events = awaited();
            assert_eq!(desk.push(end.clone()), [Value::Null; 0], "its reason is still awaited");
            assert_eq!(desk.tick(END + SECOND), [Value::Null; 0]);
            desk.api.borrow_mut().events = failed_probe();
            let [line] = desk.tick(END + 2 * SECOND).try_into().expect("one line");
            assert_eq!((&line["verdict"]["cause"], &line["revision"]), (&"health_check".into(), &1.into()));
            // Events are complete: they are not looked up again.
            let looked = desk.api.borrow().looked;
            desk.rest();
            assert_eq!((desk.api.borrow().looked, looked), (3, 3));
            assert_eq!(desk.counted(Cause::HealthCheck, how), 1);
            assert_eq!(desk.stages.ends().probes.get("liveness"), Some(&1));
        }
    }
}

#[test]
fn an_end_that_stays_unexplained_goes_out_once_time_is_up_and_is_not_hidden() {
    let [handled, got, _] = told_to_stop();
    for (end, policy, reported) in [
        (got.clone(), RestartPolicy::Never, true),
        (handled.clone(), RestartPolicy::Always, true),
        (handled.clone(), RestartPolicy::OnFailure, false),
    ] {
        let mut desk = Desk::new(Filter::default(), known(named(policy)));
        desk.api.borrow_mut().events = awaited();
        assert_eq!(desk.push(end), [Value::Null; 0]);
        let rest = desk.rest();
        assert_eq!(rest.len(), usize::from(reported), "{policy:?}");
        for (at_ns, line) in rest {
            assert_eq!((at_ns, &line["revision"]), (END + WAIT_NS, &1.into()));
            assert_eq!(line["verdict"]["cause"], "unknown");
        }
        assert!(desk.api.borrow().looked <= 21);
        assert_eq!(desk.count(Counter::EndsWell), u64::from(!reported));
    }
    // What kubelet's silence means is known when time is up, also where the source still waits.
    let mut desk = Desk::new(Filter::default(), known(named(RestartPolicy::Always)));
    let mut names = named(RestartPolicy::Always);
    let probe = crate::classify::tests::exit::liveness(crate::names::ProbeAction::HttpGet);
    names.container.as_mut().expect("a container").life.liveness = Some(probe);
    desk.set(names);
    desk.api.borrow_mut().events = Events { missing: None, ..awaited() };
    assert_eq!(desk.push(handled.clone()), [Value::Null; 0]);
    let rest = desk.rest();
    assert_eq!(rest.len(), 1);
    assert_eq!((rest[0].0, &rest[0].1["verdict"]["cause"]), (END + WAIT_NS, &"health_check".into()));
    // Nothing is awaited without an API server.
    for (end, reported) in [(got, true), (handled, false)] {
        let mut desk = Desk::alone(Exits::Failed);
        assert_eq!(desk.push(end).len(), usize::from(reported));
        assert_eq!((desk.stages.deadline_ns(), desk.api.borrow().looked), (None, 1));
    }
}

#[test]
fn a_line_that_was_sent_is_corrected() {
    // Process 1 of its namespace ended first: the sandbox, as it turns out.
    let mut kill = runc(9, 1000);
    (kill.code, kill.sender.exiting) = (SI_KERNEL, true);
    kill.sender.pid_ns = code(0).pid_ns.or(Some(4_026_532_500));
    let end = ContainerExit {
        pid_ns: kill.sender.pid_ns,
        status: Some(WaitStatus::Signaled { signal: 9, core_dumped: false }),
        killed: Some(kill),
        is_init: false,
        ..code(0)
    };
    let mut desk = Desk::new(Filter::default(), known(named(RestartPolicy::Always)));
    desk.api.borrow_mut().events = awaited();
    let [first] = desk.push(end).try_into().expect("one line at once");
    assert_eq!(first["verdict"]["cause"], "killed");
    let changed =
        PodEvent { container: None, ..event("SandboxChanged", "Pod sandbox changed, it will be killed") };
    desk.api.borrow_mut().events = events(vec![changed]);
    let [(at_ns, second)] = desk.rest().try_into().expect("one more");
    assert!(at_ns <= END + WAIT_NS);
    assert_eq!((&second["id"], &second["revision"]), (&first["id"], &2.into()));
    assert_eq!(second["verdict"]["cause"], "stopped");
    assert_eq!(desk.count(Counter::EndsStopped), 0, "it was reported");
    assert_eq!(desk.counted(Cause::Stopped, EndedHow::Kill), 1, "counted as what it was");

    // Reported as unexplained, because all are wanted, and then deleted.
    let [_, got, _] = told_to_stop();
    let filter = Filter { exits: Exits::All, causes: vec![Cause::Unknown], ..Filter::default() };
    let mut desk = Desk::new(filter, known(named(RestartPolicy::Always)));
    desk.api.borrow_mut().events = awaited();
    assert_eq!(desk.push(got).len(), 1);
    desk.set(with_status(deleting(RestartPolicy::Always), "Error", 143));
    desk.api.borrow_mut().events = events(Vec::new());
    let [(_, second)] = desk.rest().try_into().expect("one more");
    assert_eq!((&second["verdict"]["cause"], &second["revision"]), (&"stopped".into(), &2.into()));
}

#[test]
fn events_are_looked_up_only_where_they_decide() {
    let segv = Some(WaitStatus::Signaled { signal: 11, core_dumped: false });
    for (end, looked) in [(code(1), 0), (code(0), 0), (ContainerExit { status: segv, ..code(0) }, 0)] {
        let mut desk = Desk::new(Filter::default(), known(named(RestartPolicy::Always)));
        desk.push(end);
        desk.rest();
        assert_eq!(desk.api.borrow().looked, looked);
    }
}

/// Kubernetes has times of the wall clock.
#[test]
fn times_of_events_are_compared_by_the_clock_in_force() {
    let mut desk = Desk::new(Filter::default(), known(named(RestartPolicy::Always)));
    let offset_s = 1_000_000;
    desk.stages.clock(END - SECOND, offset_s * 1_000_000_000);
    let mut events = failed_probe();
    for event in &mut events.list {
        event.first_s = event.first_s.map(|at_s| at_s + offset_s);
        event.last_s = event.first_s;
    }
    desk.api.borrow_mut().events = events;
    let [handled, ..] = told_to_stop();
    assert_eq!(desk.push(handled)[0]["verdict"]["cause"], "health_check");
}

#[test]
fn an_oom_kill_is_known_to_be_none_only_while_all_was_watched() {
    let watched = |start_ns, lost_ns: Option<u64>| {
        let mut desk = Desk::new(Filter::default(), soon());
        desk.stages.started(start_ns);
        if let Some(lost_ns) = lost_ns {
            desk.stages.tick(lost_ns);
            desk.stages.malformed();
        }
        desk.push(code(1));
        let waiting = desk.stages.ends.waiting.front().expect("it waits for names");
        waiting.known.case.exit.as_ref().is_some_and(|exit| exit.oom_watched)
    };
    assert!(watched(START, None) && watched(START, Some(START - 1)));
    assert!(!watched(START + 1, None) && !watched(1, Some(START + SECOND)));
}
