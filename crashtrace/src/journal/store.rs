//! The files of a journal: segments of lines, the oldest of which go first, and the cursor.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::age::{Clock, Now, Stamp};
use super::frame::{self, Prologue};
use super::scan::{BEGIN, Scan};
use super::{Files, Limits, SLOTS, Storage, cursor};

/// A file with lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    slot: usize,
    /// Numbers of its first and its last line.
    first: u64,
    last: u64,
    /// When the last was written.
    newest: Stamp,
    /// Where its last entry ends.
    end: u64,
    /// Undelivered lines.
    lines: u64,
    /// Bytes of these.
    line_bytes: u64,
}

/// Where reading goes on: in the segment with this first line, from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    first: u64,
    at: u64,
}

/// Lines that went undelivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Went {
    pub(super) lines: u64,
    /// The first number behind them.
    pub(super) behind: u64,
}

/// A line that was read.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) number: u64,
    pub(super) stamp: Stamp,
    pub(super) line: &'a [u8],
    /// What comes next.
    pub(super) place: Place,
}

#[derive(Debug)]
pub(super) struct Store<S> {
    pub(super) files: Arc<Files<S>>,
    limits: Limits,
    clock: Clock,
    /// In the order of their lines. The last one is written to.
    segments: VecDeque<Segment>,
    /// Slots without undelivered lines.
    free: VecDeque<usize>,
    place: Option<Place>,
    scan: Scan,
    /// The slot that `scan` has read.
    scanned: Option<usize>,
    /// How often the cursor was written.
    turn: u64,
    went: Went,
    /// The files took nothing when they were last written to.
    refuses: bool,
}

/// Why a journal cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// It has another version of the format.
    Version(u32),
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A journal as it was found.
pub(super) struct Opened<S> {
    pub(super) store: Store<S>,
    /// Number of the next line to deliver.
    pub(super) want: u64,
    /// Number of the next line to write.
    pub(super) next: u64,
}

impl<S: Storage> Store<S> {
    /// Reads the files. Nothing is written unless all are of this version.
    pub(super) fn open(files: Arc<Files<S>>, limits: Limits, now: Now) -> Result<Opened<S>, OpenError> {
        let cursor = read_all(&files.cursor, cursor::BYTES)?;
        check_version(&cursor)?;
        for slot in &files.slots {
            check_version(&read_all(slot, frame::PROLOGUE_BYTES)?)?;
        }
        let delivered = cursor::read(&cursor);
        let (mut found, mut free, mut latest_ns) = (Vec::new(), VecDeque::new(), i64::MIN);
        for (slot, file) in files.slots.iter().enumerate() {
            match segment(slot, file, delivered.unwrap_or_default(), &mut latest_ns)? {
                Some(segment) => found.push(segment),
                None => free.push_back(slot),
            }
        }
        found.sort_by_key(|segment| segment.first);
        let last = found.last().copied();
        let want = delivered.or(found.first().map(|first| first.first)).unwrap_or(1);
        let mut next = last.map_or(1, |last| last.last.saturating_add(1));
        if let Some(last) = last
            && files.slots[last.slot].bytes()? > last.end
        {
            // The rest of a line that was cut off: its number is not used again, so its loss shows. If it cannot be removed here,
            // it is written over.
            let _ = files.slots[last.slot].set_bytes(last.end);
            next = next.saturating_add(1);
        }
        let mut store = Self {
            limits,
            clock: Clock::resume(last.map(|last| (last.newest, latest_ns)), now),
            segments: found.into(),
            free,
            place: None,
            scan: Scan::default(),
            scanned: None,
            turn: want,
            went: Went::default(),
            refuses: false,
            files,
        };
        if cursor.len() < cursor::BYTES || delivered.is_none() {
            // On a full disk it is written later, or not: then lines are delivered again, which is better than none.
            let _ = store.files.cursor.write_at(&cursor::new(), 0).and_then(|()| store.move_to(want));
        }
        store.release(want);
        Ok(Opened { store, want, next: next.max(want) })
    }

