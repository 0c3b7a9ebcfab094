//! Lines that wait in files for the reader of standard output (`watch --journal DIR`).
//!
//! ```text
//! put --> Spool --> Store: segments, cursor
//!           |          |
//!           | memory   | files
//! take <----+----------+
//! ```
//!
//! Each line is in a file before it is taken ([`Spool`]), and `cursor` says up to where lines were delivered. So what a session did
//! not deliver, however it ended, the next one delivers, marked. Files have a fixed number ([`SLOTS`]) and are all opened at the
//! start: the agent gives up the right to open, create and remove files before it writes a line, so a segment that is used again is
//! cut, not removed. [`frame`] has the format, [`cursor`] the place of delivery, [`age`] the time; these are pure. `directory` is
//! the only module that knows paths.
//!
//! Loss is counted, never silent ([`Lost`]): lines that went for lack of room or because of their age, and lines that were damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub mod age;
pub mod cursor;
mod directory;
pub mod frame;
pub mod reading;
mod scan;
mod spool;
mod store;

pub use age::Now;
pub use directory::{Directory, open};
pub use spool::{Put, Spool, Taken};

/// Files of lines. The oldest goes where a new one is needed, so a full journal has at least fifteen sixteenths of its size.
pub const SLOTS: usize = 16;

/// Bounds of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All lines together.
    pub size_bytes: u64,
    /// Undelivered lines that are older are not delivered any more.
    pub age: Duration,
}

impl Limits {
    /// The smallest size: a segment has some lines.
    pub const LEAST_BYTES: u64 = 1 << 20;
    /// The largest size, all of which may be read at the start.
    pub const MOST_BYTES: u64 = 1 << 30;
}

/// A file, or what stands for one.
pub trait Storage: Send + Sync + 'static {
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of it.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;
    fn bytes(&self) -> io::Result<u64>;
    fn sync(&self) -> io::Result<()>;
}

impl Storage for File {
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, to, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The files of a journal.
#[derive(Debug)]
pub struct Files<S> {
    pub slots: Vec<S>,
    pub cursor: S,
    /// Which of them have bytes that may not be on the disk: a bit for each slot, then the cursor's.
    changed: AtomicU64,
}

impl<S: Storage> Files<S> {
    #[must_use]
    pub fn new(slots: Vec<S>, cursor: S) -> Self {
        Self { slots, cursor, changed: AtomicU64::new(0) }
    }

    fn touch(&self, file: usize) {
        self.changed.fetch_or(1 << file, Ordering::Relaxed);
    }

    /// Has the disk take what was written.
    ///
    /// # Errors
    /// The first error, after all were tried.
    pub fn sync(&self) -> io::Result<()> {
        let changed = self.changed.swap(0, Ordering::Relaxed);
        let files = self.slots.iter().chain([&self.cursor]).enumerate();
        let mut synced = Ok(());
        for (_, file) in files.filter(|(file, _)| changed & (1 << file) != 0) {
            synced = synced.and(file.sync());
        }
        synced
    }
}

/// Lines that were lost in a journal, in this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// They went, undelivered, for lack of room or because of their age.
    pub dropped: u64,
    /// They were damaged, cut off, or never written because the disk took nothing.
    pub damaged: u64,
}

/// What of a journal is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub lost: Lost,
    /// How often the files could not be written.
    pub failures: u64,
    /// Undelivered lines, the one that is being written included.
    pub lines: u64,
    /// Bytes of these lines.
    pub line_bytes: u64,
    /// Those of them that are in no file.
    pub unwritten: u64,
    /// Bytes in files, delivered lines included.
    pub file_bytes: u64,
    /// When the oldest undelivered line was written, by `CLOCK_BOOTTIME`: before the boot it is negative. The one that is being
    /// written counts as undelivered.
    pub oldest_ns: Option<i64>,
}
