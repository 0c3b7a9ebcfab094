//! Both indices against the kernel's formulas, worked out by hand, and against any figures.

use proptest::prelude::*;

use super::*;

/// `pages` free single pages, and nothing else, on a kernel with 11 orders.
fn singles(pages: u64) -> Vec<u64> {
    let mut blocks = vec![0; 11];
    blocks[0] = pages;
    blocks
}

/// 100 blocks of one page, 50 of two, 20 of four, 5 of eight: 175 blocks, 320 pages.
fn mixed() -> Vec<u64> {
    vec![100, 50, 20, 5, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn the_index_of_fragmentation_is_the_kernels() {
    for (blocks, order, index) in [
        // A block is there, of the order or above it.
        (mixed(), 0, SUITABLE),
        (mixed(), 3, SUITABLE),
        // 320 * 1000 / 16 = 20,000; 21,000 / 175 = 120; 1000 - 120.
        (mixed(), 4, 880),
        // 320 * 1000 / 1024 = 312; 1312 / 175 = 7; 1000 - 7.
        (mixed(), 10, 993),
        // 1 * 1000 / 1024 = 0; 1000 / 1; the one block is far too small.
        (singles(1), 10, 0),
        // 10 * 1000 / 2 = 5000; 6000 / 10 = 600.
        (singles(10), 1, 400),
        // 1000 * 1000 / 8 = 125,000; 126,000 / 1000 = 126.
        (singles(1000), 3, 874),
        // Both divisions cut off: 7 * 1000 / 8 = 875; 1875 / 7 = 267.
        (singles(7), 3, 733),
    ] {
        assert_eq!(fragmentation_index(&blocks, order), index, "order {order} of {blocks:?}");
    }
}

/// One block of half the size: 8 * 1000 / 16 = 500; 1500 / 1. The kernel's index is then below 0, but there is no suitable
/// block.
#[test]
fn one_block_that_is_nearly_large_enough_gives_less_than_nothing_but_is_not_suitable() {
    assert_eq!(fragmentation_index(&[0, 0, 0, 1, 0], 4), -500);
    assert_eq!(fragmentation_index(&[0, 0, 0, 2, 0], 4), 0);
}

#[test]
fn the_index_of_unusable_free_space_is_the_kernels() {
    for (blocks, order, index) in [
        (mixed(), 0, 0),
        // Blocks of one page are too small: 100 of 320.
        (mixed(), 1, 312),
        // 200 of 320 are.
        (mixed(), 2, 625),
        // 280 of 320.
        (mixed(), 3, 875),
        (mixed(), 4, 1000),
        (mixed(), 10, 1000),
        (singles(1), 0, 0),
        // A block of 1024 among 3 of one page: 3000 / 1027.
        (vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 9, 2),
    ] {
        assert_eq!(unusable_index(&blocks, order), index, "order {order} of {blocks:?}");
    }
}

#[test]
fn without_free_memory_there_is_no_fragmentation_and_all_is_unusable() {
    for blocks in [&[][..], &[0; 11]] {
        assert_eq!((fragmentation_index(blocks, 3), unusable_index(blocks, 3)), (0, 1000));
    }
}

/// As in the kernel: an allocation of an order that it does not have is not fragmentation.
#[test]
fn an_order_above_the_largest_has_an_index_of_0() {
    let full = vec![9; 11];
    assert_eq!(fragmentation_index(&full, 10), SUITABLE);
    for order in [11, 63, 64, u32::MAX] {
        assert_eq!((fragmentation_index(&full, order), unusable_index(&full, order)), (0, 1000), "{order}");
    }
}

#[test]
fn pages_are_blocks_by_their_size() {
    assert_eq!(pages(&mixed()), 320);
    assert_eq!(pages(&[]), 0);
    assert_eq!((block_pages(0), block_pages(10), block_pages(63)), (Some(1), Some(1024), Some(1 << 63)));
    assert_eq!(block_pages(64), None);
}

#[test]
fn figures_saturate_at_the_largest_number() {
    let huge = vec![u64::MAX; 16];
    assert_eq!(pages(&huge), u64::MAX);
    assert_eq!((fragmentation_index(&huge, 15), unusable_index(&huge, 0)), (SUITABLE, 0));
    let low = [vec![u64::MAX; 4], vec![0; 7]].concat();
    assert!((0..=1000).contains(&fragmentation_index(&low, 10)));
    assert_eq!(unusable_index(&low, 10), 1000);
}

/// Free blocks of each order: mostly none, or a few, or more than any machine has.
fn free_blocks() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![Just(0), 0_u64..5, 0_u64..1 << 20, any::<u64>()], 0..70)
}

proptest! {
    #[test]
    fn an_index_is_within_bounds_and_says_suitable_only_where_a_block_is(
        blocks in free_blocks(),
        order in prop_oneof![0_u32..12, 0_u32..80, any::<u32>()],
    ) {
        let index = fragmentation_index(&blocks, order);
        prop_assert!((-1000..=1000).contains(&index), "{}", index);
        let there = blocks.iter().skip(order as usize).any(|blocks| *blocks > 0);
        // A block of more than 2^63 pages has no order.
        prop_assert_eq!(index == SUITABLE, there && order < 64);
        let unusable = unusable_index(&blocks, order);
        prop_assert!(unusable <= 1000);
        if !there {
            prop_assert_eq!(unusable, 1000);
        }
    }

    #[test]
    fn the_larger_the_order_the_more_is_unusable(blocks in prop::collection::vec(0_u64..1 << 30, 11), order in 0_u32..10) {
        prop_assert!(unusable_index(&blocks, order) <= unusable_index(&blocks, order + 1));
    }
}
