//! PURE: the node's free memory at this moment, and the size from which allocations would fail.
//!
//! A report is about an allocation that has failed already. This applies the same rules ([`crate::fragmentation`]) to the zones as
//! they are now, for each size in turn: either an allocation would succeed at once, or the kernel would first have to reclaim or
//! compact memory, which takes long and may be in vain.
//!
//! This is a snapshot. It never changes [`Usability`](super::Usability), which is about what crashtrace can see; where the snapshot
//! and the settings together call for an action, it is among the remedies.

use schemars::JsonSchema;
use serde::Serialize;

use super::Unresolved;
use crate::event::{Zone, Zones};
use crate::fragmentation::{self, Assessment, Request, assess, block_pages, reserve_pages};
use crate::gfp::{Highest, Traits};
use crate::schema::{Shortage, Text};

mod remedies;
mod text;

pub(super) use remedies::remedies;
pub(super) use text::{draw, facts};

/// `PAGE_ALLOC_COSTLY_ORDER` (`include/linux/mmzone.h`, 5.10 to 7.3): up to this order the kernel does all that it can, and kills
/// rather than fails. Allocations of these sizes are everywhere: kernel stacks, page tables, network buffers.
const COSTLY_ORDER: u32 = 3;

/// Most allocations of the kernel on its own behalf (`GFP_KERNEL`).
const OF_THE_KERNEL: Traits = Traits { highest: Highest::Normal, may_sleep: true, ..NO_TRAITS };

/// Allocations on behalf of processes (`GFP_HIGHUSER_MOVABLE`), including huge pages (`GFP_TRANSHUGE`).
const MOVABLE: Traits = Traits { highest: Highest::Movable, may_sleep: true, movable: true, ..NO_TRAITS };

const NO_TRAITS: Traits = Traits {
    highest: Highest::Normal,
    may_sleep: false,
    high: false,
    movable: false,
    reclaimable: false,
    no_retry: false,
    retry_may_fail: false,
    account: false,
    nowarn: false,
    this_node: false,
    hardwall: false,
};

/// The node's free memory, zone by zone, and which allocations would succeed at once.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Fragmentation {
    /// The zones of the page allocator that have memory, by NUMA node, from the lowest.
    pub zones: Vec<ZoneNow>,
    /// A plain allocation of the kernel (`GFP_KERNEL`): zones up to Normal on any NUMA node are eligible, without memory that is
    /// reserved for movable pages. Null where the zones do not tell.
    pub kernel: Option<Outlook>,
    /// An allocation of memory for a process, including huge pages: zone Movable is eligible too, and memory that is reserved for
    /// movable pages (CMA). Null where the zones do not tell.
    pub movable: Option<Outlook>,
}

/// The size from which allocations of a kind would fail now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outlook {
    /// The smallest order (2^order contiguous pages) for which an allocation would fail at this moment, if the kernel neither
    /// reclaimed nor compacted memory for it. So would all larger ones. Null if none would.
    pub fails_from_order: Option<u32>,
    /// The same in bytes.
    pub fails_from_bytes: Option<u64>,
    /// Why: `fragmentation` where enough memory is free, in blocks that are too small; `low_memory` where not enough is free above
    /// the watermark and reserves. Null if none would fail.
    pub reason: Option<Shortage>,
}

/// A zone at this moment. Lists are by order, from 0.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ZoneNow {
    pub numa_node: Option<u32>,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub zone: Option<Text>,
    /// The zone is eligible for a plain allocation of the kernel.
    pub kernel_may_use: bool,
    /// Memory that the page allocator manages there.
    pub managed_bytes: Option<u64>,
    /// Free memory, without the pages in per-CPU lists.
    pub free_bytes: Option<u64>,
    /// The part of it that only movable memory may use.
    pub free_cma_bytes: u64,
    /// The min watermark: the kernel keeps this much free; sleeping allocations wait below it. It includes `boost_bytes`.
    pub min_bytes: Option<u64>,
    /// Temporary addition to it, because fragmentation was met.
    pub boost_bytes: u64,
    /// The lowmem reserve against a plain allocation of the kernel, which might use a higher zone as well.
    pub lowmem_reserve_bytes: Option<u64>,
    /// Free blocks of all kinds: some may be reserved for movable memory or for atomic allocations, which `/proc/buddyinfo` does
    /// not tell.
    pub free_blocks: Option<Vec<u64>>,
    /// The kernel's fragmentation index for each order (debugfs `extfrag_index`): -1 if a block is free, else from 0, too little
    /// free memory, to 1, blocks too small.
    pub fragmentation_index: Option<Vec<f64>>,
    /// The kernel's unusable free space index for each order (debugfs `unusable_index`): the share of free memory in blocks
    /// too small, 1 where nothing is free.
    pub unusable_index: Option<Vec<f64>>,
}

