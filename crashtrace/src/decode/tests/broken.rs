//! Bytes that are no record, or nearly one: an error that names the fault, a counter, and never a panic.

use std::mem::offset_of;

use proptest::prelude::*;

use super::super::{ktime_ns, position};
use super::*;
use crate::stats::Counter;

fn decoded(bytes: Vec<u8>) -> Result<Event, DecodeError> {
    decode(&Bytes::from(bytes), &machine())
}

/// Cut to `length`, with that length in the header.
fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = bytes[..length].to_vec();
    if let Some(stated) = bytes.get_mut(offset_of!(Header, length)..offset_of!(Header, seq)) {
        stated.copy_from_slice(&(length as u32).to_le_bytes());
    }
    bytes
}

fn patched(record: &Record, offset: usize, value: &[u8]) -> Result<Event, DecodeError> {
    let mut bytes = record.bytes();
    bytes[offset..offset + value.len()].copy_from_slice(value);
    decoded(bytes)
}

#[test]
fn a_record_cut_anywhere_is_refused() {
    for record in each_kind() {
        let bytes = record.bytes();
        for length in 0..bytes.len() {
            let error = decoded(bytes[..length].to_vec()).expect_err("cut");
            let expected = match length {
                0..48 => DecodeError::Truncated(length),
                _ => DecodeError::Length { stated: bytes.len(), actual: length },
            };
            assert_eq!(error, expected);
            assert_eq!(error.counter(), Counter::RecordsMalformed);
        }
    }
}

/// A record that is cut with a matching length is valid only if it is cut where a section begins.
#[test]
fn a_record_cut_with_a_matching_length_is_refused_but_between_sections() {
    for record in each_kind() {
        let bytes = record.bytes();
        let without = Record { zones: None, sections: Vec::new(), memory: Vec::new(), ..record.clone() };
        let of_sections = (0..=record.sections.len()).map(|kept| Record {
            sections: record.sections[..kept].to_vec(),
            memory: Vec::new(),
            ..record.clone()
        });
        let of_memory = (0..=record.memory.len())
            .map(|kept| Record { memory: record.memory[..kept].to_vec(), ..record.clone() });
        let whole = of_sections.chain(of_memory).chain([without]);
        let whole: Vec<_> = whole.map(|record| record.bytes().len()).collect();
        for length in 0..bytes.len() {
            let event = decoded(cut(&bytes, length));
            if whole.contains(&length) {
                assert!(event.is_ok(), "{length} {event:?}");
            } else {
                assert!(event.is_err(), "{length} {event:?}");
            }
        }
    }
}

#[test]
fn bytes_behind_a_record_are_refused() {
    for record in each_kind() {
        let mut bytes = record.bytes();
        bytes.push(0);
        let length = bytes.len();
        assert!(matches!(decoded(bytes.clone()), Err(DecodeError::Length { .. })), "the header says less");
        assert!(decoded(cut(&bytes, length)).is_err(), "the header says so too");
    }
    let end = record(Body::End, 1, 0, hook::FENTRY).bytes();
    let long = [end, vec![0; 3]].concat();
    let rest = DecodeError::Impossible { what: "rest, in bytes", value: 3 };
    assert_eq!(decoded(cut(&long, long.len())), Err(rest));
}

#[test]
fn a_record_longer_than_any_is_refused() {
    let mut bytes = each_kind().swap_remove(0).bytes();
    bytes.resize(abi::RECORD_MAX_BYTES + 1, 0);
    let (stated, actual) = (bytes.len(), bytes.len());
    assert_eq!(decoded(cut(&bytes, bytes.len())), Err(DecodeError::Length { stated, actual }));
}

#[test]
fn another_layout_an_unknown_kind_and_an_unknown_hook_are_named_and_counted() {
    let record = each_kind().swap_remove(0);
    for (offset, value, error, counter) in [
        (offset_of!(Header, layout), 1, DecodeError::Layout(1), Counter::RecordsOfAnotherLayout),
        (offset_of!(Header, layout), 0, DecodeError::Layout(0), Counter::RecordsOfAnotherLayout),
        (offset_of!(Header, kind), 0, DecodeError::Kind(0), Counter::RecordsOfUnknownKind),
        (offset_of!(Header, kind), 9, DecodeError::Kind(9), Counter::RecordsOfUnknownKind),
        (
            offset_of!(Header, hook),
            0,
            DecodeError::Impossible { what: "hook", value: 0 },
            Counter::RecordsMalformed,
        ),
        (
            offset_of!(Header, hook),
            4,
            DecodeError::Impossible { what: "hook", value: 4 },
            Counter::RecordsMalformed,
        ),
    ] {
        let got = patched(&record, offset, &u16::to_le_bytes(value));
        assert_eq!(got, Err(error.clone()));
        assert_eq!(error.counter(), counter);
        assert!(counter.is_loss());
    }
    // The layout is checked before any field that depends on it.
    assert_eq!(decoded(vec![9, 0]), Err(DecodeError::Layout(9)));
}

