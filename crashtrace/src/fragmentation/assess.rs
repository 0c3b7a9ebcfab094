//! Why an allocation of pages failed: memory was short, or no block was large enough.
//!
//! Zone by zone, as `__zone_watermark_ok` (`mm/page_alloc.c`, 5.10 to 7.3) does:
//!
//! - A zone is **eligible** if the allocation may use it: its kind is not above the highest that the flags allow, it is no
//!   device's, and its node is among those that the allocation is bound to.
//! - It has **room** if its free pages, less those that this allocation may not use (CMA memory unless it is for movable pages,
//!   the atomic reserves unless it is atomic), are 2^order pages above the `min` watermark with its boost and `lowmem_reserve`,
//!   which reserves low zones from allocations that could use a higher one. Half of `min` is enough for `__GFP_HIGH`, three
//!   eighths for those of them that may not sleep.
//! - It has a **suitable block** if there is one of the order or above of a kind that the allocation may take.
//!
//! | an eligible zone has room | one of those has a suitable block | order | verdict |
//! |---|---|---|---|
//! | no | | | low memory |
//! | yes | no | | fragmentation |
//! | yes | yes | 0 | low memory: for one page only memory can be short; some was freed since |
//! | yes | yes | above | none: the allocation would succeed now |
//!
//! A block in a zone without room does not count: the kernel would not allocate it. The lowest zones mostly have their large
//! blocks left, and are protected.

use crate::event::{BlockTypes, Zone, Zones};
use crate::fragmentation::{block_pages, fragmentation_index, unusable_index};
use crate::gfp::{Highest, Traits};

/// An allocation, with the facts that decide which memory it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// 2^order contiguous pages.
    pub order: u32,
    /// Traits by its flags.
    pub traits: Traits,
    /// Bit `n` is NUMA node `n`: it may use memory of these, and of any above 63; `None` if of all.
    pub nodes: Option<u64>,
}

/// The assessment of the zones for an allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// One for each zone, in their order.
    pub zones: Vec<ZoneFinding>,
    /// The eligible zone that manages most memory: the report quotes it.
    pub largest: Option<usize>,
    /// Why it failed.
    pub shortage: Shortage,
}

/// The assessment of one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneFinding {
    /// The allocation may use it.
    pub eligible: bool,
    /// Free pages that it may use.
    pub usable_pages: Option<u64>,
    /// Pages that this allocation must leave free: its share of `min` with the boost, and the reserve.
    pub kept_pages: Option<u64>,
    /// The usable pages above that are enough.
    pub room: Option<bool>,
    /// It has a suitable block.
    pub suitable_block: Option<bool>,
    /// The kernel's fragmentation index in thousandths.
    pub fragmentation_index: Option<i32>,
    /// The kernel's unusable free space index in thousandths.
    pub unusable_index: Option<u32>,
}

/// Why an allocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// There was enough memory, in blocks that were too small.
    Fragmentation,
    /// There was not enough memory.
    LowMemory,
    /// There was enough memory, and a suitable block.
    None,
    /// Not enough of the zones was read.
    Unknown,
}

/// Assesses all zones.
#[must_use]
pub fn assess(zones: &Zones, request: &Request) -> Assessment {
    let findings: Vec<_> = zones.list.iter().map(|zone| finding(zones, zone, request)).collect();
    let eligible = || findings.iter().enumerate().filter(|(_, finding)| finding.eligible);
    // Of zones of the same size the first, as the kernel would try it.
    let size = |index: usize| zones.list.get(index).and_then(|zone| zone.managed_pages);
    let largest = eligible().map(|(index, _)| index).rev().max_by_key(|index| size(*index));
    let of_eligible: Vec<_> = eligible().map(|(_, finding)| finding).collect();
    let unseen = zones.left_out > 0 || zones.list.iter().any(|zone| is_unknown(zone, request));
    let shortage = shortage(&of_eligible, request, unseen);
    Assessment { zones: findings, largest, shortage }
}

fn shortage(eligible: &[&ZoneFinding], request: &Request, others_unseen: bool) -> Shortage {
    let with_room = || eligible.iter().filter(|zone| zone.room == Some(true));
    if with_room().any(|zone| zone.suitable_block == Some(true)) {
        return if request.order == 0 { Shortage::LowMemory } else { Shortage::None };
    }
    // An unread zone may have had room.
    let unseen = |zone: &&ZoneFinding| {
        zone.room.is_none() && zone.suitable_block != Some(false)
            || zone.room == Some(true) && zone.suitable_block.is_none()
    };
    if others_unseen || eligible.iter().any(unseen) || eligible.is_empty() {
        return Shortage::Unknown;
    }
    if with_room().next().is_some() {
        Shortage::Fragmentation
    } else if eligible.iter().all(|zone| zone.room == Some(false)) {
        Shortage::LowMemory
    } else {
        Shortage::Unknown
    }
}

