//! The zones at the moment of an allocation.

use super::Reason;
use crate::enrich::Case;
use crate::event::{Zone, Zones};
use crate::fragmentation::{Assessment, Request, Shortage, ZoneFinding, assess};
use crate::schema;

/// The zones with the assessment of each for the allocation.
pub struct Sight<'a> {
    pub zones: &'a Zones,
    pub request: Request,
    pub assessment: Assessment,
    pub page_size_bytes: u64,
}

/// `None` if the case has no zones, or no allocation of the node's pages.
#[must_use]
pub fn sight<'a>(case: &Case, zones: Option<&'a Zones>) -> Option<Sight<'a>> {
    let (zones, request) = (zones?, case.request?);
    Some(Sight { zones, request, assessment: assess(zones, &request), page_size_bytes: case.page_size_bytes })
}

impl Sight<'_> {
    /// The zone that is quoted.
    #[must_use]
    pub fn largest(&self) -> Option<(&Zone, &ZoneFinding)> {
        let index = self.assessment.largest?;
        Some((self.zones.list.get(index)?, self.assessment.zones.get(index)?))
    }

    /// No eligible zone has room for the allocation.
    #[must_use]
    pub fn no_room(&self) -> bool {
        let mut eligible = self.assessment.zones.iter().filter(|zone| zone.eligible).peekable();
        eligible.peek().is_some() && eligible.all(|zone| zone.room == Some(false))
    }

    /// The shortage at an OOM of the node. If the allocation was a single page, it was memory, however much has been freed
    /// since; else the shortage that invoked the OOM killer may be over already.
    #[must_use]
    pub fn shortage(&self) -> Option<schema::Shortage> {
        match self.assessment.shortage {
            Shortage::Fragmentation => Some(schema::Shortage::Fragmentation),
            Shortage::LowMemory => Some(schema::Shortage::LowMemory),
            Shortage::None | Shortage::Unknown => None,
        }
    }

    /// It is certain that no zone had room: if the zones were read later, they may have changed since the failure.
    #[must_use]
    pub fn could_not_serve(&self) -> bool {
        matches!(self.assessment.shortage, Shortage::Fragmentation | Shortage::LowMemory) && !self.zones.late
    }

    /// A zone has room for it and a suitable block.
    #[must_use]
    pub fn could_serve(&self) -> bool {
        let mut zones = self.assessment.zones.iter();
        zones.any(|zone| zone.eligible && zone.room == Some(true) && zone.suitable_block == Some(true))
    }

    /// Usable memory in the zones that have room for it.
    #[must_use]
    pub fn usable_pages(&self) -> u64 {
        let with_room = self.assessment.zones.iter().filter(|zone| zone.eligible && zone.room == Some(true));
        with_room.filter_map(|zone| zone.usable_pages).fold(0, u64::saturating_add)
    }

    /// The largest order for which a zone that has room has a block for this allocation.
    #[must_use]
    pub fn largest_block_order(&self) -> Option<u32> {
        let zones = self.zones.list.iter().zip(&self.assessment.zones);
        let with_room = zones.filter(|(_, finding)| finding.eligible && finding.room == Some(true));
        let orders = with_room.filter_map(|(zone, _)| {
            let blocks = zone.free_blocks.as_ref()?;
            u32::try_from(blocks.iter().rposition(|blocks| *blocks > 0)?).ok()
        });
        orders.max()
    }

    /// Why [`Self::shortage`] is none.
    #[must_use]
    pub fn open(&self) -> Reason {
        match self.assessment.shortage {
            Shortage::None => Reason::FreeNow,
            _ => Reason::ZonesIncomplete,
        }
    }

    /// A zone that has large enough blocks, all of them reserved: for CMA, for atomic allocations.
    #[must_use]
    pub fn kept_blocks(&self) -> Option<KeptBlocks<'_>> {
        let zones = self.zones.list.iter().zip(&self.assessment.zones);
        let mut kept = zones.filter(|(_, finding)| {
            finding.eligible && finding.room == Some(true) && finding.suitable_block == Some(false)
        });
        let larger = self.request.order as usize;
        let (zone, types) = kept.find_map(|(zone, _)| {
            let types = zone.block_types.as_ref()?.iter().skip(larger);
            let blocks = zone.free_blocks.as_ref()?.iter().skip(larger);
            blocks.copied().any(|blocks| blocks > 0).then_some((zone, types))
        })?;
        let mut kept = KeptBlocks { zone, cma: false, highatomic: false };
        for of in types {
            kept.cma |= of.cma;
            kept.highatomic |= of.highatomic;
        }
        (kept.cma || kept.highatomic).then_some(kept)
    }
}

/// Free blocks that the allocation may not use.
#[derive(Clone, Copy, Debug)]
pub struct KeptBlocks<'a> {
    pub zone: &'a Zone,
    /// Some are reserved for movable memory.
    pub cma: bool,
    /// Some are reserved for atomic allocations.
    pub highatomic: bool,
}
