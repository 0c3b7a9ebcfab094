//! Real OOM kills on this machine, through its own kernel: the scenarios of `tests/scenario` that do no harm to it,
//! with the hooks that work on every kernel. Guests (`cargo xtask vm --scenario all`) have the rest.
//!
//! They need root and a memory controller, and fail without: a test that was not run has shown nothing. Where that
//! cannot be had, `CRASHTRACE_SKIP_LIVE=1` leaves them out.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use rustix::process::{Pid, Signal, kill_process};

const CRASHTRACE: &str = env!("CARGO_BIN_EXE_crashtrace");

/// The program that plays the scenarios, or `None` if they are to be left out.
fn scenario() -> Option<Command> {
    if std::env::var_os("CRASHTRACE_SKIP_LIVE").is_some_and(|value| value == "1") {
        return None;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "needs root, to load BPF programs and to make cgroups (or leave these tests out with CRASHTRACE_SKIP_LIVE=1)"
    );
    // `cargo test` puts this test into target/<profile>/deps, and builds the examples first.
    let this = std::env::current_exe().expect("this program has a path");
    let profile = this.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    let program = profile.join("examples/scenario");
    let built = modified(&program);
    let stale = sources().into_iter().find(|source| built < modified(source));
    assert!(
        built.is_some() && stale.is_none(),
        "{} is missing or older than {stale:?}: `cargo test` with `--test` does not build it, \
         `cargo build --package crashtrace --example scenario` does",
        program.display()
    );
    Some(Command::new(program))
}

fn sources() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenario");
    fs::read_dir(dir).expect("the scenarios have sources").flatten().map(|entry| entry.path()).collect()
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

fn play(name: &str) {
    let Some(mut scenario) = scenario() else { return };
    let output = scenario.args(["run", "--crashtrace", CRASHTRACE, "--hooks", "tracepoint", name]).output();
    let output = output.expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name}: {}\n{stdout}\n{stderr}", output.status);
    // One line about the agent, one about the scenario.
    assert_eq!(stdout.matches("\"pass\":true").count(), 2, "{stdout}");
}

#[test]
fn a_container_at_its_own_limit() {
    play("own_limit");
}

#[test]
fn a_container_at_the_limit_of_its_pod() {
    play("parent_limit");
}

#[test]
fn the_only_container_of_a_pod_that_has_the_same_limit() {
    play("one_container");
}

#[test]
fn a_child_of_the_containers_first_process() {
    play("child");
}

#[test]
fn a_victim_that_did_not_run_into_the_limit() {
    play("bystander");
}

#[test]
fn the_demo_shows_a_kill_as_text_and_as_json() {
    let Some(mut scenario) = scenario() else { return };
    let output = scenario.args(["demo", "--crashtrace", CRASHTRACE]).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in ["memory-hog", "its own limit of 64.0 MiB", "\"kind\": \"oom_kill\"", "last page touch"] {
        assert!(stdout.contains(part), "no {part} in: {stdout}");
    }
}

/// SIGINT as from a terminal, at some of the steps that the demo tells of.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for step in ["starting", "made cgroup", "touches page"] {
        let Some(mut scenario) = scenario() else { return };
        scenario.args(["demo", "--crashtrace", CRASHTRACE]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut demo = scenario.spawn().expect("it starts");
        let stderr = BufReader::new(demo.stderr.take().expect("it is piped"));
        let mut lines = stderr.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(step)), "the demo never came to: {step}");
        let pid = Pid::from_raw(i32::try_from(demo.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("it is there");
        let status = demo.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{step}: {status}");
        // The agent and the victim hold this pipe too: it ends when the last of them has ended.
        assert_eq!(lines.filter(|line| line.contains("cannot remove")).count(), 0, "{step}");
        let name = format!("/ct-{}-", demo.id());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
        for mount in cgroups.filter_map(|line| line.split(' ').nth(4)) {
            let left = fs::read_dir(mount).expect("a hierarchy").flatten().map(|entry| entry.path());
            let left: Vec<_> = left.filter(|path| path.to_string_lossy().contains(&name)).collect();
            assert_eq!(left, [""; 0].map(PathBuf::from), "{step}");
        }
    }
}
