//! Reads a segment entry by entry, through a window of bounded size.

use std::io;

use super::Storage;
use super::age::Stamp;
use super::frame::{self, Found, MOST_ENTRY_BYTES, PROLOGUE_BYTES};

/// More than an entry, so that each look finds one or gets ahead.
const WINDOW_BYTES: usize = 4 * MOST_ENTRY_BYTES;

/// Where the first entry of a segment is.
pub(super) const BEGIN: u64 = PROLOGUE_BYTES as u64;

/// An entry of a file.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) number: u64,
    pub(super) stamp: Stamp,
    /// Where it ends in the file.
    pub(super) end: u64,
    pub(super) line: &'a [u8],
}

/// The window.
#[derive(Debug, Default)]
pub(super) struct Scan {
    window: Vec<u8>,
    /// Where in the file it begins.
    at: u64,
}

impl Scan {
    /// The first whole entry at or after `from`, in a file whose entries end at `end`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(
        &mut self,
        file: &impl Storage,
        mut from: u64,
        end: u64,
    ) -> io::Result<Option<Entry<'_>>> {
        while from < end {
            let most = usize::try_from(end - from).unwrap_or(usize::MAX).min(WINDOW_BYTES);
            let inside = self.inside(from, most);
            // Only bytes of before can be in the window, and an entry that is in it whole stays as it is.
            let found = inside.and_then(|at| Some((at, frame::find(self.window.get(at..)?)?)));
            if let Some((at, found)) = found {
                return Ok(Some(self.entry(at, &found)));
            }
            self.fill(file, from, most)?;
            if let Some(found) = frame::find(&self.window) {
                return Ok(Some(self.entry(0, &found)));
            }
            if self.window.len() < WINDOW_BYTES {
                return Ok(None);
            }
            // What begins in the rest may be cut by the window's end.
            from += (WINDOW_BYTES - MOST_ENTRY_BYTES) as u64;
        }
        Ok(None)
    }

    /// Forgets the window, because the file is to have other bytes.
    pub(super) fn forget(&mut self) {
        self.window.clear();
    }

    /// Where `from` is in the window, if an entry of any length that begins there would be in it whole, or it is the file's rest.
    fn inside(&self, from: u64, most: usize) -> Option<usize> {
        let at = usize::try_from(from.checked_sub(self.at)?).ok()?;
        let rest = self.window.len().checked_sub(at)?;
        (rest >= most.min(MOST_ENTRY_BYTES)).then_some(at)
    }

    fn fill(&mut self, file: &impl Storage, from: u64, most: usize) -> io::Result<()> {
        self.window.resize(most, 0);
        self.at = from;
        let mut read = 0;
        while read < most {
            match file.read_at(&mut self.window[read..], from + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            }
        }
        self.window.truncate(read);
        Ok(())
    }

    fn entry(&self, at: usize, found: &Found) -> Entry<'_> {
        let line = at + found.line.start..at + found.line.end;
        Entry {
            number: found.number,
            stamp: found.stamp,
            end: self.at + line.end as u64,
            line: &self.window[line],
        }
    }
}
