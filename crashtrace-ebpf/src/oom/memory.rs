//! Where the memory of a scope was, at the decision: statistics that the kernel keeps of the node and of a memcg.
//!
//! Both are fixed bodies of a [`Section`](crate::Section): [`section::NODE_MEMORY`](crate::section::NODE_MEMORY) in the record of
//! the zones, [`section::MEMCG_MEMORY`](crate::section::MEMCG_MEMORY) in those of a decision's first mark and of an OOM without a victim (first
//! the limit owner's, then that of the victim's own memcg, if it is another).
//!
//! A statistic is in the kernel's own unit: pages, or what its doc says. A statistic that could not be read has its bit, by index,
//! in a word of missing ones.

use crate::fields;

/// Lists of pages that reclaim goes through (`enum lru_list`, `include/linux/mmzone.h`, 5.10 to 7.3): inactive and active anonymous,
/// inactive and active file, unevictable. Shared memory is among the anonymous ones. Pages of the multi-generational LRU, which
/// has neither, count as inactive.
pub const LRU_LISTS: usize = 5;

/// Sizes of huge pages in a record at most (`HUGE_MAX_HSTATE`: 2 on x86, 4 on arm64).
pub const HUGE_SIZES: usize = 4;

/// Statistics of a memcg and its descendants (`mem_cgroup.vmstats`), by index.
pub mod memcg_stat {
    use super::fields;

    /// `NR_ANON_MAPPED`.
    pub const ANON: usize = 0;
    /// `NR_FILE_PAGES`: page cache, shared memory and swap cache too.
    pub const FILE: usize = 1;
    /// `NR_SHMEM`.
    pub const SHMEM: usize = 2;
    /// `NR_SWAPCACHE`; from 5.12 on.
    pub const SWAPCACHE: usize = 3;
    /// `NR_FILE_MAPPED`.
    pub const FILE_MAPPED: usize = 4;
    /// `NR_FILE_DIRTY`.
    pub const FILE_DIRTY: usize = 5;
    /// `NR_WRITEBACK`.
    pub const FILE_WRITEBACK: usize = 6;
    /// `NR_SLAB_RECLAIMABLE_B`, in bytes.
    pub const SLAB_RECLAIMABLE: usize = 7;
    /// `NR_SLAB_UNRECLAIMABLE_B`, in bytes.
    pub const SLAB_UNRECLAIMABLE: usize = 8;
    /// `NR_KERNEL_STACK_KB`, in KiB.
    pub const KERNEL_STACK: usize = 9;
    /// `NR_PAGETABLE`; from 5.11 on.
    pub const PAGE_TABLES: usize = 10;
    /// `NR_SECONDARY_PAGETABLE`; from 6.1 on.
    pub const SECONDARY_PAGE_TABLES: usize = 11;
    /// `MEMCG_SOCK`.
    pub const SOCK: usize = 12;
    /// `MEMCG_PERCPU_B`, in bytes.
    pub const PERCPU: usize = 13;
    /// `MEMCG_VMALLOC`, from 5.16 on; `NR_VMALLOC` later.
    pub const VMALLOC: usize = 14;
    /// `MEMCG_KMEM`, from 5.18 on: all kernel memory, the kinds above included, but not sockets.
    pub const KERNEL: usize = 15;
    /// `MEMCG_ZSWAP_B`, in bytes; from 5.19 on.
    pub const ZSWAP: usize = 16;
    /// `NR_HUGETLB`, where huge pages are charged (`memory_hugetlb_accounting`).
    pub const HUGETLB: usize = 17;
    /// How many there are.
    pub const COUNT: usize = 18;
    /// Where the kernel's enumerator of each is in the field table: one after the other.
    pub const FIRST_FIELD: usize = fields::MEMCG_STAT_ANON;

    const _: () = assert!(fields::MEMCG_STAT_HUGETLB == FIRST_FIELD + COUNT - 1);
}

/// Statistics of all NUMA nodes together (`pglist_data.vm_stat`), without what CPUs have not yet added to them, by index.
pub mod node_stat {
    use super::fields;

