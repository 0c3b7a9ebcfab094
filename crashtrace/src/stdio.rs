//! Standard output and standard error, raw: no buffer, no lock, and each error is returned.
//!
//! The standard library's handles treat a closed descriptor as one that accepts everything, and panic (`eprintln`) or give up
//! (`EAGAIN`) where the other end does not read. Whether descriptors block is not up to this process: another one that shares a
//! pipe or a terminal with it may have set `O_NONBLOCK` on it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Writes all bytes to standard output.
///
/// # Errors
/// Errors that [`ended`] passes on.
pub fn print(bytes: &[u8]) -> Result<()> {
    stdout().write_all(bytes).or_else(ended)
}

/// The result for an error of writing to standard output: if the reader has closed it, that is a success.
///
/// # Errors
/// Any other error.
pub fn ended(error: io::Error) -> Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(error).context("cannot write to the standard output")
}

/// Writes to a descriptor; waits if it is non-blocking.
#[derive(Debug)]
pub struct Descriptor<F>(pub F);

#[must_use]
pub fn stdout() -> Descriptor<io::Stdout> {
    Descriptor(io::stdout())
}

impl<F: AsFd> Descriptor<F> {
    /// Waits until a write would succeed, or fail. Returns whether that came in time.
    pub fn is_writable(&self, within: Option<Duration>) -> bool {
        let within = within.map(|within| Timespec::try_from(within).unwrap_or_default());
        let mut one = [PollFd::new(&self.0, PollFlags::OUT)];
        loop {
            match poll(&mut one, within.as_ref()) {
                Err(Errno::INTR) if within.is_none_or(|within| within == Timespec::default()) => {}
                // An interruption does not mean writable; a caller with time left calls again.
                ready => return ready.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

impl<F: AsFd> Write for Descriptor<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                Err(Errno::AGAIN) => {
                    self.is_writable(None);
                }
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use rustix::fs::{OFlags, fcntl_setfl};

    use super::*;

    #[test]
    fn a_non_blocking_pipe_is_waited_for() {
        let (mut reader, writer) = io::pipe().unwrap();
        fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        // More than a pipe holds.
        let sent = vec![b'x'; 1 << 18];
        let mut received = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| Descriptor(writer).write_all(&sent).unwrap());
            reader.read_to_end(&mut received).unwrap();
        });
        assert_eq!(received, sent);
    }

    #[test]
    fn a_full_pipe_is_not_writable_and_one_without_a_reader_is_an_error() {
        let (reader, writer) = io::pipe().unwrap();
        let mut writer = Descriptor(writer);
        while writer.is_writable(Some(Duration::ZERO)) {
            writer.write_all(&[0; 4096]).unwrap();
        }
        assert!(!writer.is_writable(Some(Duration::from_millis(1))));
        drop(reader);
        assert!(writer.is_writable(None));
        assert_eq!(writer.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
