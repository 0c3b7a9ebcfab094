//! The part of a report about the node's memory.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Owner, Text};

/// The node's memory at that moment: what was free, zone by zone, and in an OOM of the node who held the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// The zones were read from `/proc` after the failure, when some of it had changed already. In the kernel at the
    /// failure itself otherwise.
    pub late: bool,
    /// The zones of the page allocator that have memory, at most 16.
    pub zones: Vec<Zone>,
    /// How many there are.
    pub zones_total: u64,
    /// Memory that cannot be moved to make room for large pieces, from `/proc/meminfo` just after; only where there was
    /// enough memory in pieces too small.
    pub unmovable: Option<Unmovable>,
    /// All pods together (`kubepods`); null where there is none, or it held less than `least_bytes`. This and what follows
    /// is from the kernel's tree of memory cgroups at the decision, and null in all but an OOM of the node. A cgroup's figure
    /// is all that is charged to it and to those below it, page cache and kernel memory too.
    pub pods: Option<Holder>,
    /// The largest owners, the largest first; at most 10. Pods, and outside of pods the innermost cgroups that are large.
    pub holders: Vec<Holder>,
    /// Owners that held at least `least_bytes`; there may be more if `incomplete`.
    pub holders_total: Option<u64>,
    /// From here on an owner counts as large: one 128th of the memory that the decision was about.
    pub least_bytes: Option<u64>,
    /// Cgroups that held less, among those that were looked at.
    pub small_total: Option<u32>,
    /// What those held together. Those that are in a holder are in its figure as well.
    pub small_bytes: Option<u64>,
    /// Cgroups that were looked at: all on the way down to the large ones. What is below a small one is not looked at.
    pub cgroups_looked_at: Option<u32>,
    /// Cgroups that there were.
    pub cgroups_total: Option<u32>,
    /// There may be large ones that were not seen.
    pub incomplete: Option<bool>,
}

/// A zone of the page allocator, with what it says about the request.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Zone {
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub zone: Option<Text>,
    /// The request might use it: its flags allow this zone, and it is not bound to other nodes.
    pub eligible: Option<bool>,
    /// Memory that the page allocator has there.
    pub managed_bytes: Option<u64>,
    /// Free, but for what CPUs keep in lists of their own.
    pub free_bytes: Option<u64>,
    /// Of this, what such a request may use: without CMA unless it is for movable memory, without the reserve for atomic
    /// requests unless it is one.
    pub usable_bytes: Option<u64>,
    /// The kernel keeps this much free; sleeping requests wait below it. `boost_bytes` is in it.
    pub min_bytes: Option<u64>,
    /// Below it the kernel begins to free memory in the background.
    pub low_bytes: Option<u64>,
    /// At it that ends.
    pub high_bytes: Option<u64>,
    /// What was added to these marks for a while because fragmentation was met.
    pub boost_bytes: u64,
    /// Kept from this request, which might use a higher zone as well.
    pub lowmem_reserve_bytes: Option<u64>,
    /// Free memory that only movable memory may use.
    pub free_cma_bytes: u64,
    /// Memory kept for atomic requests of more than a page: the free part of it on kernels from 6.12 on, all of it before.
    pub highatomic_bytes: u64,
    /// Free blocks: how many of one page, of two, of four, and so on.
    pub free_blocks: Option<Vec<u64>>,
    /// What is free for it, less `min_bytes` and `lowmem_reserve_bytes`, is enough for the request. One that may use the
    /// kernel's reserves is kept from a half of `min_bytes` only (`__GFP_HIGH`), or from three eighths (`GFP_ATOMIC`).
    pub room: Option<bool>,
    /// There was a block large enough, of a kind that the request may use.
    pub suitable_block: Option<bool>,
    /// The kernel's index for the request's order (debugfs `extfrag_index`): -1 if a block was there, else from 0, want of
    /// memory, to 1, pieces too small.
    pub fragmentation_index: Option<f64>,
    /// The kernel's unusable free space index for it (debugfs `unusable_index`): the share of free memory in blocks too small.
    pub unusable_index: Option<f64>,
}

/// Memory of the node that cannot be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Unmovable {
    /// Locked, or in files that cannot be reclaimed. Null in an OOM, for it is read when the victim has given back what it had
    /// locked.
    pub unevictable_bytes: Option<u64>,
    /// Kernel caches that cannot be given back.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Kernel caches that can.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Kernel stacks.
    pub kernel_stack_bytes: Option<u64>,
    /// Reserved for huge pages.
    pub huge_page_bytes: Option<u64>,
    /// Of these, those that nobody uses.
    pub huge_page_free_bytes: Option<u64>,
}

/// Entries of [`Memory::zones`] at most, as its doc says.
pub const ZONES: usize = 16;

/// Entries of [`Memory::holders`] at most, as its doc says.
pub const HOLDERS: usize = 10;

/// Someone who held memory.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Holder {
    /// Path of the cgroup.
    pub cgroup: Text,
    /// Whose it is.
    pub owner: Owner,
    /// What it held.
    pub usage_bytes: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// It has no limit.
    pub unlimited: bool,
    /// Thousandths of the node's memory and swap together; null where the decision was about a part of the memory only
    /// (a cpuset or a memory policy).
    pub share_permille: Option<u32>,
}
