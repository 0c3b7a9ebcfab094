//! The part of a report about the node's memory.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Account, Owner, Text};

/// Memory at that moment. In an OOM its account: of the node, or of the cgroup whose limit was hit. If the node's memory was short, what
/// was free in each zone, and who held the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// Where the memory was: of the node in an OOM of the node, of the limit owner in the OOM of a cgroup. Null if the kernel does not
    /// give it, and for a failed allocation.
    pub account: Option<Account>,
    /// The same of the cgroup of the victim, if that is not the limit owner.
    pub victim_account: Option<Account>,
    /// The zones were read from `/proc` just after the failure, and may have changed. Otherwise they were read in the kernel at
    /// the failure.
    pub late: bool,
    /// The zones of the page allocator that have memory, at most 16. Empty in the OOM of a cgroup.
    pub zones: Vec<Zone>,
    /// How many there are.
    pub zones_total: u64,
    /// Memory that compaction cannot move, from `/proc/meminfo` just after; only if memory was fragmented.
    pub unmovable: Option<Unmovable>,
    /// All pods together (`kubepods`); null where there is none, or it held less than `least_bytes`. This and what follows
    /// is from the kernel's tree of memory cgroups at the decision, and null in all but an OOM: of the node, or of a cgroup that has
    /// others in it. A cgroup's figure is all that is charged to it and to those below it, page cache and kernel memory too.
    pub pods: Option<Holder>,
    /// The largest owners, the largest first, by memory and swap; at most 10. Pods, and outside of pods the innermost cgroups that are
    /// large. In the OOM of a cgroup those within it; of a pod its containers.
    pub holders: Vec<Holder>,
    /// Owners that held at least `least_bytes`; there may be more if `incomplete`.
    pub holders_total: Option<u64>,
    /// An owner counts as large from this size on: 1/128 of the memory that the decision was about.
    pub least_bytes: Option<u64>,
    /// Visited cgroups that held less.
    pub small_total: Option<u32>,
    /// What those held together. Those below a holder are included in its figure too.
    pub small_bytes: Option<u64>,
    /// Visited cgroups: all on the way down to the large ones. Cgroups below a small one are not visited.
    pub cgroups_looked_at: Option<u32>,
    /// All cgroups of the node.
    pub cgroups_total: Option<u32>,
    /// There may be large holders that were not visited.
    pub incomplete: Option<bool>,
    /// There may, because the walk's time was up: it may take 5 ms, and begins with the newest cgroups.
    pub time_up: Option<bool>,
    /// If the walk of an OOM of the node ended early: large owners that it had not found, and that the agent found in a second look just
    /// after the kill, the largest first; at most 5. Late figures, of a time when the victim's memory was being freed; an owner may be
    /// a part of one of `holders`. They come with a later revision.
    pub holders_late: Vec<Holder>,
    /// Cgroups that were looked at in the second look.
    pub cgroups_looked_at_late: Option<u32>,
    /// The second look ended early as well.
    pub late_incomplete: Option<bool>,
}

/// A zone of the page allocator, and what it had for the allocation.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Zone {
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub zone: Option<Text>,
    /// The allocation may use this zone: its flags allow it, and it is not restricted to other NUMA nodes.
    pub eligible: Option<bool>,
    /// Memory that the page allocator manages there.
    pub managed_bytes: Option<u64>,
    /// Free memory, without the per-CPU lists.
    pub free_bytes: Option<u64>,
    /// Of this, what such an allocation may use: without CMA unless it is movable, without the highatomic reserve unless it is
    /// atomic.
    pub usable_bytes: Option<u64>,
    /// The min watermark: below it, allocations that can sleep reclaim memory themselves. Includes `boost_bytes`.
    pub min_bytes: Option<u64>,
    /// The low watermark: below it, kswapd begins to reclaim memory.
    pub low_bytes: Option<u64>,
    /// The high watermark: kswapd stops there.
    pub high_bytes: Option<u64>,
    /// Temporary boost of the watermarks after fragmentation.
    pub boost_bytes: u64,
    /// The lowmem reserve: not available to this allocation, which may also use a higher zone.
    pub lowmem_reserve_bytes: Option<u64>,
    /// Free CMA memory, for movable allocations only.
    pub free_cma_bytes: u64,
    /// The highatomic reserve, for atomic allocations of more than a page: its free part on kernels from 6.12 on, all of it
    /// before.
    pub highatomic_bytes: u64,
    /// Free blocks: how many of one page, of two, of four, and so on.
    pub free_blocks: Option<Vec<u64>>,
    /// `usable_bytes` less `min_bytes` and `lowmem_reserve_bytes` is enough for the allocation. One that may use reserves must
    /// leave only half of `min_bytes` (`__GFP_HIGH`) or three eighths (`GFP_ATOMIC`).
    pub room: Option<bool>,
    /// There was a block of sufficient size and of a migrate type that the allocation may use.
    pub suitable_block: Option<bool>,
    /// The kernel's fragmentation index for the order (debugfs `extfrag_index`): -1 if a block was free, else from 0 (memory
    /// was low) to 1 (memory was fragmented).
    pub fragmentation_index: Option<f64>,
    /// The kernel's unusable free space index for the order (debugfs `unusable_index`): the share of free memory in blocks that
    /// are too small.
    pub unusable_index: Option<f64>,
}

/// Memory of the node that compaction cannot move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unmovable {
    /// Locked, or in files that cannot be reclaimed. Null in an OOM: it would be read after the victim's memory was freed.
    pub unevictable_bytes: Option<u64>,
    /// Unreclaimable slab.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Reclaimable slab.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Kernel stacks.
    pub kernel_stack_bytes: Option<u64>,
    /// Reserved for huge pages.
    pub huge_page_bytes: Option<u64>,
    /// Of these, unused.
    pub huge_page_free_bytes: Option<u64>,
}

/// Entries of [`Memory::zones`] at most, as its doc says.
pub const ZONES: usize = 16;

/// Entries of [`Memory::holders`] at most, as its doc says.
pub const HOLDERS: usize = 10;

/// Entries of [`Memory::holders_late`] at most, as its doc says.
pub const HOLDERS_LATE: usize = 5;

/// A holder of memory.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Holder {
    /// Path of the cgroup.
    pub cgroup: Text,
    /// Whose it is.
    pub owner: Owner,
    /// Memory charged to it.
    pub usage_bytes: u64,
    /// Its swap.
    pub swap_bytes: Option<u64>,
    /// The cgroup has been removed: files in memory or kernel memory are still charged to it.
    pub removed: bool,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// It has no limit.
    pub unlimited: bool,
    /// Thousandths of the node's memory and swap together; null if the decision was about a part of the memory (a cpuset or a
    /// memory policy). In the OOM of a cgroup, of that cgroup's memory in use.
    pub share_permille: Option<u32>,
}
