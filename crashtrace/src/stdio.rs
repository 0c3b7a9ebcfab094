//! Standard output and standard error as they are: no buffer, no lock, and each error is told.
//!
//! The standard library's own handles take a closed descriptor for one that takes everything, and panic (`eprintln`) or give up
//! (`EAGAIN`) where the other end does not take what is written. Whether descriptors block is not this process's to say: whoever
//! shares a pipe or a terminal with it may have set `O_NONBLOCK` on it.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Writes all of this to standard output.
///
/// # Errors
/// Those that [`ended`] passes on.
pub fn print(bytes: &[u8]) -> Result<()> {
    stdout().write_all(bytes).or_else(ended)
}

/// What an error of writing to standard output comes to: a reader who has closed it wants no more, and that is a good end.
///
/// # Errors
/// Any other error.
pub fn ended(error: io::Error) -> Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(error).context("cannot write to the standard output")
}

/// Writes to a descriptor; waits where it is not to block.
#[derive(Debug)]
pub struct Descriptor<F>(pub F);

/// Standard output.
#[must_use]
pub fn stdout() -> Descriptor<io::Stdout> {
    Descriptor(io::stdout())
}

impl<F: AsFd> Descriptor<F> {
    /// Waits until something can be written, or an error is there to be had by writing. Says whether that came in time.
    pub fn is_writable(&self, within: Option<Duration>) -> bool {
        let within = within.map(|within| Timespec::try_from(within).unwrap_or_default());
        let mut one = [PollFd::new(&self.0, PollFlags::OUT)];
        loop {
            match poll(&mut one, within.as_ref()) {
                Err(Errno::INTR) if within.is_none_or(|within| within == Timespec::default()) => {}
                // Interrupted is not writable yet; a caller with time left asks again.
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
    fn a_pipe_that_does_not_block_is_waited_for() {
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
