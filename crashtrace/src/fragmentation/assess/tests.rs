//! The table, row by row, with zones as machines have them.

use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::event::{Name, Watermarks, ZoneTypes};
use crate::gfp::GfpNames;

const ORDERS: usize = 11;
/// Flags, on a kernel with `__GFP_ATOMIC`.
const KERNEL: u32 = 0xcc0;
const ATOMIC: u32 = 0xa20;
const HIGHUSER_MOVABLE: u32 = 0x10_0cca;
const DMA: u32 = 1;

fn traits(gfp: u32) -> Traits {
    GfpNames::fallback().traits(gfp)
}

fn request(order: u32, gfp: u32) -> Request {
    Request { order, traits: traits(gfp), nodes: None }
}

/// A zone of 1 GiB on NUMA node 0 whose free pages are all single: 4000 above its watermark.
fn zone(name: &str) -> Zone {
    let mut free_blocks = vec![0; ORDERS];
    free_blocks[0] = 5000;
    Zone {
        numa_node: Some(0),
        name: Some(name.into()),
        free_pages: Some(5000),
        watermarks: Some(Watermarks { min_pages: 1000, low_pages: 1250, high_pages: 1500 }),
        lowmem_reserve_pages: Some(vec![0; 5]),
        managed_pages: Some(1 << 18),
        free_blocks: Some(free_blocks),
        block_types: Some(types(0, |types| types.any = true)),
        ..Zone::default()
    }
}

/// Types of blocks, with blocks of `order` only.
fn types(order: usize, set: impl Fn(&mut BlockTypes)) -> Vec<BlockTypes> {
    let mut types = vec![BlockTypes::default(); ORDERS];
    set(&mut types[order]);
    types
}

/// With a block of `order`.
fn with_block(mut zone: Zone, order: usize) -> Zone {
    zone.free_blocks.as_mut().expect("blocks")[order] += 1;
    zone.block_types.as_mut().expect("types")[order].any = true;
    zone
}

/// With only the pages that must stay free.
fn full(zone: Zone) -> Zone {
    Zone { free_pages: Some(1000), ..zone }
}

fn zones(list: Vec<Zone>) -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    Zones { list, left_out: 0, late: false, types }
}

fn shortage_of(list: Vec<Zone>, request: Request) -> Shortage {
    assess(&zones(list), &request).shortage
}

#[test]
fn each_row_of_the_table() {
    let normal = || zone("Normal");
    for (list, order, expected) in [
        (vec![full(normal())], 0, Shortage::LowMemory),
        (vec![full(normal())], 4, Shortage::LowMemory),
        // A block without room for it does not count.
        (vec![full(with_block(normal(), 4))], 4, Shortage::LowMemory),
        (vec![normal()], 4, Shortage::Fragmentation),
        (vec![normal(), full(normal())], 4, Shortage::Fragmentation),
        (vec![normal(), full(with_block(normal(), 9))], 4, Shortage::Fragmentation),
        (vec![normal()], 0, Shortage::LowMemory),
        (vec![with_block(normal(), 4)], 4, Shortage::None),
        (vec![with_block(normal(), 10)], 4, Shortage::None),
        (vec![normal(), with_block(normal(), 4)], 4, Shortage::None),
    ] {
        assert_eq!(shortage_of(list.clone(), request(order, KERNEL)), expected, "order {order}: {list:?}");
    }
}

#[test]
fn room_is_measured_to_the_page() {
    // 1000 must stay free, and 2^3 are allocated.
    for (free, room) in [(1007, false), (1008, true)] {
        let zone = Zone { free_pages: Some(free), ..zone("Normal") };
        assert_eq!(assess(&zones(vec![zone]), &request(3, KERNEL)).zones[0].room, Some(room), "{free}");
    }
    // The boost is a part of the pages that must stay free.
    let boosted = Zone { boost_pages: 500, free_pages: Some(1507), ..zone("Normal") };
    let finding = assess(&zones(vec![boosted]), &request(3, KERNEL)).zones[0];
    assert_eq!((finding.kept_pages, finding.room), (Some(1500), Some(false)));
}

