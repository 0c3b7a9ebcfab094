//! Zones, at a decision or at a failure.

use std::mem::offset_of;

use crashtrace_ebpf::{MAX_ORDERS, MAX_ZONES, NO_TYPE, Zone, ZonesHead, zone_missing};

use super::*;
use crate::event::{BlockTypes, Watermarks, Zone as EventZone, ZoneTypes, Zones};
use crashtrace_records::{zone_of, zones_of};

fn zones(record: &Record) -> Result<Zones, DecodeError> {
    read(record).map(|event| match event {
        Event::OomZones(stamp, zones, _) => {
            assert_eq!(stamp.decision_ns, Some(1_000));
            *zones
        }
        other => panic!("no zones: {other:?}"),
    })
}

fn with(list: Vec<Zone>, change: impl FnOnce(&mut ZonesHead)) -> Result<Zones, DecodeError> {
    let mut section = zones_of(list);
    change(&mut section.head);
    zones(&Record { zones: Some(section), ..oom_zones(1_000, 3) })
}

/// A zone in which each figure has a different value.
fn numbered() -> Zone {
    let mut number = 0_u64;
    let mut next = || {
        number += 1;
        number
    };
    Zone {
        free_pages: next().cast_signed(),
        free_cma_pages: next().cast_signed(),
        reserved_highatomic_pages: next(),
        free_highatomic_pages: next(),
        watermark_pages: [next(), next(), next()],
        boost_pages: next(),
        lowmem_reserve_pages: [next(), next(), next(), next(), next()].map(u64::cast_signed),
        managed_pages: next(),
        free_blocks: std::array::from_fn(|_| next()),
        block_types: std::array::from_fn(|order| 1 << (order % 6)),
        name: *b"Normal\0rest-of-i",
        numa_node: next() as u32,
        missing: 0,
    }
}

fn whole() -> EventZone {
    let kinds = (0..11).map(|order| BlockTypes {
        any: order % 6 < 3,
        highatomic: order % 6 == 3,
        cma: order % 6 == 4,
        other: order % 6 == 5,
    });
    EventZone {
        numa_node: Some(31),
        name: Some(Name::from("Normal")),
        free_pages: Some(1),
        free_cma_pages: 2,
        highatomic_pages: 4,
        watermarks: Some(Watermarks { min_pages: 5, low_pages: 6, high_pages: 7 }),
        boost_pages: 8,
        lowmem_reserve_pages: Some(vec![9, 10, 11, 12, 13]),
        managed_pages: Some(14),
        free_blocks: Some((15..26).collect()),
        block_types: Some(kinds.collect()),
    }
}

#[test]
fn a_zone_is_read_with_each_of_its_figures() {
    let zones = with(vec![numbered()], |head| head.cma_type = 4).expect("zones");
    assert_eq!(zones.list, [whole()]);
    assert_eq!((zones.late, zones.left_out), (false, 0));
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    assert_eq!(zones.types, types);
}

/// By offsets only: the order of [`crashtrace_records`] is that of the types in memory.
#[test]
fn zones_are_written_as_they_lie_in_memory() {
    let section = Section { skipped: 77, ..Section::default() };
    let record = Record {
        zones: Some(crashtrace_records::Zones {
            section,
            ..zones_of(vec![zone_of(b"DMA", 1, 2), numbered()])
        }),
        ..oom_zones(1_000, 3)
    };
    assert_eq!(zones(&record).expect("zones").left_out, 77);
    let bytes = record.bytes();
    let head = size_of::<Header>() + size_of::<Section>();
    let second = head + size_of::<ZonesHead>() + size_of::<Zone>();
    assert_eq!(bytes.len(), second + size_of::<Zone>());
    assert_eq!(bytes[head + offset_of!(ZonesHead, cma_type)], NO_TYPE);
    assert_eq!(bytes[head + offset_of!(ZonesHead, orders)], 11);
    let word = |offset: usize| {
        let at = second + offset;
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
    };
    assert_eq!(
        [
            word(offset_of!(Zone, free_pages)),
            word(offset_of!(Zone, free_cma_pages)),
            word(offset_of!(Zone, reserved_highatomic_pages)),
            word(offset_of!(Zone, free_highatomic_pages)),
            word(offset_of!(Zone, watermark_pages)),
            word(offset_of!(Zone, boost_pages)),
            word(offset_of!(Zone, lowmem_reserve_pages)),
            word(offset_of!(Zone, managed_pages)),
            word(offset_of!(Zone, free_blocks)),
            word(offset_of!(Zone, free_blocks) + 8 * (MAX_ORDERS - 1)),
        ],
        [1, 2, 3, 4, 5, 8, 9, 14, 15, 30]
    );
    assert_eq!(bytes[second + offset_of!(Zone, block_types) + 5], 1 << 5);
    assert_eq!(&bytes[second + offset_of!(Zone, name)..][..7], b"Normal\0");
    assert_eq!(bytes[second + offset_of!(Zone, numa_node)], 31);
}

