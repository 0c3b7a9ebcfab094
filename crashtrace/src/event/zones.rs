//! The zones of the page allocator: free memory, and the reserves.
//!
//! Counts are pages, as in the kernel's own rules; reports give bytes.

use super::Name;

/// The populated zones of the machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// By node, then from the lowest.
    pub list: Vec<Zone>,
    /// More zones than a record holds.
    pub left_out: u32,
    /// Read by the user side after the event, when they had partly changed already.
    pub late: bool,
    /// Indices into a zone's `lowmem_reserve_pages`.
    pub types: ZoneTypes,
}

/// Indices of zone types in `enum zone_type`, `None` for one that the kernel is built without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneTypes {
    /// `ZONE_DMA`.
    pub dma: Option<usize>,
    /// `ZONE_DMA32`.
    pub dma32: Option<usize>,
    /// `ZONE_NORMAL`.
    pub normal: Option<usize>,
    /// `ZONE_MOVABLE`.
    pub movable: Option<usize>,
}

/// A populated zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// `DMA`, `DMA32`, `Normal`, `Movable`, `Device`.
    pub name: Option<Name>,
    /// Free pages, without those in per-CPU lists.
    pub free_pages: Option<u64>,
    /// Of these, those that only movable memory may use; 0 if the kernel is built without CMA.
    pub free_cma_pages: u64,
    /// Pages reserved for atomic allocations of order 1 and above: the free part of them if the kernel has it (from 6.12 on),
    /// else all.
    pub highatomic_pages: u64,
    /// Watermarks, the boost not included.
    pub watermarks: Option<Watermarks>,
    /// Added to each watermark for a while after fragmentation.
    pub boost_pages: u64,
    /// Reserved from allocations that may use a higher zone too, by type of the highest.
    pub lowmem_reserve_pages: Option<Vec<u64>>,
    /// Pages that the allocator manages.
    pub managed_pages: Option<u64>,
    /// Free blocks by order.
    pub free_blocks: Option<Vec<u64>>,
    /// Allocations that may take a block of that order, by order; `None` if that was not read.
    pub block_types: Option<Vec<BlockTypes>>,
}

/// Watermarks of a zone, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Below it only atomic allocations and those that help to free memory succeed.
    pub min_pages: u64,
    /// Below it kswapd begins to reclaim.
    pub low_pages: u64,
    /// At it kswapd stops.
    pub high_pages: u64,
}

/// The kinds of free blocks of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a list of the kernel's")]
pub struct BlockTypes {
    /// Unmovable, movable or reclaimable: for any allocation, since each kind may fall back to the others' blocks.
    pub any: bool,
    /// Reserved for atomic allocations.
    pub highatomic: bool,
    /// CMA: for movable memory.
    pub cma: bool,
    /// Isolated, or of a kind that this version does not know: not allocatable.
    pub other: bool,
}

/// The node's unmovable memory. Fields that the file does not have are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmovable {
    /// Unreclaimable caches of the kernel (`SUnreclaim`).
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Reclaimable caches, which cannot be moved (`SReclaimable`): inodes and directory entries, above all.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Page tables of processes (`PageTables`).
    pub page_table_bytes: Option<u64>,
    /// Stacks of threads in the kernel (`KernelStack`).
    pub kernel_stack_bytes: Option<u64>,
    /// Memory of processes that is locked, or in files that cannot be reclaimed (`Unevictable`): moved only if
    /// `vm.compact_unevictable_allowed` is set.
    pub unevictable_bytes: Option<u64>,
    /// Reserved for huge pages (`HugePages_Total` of `Hugepagesize`).
    pub huge_page_bytes: Option<u64>,
    /// Of these, the free ones.
    pub huge_page_free_bytes: Option<u64>,
}
