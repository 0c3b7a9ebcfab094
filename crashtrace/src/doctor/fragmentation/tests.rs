use super::*;
use crate::doctor::tests::remedies::flaw;
use crate::doctor::tests::{EXITS, PROBE};
use crate::doctor::{Findings, TierTrial, Usability, assemble};
use crate::event::Hook;
use crate::kernel::host::tests::healthy;
use crate::kernel::host::{HostFacts, MemorySettings};
use crate::kernel::plan::{Beside, Functions, HooksWanted, KernelView};
use crate::observe::zoneinfo;
use crate::symbols::tests::every_function;
use crate::terminal::Page;

/// A node of 4 GiB: DMA is protected, DMA32 holds most and Normal the rest. `min` in pages.
fn zoneinfo(dma32_free: u64, normal_free: u64, min: u64) -> String {
    let zone = |name: &str, free: u64, min: u64, managed: u64, protection: &str| {
        format!(
            "Node 0, zone {name:>8}\n  pages free     {free}\n        boost    0\n        min      {min}\n        \
             low      {}\n        high     {}\n        managed  {managed}\n        protection: ({protection})\n      \
             nr_free_cma  0\n",
            min * 5 / 4,
            min * 3 / 2
        )
    };
    zone("DMA", 3840, 10, 3840, "0, 2900, 3900, 3900")
        + &zone("DMA32", dma32_free, min, 742_400, "0, 0, 1000, 1000")
        + &zone("Normal", normal_free, min, 256_000, "0, 0, 0, 0")
}

const DMA: &str =
    "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3 \n";

fn parsed(buddyinfo: &str, zoneinfo: &str) -> Zones {
    zoneinfo::parse(format!("{DMA}{buddyinfo}").as_bytes(), zoneinfo.as_bytes()).expect("zones")
}

fn seen(buddyinfo: &str, zoneinfo: &str) -> (Fragmentation, Vec<Unresolved>) {
    let mut unresolved = Vec::new();
    let found = look(&parsed(buddyinfo, zoneinfo), 4096, &mut unresolved);
    (found, unresolved)
}

const SMALL_PIECES: &str = "Node 0, zone    DMA32   4000   1000    500      0      0      0      0      0      0      0      0 \n\
     Node 0, zone   Normal   4000   1000    500      0      0      0      0      0      0      0      0 \n";

/// Enough is free, 8000 pages in each zone, and none of it in blocks above 16 KiB except in DMA, whose lowmem reserve is closed to
/// allocations that might use a higher zone: 3840 free pages are less than 10 + 3900.
fn fragmented() -> Fragmentation {
    let (found, unresolved) = seen(SMALL_PIECES, &zoneinfo(8000, 8000, 500));
    assert_eq!(unresolved, []);
    found
}

fn fails(order: u32, bytes: u64, reason: Shortage) -> Outlook {
    Outlook { fails_from_order: Some(order), fails_from_bytes: Some(bytes), reason: Some(reason) }
}

#[test]
fn the_first_size_that_no_zone_with_room_has_a_block_of_fails_by_fragmentation() {
    let found = fragmented();
    let expected = fails(3, 32 << 10, Shortage::Fragmentation);
    assert_eq!((found.kernel, found.movable), (Some(expected), Some(expected)));
}

/// For order 3: (1000 + 8000 * 1000 / 8) / 5500 is 182, of 1000. Of 8000 free pages 2000 are in blocks of order 2, and 4000
/// in those of order 0.
#[test]
fn each_zone_has_its_figures_and_the_kernels_indices_for_each_order() {
    let found = fragmented();
    let normal = &found.zones[2];
    assert_eq!((normal.numa_node, normal.zone.as_ref().map(Text::as_str)), (Some(0), Some("Normal")));
    assert_eq!((normal.free_bytes, normal.min_bytes), (Some(8000 << 12), Some(500 << 12)));
    assert_eq!((normal.managed_bytes, normal.lowmem_reserve_bytes), (Some(256_000 << 12), Some(0)));
    let indices = normal.fragmentation_index.as_ref().expect("an index for each order");
    assert_eq!(indices[..4], [-1.0, -1.0, -1.0, 0.818]);
    let unusable = normal.unusable_index.as_ref().expect("an index for each order");
    assert_eq!(unusable[..4], [0.0, 0.5, 0.75, 1.0]);
    assert_eq!((indices.len(), unusable.len()), (11, 11));
    assert_eq!(found.zones[0].lowmem_reserve_bytes, Some(3900 << 12));
    assert!(found.zones.iter().all(|zone| zone.kernel_may_use));
}

