//! Lines on their way from the loop to the reader: in the journal's files, and the first of them in memory as well, where there is
//! room. Numbers hold both together: the next line is the one in memory if it has the next number, else the next one in the files.
//!
//! While the files take nothing (a full disk), lines are in memory alone, and the spool is full when that is. They are written
//! once the files take lines again.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::age::{Now, Stamp};
use super::store::{OpenError, Opened, Place, Store};
use super::{Files, Limits, Lost, State, Storage};

/// Bytes of lines that may be in memory.
const MOST_BYTES: usize = 256 * 1024;
/// How long the files are left alone after they took nothing.
const PAUSE_NS: u64 = 1_000_000_000;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Taken,
    /// The files take nothing, and there is no room in memory.
    Full,
}

/// A line to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub line: Vec<u8>,
    /// An earlier session made it.
    pub of_before: bool,
}

/// A line in memory.
#[derive(Debug)]
struct Held {
    number: u64,
    stamp: Stamp,
    line: Vec<u8>,
    /// What comes after it in the files; `None` if it is in none.
    place: Option<Place>,
}

/// A line that is being delivered.
#[derive(Debug)]
struct Given {
    number: u64,
    stamp: Stamp,
    bytes: usize,
    place: Option<Place>,
    /// When it was written, by `CLOCK_BOOTTIME`.
    since_ns: i64,
    /// It is in no file.
    unwritten: bool,
}

/// The lines of a session and those that the sessions before have left.
#[derive(Debug)]
pub struct Spool<S> {
    store: Store<S>,
    held: VecDeque<Held>,
    held_bytes: usize,
    given: Option<Given>,
    /// Number of the next line to deliver.
    want: u64,
    /// Number of the next line to take.
    next: u64,
    /// The first number of this session.
    own: u64,
    /// Since when the files take nothing.
    paused_ns: Option<u64>,
    /// The cursor could not be written.
    cursor_fails: bool,
    lost: Lost,
    failures: u64,
}

impl<S: Storage> Spool<S> {
    /// Reads what the sessions before have left.
    ///
    /// # Errors
    /// The files cannot be read, or are another version's.
    pub fn open(files: Arc<Files<S>>, limits: Limits, now: Now) -> Result<Self, OpenError> {
        let Opened { store, want, next } = Store::open(files, limits, now)?;
        Ok(Self {
            store,
            held: VecDeque::new(),
            held_bytes: 0,
            given: None,
            want,
            next,
            own: next,
            paused_ns: None,
            cursor_fails: false,
            lost: Lost::default(),
            failures: 0,
        })
    }

    /// The files, to have them synced.
    #[must_use]
    pub fn files(&self) -> Arc<Files<S>> {
        self.store.files.clone()
    }

    /// What is in it.
    #[must_use]
    pub fn state(&self) -> State {
        let (mut lines, mut line_bytes) = self.store.waiting();
        let held = self.held.iter().filter(|held| held.place.is_none()).map(|held| held.line.len());
        let given = self.given.iter().filter(|given| given.unwritten).map(|given| given.bytes);
        let (mut unwritten, mut unwritten_bytes) = (0, 0);
        for bytes in held.chain(given) {
            unwritten += 1;
            unwritten_bytes += bytes as u64;
        }
        lines += unwritten;
        line_bytes += unwritten_bytes;
        State {
            lost: self.lost,
            failures: self.failures,
            lines,
            line_bytes,
            unwritten,
            file_bytes: self.store.file_bytes(),
            oldest_ns: self.given.as_ref().map(|given| given.since_ns),
        }
    }

    /// Takes a line. It is in a file then, unless the files take nothing.
    pub fn put(&mut self, line: &[u8], now: Now) -> Put {
        let stamp = self.store.stamp(now);
        self.store.expire(stamp);
        let place = self.written(stamp, line);
        self.account();
        let has_room = self.held_bytes + line.len() <= MOST_BYTES || self.held.is_empty();
        if place.is_none() && !has_room {
            return Put::Full;
        }
        if has_room {
            self.held_bytes += line.len();
            self.held.push_back(Held { number: self.next, stamp, line: line.to_vec(), place });
        }
        self.next = self.next.saturating_add(1);
        Put::Taken
    }

    /// Gives the next line to deliver, if there is one. [`Self::done`] is to follow.
    pub fn take(&mut self, now: Now) -> Option<Taken> {
        let now = self.store.stamp(now);
        self.store.expire(now);
        self.account();
        loop {
            let (mut given, line) = self.next_line()?;
            let is_old = self.store.is_old(given.stamp, now);
            let age_ns = now.journal_ns.saturating_sub(given.stamp.journal_ns);
            given.since_ns = now.at.boottime_ns.cast_signed().saturating_sub_unsigned(age_ns);
            let of_before = given.number < self.own;
            self.given = Some(given);
            if !is_old {
                return Some(Taken { line, of_before });
            }
            self.lost.dropped += 1;
            self.done();
        }
    }

