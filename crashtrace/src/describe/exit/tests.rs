//! Sentences about ends of containers, row by row.

use crate::classify::tests::build::{API, SIDE, Told};
use crate::classify::tests::exit::{
    CONTAINERS_NS, END, SECOND, Scenery, an_end, by, event, failed_execs, inside, kernels, liveness, raised,
    runc, sibling, signaled,
};
use crate::correlate::KilledBy;
use crate::event::{ContainerExit, Outcome, Signal, WaitStatus};
use crate::names::{EndedStatus, ProbeAction, RestartPolicy};

const SUBJECT: &str = "container api of pod shop/api-7f9c";

fn exited(code: u8) -> ContainerExit {
    ContainerExit { status: Some(WaitStatus::Exited { code }), ..an_end() }
}

fn killed(signal: Signal) -> ContainerExit {
    ContainerExit { status: signaled(9), killed: Some(signal), ..an_end() }
}

fn stubborn() -> ContainerExit {
    let asked = Signal { outcome: Outcome::Ignored, ..runc(15, 30 * SECOND) };
    ContainerExit { asked: Some(asked), ..killed(runc(9, 0)) }
}

fn summary(event: ContainerExit) -> String {
    Scenery::of(event).told().summary
}

#[test]
fn each_row_has_its_summary() {
    let fault = |number, code| ContainerExit {
        status: signaled(number),
        raised: raised(number, code, 0),
        ..an_end()
    };
    let bash = by("bash", 812, "/user.slice/user-1000.slice/session-3.scope");
    let mut init = kernels(9, 4000);
    init.sender.exiting = true;
    init.sender.pid_ns = Some(CONTAINERS_NS);
    for (event, says) in [
        (exited(1), "exited with code 1 after 1 min 0 s"),
        (fault(11, 1), "crashed with SIGSEGV after 1 min 0 s: null pointer: access to address 0x0"),
        (fault(6, -6), "ended by its own SIGABRT after 1 min 0 s: abort()"),
        (
            killed(bash.clone()),
            "was killed by SIGKILL from bash (pid 812, uid 0) in host unit session-3.scope after 1 min",
        ),
        (
            killed(inside(&sibling())),
            "was killed by SIGKILL from sh (pid 4300, uid 0) in container 77aa00000000… of pod shop/api-7f9c",
        ),
        (
            ContainerExit {
                asked: Some(Signal { number: 15, ktime_ns: END - 2 * SECOND, ..bash }),
                ..exited(143)
            },
            "exited with code 143, 2.0 s after SIGTERM from bash",
        ),
        (
            ContainerExit { is_init: false, ..killed(init) },
            "because process 1 of its pid namespace, api (pid 4000), ended",
        ),
        (
            ContainerExit { cpu_limited: true, ..killed(kernels(9, 4211)) },
            "at its limit of CPU time (RLIMIT_CPU)",
        ),
        (killed(kernels(9, 77)), "was killed by the kernel after 1 min 0 s: ended by SIGKILL"),
        (
            ContainerExit { before_exec: true, ..exited(1) },
            "did not start: api (pid 4211) of the container runtime exited with code 1",
        ),
        (ContainerExit { status: None, ..an_end() }, "ended after 1 min 0 s; its status could not be read"),
        (
            ContainerExit { status: signaled(11), ..an_end() },
            "ended by SIGSEGV after 1 min 0 s; no record tells",
        ),
        (
            stubborn(),
            "was stopped by the container runtime after 1 min 0 s, and why is not known; it did not end upon SIGTERM and was killed after 30.0 s",
        ),
        (
            ContainerExit { oom_marked: true, ..killed(kernels(9, 4211)) },
            "was killed by the OOM killer after 1 min 0 s; there is no record",
        ),
    ] {
        let summary = summary(event);
        assert!(summary.starts_with(SUBJECT) && summary.contains(says), "{summary}");
    }
}

fn health(message: &str, change: impl FnOnce(&mut crate::names::Probe), event_: ContainerExit) -> Told {
    let mut probe = liveness(ProbeAction::HttpGet);
    change(&mut probe);
    let at = END - 30 * SECOND;
    let list = [
        event("Unhealthy", &format!("Liveness probe failed: {message}"), at),
        event("Killing", "Container api failed liveness probe, will be restarted", at),
    ];
    Scenery::of(event_).life(|_, container| container.liveness = Some(probe)).events(&list).told()
}

