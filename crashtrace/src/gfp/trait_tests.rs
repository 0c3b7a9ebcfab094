//! Traits of an allocation by its flags, on kernels with `__GFP_ATOMIC` and without.

use proptest::prelude::*;

use super::{GfpNames, Highest, Traits};

fn both() -> [GfpNames; 2] {
    [GfpNames::fallback(), GfpNames::fallback_without_atomic()]
}

#[test]
fn the_highest_zone_is_that_of_the_kernels_own_table() {
    for (mask, highest) in [
        (0xcc0, Highest::Normal),
        // GFP_KERNEL with __GFP_DMA, with __GFP_DMA32.
        (0xcc1, Highest::Dma),
        (0xcc4, Highest::Dma32),
        (0x10_0cca, Highest::Movable),
        // Movable without high memory, and the other way round: GFP_HIGHUSER.
        (0x10_0cc8, Highest::Normal),
        (0x10_0cc2, Highest::Normal),
        (0, Highest::Normal),
    ] {
        for names in both() {
            assert_eq!(names.traits(mask).highest, highest, "{mask:#x}");
        }
    }
}

#[test]
fn an_atomic_allocation_is_recognised_by_both_definitions() {
    let atomic = |mask| both().map(|names| names.traits(mask).atomic());
    // GFP_ATOMIC up to 6.2, and since.
    assert_eq!((atomic(0xa20), atomic(0x820)), ([true; 2], [true; 2]));
    // GFP_NOWAIT may not sleep, but may not use the reserves; nor may GFP_KERNEL with __GFP_HIGH, which may sleep.
    for mask in [0x800, 0x2800, 0xcc0, 0xce0, 0x200] {
        assert_eq!(atomic(mask), [false; 2], "{mask:#x}");
    }
}

#[test]
fn each_flag_is_a_separate_trait() {
    type Set = fn(&mut Traits);
    let flags: [(u32, Set); 10] = [
        (3, |traits| traits.movable = true),
        (4, |traits| traits.reclaimable = true),
        (5, |traits| traits.high = true),
        (10, |traits| traits.may_sleep = true),
        (13, |traits| traits.nowarn = true),
        (14, |traits| traits.retry_may_fail = true),
        (16, |traits| traits.no_retry = true),
        (20, |traits| traits.hardwall = true),
        (21, |traits| traits.this_node = true),
        (22, |traits| traits.account = true),
    ];
    for (bit, set) in flags {
        let mut expected = Traits::default();
        set(&mut expected);
        assert_eq!(GfpNames::fallback().traits(1 << bit), expected, "bit {bit}");
    }
}

#[test]
fn a_flag_has_the_kernels_bit() {
    let moved = GfpNames::from_bits([(30, "___GFP_NOWARN_BIT".to_owned()), (31, "__GFP_MOVABLE".to_owned())]);
    assert_eq!(moved.traits(1 << 30), Traits { nowarn: true, ..Traits::default() });
    let bits = moved.kernel_bits();
    assert_eq!((bits.nowarn, bits.movable), (1 << 30, 1 << 31));
    assert_eq!((bits.direct_reclaim, bits.reclaimable), (0, 0), "what it has no bit for is never set");
}

#[test]
fn the_kernel_side_gets_the_bits_that_all_kernels_have() {
    for names in both() {
        let bits = names.kernel_bits();
        assert_eq!(
            (bits.nowarn, bits.direct_reclaim, bits.movable, bits.reclaimable),
            (0x2000, 0x400, 0x8, 0x10)
        );
        assert_eq!((bits.has_fallback, bits.highmem, bits.hardwall), (0x29_0000, 0x2, 0x10_0000));
    }
    assert_eq!(GfpNames::default().kernel_bits(), crashtrace_ebpf::GfpBits::default());
}

proptest! {
    #[test]
    fn any_mask_has_traits(mask: u32) {
        let [old, new] = both().map(|names| names.traits(mask));
        prop_assert_eq!(old, new, "none of them hangs on __GFP_ATOMIC");
        prop_assert_eq!(GfpNames::default().traits(mask), Traits::default());
    }
}