/// `GFP_ATOMIC` may go down to three eighths of `min`: a half less, and a quarter of the rest.
#[test]
fn allocations_that_may_use_the_reserves_go_below_the_watermark() {
    let kept = |gfp| assess(&zones(vec![zone("Normal")]), &request(3, gfp)).zones[0].kept_pages;
    let high = KERNEL | 0x20;
    for (gfp, pages) in [(KERNEL, 1000), (0x800, 1000), (high, 500), (ATOMIC, 375), (0x820, 375)] {
        assert_eq!(kept(gfp), Some(pages), "{gfp:#x}");
    }
    let low = Zone { free_pages: Some(900), ..zone("Normal") };
    assert_eq!(shortage_of(vec![low.clone()], request(3, ATOMIC)), Shortage::Fragmentation);
    assert_eq!(shortage_of(vec![low], request(3, KERNEL)), Shortage::LowMemory);
    let protected = Zone { lowmem_reserve_pages: Some(vec![0, 0, 700, 0]), ..zone("Normal") };
    let finding = assess(&zones(vec![protected]), &request(3, ATOMIC)).zones[0];
    assert_eq!(finding.kept_pages, Some(1075), "what is kept from higher requests stays whole");
}

/// The lowest zones mostly have their large blocks left, and are reserved from allocations that may use a higher one.
#[test]
fn a_low_zone_is_protected_from_allocations_that_may_use_a_higher_one() {
    let dma = Zone {
        lowmem_reserve_pages: Some(vec![0, 3000, 8000, 8000, 8000]),
        managed_pages: Some(4000),
        ..with_block(zone("DMA"), 10)
    };
    let both = vec![dma, zone("Normal")];
    assert_eq!(shortage_of(both.clone(), request(9, KERNEL)), Shortage::Fragmentation);
    assert_eq!(shortage_of(both.clone(), request(9, DMA | KERNEL)), Shortage::None);
    let assessment = assess(&zones(both), &request(9, KERNEL));
    assert_eq!(assessment.zones[0].kept_pages, Some(9000));
    assert_eq!(assessment.zones[0].suitable_block, Some(true), "it has one all the same");
    assert_eq!(assessment.largest, Some(1));
}

#[test]
fn a_kernel_without_a_zone_takes_the_reserve_of_the_next() {
    let reserves = |types: ZoneTypes, gfp| {
        let zone = Zone { lowmem_reserve_pages: Some(vec![10, 20, 30, 40]), ..zone("Normal") };
        reserve_pages(&Zones { types, ..zones(Vec::new()) }, &zone, traits(gfp))
    };
    let all = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    for (gfp, reserve) in [(DMA, 10), (4, 20), (KERNEL, 30), (HIGHUSER_MOVABLE, 40)] {
        assert_eq!(reserves(all, gfp), Some(reserve), "{gfp:#x}");
    }
    let few = ZoneTypes { normal: Some(0), movable: Some(1), ..ZoneTypes::default() };
    assert_eq!((reserves(few, DMA), reserves(few, 4), reserves(few, KERNEL)), (Some(10), Some(10), Some(10)));
    let one = ZoneTypes { normal: Some(2), ..ZoneTypes::default() };
    assert_eq!(reserves(one, HIGHUSER_MOVABLE), Some(30));
    assert_eq!(reserves(ZoneTypes::default(), KERNEL), None);
    assert_eq!(reserves(ZoneTypes { normal: Some(9), ..few }, KERNEL), None, "it has no ninth");
}

