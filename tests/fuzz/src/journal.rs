//! The files of a journal, as a crash, a disk or another program may have left them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crashtrace::journal::{Files, Limits, Now, Put, SLOTS, Spool, Storage};

const LIMITS: Limits = Limits { size_bytes: Limits::LEAST_BYTES, age: Duration::from_hours(24) };
const NOW: Now = Now { boot: 7, boottime_ns: 5_000_000_000, realtime_ns: 1_764_000_000_000_000_000 };

/// A line of this session, after those that are found.
const OWN: &[u8] = b"{\"kind\":\"incident\"}\n";

/// A file in memory.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(bytes.to_vec())))
    }

    fn with<T>(&self, body: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for Memory {
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        self.with(|bytes| {
            let from = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let length = from.len().min(to.len());
            to[..length].copy_from_slice(&from[..length]);
            Ok(length)
        })
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        self.with(|bytes| {
            let whole = bytes.len().max(at + from.len());
            bytes.resize(whole, 0);
            bytes[at..at + from.len()].copy_from_slice(from);
            Ok(())
        })
    }

    fn set_bytes(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.with(|bytes| bytes.resize(length, 0));
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The cursor first, then the files of lines, each behind its length in two bytes. Whatever is in them, a line of this session is
/// taken, comes after what was found, and the next session finds nothing that was delivered.
pub(crate) fn journal(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut next = || {
        let (length, behind) = rest.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let (file, behind) = behind.split_at(usize::from(u16::from_le_bytes(*length)).min(behind.len()));
        rest = behind;
        Memory::of(file)
    };
    let cursor = next();
    let slots: Vec<_> = (0..SLOTS).map(|_| next()).collect();
    let open = || Spool::open(Arc::new(Files::new(slots.clone(), cursor.clone())), LIMITS, NOW);
    let Ok(mut spool) = open() else { return false };
    assert_eq!(spool.put(OWN, NOW), Put::Taken);
    let (mut found, mut own) = (0, 0);
    while let Some(line) = spool.take(NOW) {
        if line.of_before {
            assert_eq!(own, 0, "a line of before comes after one of this session");
            found += 1;
        } else {
            assert_eq!(line.line, OWN);
            own += 1;
        }
        spool.done();
    }
    assert_eq!(own, 1, "the line of this session");
    drop(spool);
    let mut again = open().expect("files that were read before");
    assert_eq!(again.take(NOW), None, "delivered lines are not delivered again");
    found > 0
}

/// Files with these lines of an earlier session.
pub(crate) fn with_lines(lines: &[&[u8]]) -> Vec<u8> {
    let cursor = Memory::default();
    let slots: Vec<_> = (0..SLOTS).map(|_| Memory::default()).collect();
    let mut spool = Spool::open(Arc::new(Files::new(slots.clone(), cursor.clone())), LIMITS, NOW)
        .expect("empty files are a journal");
    for line in lines {
        assert_eq!(spool.put(line, NOW), Put::Taken);
    }
    drop(spool);
    let file = |file: &Memory| {
        file.with(|bytes| {
            let length = u16::try_from(bytes.len()).expect("a short file");
            [&length.to_le_bytes(), bytes.as_slice()].concat()
        })
    };
    let mut all = file(&cursor);
    all.extend(slots.iter().flat_map(file));
    all
}
