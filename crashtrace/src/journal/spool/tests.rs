use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::journal::{SLOTS, cursor, frame};

/// Faults that storage has.
mod faults;

/// A disk in memory.
#[derive(Debug, Default)]
struct Disk {
    full: AtomicBool,
    unreadable: AtomicBool,
}

#[derive(Debug)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    disk: Arc<Disk>,
}

impl Storage for Memory {
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        if self.disk.unreadable.load(Ordering::Relaxed) {
            return Err(io::Error::other("a bad sector"));
        }
        let bytes = self.bytes.lock().unwrap();
        let from = bytes.get(at as usize..).unwrap_or_default();
        let length = from.len().min(to.len());
        to[..length].copy_from_slice(&from[..length]);
        Ok(length)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let full = self.disk.full.load(Ordering::Relaxed);
        let mut bytes = self.bytes.lock().unwrap();
        let (at, end) = (at as usize, at as usize + from.len());
        if full && end > bytes.len() {
            // Half of it, as a disk does.
            bytes.resize(at + from.len() / 2, 0);
            bytes[at..].copy_from_slice(&from[..from.len() / 2]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let whole = bytes.len().max(end);
        bytes.resize(whole, 0);
        bytes[at..end].copy_from_slice(from);
        Ok(())
    }

    fn set_bytes(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Files that outlive sessions.
fn files() -> Arc<Files<Memory>> {
    let disk = Arc::<Disk>::default();
    let file = || Memory { bytes: Mutex::default(), disk: disk.clone() };
    Arc::new(Files::new((0..SLOTS).map(|_| file()).collect(), file()))
}

const HOUR_NS: u64 = 3_600_000_000_000;

/// So many seconds after the boot.
fn at(seconds: u64) -> Now {
    Now { boot: 1, boottime_ns: seconds * 1_000_000_000, realtime_ns: 0 }
}

fn limits(size_bytes: u64) -> Limits {
    Limits { size_bytes, age: Duration::from_hours(24) }
}

const LARGE: Limits = Limits { size_bytes: 1 << 24, age: Duration::from_hours(24) };

fn session(files: &Arc<Files<Memory>>, limits: Limits) -> Spool<Memory> {
    Spool::open(files.clone(), limits, at(0)).unwrap()
}

fn line(number: u64) -> Vec<u8> {
    format!("{{\"line\":{number}}}\n").into_bytes()
}

fn number_of(line: &[u8]) -> u64 {
    let digits: Vec<_> = line.iter().copied().filter(u8::is_ascii_digit).collect();
    String::from_utf8(digits).unwrap().parse().unwrap()
}

/// Delivers all that is there: the numbers of the lines, and whether they are of a session before.
fn all(spool: &mut Spool<Memory>) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    while let Some(taken) = spool.take(at(0)) {
        all.push((number_of(&taken.line), taken.of_before));
        spool.done();
    }
    all
}

fn numbers(spool: &mut Spool<Memory>) -> Vec<u64> {
    all(spool).into_iter().map(|(number, _)| number).collect()
}

#[test]
fn lines_beyond_the_bound_of_memory_come_from_the_files_and_in_order() {
    let files = files();
    let mut spool = session(&files, LARGE);
    let mut long = line(1);
    long.resize(10_000, b' ');
    // A hundred of them are four times what may be in memory.
    for number in 1..=100 {
        long[..12].copy_from_slice(format!("{{\"line\":{number:03}}}").as_bytes());
        assert_eq!(spool.put(&long, at(0)), Put::Taken);
        assert!(spool.held_bytes <= MOST_BYTES);
    }
    let state = spool.state();
    assert_eq!((state.lines, state.line_bytes, state.unwritten), (100, 1_000_000, 0));
    assert!(state.file_bytes > 1_000_000);
    // More come when some are delivered, before all others are.
    assert_eq!(spool.take(at(0)).unwrap().line[..12], *b"{\"line\":001}");
    spool.done();
    spool.put(&line(101), at(0));
    assert_eq!(numbers(&mut spool), (2..=101).collect::<Vec<_>>());
    assert_eq!(spool.state(), State { file_bytes: spool.state().file_bytes, ..State::default() });
}

#[test]
fn delivered_lines_take_no_room() {
    let files = files();
    let mut spool = session(&files, limits(64 * 1024));
    for number in 0..10_000 {
        spool.put(&line(number), at(0));
        assert_eq!(numbers(&mut spool), [number]);
    }
    // The segment that is written to, and no other.
    let used: u64 = files.slots.iter().map(|file| file.bytes().unwrap()).sum();
    assert!(used <= 64 * 1024 / SLOTS as u64, "{used}");
    assert_eq!(spool.state().lost, Lost::default());
}

#[test]
fn the_oldest_go_where_there_is_no_room_and_are_counted_at_once() {
    let files = files();
    let mut spool = session(&files, limits(16 * 1024));
    // One is being delivered all the time.
    spool.put(&line(0), at(0));
    let given = spool.take(at(0)).unwrap();
    for number in 1..=1000 {
        spool.put(&line(number), at(0));
    }
    let dropped = spool.state().lost.dropped;
    assert!(dropped > 500, "{dropped}");
    assert!(spool.state().file_bytes <= 16 * 1024);
    assert_eq!((spool.state().lines, spool.state().unwritten), (1001 - dropped, 1));
    assert_eq!(given.line, line(0));
    spool.done();
    assert_eq!(numbers(&mut spool), (dropped + 1..=1000).collect::<Vec<_>>());
    // What was told is not told again.
    assert_eq!(spool.state().lost, Lost { dropped, damaged: 0 });
    assert_eq!(session(&files, limits(16 * 1024)).state().lost, Lost::default());
}

/// And a session that is killed meanwhile tells no line again that the one before has told.
#[test]
fn dropped_lines_are_told_by_one_session() {
    let files = files();
    let mut spool = session(&files, limits(16 * 1024));
    for number in 1..=1000 {
        spool.put(&line(number), at(0));
    }
    let dropped = spool.state().lost.dropped;
    drop(spool);
    let mut next = session(&files, limits(16 * 1024));
    assert_eq!(numbers(&mut next), (dropped + 1..=1000).collect::<Vec<_>>());
    assert_eq!(next.state().lost, Lost::default());
}

#[test]
fn lines_that_are_too_old_are_dropped_and_counted() {
    let files = files();
    let mut spool = session(&files, LARGE);
    let hours = |hours: u64| Now { boottime_ns: hours * HOUR_NS, ..at(0) };
    spool.put(&line(1), hours(0));
    spool.put(&line(2), hours(10));
    assert_eq!(spool.state().lost.dropped, 0);
    assert_eq!(spool.take(hours(30)).unwrap().line, line(2));
    assert_eq!(spool.state().lost, Lost { dropped: 1, damaged: 0 });
    assert_eq!(spool.state().oldest_ns, Some(10 * HOUR_NS.cast_signed()));
    drop(spool);
    // Another session of this boot, after the wall clock went back.
    let now = Now { realtime_ns: -5, ..hours(40) };
    let mut next = Spool::open(files.clone(), LARGE, now).unwrap();
    assert_eq!(next.take(now), None);
    assert_eq!(next.state().lost, Lost { dropped: 1, damaged: 0 });
    // The files are cut, too.
    assert_eq!(files.slots.iter().map(|file| file.bytes().unwrap()).sum::<u64>(), 0);
    next.put(&line(3), now);
    assert_eq!(next.take(now).unwrap().line, line(3));
}

/// Something that happens to a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Put,
    /// The next line is given to the reader, who does not read for a while.
    Give,
    Deliver,
    /// The session is killed, and another begins.
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Put),
        2 => Just(Step::Give),
        6 => Just(Step::Deliver),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn each_line_is_delivered_once_and_in_order_or_counted(steps in steps(), size in 11_u64..17) {
        let (files, limits) = (files(), limits(1 << size));
        let mut spool = session(&files, limits);
        let (mut made, mut own, mut dropped, mut delivered) = (0, 0, 0, Vec::new());
        let mut given = None;
        for step in steps {
            if step == Step::Put {
                spool.put(&line(made), at(0));
                made += 1;
            }
            if matches!(step, Step::Give | Step::Deliver) && given.is_none() {
                given = spool.take(at(0));
                let mark = given.as_ref().map(|taken| (taken.of_before, number_of(&taken.line) < own));
                prop_assert!(mark.is_none_or(|(is, should)| is == should), "{:?}", mark);
            }
            if step == Step::Deliver && let Some(taken) = given.take() {
                delivered.push(number_of(&taken.line));
                spool.done();
            }
            if step == Step::Kill {
                // A line in the reader's hands whose segment has gone is in no file.
                given = None;
                dropped += spool.state().lost.dropped + spool.state().unwritten;
                prop_assert_eq!(spool.state().lost.damaged, 0);
                spool = session(&files, limits);
                own = made;
            }
        }
        if let Some(taken) = given {
            delivered.push(number_of(&taken.line));
            spool.done();
        }
        delivered.extend(numbers(&mut spool));
        dropped += spool.state().lost.dropped;
        prop_assert_eq!(spool.state().lost.damaged, 0);
        prop_assert!(delivered.is_sorted_by(|a, b| a < b), "{:?}", delivered);
        prop_assert_eq!(delivered.len() as u64 + dropped, made);
        prop_assert_eq!((spool.state().lines, spool.state().line_bytes), (0, 0));
    }
}
