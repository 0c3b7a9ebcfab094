//! Failed allocations: their kind, and the task that allocated.

use std::mem::offset_of;

use crashtrace_ebpf::{
    AllocFailure, FAILURE_STACK_FRAMES, FORMAT_BYTES, FailureKey, VmallocArea, failure_flag, missing,
};

use super::*;
use crate::event::{AllocFailure as Failed, Asked, MigrateType, Vmalloc, VmallocStep};
use crashtrace_records::{PAGES_FORMAT, text};

fn failure(record: &Record) -> Failed {
    match read(record) {
        Ok(Event::AllocFailure(failure)) => *failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// The usual one after `change`.
fn changed(change: impl FnOnce(&mut AllocFailure)) -> Failed {
    let mut record = alloc_failure(7_000, 1, b"/kubepods/pod1/c1", 5);
    if let Body::Failure(body) = &mut record.body {
        change(body);
    }
    failure(&record)
}

#[test]
fn a_failure_is_read_with_its_zones_and_its_cgroups() {
    let failure = changed(|_| ());
    assert_eq!((failure.stamp.ktime_ns, failure.stamp.cpu, failure.stamp.decision_ns), (7_000, 1, None));
    assert_eq!((failure.counted.total, failure.asked, failure.gfp), (5, Asked::Pages { order: 9 }, 0x4_0cc0));
    assert_eq!(failure.format, Some(Name(PAGES_FORMAT.to_vec())));
    assert_eq!((failure.nodemask, failure.mems_allowed, failure.numa_node), (None, Some(1), 0));
    assert_eq!((failure.task.pid, failure.task.comm), (Some(301), Some(Name::from("nginx"))));
    let cgroups = failure.cgroups.expect("cgroups");
    assert_eq!(cgroups.levels[0].name, Some(Name::from("c1")));
    assert_eq!(failure.zones.expect("zones").list.len(), 2);
    assert_eq!(failure.stack.map(|stack| stack.0), Some(Vec::new()));
}

#[test]
fn a_failure_is_written_in_its_layout_in_memory() {
    let mut stack = [0; FAILURE_STACK_FRAMES];
    (stack[0], stack[FAILURE_STACK_FRAMES - 1]) = (0x51, OUT_OF_MEMORY);
    let body = AllocFailure {
        key: FailureKey { cgroup_id: 0x11, format_address: 0x12, argument: 0x13, gfp: 0x14, pad: 0x15 },
        since_ns: 0x1f,
        total: 0x21,
        sent_ns: 0x20,
        nodemask: 0x22,
        mems_allowed: 0x23,
        migrate_type: 2,
        numa_node: 0x25,
        flags: failure_flag::NODEMASK | failure_flag::MEMS_ALLOWED,
        pad: 0x27,
        format: text::<FORMAT_BYTES>(b"page allocation failure: order:"),
        trigger: process(9, b"a", 1),
        stack,
    };
    let record = record(Body::Failure(Box::new(body)), 1, 0, hook::KPROBE);
    let bytes = record.bytes();
    let word = |offset: usize| {
        let at = size_of::<Header>() + offset;
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
    };
    let key = offset_of!(AllocFailure, key);
    assert_eq!(
        [
            word(key + offset_of!(FailureKey, cgroup_id)),
            word(key + offset_of!(FailureKey, format_address)),
            word(key + offset_of!(FailureKey, argument)),
            word(key + offset_of!(FailureKey, gfp)) & 0xff,
            word(offset_of!(AllocFailure, since_ns)),
            word(offset_of!(AllocFailure, total)),
            word(offset_of!(AllocFailure, sent_ns)),
            word(offset_of!(AllocFailure, nodemask)),
            word(offset_of!(AllocFailure, mems_allowed)),
            word(offset_of!(AllocFailure, migrate_type)) & 0xff,
            word(offset_of!(AllocFailure, numa_node)) & 0xff,
            word(offset_of!(AllocFailure, flags)) & 0xff,
            word(offset_of!(AllocFailure, stack)),
            word(offset_of!(AllocFailure, stack) + 8 * (FAILURE_STACK_FRAMES - 1)),
        ],
        [0x11, 0x12, 0x13, 0x14, 0x1f, 0x21, 0x20, 0x22, 0x23, 2, 0x25, 3, 0x51, OUT_OF_MEMORY]
    );
    assert_eq!(&bytes[size_of::<Header>() + offset_of!(AllocFailure, format)..][..4], b"page");
    let failure = failure(&record);
    let key = FailureKey { cgroup_id: 0x11, format_address: 0x12, argument: 0x13, gfp: 0x14, pad: 0x15 };
    let counted = crate::event::Counted { since_ns: 0x1f, total: 0x21, sent_ns: 0x20 };
    assert_eq!((failure.key, failure.counted, failure.gfp), (key, counted, 0x14));
    assert_eq!((failure.nodemask, failure.mems_allowed, failure.numa_node), (Some(0x22), Some(0x23), 0x25));
    assert_eq!(failure.migrate_type, Some(MigrateType::Reclaimable));
    assert_eq!(failure.stack.expect("a stack").0, ["out_of_memory"], "the last frame is read");
    assert_eq!((failure.cgroups, failure.zones), (None, None));
}

#[test]
fn the_format_shows_the_kind_of_the_argument() {
    let asked = |format: &[u8], argument| {
        changed(|body| {
            body.format = text::<FORMAT_BYTES>(format);
            body.key.argument = argument;
        })
        .asked
    };
    for (format, expected) in [
        (PAGES_FORMAT, Asked::Pages { order: 3 }),
        // 5.13 and later, then 5.10. Where a page failed, the argument is what it had got.
        (b"vmalloc error: size %lu, exceeds total pages", Asked::Vmalloc { bytes: Some(3) }),
        (b"vmalloc error: size %lu, failed to allocate pages", Asked::Vmalloc { bytes: None }),
        (b"vmalloc: allocation failure: %lu bytes", Asked::Vmalloc { bytes: Some(3) }),
        (b"vmalloc: allocation failure, allocated %ld of %ld bytes", Asked::Vmalloc { bytes: None }),
        (b"vmalloc error: size %lu, page order %u, failed", Asked::Vmalloc { bytes: Some(3) }),
        // The first argument is no size.
        (b"vmalloc error: order %u, size %lu", Asked::Vmalloc { bytes: None }),
        (b"vmalloc", Asked::Vmalloc { bytes: None }),
        (b"vmalloc %", Asked::Vmalloc { bytes: None }),
        (b"vmemmap alloc failure: order:%u", Asked::Other),
        (b"page allocation stall", Asked::Other),
        (b"", Asked::Other),
        (b"\xff\x1b\n%lu", Asked::Other),
    ] {
        assert_eq!(asked(format, 3), expected, "{}", String::from_utf8_lossy(format));
    }
}

/// The upper half of the register of an `unsigned int` is undefined.
#[test]
fn the_upper_half_of_an_order_is_undefined() {
    let asked = changed(|body| body.key.argument = 0xdead_beef_0000_0009).asked;
    assert_eq!(asked, Asked::Pages { order: 9 });
    let size = changed(|body| {
        body.format = text::<FORMAT_BYTES>(b"vmalloc error: size %lu, ");
        body.key.argument = 0x1_0000_0000;
    });
    assert_eq!(size.asked, Asked::Vmalloc { bytes: Some(1 << 32) }, "a size is as long as a register");
}

#[test]
fn the_tracepoint_has_no_format_and_is_for_pages() {
    let mut record = alloc_failure(7_000, 1, b"/a", 5);
    record.header.hook = hook::RAW_TRACEPOINT;
    record.header.missing = missing::FORMAT;
    let Body::Failure(body) = &mut record.body else { panic!("a failure") };
    (body.key.format_address, body.key.argument) = (0, 4);
    let at_tracepoint = failure(&record);
    assert_eq!((at_tracepoint.format, at_tracepoint.asked), (None, Asked::Pages { order: 4 }));
    // A format that exists and could not be read may be any.
    let Body::Failure(body) = &mut record.body else { panic!("a failure") };
    body.key.format_address = 0x12;
    assert_eq!(failure(&record).asked, Asked::Other);
}

#[test]
fn each_bit_takes_just_its_own_fact() {
    let mut record = alloc_failure(7_000, 1, b"/a", 5);
    record.header.missing = missing::STACK;
    assert_eq!((failure(&record).stack, failure(&record).format.is_some()), (None, true));
    let masks = |flags| {
        let failure = changed(|body| (body.flags, body.nodemask, body.mems_allowed) = (flags, 5, 6));
        (failure.nodemask, failure.mems_allowed)
    };
    assert_eq!(masks(0), (None, None));
    assert_eq!(masks(failure_flag::NODEMASK), (Some(5), None));
    assert_eq!(masks(failure_flag::MEMS_ALLOWED), (None, Some(6)));
    let empty = changed(|body| (body.flags, body.nodemask, body.mems_allowed) = (3, 0, 0));
    assert_eq!((empty.nodemask, empty.mems_allowed), (None, None), "nodes above 63 alone");
}

#[test]
fn migrate_types_are_told_apart() {
    use MigrateType::{Movable, Other, Reclaimable, Unmovable};
    for (value, expected) in [(0, Unmovable), (1, Movable), (2, Reclaimable), (3, Other(3))] {
        assert_eq!(changed(|body| body.migrate_type = value).migrate_type, Some(expected));
    }
}

const MIB: u64 = 1 << 20;

/// 64 MiB that vmalloc is filling, with a guard page.
const AREA: VmallocArea =
    VmallocArea { size_bytes: 64 * MIB + PAGE, requested_bytes: 0, flags: 0x22, pages: 8167 };

fn of_vmalloc(format: &[u8], argument: u64, area: Option<VmallocArea>) -> Failed {
    let mut record = alloc_failure(7_000, 1, b"/a", 5);
    record.vmalloc = area;
    let Body::Failure(body) = &mut record.body else { panic!("a failure") };
    body.format = text::<FORMAT_BYTES>(format);
    body.key.argument = argument;
    failure(&record)
}

/// `warn_alloc` is told what vmalloc had got, or (7.2) what it was asked for: both are the area's.
#[test]
fn the_size_of_a_vmalloc_is_that_of_its_area() {
    const NEW: &[u8] = b"vmalloc error: size %lu, failed to allocate pages";
    const LONG: &[u8] = b"vmalloc error: size %lu, page order %u, failed to allocate page";
    const OLD: &[u8] = b"vmalloc: allocation failure, allocated %ld of %ld bytes";
    for format in [NEW, LONG, OLD] {
        let told = of_vmalloc(format, AREA.size_bytes, Some(AREA));
        assert_eq!(told.asked, Asked::Vmalloc { bytes: Some(64 * MIB) });
        assert_eq!(told.vmalloc, Some(Vmalloc { step: VmallocStep::Pages, got_bytes: Some(8167 * PAGE) }));
        assert!(told.cgroups.is_some() && told.zones.is_some(), "the other sections are read too");
        let untold = of_vmalloc(format, 8167 * PAGE, None);
        assert_eq!(untold.asked, Asked::Vmalloc { bytes: None });
        assert_eq!(
            untold.vmalloc,
            Some(Vmalloc { step: VmallocStep::Pages, got_bytes: None }),
            "or asked for"
        );
    }
    let asked = |area| of_vmalloc(NEW, 0, Some(area)).asked;
    let rounded = VmallocArea { requested_bytes: 64 * MIB - 100, ..AREA };
    assert_eq!(asked(rounded), Asked::Vmalloc { bytes: Some(64 * MIB - 100) });
    let no_guard = VmallocArea { flags: 0x62, ..AREA };
    assert_eq!(asked(no_guard), Asked::Vmalloc { bytes: Some(64 * MIB + PAGE) });
    let impossible = VmallocArea { requested_bytes: 65 * MIB, ..AREA };
    assert_eq!(asked(impossible), Asked::Vmalloc { bytes: Some(64 * MIB) });
    for size_bytes in [0, PAGE] {
        assert_eq!(asked(VmallocArea { size_bytes, ..AREA }), Asked::Vmalloc { bytes: None });
    }
    let all = of_vmalloc(NEW, 0, Some(VmallocArea { pages: u64::MAX, ..AREA }));
    assert_eq!(all.vmalloc.and_then(|vmalloc| vmalloc.got_bytes), None, "more than the area has");
}

#[test]
fn the_message_of_a_vmalloc_names_the_step() {
    let step = |format: &[u8]| of_vmalloc(format, 3, None).vmalloc.map(|vmalloc| vmalloc.step);
    let space = Some(VmallocStep::AddressSpace);
    assert_eq!(step(b"vmalloc error: size %lu, vm_struct allocation failed"), space);
    assert_eq!(step(b"vmalloc: allocation failure: %lu bytes"), space);
    assert_eq!(
        step(b"vmalloc error: size %lu, failed to allocated page array size %lu"),
        Some(VmallocStep::Other)
    );
    assert_eq!(step(b"vmalloc error: size %lu, exceeds total pages"), Some(VmallocStep::Other));
    assert_eq!(step(b"vmalloc error: size %lu, failed to map pages"), Some(VmallocStep::Other));
    assert_eq!(step(PAGES_FORMAT), None);
}

/// The tracepoint sees a page: whose it is, the stack shows.
#[test]
fn a_page_at_the_tracepoint_is_vmallocs_if_that_is_on_the_stack() {
    let at = |order, on_stack, area| {
        let mut record = alloc_failure(7_000, 1, b"/a", 5);
        record.header.hook = hook::RAW_TRACEPOINT;
        record.header.missing = missing::FORMAT;
        record.vmalloc = area;
        let Body::Failure(body) = &mut record.body else { panic!("a failure") };
        (body.key.format_address, body.key.argument) = (0, order);
        if on_stack {
            body.stack[7] = 0xffff_ffff_8100_2010;
        }
        failure(&record)
    };
    let area = Some(VmallocArea { pages: 0, ..AREA });
    let told = at(0, true, area);
    assert_eq!(told.asked, Asked::Vmalloc { bytes: Some(64 * MIB) });
    assert_eq!(told.vmalloc, Some(Vmalloc { step: VmallocStep::Pages, got_bytes: None }));
    assert_eq!(at(0, true, None).asked, Asked::Vmalloc { bytes: None });
    assert_eq!(at(0, false, area).asked, Asked::Pages { order: 0 }, "an address that was left on the stack");
    assert_eq!(at(4, true, area).asked, Asked::Pages { order: 4 }, "vmalloc tries single pages after that");
}
