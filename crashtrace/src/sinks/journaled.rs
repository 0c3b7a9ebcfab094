//! Standard output behind a journal: if it is not read, lines go to files and the ring does not stop.
//!
//! ```text
//! loop --> queue --> thread `journal` --> Spool --> thread `lines` --> standard output
//!                                           \-----> thread `journal-sync`
//! ```
//!
//! The first thread has each line written to a file before the second may take it. The third has the disk take what was written, at
//! most once in [`SYNC_PAUSE`]: a process that is killed loses nothing that is written, and only a node that goes down needs the
//! disk. The queue fills up only while the files take nothing and standard output neither; then the loop pauses as without a journal.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::writer::{Writer, Written, panicked};
use super::{Backlog, LineSink};
use crate::journal::{Directory, Files, Lost, Now, Put, Spool, State, Taken};
use crate::schema::{Line, redelivered};

/// Bytes of lines that may wait for the first thread.
const MOST_BYTES: usize = 256 * 1024;
/// How long after a sync the next one is at the earliest.
const SYNC_PAUSE: Duration = Duration::from_millis(200);
/// How long the first thread waits before it tries files that took nothing again.
const RETRY: Duration = Duration::from_secs(1);

/// The clocks, for the journal's threads.
pub type Clocks = Arc<dyn Fn() -> Now + Send + Sync>;

/// The sender of lines.
pub(super) struct Journaled {
    queue: Writer<Line>,
    shared: Arc<Shared>,
    end: oneshot::Receiver<io::Error>,
    /// No other agent can use the journal as long as it is open.
    _lock: File,
}

struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    /// As of the last change: the loop reads it without waiting for a file.
    state: Mutex<State>,
    /// Lines were lost since the loop last looked.
    lost: Notify,
    failed_syncs: AtomicU64,
    backlog: Arc<Backlog>,
    clocks: Clocks,
}

struct Inner {
    spool: Spool<File>,
    /// No more lines come.
    ending: bool,
    /// Standard output takes no more.
    gone: bool,
}

impl Journaled {
    /// Starts the threads. Each line goes to `sinks` once the journal has it. What sessions before have left comes first.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        Directory { spool, lock }: Directory,
        to: impl Write + Send + 'static,
        clocks: Clocks,
        backlog: Arc<Backlog>,
        mut sinks: Vec<Box<dyn LineSink>>,
    ) -> Result<Self> {
        let files = spool.files();
        let inner = Inner { spool, ending: false, gone: false };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            state: Mutex::default(),
            lost: Notify::new(),
            failed_syncs: AtomicU64::new(0),
            backlog,
            clocks,
        });
        shared.publish(&shared.lock());
        let (dirty, to_sync) = sync_channel(1);
        let (ended, end) = oneshot::channel();
        let (syncing, delivering, synced) = (shared.clone(), shared.clone(), dirty.clone());
        std::thread::Builder::new()
            .name("journal-sync".to_owned())
            .spawn(move || sync(&syncing, &files, &to_sync))
            .and_then(|_| {
                std::thread::Builder::new().name("lines".to_owned()).spawn(move || {
                    if let Err(error) = deliver(&delivering, to, &synced) {
                        // There is no receiver while the agent exits.
                        let _ = ended.send(error);
                    }
                })
            })
            .context("cannot start the threads of the journal")?;
        let first = IntoSpool { shared: shared.clone(), dirty };
        let written = move |line| sinks.iter_mut().for_each(|sink| sink.line(&line));
        // The backlog that is shown is the spool's: the queue is empty but for moments.
        let queue = Writer::start("journal", first, MOST_BYTES, (Arc::default(), || 1), written);
        let queue = queue.context("cannot start the thread that writes the journal")?;
        Ok(Self { queue, shared, end, _lock: lock })
    }

    pub(super) fn put(&mut self, bytes: Vec<u8>, line: Line) {
        self.queue.put(bytes, line);
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// Lines that were lost in the journal.
    pub(super) fn lost(&self) -> Lost {
        self.shared.state().lost
    }

    /// How often its files could not be written.
    pub(super) fn failures(&self) -> u64 {
        self.shared.state().failures.saturating_add(self.shared.failed_syncs.load(Ordering::Relaxed))
    }

    /// Waits until there is room again, or lines were lost. Cancel-safe.
    ///
    /// # Errors
    /// As [`Writer::changed`].
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        tokio::select! {
            biased;
            error = &mut self.end => Err(error.unwrap_or_else(|_| panicked())),
            changed = self.queue.changed() => changed,
            () = self.shared.lost.notified() => Ok(()),
        }
    }

    /// Waits until all lines are in the journal.
    pub(super) async fn keep(self, until: Instant) {
        self.queue.finish(until).await;
    }

    /// Waits until everything is delivered, a write fails, or the deadline comes. What is in files then is delivered by the next
    /// session.
    pub(super) async fn finish(self, until: Instant) -> Written {
        let Self { queue, shared, end, .. } = self;
        let unwritten = |beside: u64| Written::AllBut(shared.state().unwritten.saturating_add(beside));
        match queue.finish(until).await {
            Written::All => {}
            Written::AllBut(left) => return unwritten(left),
            Written::Failed(error) => return Written::Failed(error),
        }
        match tokio::time::timeout_at(until, end).await {
            Ok(Ok(error)) => return Written::Failed(error),
            Ok(Err(_)) | Err(_) if shared.state().unwritten > 0 => return unwritten(0),
            Ok(Err(_)) | Err(_) => {}
        }
        let lines = shared.state().lines;
        if lines > 0 {
            tracing::warn!(
                lines,
                "standard output takes nothing: lines are in the journal, and the next session delivers them"
            );
        }
        Written::All
    }
}

