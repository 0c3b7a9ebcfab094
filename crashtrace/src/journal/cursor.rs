//! Where delivery has come to: the file `cursor`. PURE.
//!
//! The number of the next line to deliver stands in two places that are written in turn. A write that a crash tears spoils one of
//! them, and the other is one line behind: that line is delivered twice, none is left out.

use super::frame::{PROLOGUE_BYTES, prologue, u32_at, u64_at};

/// Bytes of the file.
pub const BYTES: usize = 1024 + PLACE_BYTES;

/// In different sectors.
const PLACES: [usize; 2] = [512, 1024];
const PLACE_BYTES: usize = 12;

/// A new file: the first line is the next.
#[must_use]
pub fn new() -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    bytes[..PROLOGUE_BYTES].copy_from_slice(&prologue());
    for turn in 0..PLACES.len() as u64 {
        let (at, place) = place(1, turn);
        bytes[at..at + PLACE_BYTES].copy_from_slice(&place);
    }
    bytes
}

/// The bytes for write number `turn`, and where they belong.
#[must_use]
pub fn place(next: u64, turn: u64) -> (usize, [u8; PLACE_BYTES]) {
    let mut bytes = [0; PLACE_BYTES];
    bytes[..8].copy_from_slice(&next.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&checksum.to_le_bytes());
    (PLACES[usize::from(!turn.is_multiple_of(2))], bytes)
}

/// The number of the next line to deliver. `None` if neither place can be read: then all lines that are there are delivered.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<u64> {
    let read = |at: usize| {
        let place = bytes.get(at..at + PLACE_BYTES)?;
        (crc32fast::hash(&place[..8]) == u32_at(place, 8)).then(|| u64_at(place, 0))
    };
    // Numbers only rise. Zeroes are no number: lines begin at 1.
    PLACES.into_iter().filter_map(read).filter(|next| *next > 0).max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(bytes: &mut [u8], (at, place): (usize, [u8; PLACE_BYTES])) {
        bytes[at..at + PLACE_BYTES].copy_from_slice(&place);
    }

    #[test]
    fn the_latest_place_counts_and_damage_goes_back_by_one() {
        let mut bytes = new();
        assert_eq!(read(&bytes), Some(1));
        for next in 2..9 {
            let (at, place) = place(next, next);
            for torn in 0..PLACE_BYTES {
                let mut bytes = bytes.clone();
                bytes[at..at + torn].copy_from_slice(&place[..torn]);
                let read = read(&bytes).unwrap();
                assert!(read == next || read == next - 1, "{torn}: {read}");
            }
            put(&mut bytes, (at, place));
            assert_eq!(read(&bytes), Some(next));
        }
    }

    #[test]
    fn without_a_place_nothing_is_known() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0; BYTES]), None);
        assert_eq!(read(&new()[..PLACES[0]]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..BYTES + 9)) {
            let _ = read(&bytes);
        }
    }
}
