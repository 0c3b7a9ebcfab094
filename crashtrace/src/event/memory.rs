//! Where the memory of a node or a memcg was, at the decision.
//!
//! `None` is a statistic that this kernel does not have, or that is out of reach of the kernel side. Statistics of a memcg include
//! its descendants', and are as the kernel last summed them over CPUs; reclaim does so, hence shortly before an OOM.

/// Statistics of a memcg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemcgStats {
    /// Anonymous memory, mapped.
    pub anon_bytes: Option<u64>,
    /// Page cache, shared memory and swap cache too.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs.
    pub shmem_bytes: Option<u64>,
    /// Pages that are in swap too; an anonymous one may count as `anon` as well.
    pub swap_cache_bytes: Option<u64>,
    /// Of the page cache, mapped.
    pub file_mapped_bytes: Option<u64>,
    /// Of the page cache, not yet written.
    pub file_dirty_bytes: Option<u64>,
    /// Of the page cache, being written.
    pub file_writeback_bytes: Option<u64>,
    /// Dentries, inodes and the like.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Other objects of the kernel.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Stacks of threads in the kernel.
    pub kernel_stack_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Page tables of virtual machines and devices.
    pub secondary_page_table_bytes: Option<u64>,
    /// Buffers of sockets; only what is charged.
    pub sock_bytes: Option<u64>,
    /// Per-CPU memory.
    pub percpu_bytes: Option<u64>,
    /// vmalloc; BPF maps among it.
    pub vmalloc_bytes: Option<u64>,
    /// All kernel memory, the kinds above included, but not `sock`.
    pub kernel_bytes: Option<u64>,
    /// Compressed pages of swap (zswap).
    pub zswap_bytes: Option<u64>,
    /// Huge pages, where they are charged.
    pub huge_bytes: Option<u64>,
}

/// The limit owner, and the victim's own memcg if that is another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitMemory {
    pub limit: Option<Box<MemcgMemory>>,
    pub victim: Option<Box<MemcgMemory>>,
}

/// Pages on the lists of reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lru {
    /// Anonymous and shared memory.
    pub inactive_anon_bytes: u64,
    pub active_anon_bytes: u64,
    /// Page cache.
    pub inactive_file_bytes: u64,
    pub active_file_bytes: u64,
    /// Locked, or in files that cannot be reclaimed.
    pub unevictable_bytes: u64,
}

/// A memcg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemcgMemory {
    /// Inode of its directory.
    pub cgroup_id: Option<u64>,
    /// All that is charged to it.
    pub usage_bytes: Option<u64>,
    /// Kernel memory, as cgroup v1 counts it by itself; `None` on v2.
    pub kmem_bytes: Option<u64>,
    /// TCP's buffers, the same.
    pub tcpmem_bytes: Option<u64>,
    /// Its own pages, without its descendants': exact.
    pub lru: Option<Lru>,
    pub stats: MemcgStats,
    /// Descendants that have been removed and still have memory charged to them.
    pub removed_descendants: Option<u32>,
}

/// Statistics of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Anonymous memory, mapped.
    pub anon_bytes: Option<u64>,
    /// Page cache, shared memory and swap cache too.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs.
    pub shmem_bytes: Option<u64>,
    /// Pages that are in swap too; an anonymous one may count as `anon` as well.
    pub swap_cache_bytes: Option<u64>,
    /// Of the page cache, mapped.
    pub file_mapped_bytes: Option<u64>,
    /// Of the page cache, not yet written.
    pub file_dirty_bytes: Option<u64>,
    /// Of the page cache, being written.
    pub file_writeback_bytes: Option<u64>,
    /// Dentries, inodes and the like.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Other objects of the kernel.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Stacks of threads in the kernel.
    pub kernel_stack_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Page tables of virtual machines and devices.
    pub secondary_page_table_bytes: Option<u64>,
    /// Locked, or in files that cannot be reclaimed; among the kinds above.
    pub unevictable_bytes: Option<u64>,
    /// All of vmalloc; stacks of threads among it, where they are mapped so.
    pub vmalloc_bytes: Option<u64>,
    /// In huge pages, by the statistic of nodes.
    pub huge_bytes: Option<u64>,
    /// Taken back by the host of this virtual machine.
    pub balloon_bytes: Option<u64>,
    /// Page tables of IOMMUs.
    pub iommu_bytes: Option<u64>,
    /// In use by graphics drivers.
    pub gpu_active_bytes: Option<u64>,
    /// Kept by graphics drivers, to be given back.
    pub gpu_reclaim_bytes: Option<u64>,
    /// zsmalloc: zram, zswap.
    pub zsmalloc_bytes: Option<u64>,
    /// Memory that a confidential guest has not accepted yet; free, but not counted as such.
    pub unaccepted_bytes: Option<u64>,
    /// Per-CPU memory.
    pub percpu_bytes: Option<u64>,
    /// Buffers of TCP, which are slab or pages of no other statistic.
    pub tcp_bytes: Option<u64>,
    /// The same of UDP.
    pub udp_bytes: Option<u64>,
    /// All swap.
    pub swap_total_bytes: Option<u64>,
    /// Free swap.
    pub swap_free_bytes: Option<u64>,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Size of one.
    pub page_bytes: u64,
    /// In the pool.
    pub total_bytes: u64,
    /// Of these, in no use.
    pub free_bytes: u64,
    /// Of the free ones, promised to a mapping.
    pub reserved_bytes: u64,
}

/// The node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeMemory {
    pub stats: NodeStats,
    /// By size; `None` where they could not be read.
    pub huge_pages: Option<Vec<HugePages>>,
    /// Memory that the zones have, the kernel's image and tables included.
    pub present_bytes: u64,
    /// Memory that the page allocator manages.
    pub managed_bytes: u64,
    /// There were more zones than a record holds: the sums are too small.
    pub incomplete: bool,
    /// The root memcg: its usage is what all cgroups below it are charged; its statistics are of that and of the root cgroup's own
    /// processes and files, whose pages alone are on its lists.
    pub root: Option<MemcgMemory>,
    /// Of the root memcg's statistics, what is its children's; `None` where not all of them were read.
    pub charged_lru: Option<ChargedLru>,
}

/// A swap device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapDevice {
    pub kind: SwapKind,
    pub bytes: u64,
}

/// What a swap device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapKind {
    /// A partition, or another block device.
    Partition,
    File,
    /// Compressed memory of the node itself.
    Zram,
}

/// Memory on the lists of reclaim that is charged to cgroups below the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChargedLru {
    pub anon_bytes: u64,
    /// Shared memory and swap cache too.
    pub file_bytes: u64,
    pub shmem_bytes: u64,
}
