//! Failed allocations: row by row, with their sentences.

use super::build::{API, MIB, POD, api, lineage, stamp, task};
use crate::classify::Verdict;
use crate::classify::tests::build::{Told, told};
use crate::correlate::{AllocFailures, Incident};
use crate::enrich::{Case, enrich};
use crate::event::{
    AllocFailure, Asked, BlockTypes, Constraint, FailureKey, Hook, Lineage, MigrateType, Stack, Task,
    Vmalloc, VmallocStep, Watermarks, Zone, ZoneTypes, Zones,
};
use crate::gfp::GfpNames;
use crate::node::Node;
use crate::node::{ProcFile, ProcFiles};
use crate::schema::{Cause, Certainty, Level, Origin, Shortage};

mod charge;
mod node;

pub(super) const KERNEL: u32 = 0xcc0;
const ACCOUNT: u32 = 1 << 22;
const NOWARN: u32 = 1 << 13;
const RETRY_MAYFAIL: u32 = 1 << 14;

/// Zone Normal of 1 GiB, which must leave 4 MiB free, with `free` pages, none of which has a free neighbour.
pub(super) fn normal(free: u64) -> Zone {
    let mut free_blocks = vec![0; 11];
    free_blocks[0] = free;
    let mut block_types = vec![BlockTypes::default(); 11];
    block_types[0].any = true;
    Zone {
        numa_node: Some(0),
        name: Some("Normal".into()),
        free_pages: Some(free),
        watermarks: Some(Watermarks { min_pages: 1024, low_pages: 1280, high_pages: 1536 }),
        lowmem_reserve_pages: Some(vec![0; 5]),
        managed_pages: Some(1 << 18),
        free_blocks: Some(free_blocks),
        block_types: Some(block_types),
        ..Zone::default()
    }
}

/// With blocks of 2^order pages.
pub(super) fn with_blocks(mut zone: Zone, order: usize, blocks: u64) -> Zone {
    zone.free_blocks.as_mut().expect("blocks")[order] = blocks;
    zone.block_types.as_mut().expect("types")[order].any = true;
    zone.free_pages = zone.free_pages.map(|free| free + (blocks << order));
    zone
}

pub(super) fn zones(list: Vec<Zone>) -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    Zones { list, left_out: 0, late: false, types }
}

/// 35 MiB free in single pages.
pub(crate) fn fragmented() -> Zones {
    zones(vec![normal(8960)])
}

/// 5 MiB free, of which 4 must stay free.
pub(crate) fn short() -> Zones {
    zones(vec![normal(1280)])
}

/// An allocation of order `order` by `nginx` of a container, which failed.
pub(crate) fn failure(order: u32, gfp: u32, zones: Option<Zones>) -> AllocFailure {
    AllocFailure {
        stamp: crate::event::Stamp { decision_ns: None, ..stamp(Hook::Kprobe) },
        key: FailureKey { cgroup_id: 1, format_address: 2, argument: order.into(), gfp, pad: 0 },
        counted: crate::event::Counted { since_ns: 1, total: 1, sent_ns: 1 },
        asked: Asked::Pages { order },
        vmalloc: None,
        format: Some("page allocation failure: order:%u".into()),
        gfp,
        migrate_type: Some(MigrateType::Unmovable),
        nodemask: None,
        mems_allowed: Some(1),
        numa_node: 0,
        task: task("nginx", 301),
        cgroups: Some(lineage(&api())),
        stack: Some(Stack(vec!["warn_alloc".to_owned()])),
        zones,
        unmovable: Some(crate::observe::meminfo::parse(MEMINFO)),
    }
}

/// Much unmovable memory.
const MEMINFO: &[u8] =
    b"Unevictable: 409600 kB\nSUnreclaim: 204800 kB\nSReclaimable: 2048 kB\nHugePages_Total: 0\n\
                         Hugepagesize: 2048 kB\n";

pub(super) fn a_node() -> Node {
    #[derive(Debug)]
    struct Meminfo;
    impl ProcFiles for Meminfo {
        fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String> {
            assert_eq!(file, ProcFile::Meminfo);
            Ok(MEMINFO.to_vec())
        }
    }
    Node { proc: Box::new(Meminfo), gfp: GfpNames::fallback(), ..Node::unseen("a test") }
}

pub(crate) fn case(failure: AllocFailure) -> Case {
    let failures = AllocFailures { event: Box::new(failure), repeats: 0, revision: 1 };
    enrich(Incident::AllocFailure(Box::new(failures)), &mut a_node())
}

pub(super) fn verdict(failure: AllocFailure) -> Told {
    told(&case(failure))
}

