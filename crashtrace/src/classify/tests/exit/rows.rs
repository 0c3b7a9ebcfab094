//! Each row of the decision table.

use super::*;
use crate::classify::Row;
use crate::correlate::KilledBy;
use crate::enrich::OomVerdict;
use crate::schema::{Cause, Certainty, EndedBy, Level, Stop};

#[track_caller]
fn expect(told: &Told, row: Row, cause: Cause, ended_by: Option<EndedBy>) {
    let facts = told.exit();
    assert_eq!((facts.row, told.cause, facts.ended_by), (row, cause, ended_by), "{told:#?}");
}

fn an_oom(pid: u32) -> KilledBy {
    KilledBy { ktime_ns: END - SECOND, cpu: 1, pid: Some(pid), comm: Some("api".into()) }
}

#[test]
fn a_joined_oom_kill_gives_its_cause_and_level() {
    let event =
        ContainerExit { status: signaled(9), killed: Some(kernels(9, 4211)), oom_marked: true, ..an_end() };
    let mut scenery = Scenery::of(event.clone());
    scenery.change = |end, context| {
        end.oom = Some(an_oom(4211));
        context.oom = Some(OomVerdict {
            ktime_ns: END - SECOND,
            cpu: 1,
            cause: Cause::CgroupOom,
            level: Some(Level::Container),
            certainty: Certainty::Inferred,
            level_is_inferred: true,
            summary: "container api hit its own limit of 64 MiB".to_owned(),
            remedy: "Raise that limit.".to_owned(),
        });
    };
    let told = scenery.told();
    expect(&told, Row::Oom, Cause::CgroupOom, Some(EndedBy::OomKiller));
    assert_eq!((told.level, told.certainty), (Some(Level::Container), Certainty::Inferred));
    assert_eq!(told.inferred(), ["verdict.level"], "that it was the OOM killer was seen");
    assert!(!told.exit().wants_events);

    // The verdict has been forgotten.
    let mut scenery = Scenery::of(event.clone());
    scenery.change = |end, _| end.oom = Some(an_oom(4211));
    expect(&scenery.told(), Row::Oom, Cause::Unknown, Some(EndedBy::OomKiller));
    // The record of the decision was lost.
    let told = Scenery::of(event).told();
    expect(&told, Row::OomUnseen, Cause::Unknown, Some(EndedBy::OomKiller));
    assert!(told.gap("verdict.cause").is_some_and(|why| why.contains("no record of that OOM kill")));
}

#[test]
fn an_oom_kill_that_came_too_late_is_not_what_ended_it() {
    let chosen = |status, killed| {
        let event = ContainerExit {
            status,
            killed: Some(killed),
            asked: Some(runc(15, 30 * SECOND)),
            oom_marked: true,
            ..an_end()
        };
        let marked = Scenery::of(event.clone()).told();
        let mut joined = Scenery::of(event);
        joined.change = |end, _| end.oom = Some(an_oom(4211));
        [marked, joined.told()]
    };
    // The runtime had killed it, and the kernel chose it while it died; it had called `exit`.
    for told in chosen(signaled(9), runc(9, SECOND))
        .into_iter()
        .chain(chosen(Some(WaitStatus::Exited { code: 143 }), kernels(9, 4211)))
    {
        expect(&told, Row::Runtime, Cause::Unknown, Some(EndedBy::Runtime));
        assert!(
            told.exit().oom_too_late && told.shows(&["the OOM killer had chosen it while it was ending"])
        );
    }
    // A SIGKILL that process 1 ignores does not end it.
    let ignored = Signal { outcome: Outcome::Ignored, ..inside(&api()) };
    let [marked, joined] = chosen(signaled(9), ignored);
    assert_eq!((marked.exit().row, joined.exit().row), (Row::OomUnseen, Row::Oom));
    assert!(!marked.exit().oom_too_late && !joined.exit().oom_too_late);
}

#[test]
fn abort_of_process_1_is_told_by_its_sigabrt() {
    for status in [4, 5, 11] {
        let event = ContainerExit { status: signaled(status), raised: raised(6, -6, 0), ..an_end() };
        let told = Scenery::of(event).told();
        expect(&told, Row::OwnSignal, Cause::ContainerExit, Some(EndedBy::Itself));
        assert!(told.summary.contains("called abort()"), "{}", told.summary);
        let shown = format!("the status shows {}", 128 + status);
        assert!(told.shows(&[&shown, "process 1 of a pid namespace ignores SIGABRT"]), "{told:#?}");
    }
    let event = ContainerExit { status: signaled(8), raised: raised(6, -6, 0), ..an_end() };
    expect(&Scenery::of(event).told(), Row::SignalUnseen, Cause::Unknown, None);
}

