//! A recording through the stages, line by line. PURE, but for what it reads from.

use std::io::BufRead;

use crate::cgroup::NodeRoot;
use crate::decode::{self, Machine};
use crate::filter::Filter;
use crate::messages::Unsaid;
use crate::node::Node;
use crate::pipeline::{Before, Pipeline, Session};
use crate::recording::{Frame, Reader, RecordingError};
use crate::report::Context;
use crate::schema::Line;

/// A recording that is played.
#[derive(Debug)]
pub struct Played<R: BufRead> {
    reader: Reader<R>,
    pipeline: Pipeline,
    latest_ns: u64,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// The lines of a frame, mostly none.
    Lines(Vec<Line>),
    /// Why the rest of the recording cannot be read: it is counted as lost.
    Broken(String),
}

impl<R: BufRead> Played<R> {
    /// Begins, as a session of the process with this number.
    ///
    /// # Errors
    /// It cannot be read, is no recording, or has another layout.
    pub fn open(from: R, pid: u32, filter: Filter) -> Result<Self, RecordingError> {
        let (preamble, reader) = Reader::open(from)?;
        let latest_ns = preamble.started_ktime_ns;
        let session = Session {
            node: preamble.node,
            session: format!("replay-{latest_ns:x}-{pid:x}"),
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
        let mut pipeline = Pipeline::new(session, machine, context, filter, node);
        if let Some(accepts_ns) = preamble.since_ktime_ns {
            pipeline.follows(&Before { accepts_ns, adopts: true, ..Before::default() });
        }
        Ok(Self { reader, pipeline, latest_ns })
    }

    /// The first line.
    pub fn started(&mut self) -> Line {
        self.pipeline.started(self.latest_ns)
    }

    /// The next frame's lines; `None` at the end.
    ///
    /// # Errors
    /// Reading failed.
    pub fn frame(&mut self) -> std::io::Result<Option<Next>> {
        let Some(frame) = self.reader.frame()? else { return Ok(None) };
        Ok(Some(match frame {
            Frame::Record(record) => {
                self.latest_ns = decode::ktime_ns(&record).unwrap_or_default().max(self.latest_ns);
                Next::Lines(self.pipeline.record(&record))
            }
            Frame::Clock { ktime_ns, realtime_offset_ns } => {
                Next::Lines(vec![self.pipeline.clock(ktime_ns, realtime_offset_ns)])
            }
            Frame::Broken(what) => {
                self.pipeline.malformed();
                Next::Broken(what)
            }
        }))
    }

    /// What was lost, if anything.
    pub fn losses(&mut self) -> Option<Line> {
        self.pipeline.losses(self.latest_ns)
    }

    /// The last lines. `unsaid` are the messages of this process that were not written.
    pub fn stopping(&mut self, unsaid: Unsaid) -> Vec<Line> {
        self.pipeline.unsaid(unsaid);
        self.pipeline.stopping(self.latest_ns, "end_of_recording")
    }
}
