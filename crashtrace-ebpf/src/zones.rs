//! The zones of the page allocator, as a section of a record.
//!
//! A [`Section`](crate::Section) of kind [`section::ZONES`](crate::section::ZONES) holds a [`ZonesHead`] and then as many
//! [`Zone`]s as its `levels` says; `skipped` is how many more there were.

/// Orders that a record has room for, from 0. x86 and arm64 with pages of 4 KiB have 11, arm64 with 64 KiB 14.
pub const MAX_ORDERS: usize = 16;

/// Zones in a record at most. A machine has two or three on its first node, and one on each other.
pub const MAX_ZONES: usize = 16;

/// NUMA nodes that are read, by number from 0.
pub const MAX_NUMA_NODES: usize = 16;

/// Types of zones (`MAX_NR_ZONES`): 4 or 5 on 64-bit machines.
pub const MAX_ZONE_TYPES: usize = 5;

/// Bytes of a zone's name with its NUL; the longest is `Movable`.
pub const ZONE_NAME_BYTES: usize = 16;

/// Marks in a [`ZonesHead`] a type that this kernel does not have.
pub const NO_TYPE: u8 = 0xff;

/// Facts that hold for all zones of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ZonesHead {
    /// `ZONE_DMA`, `ZONE_DMA32`, `ZONE_NORMAL` and `ZONE_MOVABLE` of `enum zone_type`: indices of a zone's
    /// `lowmem_reserve_pages`. [`NO_TYPE`] if the kernel is built without the zone.
    pub zone_types: [u8; 4],
    /// `MIGRATE_CMA`, its bit in `block_types`. [`NO_TYPE`] if the kernel is built without CMA.
    pub cma_type: u8,
    /// How many orders there are (`NR_PAGE_ORDERS`).
    pub orders: u8,
    /// Padding, zero.
    pub pad: [u8; 2],
}

const _: () = assert!(size_of::<ZonesHead>() == 8);

/// A populated zone (`struct zone`, `include/linux/mmzone.h`, 5.10 to 7.3) at the moment of the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Zone {
    /// `vm_stat[NR_FREE_PAGES]`, without the per-CPU differences that are not yet added to it.
    pub free_pages: i64,
    /// `vm_stat[NR_FREE_CMA_PAGES]`: of these, those that only movable memory may use.
    pub free_cma_pages: i64,
    /// `nr_reserved_highatomic`: reserved for atomic allocations of order 1 and above.
    pub reserved_highatomic_pages: u64,
    /// `nr_free_highatomic`: those of them that are free. From 6.12 on.
    pub free_highatomic_pages: u64,
    /// `_watermark[WMARK_MIN]`, `[WMARK_LOW]`, `[WMARK_HIGH]`.
    pub watermark_pages: [u64; 3],
    /// `watermark_boost`, which is added to each of them.
    pub boost_pages: u64,
    /// `lowmem_reserve`, by type of the highest zone that the allocation may use.
    pub lowmem_reserve_pages: [i64; MAX_ZONE_TYPES],
    /// `managed_pages`.
    pub managed_pages: u64,
    /// `free_area[order].nr_free`.
    pub free_blocks: [u64; MAX_ORDERS],
    /// Which migrate types have a block of that order: bit `t` is `free_area[order].free_list[t]`.
    pub block_types: [u8; MAX_ORDERS],
    /// `name`.
    pub name: [u8; ZONE_NAME_BYTES],
    /// `zone_pgdat->node_id`.
    pub numa_node: u32,
    /// Bits of [`zone_missing`].
    pub missing: u32,
}

const _: () = assert!(size_of::<Zone>() == 280 && core::mem::offset_of!(Zone, free_blocks) == 112);

/// Bits of [`Zone::missing`].
pub mod zone_missing {
    /// The free pages.
    pub const FREE: u32 = 1 << 0;
    /// The free CMA pages: a kernel without CMA has none.
    pub const CMA: u32 = 1 << 1;
    /// `reserved_highatomic_pages`.
    pub const RESERVED_HIGHATOMIC: u32 = 1 << 2;
    /// `free_highatomic_pages`.
    pub const FREE_HIGHATOMIC: u32 = 1 << 3;
    /// The watermarks.
    pub const WATERMARKS: u32 = 1 << 4;
    /// The boost.
    pub const BOOST: u32 = 1 << 5;
    /// The reserve.
    pub const LOWMEM_RESERVE: u32 = 1 << 6;
    /// The managed pages.
    pub const MANAGED: u32 = 1 << 7;
    /// The free blocks.
    pub const FREE_BLOCKS: u32 = 1 << 8;
    /// Their types.
    pub const BLOCK_TYPES: u32 = 1 << 9;
    /// The name.
    pub const NAME: u32 = 1 << 10;
    /// The node.
    pub const NUMA_NODE: u32 = 1 << 11;
}