    pub(super) fn stamp(&self, now: Now) -> Stamp {
        self.clock.stamp(now)
    }

    /// Writes a line with the next number.
    ///
    /// # Errors
    /// The file did not take it.
    pub(super) fn append(&mut self, number: u64, stamp: Stamp, line: &[u8]) -> io::Result<Place> {
        let written = self.write(number, stamp, line);
        self.refuses = written.is_err();
        written
    }

    fn write(&mut self, number: u64, stamp: Stamp, line: &[u8]) -> io::Result<Place> {
        let entry = frame::entry(number, stamp, line)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the line is too long"))?;
        let length = entry.len() as u64;
        let has_room = |segment: &&mut Segment| segment.end + length <= self.limits.size_bytes / SLOTS as u64;
        if let Some(segment) = self.segments.back_mut().filter(has_room) {
            write(&self.files, segment.slot, &entry, segment.end)?;
            segment.last = number;
            segment.newest = stamp;
            segment.end += length;
            segment.lines += 1;
            segment.line_bytes += line.len() as u64;
            return Ok(Place { first: segment.first, at: segment.end });
        }
        if self.free.is_empty() {
            self.drop_oldest();
        }
        let Some(slot) = self.free.front().copied() else {
            return Err(io::Error::other("the journal has no file"));
        };
        self.files.slots[slot].set_bytes(0)?;
        self.files.slots[slot].write_at(&frame::prologue(), 0)?;
        write(&self.files, slot, &entry, BEGIN)?;
        self.free.pop_front();
        let (end, line_bytes) = (BEGIN + length, line.len() as u64);
        self.segments.push_back(Segment {
            slot,
            first: number,
            last: number,
            newest: stamp,
            end,
            lines: 1,
            line_bytes,
        });
        Ok(Place { first: number, at: end })
    }

    /// The first line from number `want` on that can be read.
    pub(super) fn read(&mut self, want: u64) -> Option<Stored<'_>> {
        let mut found = None;
        'segments: for segment in self.segments.iter_mut().filter(|segment| segment.last >= want) {
            if self.scanned != Some(segment.slot) {
                self.scan.forget();
                self.scanned = Some(segment.slot);
            }
            let mut at = self.place.filter(|place| place.first == segment.first).map_or(BEGIN, |it| it.at);
            loop {
                match self.scan.next(&self.files.slots[segment.slot], at, segment.end) {
                    Ok(Some(entry)) if entry.number < want => at = entry.end,
                    Ok(Some(_)) => {
                        found = Some((*segment, at));
                        break 'segments;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "a file of the journal cannot be read");
                        break;
                    }
                }
            }
            // Nothing more can be read of it.
            (segment.lines, segment.line_bytes) = (0, 0);
        }
        let (segment, at) = found?;
        // The window has it: this reads no file.
        let entry = self.scan.next(&self.files.slots[segment.slot], at, segment.end).ok()??;
        let place = Place { first: segment.first, at: entry.end };
        Some(Stored { number: entry.number, stamp: entry.stamp, line: entry.line, place })
    }

    /// A line was delivered, or is not to be; `want` is the next.
    ///
    /// # Errors
    /// The cursor cannot be written.
    pub(super) fn passed(
        &mut self,
        number: u64,
        bytes: usize,
        place: Option<Place>,
        want: u64,
    ) -> io::Result<()> {
        let mut segments = self.segments.iter_mut();
        if let Some(segment) = segments.find(|it| (it.first..=it.last).contains(&number)) {
            segment.lines = segment.lines.saturating_sub(1);
            segment.line_bytes = segment.line_bytes.saturating_sub(bytes as u64);
        }
        self.place = place.or(self.place);
        self.release(want);
        self.move_to(want)
    }

    /// Writes the cursor.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn move_to(&mut self, want: u64) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        let (at, bytes) = cursor::place(want, self.turn);
        self.files.cursor.write_at(&bytes, at as u64)?;
        self.files.touch(SLOTS);
        Ok(())
    }

    /// Drops the segments whose lines are all older than the limit.
    pub(super) fn expire(&mut self, now: Stamp) {
        while self.segments.front().is_some_and(|oldest| self.is_old(oldest.newest, now)) {
            self.drop_oldest();
        }
    }

    /// Whether a line is too old to be delivered.
    pub(super) fn is_old(&self, line: Stamp, now: Stamp) -> bool {
        let limit_ns = u64::try_from(self.limits.age.as_nanos()).unwrap_or(u64::MAX);
        now.journal_ns.saturating_sub(line.journal_ns) > limit_ns
    }

    /// Lines that went undelivered since the last call.
    pub(super) fn went(&mut self) -> Went {
        std::mem::take(&mut self.went)
    }

    /// Undelivered lines in files, and their bytes.
    pub(super) fn waiting(&self) -> (u64, u64) {
        self.segments.iter().fold((0, 0), |(lines, bytes), it| (lines + it.lines, bytes + it.line_bytes))
    }

    /// Bytes of the files.
    pub(super) fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.went.lines += oldest.lines;
            self.went.behind = oldest.last.saturating_add(1);
            self.free_slot(oldest.slot);
        }
    }

    /// Frees the segments whose lines are all delivered, but for the one that is written to; that too if the disk needs the room.
    fn release(&mut self, want: u64) {
        while (self.segments.len() > 1 || self.refuses)
            && let Some(oldest) = self.segments.pop_front_if(|oldest| oldest.last < want)
        {
            self.free_slot(oldest.slot);
        }
    }

    fn free_slot(&mut self, slot: usize) {
        if self.scanned == Some(slot) {
            self.scanned = None;
        }
        // It only gives room back: the numbers in it tell the next session that its lines were delivered.
        let _ = self.files.slots[slot].set_bytes(0);
        self.files.touch(slot);
        self.free.push_back(slot);
    }
}

