//! The zones in a record.

use crashtrace_ebpf::{self as abi, MAX_ORDERS, MAX_ZONE_TYPES, MAX_ZONES, NO_TYPE, zone_missing};

use super::{DecodeError, Reader, name};
use crate::event::{BlockTypes, Watermarks, Zone, ZoneTypes, Zones};

/// Migrate types that any allocation may take from (`MIGRATE_PCPTYPES`, 5.10 to 7.3: unmovable, movable, reclaimable).
const ANY: u8 = 0b111;
/// `MIGRATE_HIGHATOMIC`, which is `MIGRATE_PCPTYPES`.
const HIGHATOMIC: u8 = 1 << 3;

/// Reads the rest of their section, with `count` zones.
pub(super) fn read(reader: &mut Reader, count: u16, skipped: u16) -> Result<Zones, DecodeError> {
    let impossible = |what, value: u64| DecodeError::Impossible { what, value };
    if usize::from(count) > MAX_ZONES {
        return Err(impossible("number of zones", count.into()));
    }
    let mut types = [None; 4];
    for place in &mut types {
        *place = Some(usize::from(reader.u8()?)).filter(|place| *place != usize::from(NO_TYPE));
    }
    let [dma, dma32, normal, movable] = types;
    let (cma_type, orders) = (reader.u8()?, usize::from(reader.u8()?));
    reader.u16()?;
    if orders > MAX_ORDERS {
        return Err(impossible("number of orders", orders as u64));
    }
    // A type without a bit in a byte is none.
    let cma = 1_u8.checked_shl(cma_type.into()).unwrap_or(0);
    let list = (0..count).map(|_| zone(reader, orders, cma)).collect::<Result<_, _>>()?;
    if !reader.is_empty() {
        return Err(impossible("rest of a section, in bytes", reader.bytes.len() as u64));
    }
    let types = ZoneTypes { dma, dma32, normal, movable };
    Ok(Zones { list, left_out: skipped.into(), late: false, types })
}

fn zone(reader: &mut Reader, orders: usize, cma: u8) -> Result<Zone, DecodeError> {
    let (free, free_cma) = (reader.i64()?, reader.i64()?);
    let (reserved_highatomic, free_highatomic) = (reader.u64()?, reader.u64()?);
    let [min_pages, low_pages, high_pages, boost] =
        [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
    let reserves = (0..MAX_ZONE_TYPES).map(|_| reader.i64()).collect::<Result<Vec<_>, _>>()?;
    let managed = reader.u64()?;
    let mut blocks = (0..MAX_ORDERS).map(|_| reader.u64()).collect::<Result<Vec<_>, _>>()?;
    blocks.truncate(orders);
    let types = reader.take(MAX_ORDERS)?;
    let zone_name = name(&reader.take(abi::ZONE_NAME_BYTES)?);
    let (numa_node, missing) = (reader.u32()?, reader.u32()?);

    let has = |bit: u32| missing & bit == 0;
    // A statistic to which CPUs add later may be below zero for a moment.
    let pages = |pages: i64| u64::try_from(pages).unwrap_or(0);
    let block_types = types.iter().take(orders).map(|types| BlockTypes {
        any: types & ANY != 0,
        highatomic: types & HIGHATOMIC != 0,
        cma: types & cma != 0,
        other: types & !(ANY | HIGHATOMIC | cma) != 0,
    });
    Ok(Zone {
        numa_node: has(zone_missing::NUMA_NODE).then_some(numa_node),
        name: has(zone_missing::NAME).then_some(zone_name),
        free_pages: has(zone_missing::FREE).then(|| pages(free)),
        free_cma_pages: if has(zone_missing::CMA) { pages(free_cma) } else { 0 },
        highatomic_pages: if has(zone_missing::FREE_HIGHATOMIC) {
            free_highatomic
        } else if has(zone_missing::RESERVED_HIGHATOMIC) {
            reserved_highatomic
        } else {
            0
        },
        watermarks: has(zone_missing::WATERMARKS).then_some(Watermarks { min_pages, low_pages, high_pages }),
        boost_pages: if has(zone_missing::BOOST) { boost } else { 0 },
        lowmem_reserve_pages: has(zone_missing::LOWMEM_RESERVE)
            .then(|| reserves.into_iter().map(pages).collect()),
        managed_pages: has(zone_missing::MANAGED).then_some(managed),
        free_blocks: has(zone_missing::FREE_BLOCKS).then_some(blocks),
        block_types: has(zone_missing::BLOCK_TYPES).then(|| block_types.collect()),
    })
}
