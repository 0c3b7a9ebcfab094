//! What the zones say about a request, as sentences.

use super::scene::Scene;
use super::words::bytes;
use super::{Cause, Origin};
use crate::enrich::gaps::{BLIND_TIER, DECISION_LOST, gap};
use crate::enrich::{Case, Gap};
use crate::event::{Constraint, Unmovable, Zone, Zones};
use crate::fragmentation::{Assessment, Request, SUITABLE, Shortage, ZoneFinding, assess, block_pages};

/// Reasons, as the report gives them.
pub(super) const UNREAD: &str = "the zones could not be read";
pub(super) const NOT_ALL: &str = "not all of the zones that the request may use could be read";
pub(super) const FREE_NOW: &str = "a block that is large enough was free when the zones were read: it had come free since, or \
                                   the request was given up for another reason";

/// Why it is not known of an OOM of the node what was lacking; `None` if it is, or if nothing was.
pub(super) fn gap_of(scene: &Scene<'_>, cause: Cause, origin: Option<Origin>) -> Option<Gap> {
    if cause != Cause::SystemOom || origin == Some(Origin::Sysrq) {
        return None;
    }
    let reason = match (&scene.sight, scene.kill) {
        (Some(sight), _) if sight.shortage().is_some() => return None,
        (Some(sight), _) => sight.open(),
        (None, None) => "the zones are gathered where somebody is killed",
        (None, Some(kill)) if kill.decision.is_none() => DECISION_LOST,
        (None, Some(_)) => match scene.request.map(|request| request.constraint) {
            None => BLIND_TIER,
            Some(Some(Constraint::None)) => UNREAD,
            Some(_) => "which NUMA nodes the request was bound to is not in the kernel's decision",
        },
    };
    Some(gap("verdict.shortage", reason))
}

/// The zones, seen with a request's eyes.
pub(crate) struct Sight<'a> {
    pub(crate) zones: &'a Zones,
    pub(crate) request: Request,
    pub(crate) assessment: Assessment,
    page_bytes: u64,
}

/// What a case holds of that.
pub(super) fn sight<'a>(case: &Case, zones: Option<&'a Zones>) -> Option<Sight<'a>> {
    let (zones, request) = (zones?, case.request?);
    Some(Sight { zones, request, assessment: assess(zones, &request), page_bytes: case.page_size_bytes })
}

