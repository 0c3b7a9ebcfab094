//! The record of the holders of the node's memory.

use crate::Level;

/// Body of [`kind::OOM_HOLDERS`](crate::kind::OOM_HOLDERS): a walk over the memory controller's tree, level by level from the
/// children of the root, or of the limit owner ([`holders_flag::OF_LIMIT`]), down into cgroups that hold at least `least_pages`,
/// swap included. [`Holder`]s follow, each with its name, and then a section [`section::REMOVED`](crate::section::REMOVED).
///
/// A smaller cgroup was visited, counted and summed, but not its children: a cgroup's usage is the sum of its processes' and
/// its children's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OomHolders {
    /// Minimum for a large holder: a [`HOLDER_SHARE`]th of what the scope may hold.
    pub least_pages: u64,
    /// Pages of the smaller cgroups, without swap.
    pub small_pages: u64,
    /// How many smaller cgroups there are.
    pub small: u32,
    /// Cgroups visited, large and small.
    pub looked_at: u32,
    /// Cgroups that the tree has: `cgroup.nr_descendants` and `nr_dying_descendants` of the root.
    pub total: u32,
    /// Number of [`Holder`]s.
    pub holders: u32,
    /// How many large cgroups had no place.
    pub left_out: u32,
    /// Bits of [`holders_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<OomHolders>() == 40);

/// Bits of [`OomHolders::flags`].
pub mod holders_flag {
    /// The walk is incomplete: its time was up, or a read failed.
    pub const UNFINISHED: u32 = 1 << 0;
    /// `total` could not be read.
    pub const NO_TOTAL: u32 = 1 << 1;
    /// The walk began at the limit owner, which a memcg OOM has.
    pub const OF_LIMIT: u32 = 1 << 2;
    /// The walk is incomplete because its time was up: [`HOLDER_NS`](super::HOLDER_NS), or its
    /// [`HOLDER_STEPS`](super::HOLDER_STEPS). Older recordings do not say why.
    pub const TIME_UP: u32 = 1 << 3;
}

/// The minimum share of memory of a large holder: one in so many. A holder below 1 % explains no shortage; and as a walk goes
/// only into large cgroups, it is short on any node.
pub const HOLDER_SHARE: u64 = 128;

/// How long a walk may take; it is looked at every few thousand steps. All tasks that wait for memory wait for it, beside a kill that takes milliseconds itself.
pub const HOLDER_NS: u64 = 5_000_000;

/// Steps of a walk at most: one for each cgroup that it visits, and one for each list of children. Time is up before.
pub const HOLDER_STEPS: usize = 65_536;

/// Places for large holders; at most one fewer is written. One level of the tree has no more than [`HOLDER_SHARE`], unless the
/// decision was about a part of the memory only.
pub const MAX_HOLDERS: usize = 128;

/// A large cgroup. The level's name follows, as in a [`Section`](crate::Section).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Holder {
    /// Index of its parent among the holders before it, from 1; 0 is the root.
    pub parent: u32,
    /// Padding, zero.
    pub pad: u32,
    /// The cgroup.
    pub level: Level,
}

const _: () = assert!(size_of::<Holder>() == 56);
