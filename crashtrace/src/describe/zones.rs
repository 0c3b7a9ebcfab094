//! The zones, for the sentences about an allocation.

use crate::classify::zones::{KeptBlocks, Sight};
use crate::event::{Unmovable, Zone};
use crate::fragmentation::{SUITABLE, Shortage, ZoneFinding, block_pages};
use crate::phrase::{self, size};

/// What came of the failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The allocation failed, because memory was short.
    Failed,
    /// It failed for another reason: its charge, for example.
    NotShort,
    /// The OOM killer was invoked.
    OomKiller,
}

/// The facts.
pub(super) fn evidence(sight: &Sight<'_>, held: Option<&Unmovable>, then: Then) -> Vec<String> {
    let mut evidence = Vec::new();
    if let Some((zone, finding)) = sight.largest() {
        evidence.extend(quote(sight, zone, finding));
        evidence.extend(index(sight, zone, finding));
    }
    if sight.assessment.shortage == Shortage::LowMemory {
        evidence.extend(room_explained(sight, then));
    }
    evidence.extend(sight.kept_blocks().map(kept_blocks));
    if sight.assessment.shortage == Shortage::Fragmentation {
        evidence.extend(held.and_then(unmovable));
    }
    if sight.zones.late {
        evidence.push(
            "the free lists were read from /proc after the failure, and may have changed in between"
                .to_owned(),
        );
    }
    evidence
}

/// The size of the allocation: `order-3 (32 KiB)`.
pub(super) fn order(sight: &Sight<'_>) -> String {
    let order = sight.request.order;
    let size =
        block_pages(order).map_or_else(String::new, |pages| format!(" ({})", pages_size(sight, pages)));
    format!("order-{order}{size}")
}

/// Free memory, and its largest block.
pub(super) fn fragmented(sight: &Sight<'_>) -> String {
    let free = pages_size(sight, sight.usable_pages());
    match sight.largest_block_order().filter(|order| *order < sight.request.order) {
        Some(order) => format!(
            "{free} were free in zones above their reserves, but the largest block there was {}",
            pages_size(sight, block_pages(order).unwrap_or_default())
        ),
        None => format!("{free} were free, but no block that it may use was large enough"),
    }
}

/// Free memory, and the part of it that the allocation had to leave free.
pub(super) fn short(sight: &Sight<'_>) -> String {
    const SHORT: &str = "memory was short";
    let Some((zone, finding)) = sight.largest() else { return SHORT.to_owned() };
    match (finding.room, finding.usable_pages, finding.kept_pages) {
        (Some(false), Some(usable), Some(kept)) => format!(
            "{SHORT}: {} had {} free for it and must keep {} in reserve",
            name(zone),
            pages_size(sight, usable),
            pages_size(sight, kept)
        ),
        (Some(true), ..) => format!("{SHORT}, though some was free again when the zones were read"),
        _ => SHORT.to_owned(),
    }
}

fn pages_size(sight: &Sight<'_>, pages: u64) -> String {
    pages.checked_mul(sight.page_size_bytes).map_or_else(|| format!("{pages} pages"), size)
}

fn quote(sight: &Sight<'_>, zone: &Zone, finding: &ZoneFinding) -> Option<String> {
    let (free, kept) = (zone.free_pages?, finding.kept_pages?);
    let usable = finding.usable_pages.filter(|usable| *usable < free);
    let usable = usable.map_or_else(String::new, |usable| {
        format!(" ({} of it usable for this allocation)", pages_size(sight, usable))
    });
    let boost = match zone.boost_pages {
        0 => String::new(),
        boost => {
            format!(" (with a watermark boost of {} after recent fragmentation)", pages_size(sight, boost))
        }
    };
    let needed = block_pages(sight.request.order)?;
    let room =
        if finding.room? { "enough above the reserve for" } else { "too little above the reserve for" };
    Some(format!(
        "{}, the largest eligible zone, had {} free{usable} and must keep {} in reserve{boost}: {room} {}",
        name(zone),
        pages_size(sight, free),
        pages_size(sight, kept),
        pages_size(sight, needed)
    ))
}