fn finding(zones: &Zones, zone: &Zone, request: &Request) -> ZoneFinding {
    let Request { order, traits, .. } = *request;
    let takes_reserve = traits.atomic() && order > 0;
    let usable_pages = zone.free_pages.map(|free| {
        let cma = if traits.movable { 0 } else { zone.free_cma_pages };
        let highatomic = if takes_reserve { 0 } else { zone.highatomic_pages };
        free.saturating_sub(cma).saturating_sub(highatomic)
    });
    let kept_pages = zone.watermarks.zip(reserve_pages(zones, zone, traits)).map(|(watermarks, reserve)| {
        let min_pages = watermarks.min_pages.saturating_add(zone.boost_pages);
        for_whom(min_pages, traits).saturating_add(reserve)
    });
    let room = usable_pages.zip(kept_pages).map(|(usable, kept)| {
        block_pages(order).is_some_and(|block| usable.checked_sub(kept).is_some_and(|above| above >= block))
    });
    let takes =
        |types: &BlockTypes| types.any || types.cma && traits.movable || types.highatomic && takes_reserve;
    let larger = order as usize;
    let suitable_block = match (&zone.block_types, &zone.free_blocks) {
        (Some(types), _) => Some(types.iter().skip(larger).any(takes)),
        (None, Some(blocks)) => Some(blocks.iter().skip(larger).any(|blocks| *blocks > 0)),
        (None, None) => None,
    };
    let blocks = zone.free_blocks.as_deref();
    ZoneFinding {
        eligible: is_eligible(zone, request),
        usable_pages,
        kept_pages,
        room,
        suitable_block,
        fragmentation_index: blocks.map(|blocks| fragmentation_index(blocks, order)),
        unusable_index: blocks.map(|blocks| unusable_index(blocks, order)),
    }
}

/// The part of `min` that the allocation must leave free (`__zone_watermark_ok`, `mm/page_alloc.c`: `ALLOC_HIGH` and
/// `ALLOC_HARDER` up to 6.2, `ALLOC_MIN_RESERVE` and `ALLOC_NON_BLOCK` since, with the same result).
fn for_whom(min_pages: u64, traits: Traits) -> u64 {
    let mut kept = min_pages;
    if traits.high {
        kept -= kept / 2;
    }
    if traits.atomic() {
        kept -= kept / 4;
    }
    kept
}

/// The zone's reserve against an allocation that might use a higher zone as well.
#[must_use]
pub fn reserve_pages(zones: &Zones, zone: &Zone, traits: Traits) -> Option<u64> {
    let types = &zones.types;
    // A kernel that is built without a zone serves allocations for it from the next one.
    let place = match traits.highest {
        Highest::Dma => types.dma.or(types.dma32).or(types.normal),
        Highest::Dma32 => types.dma32.or(types.normal),
        Highest::Normal => types.normal,
        Highest::Movable => types.movable.or(types.normal),
    };
    zone.lowmem_reserve_pages.as_ref()?.get(place?).copied()
}

/// Whether the allocation may use it is unknown.
fn is_unknown(zone: &Zone, request: &Request) -> bool {
    zone.name.is_none() || request.nodes.is_some() && zone.numa_node.is_none()
}

fn is_eligible(zone: &Zone, request: &Request) -> bool {
    let kind = match zone.name.as_ref().map(|name| name.0.as_slice()) {
        Some(b"DMA") => Some(Highest::Dma),
        Some(b"DMA32") => Some(Highest::Dma32),
        Some(b"Normal") => Some(Highest::Normal),
        Some(b"Movable") => Some(Highest::Movable),
        // Device memory is never allocated from; and an unknown zone is not counted.
        _ => None,
    };
    let on_node = match (request.nodes, zone.numa_node) {
        (Some(nodes), Some(node)) => nodes.checked_shr(node).is_none_or(|nodes| nodes & 1 == 1),
        (None, _) => true,
        (Some(_), None) => false,
    };
    on_node && kind.is_some_and(|kind| kind <= request.traits.highest)
}

#[cfg(test)]
mod tests;