    /// `NR_ANON_MAPPED`.
    pub const ANON: usize = 0;
    /// `NR_FILE_PAGES`: page cache, shared memory and swap cache too.
    pub const FILE: usize = 1;
    /// `NR_SHMEM`.
    pub const SHMEM: usize = 2;
    /// `NR_SWAPCACHE`; from 5.12 on.
    pub const SWAPCACHE: usize = 3;
    /// `NR_FILE_MAPPED`.
    pub const FILE_MAPPED: usize = 4;
    /// `NR_FILE_DIRTY`.
    pub const FILE_DIRTY: usize = 5;
    /// `NR_WRITEBACK`.
    pub const FILE_WRITEBACK: usize = 6;
    /// `NR_SLAB_RECLAIMABLE_B`, in pages here.
    pub const SLAB_RECLAIMABLE: usize = 7;
    /// `NR_SLAB_UNRECLAIMABLE_B`, in pages here.
    pub const SLAB_UNRECLAIMABLE: usize = 8;
    /// `NR_KERNEL_STACK_KB`, in KiB.
    pub const KERNEL_STACK: usize = 9;
    /// `NR_PAGETABLE`; of zones before 5.11, which is read there.
    pub const PAGE_TABLES: usize = 10;
    /// `NR_SECONDARY_PAGETABLE`; from 6.1 on.
    pub const SECONDARY_PAGE_TABLES: usize = 11;
    /// `NR_UNEVICTABLE`.
    pub const UNEVICTABLE: usize = 12;
    /// `NR_VMALLOC`; before it the kernel's own `nr_vmalloc_pages`, which is read then.
    pub const VMALLOC: usize = 13;
    /// `NR_HUGETLB`.
    pub const HUGETLB: usize = 14;
    /// `NR_BALLOON_PAGES`; from 6.17 on.
    pub const BALLOON: usize = 15;
    /// `NR_IOMMU_PAGES`; from 6.11 on.
    pub const IOMMU: usize = 16;
    /// `NR_GPU_ACTIVE`; from 7.0 on.
    pub const GPU_ACTIVE: usize = 17;
    /// `NR_GPU_RECLAIM`; the same.
    pub const GPU_RECLAIM: usize = 18;
    /// How many of nodes there are.
    pub const OF_NODES: usize = 19;
    /// `NR_ZSPAGES`, a zone's: pages of zsmalloc (zram, zswap).
    pub const ZSMALLOC: usize = 19;
    /// `NR_UNACCEPTED`, a zone's: memory that a confidential guest has not accepted yet.
    pub const UNACCEPTED: usize = 20;
    /// How many of nodes and zones there are.
    pub const OF_ZONES_TOO: usize = 21;
    /// Pages of per-CPU memory: `pcpu_nr_populated` times `pcpu_nr_units` (`mm/percpu.c`).
    pub const PERCPU: usize = 21;
    /// `tcp_memory_allocated`: pages of TCP's buffers, which are slab or pages of no other statistic.
    pub const TCP: usize = 22;
    /// `udp_memory_allocated`, the same for UDP.
    pub const UDP: usize = 23;
    /// `total_swap_pages`.
    pub const SWAP_TOTAL: usize = 24;
    /// `nr_swap_pages`: free ones.
    pub const SWAP_FREE: usize = 25;
    /// How many there are.
    pub const COUNT: usize = 26;
    /// Where the kernel's enumerator of each of [`OF_ZONES_TOO`] is in the field table: one after the other.
    pub const FIRST_FIELD: usize = fields::NODE_STAT_ANON;

    const _: () = assert!(fields::ZONE_STAT_UNACCEPTED == FIRST_FIELD + OF_ZONES_TOO - 1);
}

