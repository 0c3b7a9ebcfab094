//! The node's free memory for people.

use super::{Fragmentation, Outlook};
use crate::fragmentation::block_pages;
use crate::schema::{Shortage, Text};
use crate::terminal::zones::{self, Picture, Row, short_size};
use crate::terminal::{Page, Style};

/// Which allocations would succeed, as labelled lines.
pub(in crate::doctor) fn facts(found: &Fragmentation, page_size_bytes: u64) -> Vec<(String, String)> {
    let orders = found.zones.iter().filter_map(|zone| zone.free_blocks.as_ref()).map(Vec::len).max();
    let size = |order: u32| {
        let bytes = block_pages(order).and_then(|pages| pages.checked_mul(page_size_bytes));
        bytes.map_or_else(|| format!("2^{order} pages"), short_size)
    };
    let said = |outlook: &Outlook| match outlook.fails_from_order {
        None => {
            let largest = orders.and_then(|orders| u32::try_from(orders).ok()?.checked_sub(1));
            format!("all sizes up to {}", size(largest.unwrap_or_default()))
        }
        Some(0) => format!("not even one page: {}", why(outlook)),
        Some(from) => {
            format!("up to {}, not {} (order {from}) or more: {}", size(from - 1), size(from), why(outlook))
        }
    };
    let mut facts = Vec::new();
    if let Some(kernel) = &found.kernel {
        facts.push(("kernel (GFP_KERNEL)".to_owned(), said(kernel)));
    }
    if let Some(movable) = &found.movable {
        facts.push(("processes (movable)".to_owned(), said(movable)));
        // It is as large as the memory that a page full of page table entries maps, on all 64-bit machines.
        if let Some(order) = (page_size_bytes / 8).checked_ilog2() {
            let fails = movable.fails_from_order.is_some_and(|from| from <= order);
            let fails = fails || orders.is_some_and(|orders| orders <= order as usize);
            let words = if fails { "no" } else { "yes" };
            facts.push((format!("huge page ({})", size(order)), words.to_owned()));
        }
    }
    facts
}

fn why(outlook: &Outlook) -> &'static str {
    match outlook.reason {
        Some(Shortage::Fragmentation) => "free memory is fragmented",
        _ => "too little is free",
    }
}

/// Draws the free memory.
pub(in crate::doctor) fn draw(page: &mut Page, found: &Fragmentation, page_size_bytes: u64) {
    let order = found.kernel.and_then(|kernel| kernel.fails_from_order);
    zones::draw(page, &picture(found, page_size_bytes, order));
}

fn picture(found: &Fragmentation, page_size_bytes: u64, order: Option<u32>) -> Picture<'_> {
    let needed_bytes =
        block_pages(order.unwrap_or_default()).and_then(|pages| pages.checked_mul(page_size_bytes));
    let zones = found.zones.iter().map(|zone| {
        let kept_bytes = zone.min_bytes.map(|min| {
            let kept = min.saturating_add(zone.lowmem_reserve_bytes.unwrap_or_default());
            kept.saturating_add(zone.free_cma_bytes)
        });
        let figures = zone.free_bytes.zip(kept_bytes).zip(needed_bytes);
        let at = order.and_then(|order| usize::try_from(order).ok());
        Row {
            numa_node: zone.numa_node,
            name: zone.zone.as_ref().map(Text::as_str),
            ineligible: !zone.kernel_may_use,
            free_bytes: zone.free_bytes,
            kept_bytes,
            room: figures.map(|((free, kept), needed)| free >= kept.saturating_add(needed)),
            index: at.and_then(|order| zone.fragmentation_index.as_ref()?.get(order).copied()),
            free_blocks: zone.free_blocks.as_deref(),
        }
    });
    let sides = [(Style::Heading, "available"), (Style::Caution, "not")];
    Picture { zones: zones.collect(), page_size_bytes: Some(page_size_bytes), order, sides }
}