    /// The line that was given last is delivered.
    pub fn done(&mut self) {
        let Some(given) = self.given.take() else { return };
        self.want = self.want.max(given.number.saturating_add(1));
        let passed = self.store.passed(given.number, given.bytes, given.place, self.want);
        self.cursor_written(&passed);
    }

    fn next_line(&mut self) -> Option<(Given, Vec<u8>)> {
        loop {
            let first_held = self.held.front().map(|held| held.number);
            if first_held == Some(self.want) {
                let held = self.held.pop_front()?;
                self.held_bytes -= held.line.len();
                let Held { number, stamp, line, place } = held;
                let given = Given {
                    number,
                    stamp,
                    bytes: line.len(),
                    place,
                    since_ns: 0,
                    unwritten: place.is_none(),
                };
                return Some((given, line));
            }
            if self.want >= self.next {
                return None;
            }
            let stored = self.store.read(self.want);
            let stored = stored.filter(|stored| first_held.is_none_or(|held| stored.number < held));
            let found = stored.as_ref().map(|stored| stored.number).or(first_held).unwrap_or(self.next);
            let given = stored.map(|it| {
                let (bytes, place) = (it.line.len(), Some(it.place));
                let given =
                    Given { number: it.number, stamp: it.stamp, bytes, place, since_ns: 0, unwritten: false };
                (given, it.line.to_vec())
            });
            if found > self.want {
                let missing = found - self.want;
                tracing::warn!(missing, "lines of the journal are damaged or missing");
                self.lost.damaged = self.lost.damaged.saturating_add(missing);
                self.want = found;
            }
            if given.is_some() {
                return given;
            }
        }
    }

    /// Writes a line to the files, unless they take nothing; before it those that are in memory alone.
    fn written(&mut self, stamp: Stamp, line: &[u8]) -> Option<Place> {
        let now_ns = stamp.at.boottime_ns;
        if self.paused_ns.is_some_and(|since| now_ns.saturating_sub(since) < PAUSE_NS) {
            return None;
        }
        let written = self.write_held().and_then(|()| self.store.append(self.next, stamp, line));
        match written {
            Ok(place) => {
                if self.paused_ns.take().is_some() {
                    tracing::warn!("the journal can be written again");
                }
                Some(place)
            }
            Err(error) => {
                if self.paused_ns.is_none() {
                    tracing::warn!(
                        %error,
                        "the journal cannot be written: until it can, lines are in memory alone, and wait in the ring of records \
                         when standard output is not read"
                    );
                    self.failures = self.failures.saturating_add(1);
                }
                self.paused_ns = Some(now_ns);
                None
            }
        }
    }

    /// Only the last lines can be in memory alone.
    fn write_held(&mut self) -> io::Result<()> {
        for held in self.held.iter_mut().filter(|held| held.place.is_none()) {
            held.place = Some(self.store.append(held.number, held.stamp, &held.line)?);
        }
        Ok(())
    }

    /// Counts the lines that went. Those of them that are in memory go too, since a session after this one could not deliver them,
    /// and their number is told here.
    fn account(&mut self) {
        let went = self.store.went();
        if went.behind <= self.want {
            return;
        }
        // The line that is being delivered is not lost, but in no file any more.
        let given = self.given.as_mut().filter(|given| given.number < went.behind && !given.unwritten);
        let lost = went.lines.saturating_sub(u64::from(given.is_some()));
        if let Some(given) = given {
            given.unwritten = true;
        }
        self.lost.dropped = self.lost.dropped.saturating_add(lost);
        while let Some(held) = self.held.pop_front_if(|held| held.number < went.behind) {
            self.held_bytes -= held.line.len();
        }
        self.want = went.behind;
        let moved = self.store.move_to(self.want);
        self.cursor_written(&moved);
        tracing::warn!(lines = lost, "the journal dropped lines that were not delivered");
    }

    fn cursor_written(&mut self, written: &io::Result<()>) {
        if let Err(error) = written
            && !self.cursor_fails
        {
            tracing::warn!(%error, "the journal's cursor cannot be written: lines may be delivered again after a restart");
            self.failures = self.failures.saturating_add(1);
        }
        self.cursor_fails = written.is_err();
    }
}

#[cfg(test)]
mod tests;
