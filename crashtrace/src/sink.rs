//! Sinks: where reports go.

use std::io;

use crate::report::Line;

pub mod json;
pub(crate) mod page;
pub mod text;
pub(crate) mod zones;

pub use json::JsonSink;
pub use text::TextSink;

/// Takes the lines of the stream, one after the other.
pub trait Sink {
    /// Hands over one line, whole and at once: nothing is held back, the next moment may be the agent's last.
    fn emit(&mut self, line: &Line) -> io::Result<()>;
}
