//! Why the runtime ended a container: by the pod's status, its Events, and what the kernel saw itself.

use super::*;
use crate::classify::Row;
use crate::schema::{Cause, Certainty, EndedBy, ProbeKind, Stop};

const LIVENESS: &str = "Container api failed liveness probe, will be restarted";

/// The runtime's SIGTERM, upon which it exited with code 0.
fn told_to_stop() -> ContainerExit {
    ContainerExit { status: Some(WaitStatus::Exited { code: 0 }), asked: Some(runc(15, SECOND)), ..an_end() }
}

/// SIGTERM that it ignored, and SIGKILL.
fn stubborn() -> ContainerExit {
    let asked = Signal { outcome: Outcome::Ignored, ..runc(15, 4 * SECOND) };
    ContainerExit { status: signaled(9), asked: Some(asked), killed: Some(runc(9, 10)), ..an_end() }
}

#[test]
fn a_failed_probe_is_a_health_check_however_the_process_ends() {
    let said = "Liveness probe failed: Get \"http://10.0.0.9:80/\": dial tcp: connect: connection refused";
    for (ends, at, ignored) in [(told_to_stop(), END - SECOND, false), (stubborn(), END - 4 * SECOND, true)] {
        let list = [event("Unhealthy", said, at), event("Killing", LIVENESS, at)];
        let told = Scenery::of(ends)
            .life(|_, container| container.liveness = Some(liveness(ProbeAction::HttpGet)))
            .events(&list)
            .told();
        let facts = told.exit();
        assert_eq!(
            (told.cause, facts.ended_by, facts.ignored_term),
            (Cause::HealthCheck, Some(EndedBy::Runtime), ignored)
        );
        let probe = facts.probe.as_ref().expect("the probe");
        assert_eq!(probe.kind, ProbeKind::Liveness);
        assert_eq!(probe.spec, Some(liveness(ProbeAction::HttpGet)));
        assert!(probe.message.as_deref().is_some_and(|said| said.starts_with("Get \"http://")), "{probe:?}");
        assert_eq!(told.certainty, Certainty::Observed);
    }
}

#[test]
fn the_pods_status_tells_why_it_ended() {
    let reason = |reason: &str| PodLife { reason: Some(reason.to_owned()), ..names().life };
    let disruption = |reason: &str, message: Option<&str>| PodLife {
        disruption: Some(reason.to_owned()),
        message: message.map(str::to_owned),
        deleting: true,
        ..names().life
    };
    for (life, stop) in [
        (reason("Evicted"), Stop::Evicted),
        (reason("Preempting"), Stop::Preempted),
        (reason("DeadlineExceeded"), Stop::DeadlineExceeded),
        (reason("NodeShutdown"), Stop::NodeShutdown),
        (reason("Terminated"), Stop::NodeShutdown),
        (reason("UnexpectedAdmissionError"), Stop::Other),
        (disruption("EvictionByEvictionAPI", None), Stop::Drained),
        (disruption("PreemptionByScheduler", None), Stop::Preempted),
        (disruption("TerminationByKubelet", Some("The node was low on resource: memory.")), Stop::Evicted),
        (
            disruption(
                "TerminationByKubelet",
                Some("Pod was terminated in response to imminent node shutdown."),
            ),
            Stop::NodeShutdown,
        ),
        (
            disruption("TerminationByKubelet", Some("Preempted in order to admit critical pod")),
            Stop::Preempted,
        ),
        (disruption("DeletionByTaintManager", None), Stop::Deleted),
        (PodLife { deleting: true, ..names().life }, Stop::Deleted),
    ] {
        let told = Scenery::of(stubborn()).life(|pod, _| *pod = life.clone()).told();
        let facts = told.exit();
        assert_eq!(
            (told.cause, facts.stop, facts.ended_by),
            (Cause::Stopped, Some(stop), Some(EndedBy::Runtime)),
            "{life:?}"
        );
        assert!(facts.ignored_term);
        // It has no probe, so no Event could tell anything else.
        assert!(!facts.wants_events);
    }
    // A probe could have been first where the end took long.
    let probed = |ends| {
        let life = |pod: &mut PodLife, container: &mut ContainerLife| {
            pod.deleting = true;
            container.liveness = Some(liveness(ProbeAction::Exec));
        };
        Scenery::of(ends).life(life).told().exit().wants_events
    };
    assert!(probed(stubborn()) && !probed(told_to_stop()));
}