#[test]
fn only_movable_pages_may_use_cma_memory() {
    let mut cma = Zone { free_cma_pages: 4500, ..zone("Normal") };
    cma.free_blocks.as_mut().expect("blocks")[9] = 8;
    cma.block_types.as_mut().expect("types")[9].cma = true;
    let finding = |gfp| assess(&zones(vec![cma.clone()]), &request(9, gfp)).zones[0];
    assert_eq!((finding(KERNEL).usable_pages, finding(KERNEL).suitable_block), (Some(500), Some(false)));
    let movable = finding(HIGHUSER_MOVABLE);
    assert_eq!((movable.usable_pages, movable.suitable_block), (Some(5000), Some(true)));
    assert_eq!(shortage_of(vec![cma.clone()], request(9, KERNEL)), Shortage::LowMemory);
    assert_eq!(shortage_of(vec![cma], request(9, HIGHUSER_MOVABLE)), Shortage::None);
}

#[test]
fn the_atomic_reserves_are_for_allocations_of_more_than_a_page() {
    let mut kept = Zone { highatomic_pages: 2000, ..zone("Normal") };
    kept.free_blocks.as_mut().expect("blocks")[3] = 250;
    kept.block_types.as_mut().expect("types")[3].highatomic = true;
    let finding = |order, gfp| assess(&zones(vec![kept.clone()]), &request(order, gfp)).zones[0];
    assert_eq!(
        (finding(3, KERNEL).usable_pages, finding(3, KERNEL).suitable_block),
        (Some(3000), Some(false))
    );
    assert_eq!(
        (finding(3, ATOMIC).usable_pages, finding(3, ATOMIC).suitable_block),
        (Some(5000), Some(true))
    );
    assert_eq!(finding(0, ATOMIC).usable_pages, Some(3000));
    assert_eq!(shortage_of(vec![kept.clone()], request(3, KERNEL)), Shortage::Fragmentation);
    assert_eq!(shortage_of(vec![kept], request(3, ATOMIC)), Shortage::None);
}

#[test]
fn isolated_blocks_are_not_allocatable() {
    let mut isolated = zone("Normal");
    isolated.free_blocks.as_mut().expect("blocks")[9] = 1;
    isolated.block_types.as_mut().expect("types")[9].other = true;
    for gfp in [KERNEL, ATOMIC, HIGHUSER_MOVABLE] {
        assert_eq!(shortage_of(vec![isolated.clone()], request(9, gfp)), Shortage::Fragmentation, "{gfp:#x}");
    }
}

#[test]
fn a_zone_above_the_highest_or_of_no_known_kind_is_not_eligible() {
    let names = ["DMA", "DMA32", "Normal", "Movable", "Device", "HighMem", ""];
    let eligible = |gfp| {
        let found = assess(&zones(names.map(zone).into()), &request(0, gfp));
        names.into_iter().zip(found.zones).filter_map(|(name, zone)| zone.eligible.then_some(name)).collect()
    };
    let expected: [(u32, Vec<&str>); 4] = [
        (DMA, vec!["DMA"]),
        (4, vec!["DMA", "DMA32"]),
        (KERNEL, vec!["DMA", "DMA32", "Normal"]),
        (HIGHUSER_MOVABLE, vec!["DMA", "DMA32", "Normal", "Movable"]),
    ];
    for (gfp, names) in expected {
        let found: Vec<&str> = eligible(gfp);
        assert_eq!(found, names, "{gfp:#x}");
    }
    let device = Zone { managed_pages: Some(u64::MAX), ..with_block(zone("Device"), 10) };
    let found = assess(&zones(vec![zone("Normal"), device]), &request(9, HIGHUSER_MOVABLE));
    assert_eq!((found.largest, found.shortage), (Some(0), Shortage::Fragmentation));
}

