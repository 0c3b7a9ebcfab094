//! Standard output: each line as JSON or as text. It is the API, so the agent exits when it is closed.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::writer::{Writer, Written};
use super::{Backlog, LineSink, text};
use crate::report::to_json_line;
use crate::schema::Line;
use crate::stdio;

/// Bytes of lines that may wait: some fifty OOM kills. Further ones wait as records in the ring, which are smaller. The lines of
/// one record or one moment are queued as a whole, so it may be more: 3 MiB if the names of all 256 waiting cases come at once.
const MOST_BYTES: usize = 256 * 1024;

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// JSON, one object a line.
    Json,
    /// Text for people.
    Text {
        /// Coloured: only on a terminal with colours, and unless the user has set `NO_COLOR`.
        color: bool,
    },
}

impl Form {
    fn bytes(self, line: &Line) -> Vec<u8> {
        match self {
            Self::Json => to_json_line(line),
            Self::Text { color } => text::render(line, color).into_bytes(),
        }
    }
}

/// Standard output, written by a thread: if it blocks, the loop leaves records in the ring and goes on with all else.
#[derive(Debug)]
pub struct Stdout {
    lines: Writer<Line>,
    form: Form,
}

impl Stdout {
    /// Starts the thread. Each written line goes to `sinks` next. `now_ns` is `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        form: Form,
        now_ns: fn() -> u64,
        backlog: Arc<Backlog>,
        mut sinks: Vec<Box<dyn LineSink>>,
    ) -> Result<Self> {
        let written = move |line| sinks.iter_mut().for_each(|sink| sink.line(&line));
        let lines = Writer::start("lines", stdio::stdout(), MOST_BYTES, (backlog, now_ns), written);
        Ok(Self { lines: lines.context("cannot start the thread that writes lines")?, form })
    }

    pub(super) fn line(&mut self, line: Line) {
        self.lines.put(self.form.bytes(&line), line);
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.is_full()
    }

    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.lines.changed().await
    }

    pub(super) async fn finish(self, until: Instant) -> Written {
        self.lines.finish(until).await
    }
}

/// Writes lines at once, without a thread. Returns whether there is still a reader.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(form: Form, lines: impl IntoIterator<Item = Line>) -> Result<bool> {
    for line in lines {
        if let Err(error) = stdio::stdout().write_all(&form.bytes(&line)) {
            return stdio::ended(error).map(|()| false);
        }
    }
    Ok(true)
}