/// Judges the zones. Facts that they do not give are added to `unresolved`.
#[must_use]
pub fn look(zones: &Zones, page_size_bytes: u64, unresolved: &mut Vec<Unresolved>) -> Fragmentation {
    let mut outlook = |name: &str, traits| {
        let found = outlook(zones, traits, page_size_bytes);
        found
            .map_err(|reason| unresolved.push(Unresolved { field: format!("fragmentation.{name}"), reason }))
            .ok()
    };
    let (kernel, movable) = (outlook("kernel", OF_THE_KERNEL), outlook("movable", MOVABLE));
    let single = assess_for(zones, OF_THE_KERNEL, 0);
    let findings = zones.list.iter().zip(&single.zones);
    Fragmentation {
        zones: findings.map(|(of, finding)| zone(zones, of, finding.eligible, page_size_bytes)).collect(),
        kernel,
        movable,
    }
}

fn assess_for(zones: &Zones, traits: Traits, order: u32) -> Assessment {
    assess(zones, &Request { order, traits, nodes: None })
}

/// Tries one order after the other. Where one fails the next one does too: it needs more room, and a larger block.
fn outlook(zones: &Zones, traits: Traits, page_size_bytes: u64) -> Result<Outlook, String> {
    let orders = zones.list.iter().filter_map(|zone| zone.free_blocks.as_ref()).map(Vec::len).max();
    let orders =
        orders.filter(|orders| *orders > 0).ok_or("/proc/buddyinfo lists no free blocks of any zone")?;
    for order in (0..).take(orders) {
        let assessment = assess_for(zones, traits, order);
        let served = assessment
            .zones
            .iter()
            .any(|zone| zone.eligible && zone.room == Some(true) && zone.suitable_block == Some(true));
        if served {
            continue;
        }
        let reason = match assessment.shortage {
            fragmentation::Shortage::Fragmentation => Shortage::Fragmentation,
            fragmentation::Shortage::LowMemory => Shortage::LowMemory,
            fragmentation::Shortage::None | fragmentation::Shortage::Unknown => {
                return Err(format!(
                    "not all figures of the zones that it may use could be read (order {order})"
                ));
            }
        };
        let bytes = block_pages(order).and_then(|pages| pages.checked_mul(page_size_bytes));
        return Ok(Outlook { fails_from_order: Some(order), fails_from_bytes: bytes, reason: Some(reason) });
    }
    Ok(Outlook { fails_from_order: None, fails_from_bytes: None, reason: None })
}

fn zone(zones: &Zones, of: &Zone, kernel_may_use: bool, page_size_bytes: u64) -> ZoneNow {
    let bytes = |pages: u64| pages.saturating_mul(page_size_bytes);
    let blocks = of.free_blocks.as_deref();
    let by_order = |index: fn(&[u64], u32) -> i32| {
        let orders = |blocks: &[u64]| (0..).take(blocks.len()).collect::<Vec<u32>>();
        let thousandths = |blocks: &[u64], order: u32| f64::from(index(blocks, order)) / 1000.0;
        blocks.map(|blocks| orders(blocks).into_iter().map(|order| thousandths(blocks, order)).collect())
    };
    ZoneNow {
        numa_node: of.numa_node,
        zone: of.name.as_ref().map(|name| Text::new(&name.0)),
        kernel_may_use,
        managed_bytes: of.managed_pages.map(bytes),
        free_bytes: of.free_pages.map(bytes),
        free_cma_bytes: bytes(of.free_cma_pages),
        min_bytes: of.watermarks.map(|marks| bytes(marks.min_pages.saturating_add(of.boost_pages))),
        boost_bytes: bytes(of.boost_pages),
        lowmem_reserve_bytes: reserve_pages(zones, of, OF_THE_KERNEL).map(bytes),
        free_blocks: of.free_blocks.clone(),
        fragmentation_index: by_order(fragmentation::fragmentation_index),
        unusable_index: by_order(|blocks, order| {
            i32::try_from(fragmentation::unusable_index(blocks, order)).unwrap_or(1000)
        }),
    }
}

#[cfg(test)]
mod tests;