#[test]
fn events_of_this_run_tell_why_it_ended() {
    let killing = |message: &str| vec![event("Killing", message, END - SECOND)];
    let beside = |reason: &str| {
        let before = event(reason, "what it says", END - 2 * SECOND);
        vec![before, event("Killing", "Stopping container api", END - SECOND)]
    };
    for (list, stop) in [
        (killing("Stopping container api"), Stop::Deleted),
        (killing("Container api definition changed, will be restarted"), Stop::SpecChanged),
        (killing("Container api resize requires restart"), Stop::SpecChanged),
        (killing("FailedPostStartHook"), Stop::PostStartHook),
        (beside("FailedPostStartHook"), Stop::PostStartHook),
        (beside("SandboxChanged"), Stop::SandboxChanged),
        (beside("Evicted"), Stop::Evicted),
        (beside("Preempted"), Stop::Preempted),
        (beside("DeadlineExceeded"), Stop::DeadlineExceeded),
        (beside("NodeShutdown"), Stop::NodeShutdown),
    ] {
        let told = Scenery::of(told_to_stop()).events(&list).told();
        assert_eq!((told.cause, told.exit().stop), (Cause::Stopped, Some(stop)), "{list:?}");
    }
    let sidecar = |policy| {
        let mut scenery = Scenery::of(told_to_stop()).events(&killing("Stopping container api"));
        let names = scenery.names.as_mut().expect("names");
        names.life.restart_policy = Some(policy);
        names.container.as_mut().expect("a container").role = Some(ContainerRole::Sidecar);
        let told = scenery.told();
        (told.exit().stop, told.certainty)
    };
    assert_eq!(sidecar(RestartPolicy::Never), (Some(Stop::PodDone), Certainty::Inferred));
    assert_eq!(sidecar(RestartPolicy::Always), (Some(Stop::Deleted), Certainty::Inferred));
}

#[test]
fn events_of_other_times_and_containers_do_not_count() {
    let mut other = event("Killing", LIVENESS, END - SECOND);
    other.container = Some("side".to_owned());
    let mut later = event("Killing", LIVENESS, END + 30 * SECOND);
    later.first_s = event("", "", START - SECOND).first_s;
    later.count = 3;
    for list in [
        vec![],
        vec![event("Killing", LIVENESS, START - SECOND)],
        vec![event("SandboxChanged", "", START)],
        vec![event("Killing", LIVENESS, END + 30 * SECOND)],
        vec![later],
        vec![other],
        vec![event("BackOff", "Back-off restarting failed container", END)],
        vec![event("Unhealthy", "Readiness probe failed: ", END - SECOND)],
    ] {
        let told = Scenery::of(told_to_stop()).events(&list).told();
        assert_eq!((told.cause, told.exit().row), (Cause::Unknown, Row::Runtime), "{list:?}");
        assert!(told.gap("verdict.cause").is_some_and(|why| why.contains("nor an Event of this time")));
        assert!(told.exit().wants_events);
    }
    // Of an Event that happened several times the first or the last may be of this run.
    for (first, last) in [(START - 60 * SECOND, END - SECOND), (END - SECOND, END + 60 * SECOND)] {
        let mut many = event("Killing", LIVENESS, first);
        many.last_s = event("", "", last).last_s;
        many.count = 2;
        let told = Scenery::of(told_to_stop()).events(&[many]).told();
        assert_eq!(told.cause, Cause::HealthCheck);
    }
}

#[test]
fn a_probe_that_failed_before_the_pod_was_deleted_decides() {
    let list = [
        event("Killing", LIVENESS, END - 4 * SECOND),
        event("Killing", "Stopping container api", END - 2 * SECOND),
    ];
    let told = Scenery::of(stubborn()).life(|pod, _| pod.deleting = true).events(&list).told();
    assert_eq!(told.cause, Cause::HealthCheck);
}

