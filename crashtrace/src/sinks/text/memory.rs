//! The node's memory: holders, free blocks, unmovable memory.

use super::{label, owner_words};
use crate::fragmentation::{block_pages, pages};
use crate::phrase::size;
use crate::schema::{Account, Allocation, Holder, Memory, Text, Unmovable};
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
            Some(limit) => format!(" of {} node-allocatable", size(limit)),
            None => String::new(),
        };
        label(page, "pods", &format!("{}{limit}", size(pods.usage_bytes)));
    }
    for (index, holder) in memory.holders_late.iter().enumerate() {
        let whose = owner_words(Some(&holder.owner), Some(holder.cgroup.as_str()));
        label(page, if index == 0 { "seen late" } else { "" }, &format!("{whose}: {}", held(holder)));
    }
    // The table of the account names them, with shares of the same total as its other rows.
    let listed = |account: &Account| account.entries.iter().any(|entry| entry.holder.is_some());
    if memory.account.as_ref().is_some_and(listed) {
        return;
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

/// Free blocks, and the unmovable part of the rest.
pub(super) fn picture(page: &mut Page, memory: &Memory, asked: Option<&Allocation>) {
    if let Some(unmovable) = memory.unmovable.as_ref().and_then(unmovable) {
        label(page, "unmovable", &unmovable);
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
        ineligible: zone.eligible == Some(false),
        free_bytes: zone.free_bytes,
        // Free memory that this allocation may not use counts as reserve as well.
        kept_bytes: zone.min_bytes.map(|min| {
            let others = zone
                .free_bytes
                .zip(zone.usable_bytes)
                .map_or(0, |(free, usable)| free.saturating_sub(usable));
            min.saturating_add(zone.lowmem_reserve_bytes.unwrap_or_default()).saturating_add(others)
        }),
        room: zone.room,
        // For a single page it shows only that one is free.
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
            sides: [(Style::Caution, "too small"), (Style::Heading, "large enough")],
        },
    );
    let rest = memory.zones_total.saturating_sub(memory.zones.len() as u64);
    if rest > 0 {
        page.plain(&format!("  and {rest} more zones")).end();
    }
}

/// Bytes of a page, which the report does not have: from the allocation, which has order and bytes, else from free memory.
fn page_size(memory: &Memory, asked: Option<&Allocation>) -> Option<u64> {
    let of_request = |asked: &Allocation| asked.bytes?.checked_div(block_pages(asked.order?)?);
    asked.and_then(of_request).or_else(|| {
        let fullest = memory.zones.iter().max_by_key(|zone| zone.free_bytes)?;
        let (free, blocks) = (fullest.free_bytes.filter(|free| *free > 0)?, fullest.free_blocks.as_ref()?);
        // The two counts differ by a few pages, and no kernel has other page sizes.
        [4 << 10, 16 << 10, 64 << 10]
            .into_iter()
            .min_by_key(|page| pages(blocks).saturating_mul(*page).abs_diff(free))
    })
}

/// Memory that compaction cannot move.
fn unmovable(held: &Unmovable) -> Option<String> {
    let huge = held.huge_page_bytes.filter(|bytes| *bytes > 0);
    let huge_free = held.huge_page_free_bytes.filter(|bytes| *bytes > 0);
    let unused = huge_free.map_or_else(String::new, |bytes| format!(" ({} of them unused)", size(bytes)));
    let kinds = [
        (held.unevictable_bytes, "unevictable"),
        (held.slab_unreclaimable_bytes, "unreclaimable slab"),
        (held.slab_reclaimable_bytes, "reclaimable slab"),
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