#[test]
fn where_every_zone_is_at_its_mark_even_a_single_page_fails_by_low_memory() {
    // Below 500 + 1000 in DMA32 and 500 in Normal, in blocks of the largest sizes.
    let buddyinfo = "Node 0, zone    DMA32      0      0      0      0      0      0      0      0      0      0      1 \n\
                     Node 0, zone   Normal    500      0      0      0      0      0      0      0      0      0      0 \n";
    let (found, _) = seen(buddyinfo, &zoneinfo(1024, 500, 500));
    assert_eq!(found.kernel, Some(fails(0, 4096, Shortage::LowMemory)));
    // With one more page in Normal, an allocation gets that page.
    let (found, _) = seen(buddyinfo, &zoneinfo(1024, 501, 500));
    assert_eq!(found.kernel, Some(fails(1, 8192, Shortage::LowMemory)));
}

#[test]
fn where_nothing_fails_there_is_no_order_and_no_reason() {
    let buddyinfo = "Node 0, zone   Normal      0      0      0      0      0      0      0      0      0      0    100 \n";
    let (found, unresolved) = seen(buddyinfo, &zoneinfo(0, 102_400, 500));
    let none = Outlook { fails_from_order: None, fails_from_bytes: None, reason: None };
    assert_eq!((found.kernel, found.movable, unresolved), (Some(none), Some(none), Vec::new()));
}

/// Memory that only movable pages may use does not serve the kernel.
#[test]
fn zone_movable_and_cma_serve_processes_only() {
    // The kernel also lists zones that a node does not have.
    let movable = "Node 1, zone      DMA\n        managed  0\nNode 1, zone    DMA32\n        managed  0\n\
                   Node 1, zone   Normal\n        managed  0\nNode 1, zone  Movable\n  pages free     1024\n        min      10\n        managed  4096\n        \
                   protection: (0, 0, 0, 0)\n";
    let zoneinfo = zoneinfo(8000, 8000, 500) + movable;
    let buddyinfo = "Node 0, zone    DMA32   8000      0      0      0      0      0      0      0      0      0      0 \n\
                     Node 0, zone   Normal   8000      0      0      0      0      0      0      0      0      0      0 \n\
                     Node 1, zone  Movable      0      0      0      0      0      0      0      0      0      2      0 \n";
    let (found, _) = seen(buddyinfo, &zoneinfo);
    assert_eq!(found.kernel, Some(fails(1, 8192, Shortage::Fragmentation)));
    assert_eq!(found.movable, Some(fails(10, 4 << 20, Shortage::Fragmentation)));
    assert!(!found.zones[3].kernel_may_use && found.zones[3].numa_node == Some(1));

    // All but 400 of Normal's pages are CMA's: for the kernel it has no room.
    let zoneinfo = zoneinfo.replace("nr_free_cma  0", "nr_free_cma  7600");
    let (found, _) = seen(buddyinfo, &zoneinfo);
    assert_eq!(found.kernel, Some(fails(0, 4096, Shortage::LowMemory)));
    assert_eq!(found.movable.and_then(|movable| movable.fails_from_order), Some(10));
    assert_eq!(found.zones[2].free_cma_bytes, 7600 << 12);
}

