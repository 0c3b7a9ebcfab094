//! Ends of containers of a real containerd: real processes and signals, and who sent them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{MIB, SOON, Stage, alone};
use crashtrace_test_support::agent::Line;
use crashtrace_test_support::containerd::pods::{Container, Pod, Script};

/// Exits with 0 upon SIGTERM.
const HANDLES_TERM: Script = Script::Runs("trap 'exit 0' TERM; while :; do sleep 0.05; done");
/// SIGTERM in a mask of signals.
const TERM_BIT: u64 = 1 << 14;

impl Stage {
    fn run(&self, pod: &Pod, name: &'static str, script: Script) -> Container {
        self.tokio.block_on(pod.container(name, 0, 64 * MIB, script)).expect("a container")
    }

    fn stop(&self, container: &Container, grace_seconds: i64) {
        self.tokio.block_on(container.stop(grace_seconds)).expect("it can be stopped");
    }

    /// The report on the end of this container: of several revisions the last, once its name is known.
    fn end(&mut self, container: &Container) -> Value {
        let of = |line: &Line| {
            let owner = &line.value["exit"]["process"]["owner"];
            line.value["kind"] == "container_exit" && owner["container_id"] == container.id.as_str()
        };
        let named = |line: &Line| line.value["exit"]["process"]["owner"]["pod"].is_string();
        let read =
            self.agent.read_until(Instant::now() + SOON, |lines| lines.iter().any(|it| of(it) && named(it)));
        read.expect("the agent goes on");
        let lines: Vec<_> = self.agent.lines.iter().filter(|line| of(line)).collect();
        assert_eq!(lines.len(), 1, "{:#?}", self.agent.lines);
        lines[0].value.clone()
    }
}

/// The status of a container's first process.
fn status_of(pod: &Pod, container: &Container) -> PathBuf {
    let processes = fs::read_to_string(pod.cgroup_of(&container.id).join("cgroup.procs")).expect("it runs");
    let pids = processes.lines().filter(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
    });
    let pids: Vec<_> = pids.collect();
    assert_eq!(pids.len(), 1, "{processes}");
    format!("/proc/{}/status", pids[0]).into()
}

/// Waits until it handles SIGTERM.
fn handles_term(pod: &Pod, container: &Container) {
    until_term_is(true, pod, container);
}

fn handles_no_term(pod: &Pod, container: &Container) {
    until_term_is(false, pod, container);
}

/// Waits until its first process handles SIGTERM, or does not.
fn until_term_is(handled: bool, pod: &Pod, container: &Container) {
    let path = status_of(pod, container);
    let deadline = Instant::now() + SOON;
    loop {
        let status = fs::read_to_string(&path).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask").trim();
        if (u64::from_str_radix(caught, 16).expect("a mask") & TERM_BIT != 0) == handled {
            return;
        }
        assert!(Instant::now() < deadline, "SIGTERM is not as expected (handled: {handled}): {status}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How it ended, and who ended it.
fn told(report: &Value) -> Value {
    let exit = &report["exit"];
    json!([exit["exit_code"], exit["signal"], exit["ended_by"], report["verdict"]["cause"]])
}

/// The signals that it got: number, whether it was ignored, and who from.
fn signals(report: &Value) -> Value {
    let of = |it: &Value| json!([it["number"], it["ignored"], it["from"], it["sender_parent_comm"]]);
    report["exit"]["signals"].as_array().into_iter().flatten().map(of).collect()
}

#[test]
fn each_end_of_a_container_is_told_once_with_who_ended_it() {
    let Some(_alone) = alone() else { return };
    let mut stage = Stage::set_with(&["--exits", "all"]);
    let pod = stage.tokio.block_on(Pod::run(&stage.runtime, "shop", "ends", 512 * MIB)).expect("a pod");

    let fails = stage.run(&pod, "fails", Script::Runs("exit 1"));
    fails.go();
    let report = stage.end(&fails);
    assert_eq!(told(&report), json!([1, null, "itself", "container_exit"]), "{report:#}");
    assert_eq!(signals(&report), json!([]), "{report:#}");
    let owner = &report["exit"]["process"]["owner"];
    assert_eq!(
        json!([owner["namespace"], owner["pod"], owner["container"]]),
        json!(["shop", "ends", "fails"])
    );
    assert_eq!(report["exit"]["process"]["container_pid"], 1, "{report:#}");

    let handles = stage.run(&pod, "handles", HANDLES_TERM);
    handles.go();
    handles_term(&pod, &handles);
    stage.stop(&handles, 30);
    let report = stage.end(&handles);
    // Why the runtime was told to stop it, the runtime does not know.
    assert_eq!(told(&report), json!([0, null, "runtime", "unknown"]), "{report:#}");
    assert_eq!(signals(&report), json!([[15, false, "runtime", "containerd-shim"]]), "{report:#}");

    // Process 1 without a handler, once it is the container's program: the runtime's process before it handles SIGTERM.
    let ignores = stage.run(&pod, "ignores", Script::Waits);
    handles_no_term(&pod, &ignores);
    stage.stop(&ignores, 1);
    let report = stage.end(&ignores);
    assert_eq!(told(&report), json!([137, 9, "runtime", "unknown"]), "{report:#}");
    let both = json!([[15, true, "runtime", "containerd-shim"], [9, false, "runtime", "containerd-shim"]]);
    assert_eq!(signals(&report), both, "{report:#}");
    let status = stage.tokio.block_on(ignores.status()).expect("a status");
    assert_eq!((status.reason.as_str(), status.exit_code), ("Error", 137));

    // Probes: one fails, another fails, and the third is killed by the runtime for taking too long.
    let probed = stage.run(&pod, "probed", HANDLES_TERM);
    probed.go();
    handles_term(&pod, &probed);
    let exec = |script, seconds| stage.tokio.block_on(probed.exec(&["/bin/sh", "-c", script], seconds));
    for _ in 0..2 {
        assert_eq!(exec("exit 3", 30).expect("an answer"), 3);
    }
    let late = format!("{:#}", exec("sleep 1000", 1).expect_err("it takes too long"));
    assert!(late.contains("gRPC status 4"), "{late}");
    assert_eq!(exec("exit 0", 30).expect("an answer"), 0, "the container lives on");
    stage.stop(&probed, 30);
    let report = stage.end(&probed);
    assert_eq!(told(&report), json!([0, null, "runtime", "unknown"]), "{report:#}");
    assert_eq!(report["exit"]["process"]["container_pid"], 1, "{report:#}");

    // Nor do other processes have a line: those that came by exec, and the pod's pause.
    stage.tokio.block_on(pod.stop()).expect("it can be stopped");
    let last = stage.run_last();
    stage.end(&last);
    stage.agent.stop().expect("it ends well");
    let uid = json!(pod.uid);
    let of_pod = |line: &&Line| {
        line.value["kind"] == "container_exit" && line.value["exit"]["process"]["owner"]["pod_uid"] == uid
    };
    let names: Vec<_> = stage.agent.lines.iter().filter(of_pod).collect();
    let names: Vec<_> =
        names.iter().map(|line| &line.value["exit"]["process"]["owner"]["container"]).collect();
    assert_eq!(names, ["fails", "handles", "ignores", "probed"]);
}

impl Stage {
    /// A container of another pod that has ended: all ends before its own have been told.
    fn run_last(&self) -> Container {
        let pod = self.tokio.block_on(Pod::run(&self.runtime, "shop", "last", 128 * MIB)).expect("a pod");
        let last = self.run(&pod, "last", Script::Runs("exit 0"));
        last.go();
        last
    }
}