#[test]
fn a_pod_that_ends_explains_an_end_that_looks_like_a_stop() {
    let exited = |code| Some(WaitStatus::Exited { code });
    let inside = |number| Some(Signal { number, ..inside(&api()) });
    let ending = |event| Scenery::of(event).life(|pod, _| pod.deleting = true).told();
    let at = |status, asked| ContainerExit { status, asked, ..an_end() };
    // `nginx -s quit` in a hook `preStop`, and programs that it ends in other ways.
    for (event, by) in [
        (at(exited(0), inside(3)), EndedBy::SameContainer),
        (at(exited(131), inside(3)), EndedBy::SameContainer),
        (at(signaled(15), inside(15)), EndedBy::SameContainer),
        (ContainerExit { killed: inside(9), ..at(signaled(9), None) }, EndedBy::SameContainer),
        (at(exited(0), None), EndedBy::Itself),
        (at(exited(143), None), EndedBy::Itself),
    ] {
        let told = ending(event.clone());
        expect(&told, Row::Stopped, Cause::Stopped, Some(by));
        assert_eq!(told.inferred(), ["verdict.cause", "exit.stop"]);
        assert_eq!((told.exit().stop, told.exit().wants_events), (Some(Stop::Deleted), false));
        assert!(told.shows(&["no signal of the container runtime ended it"]), "{told:#?}");
        if by == EndedBy::SameContainer {
            assert!(told.shows(&["in the same container"]), "the sender is shown: {told:#?}");
        }
        assert_ne!(Scenery::of(event.clone()).told().cause, Cause::Stopped, "the pod goes on");
        let mut later = Scenery::of(event).life(|pod, _| pod.deleting = true);
        later.change = |_, context| context.pod_went_on = true;
        assert_ne!(later.told().cause, Cause::Stopped, "it was deleted after the end");
    }
    let host = by("bash", 812, "/user.slice/user-0.slice/session-3.scope");
    for (event, cause) in [
        (at(exited(1), None), Cause::ContainerExit),
        (at(exited(1), inside(15)), Cause::Killed),
        (ContainerExit { raised: raised(11, 1, 0), ..at(signaled(11), None) }, Cause::ContainerExit),
        (ContainerExit { raised: raised(6, -6, 0), ..at(signaled(6), None) }, Cause::ContainerExit),
        (at(signaled(11), inside(11)), Cause::Killed),
        (ContainerExit { killed: Some(host), ..at(signaled(9), None) }, Cause::Killed),
    ] {
        assert_eq!(ending(event.clone()).cause, cause, "{event:?}");
    }
}

#[test]
fn what_ended_it_by_itself() {
    let at = |status, raised| ContainerExit { status, raised, ..an_end() };
    let exited = |code| Some(WaitStatus::Exited { code });
    for (event, row, ended_by) in [
        (at(exited(1), None), Row::Exited, EndedBy::Itself),
        (at(exited(0), None), Row::Exited, EndedBy::Itself),
        (at(exited(139), raised(11, 1, 0)), Row::Exited, EndedBy::Itself),
        (at(signaled(11), raised(11, 1, 0)), Row::Fault, EndedBy::Fault),
        (at(signaled(31), raised(31, 1, 0)), Row::Fault, EndedBy::Fault),
        (at(signaled(24), raised(24, SI_KERNEL, 0)), Row::Fault, EndedBy::Fault),
        (at(signaled(25), raised(25, 0, 0)), Row::Fault, EndedBy::Fault),
        (at(signaled(6), raised(6, -6, 0)), Row::OwnSignal, EndedBy::Itself),
        (at(signaled(13), raised(13, 0, 0)), Row::OwnSignal, EndedBy::Itself),
        (ContainerExit { before_exec: true, ..at(exited(1), None) }, Row::NotStarted, EndedBy::Itself),
        (
            ContainerExit { killed: Some(by("api", 4211, &api())), ..at(signaled(9), None) },
            Row::OwnSignal,
            EndedBy::Itself,
        ),
    ] {
        expect(&Scenery::of(event).told(), row, Cause::ContainerExit, Some(ended_by));
    }
    // The signal of the status was not raised.
    let told = Scenery::of(at(signaled(11), raised(7, 1, 0))).told();
    expect(&told, Row::SignalUnseen, Cause::Unknown, None);
    let told = Scenery::of(at(None, None)).told();
    expect(&told, Row::StatusUnread, Cause::Unknown, None);
}