#[test]
fn unread_values_are_null_and_have_a_reason() {
    let buddyinfo = "Node 0, zone    DMA32   4000   1000    500      0      0      0      0      0      0      0      0 \n";
    let (found, unresolved) = seen(buddyinfo, &zoneinfo(8000, 8000, 500));
    assert_eq!((found.kernel, found.zones[2].free_blocks.as_ref()), (None, None));
    assert_eq!(found.zones[2].fragmentation_index, None);
    let fields: Vec<_> = unresolved.iter().map(|gap| gap.field.as_str()).collect();
    assert_eq!(fields, ["fragmentation.kernel", "fragmentation.movable"]);
    assert!(unresolved[0].reason.contains("order 3"), "{unresolved:?}");
}

fn with(memory: MemorySettings) -> HostFacts {
    HostFacts { memory, ..healthy() }
}

/// 742400 + 256000 + 3840 pages are 4008960 KiB; the root of 16 times as many is 8008.
#[test]
fn settings_that_are_plainly_bad_for_these_zones_have_a_remedy_each() {
    let bad = MemorySettings {
        min_free_kbytes: Some(4003),
        compaction_proactiveness: Some(0),
        compact_unevictable_allowed: Some(0),
        extfrag_threshold: Some(900),
    };
    let given = remedies(&fragmented(), &with(bad)).join("\n");
    for (at, part) in [
        "run `echo 1 > /proc/sys/vm/compact_memory` to compact memory now, as far as its pages are movable: no free block has 32K",
        "vm.compaction_proactiveness=20",
        "vm.compact_unevictable_allowed=1",
        "vm.extfrag_threshold=500: at 900",
        "vm.min_free_kbytes: it is 4003, and the kernel's default for this much memory is 8008",
    ]
    .into_iter()
    .enumerate()
    {
        assert!(given.lines().nth(at).is_some_and(|line| line.contains(part)), "{part}: {given}");
    }
    assert!(given.lines().all(|remedy| flaw(remedy).is_none()), "{given}");
    // With one more page, half of it is reached.
    let good = MemorySettings { min_free_kbytes: Some(4004), ..healthy().memory };
    let given = remedies(&fragmented(), &with(good));
    assert_eq!(given.len(), 2, "{given:?}");
    assert!(given[1].contains("(20 now"), "{given:?}");
    let unknown = remedies(&fragmented(), &with(MemorySettings::default()));
    assert_eq!(unknown.len(), 1, "{unknown:?}");
}

#[test]
fn scarce_large_blocks_are_normal_and_have_no_remedy() {
    let scarce = |reason| Fragmentation { kernel: Some(fails(4, 64 << 10, reason)), ..fragmented() };
    assert_eq!(remedies(&scarce(Shortage::Fragmentation), &healthy()), [""; 0]);
    assert_eq!(remedies(&scarce(Shortage::LowMemory), &healthy()), [""; 0]);
    // Except for this setting, which is only about that.
    let threshold = with(MemorySettings { extfrag_threshold: Some(501), ..healthy().memory });
    assert_eq!(remedies(&scarce(Shortage::Fragmentation), &threshold).len(), 1);
    assert_eq!(remedies(&Fragmentation { kernel: None, ..fragmented() }, &healthy()), [""; 0]);
}

#[test]
fn low_memory_is_no_case_for_compaction() {
    let low = Fragmentation { kernel: Some(fails(0, 4096, Shortage::LowMemory)), ..fragmented() };
    let given = remedies(&low, &healthy()).join("\n");
    assert!(given.starts_with("free memory on this node") && !given.contains("compact"), "{given}");
}