#[test]
fn a_failed_probe_is_told_with_what_it_said_and_how_the_process_ended() {
    let told = health("Get \"http://10.0.0.9:80/\": connect: connection refused", |_| {}, stubborn());
    assert_eq!(
        told.summary,
        "container api of pod shop/api-7f9c failed its liveness probe (HTTP GET, 3 times in a row, every 10 s: Get \
         \"http://10.0.0.9:80/\": connect: connection refused); it did not end upon SIGTERM and was killed after 30.0 s"
    );
    assert!(told.shows(&["SIGTERM from runc (pid 5000, uid 0) of the container runtime", "not delivered"]));
    assert!(told.shows(&["initialDelaySeconds 5, periodSeconds 10, timeoutSeconds 1, failureThreshold 3"]));
    assert!(told.remedy.contains("kubectl logs -n shop api-7f9c -c api --previous"), "{}", told.remedy);
}

#[test]
fn the_remedy_of_a_probe_fits_what_it_said_and_when() {
    let exec = |probe: &mut crate::names::Probe| probe.action = ProbeAction::Exec;
    let slow = |probe: &mut crate::names::Probe| probe.initial_delay_seconds = 40;
    for (told, says) in [
        (health("connect: connection refused", |_| {}, stubborn()), "Nothing listened on the probe's port"),
        (
            health("context deadline exceeded (Client.Timeout exceeded", |_| {}, stubborn()),
            "within timeoutSeconds 1",
        ),
        (health("HTTP probe failed with statuscode: 503", |_| {}, stubborn()), "answered with an error"),
        (health("cat: can't open", exec, stubborn()), "Run the probe's command by hand"),
        (health("EOF", |_| {}, stubborn()), "did not answer the probe"),
        (
            health("EOF", slow, stubborn()),
            "It ran for 1 min 0 s only, and the probe gives up after about 70 s",
        ),
        (health("EOF", |_| {}, stubborn()), "It did not end upon SIGTERM"),
    ] {
        assert!(told.remedy.contains(says), "{says}: {}", told.remedy);
    }
    let at = END - SECOND;
    let list = [event("Killing", "Container api failed startup probe, will be restarted", at)];
    let told = Scenery::of(ContainerExit { asked: Some(runc(15, SECOND)), ..exited(143) })
        .life(|_, container| container.startup = Some(liveness(ProbeAction::HttpGet)))
        .events(&list)
        .told();
    assert!(told.remedy.contains("its startup probe allows, about 35 s"), "{}", told.remedy);
    let inferred = ContainerExit {
        asked: Some(runc(15, SECOND)),
        failed_execs: failed_execs(3, SECOND + 1, 10 * SECOND),
        failed_execs_total: 3,
        ..exited(0)
    };
    let told = Scenery { names: None, ..Scenery::of(inferred) }.told();
    assert!(told.summary.contains("failed a liveness, startup (or readiness) probe (exec, 3 failures in a row); it exited with code 0 1.0 s after SIGTERM"), "{}", told.summary);
    assert!(told.shows(&["3 processes that came into the container by exec failed in a row, 10.0 s apart, the last, cat (exit code 1)"]));
    assert!(told.remedy.contains("crictl logs 4f2a00000000"), "{}", told.remedy);
}

#[test]
fn each_exit_code_has_its_remedy() {
    for (code, says) in [
        (1, "the program's own, mostly an error that it logs"),
        (2, "check the container's command and args"),
        (3, "its documentation and its log"),
        (126, "cannot be executed"),
        (127, "does not exist"),
        (134, "mostly a child called abort()"),
        (137, "mostly a child of this process got SIGKILL"),
        (139, "a child crashed"),
        (143, "the program handled SIGTERM"),
        (130, "a child ended by SIGINT"),
        (255, "exit(-1)"),
        (0, "restartPolicy Always starts it again"),
    ] {
        let remedy = Scenery::of(exited(code)).told().remedy;
        assert!(remedy.contains(says), "{code}: {remedy}");
        assert!(remedy.ends_with("Its log: `kubectl logs -n shop api-7f9c -c api --previous`."), "{remedy}");
    }
    let mut java = exited(3);
    java.task.comm = Some("java".into());
    assert!(Scenery::of(java).told().remedy.contains("ExitOnOutOfMemoryError"));
    let job = Scenery::of(exited(0)).life(|pod, _| pod.restart_policy = Some(RestartPolicy::Never)).told();
    assert!(job.remedy.starts_with("It ended without an error: nothing to do."), "{}", job.remedy);
}

