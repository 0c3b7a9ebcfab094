//! The record of a failed allocation.

use crate::Task;

/// Frames of the stack in such a record. The stack of an allocation in an interrupt has the frames of the interrupted system
/// call too; the interrupt's own frames, which tell the two apart, are up to 40 deep in the network's receive path.
pub const FAILURE_STACK_FRAMES: usize = 64;

/// Bytes copied of `warn_alloc`'s format; the beginning tells the callers apart.
pub const FORMAT_BYTES: usize = 64;

/// Body of [`kind::ALLOC_FAILURE`](crate::kind::ALLOC_FAILURE).
///
/// Failures with the same `cgroup_id`, `format_address`, `gfp` and `argument` are of one kind. The first has a record at once,
/// later ones at most one record per [`FAILURE_QUIET_NS`]. `total` counts all of them, so that no count is lost with a record.
///
/// Sections: [`section::VMALLOC`](crate::section::VMALLOC), [`section::ZONES`](crate::section::ZONES),
/// [`section::TRIGGER`](crate::section::TRIGGER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct AllocFailure {
    /// The key of this kind of failure in the map of counts.
    pub key: FailureKey,
    /// When the count of this kind began.
    pub since_ns: u64,
    /// How many there have been of this kind since then, this one included.
    pub total: u64,
    /// `sent_ns` of the count after this record: tells a reader of the count whether it has this record.
    pub sent_ns: u64,
    /// The first 64 nodes of the allocation's `nodemask`, 0 if it has none.
    pub nodemask: u64,
    /// The first 64 nodes of `task_struct.mems_allowed` of the current task.
    pub mems_allowed: u64,
    /// Migrate type of the allocation (`enum migratetype`: 0 unmovable, 1 movable, 2 reclaimable).
    pub migrate_type: u32,
    /// NUMA node of the CPU that allocated.
    pub numa_node: u32,
    /// Bits of [`failure_flag`].
    pub flags: u32,
    /// Padding, zero.
    pub pad: u32,
    /// Format of `warn_alloc`'s message, before its arguments are formatted; NUL-padded.
    pub format: [u8; FORMAT_BYTES],
    /// The current task: it allocated, unless an interrupt did.
    pub trigger: Task,
    /// Return addresses, innermost first; unused ones are 0.
    pub stack: [u64; FAILURE_STACK_FRAMES],
}

const _: () = assert!(size_of::<AllocFailure>() == 32 + 56 + 64 + 128 + 512);
const _: () = assert!(core::mem::offset_of!(AllocFailure, trigger) == 152);

/// The key of a kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct FailureKey {
    /// Id of the current task's cgroup in the memory controller's hierarchy, else in the unified one. Not its address, which a
    /// later cgroup may reuse.
    pub cgroup_id: u64,
    /// Address of the format that `warn_alloc` was called with; 0 at the tracepoint.
    pub format_address: u64,
    /// The argument after the format; if its type is smaller, the upper half is undefined. At the tracepoint, and if the format
    /// is that of a failed page allocation, it is the order. With a [`VmallocArea`] at a probe it is the area's size: the argument
    /// may be what a vmalloc had got, which is another each time.
    pub argument: u64,
    /// Flags of the allocation.
    pub gfp: u32,
    /// Padding, zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<FailureKey>() == 32);

/// The area that a failed vmalloc was to fill (`struct vm_struct`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VmallocArea {
    /// `size`, with the guard page that follows each area unless its flags have `VM_NO_GUARD`.
    pub size_bytes: u64,
    /// `requested_size`, 0 where the kernel does not have it.
    pub requested_bytes: u64,
    /// `flags` (`VM_*`, `include/linux/vmalloc.h`).
    pub flags: u64,
    /// `nr_pages`: at `warn_alloc` how many pages it had got.
    pub pages: u64,
}

const _: () = assert!(size_of::<VmallocArea>() == 32);

/// Counts of one kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FailureCount {
    /// When the last record was written, 0 if none has been.
    pub sent_ns: u64,
    /// How many failures there have been.
    pub total: u64,
    /// When the count began. A kind that was evicted begins anew, and must not be taken for a continuous count.
    pub since_ns: u64,
}

/// At least this long between two records of one kind.
pub const FAILURE_QUIET_NS: u64 = 1_000_000_000;

/// Bits of [`AllocFailure::flags`].
pub mod failure_flag {
    /// The allocation has a nodemask.
    pub const NODEMASK: u32 = 1 << 0;
    /// `mems_allowed` was read.
    pub const MEMS_ALLOWED: u32 = 1 << 1;
}

/// Flags of an allocation that the kernel side itself acts on: the loader sets their bits, which differ between kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct GfpBits {
    /// `__GFP_NOWARN`.
    pub nowarn: u32,
    /// `__GFP_DIRECT_RECLAIM`: the allocation may sleep.
    pub direct_reclaim: u32,
    /// `__GFP_MOVABLE`.
    pub movable: u32,
    /// `__GFP_RECLAIMABLE`.
    pub reclaimable: u32,
    /// Flags of allocations that have a fallback, if they have `__GFP_NOWARN` too: `__GFP_NORETRY`, `__GFP_NOMEMALLOC`,
    /// `__GFP_THISNODE`.
    pub has_fallback: u32,
    /// `__GFP_HIGHMEM`.
    pub highmem: u32,
    /// `__GFP_HARDWALL`.
    pub hardwall: u32,
}
