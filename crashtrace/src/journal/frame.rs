//! The bytes of the journal's files. PURE.
//!
//! A file begins with a prologue: a magic, the format's version, and a checksum of both. That much stays the same in all versions,
//! so an older agent recognises a newer journal. Entries follow, without space between them; all numbers are little-endian:
//!
//! | bytes | is |
//! |---|---|
//! | 4 | `MARK`: it has a zero byte, which no line has, so it is found again after damage |
//! | 4 | length of the line |
//! | 8 | number of the line in the journal, from 1 |
//! | 8, 8, 8, 8 | [`Stamp`]: journal time, boot, `CLOCK_BOOTTIME`, `CLOCK_REALTIME` |
//! | 4 | CRC-32 of the line |
//! | 4 | CRC-32 of this header up to here |
//! | length | the line |
//!
//! The header has a checksum of its own: so a damaged line costs only itself, and a look at a wrong mark costs 52 bytes.

use std::ops::Range;

use super::age::{Now, Stamp};

/// The format's version.
pub const VERSION: u32 = 1;
/// Bytes before the first entry.
pub const PROLOGUE_BYTES: usize = 16;
/// Bytes of an entry before its line.
pub const HEADER_BYTES: usize = 56;
/// Bytes of the longest line.
pub const MOST_LINE_BYTES: usize = 16 * 1024;
/// Bytes of the longest entry.
pub const MOST_ENTRY_BYTES: usize = HEADER_BYTES + MOST_LINE_BYTES;

const MAGIC: [u8; 8] = *b"ctlines\n";
const MARK: [u8; 4] = [0xc7, 0x00, 0x6a, 0xff];

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prologue {
    /// Of this version.
    Ours,
    /// Of another version.
    Other(u32),
    /// None: the file is new, damaged, or no journal's.
    Missing,
}

/// The prologue of this version.
#[must_use]
pub fn prologue() -> [u8; PROLOGUE_BYTES] {
    prologue_of(VERSION)
}

pub(super) fn prologue_of(version: u32) -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What a file begins with.
#[must_use]
pub fn read_prologue(bytes: &[u8]) -> Prologue {
    let Some(bytes) = bytes.get(..PROLOGUE_BYTES) else { return Prologue::Missing };
    let version = u32_at(bytes, 8);
    match version {
        _ if bytes[..8] != MAGIC || crc32fast::hash(&bytes[..12]) != u32_at(bytes, 12) => Prologue::Missing,
        VERSION => Prologue::Ours,
        other => Prologue::Other(other),
    }
}

/// The entry of a line. `None` if the line is longer than [`MOST_LINE_BYTES`].
#[must_use]
pub fn entry(number: u64, stamp: Stamp, line: &[u8]) -> Option<Vec<u8>> {
    if line.len() > MOST_LINE_BYTES {
        return None;
    }
    let length = u32::try_from(line.len()).ok()?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + line.len());
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&length.to_le_bytes());
    for value in [number, stamp.journal_ns, stamp.at.boot, stamp.at.boottime_ns] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes.extend_from_slice(&stamp.at.realtime_ns.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(line).to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(line);
    Some(bytes)
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub number: u64,
    pub stamp: Stamp,
    /// Where it begins.
    pub start: usize,
    /// Where its line is, whose end is the entry's.
    pub line: Range<usize>,
}

/// The first whole and undamaged entry.
#[must_use]
pub fn find(bytes: &[u8]) -> Option<Found> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.windows(MARK.len()).position(|window| window == MARK)?;
        let Some(header) = header(&bytes[at..]) else {
            at += 1;
            continue;
        };
        let start = at + HEADER_BYTES;
        // The length is right, as the header's checksum says: a line that is cut is the last.
        let line = start..start + header.length;
        if crc32fast::hash(bytes.get(line.clone())?) == header.line_crc {
            return Some(Found { number: header.number, stamp: header.stamp, start: at, line });
        }
        at = line.end;
    }
}

struct Header {
    length: usize,
    number: u64,
    stamp: Stamp,
    line_crc: u32,
}

