//! The body of an answer, in lines or whole: bounded in size and in silence.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::time::timeout;

use super::problem::Problem;

/// The longest line. An object is no larger than what etcd takes (1.5 MiB unless told otherwise), which as JSON may be a few
/// times that.
pub const LONGEST_LINE: usize = 8 << 20;
/// The longest list: 500 pods are about 5 MiB.
pub const LONGEST_LIST: usize = 64 << 20;

/// What reading gave.
pub(super) enum Read {
    /// A line, without its end.
    Line(BytesMut),
    /// No whole line within the time. What came of it is kept.
    Nothing,
    /// The end of the stream.
    End,
}

/// Lines of a body.
///
/// kube's own reader of events has no bound on a line, and says nothing of the silence between lines.
pub(super) struct Lines {
    body: Body,
    buffer: BytesMut,
    /// So much of the buffer has no end of line in it.
    searched: usize,
    received: u64,
}

impl Lines {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, received: 0 }
    }

    /// The next line that is not empty. Whole lines count: a server that drips bytes is as good as dead.
    ///
    /// # Errors
    /// The connection breaks, or the line is too long.
    pub(super) async fn next(&mut self, within: Duration) -> Result<Read, Problem> {
        match timeout(within, self.next_line()).await {
            Ok(Ok(Some(line))) => Ok(Read::Line(line)),
            Ok(Ok(None)) => Ok(Read::End),
            Ok(Err(problem)) => Err(problem),
            Err(_) => Ok(Read::Nothing),
        }
    }

    /// Bytes that came since this was last called.
    pub(super) fn take_received(&mut self) -> u64 {
        std::mem::take(&mut self.received)
    }

    // May be dropped while it waits: all that came is in the buffer by then.
    async fn next_line(&mut self) -> Result<Option<BytesMut>, Problem> {
        loop {
            while let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
            self.searched = self.buffer.len();
            if self.searched > LONGEST_LINE {
                return Err(Problem::Nonsense(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            match self.body.frame().await {
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                // A last line without an end may be half of one.
                None => return Err(Problem::Broken("the stream ends within a line".to_owned())),
                Some(Err(error)) => return Err(Problem::of_body(&error)),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.received += data.len() as u64;
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// A whole body of at most so many bytes.
pub(super) async fn whole(mut body: Body, longest: usize) -> Result<BytesMut, Problem> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::of_body(&error))?;
        if let Some(data) = frame.data_ref() {
            if all.len() + data.len() > longest {
                return Err(Problem::Nonsense(format!("an answer of more than {longest} bytes")));
            }
            all.extend_from_slice(data);
        }
    }
    Ok(all)
}
