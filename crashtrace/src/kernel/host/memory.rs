//! Settings of the kernel that decide how much memory is kept free, and how large its free blocks stay.

use schemars::JsonSchema;
use serde::Serialize;

use super::Look;

/// Settings of the page allocator (`Documentation/admin-guide/sysctl/vm.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MemorySettings {
    /// `vm.min_free_kbytes`: KiB that the kernel keeps free for allocations that cannot sleep, and from which it derives when to
    /// reclaim in the background.
    pub min_free_kbytes: Option<i32>,
    /// `vm.compaction_proactiveness`: 0 to 100, how eagerly the kernel compacts free memory before an allocation needs it; 0 not at
    /// all.
    pub compaction_proactiveness: Option<i32>,
    /// `vm.compact_unevictable_allowed`: if 0, compaction does not move locked memory.
    pub compact_unevictable_allowed: Option<i32>,
    /// `vm.extfrag_threshold`: up to this fragmentation index, in thousandths, the kernel reclaims rather than compacts for an
    /// allocation of more than 8 pages.
    pub extfrag_threshold: Option<i32>,
}

pub(super) fn settings(look: &mut Look<'_>) -> MemorySettings {
    let mut read = |name: &str| look.sysctl(name, &format!("/proc/sys/vm/{name}"));
    MemorySettings {
        min_free_kbytes: read("min_free_kbytes"),
        compaction_proactiveness: read("compaction_proactiveness"),
        compact_unevictable_allowed: read("compact_unevictable_allowed"),
        extfrag_threshold: read("extfrag_threshold"),
    }
}
