//! Flags of an allocation: two lists of names may stand for the same.

use std::collections::BTreeSet;

const KERNEL: [&str; 4] = ["__GFP_DIRECT_RECLAIM", "__GFP_KSWAPD_RECLAIM", "__GFP_IO", "__GFP_FS"];

/// Combinations of the catalogue's flags, and those that they become when the page allocator adds `__GFP_HARDWALL`, which it does
/// where there are cpusets (`include/linux/gfp_types.h`): [`KERNEL`] and more.
const COMBINATIONS: [(&str, &[&str]); 4] = [
    ("GFP_KERNEL", &[]),
    ("GFP_KERNEL_ACCOUNT", &["__GFP_ACCOUNT"]),
    ("GFP_USER", &["__GFP_HARDWALL"]),
    ("GFP_HIGHUSER", &["__GFP_HARDWALL", "__GFP_HIGHMEM"]),
];

/// The single flags that `names` stand for. Other combinations stand for themselves.
pub(super) fn flags<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut flags = BTreeSet::new();
    for name in names {
        match COMBINATIONS.iter().find(|(combination, _)| *combination == name) {
            Some((_, more)) => flags.extend(KERNEL.iter().chain(*more).copied()),
            None => _ = flags.insert(name),
        }
    }
    flags
}