#[test]
fn each_signal_of_its_own_has_its_remedy() {
    for (number, code, says) in [
        (11, 1, "a core"),
        (7, 2, "truncates files"),
        (6, -6, "the last line of its log"),
        (13, 0, "handle EPIPE"),
        (31, 1, "seccomp profile"),
        (24, 128, "ulimit -t"),
        (25, 0, "ulimit -f"),
        (4, 2, "built for this processor"),
        (8, 1, "a core has the stack"),
        (10, 0, "sent it to itself"),
    ] {
        let event =
            ContainerExit { status: signaled(number), raised: raised(number, code, 0x10), ..an_end() };
        let told = Scenery::of(event).told();
        assert!(told.remedy.contains(says), "{number}: {}", told.remedy);
    }
}

#[test]
fn each_sender_has_its_remedy() {
    for (signal, says) in [
        (
            inside(&format!("{}/job", crate::classify::tests::build::api())),
            "a supervisor, a script or a probe",
        ),
        (inside(&sibling()), "only with shareProcessNamespace"),
        (by("x", 5, &format!("/docker/{SIDE}")), "no other container should be able"),
        (by("systemd-oomd", 5, "/system.slice/systemd-oomd.service"), "when the node is short of memory"),
        (by("systemd", 1, "/init.scope"), "which unit it stopped"),
        (by("kubelet", 5, "/system.slice/kubelet.service"), "journalctl -u kubelet"),
        (
            by("bash", 5, "/user.slice/user-0.slice/session-1.scope"),
            "Find out who ran bash (pid 5, uid 0) in host unit session-1.scope",
        ),
    ] {
        let remedy = Scenery::of(killed(signal)).told().remedy;
        assert!(remedy.contains(says), "{says}: {remedy}");
    }
}

#[test]
fn the_command_for_the_log_is_the_right_one_and_harmless() {
    let remedy = |change: fn(&mut crate::names::Names)| {
        let mut scenery = Scenery::of(exited(1));
        change(scenery.names.as_mut().expect("names"));
        scenery.told().remedy
    };
    // Which run's log the names give is not known; an init container that is done is not started again.
    assert!(remedy(|names| names.life.restart_policy = None).contains("`crictl logs 4f2a00000000`"));
    let init = |code| {
        let mut scenery = Scenery::of(exited(code));
        let container = scenery.names.as_mut().expect("names").container.as_mut().expect("one");
        container.role = Some(crate::schema::ContainerRole::Init);
        scenery.told().remedy
    };
    assert!(init(1).ends_with("--previous`.") && init(0).ends_with("-c api`."), "{}", init(0));
    assert!(init(0).starts_with("It ended without an error: nothing to do."));
    let plain = "`kubectl logs -n shop api-7f9c -c api`";
    assert!(remedy(|names| names.life.restart_policy = Some(RestartPolicy::Never)).contains(plain));
    assert!(remedy(|names| names.life.deleting = true).contains(plain));
    let by_id = "`crictl logs 4f2a00000000`";
    for odd in ["a; rm -rf /", "$(x)", "-it", "", "a\nb", "a`b"] {
        let mut scenery = Scenery::of(exited(1));
        scenery.names.as_mut().expect("names").pod = Some(odd.to_owned());
        assert!(scenery.told().remedy.contains(by_id), "{odd}");
    }
    let docker = ContainerExit {
        cgroups: Some(crate::classify::tests::build::lineage(&format!("/docker/{API}"))),
        ..exited(1)
    };
    assert!(Scenery::of(docker).told().remedy.contains("`docker logs 4f2a00000000`"));
}

#[expect(clippy::unnecessary_wraps, reason = "as the field has it")]
fn says(reason: &str, code: i32) -> Option<EndedStatus> {
    Some(EndedStatus { reason: Some(reason.to_owned()), exit_code: Some(code), finished_at_s: None })
}

