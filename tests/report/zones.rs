//! Terminal output of incidents with zones, through all stages.

use std::fs;
use std::path::PathBuf;

use crashtrace::event::Event;
use crashtrace::event::alloc::{AllocFailure, Asked, FailureKey};
use crashtrace::event::{Counted, Hook, Unmovable, Watermarks, Zone, ZoneTypes, Zones};
use crashtrace::report::to_json_line;
use crashtrace::schema::{self, Line, Shortage};
use crashtrace::sinks::text::render;
use unicode_width::UnicodeWidthStr;

use crate::parts::{API, in_pod, lineage, made, stamp, task};
use crate::{cases, faults, parsed, validator};

/// The unmovable memory there.
const UNMOVABLE: Unmovable = Unmovable {
    slab_unreclaimable_bytes: Some(6900 << 10),
    slab_reclaimable_bytes: Some(10_000 << 10),
    page_table_bytes: Some(976 << 10),
    kernel_stack_bytes: Some(768 << 10),
    unevictable_bytes: Some(404_200 << 10),
    huge_page_bytes: Some(0),
    huge_page_free_bytes: Some(0),
};

fn zone(name: &str, free_blocks: &[u64], managed_pages: u64, lowmem_reserve_pages: u64) -> Zone {
    let free_pages = (0..).zip(free_blocks).map(|(order, blocks): (u32, &u64)| blocks << order).sum();
    Zone {
        numa_node: Some(0),
        name: Some(name.into()),
        free_pages: Some(free_pages),
        watermarks: Some(Watermarks { min_pages: 247, low_pages: 308, high_pages: 369 }),
        lowmem_reserve_pages: Some(vec![0, lowmem_reserve_pages, lowmem_reserve_pages, lowmem_reserve_pages]),
        managed_pages: Some(managed_pages),
        free_blocks: Some(free_blocks.to_vec()),
        ..Zone::default()
    }
}

/// As seen on 6.1: locked memory with holes of a page.
fn zones() -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    let list = vec![
        zone("DMA", &[2, 3, 0, 2, 2, 2, 3, 3, 1, 1, 1], 3840, 2700),
        zone("DMA32", &[6709, 11, 7, 4, 6, 6, 1, 0, 0, 0, 0], 116_484, 0),
        zone("Movable", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40], 100_000, 0),
    ];
    Zones { list, types, ..Zones::default() }
}

/// A container that allocates 4 MiB of contiguous kernel memory, from zones that have no such block.
fn failure(zones: Zones) -> schema::Incident {
    let event = AllocFailure {
        stamp: stamp(Hook::Kprobe),
        key: FailureKey { cgroup_id: 0, format_address: 0, argument: 10, gfp: 0x4_0cc0, pad: 0 },
        counted: Counted { since_ns: 1, total: 1, sent_ns: 1 },
        asked: Asked::Pages { order: 10 },
        vmalloc: None,
        format: Some("page allocation failure: order:%u".into()),
        gfp: 0x4_0cc0,
        migrate_type: None,
        nodemask: None,
        mems_allowed: None,
        numa_node: 0,
        task: task(4211, "java", 480),
        cgroups: Some(lineage(&in_pod(API))),
        stack: None,
        zones: Some(zones),
        unmovable: Some(UNMOVABLE),
    };
    let mut incident = made(vec![Event::AllocFailure(Box::new(event))]).report();
    incident.envelope = cases::envelope();
    incident
}

fn text(incident: schema::Incident) -> String {
    render(&Line::Incident(Box::new(incident)), false)
}

#[test]
fn a_failure_for_fragmentation_gives_the_reviewed_block() {
    let line = Line::Incident(Box::new(failure(zones())));
    assert_eq!(faults(&validator(), &parsed(&to_json_line(&line))), [""; 0]);
    let got = render(&line, false);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/report/fragmentation.txt");
    if std::env::var_os("CRASHTRACE_BLESS").is_some() {
        fs::write(&path, &got).expect("the fixtures can be written");
    }
    assert_eq!(got, fs::read_to_string(&path).expect("a fixture"), "{}", path.display());
}

/// All zones that a record holds, on arm64 with pages of 64 KiB.
#[test]
fn the_picture_of_the_largest_machine_is_aligned() {
    let mut zones = zones();
    zones.list = (0..16)
        .map(|node| Zone { numa_node: Some(node), ..zone("Movable", &[123_456; 14], 1 << 40, 0) })
        .collect();
    zones.left_out = 3;
    let text = text(failure(zones));
    let rules: Vec<_> = text.lines().filter_map(|line| Some(line.split_once('│')?.0.width())).collect();
    assert_eq!(rules, [rules[0]; 2 + 2 * 16], "{text}");
    let drawn = text.lines().filter(|line| line.contains('│'));
    assert_eq!(drawn.map(UnicodeWidthStr::width).max(), Some(95));
    assert!(
        text.contains("\n  NUMA 15 Movable     n/a ") && text.contains("\n  and 3 more zones\n"),
        "{text}"
    );
}

#[test]
fn a_zone_with_a_hostile_name_moves_nothing() {
    let mut zones = zones();
    zones.list[0].name = Some("\x1b[2J\nDMA".into());
    let text = text(failure(zones));
    assert!(!text.contains('\x1b') && text.contains("\n  NUMA 0 \\x1b[2J"), "{text}");
}

/// A shortage of large blocks makes the kernel call the OOM killer, too.
#[test]
fn the_headline_tells_fragmentation_from_low_memory() {
    let system = cases::all().into_iter().find(|(name, _)| *name == "system_oom").expect("the case").1;
    let headline = |shortage| {
        let Line::Incident(mut incident) = system.clone() else { panic!("an incident") };
        incident.verdict.shortage = shortage;
        text(*incident).lines().next().expect("a line").to_owned()
    };
    let fragmented = headline(Some(Shortage::Fragmentation));
    assert!(fragmented.ends_with("OOM KILL  the node ran out of large free blocks"), "{fragmented}");
    for shortage in [None, Some(Shortage::LowMemory)] {
        assert!(headline(shortage).ends_with("the node ran out of memory"), "{}", headline(shortage));
    }
    let mut incident = failure(zones());
    incident.verdict.cause = schema::Cause::LowMemory;
    incident.verdict.shortage = Some(Shortage::AtomicReserves);
    let said = text(incident);
    assert!(said.contains("ALLOCATION FAILED  atomic reserves exhausted\n"), "{said}");
}
