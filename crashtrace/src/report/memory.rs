//! The report's part about memory.

use super::{Context, account};
use crate::classify::Verdict;
use crate::enrich::{self, Case};
use crate::event::{self, Limit};
use crate::fragmentation::ZoneFinding;
use crate::schema::{HOLDERS, HOLDERS_LATE, Holder, Memory, Text, Unmovable, ZONES, Zone};

/// Memory of a case; `None` if it has no such facts.
pub(super) fn of(
    case: &Case,
    zones: Option<&event::Zones>,
    control: Option<event::OomControl>,
    verdict: &Verdict,
    context: &Context,
) -> Option<Memory> {
    let walk = case.memory.as_ref().or(case.limit_holders.as_ref());
    if zones.is_none() && walk.is_none() && case.account.is_none() && case.victim_account.is_none() {
        return None;
    }
    let total = total_bytes(case, control);
    let held = walk.map(|found| holders(found, total)).unwrap_or_default();
    let held = late(held, case, total);
    let held = Memory {
        account: case.account.as_ref().map(account::of),
        victim_account: case.victim_account.as_ref().map(account::of),
        ..held
    };
    let Some(zones) = zones else { return Some(held) };
    let findings = verdict.assessment.as_ref().map_or(&[][..], |assessment| &assessment.zones);
    let shown = zones.list.iter().enumerate().take(ZONES);
    Some(Memory {
        late: zones.late,
        zones: shown.map(|(index, of)| zone(case, zones, of, findings.get(index), context)).collect(),
        zones_total: (zones.list.len() as u64).saturating_add(zones.left_out.into()),
        unmovable: case.unmovable.map(unmovable),
        ..held
    })
}

fn zone(
    case: &Case,
    zones: &event::Zones,
    of: &event::Zone,
    finding: Option<&ZoneFinding>,
    context: &Context,
) -> Zone {
    let bytes = |pages: u64| pages.saturating_mul(context.page_size_bytes);
    let marks = of.watermarks;
    let mark = |pages: u64| bytes(pages.saturating_add(of.boost_pages));
    let reserve =
        case.request.and_then(|request| crate::fragmentation::reserve_pages(zones, of, request.traits));
    let index = |thousandths: i32| f64::from(thousandths) / 1000.0;
    Zone {
        numa_node: of.numa_node,
        zone: of.name.as_ref().map(|name| Text::new(&name.0)),
        eligible: finding.map(|finding| finding.eligible),
        managed_bytes: of.managed_pages.map(bytes),
        free_bytes: of.free_pages.map(bytes),
        usable_bytes: finding.and_then(|finding| finding.usable_pages).map(bytes),
        min_bytes: marks.map(|marks| mark(marks.min_pages)),
        low_bytes: marks.map(|marks| mark(marks.low_pages)),
        high_bytes: marks.map(|marks| mark(marks.high_pages)),
        boost_bytes: bytes(of.boost_pages),
        lowmem_reserve_bytes: reserve.map(bytes),
        free_cma_bytes: bytes(of.free_cma_pages),
        highatomic_bytes: bytes(of.highatomic_pages),
        free_blocks: of.free_blocks.clone(),
        room: finding.and_then(|finding| finding.room),
        suitable_block: finding.and_then(|finding| finding.suitable_block),
        fragmentation_index: finding.and_then(|finding| finding.fragmentation_index).map(index),
        unusable_index: finding
            .and_then(|finding| finding.unusable_index)
            .and_then(|thousandths| i32::try_from(thousandths).ok())
            .map(index),
    }
}

fn unmovable(found: event::Unmovable) -> Unmovable {
    let event::Unmovable {
        slab_unreclaimable_bytes,
        slab_reclaimable_bytes,
        page_table_bytes,
        kernel_stack_bytes,
        unevictable_bytes,
        huge_page_bytes,
        huge_page_free_bytes,
    } = found;
    Unmovable {
        unevictable_bytes,
        slab_unreclaimable_bytes,
        slab_reclaimable_bytes,
        page_table_bytes,
        kernel_stack_bytes,
        huge_page_bytes,
        huge_page_free_bytes,
    }
}

/// The total for shares: the memory that the decision was about, if that was all of the node's; what the limit owner had in use.
fn total_bytes(case: &Case, control: Option<event::OomControl>) -> Option<u64> {
    if case.limit_holders.is_some() {
        return case.account.as_ref().map(|account| account.total_bytes);
    }
    let whole = control.filter(|control| control.constraint == event::Constraint::None);
    whole.map(|control| control.total_bytes)
}

fn holder(held: &enrich::Held, total_bytes: Option<u64>) -> Holder {
    Holder {
        cgroup: Text::new(&held.party.path),
        owner: held.party.owner.in_schema().clone(),
        usage_bytes: held.usage_bytes,
        swap_bytes: held.swap_bytes,
        removed: held.removed,
        limit_bytes: held.limit.and_then(Limit::bytes),
        unlimited: held.limit == Some(Limit::Unlimited),
        share_permille: total_bytes
            .filter(|total| *total > 0)
            .and_then(|total| u32::try_from(u128::from(held.usage_bytes) * 1000 / u128::from(total)).ok()),
    }
}

/// Adds what the second look found.
fn late(memory: Memory, case: &Case, total_bytes: Option<u64>) -> Memory {
    let Some(found) = &case.holders_late else { return memory };
    let shown = found.holders.iter().take(HOLDERS_LATE);
    Memory {
        holders_late: shown.map(|held| holder(held, total_bytes)).collect(),
        cgroups_looked_at_late: Some(found.looked_at),
        late_incomplete: Some(found.incomplete),
        ..memory
    }
}

fn holders(memory: &enrich::Memory, total_bytes: Option<u64>) -> Memory {
    let holder = |held: &enrich::Held| holder(held, total_bytes);
    Memory {
        pods: memory.pods.as_ref().map(holder),
        holders: memory.holders.iter().take(HOLDERS).map(holder).collect(),
        holders_total: Some(memory.holders.len() as u64),
        least_bytes: Some(memory.least_bytes),
        small_total: Some(memory.small),
        small_bytes: Some(memory.small_bytes),
        cgroups_looked_at: Some(memory.looked_at),
        cgroups_total: memory.total,
        incomplete: Some(memory.incomplete),
        time_up: Some(memory.time_up),
        ..Memory::default()
    }
}