#[test]
fn contradictions_of_status_and_kernel_are_said() {
    let with = |event: ContainerExit, ended: Option<EndedStatus>| {
        Scenery::of(event).life(|_, container| container.ended = ended)
    };
    // A sibling of an OOM kill of the pod, stopped later.
    let mut sibling = with(stubborn(), says("OOMKilled", 137));
    assert_eq!(with(stubborn(), says("OOMKilled", 137)).told().contradictions, [""; 0], "not watched");
    sibling.change = |_, context| context.oom_watched = true;
    let told = sibling.told();
    assert!(told.contradictions[0].ends_with("killed no process of this container for memory"), "{told:#?}");
    let mut old = with(stubborn(), says("OOMKilled", 137));
    old.change = |_, context| (context.oom_watched, context.memory_cgroup_v1) = (true, Some(true));
    assert!(old.told().contradictions[0].contains("on cgroup v1 the runtime marks"));
    let mut late = with(stubborn(), says("OOMKilled", 137));
    late.change = |end, context| (end.event.oom_marked, context.oom_watched) = (true, true);
    assert!(late.told().contradictions[0].contains("had chosen the process while it was ending"));
    // A child was killed, and the first process exits.
    let mut child = with(exited(0), says("OOMKilled", 0));
    let before: fn(&mut crate::correlate::ContainerEnd, &mut crate::enrich::ExitContext) = |end, _| {
        end.oom_before =
            vec![KilledBy { ktime_ns: END - 8 * SECOND, cpu: 0, pid: Some(77), comm: Some("memhog".into()) }];
        end.oom_before_total = 1;
    };
    child.change = before;
    let told = child.told();
    assert!(
        told.contradictions[0].contains("took other processes of the container, the latest 8.0 s earlier"),
        "{told:#?}"
    );
    assert!(told.contradictions[1].contains("OOMKilled with exit code 0"), "{told:#?}");
    assert!(told.shows(&[
        "an OOM kill took memhog (pid 77) of the same container 8.0 s before the end",
        "is not known"
    ]));
    let mut silent = with(exited(1), says("Error", 1));
    silent.change = before;
    assert!(silent.told().contradictions[0].contains("nothing of 1 process that the OOM killer took"));

    let told = with(exited(137), says("Error", 137)).told();
    assert!(told.contradictions[0].contains("no process sent one"), "{told:#?}");
    let told = with(exited(1), says("ContainerStatusUnknown", 137)).told();
    assert!(told.contradictions[0].contains("ContainerStatusUnknown with exit code 137; the kernel's is 1"));
    assert_eq!(with(exited(1), says("Error", 1)).told().contradictions, [""; 0]);
    // What runc exits with when it cannot start a program is not what the status has.
    let failed = ContainerExit { before_exec: true, ..exited(1) };
    assert_eq!(with(failed, says("StartError", 128)).told().contradictions, [""; 0]);
    let oom = ContainerExit { oom_marked: true, ..killed(kernels(9, 4211)) };
    let told = with(oom, says("Error", 137)).told();
    assert!(told.contradictions[0].contains("says Error, but the OOM killer ended"), "{told:#?}");
    let completed = ContainerExit { asked: Some(runc(15, SECOND)), ..exited(0) };
    let list = [event("Killing", "Container api failed liveness probe, will be restarted", END - SECOND)];
    let told = with(completed, says("Completed", 0)).events(&list).told();
    assert!(told.contradictions[0].contains("says Completed, but"), "{told:#?}");
}

#[test]
fn a_signal_that_it_survived_is_evidence_only_where_it_means_something() {
    let raises = |number, outcome| {
        let mut event = ContainerExit { raised: raised(number, 1, 0), ..exited(1) };
        event.raised.as_mut().expect("one").outcome = outcome;
        Scenery::of(event).told().shows(&["did not end by it"])
    };
    assert!([7, 8, 11, 13].iter().all(|number| !raises(*number, Outcome::Delivered)));
    assert!(raises(6, Outcome::Delivered) && !raises(6, Outcome::Ignored));
}

#[test]
fn the_words_name_the_runtimes_signal() {
    let mut event = stubborn();
    event.asked.as_mut().expect("one").number = 3;
    let told = Scenery::of(event).told();
    assert!(told.summary.contains("upon SIGQUIT") && told.remedy.contains("did not end upon SIGQUIT"));
}

#[test]
fn each_stop_has_its_words() {
    let reason = |reason: &str, message: &str| {
        Scenery::of(stubborn())
            .life(|pod, _| {
                pod.reason = Some(reason.to_owned());
                pod.message = Some(message.to_owned());
            })
            .told()
    };
    let told = reason("Evicted", "The node was low on resource: memory. ");
    assert!(told.summary.contains("was stopped: kubelet evicted its pod (The node was low on resource: memory.); it did not end upon SIGTERM and was killed after 30.0 s"), "{}", told.summary);
    assert!(told.shows(&["status.reason is Evicted"]) && told.remedy.contains("Free the resource"));
    assert!(reason("Odd", "a\u{1b}[2Jb").summary.contains("Kubernetes ended its pod, Odd (a\\x1b[2Jb)"));
    let told = Scenery::of(stubborn()).life(|pod, _| pod.deleting = true).told();
    assert!(
        told.summary.contains("its pod was deleted") && told.remedy.contains("It did not end upon SIGTERM")
    );
}