#[test]
fn each_bit_of_a_zone_removes_only_its_figure() {
    type Take = fn(&mut EventZone);
    let bits: [(u32, Take); 11] = [
        (zone_missing::FREE, |zone| zone.free_pages = None),
        (zone_missing::CMA, |zone| zone.free_cma_pages = 0),
        // If the free part of the reserve is unknown, all of it counts.
        (zone_missing::FREE_HIGHATOMIC, |zone| zone.highatomic_pages = 3),
        (zone_missing::FREE_HIGHATOMIC | zone_missing::RESERVED_HIGHATOMIC, |zone| zone.highatomic_pages = 0),
        (zone_missing::WATERMARKS, |zone| zone.watermarks = None),
        (zone_missing::BOOST, |zone| zone.boost_pages = 0),
        (zone_missing::LOWMEM_RESERVE, |zone| zone.lowmem_reserve_pages = None),
        (zone_missing::MANAGED, |zone| zone.managed_pages = None),
        (zone_missing::FREE_BLOCKS, |zone| zone.free_blocks = None),
        (zone_missing::BLOCK_TYPES, |zone| zone.block_types = None),
        (zone_missing::NAME | zone_missing::NUMA_NODE, |zone| (zone.name, zone.numa_node) = (None, None)),
    ];
    for (bit, take) in bits {
        let mut expected = whole();
        take(&mut expected);
        let zones = with(vec![Zone { missing: bit, ..numbered() }], |head| head.cma_type = 4).expect("zones");
        assert_eq!(zones.list, [expected], "{bit:#x}");
    }
    // The part that is free is enough without the whole.
    let zone = Zone { missing: zone_missing::RESERVED_HIGHATOMIC, ..numbered() };
    assert_eq!(with(vec![zone], |head| head.cma_type = 4).expect("zones").list, [whole()]);
}

#[test]
fn statistics_that_are_below_zero_for_a_moment_are_zero() {
    let zone = Zone { free_pages: -3, free_cma_pages: i64::MIN, lowmem_reserve_pages: [-1; 5], ..numbered() };
    let zone = with(vec![zone], |_| ()).expect("zones").list.swap_remove(0);
    assert_eq!((zone.free_pages, zone.free_cma_pages), (Some(0), 0));
    assert_eq!(zone.lowmem_reserve_pages, Some(vec![0; 5]));
}

/// Without CMA its number is that of isolated blocks, which cannot be allocated.
#[test]
fn a_kernel_without_a_type_has_no_blocks_of_it() {
    for cma_type in [NO_TYPE, 8, 200] {
        let zones = with(vec![numbered()], |head| {
            head.cma_type = cma_type;
            head.zone_types = [NO_TYPE, NO_TYPE, 0, 1];
        });
        let zones = zones.expect("zones");
        let fifth = zones.list[0].block_types.as_ref().expect("types")[4];
        assert_eq!((fifth.cma, fifth.other), (false, true), "{cma_type}");
        assert_eq!(zones.types, ZoneTypes { dma: None, dma32: None, normal: Some(0), movable: Some(1) });
    }
}

#[test]
fn only_the_orders_of_the_kernel_are_read() {
    for orders in [0, 11, MAX_ORDERS] {
        let zones = with(vec![numbered()], |head| head.orders = orders as u8).expect("zones");
        let zone = &zones.list[0];
        let lengths = (zone.free_blocks.as_ref().map(Vec::len), zone.block_types.as_ref().map(Vec::len));
        assert_eq!(lengths, (Some(orders), Some(orders)));
    }
    let refused = with(vec![numbered()], |head| head.orders = MAX_ORDERS as u8 + 1);
    assert_eq!(refused, Err(DecodeError::Impossible { what: "number of orders", value: 17 }));
}

#[test]
fn as_many_zones_as_a_record_may_hold_are_read_and_no_more() {
    assert_eq!(with(vec![numbered(); MAX_ZONES], |_| ()).expect("zones").list.len(), MAX_ZONES);
    let refused = with(vec![numbered(); MAX_ZONES + 1], |_| ());
    assert_eq!(refused, Err(DecodeError::Impossible { what: "number of zones", value: 17 }));
    assert_eq!(with(Vec::new(), |_| ()).expect("zones").list, []);
}

#[test]
fn a_record_of_zones_without_any_is_of_a_machine_that_has_none() {
    assert_eq!(zones(&Record { zones: None, ..oom_zones(1_000, 3) }), Ok(Zones::default()));
}

#[test]
fn a_section_of_zones_with_wrong_lengths_is_refused() {
    let bytes = oom_zones(1_000, 3).bytes();
    let section = size_of::<Header>();
    let patched = |offset: usize, value: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[section + offset..section + offset + value.len()].copy_from_slice(value);
        decode(&Bytes::from(bytes), &machine())
    };
    let length = (bytes.len() - section) as u32;
    for lie in [0, 15, 16, 23, length - 1, length + 1, u32::MAX] {
        assert!(patched(offset_of!(Section, length), &lie.to_le_bytes()).is_err(), "{lie}");
    }
    for lie in [0_u16, 1, 3, u16::MAX] {
        assert!(patched(offset_of!(Section, levels), &lie.to_le_bytes()).is_err(), "{lie}");
    }
}
