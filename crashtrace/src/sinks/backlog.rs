//! How many lines wait for standard output, and since when: for metrics and `/readyz`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Lines that are made and not yet written.
#[derive(Debug, Default)]
pub struct Backlog {
    /// When the current write began, by `CLOCK_BOOTTIME`; 0 for none.
    since_ns: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
}

impl Backlog {
    /// A line was made.
    pub fn waits(&self, bytes: usize) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The next line is being written.
    pub fn begins(&self, now_ns: u64) {
        self.since_ns.store(now_ns.max(1), Ordering::Relaxed);
    }

    /// The line is written.
    pub fn ends(&self, bytes: usize) {
        self.since_ns.store(0, Ordering::Relaxed);
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// How many lines wait, including the one that is being written.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Bytes of these lines.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long the current write has taken.
    pub fn blocked_ns(&self, now_ns: u64) -> u64 {
        match self.since_ns.load(Ordering::Relaxed) {
            0 => 0,
            since => now_ns.saturating_sub(since),
        }
    }
}