#[track_caller]
fn expect(verdict: &Verdict, cause: Cause, shortage: Option<Shortage>, level: Option<Level>) {
    assert_eq!((verdict.cause, verdict.shortage, verdict.level), (cause, shortage, level), "{verdict:#?}");
}

fn on_tracepoint(failure: AllocFailure) -> AllocFailure {
    let stamp = crate::event::Stamp { hook: Hook::RawTracepoint, ..failure.stamp };
    let key = FailureKey { format_address: 0, ..failure.key };
    AllocFailure { stamp, key, format: None, ..failure }
}

const BY_NGINX: &str = "allocation by nginx (pid 301) of container 4f2a00000000… of pod 1f6cbd1e… failed: ";

#[test]
fn memory_in_small_blocks_is_fragmentation() {
    let verdict = verdict(failure(9, KERNEL, Some(fragmented())));
    expect(&verdict, Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    assert_eq!((verdict.origin, verdict.constraint), (Some(Origin::Allocation), Some(Constraint::None)));
    assert_eq!((verdict.certainty, &verdict.limit), (Certainty::Observed, &None));
    assert_eq!(
        verdict.summary,
        format!(
            "order-9 (2 MiB) {BY_NGINX}memory was fragmented: 35 MiB were free in zones above their reserves, but the largest block there was 4 KiB"
        )
    );
    assert_eq!(
        verdict.evidence,
        [
            "the kernel called warn_alloc for the failed allocation",
            "zone Normal of NUMA node 0, the largest eligible zone, had 35 MiB free and must keep 4 MiB in reserve: enough \
             above the reserve for 2 MiB",
            "the kernel's fragmentation index of zone Normal of NUMA node 0 for order 9 was 0.998 (0: memory is short, 1: \
             memory is fragmented); 100.0 % of its free memory was in smaller blocks",
            "memory of the node that compaction cannot move: 400 MiB unevictable (locked, or files in memory without swap), \
             200 MiB unreclaimable slab, 2 MiB reclaimable slab",
        ]
    );
    for part in [
        "vm.compact_memory",
        "400 MiB are unevictable",
        "200 MiB are unreclaimable slab",
        "so large an order",
        "smaller buffers",
    ] {
        let part = part.replace("vm.compact_memory", "/proc/sys/vm/compact_memory");
        assert!(verdict.remedy.contains(&part), "{part}: {}", verdict.remedy);
    }
    assert!(!verdict.remedy.contains("are reclaimable slab"), "too little to matter: {}", verdict.remedy);
    assert_eq!(verdict.unresolved, []);
}

#[test]
fn too_little_memory_is_no_fragmentation() {
    let verdict = verdict(failure(9, KERNEL, Some(short())));
    expect(&verdict, Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
    assert_eq!(
        verdict.summary,
        format!(
            "order-9 (2 MiB) {BY_NGINX}memory was short: zone Normal of NUMA node 0 had 5 MiB free for it and must keep 4 MiB \
             in reserve"
        )
    );
    assert!(verdict.shows(&["in reserve: too little above the reserve for 2 MiB"]));
    assert!(verdict.remedy.contains("memory is short, not fragmented"), "{}", verdict.remedy);
    assert!(!verdict.shows(&["compaction"]));
}

/// For one page only memory can have been short, however much has been freed since; and the evidence has that.
#[test]
fn a_single_page_that_failed_is_low_memory_even_if_there_is_plenty_now() {
    let now = zones(vec![with_blocks(normal(100_000), 10, 5)]);
    let verdict = verdict(failure(0, KERNEL, Some(now)));
    expect(&verdict, Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
    assert_eq!(
        verdict.summary,
        format!(
            "order-0 (4 KiB) {BY_NGINX}memory was short, though some was free again when the zones were read"
        )
    );
    assert!(!verdict.remedy.contains("so large an order"), "{}", verdict.remedy);
}

#[test]
fn an_atomic_allocation_exhausts_the_reserves_or_lacks_a_block() {
    for atomic in [0xa20, 0x820] {
        let empty = verdict(failure(3, atomic, Some(zones(vec![normal(300)]))));
        expect(&empty, Cause::LowMemory, Some(Shortage::AtomicReserves), Some(Level::Node));
        assert!(
            empty.summary.starts_with("order-3 (32 KiB) atomic allocation by nginx"),
            "{}",
            empty.summary
        );
        assert!(empty.summary.ends_with("failed: the atomic reserves were exhausted"), "{}", empty.summary);
        assert!(empty.remedy.starts_with("Raise vm.min_free_kbytes"), "{}", empty.remedy);
        // Below min, but not below the minimum of an atomic allocation.
        let pieces = verdict(failure(3, atomic, Some(zones(vec![normal(900)]))));
        expect(&pieces, Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    }
    let patient = verdict(failure(3, KERNEL, Some(zones(vec![normal(900)]))));
    expect(&patient, Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
    assert!(!patient.summary.contains("atomic"), "{}", patient.summary);
}

#[test]
fn an_allocation_that_would_succeed_now_stays_open_with_its_reason() {
    let served = zones(vec![with_blocks(normal(8960), 9, 3)]);
    let verdict = verdict(failure(9, KERNEL, Some(served)));
    expect(&verdict, Cause::Unknown, None, None);
    assert!(
        verdict.gap("verdict.cause").is_some_and(|why| why.contains("was free when the zones were read"))
    );
    assert_eq!(verdict.gap("verdict.level"), Some("the cause is unknown"));
    assert!(verdict.shows(&["was -1.000 (a block was free)"]), "{verdict:#?}");
    assert!(verdict.summary.ends_with("failed: cause unknown"), "{}", verdict.summary);
}

#[test]
fn zones_that_were_not_read_leave_it_open() {
    let none = verdict(failure(9, KERNEL, None));
    expect(&none, Cause::Unknown, None, None);
    assert_eq!(none.gap("verdict.cause"), Some("the zones could not be read"));
    assert!(none.summary.contains("order-9 (2 MiB) allocation"), "{}", none.summary);
    let part = Zones { left_out: 3, ..fragmented() };
    let part = verdict(failure(9, KERNEL, Some(part)));
    expect(&part, Cause::Unknown, None, None);
    assert!(part.gap("verdict.cause").is_some_and(|why| why.contains("not all eligible zones")));
}

/// One free block of half the size: the kernel's index is below 0, but no block is large enough.
#[test]
fn an_index_below_zero_is_no_block() {
    let mut zone = with_blocks(normal(0), 8, 1);
    zone.watermarks = Some(Watermarks::default());
    let verdict = verdict(failure(9, KERNEL, Some(zones(vec![zone]))));
    expect(&verdict, Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
    assert!(verdict.shows(&["was -0.500 (0: memory is short"]), "{verdict:#?}");
}

#[test]
fn memory_in_a_protected_zone_is_not_counted_as_free() {
    let mut dma = with_blocks(normal(256), 10, 3);
    dma.name = Some("DMA".into());
    dma.managed_pages = Some(3840);
    dma.lowmem_reserve_pages = Some(vec![0, 3000, 8000, 8000, 8000]);
    let verdict = verdict(failure(9, KERNEL, Some(zones(vec![dma, normal(8960)]))));
    expect(&verdict, Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
    assert!(
        verdict.summary.ends_with(
            "35 MiB were free in zones above their reserves, but the largest block there was 4 KiB"
        ),
        "{}",
        verdict.summary
    );
}

#[test]
fn reserved_blocks_are_named_with_their_purpose() {
    let kept = |set: fn(&mut BlockTypes)| {
        let mut zone = normal(8960);
        zone.free_blocks.as_mut().expect("blocks")[9] = 2;
        set(&mut zone.block_types.as_mut().expect("types")[9]);
        verdict(failure(9, KERNEL, Some(zones(vec![zone]))))
    };
    let sentence = "zone Normal of NUMA node 0 has large enough blocks, but reserves them for";
    for (set, whom) in [
        ((|types| types.cma = true) as fn(&mut BlockTypes), "movable memory (CMA)"),
        (|types| types.highatomic = true, "atomic allocations"),
        (|types| (types.cma, types.highatomic) = (true, true), "movable memory (CMA) and atomic allocations"),
    ] {
        let verdict = kept(set);
        expect(&verdict, Cause::Fragmentation, Some(Shortage::Fragmentation), Some(Level::Node));
        assert!(verdict.evidence.contains(&format!("{sentence} {whom}")), "{verdict:#?}");
        assert!(verdict.summary.ends_with("35 MiB were free, but no block that it may use was large enough"));
    }
    assert!(!kept(|types| types.other = true).shows(&["reserves them"]));
}

#[test]
fn a_boost_is_reported() {
    let zone = Zone { boost_pages: 512, ..normal(8960) };
    let verdict = verdict(failure(9, KERNEL, Some(zones(vec![zone]))));
    assert!(
        verdict.shows(&[
            "must keep 6 MiB in reserve (with a watermark boost of 2 MiB after recent fragmentation)"
        ]),
        "{verdict:#?}"
    );
}

#[test]
fn figures_that_came_late_make_the_cause_inferred() {
    for (figures, cause) in [(fragmented(), Cause::Fragmentation), (short(), Cause::LowMemory)] {
        let late = verdict(failure(9, KERNEL, Some(Zones { late: true, ..figures })));
        assert_eq!((late.cause, late.certainty), (cause, Certainty::Inferred));
        assert_eq!(late.inferred(), ["verdict.cause"]);
        assert!(late.shows(&["read from /proc after the failure"]));
    }
    let open = verdict(failure(9, KERNEL, Some(Zones { late: true, left_out: 1, ..fragmented() })));
    assert_eq!(open.certainty, Certainty::Observed, "nothing is claimed");
}

#[test]
fn vmalloc_is_told_apart() {
    let of = |step, bytes, zones| {
        let format = Some("vmalloc error: size %lu, failed to allocate pages".into());
        let vmalloc = Some(Vmalloc { step, got_bytes: None });
        verdict(AllocFailure {
            asked: Asked::Vmalloc { bytes },
            vmalloc,
            format,
            ..failure(0, KERNEL, zones)
        })
    };
    let vmalloc = |bytes, zones| of(VmallocStep::Pages, bytes, zones);
    let empty = vmalloc(Some(512 * MIB), Some(zones(vec![normal(1000)])));
    expect(&empty, Cause::LowMemory, Some(Shortage::LowMemory), Some(Level::Node));
    assert!(empty.summary.starts_with("vmalloc of 512 MiB by nginx"), "{}", empty.summary);
    assert!(empty.summary.contains("failed: memory was short"), "{}", empty.summary);
    let plenty = vmalloc(Some(512 * MIB), Some(fragmented()));
    expect(&plenty, Cause::Unknown, None, None);
    let freed = |why: &str| why.starts_with("a large enough block was free");
    assert!(plenty.gap("verdict.cause").is_some_and(freed), "it failed for a page, not for address space");
    let nowhere = of(VmallocStep::AddressSpace, Some(512 * MIB), Some(fragmented()));
    expect(&nowhere, Cause::Unknown, None, None);
    assert!(nowhere.gap("verdict.cause").is_some_and(|why| why.starts_with("there was memory")));
    assert!(plenty.remedy.contains("\"vmalloc\" in the kernel log"), "{}", plenty.remedy);
    let nameless = vmalloc(None, None);
    expect(&nameless, Cause::Unknown, None, None);
    assert!(nameless.summary.contains("vmalloc of unknown size"));
    let vmalloc = Some(Vmalloc { step: VmallocStep::Pages, got_bytes: Some(MIB) });
    let sizeless =
        case(AllocFailure { asked: Asked::Vmalloc { bytes: None }, vmalloc, ..failure(0, KERNEL, None) });
    assert!(sizeless.unresolved.iter().any(|gap| gap.reason.contains("vm_struct")), "{sizeless:#?}");
    assert!(nameless.shows(&["with the message \"vmalloc error: size %lu, failed to allocate pages\""]));
}

#[test]
fn an_unknown_kind_of_allocation_is_reported_as_unknown() {
    let format = Some("vmemmap alloc failure: order:%u\n".into());
    let other =
        verdict(AllocFailure { asked: Asked::Other, format, ..failure(0, KERNEL, Some(fragmented())) });
    expect(&other, Cause::Unknown, None, None);
    assert_eq!(other.gap("verdict.cause"), Some("this version does not know the kind of allocation"));
    assert!(other.summary.starts_with("allocation of unknown size by nginx"), "{}", other.summary);
    assert!(other.evidence.iter().all(|sentence| !sentence.contains('\n')), "{other:#?}");
}

#[test]
fn an_expected_failure_is_reported_as_expected() {
    let verdict = verdict(failure(9, KERNEL | NOWARN, Some(fragmented())));
    assert!(verdict.shows(&["expects that this may fail (__GFP_NOWARN)"]));
    assert!(verdict.remedy.contains("An expected failure needs no remedy"), "{}", verdict.remedy);
}

/// Memory was freed before the zones were read: the sentence that there was room says so.
#[test]
fn room_in_a_verdict_of_low_memory_explains_itself() {
    const ATOMIC: u32 = 0xa20;
    let roomy = || Some(zones(vec![normal(100_000)]));
    for (gfp, words) in [
        (KERNEL, ["a single page fails only for lack of memory", "freed"]),
        (ATOMIC, ["cannot wait for page cache to be reclaimed", "freed"]),
    ] {
        let verdict = verdict(failure(0, gfp, roomy()));
        assert_eq!(verdict.cause, Cause::LowMemory);
        assert!(verdict.shows(&["enough above the reserve"]), "{verdict:#?}");
        assert!(verdict.shows(&words), "{verdict:#?}");
    }
    let short = verdict(failure(0, KERNEL, Some(zones(vec![normal(1000)]))));
    assert!(!short.shows(&["had room again"]), "there was no room");
    let blocks = verdict(failure(9, KERNEL, Some(fragmented())));
    assert!(!blocks.shows(&["had room again"]), "memory was not short");
}

#[test]
fn an_allocation_by_an_interrupt_has_no_owner() {
    let in_interrupt = AllocFailure {
        stack: Some(Stack(vec!["warn_alloc".to_owned(), "handle_softirqs".to_owned()])),
        ..failure(3, 0xa20, Some(zones(vec![normal(300)])))
    };
    let case = case(in_interrupt);
    assert_eq!(case.trigger(), None);
    let why = case.unresolved.iter().find(|gap| gap.field.to_string() == "trigger").expect("a reason");
    assert!(why.reason.starts_with("the allocation came from an interrupt"), "{}", why.reason);
    let verdict = told(&case);
    assert!(
        verdict.summary.starts_with("order-3 (32 KiB) atomic allocation by an interrupt failed"),
        "{}",
        verdict.summary
    );
    assert!(!verdict.summary.contains("nginx") && !verdict.remedy.contains("nginx"));
    assert!(verdict.shows(&["not from nginx (pid 301), the task that it interrupted"]));
}

/// A task of the kernel's may do the work of interrupts, and then no interrupt interrupted it.
#[test]
fn the_task_that_does_the_work_of_interrupts_was_not_interrupted() {
    let kernels = Task { rss: None, total_vm_bytes: None, page_table_bytes: None, ..task("ksoftirqd/3", 30) };
    let in_ksoftirqd = AllocFailure {
        task: kernels.clone(),
        cgroups: Some(lineage("/")),
        stack: Some(Stack(vec!["warn_alloc".to_owned(), "handle_softirqs".to_owned()])),
        ..failure(3, 0xa20, Some(zones(vec![normal(300)])))
    };
    let case = case(in_ksoftirqd);
    let why = case.unresolved.iter().find(|gap| gap.field.to_string() == "trigger").expect("a reason");
    assert_eq!(why.reason, "the allocation came from an interrupt, whose work was left to ksoftirqd");
    let verdict = told(&case);
    assert!(
        verdict.summary.starts_with("order-3 (32 KiB) atomic allocation by an interrupt failed"),
        "{}",
        verdict.summary
    );
    assert!(verdict.shows(&["from an interrupt, whose work was left to ksoftirqd/3 (pid 30)"]));
    assert!(!verdict.shows(&["interrupted"]));
    // Any process may take that name, but then it has memory, or an owner.
    let user = Task { uid: Some(1000), ..kernels.clone() };
    for (task, cgroups) in [(task("ksoftirqd/3", 30), "/"), (user, "/"), (kernels, "/system.slice/x.service")]
    {
        let verdict = self::verdict(AllocFailure {
            task,
            cgroups: Some(lineage(cgroups)),
            stack: Some(Stack(vec!["warn_alloc".to_owned(), "handle_softirqs".to_owned()])),
            ..failure(3, 0xa20, Some(zones(vec![normal(300)])))
        });
        assert!(verdict.shows(&["ksoftirqd/3 (pid 30), the task that it interrupted"]), "{verdict:?}");
    }
}

/// Without function names an interrupt is not visible, and an allocation that may not sleep may be an interrupt's.
#[test]
fn the_caller_is_in_doubt_where_the_stack_has_no_names() {
    let doubt = "came from nginx (pid 301) or from an interrupt on its CPU";
    let of = |gfp| verdict(AllocFailure { stack: None, ..failure(3, gfp, Some(fragmented())) });
    assert!(of(0xa20).shows(&[doubt]));
    assert!(!of(KERNEL).shows(&[doubt]), "it may sleep, so it is no interrupt");
}

#[test]
fn an_owner_is_named_if_it_is_known() {
    let of = |cgroups: Option<Lineage>| {
        verdict(AllocFailure { cgroups, ..failure(9, KERNEL, Some(short())) }).summary
    };
    assert!(of(Some(lineage(&format!("{POD}/{API}")))).starts_with(&format!("order-9 (2 MiB) {BY_NGINX}")));
    assert!(
        of(Some(lineage("/system.slice/db.service")))
            .starts_with("order-9 (2 MiB) allocation by nginx (pid 301) of host unit db.service failed")
    );
    assert!(of(None).starts_with("order-9 (2 MiB) allocation by nginx (pid 301) failed"));
}
