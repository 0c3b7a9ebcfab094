//! Settings of the kernel that decide how much memory is kept free, and how large its pieces stay.

use schemars::JsonSchema;
use serde::Serialize;

use super::Look;

/// Settings of the page allocator (`Documentation/admin-guide/sysctl/vm.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MemorySettings {
    /// `vm.min_free_kbytes`: KiB that the kernel keeps free for those who cannot wait, and from which it derives when to
    /// free memory in the background.
    pub min_free_kbytes: Option<i32>,
    /// `vm.compaction_proactiveness`: 0 to 100, how eagerly the kernel puts free memory together before anybody needs it; 0
    /// not at all.
    pub compaction_proactiveness: Option<i32>,
    /// `vm.compact_unevictable_allowed`: if 0, locked memory stays where it is.
    pub compact_unevictable_allowed: Option<i32>,
    /// `vm.extfrag_threshold`: up to this fragmentation index, in thousandths, a request of more than 8 pages makes the kernel
    /// free memory rather than put it together.
    pub extfrag_threshold: Option<i32>,
}

/// Reads them.
pub(super) fn settings(look: &mut Look<'_>) -> MemorySettings {
    let mut read = |name: &str| look.sysctl(name, &format!("/proc/sys/vm/{name}"));
    MemorySettings {
        min_free_kbytes: read("min_free_kbytes"),
        compaction_proactiveness: read("compaction_proactiveness"),
        compact_unevictable_allowed: read("compact_unevictable_allowed"),
        extfrag_threshold: read("extfrag_threshold"),
    }
}
