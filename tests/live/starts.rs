//! An agent that is signalled while the kernel verifies its programs, or that has too little of something.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::CRASHTRACE;
use crashtrace_test_support::scenario_program::program;

/// How long an agent may take to begin on a machine that has other things to do.
const START: Duration = Duration::from_mins(2);

fn watch() -> Child {
    let mut command = Command::new(CRASHTRACE);
    command.args(["watch", "--log", "info", "--pods", "none", "--hooks", "tracepoint"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// Waits until its thread that loads exists.
fn until_it_loads(pid: u32) {
    let begun = Instant::now();
    let tasks = format!("/proc/{pid}/task");
    let loads = || {
        let threads = fs::read_dir(&tasks).into_iter().flatten().flatten();
        threads
            .map(|it| fs::read_to_string(it.path().join("comm")))
            .any(|comm| comm.is_ok_and(|it| it == "load\n"))
    };
    while !loads() {
        assert!(begun.elapsed() < START, "it does not load");
        // There is no event for a thread that begins, so this polls.
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Its lines until it ended, and its messages; it must end with 0.
fn ended(child: Child) -> (Vec<Value>, String) {
    let output = child.wait_with_output().expect("it ends");
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{messages}");
    let lines = String::from_utf8(output.stdout).expect("text");
    (lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect(), messages)
}

/// The verifier gives up for a signal, whatever it is: a program of the agent's, or one by which aya tries what the kernel can do. A
/// debugger or a freezer stops and continues; SIGCONT alone comes from shells.
#[test]
fn signals_that_interrupt_the_verifier_are_no_refusal() {
    if program().is_none() {
        return;
    }
    let mut agent = watch();
    let (loads, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let stopped = Pid::from_child(&agent);
    let mut stdout = BufReader::new(agent.stdout.take().expect("it is piped"));
    let mut first = String::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pause = Duration::from_millis(1);
            while !begun.load(Ordering::Relaxed) {
                for signal in [Signal::CONT, Signal::STOP, Signal::CONT] {
                    kill_process(stopped, signal).expect("it is there");
                }
                std::thread::sleep(pause);
                if loads.load(Ordering::Relaxed) {
                    // Fewer and fewer, since a program must be verified between two of them.
                    pause = pause.mul_f64(1.1).min(Duration::from_secs(1));
                }
            }
        });
        scope.spawn(|| {
            until_it_loads(agent.id());
            loads.store(true, Ordering::Relaxed);
        });
        let read = stdout.read_line(&mut first);
        // First of all: the scope waits for the thread.
        begun.store(true, Ordering::Relaxed);
        read.expect("text");
    });
    if first.is_empty() {
        let output = agent.wait_with_output().expect("it ends");
        panic!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    assert!(first.contains("\"kind\":\"agent_started\""), "{first}");
    kill_process(stopped, Signal::TERM).expect("it is there");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    let output = agent.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(rest.contains("\"kind\":\"agent_stopping\""), "{rest}");
}

/// While the node has no memory left its pages are not taken away, if they may be locked, and its heap has no huge ones.
#[test]
fn its_memory_is_locked_and_in_small_pages() {
    if program().is_none() {
        return;
    }
    let mut agent = watch();
    let mut stdout = BufReader::new(agent.stdout.take().expect("it is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("text");
    assert!(first.contains("\"kind\":\"agent_started\""), "{first}");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("it runs");
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.unwrap_or_else(|| panic!("no {name} in {status}"))
    };
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.id())).expect("it runs");
    let limit = limits.lines().find(|line| line.starts_with("Max locked memory")).expect("there is one");
    if limit.contains("unlimited") {
        assert!(number("VmLck:") >= number("VmRSS:"), "{status}");
    } else {
        // Without CAP_SYS_RESOURCE: a part of it locked would have later mappings refused.
        assert_eq!(number("VmLck:"), 0, "{status}");
    }
    assert_eq!(number("THP_enabled:"), 0, "{status}");
    kill_process(Pid::from_child(&agent), Signal::TERM).expect("it is there");
    ended(agent);
}

#[test]
fn an_agent_that_is_told_to_end_while_it_loads_ends_well_and_says_so() {
    if program().is_none() {
        return;
    }
    let mut broken_off = 0;
    for signal in [Signal::TERM, Signal::INT, Signal::TERM, Signal::INT, Signal::TERM] {
        let agent = watch();
        until_it_loads(agent.id());
        kill_process(Pid::from_child(&agent), signal).expect("it is there");
        let (lines, messages) = ended(agent);
        if lines.is_empty() {
            assert!(messages.contains("stopped by a signal before the hooks were in place"), "{messages}");
            broken_off += 1;
        } else {
            // It was ready just then. Lines between these are kills of another test.
            let ends = [lines.first(), lines.last()].map(|line| line.and_then(|line| line["kind"].as_str()));
            assert_eq!(ends, [Some("agent_started"), Some("agent_stopping")]);
        }
    }
    assert!(broken_off > 0, "a load was always over before the signal came");
}

/// Its own clock of that name is two days ahead of the kernel's there.
#[test]
fn in_a_time_namespace_times_are_the_kernels_and_nothing_is_missed() {
    let Some(mut scenario) = program() else { return };
    let folder = tempfile::tempdir().expect("a directory");
    let (wrapped, inside) = (folder.path().join("crashtrace"), folder.path().join("namespace"));
    // The shell that writes down its namespace becomes the agent.
    let shell = "readlink /proc/$$/ns/time >\"$0\"; cat /proc/$$/timens_offsets >>\"$0\"; exec \"$@\"";
    let script = format!(
        "#!/bin/sh\nexec unshare --time --boottime 172800 sh -c '{shell}' {} {CRASHTRACE} \"$@\"\n",
        inside.display()
    );
    // Written by a child: a program that this process has open for writing cannot be run, nor while a child that another thread
    // has just forked holds it.
    let write = "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\"";
    let written = Command::new("sh").args(["-c", write]).arg(&wrapped).arg(script).status();
    assert!(written.is_ok_and(|status| status.success()));
    scenario.args(["run", "--hooks", "tracepoint", "--crashtrace"]).arg(&wrapped).arg("own_limit");
    let output = scenario.output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("\"scenario\":\"own_limit\""), "{stdout}");
    let inside = fs::read_to_string(&inside).expect("it was written");
    let outside = fs::read_link("/proc/self/ns/time").expect("a link");
    assert!(inside.starts_with("time:[") && !inside.contains(outside.to_str().expect("text")), "{inside}");
    assert!(inside.lines().any(|line| line.split_whitespace().eq(["boottime", "172800", "0"])), "{inside}");
}

/// In place of "the kernel accepts none of the hooks".
#[test]
fn too_few_open_files_are_named_as_such() {
    let Some(_) = program() else { return };
    for limit in ["12", "16", "20"] {
        let mut command = Command::new("sh");
        // Without descriptors that this test has inherited itself, from `flock` for example: they would count.
        let script =
            "exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; ulimit -n \"$1\" && exec \"$2\" watch --pods none";
        command.args(["-c", script, "sh", limit, CRASHTRACE]);
        let output = command.output().expect("it starts");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{limit}: {messages}");
        assert!(
            messages.contains("RLIMIT_NOFILE") && messages.contains("LimitNOFILE="),
            "{limit}: {messages}"
        );
    }
}
