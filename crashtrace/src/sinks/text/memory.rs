//! The node's memory, and the request that it did not serve.

use super::{label, owner_words};
use crate::fragmentation::{block_pages, pages};
use crate::phrase::size;
use crate::schema::{Allocation, Holder, Kind, Memory, MigrateType, Text, Unmovable};
use crate::terminal::zones::{Picture, Row, draw};
use crate::terminal::{Page, Style};

/// Holders of memory shown; the largest come first.
const HOLDERS_SHOWN: usize = 5;

pub(super) fn lines(page: &mut Page, memory: &Memory) {
    let held = |held: &Holder| {
        let share = held.share_permille.map_or_else(String::new, |share| format!(" ({} %)", share / 10));
        format!("{}{share}", size(held.usage_bytes))
    };
    if let Some(pods) = &memory.pods {
        let limit = match pods.limit_bytes {
            Some(limit) => format!(" of {} allowed", size(limit)),
            None => String::new(),
        };
        label(page, "pods", &format!("{}{limit}", size(pods.usage_bytes)));
    }
    for (index, holder) in memory.holders.iter().take(HOLDERS_SHOWN).enumerate() {
        let whose = owner_words(Some(&holder.owner), Some(holder.cgroup.as_str()));
        label(page, if index == 0 { "held by" } else { "" }, &format!("{whose}: {}", held(holder)));
    }
    let rest = memory.holders_total.unwrap_or_default().saturating_sub(HOLDERS_SHOWN as u64);
    if rest > 0 {
        let least = memory.least_bytes.map_or_else(|| "?".to_owned(), size);
        label(page, "", &format!("and {rest} more that held {least} and above"));
    }
}

/// The request: how much, of which kind, from where, by which flags.
pub(super) fn request(kind: Kind, asked: &Allocation) -> String {
    let mut facts = vec![match (asked.bytes, asked.order) {
        (Some(bytes), Some(order)) => format!("{} (order {order})", size(bytes)),
        (None, Some(order)) => format!("order {order}"),
        (Some(bytes), None) => format!("{} of the kernel's address space, from single pages", size(bytes)),
        (None, None) if kind == Kind::VmallocFailure => {
            "of the kernel's address space, size unknown".to_owned()
        }
        (None, None) if kind == Kind::OtherAllocFailure => "size unknown".to_owned(),
        (None, None) => "none".to_owned(),
    }];
    // Which blocks could serve it matters where one was missing, and says nothing where a limit was hit.
    if matches!(kind, Kind::AllocFailure) {
        facts.extend(asked.migrate_type.map(|of| {
            match of {
                MigrateType::Unmovable => "unmovable",
                MigrateType::Movable => "movable",
                MigrateType::Reclaimable => "reclaimable",
            }
            .to_owned()
        }));
    }
    match asked.numa_nodes.as_slice() {
        [] => {}
        [node] => facts.push(format!("from NUMA node {node} only")),
        nodes => {
            let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            facts.push(format!("from NUMA nodes {} only", nodes.join(", ")));
        }
    }
    facts.push(if asked.gfp.is_empty() { "no flags".to_owned() } else { asked.gfp.join("|") });
    facts.join(", ")
}

/// What was free, and of the rest what cannot be moved.
pub(super) fn picture(page: &mut Page, memory: &Memory, asked: Option<&Allocation>) {
    if let Some(unmovable) = memory.unmovable.as_ref().and_then(unmovable) {
        label(page, "immobile", &unmovable);
    }
    if memory.zones.is_empty() {
        return;
    }
    page.end();
    page.put(Style::Heading, "  Free blocks of memory:");
    if memory.late {
        page.put(Style::Caution, " (read after the failure, and may have changed since)");
    }
    page.end();
    let order = asked.and_then(|asked| asked.order);
    let rows = memory.zones.iter().map(|zone| Row {
        numa_node: zone.numa_node,
        name: zone.zone.as_ref().map(Text::as_str),
        barred: zone.eligible == Some(false),
        free_bytes: zone.free_bytes,
        // What such a request may not use of what is free is kept from it as well.
        kept_bytes: zone.min_bytes.map(|min| {
            let others = zone
                .free_bytes
                .zip(zone.usable_bytes)
                .map_or(0, |(free, usable)| free.saturating_sub(usable));
            min.saturating_add(zone.lowmem_reserve_bytes.unwrap_or_default()).saturating_add(others)
        }),
        room: zone.room,
        // For a single page it says no more than that one is free.
        index: order.filter(|order| *order > 0).and(zone.fragmentation_index),
        free_blocks: zone.free_blocks.as_deref(),
    });
    let page_size_bytes = page_size(memory, asked);
    draw(
        page,
        &Picture {
            zones: rows.collect(),
            page_size_bytes,
            order,
            sides: [(Style::Caution, "too small"), (Style::Heading, "enough")],
        },
    );
    let rest = memory.zones_total.saturating_sub(memory.zones.len() as u64);
    if rest > 0 {
        page.plain(&format!("  and {rest} more zones")).end();
    }
}

/// Bytes of a page, which the report does not have: from the request, which it has both ways, else from what is free.
fn page_size(memory: &Memory, asked: Option<&Allocation>) -> Option<u64> {
    let of_request = |asked: &Allocation| asked.bytes?.checked_div(block_pages(asked.order?)?);
    asked.and_then(of_request).or_else(|| {
        let fullest = memory.zones.iter().max_by_key(|zone| zone.free_bytes)?;
        let (free, blocks) = (fullest.free_bytes.filter(|free| *free > 0)?, fullest.free_blocks.as_ref()?);
        // The two counts are a few pages apart, and no kernel has other pages.
        [4 << 10, 16 << 10, 64 << 10]
            .into_iter()
            .min_by_key(|page| pages(blocks).saturating_mul(*page).abs_diff(free))
    })
}

/// What compaction leaves where it is.
fn unmovable(held: &Unmovable) -> Option<String> {
    let huge = held.huge_page_bytes.filter(|bytes| *bytes > 0);
    let huge_free = held.huge_page_free_bytes.filter(|bytes| *bytes > 0);
    let unused = huge_free.map_or_else(String::new, |bytes| format!(" ({} of them unused)", size(bytes)));
    let kinds = [
        (held.unevictable_bytes, "locked"),
        (held.slab_unreclaimable_bytes, "kernel caches"),
        (held.slab_reclaimable_bytes, "kernel caches that can be given back"),
        (held.page_table_bytes, "page tables"),
        (held.kernel_stack_bytes, "kernel stacks"),
        (huge, "huge pages"),
    ];
    let kinds = kinds.into_iter().filter_map(|(bytes, what)| Some(format!("{} {what}", size(bytes?))));
    let kinds: Vec<_> = kinds.collect();
    (!kinds.is_empty()).then(|| format!("{}{unused}", kinds.join("; ")))
}

#[cfg(test)]
mod tests;
