//! A thread that writes to where nobody may be reading, behind a queue with a bound in bytes. The loop never waits for it.
//!
//! What is put in is always taken, so that what the loop has made of one record goes in as a whole; the loop then has to stop making
//! more while [`Writer::is_full`]. The bound is a semaphore's: whoever put too much in waits for what it owes.

use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::Backlog;

/// The queue's end of it. `T` is what comes with the bytes, and is handed back when they are written.
#[derive(Debug)]
pub(in crate::sinks) struct Writer<T> {
    queue: mpsc::UnboundedSender<(Vec<u8>, T)>,
    room: Arc<Semaphore>,
    /// Bytes that were put in beyond the bound.
    owed_bytes: usize,
    backlog: Arc<Backlog>,
    end: oneshot::Receiver<io::Error>,
}

/// How a [`Writer`] ended.
#[derive(Debug)]
pub(in crate::sinks) enum Written {
    /// All is written.
    All,
    /// Something could not be.
    Failed(io::Error),
    /// So many were left when time was up.
    AllBut(u64),
}

impl<T: Send + 'static> Writer<T> {
    /// Starts a thread that writes to `to`, and calls `written` for each piece that is written. `now_ns` is `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    /// There is no thread.
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
                    // Nobody is there to hear where the agent is on its way out.
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

    /// Puts bytes in.
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

    /// Whether more is in it than its bound. It stays so until [`Self::changed`] or [`Self::has_room`] says otherwise, for a caller
    /// that has stopped must not miss that it can go on.
    pub(in crate::sinks) fn is_full(&self) -> bool {
        self.owed_bytes > 0
    }

    /// Whether it is full no longer.
    pub(in crate::sinks) fn has_room(&mut self) -> bool {
        let owed = u32::try_from(self.owed_bytes).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.try_acquire_many(owed) {
            room.forget();
            self.owed_bytes = 0;
        }
        self.owed_bytes == 0
    }

    /// Why nothing can be written any more, if that is so. To be asked until it is.
    pub(in crate::sinks) fn error(&mut self) -> Option<io::Error> {
        match self.end.try_recv() {
            Ok(error) => Some(error),
            Err(oneshot::error::TryRecvError::Closed) => Some(panicked()),
            Err(oneshot::error::TryRecvError::Empty) => None,
        }
    }

    /// Waits until it is full no longer; for good if it is not. Cancel-safe.
    ///
    /// # Errors
    /// Nothing can be written any more.
    pub(in crate::sinks) async fn changed(&mut self) -> io::Result<()> {
        let owed = u32::try_from(self.owed_bytes).unwrap_or(u32::MAX);
        tokio::select! {
            // An error counts for more: what it left is never written.
            biased;
            error = &mut self.end => Err(error.unwrap_or_else(|_| panicked())),
            Ok(room) = self.room.acquire_many(owed), if owed > 0 => {
                room.forget();
                self.owed_bytes = 0;
                Ok(())
            }
        }
    }

    /// Waits until all is written, or something is not, or time is up.
    pub(in crate::sinks) async fn finish(self, until: Instant) -> Written {
        let Self { queue, backlog, end, .. } = self;
        drop(queue);
        match tokio::time::timeout_at(until, end).await {
            Ok(Ok(error)) => Written::Failed(error),
            // It has taken all, or panicked on the way.
            Ok(Err(_)) if backlog.lines() == 0 => Written::All,
            Ok(Err(_)) | Err(_) => Written::AllBut(backlog.lines()),
        }
    }
}

fn panicked() -> io::Error {
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
    async fn what_nobody_reads_waits_and_comes_out_whole_and_in_order() {
        let Test { mut reader, pipe, mut writer, written } = to_a_pipe(64 * 1024);
        let mut sent = Vec::new();
        let mut more = |writer: &mut Writer<usize>| {
            let line = format!("{:>4999}\n", sent.len()).into_bytes();
            sent.extend_from_slice(&line);
            writer.put(line, sent.len());
        };
        // Until the thread is stuck, which takes a line that finds less room than it needs.
        while Descriptor(&pipe).is_writable(Some(Duration::ZERO)) {
            if writer.has_room() {
                more(&mut writer);
            }
        }
        while !writer.is_full() {
            more(&mut writer);
        }
        drop(pipe);
        // The queue's bound and one more, and a pipe's worth.
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
    async fn what_is_left_when_time_is_up_is_counted() {
        let Test { reader: _reader, mut writer, .. } = to_a_pipe(1 << 20);
        for at in 0..100 {
            writer.put(vec![b'x'; 10_000], at);
        }
        // A pipe holds six of them.
        let Written::AllBut(left) = writer.finish(Instant::now() + Duration::from_millis(50)).await else {
            panic!("all?")
        };
        assert!((94..=100).contains(&left), "{left}");
    }

    #[tokio::test]
    async fn an_error_is_told_at_once_and_in_the_end() {
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