/// Why there was room, though memory was short.
///
/// A single page is never too large a block, so memory was short when the kernel looked. Before the OOM killer it looks once more,
/// for free memory above the `high` watermark, not `min` (`__alloc_pages_may_oom`, `mm/page_alloc.c`, 5.10 to 7.3).
fn room_explained(sight: &Sight<'_>, then: Then) -> Option<String> {
    let with_room = |(_, finding): &(&Zone, &ZoneFinding)| finding.eligible && finding.room == Some(true);
    let mut zones = sight.zones.list.iter().zip(&sight.assessment.zones);
    let (zone, finding) = sight.largest().filter(with_room).or_else(|| zones.find(with_room))?;
    let again = format!("{} had room again when it was read", name(zone));
    let below_high = || {
        let watermarks = zone.watermarks.as_ref()?;
        let more = watermarks.high_pages.checked_sub(watermarks.min_pages)?;
        let high = finding.kept_pages?.checked_add(more)?;
        (finding.usable_pages? < high).then_some(high)
    };
    match then {
        Then::NotShort => None,
        Then::OomKiller => Some(match below_high() {
            Some(high) => format!(
                "{again}, but not up to its high watermark ({} with the reserve): only above that does the kernel call the OOM \
                 killer off",
                pages_size(sight, high)
            ),
            None => format!("{again}: memory was freed after the kernel's last attempt"),
        }),
        Then::Failed if sight.request.traits.atomic() => Some(format!(
            "{again}: memory was freed after the failure. An atomic allocation cannot wait for page cache to be reclaimed: only what \
             is free at that moment counts"
        )),
        Then::Failed => Some(format!(
            "{again}: a single page fails only for lack of memory, so some was freed after the failure"
        )),
    }
}

fn index(sight: &Sight<'_>, zone: &Zone, finding: &ZoneFinding) -> Option<String> {
    // For single pages no sentence is needed.
    let order = Some(sight.request.order).filter(|order| *order > 0)?;
    let index = thousandths(finding.fragmentation_index?);
    let unusable = finding.unusable_index?;
    let meaning = if finding.fragmentation_index? == SUITABLE {
        "a block was free"
    } else {
        "0: memory is short, 1: memory is fragmented"
    };
    Some(format!(
        "the kernel's fragmentation index of {} for order {order} was {index} ({meaning}); {}.{} % of its free memory was in \
         smaller blocks",
        name(zone),
        unusable / 10,
        unusable % 10
    ))
}

fn kept_blocks(kept: KeptBlocks<'_>) -> String {
    let whom = match (kept.cma, kept.highatomic) {
        (true, true) => "movable memory (CMA) and atomic allocations",
        (true, false) => "movable memory (CMA)",
        (false, _) => "atomic allocations",
    };
    format!("{} has large enough blocks, but reserves them for {whom}", name(kept.zone))
}

/// Holders of unmovable memory.
fn unmovable(held: &Unmovable) -> Option<String> {
    let kinds = [
        (held.unevictable_bytes, "unevictable (locked, or files in memory without swap)"),
        (held.slab_unreclaimable_bytes, "unreclaimable slab"),
        (held.slab_reclaimable_bytes, "reclaimable slab"),
        (held.page_table_bytes, "page tables"),
        (held.kernel_stack_bytes, "kernel stacks"),
        (held.huge_page_bytes.filter(|size| *size > 0), "reserved for huge pages"),
    ];
    let kinds: Vec<_> =
        kinds.into_iter().filter_map(|(bytes, what)| Some(format!("{} {what}", size(bytes?)))).collect();
    (!kinds.is_empty())
        .then(|| format!("memory of the node that compaction cannot move: {}", kinds.join(", ")))
}

/// `zone Normal of NUMA node 0`
fn name(zone: &Zone) -> String {
    let name = zone.name.as_ref().map_or_else(|| "?".to_owned(), |name| phrase::path(&name.0));
    let node =
        zone.numa_node.map_or_else(|| "an unknown NUMA node".to_owned(), |node| format!("NUMA node {node}"));
    format!("zone {name} of {node}")
}

/// As the kernel prints it: `0.974`, `-1.000`.
fn thousandths(index: i32) -> String {
    let sign = if index < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", index.unsigned_abs() / 1000, index.unsigned_abs() % 1000)
}
