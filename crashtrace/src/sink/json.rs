//! The stream as JSON lines.

use std::io::{self, Write};

use crate::report::{Line, to_json_line};
use crate::sink::Sink;

/// Writes each line as one JSON object.
#[derive(Debug)]
pub struct JsonSink<W> {
    out: W,
}

impl<W: Write> JsonSink<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// What it wrote to.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Sink for JsonSink<W> {
    fn emit(&mut self, line: &Line) -> io::Result<()> {
        self.out.write_all(&to_json_line(line))?;
        self.out.flush()
    }
}
