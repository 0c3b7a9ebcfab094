//! Impossible values are refused, possible extremes are not.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::*;
use crate::recording::{Frame, Reader};
use crate::stats::Counter;

/// The kill of a container, changed.
fn kill(change: impl Fn(&mut Header, &mut OomDecision)) -> Result<Event, DecodeError> {
    let mut record = memcg_kill(2_000_000_000_000, 3, b"/kubepods/pod1/c1", b"java").swap_remove(0);
    let Body::Decision(body) = &mut record.body else { unreachable!() };
    change(&mut record.header, body);
    read(&record)
}

#[track_caller]
fn refused(got: Result<Event, DecodeError>, what: &str, value: u64) {
    match got {
        Err(error @ DecodeError::Impossible { what: found, value: is }) => {
            assert_eq!((found, is), (what, value));
            assert_eq!(error.counter(), Counter::RecordsMalformed);
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn impossible_values_of_a_kill_are_refused() {
    type Change = fn(&mut Header, &mut OomDecision);
    let adj = |adj: i16| u64::from(adj.cast_unsigned());
    let cases: [(&str, u64, Change); 11] = [
        ("oom_score_adj", 1001, |_, body| body.victim.oom_score_adj = 1001),
        ("oom_score_adj", adj(-1001), |_, body| body.trigger.oom_score_adj = -1001),
        ("process id of a victim", 0, |_, body| body.victim.tgid = 0),
        ("process id of a victim", 0, |_, body| body.victim.tid = 0),
        ("process id", 4_194_304, |_, body| body.victim.tid = 4_194_304),
        ("process id", 4_294_967_295, |_, body| body.trigger.tgid = u32::MAX),
        ("start time, in ns", u64::MAX, |_, body| body.victim.start_boottime_ns = u64::MAX),
        ("time of a decision, in ns", u64::MAX, |header, _| header.decision_ns = u64::MAX),
        ("size of what may be used, in bytes", 0, |_, body| body.totalpages = 0),
        ("order", 53, |_, body| body.order = 53),
        ("order", 0xffff_fffe, |_, body| body.order = -2),
    ];
    for (what, value, change) in cases {
        refused(kill(change), what, value);
    }
    let mut record = memcg_kill(1_000, 3, b"/kubepods", b"java").swap_remove(1);
    let Body::Victim(body) = &mut record.body else { unreachable!() };
    body.task.tgid = 0;
    refused(read(&record), "process id of a victim", 0);
}

/// The largest and the smallest possible values.
#[test]
fn possible_extremes_are_accepted() {
    let event = kill(|header, body| {
        (body.victim.oom_score_adj, body.trigger.oom_score_adj) = (1000, -1000);
        (body.victim.tgid, body.victim.tid) = (4_194_303, 4_194_303);
        // Clocks of two CPUs.
        body.victim.start_boottime_ns = header.ktime_ns + 1;
        header.decision_ns = header.ktime_ns + 1;
        (body.totalpages, body.order) = (1, -1);
    });
    assert!(event.is_ok(), "{event:?}");
    // The idle task allocates in an interrupt.
    let mut record = alloc_failure(7_000, 1, b"/kubepods/pod1/c1", 5);
    let Body::Failure(body) = &mut record.body else { unreachable!() };
    (body.trigger.tgid, body.trigger.tid, body.trigger.start_boottime_ns) = (0, 0, 0);
    assert!(read(&record).is_ok());
    let Body::Failure(body) = &mut record.body else { unreachable!() };
    body.since_ns = u64::MAX;
    refused(read(&record), "time of a count, in ns", u64::MAX);
    // An unreadable value is zero, and means nothing.
    let event = kill(|header, body| {
        header.missing |= abi::missing::OOM_CONTROL | abi::missing::VICTIM;
        body.totalpages = 0;
        body.victim.tgid = 0;
        body.victim.missing = abi::task_missing::ALL;
    });
    assert!(event.is_ok(), "{event:?}");
}

#[test]
fn the_root_of_all_cgroups_has_no_limit() {
    let with = |limit: fn(&mut Level)| {
        let mut record = memcg_kill(1_000, 3, b"/kubepods", b"java").swap_remove(0);
        let root = record.sections[2].levels.last_mut().expect("the root");
        assert_eq!(root.0.flags & abi::level_flag::ROOT, abi::level_flag::ROOT);
        limit(&mut root.0);
        read(&record)
    };
    let what = "limit of the root of all cgroups, in bytes";
    refused(with(|root| root.max_pages = 0), what, 0);
    refused(with(|root| root.swap_max_pages = 5), what, 5 * PAGE);
    // PAGE_COUNTER_MAX, and an unreadable value.
    assert!(with(|root| root.max_pages = i64::MAX.cast_unsigned() / PAGE).is_ok());
    assert!(with(|root| (root.max_pages, root.flags) = (0, root.flags | abi::level_flag::NO_MEMORY)).is_ok());
}

/// A counter that the kernel has decremented once too often is negative. The kill is real all the same.
#[test]
fn a_size_that_no_machine_has_is_left_out() {
    let event = kill(|_, body| {
        body.victim.page_table_bytes = u64::MAX - 4095;
        body.victim.total_vm_pages = 1 << 60;
        body.trigger.file_pages = i64::MAX;
    });
    let Ok(Event::OomDecision(decision)) = event else { panic!("{event:?}") };
    let victim = decision.victim.expect("it is there");
    assert_eq!((victim.page_table_bytes, victim.total_vm_bytes), (None, None));
    assert!(victim.rss.is_some() && decision.trigger.rss.is_none());

    let mut record = memcg_kill(1_000, 3, b"/kubepods", b"java").swap_remove(0);
    record.sections[2].levels[0].0.usage_pages = (-5_i64).cast_unsigned();
    let limit = decision_of(&record).limit_cgroups.expect("it is there");
    assert_eq!((limit.levels[0].usage_bytes, limit.levels[0].limit), (None, Some(Limit::Bytes(8192 * PAGE))));
}

/// As if the kernel's array of nodes was read at a wrong address.
#[test]
fn zones_of_a_name_that_the_kernel_does_not_have_are_left_out() {
    let rename = |record: &mut Record| record.zones.as_mut().expect("zones").list[0].name = [0xfe; 16];
    let mut record = oom_zones(1_000, 3);
    rename(&mut record);
    let zones = record.zones.as_ref().expect("zones").list.len() as u64;
    refused(read(&record), "zone of memory, among so many", zones);
    let mut record = alloc_failure(7_000, 1, b"/kubepods/pod1/c1", 5);
    let with = read(&record);
    assert!(matches!(&with, Ok(Event::AllocFailure(failure)) if failure.zones.is_some()), "{with:?}");
    rename(&mut record);
    let without = read(&record);
    assert!(matches!(&without, Ok(Event::AllocFailure(failure)) if failure.zones.is_none()), "{without:?}");
}

#[test]
fn recordings_of_real_kernels_are_possible() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/recordings");
    let mut records = 0;
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("a fixture").path();
        if path.extension().is_none_or(|extension| extension != "rec") {
            continue;
        }
        let (preamble, mut reader) =
            Reader::open(BufReader::new(File::open(&path).expect("a fixture"))).expect("a recording");
        let machine = Machine { page_size_bytes: preamble.page_size_bytes, symbols: preamble.symbols };
        while let Some(frame) = reader.frame().expect("a frame") {
            let Frame::Record(record) = frame else { continue };
            let event = decode(&record, &machine);
            assert!(event.is_ok(), "{}: {event:?}", path.display());
            records += 1;
        }
    }
    assert!(records > 0);
}