#[test]
fn without_kubernetes_word_failed_execs_at_an_interval_infer_a_probe() {
    let with = |execs: Vec<FailedExec>, total| ContainerExit {
        failed_execs: execs,
        failed_execs_total: total,
        ..told_to_stop()
    };
    let nameless = |event| Scenery { names: None, ..Scenery::of(event) }.told();
    let told = nameless(with(failed_execs(3, SECOND + 1000, 10 * SECOND), 3));
    assert_eq!((told.cause, told.certainty), (Cause::HealthCheck, Certainty::Inferred));
    assert_eq!(told.inferred(), ["verdict.cause", "exit.probe"]);
    assert_eq!(
        told.exit().probe.as_ref().map(|probe| (probe.kind, probe.execs)),
        Some((ProbeKind::Unknown, 3))
    );
    for execs in [
        // One or two are no row; the last is long ago; the interval is none of whole seconds.
        failed_execs(1, SECOND + 1000, 10 * SECOND),
        failed_execs(2, SECOND + 1000, 10 * SECOND),
        failed_execs(3, 8 * SECOND, 10 * SECOND),
        failed_execs(3, SECOND + 1000, 2 * SECOND + SECOND / 2),
    ] {
        let told = nameless(with(execs, 3));
        assert_eq!((told.cause, told.exit().row), (Cause::Unknown, Row::Runtime));
    }
    let row = |total| nameless(with(failed_execs(3, SECOND + 1000, 10 * SECOND), total)).cause;
    assert_eq!((row(30), row(31)), (Cause::HealthCheck, Cause::Unknown), "a readiness probe's ends nothing");
    // Kubernetes knows the probe: its interval and threshold hold.
    let known = |seconds, total, action| {
        let mut probe = liveness(action);
        probe.failure_threshold = 3;
        Scenery::of(with(failed_execs(total, SECOND + 1000, seconds * SECOND), total))
            .life(|_, container| container.liveness = Some(probe))
            .told()
            .cause
    };
    assert_eq!(known(10, 3, ProbeAction::Exec), Cause::HealthCheck);
    assert_eq!(known(10, 2, ProbeAction::Exec), Cause::Unknown);
    assert_eq!(known(5, 3, ProbeAction::Exec), Cause::Unknown);
    assert_eq!(known(10, 3, ProbeAction::HttpGet), Cause::Unknown);
}

#[test]
fn why_kubernetes_word_is_missing_is_said() {
    let nameless = Scenery { names: None, ..Scenery::of(told_to_stop()) }.told();
    assert!(nameless.gap("verdict.cause").is_some_and(|why| why.contains("were not looked up yet")));
    let missing = Events { missing: Some("403".to_owned()), ..Events::default() };
    let told = Scenery { events: Some(missing), ..Scenery::of(told_to_stop()) }.told();
    assert!(told.gap("verdict.cause").is_some_and(|why| why.contains("could not be had")));
    let docker =
        ContainerExit { cgroups: Some(lineage(&format!("/docker/{}", build::API))), ..told_to_stop() };
    let told = Scenery::of(docker).told();
    assert!(told.gap("verdict.cause").is_some_and(|why| why.contains("in no pod")));
    assert!(!told.exit().wants_events);
}

#[test]
fn a_signal_of_the_runtime_long_before_the_grace_period_is_none_for_this_end() {
    // `docker kill --signal HUP` reloads; the pod's grace period is 30 s.
    let event = ContainerExit { asked: Some(runc(1, 50 * SECOND)), ..an_end() };
    assert_eq!(Scenery::of(event).told().exit().row, Row::Exited);
}

#[test]
fn without_a_known_grace_period_signals_that_stop_programs_count_for_longer() {
    let row = |asked: Signal| {
        let event = ContainerExit { asked: Some(asked), ..an_end() };
        Scenery { names: None, ..Scenery::of(event) }.told().exit().row
    };
    for number in [2, 3, 15, 28, 34, 37, 64] {
        assert_eq!(row(runc(number, 599 * SECOND)), Row::Runtime, "{number}");
        assert_eq!(row(runc(number, 601 * SECOND)), Row::Exited, "{number}");
    }
    for number in [1, 10, 12] {
        assert_eq!(row(runc(number, 9 * SECOND)), Row::Runtime, "{number}");
        assert_eq!(row(runc(number, 11 * SECOND)), Row::Exited, "{number}");
    }
}

