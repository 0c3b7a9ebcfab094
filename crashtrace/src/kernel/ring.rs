//! Records from the running kernel.

use std::collections::VecDeque;
use std::io;

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use tokio::io::unix::AsyncFd;

/// The ring of records, awaitable. Wakes only when there is a record.
#[derive(Debug)]
pub struct Ring {
    ready: AsyncFd<Ready>,
    /// Records of another ring, which come first.
    earlier: VecDeque<Bytes>,
}

/// A record that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Of a ring before this one.
    Earlier(Bytes),
    Own(Bytes),
}

struct Ready(RingBuf<MapData>);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RingBuf")
    }
}

impl std::os::fd::AsRawFd for Ready {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Ring {
    /// Registers the ring with the runtime. The records of an `earlier` one come first; they do not wake.
    ///
    /// # Errors
    /// Called outside of a runtime, or epoll refuses.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; the ring owns its descriptor until it is dropped"
    )]
    pub fn new(ring: RingBuf<MapData>, earlier: Vec<Bytes>) -> io::Result<Self> {
        Ok(Self { ready: AsyncFd::new(Ready(ring))?, earlier: earlier.into() })
    }

    /// Waits until there may be a record. Cancel-safe.
    ///
    /// # Errors
    /// epoll failed.
    pub async fn readable(&mut self) -> io::Result<()> {
        let mut guard = self.ready.readable_mut().await?;
        // The ring is drained after each wake-up, and epoll says so again when there is more.
        guard.clear_ready();
        Ok(())
    }

    /// The next record, if there is one.
    ///
    /// Copied out, so that its place in the ring is free before the record is processed.
    pub fn take(&mut self) -> Option<Taken> {
        if let Some(record) = self.earlier.pop_front() {
            return Some(Taken::Earlier(record));
        }
        self.ready.get_mut().0.next().map(|item| Taken::Own(Bytes::copy_from_slice(&item)))
    }

    /// Whether no record of an earlier ring is left.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.earlier.is_empty()
    }
}
