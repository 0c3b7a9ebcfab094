//! A thread that writes to an output that may not be read, behind a queue with a bound in bytes. The loop never waits for it.
//!
//! The queue accepts everything, so that all lines of one record are queued together; the loop then has to stop making more while
//! [`Writer::is_full`]. The bound is a semaphore's: a caller that has queued too much waits for the bytes that it owes.

use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::Backlog;

/// The sender of the queue. `T` comes with the bytes, and is handed back when they are written.
#[derive(Debug)]
pub(in crate::sinks) struct Writer<T> {
    queue: mpsc::UnboundedSender<(Vec<u8>, T)>,
    room: Arc<Semaphore>,
    /// Bytes that were queued beyond the bound.
    owed_bytes: usize,
    backlog: Arc<Backlog>,
    end: oneshot::Receiver<io::Error>,
}

/// Result of a [`Writer`].
#[derive(Debug)]
pub(in crate::sinks) enum Written {
    /// Everything is written.
    All,
    /// A write failed.
    Failed(io::Error),
    /// So many were left at the deadline.
    AllBut(u64),
}

impl<T: Send + 'static> Writer<T> {
    /// Starts a thread that writes to `to`, and calls `written` for each queued value that is written. `now_ns` is
    /// `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(in crate::sinks) fn start(
        name: &str,
        mut to: impl Write + Send + 'static,
        most_bytes: usize,
        (backlog, now_ns): (Arc<Backlog>, fn() -> u64),
        mut written: impl FnMut(T) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, mut taken) = mpsc::unbounded_channel::<(Vec<u8>, T)>();
        let (ended, end) = oneshot::channel();
        let room = Arc::new(Semaphore::new(most_bytes));
        let (its_room, its_backlog) = (room.clone(), backlog.clone());
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some((bytes, what)) = taken.blocking_recv() {
                its_backlog.begins(now_ns());
                if let Err(error) = to.write_all(&bytes) {
                    // There is no receiver while the agent exits.
                    let _ = ended.send(error);
                    return;
                }
                its_backlog.ends(bytes.len());
                written(what);
                its_room.add_permits(bytes.len());
            }
        })?;
        Ok(Self { queue, room, owed_bytes: 0, backlog, end })
    }

    /// Queues bytes.
    pub(in crate::sinks) fn put(&mut self, bytes: Vec<u8>, what: T) {
        let length = bytes.len();
        let permits = u32::try_from(length).unwrap_or(u32::MAX);
        match self.room.try_acquire_many(permits) {
            Ok(room) if self.owed_bytes == 0 => room.forget(),
            _ => self.owed_bytes += length,
        }
        self.backlog.waits(length);
        // Where the thread has ended, `changed` says so.
        let _ = self.queue.send((bytes, what));
    }

    /// Whether the queue is beyond its bound. It stays so until [`Self::changed`] or [`Self::has_room`] says otherwise, because a
    /// caller that has stopped must learn that it can go on.
    pub(in crate::sinks) fn is_full(&self) -> bool {
        self.owed_bytes > 0
    }

    /// Whether there is room again.
    pub(in crate::sinks) fn has_room(&mut self) -> bool {
        let owed = u32::try_from(self.owed_bytes).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.try_acquire_many(owed) {
            room.forget();
            self.owed_bytes = 0;
        }
        self.owed_bytes == 0
    }

    /// Why writing has failed, if it has. Not to be called again after that.
    pub(in crate::sinks) fn error(&mut self) -> Option<io::Error> {
        match self.end.try_recv() {
            Ok(error) => Some(error),
            Err(oneshot::error::TryRecvError::Closed) => Some(panicked()),
            Err(oneshot::error::TryRecvError::Empty) => None,
        }
    }

    /// Waits until there is room again; forever if the queue is not full. Cancel-safe.
    ///
    /// # Errors
    /// Writing has failed.
    pub(in crate::sinks) async fn changed(&mut self) -> io::Result<()> {
        let owed = u32::try_from(self.owed_bytes).unwrap_or(u32::MAX);
        tokio::select! {
            // An error comes first: the lines that it left are never written.
            biased;
            error = &mut self.end => Err(error.unwrap_or_else(|_| panicked())),
            Ok(room) = self.room.acquire_many(owed), if owed > 0 => {
                room.forget();
                self.owed_bytes = 0;
                Ok(())
            }
        }
    }

    /// Waits until everything is written, a write fails, or the deadline comes.
    pub(in crate::sinks) async fn finish(self, until: Instant) -> Written {
        let Self { queue, backlog, end, .. } = self;
        drop(queue);
        match tokio::time::timeout_at(until, end).await {
            Ok(Ok(error)) => Written::Failed(error),
            // It has written everything, or panicked.
            Ok(Err(_)) if backlog.lines() == 0 => Written::All,
            Ok(Err(_)) | Err(_) => Written::AllBut(backlog.lines()),
        }
    }
}