/// The whole text, on 4 KiB pages.
#[test]
fn the_text_says_from_which_size_allocations_fail_and_why_and_draws_it() {
    let facts = facts(&fragmented(), 4096);
    let facts: Vec<_> = facts.iter().map(|(name, words)| format!("{name}: {words}")).collect();
    assert_eq!(
        facts,
        [
            "kernel (GFP_KERNEL): up to 16K, not 32K (order 3) or more: free memory is fragmented",
            "processes (movable): up to 16K, not 32K (order 3) or more: free memory is fragmented",
            "huge page (2M): no",
        ]
    );
    let expected = "                               available│not
  zone              index   4K   8K  16K│ 32K  64K 128K 256K 512K   1M   2M   4M
  NUMA 0 DMA         kept    0    0    0│   0    0    0    0    0    1    1    3
     15M free, 15.3M kept               │                         ▁▁▁▁ ▂▂▂▂ ████
  NUMA 0 DMA32      0.818 4000 1000  500│   0    0    0    0    0    0    0    0
   31.2M free, 5.9M kept  ████ ▄▄▄▄ ▄▄▄▄│
  NUMA 0 Normal     0.818 4000 1000  500│   0    0    0    0    0    0    0    0
   31.2M free, 2M kept    ████ ▄▄▄▄ ▄▄▄▄│
  bars: the share of the zone's free memory in blocks of each size
  kept: min watermark, lowmem reserve, and what is not for such an allocation
  index (for 32K): 0 memory is short, 1 it is fragmented, -1 a block is free
  \"kept\" for an index: such a block is free, but within the reserve
";
    let mut page = Page::new(false);
    draw(&mut page, &fragmented(), 4096);
    assert_eq!(page.into_string(), expected);
}

#[test]
fn a_huge_page_is_as_large_as_the_page_size_makes_it() {
    let said = |page_size_bytes| facts(&fragmented(), page_size_bytes).pop().expect("a line").0;
    assert_eq!([4096, 16384, 65536].map(said), ["huge page (2M)", "huge page (32M)", "huge page (512M)"]);
}

#[test]
fn json_names_the_reason_as_reports_do() {
    let value = serde_json::to_value(fragmented()).expect("JSON");
    assert_eq!(value["kernel"]["reason"], "fragmentation");
    assert_eq!(value["kernel"]["fails_from_order"], 3);
    assert_eq!(value["zones"][2]["fragmentation_index"][3], 0.818);
}

/// All hooks work on this node.
fn findings(zones: Result<Zones, String>) -> Findings {
    let all = Functions {
        oom_kill_process: true,
        mem_cgroup_out_of_memory: true,
        mem_cgroup_oom_synchronize: true,
        warn_alloc: true,
    };
    let trial = TierTrial {
        hook: Hook::Fentry,
        usable: true,
        memcg: true,
        wait: true,
        alloc: Some(PROBE),
        error: None,
        alloc_error: None,
        exits: EXITS.to_vec(),
        exits_error: None,
        not_pinned: None,
    };
    Findings {
        facts: healthy(),
        kernel: KernelView { btf_functions: all, kallsyms_functions: Some(all), mark_victim_arg: Some(1) },
        wanted: HooksWanted::Auto,
        beside: Beside::ALL,
        trials: vec![trial],
        self_test: None,
        self_test_refusal: None,
        absent_fields: Vec::new(),
        symbols: every_function(),
        confinement: None,
        names: Vec::new(),
        kube_writes: Vec::new(),
        zones,
    }
}

/// Exit codes are about what crashtrace can see.
#[test]
fn the_state_of_memory_gives_remedies_and_changes_no_status() {
    let report = assemble(findings(Ok(parsed(SMALL_PIECES, &zoneinfo(8000, 8000, 500)))));
    assert_eq!((report.verdict.status, report.exit_code()), (Usability::Ok, 0));
    assert!(report.verdict.remedies[0].contains("compact_memory"), "{:?}", report.verdict.remedies);
    assert_eq!((report.fragmentation, report.unresolved), (Some(fragmented()), Vec::new()));
}

#[test]
fn zones_that_cannot_be_read_are_null_with_the_reason() {
    let report = assemble(findings(Err("/proc/zoneinfo cannot be read: EACCES".to_owned())));
    assert_eq!((report.verdict.status, report.fragmentation.as_ref()), (Usability::Ok, None));
    assert_eq!(report.unresolved[0].field, "fragmentation");
    assert!(report.unresolved[0].reason.contains("EACCES"));
    assert!(serde_json::to_value(report).expect("JSON")["fragmentation"].is_null());
}