impl Sight<'_> {
    /// So many pages.
    pub(crate) fn bytes_of(&self, pages: u64) -> Option<u64> {
        pages.checked_mul(self.page_bytes)
    }

    fn size(&self, pages: u64) -> String {
        self.bytes_of(pages).map_or_else(|| format!("{pages} pages"), bytes)
    }

    /// The zone that is quoted.
    pub(crate) fn largest(&self) -> Option<(&Zone, &ZoneFinding)> {
        let index = self.assessment.largest?;
        Some((self.zones.list.get(index)?, self.assessment.zones.get(index)?))
    }

    /// No zone that the request may use has room for it.
    pub(super) fn no_room(&self) -> bool {
        let mut eligible = self.assessment.zones.iter().filter(|zone| zone.eligible).peekable();
        eligible.peek().is_some() && eligible.all(|zone| zone.room == Some(false))
    }

    /// What an OOM of the node lacked. Where it was a single page that was asked for, memory, whatever has come free since;
    /// else the OOM killer may have been called by what is no shortage any more.
    pub(super) fn shortage(&self) -> Option<super::Shortage> {
        match self.assessment.shortage {
            Shortage::Fragmentation => Some(super::Shortage::Fragmentation),
            Shortage::LowMemory => Some(super::Shortage::LowMemory),
            Shortage::None | Shortage::Unknown => None,
        }
    }

    /// It is certain that none had: at the failure, for what was read later is of another moment.
    pub(super) fn could_not_serve(&self) -> bool {
        matches!(self.assessment.shortage, Shortage::Fragmentation | Shortage::LowMemory) && !self.zones.late
    }

    /// Some zone has room for it and a block.
    pub(super) fn could_serve(&self) -> bool {
        let mut zones = self.assessment.zones.iter();
        zones.any(|zone| zone.eligible && zone.room == Some(true) && zone.suitable_block == Some(true))
    }

    /// What the request might use in the zones that have room for it.
    fn usable(&self) -> u64 {
        let with_room = self.assessment.zones.iter().filter(|zone| zone.eligible && zone.room == Some(true));
        with_room.filter_map(|zone| zone.usable_pages).fold(0, u64::saturating_add)
    }

    /// The largest order of which a zone that has room has a block for this request.
    fn largest_block(&self) -> Option<u32> {
        let zones = self.zones.list.iter().zip(&self.assessment.zones);
        let with_room = zones.filter(|(_, finding)| finding.eligible && finding.room == Some(true));
        let orders = with_room.filter_map(|(zone, _)| {
            let blocks = zone.free_blocks.as_ref()?;
            u32::try_from(blocks.iter().rposition(|blocks| *blocks > 0)?).ok()
        });
        orders.max()
    }

    /// The size of the request: `order 3 (32.0 KiB)`.
    pub(super) fn asked(&self) -> String {
        let order = self.request.order;
        let size = block_pages(order).map_or_else(String::new, |pages| format!(" ({})", self.size(pages)));
        format!("order {order}{size}")
    }

    /// What was free, and how large its largest piece was.
    pub(crate) fn fragmented(&self) -> String {
        let free = self.size(self.usable());
        match self.largest_block().filter(|order| *order < self.request.order) {
            Some(order) => format!(
                "{free} were free, but in pieces of {} at most",
                self.size(block_pages(order).unwrap_or_default())
            ),
            None => format!("{free} were free, but no piece that it may use was large enough"),
        }
    }

    /// What was free, and what of it had to stay so.
    pub(super) fn short(&self) -> String {
        let Some((zone, finding)) = self.largest() else { return "there was not enough memory".to_owned() };
        match (finding.room, finding.usable_pages, finding.kept_pages) {
            (Some(false), Some(usable), Some(kept)) => format!(
                "there was not enough memory: {} had {} free for it, and the kernel keeps {}",
                name(zone),
                self.size(usable),
                self.size(kept)
            ),
            (Some(true), ..) => {
                "there was not enough memory, though some had come free when the zones were read".to_owned()
            }
            _ => "there was not enough memory".to_owned(),
        }
    }

    /// Why [`Self::shortage`] is none.
    fn open(&self) -> &'static str {
        match self.assessment.shortage {
            Shortage::None => FREE_NOW,
            _ => NOT_ALL,
        }
    }

    /// The facts.
    pub(super) fn evidence(&self, unmovable: Option<&Unmovable>) -> Vec<String> {
        let mut evidence = Vec::new();
        if let Some((zone, finding)) = self.largest() {
            evidence.extend(self.quote(zone, finding));
            evidence.extend(self.index(zone, finding));
        }
        evidence.extend(self.not_for_all());
        if self.assessment.shortage == Shortage::Fragmentation {
            evidence.extend(unmovable.and_then(held));
        }
        if self.zones.late {
            evidence.push(
                "the free lists were read from /proc after the failure, and may have changed in between"
                    .to_owned(),
            );
        }
        evidence
    }

    fn quote(&self, zone: &Zone, finding: &ZoneFinding) -> Option<String> {
        let (free, kept) = (zone.free_pages?, finding.kept_pages?);
        let usable = finding.usable_pages.filter(|usable| *usable < free);
        let usable = usable
            .map_or_else(String::new, |usable| format!(", {} of it for such a request", self.size(usable)));
        let boost = match zone.boost_pages {
            0 => String::new(),
            boost => format!(
                " (its watermarks were raised by {} because fragmentation was met lately)",
                self.size(boost)
            ),
        };
        let needed = block_pages(self.request.order)?;
        let room = if finding.room? { "there was room for" } else { "there was no room for" };
        Some(format!(
            "{}, the largest zone that the request may use, had {} free{usable}, and must keep {}{boost}: {room} {}",
            name(zone),
            self.size(free),
            self.size(kept),
            self.size(needed)
        ))
    }

    fn index(&self, zone: &Zone, finding: &ZoneFinding) -> Option<String> {
        // Of single pages there is nothing to say.
        let order = Some(self.request.order).filter(|order| *order > 0)?;
        let index = thousandths(finding.fragmentation_index?);
        let unusable = finding.unusable_index?;
        let meaning = if finding.fragmentation_index? == SUITABLE {
            "a block is there"
        } else {
            "0 is for want of memory, 1 for pieces too small"
        };
        Some(format!(
            "the kernel's fragmentation index of {} for order {order} was {index} ({meaning}); {}.{} % of its free memory lay in \
             smaller pieces",
            name(zone),
            unusable / 10,
            unusable % 10
        ))
    }

    /// Blocks that are large enough, but for others.
    fn not_for_all(&self) -> Option<String> {
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
        let (mut cma, mut highatomic) = (false, false);
        for of in types {
            cma |= of.cma;
            highatomic |= of.highatomic;
        }
        let whom = match (cma, highatomic) {
            (true, true) => "movable memory (CMA) and atomic requests",
            (true, false) => "movable memory (CMA)",
            (false, true) => "atomic requests",
            (false, false) => return None,
        };
        Some(format!("{} has blocks that are large enough, but keeps them for {whom}", name(zone)))
    }
}

/// What holds memory that cannot be moved.
fn held(unmovable: &Unmovable) -> Option<String> {
    let kinds = [
        (unmovable.unevictable_bytes, "locked or in files that cannot be reclaimed"),
        (unmovable.slab_unreclaimable_bytes, "of kernel caches that cannot be given back"),
        (unmovable.slab_reclaimable_bytes, "of kernel caches that can"),
        (unmovable.page_table_bytes, "of page tables"),
        (unmovable.kernel_stack_bytes, "of kernel stacks"),
        (unmovable.huge_page_bytes.filter(|size| *size > 0), "reserved for huge pages"),
    ];
    let kinds: Vec<_> =
        kinds.into_iter().filter_map(|(size, what)| Some(format!("{} {what}", bytes(size?)))).collect();
    (!kinds.is_empty()).then(|| format!("of what compaction cannot move the node holds {}", kinds.join(", ")))
}

/// `zone Normal of NUMA node 0`
pub(crate) fn name(zone: &Zone) -> String {
    let name = zone.name.as_ref().map_or_else(|| "?".to_owned(), |name| super::words::path(&name.0));
    let node =
        zone.numa_node.map_or_else(|| "an unknown NUMA node".to_owned(), |node| format!("NUMA node {node}"));
    format!("zone {name} of {node}")
}

/// As the kernel prints it: `0.974`, `-1.000`.
pub(crate) fn thousandths(index: i32) -> String {
    let sign = if index < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", index.unsigned_abs() / 1000, index.unsigned_abs() % 1000)
}