fn header(bytes: &[u8]) -> Option<Header> {
    let bytes = bytes.get(..HEADER_BYTES)?;
    if crc32fast::hash(&bytes[..HEADER_BYTES - 4]) != u32_at(bytes, HEADER_BYTES - 4) {
        return None;
    }
    let length = u32_at(bytes, 4) as usize;
    let at = Now {
        boot: u64_at(bytes, 24),
        boottime_ns: u64_at(bytes, 32),
        realtime_ns: u64_at(bytes, 40).cast_signed(),
    };
    let stamp = Stamp { journal_ns: u64_at(bytes, 16), at };
    let line_crc = u32_at(bytes, 48);
    (length <= MOST_LINE_BYTES).then_some(Header { length, number: u64_at(bytes, 8), stamp, line_crc })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(at: u64) -> Stamp {
        Stamp { journal_ns: at, at: Now { boot: 7, boottime_ns: at, realtime_ns: -1 } }
    }

    /// Lines with their numbers.
    type Lines = Vec<(u64, Vec<u8>)>;

    fn all(mut bytes: &[u8]) -> Lines {
        let mut found = Vec::new();
        while let Some(it) = find(bytes) {
            found.push((it.number, bytes[it.line.clone()].to_vec()));
            bytes = &bytes[it.line.end..];
        }
        found
    }

    /// The bytes of these lines, what comes back of them, and where each entry ends.
    fn journal(lines: &[Vec<u8>]) -> (Vec<u8>, Lines, Vec<usize>) {
        let (mut bytes, mut ends) = (prologue().to_vec(), Vec::new());
        let mut expected = Vec::new();
        for (number, line) in (1..).zip(lines) {
            bytes.extend(entry(number, stamp(number), line).unwrap());
            ends.push(bytes.len());
            expected.push((number, line.clone()));
        }
        (bytes, expected, ends)
    }

    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Marks in lines too, though lines of JSON have no zero byte.
        let byte = prop_oneof![any::<u8>(), Just(MARK[0]), Just(MARK[1])];
        prop::collection::vec(prop::collection::vec(byte, 0..60), 1..6)
    }

    #[test]
    fn a_prologue_of_another_version_is_recognised_and_a_damaged_one_is_none() {
        assert_eq!(read_prologue(&prologue()), Prologue::Ours);
        assert_eq!(read_prologue(&prologue_of(2)), Prologue::Other(2));
        for at in 0..PROLOGUE_BYTES {
            for bit in 0..8 {
                let mut bytes = prologue();
                bytes[at] ^= 1 << bit;
                assert_eq!(read_prologue(&bytes), Prologue::Missing, "{at} {bit}");
            }
            assert_eq!(read_prologue(&prologue()[..at]), Prologue::Missing, "{at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_has_no_entry() {
        assert!(entry(1, stamp(1), &vec![b'x'; MOST_LINE_BYTES]).is_some());
        assert_eq!(entry(1, stamp(1), &vec![b'x'; MOST_LINE_BYTES + 1]), None);
    }

    proptest! {
        #[test]
        fn entries_come_back_whole_at_any_cut(lines in lines()) {
            let (bytes, expected, ends) = journal(&lines);
            for cut in 0..=bytes.len() {
                let whole = ends.iter().filter(|end| **end <= cut).count();
                prop_assert_eq!(&all(&bytes[..cut]), &expected[..whole]);
            }
        }

        #[test]
        fn a_flipped_bit_costs_its_entry_alone(lines in lines(), bit in 0_u8..8) {
            let (bytes, expected, ends) = journal(&lines);
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                let hit = ends.iter().position(|end| at < *end).filter(|_| at >= PROLOGUE_BYTES);
                let mut expected = expected.clone();
                hit.map(|hit| expected.remove(hit));
                prop_assert_eq!(all(&bytes), expected, "at {}", at);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0_usize..60) {
            all(&bytes);
            let _ = read_prologue(&bytes);
            let mut near = entry(1, stamp(1), b"line").unwrap();
            near.truncate(cut);
            near.extend(bytes);
            all(&near);
        }
    }
}
