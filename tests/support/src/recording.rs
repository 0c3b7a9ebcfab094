//! Recordings as `watch --record` writes them.

use crashtrace::gfp::GfpNames;
use crashtrace::recording::{FORMAT, Preamble, frame};
use crashtrace::schema::BlindSpot;
use crashtrace_ebpf::LAYOUT_VERSION;

use crashtrace_records::Record;

/// Of a node with everything in place.
pub fn preamble() -> Preamble {
    Preamble {
        format: FORMAT.into(),
        agent: "0.0.9".into(),
        layout: LAYOUT_VERSION,
        node: "worker-3".into(),
        kernel: "6.12.0".into(),
        boot_id: "7e0a".into(),
        page_size_bytes: 4096,
        realtime_offset_ns: 1_764_000_000_000_000_000,
        hooks: vec!["fentry:oom_kill_process".into(), "raw_tp:mark_victim".into()],
        blind: vec![BlindSpot { field: "one thing".into(), reason: "another".into() }],
        gfp: GfpNames::fallback(),
        symbols: None,
        memory_bytes: Some(8 << 30),
        node_root: crashtrace::cgroup::NodeRoot::default(),
        memory_cgroup_v1: Some(false),
        started_ktime_ns: 50,
        since_ktime_ns: None,
    }
}

/// A recording of these records.
pub fn bytes(preamble: &Preamble, records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    preamble.write_to(&mut bytes).expect("memory");
    for record in records {
        bytes.extend(frame(&record.bytes()).expect("a record"));
    }
    bytes
}
