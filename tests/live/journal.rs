//! An agent with a journal, whose standard output is not read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crashtrace::journal::{self, Limits, Now, Put, frame};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::CRASHTRACE;
use crashtrace_test_support::skipped;
use crashtrace_test_support::trees::Trees;

/// How long something may take on a machine that has other things to do.
const SOON: Duration = Duration::from_mins(2);
/// Kills of one limit. These of all limits are fewer than fold.
const KILLS: usize = 40;
/// Of the kernel's default.
const PIPE_BYTES: usize = 64 * 1024;

/// An agent sees the kills of the other tests as well: all of them together would fold.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Agent {
    child: Child,
    /// Nothing has read beyond the first line.
    stdout: File,
    first: Value,
}

impl Agent {
    fn start(mut command: Command, journal: &Path) -> Self {
        command.args(["watch", "--pods", "none", "--hooks", "tracepoint", "--no-alloc", "--no-exits"]);
        command.arg("--journal").arg(journal).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        let mut stdout = File::from(OwnedFd::from(stdout));
        let first = line(&mut stdout);
        Self { child, stdout, first }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Ends it; its messages, and its exit code.
    fn end(mut self, signal: Signal) -> (Vec<Value>, String, Option<i32>) {
        self.signal(signal);
        let rest = std::thread::spawn(move || lines(&mut self.stdout));
        let output = self.child.wait_with_output().expect("it ends");
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        (rest.join().expect("it reads"), messages, output.status.code())
    }
}

/// The next line, and no byte more.
fn line(from: &mut File) -> Value {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte).is_ok_and(|read| read == 1) && byte != *b"\n" {
        line.extend(byte);
    }
    serde_json::from_slice(&line)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line)))
}

/// The whole lines until the end: that of a process that was killed may be cut off.
fn lines(from: &mut impl Read) -> Vec<Value> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe");
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text = std::str::from_utf8(&bytes[..whole]).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Kills in cgroups of three limits: the numbers of the killed processes.
fn kills() -> BTreeSet<u64> {
    let trees = Trees::new(&[""]).expect("cgroups");
    let mut killed = BTreeSet::new();
    for limit in 0..3 {
        let dir = trees.make(0, &format!("limit-{limit}")).expect("a cgroup");
        trees.hierarchy.cgroup(dir.clone()).and_then(|it| it.set_limit(4 << 20)).expect("a limit");
        for _ in 0..KILLS {
            let mut shell = Command::new("sh");
            shell.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec tail /dev/zero"]).arg(&dir);
            let mut victim = shell.stdout(Stdio::null()).spawn().expect("it starts");
            let status = victim.wait().expect("it ends");
            assert!(!status.success(), "{status}");
            killed.insert(u64::from(victim.id()));
        }
    }
    killed
}

/// The lines in the journal's files.
fn kept(journal: &Path) -> Vec<Value> {
    let mut kept = Vec::new();
    for slot in 0..journal::SLOTS {
        let bytes = fs::read(journal.join(format!("lines-{slot:02}"))).unwrap_or_default();
        let mut rest = bytes.as_slice();
        while let Some(found) = frame::find(rest) {
            kept.push(serde_json::from_slice(&rest[found.line.clone()]).expect("JSON"));
            rest = &rest[found.line.end..];
        }
    }
    kept
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}");
        // Nothing tells of it, so this polls.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The victims among the killed processes of this test: others on this machine may be killed as well. Each is in one line.
fn victims(lines: &[Value], of: &BTreeSet<u64>) -> BTreeSet<u64> {
    let lists = lines.iter().flat_map(|line| [&line["victims"], &line["folded"]["victims"]]);
    let pids = lists.filter_map(Value::as_array).flatten().filter_map(|victim| victim["pid"].as_u64());
    let pids: Vec<_> = pids.filter(|pid| of.contains(pid)).collect();
    let once: BTreeSet<_> = pids.iter().copied().collect();
    assert_eq!(pids.len(), once.len(), "{pids:?}");
    once
}

fn seqs(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["seq"].as_u64().expect("a number")).collect()
}

#[test]
fn an_output_that_is_not_read_stops_nothing_and_all_kills_follow_in_order() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let journal = tempfile::tempdir().expect("a directory");
    let agent = Agent::start(Command::new(CRASHTRACE), journal.path());
    let killed = kills();
    // The ring is empty all the same.
    until("not all kills are in the journal", || victims(&kept(journal.path()), &killed) == killed);
    let (lines, messages, code) = agent.end(Signal::TERM);
    assert!(code == Some(0) && !messages.contains("journal"), "{code:?}: {messages}");
    assert_eq!(victims(&lines, &killed), killed);
    assert_eq!(seqs(&lines), (2..=lines.len() as u64 + 1).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["redelivered"] == false && line["lost"] == 0));
    let counters = &lines.last().expect("a line")["counters"];
    assert_eq!((&counters["records_lost"], &counters["sink_failures"]), (&0.into(), &0.into()));
}