pub(in crate::sinks) fn panicked() -> io::Error {
    io::Error::other("the thread that writes it panicked")
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read as _, pipe};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::stdio::Descriptor;

    const SOON: Duration = Duration::from_mins(1);

    struct Test {
        reader: PipeReader,
        pipe: PipeWriter,
        writer: Writer<usize>,
        written: std::sync::mpsc::Receiver<usize>,
    }

    fn to_a_pipe(most_bytes: usize) -> Test {
        let (reader, pipe) = pipe().unwrap();
        let (sender, written) = channel();
        let written_now = move |what| sender.send(what).unwrap();
        let to = pipe.try_clone().unwrap();
        let writer = Writer::start("test", to, most_bytes, (Arc::default(), || 1), written_now).unwrap();
        Test { reader, pipe, writer, written }
    }

    #[tokio::test]
    async fn lines_that_are_not_read_wait_and_come_whole_and_in_order() {
        let Test { mut reader, pipe, mut writer, written } = to_a_pipe(64 * 1024);
        let mut sent = Vec::new();
        let mut more = |writer: &mut Writer<usize>| {
            let line = format!("{:>4999}\n", sent.len()).into_bytes();
            sent.extend_from_slice(&line);
            writer.put(line, sent.len());
        };
        // Until the thread blocks, in a write of a line for which the pipe has too little room.
        while Descriptor(&pipe).is_writable(Some(Duration::ZERO)) {
            if writer.has_room() {
                more(&mut writer);
            }
        }
        // Asked anew: the thread has written since the queue was found full.
        while writer.has_room() {
            more(&mut writer);
        }
        drop(pipe);
        // The queue's bound, one line more, and the pipe's content.
        let backlog = writer.backlog.clone();
        assert!((12..=15).contains(&backlog.lines()), "{backlog:?}");
        assert!(sent.len() <= 64 * 1024 + 5_000 + 64 * 1024 + 5_000, "{}", sent.len());
        let full = tokio::time::timeout(Duration::ZERO, writer.changed()).await;
        assert!(full.is_err() && writer.is_full() && !writer.has_room(), "{full:?}");

        let received = std::thread::spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        writer.changed().await.unwrap();
        assert!(!writer.is_full());
        assert!(matches!(writer.finish(Instant::now() + SOON).await, Written::All));
        assert_eq!((backlog.lines(), backlog.blocked_ns(u64::MAX)), (0, 0));
        assert!(received.join().unwrap() == sent);
        assert_eq!(written.iter().last(), Some(sent.len()));
    }

    #[tokio::test]
    async fn lines_left_at_the_deadline_are_counted() {
        let Test { reader: _reader, mut writer, .. } = to_a_pipe(1 << 20);
        for at in 0..100 {
            writer.put(vec![b'x'; 10_000], at);
        }
        // The pipe holds six of them.
        let Written::AllBut(left) = writer.finish(Instant::now() + Duration::from_millis(50)).await else {
            panic!("all?")
        };
        assert!((94..=100).contains(&left), "{left}");
    }

    #[tokio::test]
    async fn an_error_is_returned_at_once_and_at_the_end() {
        for late in [false, true] {
            let Test { reader, mut writer, .. } = to_a_pipe(1 << 20);
            drop(reader);
            writer.put(b"x\n".to_vec(), 0);
            let error = if late {
                match writer.finish(Instant::now() + SOON).await {
                    Written::Failed(error) => error,
                    other => panic!("{other:?}"),
                }
            } else {
                writer.changed().await.unwrap_err()
            };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
