//! What the zones had free when the node ran out of memory, and why the allocation could not use it.

use super::Oom;
use crate::classify::zones::Sight;
use crate::event::Zone;
use crate::phrase::{self, size};

/// Free memory counts as much from this share of the node's memory on.
const MUCH: u64 = 10;

/// Free memory and reserves, by what the allocation may use.
#[derive(Debug, Default)]
pub(super) struct Free {
    /// Free in zones that the allocation may not use: zone, bytes.
    pub(super) ineligible: Vec<(String, u64)>,
    pub(super) ineligible_bytes: u64,
    /// One of these zones is for movable memory only.
    pub(super) movable: bool,
    /// Free in the other zones.
    pub(super) eligible_bytes: u64,
    /// What those must keep of it: their min watermarks and reserves.
    pub(super) kept_bytes: u64,
    /// The same at the low watermarks, below which the kernel begins to reclaim.
    pub(super) low_bytes: u64,
    /// Memory of those zones.
    pub(super) eligible_managed_bytes: u64,
    /// Memory of all zones.
    pub(super) managed_bytes: u64,
    /// The min watermarks of all zones, without boosts: `vm.min_free_kbytes`.
    pub(super) min_bytes: u64,
    /// Memory by which the kernel computes `vm.min_free_kbytes`: of all zones but Movable.
    pub(super) lowmem_bytes: u64,
    /// Populated zones.
    zones: u64,
    page_size_bytes: u64,
}

/// `None` if the zones are not known, or not all of them.
pub(super) fn of(oom: &Oom<'_>) -> Option<Free> {
    let sight = oom.scene.sight.as_ref().filter(|sight| sight.zones.left_out == 0)?;
    from(sight)
}

fn from(sight: &Sight<'_>) -> Option<Free> {
    let bytes = |pages: u64| pages.saturating_mul(sight.page_size_bytes);
    let mut free = Free { page_size_bytes: sight.page_size_bytes, ..Free::default() };
    for (zone, finding) in sight.zones.list.iter().zip(&sight.assessment.zones) {
        let (managed, here) = (zone.managed_pages?, zone.free_pages?);
        let watermarks = zone.watermarks?;
        free.zones += 1;
        free.managed_bytes = free.managed_bytes.saturating_add(bytes(managed));
        free.min_bytes = free.min_bytes.saturating_add(bytes(watermarks.min_pages));
        if !is_movable(zone) {
            free.lowmem_bytes = free.lowmem_bytes.saturating_add(bytes(managed));
        }
        if !finding.eligible {
            free.movable |= is_movable(zone);
            free.ineligible.push((name(zone), bytes(here)));
            free.ineligible_bytes = free.ineligible_bytes.saturating_add(bytes(here));
            continue;
        }
        free.eligible_bytes = free.eligible_bytes.saturating_add(bytes(here));
        free.eligible_managed_bytes = free.eligible_managed_bytes.saturating_add(bytes(managed));
        // A lowmem reserve may be larger than its zone.
        let kept = finding.kept_pages?;
        free.kept_bytes = free.kept_bytes.saturating_add(bytes(kept.min(managed)));
        let low = kept.saturating_add(watermarks.low_pages.saturating_sub(watermarks.min_pages));
        free.low_bytes = free.low_bytes.saturating_add(bytes(low.min(managed)));
    }
    (free.zones > 0).then_some(free)
}

impl Free {
    fn much(&self, bytes: u64) -> bool {
        phrase::percent(bytes, self.managed_bytes) >= MUCH
    }

    /// Much is free in zones that are not eligible.
    pub(super) fn much_ineligible(&self) -> bool {
        self.much(self.ineligible_bytes)
    }

    /// Much is free, and the kernel keeps it.
    pub(super) fn much_kept(&self) -> bool {
        self.much(self.eligible_bytes.min(self.kept_bytes))
    }

    /// `zone Movable`; several with their sizes.
    pub(super) fn ineligible_zones(&self) -> String {
        let zones: Vec<_> = self.ineligible.iter().filter(|(_, bytes)| *bytes > 0).collect();
        if let [(zone, _)] = zones.as_slice() {
            return format!("zone {zone}");
        }
        let named = zones.iter().map(|(zone, bytes)| format!("zone {zone} ({})", size(*bytes)));
        named.collect::<Vec<_>>().join(", ")
    }

    /// Why the allocation may not use those zones.
    pub(super) fn why_ineligible(&self) -> &'static str {
        if self.movable {
            "that zone is only for memory that the kernel can move, and this allocation is not"
        } else {
            "it is a DMA or DMA32 allocation"
        }
    }

    /// `vm.min_free_kbytes` as the kernel sets it by itself (`init_per_zone_wmark_min`, `mm/page_alloc.c`), and as `khugepaged` raises
    /// it with transparent huge pages (`set_recommended_min_free_kbytes`, `mm/khugepaged.c`: eleven blocks of a huge page a zone,
    /// at most 5 %).
    pub(super) fn usual_min_bytes(&self) -> (u64, u64) {
        let lowmem_kib = self.lowmem_bytes / 1024;
        let by_size = lowmem_kib.saturating_mul(16).isqrt().clamp(128, 262_144) * 1024;
        // A block has as many pages as a page table has entries: 512 of 4 KiB.
        let block_bytes = (self.page_size_bytes / 8).saturating_mul(self.page_size_bytes);
        let raised = block_bytes.saturating_mul(11).saturating_mul(self.zones).min(self.lowmem_bytes / 20);
        (by_size, by_size.max(raised))
    }

    /// `vm.min_free_kbytes` is far above what the kernel sets by itself.
    pub(super) fn min_is_raised(&self) -> bool {
        self.min_bytes > self.usual_min_bytes().1.saturating_mul(2)
    }
}

/// The facts, where they are no small matter.
pub(super) fn evidence(oom: &Oom<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    let Some(free) = of(oom) else { return evidence };
    if free.much_ineligible() {
        evidence.push(format!(
            "{} were free and not eligible, in {}: {}; the zones that it may use manage {} and had {} free",
            size(free.ineligible_bytes),
            free.ineligible_zones(),
            free.why_ineligible(),
            size(free.eligible_managed_bytes),
            size(free.eligible_bytes)
        ));
    }
    if free.much_kept() {
        evidence.push(format!(
            "{} were free, of which {} must stay free (min watermarks and reserves){}",
            size(free.eligible_bytes),
            size(free.kept_bytes),
            raised(&free).map_or_else(String::new, |raised| format!(": {raised}"))
        ));
    }
    evidence
}

/// `vm.min_free_kbytes is about 249856; the kernel's default for this node is about 2730, or 23756 with transparent huge pages`
pub(super) fn raised(free: &Free) -> Option<String> {
    let (by_size, with_huge_pages) = free.usual_min_bytes();
    let huge = if with_huge_pages > by_size {
        format!(", or {} with transparent huge pages", with_huge_pages / 1024)
    } else {
        String::new()
    };
    free.min_is_raised().then(|| {
        format!(
            "vm.min_free_kbytes is about {}; the kernel's default for this node is about {}{huge}",
            free.min_bytes / 1024,
            by_size / 1024
        )
    })
}

fn is_movable(zone: &Zone) -> bool {
    zone.name.as_ref().is_some_and(|name| name.0 == b"Movable")
}

fn name(zone: &Zone) -> String {
    zone.name.as_ref().map_or_else(|| "?".to_owned(), |name| phrase::path(&name.0))
}
