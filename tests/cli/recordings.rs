//! `crashtrace replay`, of recordings that are whole, cut, hostile, or none.

use crashtrace::recording::{Preamble, clock_record, frame};
use crashtrace_ebpf::{LAYOUT_VERSION, OLDEST_LAYOUT};

use super::*;
use crashtrace_records::{
    Body, Record, alloc_failure, holders, memcg_kill, no_victim, numbered, oom_zones, wait,
};
use crashtrace_test_support::recording::{bytes, preamble};

const POD: &[u8] = b"/kubepods/burstable/podb2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d/3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";

pub(crate) fn two_kills() -> Vec<Record> {
    let kills = [
        memcg_kill(100, 0, POD, b"java"),
        vec![no_victim(5_000, 1, b"/system.slice/backup.service", 2)],
        memcg_kill(10_000, 1, b"/system.slice/backup.service", b"\x1b[2J\n"),
    ];
    numbered(kills.concat())
}

pub(crate) fn written(folder: &Path, records: &[Record]) -> PathBuf {
    let file = folder.join("a.rec");
    fs::write(&file, bytes(&preamble(), records)).expect("a file");
    file
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn replay_of(content: &[u8], more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("a.rec");
    fs::write(&file, content).expect("a file");
    run(&[&["replay", path(&file)], more].concat())
}

#[test]
fn a_preamble_comes_back_as_it_was_written() {
    let written = Preamble {
        symbols: Some(crashtrace::symbols::Symbols::parse(
            &b"ffffffff81000000 T out_of_memory\nffffffff81001000 T x\n"[..],
        )),
        realtime_offset_ns: i64::MIN,
        started_ktime_ns: u64::MAX,
        since_ktime_ns: None,
        node: "n\n\u{1b}\"\\".into(),
        ..preamble()
    };
    for preamble in [preamble(), written] {
        let json = serde_json::to_string(&preamble).expect("JSON");
        assert!(!json.contains('\n'), "one line");
        assert_eq!(serde_json::from_str::<Preamble>(&json).expect("a preamble"), preamble);
    }
}

#[test]
fn a_replay_gives_the_lines_of_the_session_and_says_that_it_is_one() {
    let output = replay_of(&bytes(&preamble(), &two_kills()), &["--output", "json"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let lines = lines(&output);
    assert_eq!(kinds(&lines), ["agent_started", "oom_kill", "oom_no_kill", "oom_kill", "agent_stopping"]);
    assert_eq!((&lines[0]["replay"], &lines[0]["ktime_ns"]), (&true.into(), &50.into()));
    assert_eq!(lines[4]["reason"], "end_of_recording");
    for (line, seq) in lines.iter().zip(1..) {
        assert_eq!(
            (&line["seq"], &line["node"], &line["boot_id"]),
            (&seq.into(), &"worker-3".into(), &"7e0a".into())
        );
        assert_eq!(
            line["agent"],
            env!("CARGO_PKG_VERSION"),
            "the one that speaks, not the one that recorded"
        );
        assert_eq!(line["lost"], 0);
    }
    for line in &lines[1..4] {
        assert_eq!((&line["redelivered"], &line["complete"]), (&true.into(), &true.into()));
    }
    assert_eq!(lines[1]["id"], "7e0a-100-0");
    assert_eq!(lines[1]["victims"][0]["comm"], "java");
    assert_eq!(lines[1]["limit"]["limit_bytes"], 8192 * 4096);
    assert_eq!(lines[2]["repeats"], 2);
}

/// A wall clock that was set stands between the records, and the lines are by it from there on.
#[test]
fn a_replay_has_the_times_that_the_session_had() {
    let records = two_kills();
    let mut recording = Vec::new();
    preamble().write_to(&mut recording).expect("memory");
    let mut add = |record: &[u8]| recording.extend(frame(record).expect("no larger than any"));
    let offset_ns = preamble().realtime_offset_ns;
    for (at, record) in records.iter().enumerate() {
        if record.header.ktime_ns == 5_000 {
            add(&clock_record(0, 4_000, offset_ns + 3_600_000_000_000));
        }
        if at + 1 == records.len() {
            add(&clock_record(1, 11_000, offset_ns));
        }
        add(&record.bytes());
    }
    let output = replay_of(&recording, &["--output", "json"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let lines = lines(&output);
    let times: Vec<_> = lines.iter().map(|line| (&line["kind"], &line["time"], &line["step_ns"])).collect();
    let time = |text: &str| Value::from(text);
    let (early, late) = ("2025-11-24T16:00:00", "2025-11-24T17:00:00");
    for ((kind, at, step), expected) in times.into_iter().zip([
        ("agent_started", format!("{early}.000000050Z"), Value::Null),
        ("oom_kill", format!("{early}.000000100Z"), Value::Null),
        ("clock_changed", format!("{late}.000004000Z"), 3_600_000_000_000_i64.into()),
        ("oom_no_kill", format!("{late}.000005000Z"), Value::Null),
        ("clock_changed", format!("{early}.000011000Z"), (-3_600_000_000_000_i64).into()),
        ("oom_kill", format!("{early}.000010000Z"), Value::Null),
    ]) {
        assert_eq!((kind, at, step), (&time(expected.0), &time(&expected.1), &expected.2));
    }
    assert_eq!((lines.len(), &lines[6]["lost"]), (7, &0.into()));
    // A person reads it too.
    let text = replay_of(&recording, &["--output", "text"]);
    assert!(
        String::from_utf8_lossy(&text.stdout)
            .contains(&format!("CLOCK CHANGED  the wall clock was set; the old one had {early}.000004000Z"))
    );
}

/// The messages of one decision go into one line, and a hung task has its own kind.
#[test]
fn a_replay_names_the_holders_of_the_nodes_memory_and_hung_tasks() {
    let mut records = memcg_kill(100, 0, POD, b"java");
    if let Body::Decision(decision) = &mut records[0].body {
        (decision.flags, decision.constraint, decision.gfp) = (0, 0, 0x14_0dca);
    }
    records[0].sections.truncate(2);
    records.insert(1, holders(100, 0));
    records.push(wait(9_000, 0, b"/kubepods", 3));
    let lines = lines(&replay_of(&bytes(&preamble(), &numbered(records)), &[]));
    assert_eq!(kinds(&lines), ["agent_started", "oom_kill", "oom_wait", "agent_stopping"]);
    let memory = &lines[1]["memory"];
    assert_eq!(memory["pods"]["usage_bytes"], 9000 * 4096);
    assert_eq!(memory["holders"][0]["owner"]["kind"], "pod");
    assert_eq!(memory["holders"][1]["owner"]["unit"], "containerd.service");
    assert_eq!(memory["holders"].as_array().map(Vec::len), Some(2));
    assert_eq!((&lines[2]["repeats"], &lines[2]["allocation"]), (&3.into(), &Value::Null));
    assert_eq!(lines[2]["hooks"], serde_json::json!(["fentry:mem_cgroup_oom_synchronize"]));
}

#[test]
fn text_has_no_byte_that_a_terminal_would_act_on() {
    let output = replay_of(&bytes(&preamble(), &two_kills()), &["--output", "text"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let text = stdout(&output);
    assert!(text.contains("java") && text.contains("\\x1b[2J\\x0a"), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(serde_json::from_str::<Value>(text).is_err());
}

#[test]
fn a_filter_keeps_incidents_back_and_counts_them() {
    let recording = bytes(&preamble(), &two_kills());
    for (filter, incidents) in [
        (&["--cause", "cgroup_oom"][..], 3),
        (&["--cause", "system_oom"], 0),
        (&["--cause", "system_oom,cgroup_oom"], 3),
        (&["--namespace", "shop"], 1),
    ] {
        let lines = lines(&replay_of(&recording, filter));
        assert_eq!(lines.len(), incidents + 2, "{filter:?}");
        assert_eq!(lines[lines.len() - 1]["counters"]["incidents_filtered"], 3 - incidents, "{filter:?}");
    }
}

#[test]
fn a_recording_that_was_cut_is_read_up_to_there_and_says_so() {
    let records = two_kills();
    let whole = bytes(&preamble(), &records);
    let start = bytes(&preamble(), &[]).len();
    let first = records[0].bytes().len();
    // Within a length, right behind it, within a record, one byte before its end, and within the last one.
    for end in
        [start + 1, start + 3, start + 4, start + 4 + first / 2, start + 4 + first - 1, whole.len() - 1]
    {
        let output = replay_of(&whole[..end], &[]);
        assert_eq!(output.status.code(), Some(0), "{end}");
        let said = stderr(&output);
        assert!(said.contains("a.rec") && said.contains("broken"), "{end}: {said}");
        let lines = lines(&output);
        let loss = lines.iter().find(|line| line["kind"] == "loss").expect("a loss");
        assert_eq!(loss["counters"]["records_malformed"], 1, "{end}");
        let last = lines.last().expect("a line");
        assert_eq!((&last["kind"], &last["lost"]), (&"agent_stopping".into(), &1.into()), "{end}");
        assert!(lines.iter().zip(1..).all(|(line, seq)| line["seq"] == seq), "{end}");
    }
    // The last kill's end is cut off: it is told, and not as complete.
    let output = replay_of(&whole[..whole.len() - 1], &[]);
    let kills: Vec<_> = lines(&output).into_iter().filter(|line| line["kind"] == "oom_kill").collect();
    assert_eq!((kills.len(), &kills[1]["complete"]), (2, &false.into()));
    // Between two records nothing is missing.
    let output = replay_of(&whole[..start + 4 + first], &[]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn a_length_that_no_record_has_ends_the_recording() {
    let mut recording = bytes(&preamble(), &two_kills());
    recording.extend_from_slice(&u32::MAX.to_le_bytes());
    recording.extend_from_slice(b"rest");
    let output = replay_of(&recording, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(lines(&output).last().expect("a line")["lost"], 1);
    assert!(stderr(&output).contains("4294967295 bytes"), "{}", stderr(&output));
}

#[test]
fn records_that_are_none_are_counted_one_by_one_and_the_rest_is_read() {
    let mut recording = bytes(&preamble(), &[]);
    let mut unknown = two_kills()[0].bytes();
    unknown[2] = 99;
    for record in [b"".to_vec(), vec![0xff; 100], unknown] {
        recording.extend_from_slice(&(record.len() as u32).to_le_bytes());
        recording.extend_from_slice(&record);
    }
    let whole = bytes(&preamble(), &two_kills());
    recording.extend_from_slice(&whole[bytes(&preamble(), &[]).len()..]);
    let output = replay_of(&recording, &[]);
    assert_eq!(output.status.code(), Some(0));
    let lines = lines(&output);
    assert_eq!(kinds(&lines)[1..4], ["oom_kill", "oom_no_kill", "oom_kill"]);
    let counters = &lines.last().expect("a line")["counters"];
    for counter in ["records_malformed", "records_of_another_layout", "records_of_unknown_kind"] {
        assert_eq!(counters[counter], 1, "{counter}");
    }
}

/// Where the machine had them, its zones are in the recording; where it had not, those of the machine that replays it are
/// none of its business.
#[test]
fn a_recording_has_its_zones_with_it() {
    let of = |zones: bool| {
        let mut failure = alloc_failure(700, 0, POD, 4);
        failure.zones = failure.zones.filter(|_| zones);
        let folder = tempfile::tempdir().expect("a directory");
        let file = written(folder.path(), &numbered(vec![oom_zones(90, 0), failure]));
        let lines = lines(&run(&["replay", path(&file)]));
        assert_eq!(kinds(&lines), ["agent_started", "alloc_failure", "agent_stopping"]);
        assert_eq!(
            lines[2]["counters"]["holders_without_decision"], 1,
            "zones of a decision that is not there"
        );
        lines[1].clone()
    };
    let with = of(true);
    assert_eq!((&with["verdict"]["cause"], &with["repeats"]), (&"fragmentation".into(), &3.into()));
    assert_eq!(with["memory"]["zones"].as_array().map(Vec::len), Some(2));
    assert_eq!(with["memory"]["late"], false);
    let without = of(false);
    assert_eq!((&without["verdict"]["cause"], &without["memory"]), (&"unknown".into(), &Value::Null));
}

#[test]
fn a_file_that_is_no_recording_is_refused_with_its_name_and_the_reason() {
    let no_more = format!("{{\"format\":\"crashtrace-recording/v1\",\"layout\":{LAYOUT_VERSION}}}\n");
    for (content, says) in [
        (&b""[..], "no recording"),
        (b"\x7fELF\x02\x01\x01", "no recording"),
        (b"{\"kind\":\"oom_kill\"}\n", "its format is not crashtrace-recording/v1"),
        (no_more.as_bytes(), "no recording"),
    ] {
        let output = replay_of(content, &[]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
        let said = stderr(&output);
        assert!(said.contains("a.rec") && said.contains(says), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_recording_of_another_layout_names_both_and_its_writer() {
    let other = Preamble { layout: LAYOUT_VERSION + 1, ..preamble() };
    let output = replay_of(&bytes(&other, &two_kills()), &[]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    let said = stderr(&output);
    let layouts =
        format!("layout {}, and this version reads {OLDEST_LAYOUT} to {LAYOUT_VERSION}", LAYOUT_VERSION + 1);
    assert!(said.contains(&layouts) && said.contains("0.0.9"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = run(&["replay", "/nonexistent/a.rec"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("/nonexistent/a.rec: No such file"), "{}", stderr(&output));
}

/// Not more often than there is something to wait for.
#[test]
fn a_pipe_is_read_and_a_fifo_without_a_writer_or_a_device_is_refused() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = written(folder.path(), &two_kills());
    let whole = run(&["replay", path(&file)]);
    let whole = kinds(&lines(&whole)).join(" ");
    let script =
        "\"$0\" replay - < \"$1\" && cat \"$1\" | \"$0\" replay /dev/stdin && cat \"$1\" | \"$0\" replay -";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_crashtrace"), path(&file)]);
    let output = shell.output().expect("a shell");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert_eq!(kinds(&lines(&output)).join(" "), [whole.as_str(); 3].join(" "));

    let fifo = folder.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    for (from, says) in [(path(&fifo), "this FIFO has no writer"), ("/dev/zero", "it is a device")] {
        let output = run(&["replay", from]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""), "{from}");
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
    }
}

/// Where the memory that a line is made of is bounded, so is the line; a preamble is no way around that.
#[test]
fn a_hostile_preamble_makes_no_long_line() {
    let hostile = |times: usize| {
        let long = "n\u{202e}\u{9b}".repeat(times);
        Preamble { node: long.clone(), kernel: long.clone(), boot_id: long, ..preamble() }
    };
    let (large, hostile) = (bytes(&hostile(100_000), &two_kills()), hostile(16_000));
    assert!(large.len() > 1 << 20, "{} bytes", large.len());
    for form in ["json", "text"] {
        let output = replay_of(&large, &["--output", form]);
        assert_eq!(output.status.code(), Some(1), "larger than a preamble can be: {}", stderr(&output));
    }
    let output = replay_of(&bytes(&hostile, &two_kills()), &["--output", "json"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert_eq!(lines(&output).len(), 5);
    assert!(stdout(&output).chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'));
    let text = replay_of(&bytes(&hostile, &two_kills()), &["--output", "text"]);
    let blocks = stdout(&text).matches("OOM KILL").count();
    assert!(blocks == 2 && stdout(&text).len() <= 5 * 12 * 1024, "{} bytes", stdout(&text).len());
    let longest = stdout(&output).split_inclusive('\n').map(str::len).max();
    assert!(longest.is_some_and(|bytes| bytes <= 12 * 1024), "{longest:?}");
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    let folder = tempfile::tempdir().expect("a directory");
    // More than a pipe holds.
    let kills = (0..200).flat_map(|at| memcg_kill(at * 10_000, 0, POD, b"java")).collect();
    let file = written(folder.path(), &numbered(kills));
    for form in ["json", "text"] {
        let mut command = crashtrace(&["replay", path(&file), "--output", form]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command runs");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        reader.read_line(&mut String::new()).expect("a line");
        drop(reader);
        let mut said = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        assert_eq!((child.wait().expect("an end").code(), said.as_str()), (Some(0), ""), "{form}");
    }
}

/// A recording of a real kernel: one process hit its container's limit, cgroup v1, raw tracepoint.
///
/// `CRASHTRACE_BLESS=1` writes the expected lines anew.
#[test]
fn a_real_recording_gives_the_reviewed_lines() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/recordings/host-own-limit.rec");
    let output = run(&["replay", path(&file)]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let mut lines = lines(&output);
    for line in &mut lines {
        line["agent"] = "AGENT".into();
        line["session"] = "SESSION".into();
    }
    let got = serde_json::to_string_pretty(&lines).expect("JSON") + "\n";
    let expected = file.with_extension("json");
    if std::env::var_os("CRASHTRACE_BLESS").is_some() {
        fs::write(&expected, &got).expect("the fixture can be written");
    }
    assert_eq!(got, fs::read_to_string(&expected).expect("a fixture"));
}
