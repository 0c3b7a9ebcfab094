//! The part of a report about the node's memory.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, VariantArray};

use super::{Owner, Text};

/// The node's memory at that moment: what was free in each zone and, in an OOM of the node, who held the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// The zones were read from `/proc` just after the failure, and may have changed. Otherwise they were read in the kernel at
    /// the failure.
    pub late: bool,
    /// The zones of the page allocator that have memory, at most 16.
    pub zones: Vec<Zone>,
    /// How many there are.
    pub zones_total: u64,
    /// Memory that compaction cannot move, from `/proc/meminfo` just after; only if memory was fragmented.
    pub unmovable: Option<Unmovable>,
    /// All pods together (`kubepods`); null where there is none, or it held less than `least_bytes`. This and what follows
    /// is from the kernel's tree of memory cgroups at the decision, and null in all but an OOM of the node. A cgroup's figure
    /// is all that is charged to it and to those below it, page cache and kernel memory too.
    pub pods: Option<Holder>,
    /// The largest owners, the largest first; at most 10. Pods, and outside of pods the innermost cgroups that are large.
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
}

/// A kind of memory in an account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccountKind {
    /// Free, in zones that the allocation may use; in all zones if it is not known which these are.
    Free,
    /// Free, in zones that the allocation may not use.
    FreeIneligible,
    /// A pod.
    Pod,
    /// A service or scope of the host.
    Service,
    /// A container outside of pods.
    Container,
    /// Any other cgroup. Without a holder: all cgroups together.
    Cgroup,
    /// Cgroups too small to be listed, together, and what is charged to the cgroups above them. With a holder: those in it.
    SmallCgroups,
    /// Cgroups that have been removed, to which files in memory or kernel memory are still charged.
    RemovedCgroups,
    /// Anonymous memory of processes in the root cgroup.
    RootProcesses,
    /// tmpfs and shared memory of processes in the root cgroup.
    RootShmem,
    /// Page cache of processes in the root cgroup.
    RootFiles,
    /// Anonymous memory: heap and stacks.
    Anon,
    /// Page cache.
    File,
    /// Shared memory and tmpfs.
    Shmem,
    /// Swapped-in pages that still have their place in swap.
    SwapCache,
    /// Pools of huge pages.
    HugePages,
    /// Unreclaimable slab, charged to no cgroup if the account is the node's; the same of the kinds below.
    SlabUnreclaimable,
    /// Reclaimable slab: dentries, inodes.
    SlabReclaimable,
    PageTables,
    KernelStacks,
    /// Per-CPU memory of the kernel.
    Percpu,
    /// vmalloc, BPF maps among it.
    Vmalloc,
    /// Buffers of sockets.
    Sockets,
    /// zram and zswap: swap in memory.
    Zsmalloc,
    /// Compressed pages of swap that are charged to the cgroup.
    Zswap,
    /// Taken back by the host of this virtual machine.
    Balloon,
    /// Page tables of IOMMUs.
    Iommu,
    /// Memory of graphics drivers.
    Gpu,
    /// Not yet accepted by this confidential guest.
    Unaccepted,
    /// Kernel memory that the kernel does not tell apart: pipe buffers and others.
    OtherKernel,
}

/// A kind of swap device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SwapKind {
    /// A partition, or another block device.
    Partition,
    File,
    /// Compressed memory of the node itself.
    Zram,
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

/// A holder of memory.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Holder {
    /// Path of the cgroup.
    pub cgroup: Text,
    /// Whose it is.
    pub owner: Owner,
    /// Memory charged to it.
    pub usage_bytes: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// It has no limit.
    pub unlimited: bool,
    /// Thousandths of the node's memory and swap together; null if the decision was about a part of the memory (a cpuset or a
    /// memory policy).
    pub share_permille: Option<u32>,
}
