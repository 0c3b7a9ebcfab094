//! Records from the running kernel.

use std::io;

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use tokio::io::unix::AsyncFd;

/// The ring of records, awaitable. Wakes only when there is a record.
#[derive(Debug)]
pub struct Ring(AsyncFd<Ready>);

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
    /// Registers the ring with the runtime.
    ///
    /// # Errors
    /// Called outside of a runtime, or epoll refuses.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; the ring owns its descriptor until it is dropped"
    )]
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        AsyncFd::new(Ready(ring)).map(Self)
    }

    /// Waits until there may be a record. Cancel-safe.
    ///
    /// # Errors
    /// epoll failed.
    pub async fn readable(&mut self) -> io::Result<()> {
        let mut guard = self.0.readable_mut().await?;
        // The ring is drained after each wake-up, and epoll says so again when there is more.
        guard.clear_ready();
        Ok(())
    }

    /// The next record, if there is one.
    ///
    /// Copied out, so that its place in the ring is free before the record is processed.
    pub fn take(&mut self) -> Option<Bytes> {
        self.0.get_mut().0.next().map(|item| Bytes::copy_from_slice(&item))
    }
}
