//! An agent whose standard output is not read: it lives, reports that through `/readyz`, and ends when it is told to.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Child, ExitStatus, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// A running `watch`, which is killed where a test fails.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watch {
    fn start(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let args = [
            "watch",
            "--output",
            "json",
            "--hooks",
            "tracepoint",
            "--pods",
            "none",
            "--no-alloc",
            "--log",
            "error",
        ];
        let mut command = Command::new(CRASHTRACE);
        command.args(args).args(["--metrics", "127.0.0.1:0", "--node-name", "n"]);
        Self(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().expect("it starts"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
    }

    /// Where it answers, once it watches: it takes the port first, and does not answer before its hooks are in place.
    fn address(&self) -> SocketAddr {
        let address = http::listening(self.0.id(), SOON).expect("it serves");
        let deadline = Instant::now() + SOON;
        while !http::get(address, "/healthz").is_ok_and(|answer| answer.status == 200) {
            assert!(Instant::now() < deadline, "it does not watch");
            std::thread::sleep(Duration::from_millis(20));
        }
        address
    }

    /// It ends within kubelet's grace period, with much room for a busy machine.
    fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stderr(&mut self) -> String {
        let mut said = String::new();
        self.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        said
    }
}

/// A pipe that takes no more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = fcntl_getfl(&writer).expect("flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("flags");
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    fcntl_setfl(&writer, flags).expect("flags");
    (reader, writer)
}

/// The answer of `/readyz`, once this is its reason, or null if it is ready.
fn readiness(address: SocketAddr, why: &Value) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let (status, said) = ask(address, "/readyz?verbose");
        if said["why"] == *why {
            assert_eq!((status == 200, &said["ready"]), (why.is_null(), &why.is_null().into()), "{said}");
            return said;
        }
        assert!(Instant::now() < deadline, "{why} is not why: {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn value(address: SocketAddr, metric: &str) -> f64 {
    let text = http::get(address, "/metrics").expect("it answers").body;
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {metric} in {text}")).parse().expect("a number")
}

/// A value that is a whole number.
fn whole(address: SocketAddr, metric: &str) -> String {
    value(address, metric).to_string()
}

/// Waits until this metric is that whole number.
fn becomes(address: SocketAddr, metric: &str, expected: &str) {
    let deadline = Instant::now() + SOON;
    while whole(address, metric) != expected {
        assert!(Instant::now() < deadline, "{metric} is {}, not {expected}", whole(address, metric));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn output_that_is_not_read_is_told_and_costs_nothing_but_its_time() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let (reader, writer) = full_pipe();
    let mut watch = Watch::start(writer, Stdio::piped());
    let address = watch.address();
    // Its first line, for more than five seconds.
    let said = readiness(address, &json!("standard output is blocked"));
    assert_eq!(
        (&said["output"]["blocked"], &said["output"]["waiting_lines"]),
        (&json!(true), &json!(1)),
        "{said}"
    );
    assert!(said["output"]["blocked_seconds"].as_f64().is_some_and(|seconds| seconds >= 5.0), "{said}");
    // kubelet would kill it for a no.
    let (status, health) = ask(address, "/healthz");
    assert_eq!((status, &health["alive"]), (200, &json!(true)), "{health}");
    assert!(value(address, "crashtrace_output_blocked_seconds") >= 5.0);
    assert_eq!(whole(address, "crashtrace_output_waiting_lines"), "1");
    assert_eq!(whole(address, "crashtrace_ready"), "0");
    assert_eq!(whole(address, "crashtrace_lines_written_total"), "0");

    // As soon as the output is read, all is as it was.
    let mut lines = BufReader::new(reader).lines().map(|line| line.expect("UTF-8"));
    let first = lines.next().expect("a line");
    let first: Value = serde_json::from_str(first.trim_start_matches('.')).expect("a whole line");
    assert_eq!((&first["kind"], &first["seq"]), (&json!("agent_started"), &json!(1)));
    readiness(address, &Value::Null);
    assert_eq!(whole(address, "crashtrace_output_blocked_seconds"), "0");
    // A line is counted just after it is written.
    becomes(address, "crashtrace_lines_written_total", "1");
    watch.signal(Signal::HUP);
    assert_eq!(watch.end().code(), Some(0));
    let last: Value = serde_json::from_str(&lines.next().expect("a line")).expect("a whole line");
    assert_eq!((&last["kind"], &last["reason"]), (&json!("agent_stopping"), &json!("signal")));
    assert_eq!(watch.stderr(), "");
}

#[test]
fn an_agent_whose_output_is_not_read_ends_on_a_signal_and_counts_lost_lines() {
    if skipped() {
        return;
    }
    let _alone = alone();
    for signal in [Signal::TERM, Signal::INT] {
        let (_reader, writer) = full_pipe();
        let mut watch = Watch::start(writer, Stdio::piped());
        watch.address();
        watch.signal(signal);
        assert_eq!(watch.end().code(), Some(1));
        let said = watch.stderr();
        assert!(said.contains("2 lines were not written, and 0 records"), "{said}");
    }
}

#[test]
fn standard_error_that_is_not_read_stops_no_line() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let (_reader, full) = full_pipe();
    let mut watch = Watch::start(Stdio::piped(), full);
    let mut lines =
        BufReader::new(watch.0.stdout.take().expect("a pipe")).lines().map(|line| line.expect("UTF-8"));
    assert!(lines.next().is_some_and(|line| line.contains("agent_started")));
    watch.signal(Signal::TERM);
    assert!(lines.next().is_some_and(|line| line.contains("agent_stopping")));
    assert_eq!(watch.end().code(), Some(0));
}

#[test]
fn a_full_disk_and_a_closed_output_end_it() {
    if skipped() {
        return;
    }
    let _alone = alone();
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the device");
    let mut watch = Watch::start(full, Stdio::piped());
    assert_eq!(watch.end().code(), Some(1));
    assert!(watch.stderr().contains("cannot write to the standard output: No space left"));
    let (reader, closed) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut watch = Watch::start(closed, Stdio::piped());
    assert_eq!((watch.end().code(), watch.stderr().as_str()), (Some(0), ""));
}
