//! What the agent writes: lines on standard output, and the recording beside them. A thread writes them ([`Writer`]): where nobody
//! takes them, the loop leaves records in the ring, and goes on with all else.

use std::io::{self, Write as _};

use anyhow::{Context as _, Result, bail};
use tokio::time::Instant;

use super::monitor::Monitor;
use super::recording::Recording;
use super::writer::{Writer, Written};
use crate::cli::Output;
use crate::recording::clock_record;
use crate::report::{Line, to_json_line};
use crate::sinks::text;
use crate::stdio;

/// Bytes of lines that may wait: some fifty OOM kills. More of them wait as records in the ring, which are smaller. What one record
/// or one moment makes goes in as a whole, so it may be more: 3 MiB if the names of all 256 cases that wait for some come at once.
const MOST_BYTES: usize = 256 * 1024;

/// Everything that `watch` writes.
pub(super) struct Out {
    lines: Writer<Line>,
    form: Output,
    recording: Option<Recording>,
    /// How often the wall clock was set.
    clocks: u64,
}

impl Out {
    /// Begins to write to standard output.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(form: Output, recording: Option<Recording>, monitor: &Monitor) -> Result<Self> {
        let its_monitor = monitor.clone();
        let written = move |line| its_monitor.wrote(&line);
        let lines = Writer::start("lines", stdio::stdout(), MOST_BYTES, monitor.backlog(), written);
        Ok(Self {
            lines: lines.context("cannot begin the thread that writes lines")?,
            form,
            recording,
            clocks: 0,
        })
    }

    /// Records a record, where that is asked for.
    pub(super) fn record(&mut self, record: &[u8]) {
        self.recording.take_if(|recording| !recording.record(record));
    }

    /// Records that the wall clock was set.
    pub(super) fn clock(&mut self, ktime_ns: u64, realtime_offset_ns: i64) {
        self.record(&clock_record(self.clocks, ktime_ns, realtime_offset_ns));
        self.clocks = self.clocks.saturating_add(1);
    }

    /// Has lines written.
    pub(super) fn lines(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            self.lines.put(bytes(self.form, &line), line);
        }
    }

    /// Whether no more should come for now.
    pub(super) fn is_full(&self) -> bool {
        self.lines.is_full()
    }

    /// Waits until more may come, if it is full. Cancel-safe.
    ///
    /// # Errors
    /// Standard output cannot be written, also because nobody reads it any more.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.lines.changed().await
    }

    /// Nobody reads any more, or nothing can be written: what [`Self::changed`] said. The recording is still made whole.
    ///
    /// # Errors
    /// What it said, unless that is a good end.
    pub(super) async fn gone(self, said: io::Error) -> Result<()> {
        finish_recording(self.recording, Instant::now() + super::STOP).await;
        stdio::ended(said)
    }

    /// Waits until all is written, and not longer than that. `untold` is how many records were left in the ring.
    ///
    /// # Errors
    /// Something was not written.
    pub(super) async fn finish(self, until: Instant, untold: u64) -> Result<()> {
        // Side by side: one that uses up the time must leave some to the other.
        let (lines, ()) = tokio::join!(self.lines.finish(until), finish_recording(self.recording, until));
        let left = match lines {
            Written::All => 0,
            Written::Failed(error) => return stdio::ended(error),
            Written::AllBut(left) => left,
        };
        if left > 0 || untold > 0 {
            bail!(
                "nobody takes what is written to the standard output: {left} lines were not written, and {untold} records of the kernel side not read"
            );
        }
        Ok(())
    }
}

async fn finish_recording(recording: Option<Recording>, until: Instant) {
    if let Some(recording) = recording {
        recording.finish(until).await;
    }
}

/// Prints lines at once, for who has nothing else to do. Says whether anybody reads on.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(form: Output, lines: impl IntoIterator<Item = Line>) -> Result<bool> {
    for line in lines {
        if let Err(error) = stdio::stdout().write_all(&bytes(form, &line)) {
            return stdio::ended(error).map(|()| false);
        }
    }
    Ok(true)
}

fn bytes(form: Output, line: &Line) -> Vec<u8> {
    match form {
        Output::Json => to_json_line(line),
        Output::Text { color } => text::render(line, color).into_bytes(),
    }
}
