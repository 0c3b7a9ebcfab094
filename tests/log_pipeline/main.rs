//! crashtrace's stream through a log pipeline: a real containerd writes a container's output into a log file, in CRI's
//! framing, and a real collector (Debian's rsyslog, with the configuration of `deploy/pipelines`) makes records of it.
//!
//! Needs the same as `tests/containerd.rs`, and rsyslog (`cargo xtask setup --runtime --tools`). `CRASHTRACE_SKIP_LIVE=1`
//! leaves it out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crashtrace::schema::MAX_LINE_BYTES;
use serde_json::Value;

use crashtrace_test_support::containerd::remains::left_of;
use crashtrace_test_support::{cleanup, skipped};

use crashtrace_records::{Body, Record, alloc_failure, memcg_kill, numbered};
use crashtrace_test_support::containerd::pods::{Container, LOGS, Pod, Script};
use crashtrace_test_support::containerd::runtime::{LOG_LINE_BYTES, Runtime};
use crashtrace_test_support::containerd::{image, log};
use crashtrace_test_support::recording::{bytes, preamble};
use rsyslog::{Collector, PATIENCE};

mod rsyslog;

/// As `deploy/` calls them.
const NAMESPACE: &str = "crashtrace";
const POD: &str = "crashtrace-x7k2p";
const CONTAINER: &str = "crashtrace";
/// How many processes die in the largest report.
const VICTIMS: u32 = 61;

/// The stream, a line that no runtime leaves whole, a message, and a line that the end of the container cuts.
const SCRIPT: &str = "/signal/loader --library-path /signal/libraries /signal/crashtrace replay /signal/a.rec
    /bin/busybox cat /signal/long
    echo 'a \"message\" for people' >&2
    printf '{\"schema\":\"crashtrace/v1\",\"seq\":'";

const CUT: &[u8] = b"{\"schema\":\"crashtrace/v1\",\"seq\":";

/// Most letters have two bytes, so that some parts of lines end in the middle of a letter.
const SERVICE: &str = "/system.slice/üöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöäüöä.service";
const CONTAINER_PATH: &[u8] = b"/kubepods/burstable/podb2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d/3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";

/// A kill of one, a failed allocation (whose report has fractions in it), and a kill of a whole group.
fn records() -> Vec<Record> {
    let one = memcg_kill(1_000, 0, CONTAINER_PATH, b"java");
    let mut group = memcg_kill(10_000_000, 0, SERVICE.as_bytes(), "ärbeiter".as_bytes());
    let mark = group[1].clone();
    let more = (1..VICTIMS).map(|number| {
        let mut mark = mark.clone();
        mark.header.ktime_ns += u64::from(number);
        if let Body::Victim(victim) = &mut mark.body {
            (victim.task.tgid, victim.task.tid) = (5_000 + number, 5_000 + number);
        }
        mark
    });
    let more: Vec<_> = more.collect();
    group.splice(2..2, more);
    numbered([one, vec![alloc_failure(5_000_000, 0, CONTAINER_PATH, 4)], group].concat())
}

/// crashtrace's output for the recording, without a pipeline.
fn printed(recording: &Path) -> Vec<Value> {
    let crashtrace = Command::new(env!("CARGO_BIN_EXE_crashtrace")).arg("replay").arg(recording).output();
    let stdout = String::from_utf8(crashtrace.expect("it runs").stdout).expect("UTF-8");
    let longest = stdout.lines().map(|line| line.len() + 1).max().unwrap_or_default();
    assert!(longest > MAX_LINE_BYTES * 9 / 10 && longest <= MAX_LINE_BYTES, "{longest}");
    let lines: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap_or_default()).collect();
    assert_eq!(kinds, ["agent_started", "oom_kill", "alloc_failure", "oom_kill", "agent_stopping"]);
    assert_eq!((&lines[3]["victims_total"], &lines[3]["truncated"]), (&VICTIMS.into(), &true.into()));
    assert!(lines[2]["memory"]["zones"][0]["fragmentation_index"].is_f64(), "{:#}", lines[2]);
    lines
}

/// Copies the program and its input into a container, and starts it.
fn run(container: &Container, recording: &[u8], long: &str) {
    let crashtrace = Path::new(env!("CARGO_BIN_EXE_crashtrace"));
    let (folder, libraries) = (container.folder(), container.folder().join("libraries"));
    fs::create_dir(&libraries).expect("a folder");
    for library in image::libraries(crashtrace).iter().map(Path::new) {
        let name = library.file_name().expect("a file").to_string_lossy();
        fs::copy(library, libraries.join(&*name)).expect("a library");
        if name.starts_with("ld-") {
            fs::copy(library, folder.join("loader")).expect("the loader");
        }
    }
    fs::copy(crashtrace, folder.join("crashtrace")).expect("the program");
    fs::write(folder.join("a.rec"), recording).expect("a file");
    fs::write(folder.join("long"), format!("{long}\n")).expect("a file");
    container.go();
}

