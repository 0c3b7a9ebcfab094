//! Records of the kernel side, and recordings of them: through all stages up to the lines.

use bytes::Bytes;
use crashtrace::decode::{self, Machine};
use crashtrace::filter::{Exits, Filter};
use crashtrace::gfp::GfpNames;
use crashtrace::node::Node;
use crashtrace::pipeline::{Pipeline, Session};
use crashtrace::recording::{Frame, Reader};
use crashtrace::report::{Context, to_json_line};
use crashtrace::schema::{Line, MAX_LINE_BYTES};
use crashtrace::sinks::text::render;

/// A record by itself.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let machine = Machine { page_size_bytes: 4096, symbols: None };
    decode::decode(&Bytes::copy_from_slice(bytes), &machine).is_ok()
}

/// A recording, as `crashtrace replay` reports it: each line has a bound, and is one line.
pub(crate) fn recording(bytes: &[u8]) -> bool {
    let Ok((preamble, mut reader)) = Reader::open(bytes) else { return false };
    let session = Session {
        node: preamble.node,
        session: "fuzz".to_owned(),
        kernel: preamble.kernel,
        btf: None,
        pin: None,
        names_from: Vec::new(),
        hooks: preamble.hooks,
        blind: preamble.blind,
        replay: true,
    };
    let machine = Machine { page_size_bytes: preamble.page_size_bytes, symbols: preamble.symbols };
    let context = Context {
        boot_id: preamble.boot_id,
        page_size_bytes: preamble.page_size_bytes,
        memory_cgroup_v1: preamble.memory_cgroup_v1,
        realtime_offset_ns: preamble.realtime_offset_ns,
        gfp: GfpNames::fallback(),
    };
    let node = Node {
        memory_bytes: preamble.memory_bytes,
        root: preamble.node_root,
        page_size_bytes: preamble.page_size_bytes,
        ..Node::unseen("a recording does not have it")
    };
    let filter = Filter { exits: Exits::All, ..Filter::default() };
    let mut pipeline = Pipeline::new(session, machine, context, filter, node);
    let mut latest_ns = preamble.started_ktime_ns;
    let mut read = true;
    check([pipeline.started(latest_ns)]);
    while let Ok(Some(frame)) = reader.frame() {
        check(match frame {
            Frame::Record(record) => {
                latest_ns = decode::ktime_ns(&record).unwrap_or(latest_ns).max(latest_ns);
                pipeline.record(&record)
            }
            Frame::Clock { ktime_ns, realtime_offset_ns } => {
                vec![pipeline.clock(ktime_ns, realtime_offset_ns)]
            }
            Frame::Broken(_) => {
                read = false;
                pipeline.malformed();
                Vec::new()
            }
        });
    }
    check(pipeline.losses(latest_ns));
    check(pipeline.stopping(latest_ns, "end_of_recording"));
    read
}

fn check(lines: impl IntoIterator<Item = Line>) {
    for line in lines {
        let json = to_json_line(&line);
        assert!(json.len() <= MAX_LINE_BYTES, "a line of {} bytes", json.len());
        assert_eq!(json.iter().position(|byte| *byte == b'\n'), Some(json.len() - 1), "one line");
        let text = render(&line, false);
        assert!(!text.contains('\x1b'), "a text with an escape: {text:?}");
    }
}