/// Body of [`section::MEMCG_MEMORY`](crate::section::MEMCG_MEMORY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct MemcgMemory {
    /// Its cgroup.
    pub cgroup_id: u64,
    /// `memory.usage`.
    pub usage_pages: u64,
    /// `kmem.usage`: all kernel memory; counted on cgroup v1 only, and on kernels that have it.
    pub kmem_pages: u64,
    /// `tcpmem.usage`, the same for TCP's buffers.
    pub tcpmem_pages: u64,
    /// Its own pages on the lists of reclaim, without its descendants': exact, while statistics are summed with a delay.
    pub lru_pages: [u64; LRU_LISTS],
    /// By [`memcg_stat`]; of its descendants too, as the kernel last summed them.
    pub stats: [i64; memcg_stat::COUNT],
    /// Which of them are missing, by bit.
    pub missing_stats: u64,
    /// Bits of [`memcg_memory_missing`].
    pub missing: u32,
    /// Descendants that have been removed and still have memory charged to them (`cgroup.nr_dying_descendants`).
    pub dying: u32,
}

const _: () = assert!(size_of::<MemcgMemory>() == 32 + 40 + 144 + 16);

/// Bits of [`MemcgMemory::missing`].
pub mod memcg_memory_missing {
    /// The id of its cgroup.
    pub const ID: u32 = 1 << 0;
    /// Its usage.
    pub const USAGE: u32 = 1 << 1;
    /// `kmem_pages`.
    pub const KMEM: u32 = 1 << 2;
    /// `tcpmem_pages`.
    pub const TCPMEM: u32 = 1 << 3;
    /// Its lists of pages.
    pub const LRU: u32 = 1 << 4;
    /// `dying`.
    pub const DYING: u32 = 1 << 5;
}

/// Huge pages of one size (`struct hstate`, `include/linux/hugetlb.h`, 5.10 to 7.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HugePages {
    /// Order of one.
    pub order: u32,
    /// 1 if the kernel has this size.
    pub there: u32,
    /// `nr_huge_pages`: in the pool.
    pub total: u64,
    /// `free_huge_pages`: of these, in no use.
    pub free: u64,
    /// `resv_huge_pages`: of the free ones, promised to a mapping.
    pub reserved: u64,
}

const _: () = assert!(size_of::<HugePages>() == 32);

/// Body of [`section::NODE_MEMORY`](crate::section::NODE_MEMORY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct NodeMemory {
    /// By [`node_stat`].
    pub stats: [i64; node_stat::COUNT],
    /// Which of them are missing, by bit.
    pub missing_stats: u64,
    /// By size.
    pub huge: [HugePages; HUGE_SIZES],
    /// Pages that zones have (`present_pages`), those in the kernel's image and tables included, summed as `managed_pages` is.
    pub present_pages: u64,
    /// Pages that the page allocator manages (`managed_pages`).
    pub managed_pages: u64,
    /// Bits of [`node_memory_flag`].
    pub flags: u32,
    /// Children of the root memcg whose statistics were added to `children`.
    pub children_seen: u32,
    /// `NR_ANON_MAPPED`, `NR_FILE_PAGES` and `NR_SHMEM` of the root memcg's children together: what the root's own statistics have
    /// beyond them is of the root cgroup's own processes and files.
    pub children: [i64; 3],
    /// The root memcg: its usage is what all cgroups below it are charged, its statistics are of all that is charged and of the
    /// processes and files of the root cgroup too, and its lists are of these alone.
    pub root: MemcgMemory,
}

const _: () = assert!(size_of::<NodeMemory>() == 208 + 8 + 128 + 16 + 8 + 24 + size_of::<MemcgMemory>());

/// Bits of [`NodeMemory::flags`].
pub mod node_memory_flag {
    /// The huge pages were read.
    pub const HUGE: u32 = 1 << 0;
    /// There are more zones than were read, so the sums of zones and nodes are too small.
    pub const INCOMPLETE: u32 = 1 << 1;
    /// There is a root memcg.
    pub const ROOT: u32 = 1 << 2;
    /// `children` has all of them.
    pub const CHILDREN: u32 = 1 << 3;
}

/// Body of [`section::REMOVED`](crate::section::REMOVED): of the small cgroups that the walk visited, those that have been removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RemovedCgroups {
    /// How many.
    pub small: u64,
    /// Their memory.
    pub small_pages: u64,
}

const _: () = assert!(size_of::<RemovedCgroups>() == 16);