#[test]
fn only_the_nodes_that_the_allocation_is_bound_to_count() {
    let on = |node, zone: Zone| Zone { numa_node: Some(node), ..zone };
    let list =
        vec![on(0, zone("Normal")), on(1, with_block(zone("Normal"), 9)), on(63, full(zone("Normal")))];
    let bound = |nodes| assess(&zones(list.clone()), &Request { nodes, ..request(9, KERNEL) });
    for (nodes, shortage) in [
        (None, Shortage::None),
        (Some(0b11), Shortage::None),
        (Some(0b01), Shortage::Fragmentation),
        (Some(1 << 63), Shortage::LowMemory),
        (Some(1 << 63 | 1), Shortage::Fragmentation),
        (Some(1 << 20), Shortage::Unknown),
    ] {
        assert_eq!(bound(nodes).shortage, shortage, "{nodes:?}");
    }
    assert_eq!(bound(Some(1 << 20)).largest, None);
    // The mask has no bit for it, so it cannot be excluded.
    let far = vec![on(64, with_block(zone("Normal"), 9))];
    let found = assess(&zones(far), &Request { nodes: Some(1), ..request(9, KERNEL) });
    assert_eq!((found.zones[0].eligible, found.shortage), (true, Shortage::None));
}

#[test]
fn the_largest_is_the_first_of_those_of_the_same_size() {
    let sized = |managed| Zone { managed_pages: managed, ..zone("Normal") };
    let largest = |sizes: &[Option<u64>]| {
        assess(&zones(sizes.iter().map(|size| sized(*size)).collect()), &request(0, KERNEL)).largest
    };
    assert_eq!(largest(&[Some(1), Some(5), Some(5)]), Some(1));
    assert_eq!(largest(&[None, Some(0)]), Some(1));
    assert_eq!(largest(&[None, None]), Some(0));
    assert_eq!(largest(&[]), None);
}

/// An unread zone may have had room.
#[test]
fn missing_figures_leave_the_shortage_unknown() {
    type Take = fn(&mut Zone);
    let lacking = |take: Take| {
        let mut zone = zone("Normal");
        take(&mut zone);
        zone
    };
    let cases: [(&str, Take); 5] = [
        ("free pages", |zone| zone.free_pages = None),
        ("watermarks", |zone| zone.watermarks = None),
        ("reserve", |zone| zone.lowmem_reserve_pages = None),
        ("name", |zone| zone.name = None),
        ("blocks", |zone| (zone.free_blocks, zone.block_types) = (None, None)),
    ];
    for (what, take) in cases {
        // There may be a block, but its types are unknown.
        let mut with = with_block(zone("Normal"), 9);
        take(&mut with);
        for list in [vec![with.clone()], vec![with, full(zone("Normal"))]] {
            assert_eq!(shortage_of(list, request(9, KERNEL)), Shortage::Unknown, "{what}");
        }
    }
    // A zone without a block would not have sufficed, whatever else is unknown about it; nor one without room.
    let blockless = lacking(|zone| zone.free_pages = None);
    assert_eq!(
        shortage_of(vec![blockless.clone(), zone("Normal")], request(9, KERNEL)),
        Shortage::Fragmentation
    );
    assert_eq!(shortage_of(vec![blockless], request(9, KERNEL)), Shortage::Unknown, "it may have been full");
    let full_of_something = full(lacking(|zone| (zone.free_blocks, zone.block_types) = (None, None)));
    assert_eq!(shortage_of(vec![full_of_something], request(9, KERNEL)), Shortage::LowMemory);
    let elsewhere = Zone { numa_node: None, ..with_block(zone("Normal"), 9) };
    let bound = Request { nodes: Some(1), ..request(9, KERNEL) };
    assert_eq!(
        shortage_of(vec![elsewhere, zone("Normal")], bound),
        Shortage::Unknown,
        "on which node it lies"
    );
    assert_eq!(shortage_of(Vec::new(), request(0, KERNEL)), Shortage::Unknown);
}

/// Zones that had no place in the record may have had room; a zone in the record that would suffice is certain.
#[test]
fn zones_that_were_left_out_leave_it_open_unless_one_would_serve() {
    let some = |list| Zones { left_out: 1, ..zones(list) };
    for (list, expected) in [
        (vec![zone("Normal")], Shortage::Unknown),
        (vec![full(zone("Normal"))], Shortage::Unknown),
        (vec![with_block(zone("Normal"), 9)], Shortage::None),
    ] {
        assert_eq!(assess(&some(list), &request(9, KERNEL)).shortage, expected);
    }
}