impl fmt::Debug for Journaled {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Journaled").field("state", &self.shared.state()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, inner: &Inner) {
        let state = inner.spool.state();
        self.backlog.holds(&state);
        let before = {
            let mut shown = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shown, state)
        };
        if state.lost != before.lost {
            self.lost.notify_one();
        }
    }
}

/// The end of the queue: takes each line in one call.
struct IntoSpool {
    shared: Arc<Shared>,
    dirty: SyncSender<()>,
}

impl Write for IntoSpool {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut inner = self.shared.lock();
        loop {
            let put = inner.spool.put(line, (self.shared.clocks)());
            self.shared.publish(&inner);
            if put == Put::Taken {
                break;
            }
            if inner.gone {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let waited = self.shared.changed.wait_timeout(inner, RETRY);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.shared.changed.notify_all();
        // Full: a sync is to come anyway.
        let _ = self.dirty.try_send(());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for IntoSpool {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
    }
}

/// Writes the spool's lines, until no more come.
fn deliver(shared: &Shared, mut to: impl Write, dirty: &SyncSender<()>) -> io::Result<()> {
    while let Some(Taken { line, of_before }) = next(shared) {
        shared.backlog.begins((shared.clocks)().boottime_ns);
        let line = if of_before { redelivered(&line) } else { line };
        let written = to.write_all(&line);
        shared.backlog.rests();
        let mut inner = shared.lock();
        if written.is_ok() {
            inner.spool.done();
        } else {
            inner.gone = true;
        }
        shared.publish(&inner);
        drop(inner);
        shared.changed.notify_all();
        let _ = dirty.try_send(());
        written?;
    }
    Ok(())
}

fn next(shared: &Shared) -> Option<Taken> {
    let mut inner = shared.lock();
    loop {
        let taken = inner.spool.take((shared.clocks)());
        shared.publish(&inner);
        if taken.is_some() || inner.ending {
            return taken;
        }
        inner = shared.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
    }
}

fn sync(shared: &Shared, files: &Files<File>, dirty: &Receiver<()>) {
    let mut fails = false;
    while dirty.recv().is_ok() {
        let synced = files.sync();
        if let Err(error) = &synced
            && !fails
        {
            tracing::warn!(%error, "the disk does not take the journal: a node that goes down may lose lines");
            shared.failed_syncs.fetch_add(1, Ordering::Relaxed);
        }
        fails = synced.is_err();
        std::thread::sleep(SYNC_PAUSE);
    }
}

#[cfg(test)]
mod tests;
