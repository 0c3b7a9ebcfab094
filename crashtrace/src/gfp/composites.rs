//! The combinations of flags that have a name of their own.

use std::collections::BTreeMap;

use super::{ATOMIC, value};

const RECLAIM: &[&str] = &["__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM"];
const KERNEL: &[&str] = &["__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_IO", "__GFP_FS"];
const HIGHUSER_MOVABLE: &[&str] = &["__GFP_HARDWALL", "__GFP_HIGHMEM", "__GFP_MOVABLE"];
const TRANSHUGE_LIGHT: &[&str] = &[
    "__GFP_IO",
    "__GFP_FS",
    "__GFP_HARDWALL",
    "__GFP_HIGHMEM",
    "__GFP_MOVABLE",
    "__GFP_COMP",
    "__GFP_NOMEMALLOC",
    "__GFP_NOWARN",
];

/// Kernels that have a combination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Any,
    /// Those with `__GFP_ATOMIC`.
    WithAtomic,
    /// Those without.
    WithoutAtomic,
}

/// The combinations of `include/linux/gfp_types.h` in the order in which the kernel's own messages try them
/// (`include/trace/events/mmflags.h`): a larger one before those that it contains.
const COMPOSITES: [(&str, On, &[&[&str]]); 13] = [
    ("GFP_TRANSHUGE", On::Any, &[TRANSHUGE_LIGHT, &["__GFP_DIRECT_RECLAIM"]]),
    ("GFP_TRANSHUGE_LIGHT", On::Any, &[TRANSHUGE_LIGHT]),
    ("GFP_HIGHUSER_MOVABLE", On::Any, &[KERNEL, HIGHUSER_MOVABLE]),
    ("GFP_HIGHUSER", On::Any, &[KERNEL, &["__GFP_HARDWALL", "__GFP_HIGHMEM"]]),
    ("GFP_USER", On::Any, &[KERNEL, &["__GFP_HARDWALL"]]),
    ("GFP_KERNEL_ACCOUNT", On::Any, &[KERNEL, &["__GFP_ACCOUNT"]]),
    ("GFP_KERNEL", On::Any, &[KERNEL]),
    ("GFP_NOFS", On::Any, &[RECLAIM, &["__GFP_IO"]]),
    ("GFP_ATOMIC", On::WithAtomic, &[&["__GFP_HIGH", "__GFP_ATOMIC", "__GFP_KSWAPD_RECLAIM"]]),
    ("GFP_ATOMIC", On::WithoutAtomic, &[&["__GFP_HIGH", "__GFP_KSWAPD_RECLAIM"]]),
    ("GFP_NOIO", On::Any, &[RECLAIM]),
    ("GFP_NOWAIT", On::WithAtomic, &[&["__GFP_KSWAPD_RECLAIM"]]),
    // `GFP_NOWAIT` came to include NOWARN somewhat later than ATOMIC was removed; in between, the flag is listed separately.
    ("GFP_NOWAIT", On::WithoutAtomic, &[&["__GFP_KSWAPD_RECLAIM", "__GFP_NOWARN"]]),
];

/// The combinations that exist on the kernel with these flags, with their values. One with a flag that the kernel lacks is left out.
pub(super) fn composites(bits: &BTreeMap<u8, String>) -> Vec<(&'static str, u32)> {
    let on = if value(bits, ATOMIC.1).is_some() { On::WithAtomic } else { On::WithoutAtomic };
    let there = COMPOSITES.iter().filter(|(_, when, _)| *when == On::Any || *when == on);
    let valued = there.filter_map(|(name, _, parts)| {
        let mut flags = parts.iter().copied().flatten();
        Some((*name, flags.try_fold(0, |mask, flag| Some(mask | value(bits, flag)?))?))
    });
    valued.collect()
}