/// The lines of stdout that the runtime wrote, once it has written all: the tag and the text of each line.
fn framed(pod: &Pod, attempt: u32) -> Vec<(u8, Vec<u8>)> {
    let file = pod.logs().join(format!("{CONTAINER}/{attempt}.log"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let written = fs::read(&file).expect("a log file");
        let framed = log::parts(&written, "stdout");
        // The line that the container's end cut comes when it has ended.
        if framed.last().is_some_and(|(tag, text)| *tag == b'P' && text.ends_with(CUT)) {
            return framed.into_iter().map(|(tag, text)| (tag, text.to_vec())).collect();
        }
        assert!(Instant::now() < deadline, "it does not end: {}", String::from_utf8_lossy(&written));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Compares the collector's records with the printed lines.
fn check(records: &[Value], printed: &[Value], long: &str) {
    for record in records {
        assert_eq!(record["kubernetes"]["namespace"], NAMESPACE, "{record:#}");
        assert_eq!(record["kubernetes"]["pod"], POD, "{record:#}");
    }
    let mut sessions: Vec<Vec<Value>> = Vec::new();
    for record in records.iter().filter(|record| record["crashtrace"].is_object()) {
        let line = &record["crashtrace"];
        assert_eq!(
            (&record["timestamp"], &record["stream"]),
            (&line["time"], &"stdout".into()),
            "{record:#}"
        );
        assert_eq!(record["message"], Value::Null, "{record:#}");
        if line["seq"] == 1 {
            sessions.push(Vec::new());
        }
        sessions.last_mut().expect("a session begins with its first line").push(line.clone());
    }
    assert_eq!(sessions.len(), 2);
    for mut session in sessions {
        // Each run has a separate name. All else is the same.
        let name = session[0]["session"].clone();
        for line in &mut session {
            assert_eq!(line["session"], name, "{line:#}");
            line["session"] = printed[0]["session"].clone();
        }
        assert_eq!(session, printed);
    }
    let others = records.iter().filter(|record| record["crashtrace"].is_null());
    let mut others: Vec<_> = others.map(|record| record["message"].as_str().unwrap_or_default()).collect();
    others.sort_unstable();
    let message = "a \"message\" for people";
    assert_eq!(others, [long, long, message, message]);
}

#[test]
fn a_collector_has_every_line_with_its_fields() {
    if skipped() {
        return;
    }
    cleanup::on_signals().expect("signals can be waited for");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, recording) = (folder.path().join("a.rec"), bytes(&preamble(), &records()));
    fs::write(&file, &recording).expect("a file");
    let printed = printed(&file);
    // No line of crashtrace's: lines of other programs are split at the default too.
    let long = format!("[\"{}\"]", "ü ".repeat(12_000));

    // As containerd has it, at which crashtrace's lines stay whole; and far less, as the runtimes that split at each read.
    for log_line_bytes in [LOG_LINE_BYTES, 1_000] {
        let runtime = tokio.block_on(Runtime::start_with(log_line_bytes)).expect("containerd starts");
        let logs = runtime.folder(LOGS).expect("a folder");
        let mut collector = Collector::start(&logs, folder.path()).expect("it starts");
        let pod = tokio.block_on(Pod::run(&runtime, NAMESPACE, POD, 512 << 20)).expect("a pod");
        for attempt in 0..2 {
            let it = pod.container(CONTAINER, attempt, 512 << 20, Script::Runs(SCRIPT));
            let container = tokio.block_on(it).expect("a container");
            run(&container, &recording, &long);
            let expected = (printed.len() + 2) * (attempt as usize + 1);
            collector.has(expected).expect("all that was printed");

            let framed = framed(&pod, attempt);
            let whole =
                |text: &[u8]| serde_json::from_slice::<Value>(text).is_ok_and(|line| line.is_object());
            let lines = framed.iter().filter(|(tag, text)| *tag == b'F' && whole(text)).count();
            let halves = framed.iter().any(|(_, text)| std::str::from_utf8(text).is_err());
            let split = framed.iter().filter(|(tag, _)| *tag == b'P').count();
            if log_line_bytes == LOG_LINE_BYTES {
                // That of `long`, and the line that the container's end cut.
                assert_eq!((lines, split), (printed.len(), long.len() / LOG_LINE_BYTES + 1), "{framed:?}");
            } else {
                assert!(lines < printed.len() && split > long.len() / log_line_bytes && halves, "{framed:?}");
            }
        }
        let records: Vec<Value> = collector.stop().expect("it ends well");
        check(&records, &printed, &long);
        let name = runtime.name();
        drop((pod, runtime));
        assert_eq!(left_of(&name), [""; 0]);
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/pipelines")
}