#[test]
fn a_record_of_unknown_kind_has_its_position() {
    let mut bytes = each_kind().swap_remove(0).bytes();
    bytes[offset_of!(Header, kind)] = 99;
    assert_eq!(position(&Bytes::from(bytes)), Ok((3, 0, 0)));
}

#[test]
fn a_section_with_wrong_lengths_is_refused() {
    let record = each_kind().swap_remove(1);
    let section = size_of::<Header>() + size_of::<OomVictim>();
    let length = (record.bytes().len() - section) as u32;
    for lie in [0, 15, length - 1, length + 1, u32::MAX] {
        let got = patched(&record, section + offset_of!(Section, length), &lie.to_le_bytes());
        assert!(got.is_err(), "{lie} {got:?}");
    }
    let levels = record.sections[0].levels.len() as u16;
    for lie in [0, levels - 1, levels + 1, abi::MAX_LEVELS as u16 + 1, u16::MAX] {
        let got = patched(&record, section + offset_of!(Section, levels), &lie.to_le_bytes());
        assert!(got.is_err(), "{lie} {got:?}");
    }
    // A section with the length of its header, and its levels outside of it.
    let got = patched(&record, section + offset_of!(Section, length), &16_u32.to_le_bytes());
    assert!(got.is_err(), "{got:?}");
}

#[test]
fn a_level_with_wrong_lengths_is_refused() {
    let record = each_kind().swap_remove(1);
    let level = size_of::<Header>() + size_of::<OomVictim>() + size_of::<Section>();
    for lie in [0_u16, 47, 48, 55, 57, u16::MAX] {
        let got = patched(&record, level + offset_of!(Level, length), &lie.to_le_bytes());
        assert!(got.is_err(), "{lie} {got:?}");
    }
    for lie in [9_u16, 255, u16::MAX] {
        let got = patched(&record, level + offset_of!(Level, name_length), &lie.to_le_bytes());
        assert!(
            matches!(got, Err(DecodeError::Impossible { what: "length of a cgroup level", .. })),
            "{lie} {got:?}"
        );
    }
}

#[test]
fn as_many_levels_as_a_record_may_hold_are_read_and_no_more() {
    let with = |levels| {
        let mut section = cgroups(section::VICTIM, b"/a", 1);
        section.levels = vec![section.levels[0].clone(); levels];
        read(&Record { sections: vec![section], ..each_kind().swap_remove(1) })
    };
    assert!(with(abi::MAX_LEVELS).is_ok());
    assert!(matches!(
        with(abi::MAX_LEVELS + 1),
        Err(DecodeError::Impossible { what: "number of cgroup levels", value: 17 })
    ));
}

proptest! {
    #[test]
    fn any_bytes_give_an_event_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2048),
        kind in 0_u16..10,
        page_size_bytes: u64,
    ) {
        let check = |bytes: &[u8]| {
            let record = Bytes::copy_from_slice(bytes);
            let machine = Machine { page_size_bytes, ..machine() };
            if let Err(error) = decode(&record, &machine) {
                prop_assert!(error.counter().is_loss());
                prop_assert!(!error.to_string().is_empty());
            } else {
                prop_assert!(position(&record).is_ok() && ktime_ns(&record).is_ok());
            }
            Ok(())
        };
        check(&bytes)?;
        // The same with a valid header.
        if bytes.len() >= size_of::<Header>() {
            bytes[..2].copy_from_slice(&abi::LAYOUT_VERSION.to_le_bytes());
            bytes[2..4].copy_from_slice(&kind.to_le_bytes());
            bytes[offset_of!(Header, hook)] = hook::FENTRY;
            let length = bytes.len();
            check(&cut(&bytes, length))?;
        }
    }

    #[test]
    fn a_record_with_wrong_bytes_in_it_never_panics(
        which in 0_usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        page_size_bytes: u64,
    ) {
        let mut bytes = each_kind().swap_remove(which).bytes();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decode(&Bytes::from(bytes), &Machine { page_size_bytes, ..machine() });
    }
}
