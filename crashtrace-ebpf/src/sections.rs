//! The sections of a record's tail: lists of cgroups.

/// Kinds of [`Section`]s.
pub mod section {
    /// Cgroups of the trigger, from its own to the root.
    pub const TRIGGER: u16 = 1;
    /// Cgroups of the victim, from its own to the root.
    pub const VICTIM: u16 = 2;
    /// Cgroups from the limit owner to the root.
    pub const LIMIT: u16 = 3;
    /// Zones of the page allocator: no list of cgroups, see [`ZonesHead`](crate::ZonesHead).
    pub const ZONES: u16 = 4;
    /// Memory of the node: see [`NodeMemory`](crate::NodeMemory).
    pub const NODE_MEMORY: u16 = 5;
    /// Memory of a memcg: see [`MemcgMemory`](crate::MemcgMemory).
    pub const MEMCG_MEMORY: u16 = 6;
    /// Small cgroups that have been removed, in the record of holders: see [`RemovedCgroups`](crate::RemovedCgroups).
    pub const REMOVED: u16 = 7;
    /// The area that a failed vmalloc was for: see [`VmallocArea`](crate::VmallocArea).
    pub const VMALLOC: u16 = 8;
}

/// Opens one list of cgroups in a record's tail. [`Level`]s follow, each with its name, padded to 8 bytes.
///
/// The list is the memory controller's hierarchy (`task->cgroups->subsys[memory_cgrp_id]`, `css.parent`): on cgroup v2 it does
/// not have cgroups without a memory controller. If that leaves only the root, the names are those of the task's cgroup on the
/// unified hierarchy, and [`section_flag::UNIFIED`] says so.
///
/// Trigger, victim and limit owner are mostly in one pod, so levels that another section has are not repeated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Section {
    /// One of [`section`].
    pub kind: u16,
    /// Number of [`Level`]s.
    pub levels: u16,
    /// Bits of [`section_flag`].
    pub flags: u16,
    /// How many cgroups nearest to the task were left out because the path is deeper than [`MAX_LEVELS`].
    pub skipped: u16,
    /// Bytes of the section, this header included.
    pub length: u32,
    /// Where the further levels are, on to the root: in the section of this kind of the same record, which comes before it and is
    /// whole, or, with [`joins::DECISION`], of the record of the decision that the header names. 0 if there are none.
    pub joins: u16,
    /// Index of the first of these levels in that section.
    pub joined_at: u16,
}

/// Bits of [`Section::joins`] beside a kind.
pub mod joins {
    /// The other section is in the decision's record.
    pub const DECISION: u16 = 1 << 15;
}

const _: () = assert!(size_of::<Section>() == 16);

/// Bits of [`Section::flags`].
pub mod section_flag {
    /// The walk did not reach the root: a read failed, or the path was deeper still.
    pub const INCOMPLETE: u16 = 1 << 0;
    /// The levels are of the unified hierarchy and carry no memory controller.
    pub const UNIFIED: u16 = 1 << 1;
}

/// Cgroups that a section has at most, those nearest to the root: they carry the pod and the container. Those left out lie deep
/// inside a container.
pub const MAX_LEVELS: usize = 16;

/// Further levels that a walk skips before it gives up.
pub const MAX_SKIPPED_LEVELS: usize = 48;

/// Bytes of a cgroup's name with its NUL (`NAME_MAX` is 255).
pub const NAME_BYTES: usize = 256;

/// One cgroup and its memory controller. Its name follows: `name_length` bytes, then zeroes up to `length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Level {
    /// Bytes of the level with its name and padding; a multiple of 8.
    pub length: u16,
    /// Bytes of the name, without NUL. The root's is empty.
    pub name_length: u16,
    /// Bits of [`level_flag`].
    pub flags: u32,
    /// The cgroup's id: `kernfs_node.id`, the inode of its directory.
    pub cgroup_id: u64,
    /// `memory.usage`. The kernel does not count the root's on cgroup v2.
    pub usage_pages: u64,
    /// `memory.max` as the kernel stores it; `i64::MAX / page size` and above is unlimited.
    pub max_pages: u64,
    /// Usage of swap (v2) or of memory and swap together (v1).
    pub swap_usage_pages: u64,
    /// Limit of the same.
    pub swap_max_pages: u64,
}

const _: () = assert!(size_of::<Level>() == 48);

/// Bits of [`Level::flags`].
pub mod level_flag {
    /// `memory.oom.group` is set.
    pub const OOM_GROUP: u32 = 1 << 0;
    /// `memory.oom_control`'s `oom_kill_disable` is set (v1).
    pub const OOM_KILL_DISABLE: u32 = 1 << 1;
    /// The cgroup is the root of its hierarchy.
    pub const ROOT: u32 = 1 << 2;
    /// This kernel has no `oom_group`, or it could not be read.
    pub const NO_OOM_GROUP: u32 = 1 << 3;
    /// Usage and limit could not be read.
    pub const NO_MEMORY: u32 = 1 << 4;
    /// Swap could not be read.
    pub const NO_SWAP: u32 = 1 << 5;
    /// The name could not be read.
    pub const NO_NAME: u32 = 1 << 6;
    /// The id could not be read.
    pub const NO_ID: u32 = 1 << 7;
    /// The cgroup has been removed, and memory is still charged to it.
    pub const REMOVED: u32 = 1 << 8;
}