fn write<S: Storage>(files: &Files<S>, slot: usize, entry: &[u8], at: u64) -> io::Result<()> {
    let file = &files.slots[slot];
    let written = file.write_at(entry, at);
    if written.is_err() {
        // A part of it may be there. If it stays, it is written over, or the next session takes it for a line that was cut off.
        let _ = file.set_bytes(at);
    }
    files.touch(slot);
    written
}

fn check_version(bytes: &[u8]) -> Result<(), OpenError> {
    match frame::read_prologue(bytes) {
        Prologue::Other(version) => Err(OpenError::Version(version)),
        Prologue::Ours | Prologue::Missing => Ok(()),
    }
}

fn read_all(file: &impl Storage, most: usize) -> io::Result<Vec<u8>> {
    let (mut bytes, mut read) = (vec![0; most], 0);
    while read < most {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// What is in a file, if it has lines. `latest_ns` becomes the latest wall clock time.
fn segment(
    slot: usize,
    file: &impl Storage,
    delivered: u64,
    latest_ns: &mut i64,
) -> io::Result<Option<Segment>> {
    let (mut scan, mut at, bytes) = (Scan::default(), 0, file.bytes()?);
    let mut segment: Option<Segment> = None;
    loop {
        let entry = match scan.next(file, at, bytes) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a file of the journal cannot be read to its end");
                break;
            }
        };
        at = entry.end;
        *latest_ns = (*latest_ns).max(entry.stamp.at.realtime_ns);
        let (number, newest) = (entry.number, entry.stamp);
        let segment = segment.get_or_insert(Segment {
            slot,
            first: number,
            last: number,
            newest,
            end: at,
            lines: 0,
            line_bytes: 0,
        });
        (segment.last, segment.newest, segment.end) = (segment.last.max(number), newest, at);
        if number >= delivered {
            segment.lines += 1;
            segment.line_bytes += entry.line.len() as u64;
        }
    }
    Ok(segment)
}
