//! `crashtrace replay`: the same stages over recorded bytes.

use std::fs::File;
use std::io::BufReader;

use anyhow::{Context as _, Result};

use super::End;
use super::monitor::Monitor;
use super::output::{Out, sink};
use crate::cli::Replay;
use crate::decode::Machine;
use crate::enrich::Node;
use crate::messages::Messages;
use crate::pipeline::{Pipeline, Speaker};
use crate::report::build::Context;
use crate::source::recording::{Frame, Reader};

/// Reports what is in a recording.
///
/// # Errors
/// It cannot be read, is none, or is of another layout; or the output cannot be written. A recording that breaks
/// off is read up to there, and the rest is counted and named.
pub fn replay(config: &Replay, messages: &Messages) -> Result<End> {
    let name = config.file.display();
    let failed = || format!("cannot replay {name}");
    let file = File::open(&config.file).with_context(failed)?;
    let (preamble, mut reader) = Reader::open(BufReader::new(file)).with_context(failed)?;
    let speaker = Speaker {
        node: preamble.node,
        session: format!("replay-{:x}-{:x}", preamble.started_ktime_ns, std::process::id()),
        kernel: preamble.kernel,
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
        gfp: preamble.gfp,
    };
    let mut out = Out { sink: sink(config.output), recording: None, monitor: Monitor::default() };
    let node = Node {
        memory_bytes: preamble.memory_bytes,
        root: preamble.node_root,
        page_size_bytes: preamble.page_size_bytes,
        gfp: context.gfp.clone(),
        ..Node::unseen("a recording does not have it")
    };
    let mut pipeline = Pipeline::new(speaker, machine, context, config.filter.clone(), node);
    let mut latest_ns = preamble.started_ktime_ns;
    if out.lines([pipeline.started(latest_ns)])? == End::OutputClosed {
        return Ok(End::OutputClosed);
    }
    while let Some(frame) = reader.frame().with_context(failed)? {
        let lines = match frame {
            Frame::Record(record) => {
                latest_ns = crate::decode::ktime_ns(&record).unwrap_or(latest_ns).max(latest_ns);
                pipeline.record(&record)
            }
            Frame::Broken(what) => {
                tracing::warn!(recording = %name, "the recording is broken, the rest is lost: {what}");
                pipeline.malformed();
                Vec::new()
            }
        };
        if out.lines(lines)? == End::OutputClosed {
            return Ok(End::OutputClosed);
        }
    }
    let losses = pipeline.losses(latest_ns);
    out.lines(losses)?;
    pipeline.unsaid(messages.unsaid());
    out.lines(pipeline.stopping(latest_ns, "end_of_recording"))
}