/// Without their types, as in `/proc/buddyinfo`, any allocation may take the blocks.
#[test]
fn blocks_whose_types_are_not_known_count() {
    let untyped = |zone: Zone| Zone { block_types: None, ..zone };
    assert_eq!(shortage_of(vec![untyped(with_block(zone("Normal"), 9))], request(9, KERNEL)), Shortage::None);
    assert_eq!(shortage_of(vec![untyped(zone("Normal"))], request(9, KERNEL)), Shortage::Fragmentation);
}

/// No kernel has blocks of that size.
#[test]
fn an_order_above_all_has_no_room_anywhere() {
    for order in [64, u32::MAX] {
        assert_eq!(shortage_of(vec![zone("Normal")], request(order, KERNEL)), Shortage::LowMemory);
    }
    let finding = assess(&zones(vec![zone("Normal")]), &request(11, KERNEL)).zones[0];
    assert_eq!((finding.suitable_block, finding.fragmentation_index), (Some(false), Some(0)));
}

fn a_number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0_u64..3000, any::<u64>(), Just(u64::MAX)]
}

fn a_zone() -> impl Strategy<Value = Zone> {
    let name = prop_oneof![Just("DMA"), Just("Normal"), Just("Movable"), Just("Device"), Just("\u{1b}")];
    let marks = (a_number(), a_number(), a_number())
        .prop_map(|(min_pages, low_pages, high_pages)| Watermarks { min_pages, low_pages, high_pages });
    let kinds = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>())
        .prop_map(|(any, highatomic, cma, other)| BlockTypes { any, highatomic, cma, other });
    let figures = (of(a_number()), a_number(), a_number(), a_number(), of(a_number()));
    let lists = (
        of(prop::collection::vec(a_number(), 0..6)),
        of(prop::collection::vec(a_number(), 0..17)),
        of(prop::collection::vec(kinds, 0..17)),
    );
    (of(0_u32..130), of(name), figures, of(marks), lists).prop_map(
        |(numa_node, name, figures, marks, lists)| {
            let (free_pages, free_cma_pages, highatomic_pages, boost_pages, managed_pages) = figures;
            let (lowmem_reserve_pages, free_blocks, block_types) = lists;
            Zone {
                numa_node,
                name: name.map(Name::from),
                free_pages,
                free_cma_pages,
                highatomic_pages,
                watermarks: marks,
                boost_pages,
                lowmem_reserve_pages,
                managed_pages,
                free_blocks,
                block_types,
            }
        },
    )
}

proptest! {
    #[test]
    fn any_figures_give_a_finding_for_each_zone(
        list in prop::collection::vec(a_zone(), 0..17),
        order in prop_oneof![0_u32..16, any::<u32>()],
        gfp: u32,
        nodes in of(any::<u64>()),
        left_out in 0_u32..2,
        places in prop::array::uniform4(of(0_usize..9)),
    ) {
        let [dma, dma32, normal, movable] = places;
        let types = ZoneTypes { dma, dma32, normal, movable };
        let zones = Zones { list, left_out, late: false, types };
        let found = assess(&zones, &Request { nodes, ..request(order, gfp) });
        prop_assert_eq!(found.zones.len(), zones.list.len());
        prop_assert_eq!(found.largest.is_none(), found.zones.iter().all(|zone| !zone.eligible));
        prop_assert!(found.largest.is_none_or(|index| found.zones[index].eligible));
        let serves = |zone: &ZoneFinding| zone.eligible && zone.room == Some(true) && zone.suitable_block == Some(true);
        let served = found.zones.iter().any(serves);
        prop_assert_eq!(found.shortage == Shortage::None, served && order > 0);
        if left_out > 0 && !served {
            prop_assert_eq!(found.shortage, Shortage::Unknown);
        }
    }
}