#[test]
fn a_crash_is_one_where_the_grace_period_is_over_or_not_known() {
    let crash = |before| ContainerExit {
        status: signaled(11),
        raised: raised(11, 1, 0),
        asked: Some(runc(15, before)),
        ..an_end()
    };
    assert_eq!(Scenery::of(crash(29 * SECOND)).told().exit().row, Row::Runtime);
    assert_eq!(Scenery::of(crash(31 * SECOND)).told().exit().row, Row::Fault);
    let nameless = Scenery { names: None, ..Scenery::of(crash(SECOND)) };
    assert_eq!(nameless.told().exit().row, Row::Fault);
}

#[test]
fn killing_of_the_run_before_is_none_of_this() {
    let told = |ran_ns, killing_at, count| {
        let task = Task { start_boottime_ns: Some(END - ran_ns), ..an_end().task };
        let mut scenery = Scenery::of(ContainerExit { task, ..told_to_stop() });
        scenery.names.as_mut().expect("names").container.as_mut().expect("one").restart_count = Some(count);
        scenery.events(&[event("Killing", LIVENESS, killing_at)]).told().cause
    };
    assert_eq!(told(40 * SECOND, END - 40 * SECOND, 2), Cause::Unknown, "in the second of the start");
    assert_eq!(told(40 * SECOND, END - 40 * SECOND, 0), Cause::HealthCheck, "there was none before");
    assert_eq!(told(40 * SECOND, END - 39 * SECOND, 2), Cause::HealthCheck, "its hook preStop took long");
    assert_eq!(told(2 * SECOND, END - 2 * SECOND, 2), Cause::HealthCheck, "stopped as soon as it ran");
    assert_eq!(told(60 * SECOND, END - 50 * SECOND, 2), Cause::Unknown, "longer ago than the grace period");
}

#[test]
fn where_kubelet_writes_no_more_events_the_probe_is_what_is_left() {
    let http = || Some(liveness(ProbeAction::HttpGet));
    let probed =
        |ends: ContainerExit| Scenery::of(ends).life(|_, container| container.liveness = http()).events(&[]);
    let told = probed(told_to_stop()).told();
    assert_eq!((told.cause, told.certainty), (Cause::HealthCheck, Certainty::Inferred));
    assert_eq!(told.inferred(), ["verdict.cause", "exit.probe"]);
    assert_eq!(told.exit().probe.as_ref().map(|probe| probe.kind), Some(ProbeKind::Liveness));
    assert!(told.shows(&["kubelet writes no more of them after 25", "a change of its spec"]), "{told:#?}");
    // Both probes: the startup probe has until 35 s.
    let both = |ran_ns| {
        let task = Task { start_boottime_ns: Some(END - ran_ns), ..an_end().task };
        let scenery = probed(ContainerExit { task, ..told_to_stop() });
        let told = scenery.life(|_, container| container.startup = http()).told();
        told.exit().probe.as_ref().map(|probe| probe.kind)
    };
    assert_eq!(both(20 * SECOND), Some(ProbeKind::Startup));
    assert_eq!(both(60 * SECOND), Some(ProbeKind::Unknown));
    let unknown = |change: fn(&mut Scenery)| {
        let mut scenery = probed(told_to_stop());
        change(&mut scenery);
        assert_eq!(scenery.told().cause, Cause::Unknown);
    };
    unknown(|it| it.events = None);
    unknown(|it| it.events.as_mut().expect("Events").soon = true);
    unknown(|it| it.events.as_mut().expect("Events").missing = Some("403".to_owned()));
    unknown(|it| it.names.as_mut().expect("names").stale_seconds = Some(9));
    unknown(|it| it.names.as_mut().expect("names").source = NameSource::Cri);
    unknown(|it| it.names.as_mut().expect("names").container.as_mut().expect("one").life.liveness = None);
}

#[test]
fn an_event_that_decides_needs_no_other() {
    let wants = |message: &str| {
        let list = [event("Killing", message, END - SECOND)];
        Scenery::of(told_to_stop()).events(&list).told().exit().wants_events
    };
    assert!(!wants(LIVENESS) && wants("Stopping container api"));
}