#[test]
fn what_a_killed_agent_did_not_deliver_the_next_one_delivers_once_and_marked() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let journal = tempfile::tempdir().expect("a directory");
    let first = Agent::start(Command::new(CRASHTRACE), journal.path());
    let session = first.first["session"].clone();
    let killed = kills();
    until("not all kills are in the journal", || victims(&kept(journal.path()), &killed) == killed);
    let (before, ..) = first.end(Signal::KILL);
    // What the pipe holds.
    assert!(before.iter().map(|line| line.to_string().len()).sum::<usize>() <= PIPE_BYTES);
    assert!(before.len() < killed.len() / 2, "{}", before.len());

    let next = Agent::start(Command::new(CRASHTRACE), journal.path());
    let opening = next.first.clone();
    let (mut after, _, code) = next.end(Signal::TERM);
    assert_eq!(code, Some(0));
    after.insert(0, opening);
    let own = after.iter().position(|line| line["redelivered"] == false).expect("lines of its own");
    let (again, own) = after.split_at(own);
    // The first session's lines as they were, with the numbers behind those that were read.
    assert!(again.iter().all(|line| line["redelivered"] == true && line["session"] == session));
    let all: Vec<_> = before.iter().chain(again).cloned().collect();
    assert_eq!(seqs(&all), (2..=all.len() as u64 + 1).collect::<Vec<_>>());
    assert_eq!(victims(&all, &killed), killed);
    assert_eq!((&own[0]["kind"], &own[0]["seq"]), (&"agent_started".into(), &1.into()));
    assert!(own.iter().all(|line| line["redelivered"] == false && line["session"] != session));

    // There is nothing left for a third.
    let third = Agent::start(Command::new(CRASHTRACE), journal.path());
    assert_eq!((&third.first["kind"], &third.first["seq"]), (&"agent_started".into(), &1.into()));
    // Nor can a fourth have its journal.
    let mut fourth = Command::new(CRASHTRACE);
    fourth.args(["watch", "--pods", "none", "--hooks", "tracepoint", "--journal"]).arg(journal.path());
    let output = fourth.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another agent uses it: stop that one"), "{said}");
    third.end(Signal::TERM);
}

/// A disk that is full for the whole of the session.
#[test]
fn with_a_full_disk_the_stream_goes_on_and_nothing_is_lost() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let journal = tempfile::tempdir().expect("a directory");
    // In a mount namespace of its own.
    let script = "mount -t tmpfs -o size=256k,mode=700 none \"$0\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(journal.path()).arg(CRASHTRACE);
    let agent = Agent::start(command, journal.path());
    let seen = PathBuf::from(format!("/proc/{}/root{}", agent.pid(), journal.path().display()));
    let killed = kills();
    // It has room for a part of them.
    until("the disk is not full", || kept(&seen).len() > 20);
    let (lines, messages, code) = agent.end(Signal::TERM);
    assert_eq!(code, Some(0), "{messages}");
    assert_eq!(victims(&lines, &killed), killed, "{messages}");
    assert_eq!(seqs(&lines), (2..=lines.len() as u64 + 1).collect::<Vec<_>>());
    assert_eq!(messages.matches("the journal cannot be written").count(), 1, "{messages}");
    assert!(messages.contains("No space left on device"), "{messages}");
    let counters = &lines.last().expect("a line")["counters"];
    assert_eq!((&counters["records_lost"], &counters["sink_failures"]), (&0.into(), &1.into()));
}

/// The most memory that this process has had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has memory");
    peak.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_full_journal_is_delivered_in_little_memory() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let (empty, full) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let limits = Limits { size_bytes: 64 << 20, age: Duration::from_hours(24) };
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    let realtime_ns = i64::try_from(time.as_nanos()).expect("this century");
    let now = Now { boot: 0, boottime_ns: 0, realtime_ns };
    let mut made = 0;
    {
        let mut spool = journal::open(full.path(), limits, now).expect("a journal").spool;
        while spool.state().file_bytes < 60 << 20 {
            let line = format!("{{\"seq\":{made},\"redelivered\":false,\"text\":\"{:4000}\"}}\n", "");
            assert_eq!(spool.put(line.as_bytes(), now), Put::Taken);
            made += 1;
        }
    }
    let plain = Agent::start(Command::new(CRASHTRACE), empty.path());
    let plain_kib = peak_kib(plain.pid());
    plain.end(Signal::TERM);

    let mut agent = Agent::start(Command::new(CRASHTRACE), full.path());
    assert_eq!(agent.first["seq"], 0);
    let mut lines = BufReader::new(&agent.stdout).lines().map(|line| line.expect("text"));
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line")).expect("JSON") };
    for seq in 1..made {
        let line = next();
        assert_eq!((&line["seq"], &line["redelivered"]), (&seq.into(), &true.into()));
    }
    assert_eq!(next()["kind"], "agent_started");
    let kib = peak_kib(agent.pid());
    assert!(kib < plain_kib + 4096, "{kib} KiB, and {plain_kib} KiB with an empty journal");
    agent.signal(Signal::TERM);
    // By the same reader, which may have a part of a line: a kill of another test.
    while next()["kind"] != "agent_stopping" {}
    assert!(agent.child.wait().expect("it ends").success());
}
