//! Records without their words that are zero.

use std::mem::offset_of;

use crashtrace_ebpf::GROUP_WORDS;
use crashtrace_records::packed;

use super::*;

fn decoded(bytes: Vec<u8>) -> Result<Event, DecodeError> {
    decode(&Bytes::from(bytes), &machine())
}

#[test]
fn each_kind_is_the_same_event_without_its_zeroes_and_shorter() {
    for record in each_kind() {
        let bytes = record.bytes();
        let short = packed(&bytes);
        assert_eq!(decoded(short.clone()), decoded(bytes.clone()), "{:?}", record.body);
        if bytes.len() > size_of::<Header>() {
            assert!(short.len() < bytes.len(), "{} of {}", short.len(), bytes.len());
        }
    }
}

#[test]
fn a_packed_record_cut_anywhere_is_refused() {
    for record in each_kind() {
        let bytes = packed(&record.bytes());
        for length in size_of::<Header>()..bytes.len() {
            let mut cut = bytes[..length].to_vec();
            cut[offset_of!(Header, length)..][..4].copy_from_slice(&(length as u32).to_le_bytes());
            let error = decoded(cut).expect_err("cut");
            assert!(
                matches!(error, DecodeError::Truncated(_) | DecodeError::Impossible { .. }),
                "{error} at {length}"
            );
        }
    }
}

/// The last bitmap of a record is its last word.
#[test]
fn a_bit_behind_the_last_word_and_a_word_without_a_bit_are_refused() {
    let whole = each_kind().swap_remove(0).bytes();
    let words = (whole.len() - size_of::<Header>()) / 8;
    assert!(!words.is_multiple_of(GROUP_WORDS), "the last group has room");
    let bytes = packed(&whole);
    let with_last = |change: fn(u64) -> u64| {
        let mut bytes = bytes.clone();
        let at = bytes.len() - 8;
        let bitmap = u64::from_le_bytes(bytes[at..].try_into().expect("a word"));
        bytes[at..].copy_from_slice(&change(bitmap).to_le_bytes());
        decoded(bytes)
    };
    assert!(with_last(|bitmap| bitmap).is_ok());
    for change in [|bitmap| bitmap | 1 << 63, |bitmap: u64| bitmap & (bitmap - 1)] {
        assert!(matches!(with_last(change), Err(DecodeError::Impossible { .. })), "{:?}", with_last(change));
    }
}

#[test]
fn a_length_that_no_record_has_is_refused_before_anything_is_made_of_it() {
    let bytes = packed(&each_kind().swap_remove(0).bytes());
    for length in [1, 47, 49, 1009, u32::MAX - 7, u32::MAX] {
        let mut bytes = bytes.clone();
        bytes[offset_of!(Header, unpacked)..][..4].copy_from_slice(&length.to_le_bytes());
        let refused = DecodeError::Impossible { what: "length without words left out", value: length.into() };
        assert_eq!(decoded(bytes), Err(refused));
    }
}

#[test]
fn records_of_the_layout_before_are_read() {
    for record in each_kind() {
        let mut bytes = record.bytes();
        bytes[..2].copy_from_slice(&abi::OLDEST_LAYOUT.to_le_bytes());
        assert_eq!(decoded(bytes), read(&record));
    }
    for layout in [abi::OLDEST_LAYOUT - 1, abi::LAYOUT_VERSION + 1] {
        let mut bytes = each_kind().swap_remove(0).bytes();
        bytes[..2].copy_from_slice(&layout.to_le_bytes());
        assert_eq!(decoded(bytes), Err(DecodeError::Layout(layout)));
    }
}
