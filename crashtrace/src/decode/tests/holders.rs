//! Holders of the node's memory, and tasks that wait.

use std::mem::offset_of;

use crashtrace_ebpf::{Holder, MAX_HOLDERS, OomHolders, holders_flag};

use super::*;
use crate::event::{NoKill, OomHolders as Held};

fn held(record: &Record) -> Held {
    match read(record) {
        Ok(Event::OomHolders(held)) => *held,
        other => panic!("no holders: {other:?}"),
    }
}

#[test]
fn pages_become_bytes_and_flags_become_words() {
    let held = held(&holders(1_000, 3));
    assert_eq!((held.stamp.decision_ns, held.stamp.cpu), (Some(1_000), 3));
    assert_eq!((held.least_bytes, held.small_bytes), (1000 * PAGE, 1500 * PAGE));
    assert_eq!((held.small, held.looked_at, held.total, held.left_out), (7, 11, Some(40), 0));
    assert!(!held.unfinished);
    let of = |at: usize| (held.holders[at].parent, held.holders[at].level.name.clone());
    assert_eq!(of(0), (None, Some("kubepods".into())));
    assert_eq!(of(3), (Some(1), Some("containerd.service".into())));
    let level = &held.holders[3].level;
    assert_eq!((level.usage_bytes, level.limit), (Some(2500 * PAGE), Some(Limit::Unlimited)));
}

#[test]
fn an_incomplete_walk_is_reported() {
    let flagged = |flags| {
        let mut record = holders(1_000, 3);
        if let Body::Holders(body, _) = &mut record.body {
            (body.flags, body.left_out) = (flags, 4);
        }
        held(&record)
    };
    let why = |flags| (flagged(flags).unfinished, flagged(flags).time_up);
    assert_eq!(why(holders_flag::UNFINISHED), (true, false), "as older agents recorded any");
    assert_eq!(why(holders_flag::UNFINISHED | holders_flag::TIME_UP), (true, true));
    assert_eq!(flagged(holders_flag::NO_TOTAL).total, None);
    assert_eq!(flagged(0).left_out, 4);
}

/// More holders than any writer puts into a record are not read, a count above the real number runs out of bytes, and behind one below it there
/// is no section.
#[test]
fn an_impossible_count_is_refused() {
    let with_count = |count: u32| {
        let mut bytes = holders(1_000, 3).bytes();
        let at = size_of::<Header>() + offset_of!(OomHolders, holders);
        bytes[at..at + 4].copy_from_slice(&count.to_le_bytes());
        decode(&Bytes::from(bytes), &machine())
    };
    let most = MAX_HOLDERS as u32;
    assert_eq!(
        with_count(most + 1),
        Err(DecodeError::Impossible { what: "number of holders", value: u64::from(most) + 1 })
    );
    assert!(matches!(with_count(most), Err(DecodeError::Truncated(_))));
    with_count(3).expect_err("the last holder is no section");
}

/// A holder by its offsets in memory, not by the order in which [`crashtrace_records`] writes it.
#[test]
fn a_holder_is_read_as_it_lies_in_memory() {
    let mut bytes = holders(1_000, 3).bytes();
    let holder = size_of::<Header>() + size_of::<OomHolders>();
    let mut put = |offset: usize, value: &[u8]| {
        bytes[holder + offset..holder + offset + value.len()].copy_from_slice(value);
    };
    put(offset_of!(Holder, parent), &3_u32.to_le_bytes());
    put(offset_of!(Holder, level) + offset_of!(Level, usage_pages), &77_u64.to_le_bytes());
    put(offset_of!(Holder, level) + offset_of!(Level, max_pages), &78_u64.to_le_bytes());
    put(size_of::<Holder>(), b"KUBEPODS");
    let Ok(Event::OomHolders(held)) = decode(&Bytes::from(bytes), &machine()) else { panic!("no holders") };
    let first = &held.holders[0];
    assert_eq!((first.parent, first.level.name.clone()), (Some(2), Some("KUBEPODS".into())));
    assert_eq!(first.level.usage_bytes, Some(77 * PAGE));
    assert_eq!(first.level.limit, Some(Limit::Bytes(78 * PAGE)));
}

#[test]
fn a_wait_is_told_from_an_oom_without_a_victim() {
    let Ok(Event::OomNoVictim(wait)) = read(&wait(6_000, 2, b"/kubepods/pod1", 2)) else { panic!("no wait") };
    assert_eq!((wait.why, wait.repeats, wait.memcg), (NoKill::SwitchedOff, 2, true));
    assert_eq!((wait.gfp, wait.order), (None, None), "what the kernel does not keep is not 0");
    let Ok(Event::OomNoVictim(none)) = read(&no_victim(5_000, 2, b"/kubepods/pod1", 9)) else {
        panic!("none")
    };
    assert_eq!((none.why, none.gfp, none.order), (NoKill::NobodyFound, Some(0xcc0), Some(0)));
}
