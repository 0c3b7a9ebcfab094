//! How many lines wait for standard output, and since when: for metrics and `/readyz`.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::journal::State;

/// Lines that are made and not yet written.
#[derive(Debug, Default)]
pub struct Backlog {
    /// When the current write began, by `CLOCK_BOOTTIME`; 0 for none.
    since_ns: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
    journal: OnceLock<Journal>,
}

/// What is shown of a journal.
#[derive(Debug)]
struct Journal {
    file_bytes: AtomicU64,
    /// [`i64::MAX`] if all lines are delivered.
    oldest_ns: AtomicI64,
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
        self.rests();
        self.lines.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// The lines that wait in a journal, which counts them.
    pub fn holds(&self, state: &State) {
        self.lines.store(state.lines, Ordering::Relaxed);
        self.bytes.store(state.line_bytes, Ordering::Relaxed);
        let first = || Journal { file_bytes: AtomicU64::new(0), oldest_ns: AtomicI64::new(i64::MAX) };
        let journal = self.journal.get_or_init(first);
        journal.file_bytes.store(state.file_bytes, Ordering::Relaxed);
        journal.oldest_ns.store(state.oldest_ns.unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// Bytes of the journal's files, and the age of the oldest line that is not delivered; `None` without a journal.
    pub fn journal(&self, now_ns: u64) -> Option<(u64, u64)> {
        let journal = self.journal.get()?;
        let oldest_ns = journal.oldest_ns.load(Ordering::Relaxed);
        let age_ns = u64::try_from(now_ns.cast_signed().saturating_sub(oldest_ns)).unwrap_or(0);
        Some((journal.file_bytes.load(Ordering::Relaxed), age_ns))
    }

    /// No line is being written.
    pub fn rests(&self) {
        self.since_ns.store(0, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_shows_its_size_and_the_age_of_its_oldest_line() {
        let backlog = Backlog::default();
        assert_eq!(backlog.journal(9), None);
        let state =
            State { lines: 2, line_bytes: 70, file_bytes: 100, oldest_ns: Some(-3), ..State::default() };
        backlog.holds(&state);
        assert_eq!((backlog.lines(), backlog.bytes(), backlog.journal(9)), (2, 70, Some((100, 12))));
        backlog.holds(&State { oldest_ns: None, ..state });
        assert_eq!(backlog.journal(9), Some((100, 0)));
    }
}
