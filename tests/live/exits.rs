//! Ends of processes in cgroups that are named like containers, as the kernel side records them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::{Duration, Instant};

use crashtrace::decode::{Machine, decode};
use crashtrace::event::{ContainerExit, Event, Outcome, WaitStatus};
use crashtrace::recording::{Frame, Reader};
use serde_json::Value;

use crate::CRASHTRACE;
use crashtrace_test_support::agent::{Agent, Line, Output};
use crashtrace_test_support::scenario_program::program;

/// How long lines may take on a machine that has other things to do.
const LINES: Duration = Duration::from_mins(1);

/// The ends in a recording.
fn ends(recording: &Path) -> Vec<ContainerExit> {
    let file = BufReader::new(File::open(recording).expect("a recording"));
    let (preamble, mut reader) = Reader::open(file).expect("a recording");
    let machine = Machine { page_size_bytes: preamble.page_size_bytes, symbols: None };
    let mut ends = Vec::new();
    while let Some(frame) = reader.frame().expect("a frame") {
        let Frame::Record(record) = frame else { continue };
        if let Event::ContainerExit(end) = decode(&record, &machine).expect("a record") {
            ends.push(*end);
        }
    }
    ends
}

/// Each first process is one record, and no other process is: none that came by `exec`, and none that it started itself.
#[test]
fn the_first_process_of_a_container_is_recorded_with_who_ended_it() {
    let Some(mut scenario) = program() else { return };
    let recording = tempfile::NamedTempFile::new().expect("a file");
    let more = ["--pods", "none", "--no-alloc", "--record"].map(OsStr::new);
    let more: Vec<_> = more.into_iter().chain([recording.path().as_os_str()]).collect();
    let mut agent =
        Agent::spawn_with(Path::new(CRASHTRACE), "tracepoint", Output::Json, &more).expect("it starts");
    agent.wait_started().expect("it watches");
    let output = scenario.arg("container-ends").output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let scenario = String::from_utf8(output.stdout).expect("text");
    let scenario: Vec<Value> =
        scenario.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    // All lines are failures, but for the end with code 0, which need not be one.
    let failures = scenario.iter().filter(|ended| ended["first"] == true && ended["status"] != 0).count();
    let seen = |lines: &[Line]| lines.iter().filter(|line| line.value["kind"] == "container_exit").count();
    agent.read_until(Instant::now() + LINES, |lines| seen(lines) >= failures).expect("it runs on");
    agent.stop().expect("it stops");

    let ends = ends(recording.path());
    let of = |play: &str| -> (&Value, &ContainerExit) {
        let first = scenario.iter().find(|ended| ended["play"] == play && ended["first"] == true);
        let first = first.unwrap_or_else(|| panic!("{play} has no first process: {scenario:#?}"));
        let mine = |end: &&ContainerExit| end.task.pid.map(u64::from) == first["pid"].as_u64();
        let mut mine = ends.iter().filter(mine);
        let end = mine.next().unwrap_or_else(|| panic!("{play}: no record of {first}: {ends:#?}"));
        assert_eq!(mine.next(), None, "{play}: one death, one record");
        (first, end)
    };
    for ended in &scenario {
        let pid = ended["pid"].as_u64();
        let told = ends.iter().any(|end| end.task.pid.map(u64::from) == pid);
        assert_eq!(told, ended["first"] == true, "{ended}");
    }
    for play in [
        "exit",
        "fault",
        "forks",
        "killed",
        "exec",
        "host_pids",
        "host_pids_exec",
        "abort",
        "broken_pipe",
        "cpu_limit",
        "window",
        "realtime",
        "outranked",
        "inside",
    ] {
        let (first, end) = of(play);
        let status = i32::try_from(first["status"].as_i64().expect("a status")).expect("a status");
        assert_eq!(end.status, Some(WaitStatus::of(status)), "{play}");
        assert_eq!(end.is_init, !play.starts_with("host") && play != "realtime", "{play}");
        assert_eq!(end.cpu_limited, play == "cpu_limit", "{play}");
        assert_eq!(
            end.parent.comm.as_ref().map(|comm| comm.0.as_slice()),
            Some(b"scenario".as_slice()),
            "{play}"
        );
        let path = end.cgroups.as_ref().expect("its cgroups").path();
        let dir = first["cgroup"].as_str().expect("a path").as_bytes();
        assert!(path.len() > 64 && dir.ends_with(&path[path.len() - 65..]), "{play}");
        // The first process of each pid namespace, and those without one, have been sent nothing, but for these.
        let asked = matches!(play, "killed" | "window" | "realtime" | "outranked" | "inside");
        // One that has ended gets the signal, too, if nobody has waited for it.
        let killed = asked || matches!(play, "exec" | "host_pids_exec");
        if play != "realtime" {
            assert_eq!(end.killed.is_some(), killed, "{play}: {end:#?}");
        }
        assert_eq!(end.asked.is_some(), asked, "{play}: {end:#?}");
    }
    let (_, killed) = of("killed");
    let asked = killed.asked.as_ref().expect("SIGTERM");
    assert_eq!((asked.number, asked.outcome, asked.count), (15, Outcome::Ignored, 2));
    let kill = killed.killed.as_ref().expect("SIGKILL");
    assert_eq!((kill.number, kill.outcome, kill.code), (9, Outcome::Delivered, 0));
    for signal in [asked, kill] {
        let sender = &signal.sender;
        assert_eq!(sender.task.pid, killed.parent.pid);
        assert_eq!(sender.task.comm.as_ref().map(|comm| comm.0.as_slice()), Some(b"scenario".as_slice()));
        assert_eq!(sender.parent.pid, Some(std::process::id()));
        assert!(!sender.exiting && sender.pid_ns.is_some() && sender.task.uid == Some(0));
        let cgroups = sender.cgroups.as_ref().expect("its cgroups");
        assert!(cgroups.levels.last().is_some_and(|level| level.root), "{cgroups:?}");
        assert!(signal.ktime_ns < killed.stamp.ktime_ns);
    }
    let asked = |play: &str| of(play).1.asked.clone().expect("a signal");
    let number_of = |play: &str| (asked(play).number, asked(play).outcome, asked(play).count);
    // What has no handler is ignored by process 1 of a namespace, and by default SIGWINCH by any.
    assert_eq!(number_of("window"), (28, Outcome::Ignored, 1));
    assert_eq!(number_of("realtime"), (37, Outcome::Delivered, 1));
    assert_eq!(of("realtime").1.status, Some(WaitStatus::of(37)));
    // A signal from inside of the container hides none from outside.
    assert_eq!(number_of("outranked"), (14, Outcome::Ignored, 1));
    assert_eq!(asked("outranked").sender.task.pid, killed.parent.pid);
    assert_eq!(number_of("inside"), (10, Outcome::Ignored, 1));
    assert_ne!(asked("inside").sender.task.pid, killed.parent.pid);
    // The kernel ignores SIGABRT there, and the status is that of the fault that follows.
    let abort = of("abort").1.raised.as_ref().expect("SIGABRT");
    assert_eq!((abort.number, abort.outcome), (6, Outcome::Ignored));
    assert_eq!(of("broken_pipe").1.raised, None, "no entry for a signal that is ignored");
    let fault = of("fault").1.raised.as_ref().expect("SIGSEGV");
    assert_eq!((fault.number, fault.code, fault.address), (11, 1, Some(0x10)));
    let (_, exec) = of("exec");
    let failed: Vec<_> = exec.failed_execs.iter().map(|exec| exec.status).collect();
    assert_eq!(failed, [WaitStatus::Exited { code: 8 }, WaitStatus::Exited { code: 7 }]);
    assert_eq!(exec.failed_execs_total, 2);
}
