//! The zones of the page allocator: what is free, and how much of it is kept back.
//!
//! Counts are pages, as the kernel's own rules have them; reports give bytes.

use super::Name;

/// The populated zones of the machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones {
    /// By node, then from the lowest.
    pub list: Vec<Zone>,
    /// More zones than a record holds.
    pub left_out: u32,
    /// Read by the user side after the event, when some of it had changed already.
    pub late: bool,
    /// Which of a zone's `lowmem_reserve_pages` holds against a request.
    pub types: ZoneTypes,
}

/// Places of zone types in `enum zone_type`, `None` for one that the kernel is built without.
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
    /// Free pages, but for what CPUs keep in lists of their own.
    pub free_pages: Option<u64>,
    /// Of these, those that only movable memory may use; 0 where the kernel is built without CMA.
    pub free_cma_pages: u64,
    /// Pages kept for atomic requests of order 1 and more: those of them that are free where the kernel says so (from
    /// 6.12 on), else all.
    pub highatomic_pages: u64,
    /// Watermarks, the boost not included.
    pub watermarks: Option<Watermarks>,
    /// Added to each watermark for a while after fragmentation has been met.
    pub boost_pages: u64,
    /// Kept from requests that may use a higher zone too, by type of the highest.
    pub lowmem_reserve_pages: Option<Vec<u64>>,
    /// Pages that the allocator manages.
    pub managed_pages: Option<u64>,
    /// Free blocks by order.
    pub free_blocks: Option<Vec<u64>>,
    /// Who may take a block of that order, by order; `None` where that was not read.
    pub block_types: Option<Vec<BlockTypes>>,
}

/// Watermarks of a zone, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermarks {
    /// Below it only those may allocate who help to free memory, or may not sleep.
    pub min_pages: u64,
    /// Below it kswapd begins to reclaim.
    pub low_pages: u64,
    /// At it kswapd ends.
    pub high_pages: u64,
}

/// What kinds of free blocks there are of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a list of the kernel's")]
pub struct BlockTypes {
    /// Unmovable, movable or reclaimable: for any request, since one kind takes the others' when its own is out.
    pub any: bool,
    /// Kept for atomic requests.
    pub highatomic: bool,
    /// CMA: for movable memory.
    pub cma: bool,
    /// Isolated, or of a kind that this version does not know: for nobody.
    pub other: bool,
}

/// The node's memory that stays where it is. What the file does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmovable {
    /// Caches of the kernel that cannot be given back (`SUnreclaim`).
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Caches that can, but not be moved (`SReclaimable`): inodes and directory entries, above all.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Page tables of processes (`PageTables`).
    pub page_table_bytes: Option<u64>,
    /// Stacks of threads in the kernel (`KernelStack`).
    pub kernel_stack_bytes: Option<u64>,
    /// Memory of processes that is locked, or in files that cannot be reclaimed (`Unevictable`): moved only if
    /// `vm.compact_unevictable_allowed` says so.
    pub unevictable_bytes: Option<u64>,
    /// Reserved for huge pages (`HugePages_Total` of `Hugepagesize`).
    pub huge_page_bytes: Option<u64>,
    /// Of these, those that nobody uses.
    pub huge_page_free_bytes: Option<u64>,
}
