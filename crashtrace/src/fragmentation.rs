//! PURE: fragmentation of free memory, by the kernel's own formulas, and whether an allocation failed because of it.
//!
//! Both indices are the kernel's (`mm/vmstat.c`, 5.10 to 7.3), in thousandths and with its integer divisions, so that
//! they agree with `extfrag_index` and `unusable_index` in debugfs to the last digit.

mod assess;

pub use assess::{Assessment, Request, Shortage, ZoneFinding, assess, reserve_pages};

/// Result of [`fragmentation_index`] if a block is large enough.
pub const SUITABLE: i32 = -1000;

/// Pages of a block; `None` for an order that no kernel has.
#[must_use]
pub fn block_pages(order: u32) -> Option<u64> {
    1_u64.checked_shl(order)
}

/// Free pages in blocks, by order.
#[must_use]
pub fn pages(free_blocks: &[u64]) -> u64 {
    let pages = |(order, blocks): (u32, &u64)| blocks.saturating_mul(block_pages(order).unwrap_or(u64::MAX));
    (0..).zip(free_blocks).map(pages).fold(0, u64::saturating_add)
}

/// Blocks of `order` that can be allocated without moving pages.
fn suitable(free_blocks: &[u64], order: u32) -> u64 {
    let larger = (0..).zip(free_blocks).skip(order as usize);
    let blocks = larger
        .map(|(at, blocks): (u32, &u64)| blocks.saturating_mul(block_pages(at - order).unwrap_or(u64::MAX)));
    blocks.fold(0, u64::saturating_add)
}

/// `fragmentation_index`: [`SUITABLE`] if there is a block of `order`; else from 0, memory is short, to 1000, memory is free in
/// blocks that are too small. 0 if no memory is free, and for an order that the kernel does not have.
#[must_use]
pub fn fragmentation_index(free_blocks: &[u64], order: u32) -> i32 {
    let blocks = free_blocks.iter().fold(0_u64, |sum, blocks| sum.saturating_add(*blocks));
    let Some(requested) = block_pages(order).filter(|_| (order as usize) < free_blocks.len()) else {
        return 0;
    };
    if blocks == 0 {
        return 0;
    }
    if suitable(free_blocks, order) > 0 {
        return SUITABLE;
    }
    // No block of `order` and all smaller ones are below it: the quotient is at most 1000 + 1000 * blocks.
    let quotient =
        (1000 + u128::from(pages(free_blocks)) * 1000 / u128::from(requested)) / u128::from(blocks);
    1000 - i32::try_from(quotient).unwrap_or(1000)
}

/// `unusable_free_index`: thousandths of the free memory that lie in blocks too small for `order`; 1000 if no memory is free.
#[must_use]
pub fn unusable_index(free_blocks: &[u64], order: u32) -> u32 {
    let free = u128::from(pages(free_blocks));
    if free == 0 {
        return 1000;
    }
    let requested = u128::from(block_pages(order).unwrap_or(u64::MAX));
    let usable = (u128::from(suitable(free_blocks, order)) * requested).min(free);
    u32::try_from((free - usable) * 1000 / free).unwrap_or(1000)
}

#[cfg(test)]
mod tests;
