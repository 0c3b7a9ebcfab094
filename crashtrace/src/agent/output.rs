//! What the agent writes: lines on standard output, and the recording beside them.

use std::io::{self, Write};

use anyhow::{Context as _, Result};

use super::End;
use super::monitor::Monitor;
use super::recording::Recording;
use crate::cli::Output;
use crate::report::Line;
use crate::sink::{JsonSink, Sink, TextSink};

/// Everything that is written.
pub(super) struct Out {
    pub(super) sink: Box<dyn Sink>,
    pub(super) recording: Option<Recording>,
    pub(super) monitor: Monitor,
}

impl Out {
    /// A recording that cannot be written any more ends; the watch goes on, which matters more.
    pub(super) fn record(&mut self, record: &[u8]) {
        if let Some(recording) = &mut self.recording
            && let Err(error) = recording.writer.record(record)
        {
            tracing::error!(%error, file = recording.path, "the recording ends here: it cannot be written");
            self.recording = None;
        }
    }

    pub(super) fn lines(&mut self, lines: impl IntoIterator<Item = Line>) -> Result<End> {
        for line in lines {
            match self.sink.emit(&line) {
                Ok(()) => self.monitor.wrote(&line),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::OutputClosed),
                Err(error) => return Err(error).context("cannot write to the standard output"),
            }
        }
        Ok(End::Done)
    }
}

/// The sink on standard output.
pub(super) fn sink(output: Output) -> Box<dyn Sink> {
    let stdout: Box<dyn Write> = Box::new(io::stdout());
    match output {
        Output::Json => Box::new(JsonSink::new(stdout)),
        Output::Text { color } => Box::new(TextSink::new(stdout, color)),
    }
}
