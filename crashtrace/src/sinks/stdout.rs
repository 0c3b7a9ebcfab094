//! Standard output: each line as JSON or as text, behind a queue or a journal. It is the API, so the agent exits when it is closed.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::journaled::{Clocks, Journaled};
use super::writer::{Writer, Written};
use super::{Backlog, LineSink, text};
use crate::journal::{Directory, Lost};
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
    lines: Lines,
    form: Form,
}

#[derive(Debug)]
enum Lines {
    Queued(Writer<Line>),
    Journaled(Journaled),
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
        let lines = lines.context("cannot start the thread that writes lines")?;
        Ok(Self { lines: Lines::Queued(lines), form })
    }

    /// The same behind a journal, as JSON. Each line goes to `sinks` once the journal has it.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start_journaled(
        journal: Directory,
        clocks: Clocks,
        backlog: Arc<Backlog>,
        sinks: Vec<Box<dyn LineSink>>,
    ) -> Result<Self> {
        let lines = Journaled::start(journal, stdio::stdout(), clocks, backlog, sinks)?;
        Ok(Self { lines: Lines::Journaled(lines), form: Form::Json })
    }

    pub(super) fn line(&mut self, line: Line) {
        let bytes = self.form.bytes(&line);
        match &mut self.lines {
            Lines::Queued(lines) => lines.put(bytes, line),
            Lines::Journaled(lines) => lines.put(bytes, line),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match &self.lines {
            Lines::Queued(lines) => lines.is_full(),
            Lines::Journaled(lines) => lines.is_full(),
        }
    }

    /// Lines that were lost in the journal, and how often it could not be written.
    pub(super) fn journal(&self) -> (Lost, u64) {
        match &self.lines {
            Lines::Queued(_) => Default::default(),
            Lines::Journaled(lines) => (lines.lost(), lines.failures()),
        }
    }

    pub(super) async fn changed(&mut self) -> io::Result<()> {
        match &mut self.lines {
            Lines::Queued(lines) => lines.changed().await,
            Lines::Journaled(lines) => lines.changed().await,
        }
    }

    /// Waits until a journal has all lines, where there is one: standard output takes no more.
    pub(super) async fn keep(self, until: Instant) {
        if let Lines::Journaled(lines) = self.lines {
            lines.keep(until).await;
        }
    }

    pub(super) async fn finish(self, until: Instant) -> Written {
        match self.lines {
            Lines::Queued(lines) => lines.finish(until).await,
            Lines::Journaled(lines) => lines.finish(until).await,
        }
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