#[test]
fn another_process_killed_it() {
    let host = |number, before_ns| Signal {
        number,
        ktime_ns: END - before_ns,
        ..by("bash", 812, "/user.slice/user-1000.slice/session-3.scope")
    };
    let kill = |killed| ContainerExit { status: signaled(9), killed: Some(killed), ..an_end() };
    let ask = |status, asked| ContainerExit { status, asked: Some(asked), ..an_end() };
    let exited = |code| Some(WaitStatus::Exited { code });
    for (event, row, ended_by, certainty) in [
        (kill(host(9, 10)), Row::Killed, EndedBy::Host, Certainty::Observed),
        (kill(inside(&sibling())), Row::Killed, EndedBy::SamePod, Certainty::Observed),
        (ask(signaled(15), host(15, 10)), Row::Killed, EndedBy::Host, Certainty::Observed),
        (ask(exited(143), host(15, 2 * SECOND)), Row::KilledByHandled, EndedBy::Host, Certainty::Inferred),
        (
            ask(exited(0), Signal { number: 2, ..inside(&api()) }),
            Row::KilledByHandled,
            EndedBy::SameContainer,
            Certainty::Inferred,
        ),
    ] {
        let told = Scenery::of(event).told();
        expect(&told, row, Cause::Killed, Some(ended_by));
        assert_eq!(told.certainty, certainty);
        assert!(!told.exit().wants_events);
    }
    // The signal is long ago, was ignored, or is one that programs use for other things.
    for asked in [host(15, 11 * SECOND), Signal { outcome: Outcome::Ignored, ..host(15, 10) }, host(10, 10)] {
        expect(
            &Scenery::of(ask(exited(1), asked)).told(),
            Row::Exited,
            Cause::ContainerExit,
            Some(EndedBy::Itself),
        );
    }
    // An ignored SIGKILL from inside ends no process 1.
    let ignored = Signal { outcome: Outcome::Ignored, ..inside(&api()) };
    expect(&Scenery::of(kill(ignored)).told(), Row::SignalUnseen, Cause::Unknown, None);
    // In its grace period, someone was faster than the runtime.
    let event = ContainerExit { asked: Some(runc(15, SECOND)), ..kill(host(9, 10)) };
    expect(&Scenery::of(event).told(), Row::Killed, Cause::Killed, Some(EndedBy::Host));
}

#[test]
fn the_kernel_killed_it() {
    let mut init = kernels(9, 4000);
    init.sender.exiting = true;
    init.sender.pid_ns = Some(CONTAINERS_NS);
    let kill = |killed: Signal| ContainerExit {
        status: signaled(9),
        killed: Some(killed),
        is_init: false,
        ..an_end()
    };
    // Process 1 of a namespace is not killed for the end of that.
    let first = ContainerExit { is_init: true, ..kill(init.clone()) };
    expect(&Scenery::of(first).told(), Row::Kernel, Cause::Unknown, Some(EndedBy::Kernel));
    let told = Scenery::of(kill(init.clone())).told();
    expect(&told, Row::PidNamespace, Cause::Killed, Some(EndedBy::PidNamespace));
    assert!(told.exit().wants_events);
    let anew = event("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.", END);
    let told = Scenery::of(kill(init.clone())).events(std::slice::from_ref(&anew)).told();
    expect(&told, Row::Stopped, Cause::Stopped, Some(EndedBy::PidNamespace));
    assert_eq!(told.exit().stop, Some(Stop::SandboxChanged));
    // The end of the namespace within the pod's own end.
    let event = ContainerExit { asked: Some(runc(15, SECOND)), ..kill(init) };
    let told = Scenery::of(event).life(|pod, _| pod.deleting = true).told();
    expect(&told, Row::Stopped, Cause::Stopped, Some(EndedBy::Runtime));

    let told = Scenery::of(kill(kernels(9, 4211))).told();
    expect(&told, Row::Kernel, Cause::Unknown, Some(EndedBy::Kernel));
    assert!(told.remedy.contains("such as Tetragon. `bpftool prog`"), "{}", told.remedy);
    let limited = ContainerExit { cpu_limited: true, ..kill(kernels(9, 4211)) };
    let told = Scenery::of(limited).told();
    expect(&told, Row::CpuLimit, Cause::ContainerExit, Some(EndedBy::CpuLimit));
    assert_eq!(told.inferred(), ["exit.ended_by"]);
    let soft = ContainerExit { raised: raised(24, SI_KERNEL, 0), ..kill(kernels(9, 4211)) };
    assert_eq!(Scenery::of(soft).told().certainty, Certainty::Observed);
    expect(&Scenery::of(kill(kernels(9, 77))).told(), Row::Kernel, Cause::Unknown, Some(EndedBy::Kernel));
    let hangup = ContainerExit { status: signaled(1), asked: Some(kernels(1, 77)), ..an_end() };
    expect(&Scenery::of(hangup).told(), Row::Kernel, Cause::Unknown, Some(EndedBy::Kernel));
}
