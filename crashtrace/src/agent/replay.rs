//! `crashtrace replay`: the same stages over recorded bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, IsTerminal as _, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::cgroup::NodeRoot;
use crate::cli::Replay;
use crate::decode::Machine;
use crate::files;
use crate::messages::Messages;
use crate::node::Node;
use crate::pipeline::{Before, Pipeline, Session};
use crate::recording::{Frame, Reader};
use crate::report::Context;
use crate::sinks::print;

/// Reports the incidents in a recording.
///
/// # Errors
/// It cannot be read, is no recording, or has another layout; or the output cannot be written. A truncated recording is read up to
/// its end, and the rest is counted and named.
pub fn replay(config: &Replay, messages: &Messages) -> Result<()> {
    let name = config.file.display();
    let failed = || format!("cannot replay {name}");
    let file = open(&config.file).with_context(failed)?;
    let (preamble, mut reader) = Reader::open(BufReader::new(file)).with_context(failed)?;
    let session = Session {
        node: preamble.node,
        session: format!("replay-{:x}-{:x}", preamble.started_ktime_ns, std::process::id()),
        kernel: preamble.kernel,
        btf: None,
        names_from: Vec::new(),
        hooks: preamble.hooks,
        blind: preamble.blind,
        replay: true,
        pin: None,
    };
    let machine = Machine { page_size_bytes: preamble.page_size_bytes, symbols: preamble.symbols };
    let context = Context {
        boot_id: preamble.boot_id,
        page_size_bytes: preamble.page_size_bytes,
        memory_cgroup_v1: preamble.memory_cgroup_v1,
        realtime_offset_ns: preamble.realtime_offset_ns,
        gfp: preamble.gfp,
    };
    let node = Node {
        memory_bytes: preamble.memory_bytes,
        // Recordings of older versions have no root, but this.
        root: NodeRoot {
            v1: preamble.memory_cgroup_v1.unwrap_or(preamble.node_root.v1),
            ..preamble.node_root
        },
        page_size_bytes: preamble.page_size_bytes,
        gfp: context.gfp.clone(),
        ..Node::unseen("a recording does not have it")
    };
    let mut pipeline = Pipeline::new(session, machine, context, config.filter.clone(), node);
    if let Some(accepts_ns) = preamble.since_ktime_ns {
        pipeline.follows(&Before { accepts_ns, adopts: true, ..Before::default() });
    }
    let mut latest_ns = preamble.started_ktime_ns;
    if !print(config.output, [pipeline.started(latest_ns)])? {
        return Ok(());
    }
    while let Some(frame) = reader.frame().with_context(failed)? {
        let lines = match frame {
            Frame::Record(record) => {
                latest_ns = crate::decode::ktime_ns(&record).unwrap_or(latest_ns).max(latest_ns);
                pipeline.record(&record)
            }
            Frame::Clock { ktime_ns, realtime_offset_ns } => {
                vec![pipeline.clock(ktime_ns, realtime_offset_ns)]
            }
            Frame::Broken(what) => {
                tracing::warn!(recording = %name, "the recording is broken, the rest is lost: {what}");
                pipeline.malformed();
                Vec::new()
            }
        };
        if !print(config.output, lines)? {
            return Ok(());
        }
    }
    let losses = pipeline.losses(latest_ns);
    print(config.output, losses)?;
    pipeline.unsaid(messages.unsaid());
    print(config.output, pipeline.stopping(latest_ns, "end_of_recording")).map(drop)
}

/// Opens a file, a pipe that has a writer (`<(zcat a.rec.gz)` of a shell), or standard input for `-`. A FIFO without a writer is an
/// error and not a wait, and so is a device.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is a terminal, not a recording",
            ));
        }
        return Ok(Box::new(io::stdin()));
    }
    if !std::fs::metadata(path)?.file_type().is_fifo() {
        return Ok(Box::new(files::open_regular(path)?));
    }
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut pipe = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut begin = [0; 4096];
    let length = match pipe.read(&mut begin) {
        Ok(0) => {
            let error = "this FIFO has no writer: start one first, or pipe into `replay -`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        Ok(length) => length,
        // It has a writer, which has not written yet.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags - OFlags::NONBLOCK)?;
    Ok(Box::new(Cursor::new(begin).take(length as u64).chain(pipe)))
}
