//! The sinks of the stream.
//!
//! | sink | gets | if it fails |
//! |---|---|---|
//! | standard output ([`Stdout`]) | each line, as JSON or as text | the agent ends |
//! | the journal, before standard output | each line, as JSON | logged and counted |
//! | a [`LineSink`]: metrics ([`crate::metrics::WrittenLines`]) | each line that standard output or the journal has taken | it cannot |
//! | a [`RecordSink`]: the recording ([`Recording`]) | each record, as the kernel side wrote it | logged and counted |
//!
//! Each sink has a file with its options, its start, and the effect of its failure. None makes the loop wait: a sink that writes
//! does so on a thread with a bounded queue (`writer.rs`).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use anyhow::{Result, bail};
use tokio::time::Instant;

use crate::journal::Lost;
use crate::recording::clock_record;
use crate::schema::Line;
use crate::stdio;

mod backlog;
mod journaled;
pub mod recording;
mod stdout;
pub mod text;
mod writer;

pub use backlog::Backlog;
pub use journaled::Clocks;
pub use recording::Recording;
pub use stdout::{Form, Stdout, print};
use writer::Written;

/// Gets each line once standard output has taken it, or the journal, which then sees to the rest. Called on the thread that writes
/// lines, so it must not wait.
pub trait LineSink: Send {
    /// Takes a line that is written.
    fn line(&mut self, line: &Line);
}

/// Gets each record. Called by the loop, so it must not wait. It logs its own failures.
pub trait RecordSink {
    fn record(&mut self, record: &[u8]) -> Taken;
    /// Waits until all is written, and not beyond `until`.
    fn finish(self: Box<Self>, until: Instant) -> Pin<Box<dyn Future<Output = ()>>>;
}

/// Result of a record in a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The sink took it.
    Whole,
    /// The sink had no room for it.
    LeftOut,
    /// The sink has failed, and takes no more records.
    Failed,
}

/// The sinks of one session.
pub struct Sinks {
    stdout: Stdout,
    records: Vec<Box<dyn RecordSink>>,
    /// How often the wall clock was set.
    clocks: u64,
    failures: u64,
}

impl Sinks {
    /// Lines go to `stdout`, and to the sinks that it was started with; records go to `records`.
    #[must_use]
    pub fn new(stdout: Stdout, records: Vec<Box<dyn RecordSink>>) -> Self {
        Self { stdout, records, clocks: 0, failures: 0 }
    }

    /// Passes on a record.
    pub fn record(&mut self, record: &[u8]) {
        let mut failures = 0;
        self.records.retain_mut(|sink| {
            let taken = sink.record(record);
            failures += u64::from(taken != Taken::Whole);
            taken != Taken::Failed
        });
        self.failures = self.failures.saturating_add(failures);
    }

    /// Passes on that the wall clock was set.
    pub fn clock(&mut self, ktime_ns: u64, realtime_offset_ns: i64) {
        self.record(&clock_record(self.clocks, ktime_ns, realtime_offset_ns));
        self.clocks = self.clocks.saturating_add(1);
    }

    /// Queues lines for writing.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = Line>) {
        for line in lines {
            self.stdout.line(line);
        }
    }

    /// How often a sink other than standard output has failed, or left a record out.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.saturating_add(self.stdout.journal().1)
    }

    /// Lines that were lost in the journal so far.
    #[must_use]
    pub fn lost(&self) -> Lost {
        self.stdout.journal().0
    }

    /// Whether the loop should pause.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.stdout.is_full()
    }

    /// Waits until there is room, if it is full, or until the journal has lost lines. Cancel-safe.
    ///
    /// # Errors
    /// Standard output cannot be written, or its reader has closed it.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.stdout.changed().await
    }

    /// Ends because of standard output, with the error of [`Self::changed`]. The other sinks still finish.
    ///
    /// # Errors
    /// That error, unless the reader has closed standard output.
    pub async fn gone(self, error: io::Error, until: Instant) -> Result<()> {
        tokio::join!(self.stdout.keep(until), finish(self.records, until));
        stdio::ended(error)
    }

    /// Waits until all is written, and not beyond `until`. `untold` is how many records were left in the ring.
    ///
    /// # Errors
    /// Standard output has not taken all.
    pub async fn finish(self, until: Instant, untold: u64) -> Result<()> {
        // Concurrently: one that uses up the time must leave some to the others.
        let (lines, ()) = tokio::join!(self.stdout.finish(until), finish(self.records, until));
        let left = match lines {
            Written::All => 0,
            Written::Failed(error) => return stdio::ended(error),
            Written::AllBut(left) => left,
        };
        if left > 0 || untold > 0 {
            bail!(
                "standard output takes nothing: {left} lines were not written, and {untold} records of the kernel side not read"
            );
        }
        Ok(())
    }
}

/// Finishes them concurrently, too.
async fn finish(sinks: Vec<Box<dyn RecordSink>>, until: Instant) {
    let mut left: Vec<_> = sinks.into_iter().map(|sink| sink.finish(until)).collect();
    std::future::poll_fn(|context| {
        left.retain_mut(|sink| sink.as_mut().poll(context).is_pending());
        if left.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Fails at its third record.
    struct Failing(Arc<AtomicUsize>);

    impl RecordSink for Failing {
        fn record(&mut self, _: &[u8]) -> Taken {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Taken::Whole,
                1 => Taken::LeftOut,
                _ => Taken::Failed,
            }
        }

        fn finish(self: Box<Self>, _: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async {})
        }
    }

    #[tokio::test]
    async fn a_sink_that_fails_is_counted_and_gets_no_more_and_the_others_do() {
        let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(1))];
        let stdout = Stdout::start(Form::Json, || 1, Arc::default(), Vec::new()).expect("a thread");
        let records = counts.iter().map(|count| Box::new(Failing(count.clone())) as Box<dyn RecordSink>);
        let mut sinks = Sinks::new(stdout, records.collect());
        let failures = std::iter::from_fn(|| {
            sinks.record(b"record");
            Some(sinks.failures())
        });
        assert_eq!(failures.take(4).collect::<Vec<_>>(), [1, 3, 4, 4]);
        // The failed sink got no more.
        assert_eq!(counts.map(|count| count.load(Ordering::SeqCst)), [3, 3]);
    }
}
