//! What is written there, and over what.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::super::monitor::Monitor;
use super::super::output::Out;
use super::*;
use crate::gfp::GfpNames;
use crate::sink::JsonSink;
use crate::source::recording::{Frame, Reader};

fn begin(path: &Path) -> Recording {
    let speaker = Speaker {
        node: "n1".into(),
        session: "s".into(),
        kernel: "6.12.0".into(),
        names_from: Vec::new(),
        hooks: vec!["raw_tp:mark_victim".into()],
        blind: Vec::new(),
        replay: false,
    };
    let context = Context {
        boot_id: "b".into(),
        page_size_bytes: 4096,
        memory_cgroup_v1: Some(false),
        realtime_offset_ns: 7,
        gfp: GfpNames::fallback(),
    };
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    record_to(path, &speaker, &machine, &context, (Some(1 << 30), NodeRoot::default()), 9)
        .expect("a recording")
}

#[test]
fn a_recording_is_for_its_owner_alone_even_over_a_file_that_was_not() {
    let folder = tempfile::tempdir().expect("a directory");
    let mode = |path: &Path| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    let (new, old) = (folder.path().join("new"), folder.path().join("old"));
    fs::write(&old, "much longer than what is written over it ".repeat(100)).expect("a file");
    fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("permissions");
    for path in [&new, &old] {
        let mut recording = begin(path);
        assert_eq!(mode(path), 0o600);
        recording.writer.record(b"abc").expect("space");
        // On the disk now, not when the agent ends.
        let file = fs::read(path).expect("a file");
        let (preamble, mut reader) = Reader::open(file.as_slice()).expect("a recording");
        assert_eq!((preamble.node.as_str(), preamble.started_ktime_ns), ("n1", 9));
        assert_eq!(reader.frame().expect("memory"), Some(Frame::Record(b"abc".as_slice().into())));
        assert_eq!(reader.frame().expect("memory"), None);
    }
}

#[test]
fn a_recording_that_cannot_be_written_any_more_ends_and_the_agent_does_not() {
    let full = Path::new("/dev/full");
    if !full.exists() {
        return;
    }
    let file = File::options().write(true).open(full).expect("the device");
    let good = tempfile::NamedTempFile::new().expect("a file");
    let mut recording = begin(good.path());
    let preamble = Reader::open(fs::read(good.path()).expect("a file").as_slice()).expect("a recording").0;
    // The preamble goes elsewhere: this disk fills up later.
    recording.writer = Writer::new(BufWriter::new(good.reopen().expect("a file")), &preamble).expect("space");
    let mut out = Out {
        sink: Box::new(JsonSink::new(Vec::new())),
        recording: Some(recording),
        monitor: Monitor::default(),
    };
    out.record(b"fits");
    assert!(out.recording.is_some());
    assert!(Writer::new(BufWriter::new(file), &preamble).is_err(), "a full disk is an error at the start");
}
