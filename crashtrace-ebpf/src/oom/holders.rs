//! The record of who holds the node's memory.

use crate::Level;

/// Body of [`kind::OOM_HOLDERS`](crate::kind::OOM_HOLDERS): a walk over the memory controller's tree, level by level from
/// the root's children down, into what holds at least `least_pages` and no further. [`Holder`]s follow, each with its
/// name.
///
/// What is smaller was looked at, counted and summed, and so was not what is below it: a cgroup's usage is the sum of
/// its processes' and its children's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OomHolders {
    /// From here on a cgroup is written down: a [`HOLDER_SHARE`]th of what the scope may hold.
    pub least_pages: u64,
    /// What those hold that hold less.
    pub small_pages: u64,
    /// How many those are.
    pub small: u32,
    /// Cgroups looked at, large and small.
    pub looked_at: u32,
    /// Cgroups that the tree has: `cgroup.nr_descendants` and `nr_dying_descendants` of the root.
    pub total: u32,
    /// Number of [`Holder`]s.
    pub holders: u32,
    /// How many large ones found no place among them.
    pub left_out: u32,
    /// Bits of [`holders_flag`].
    pub flags: u32,
}

const _: () = assert!(size_of::<OomHolders>() == 40);

/// Bits of [`OomHolders::flags`].
pub mod holders_flag {
    /// The walk ended before it was through: after [`HOLDER_STEPS`](super::HOLDER_STEPS), or at what could not be read.
    pub const UNFINISHED: u32 = 1 << 0;
    /// `total` could not be read.
    pub const NO_TOTAL: u32 = 1 << 1;
}

/// The share of memory from which on a cgroup counts as a large holder: one in so many. What is below 1 % explains no
/// shortage; and as a walk goes only into large ones, it is short on any node.
pub const HOLDER_SHARE: u64 = 128;

/// Steps of a walk at most: one for each cgroup that it looks at, and one for each list of children. A node of 250 pods
/// with 100 services takes some 400, and two or three more for each pod that is large.
pub const HOLDER_STEPS: usize = 512;

/// Places for large holders; one fewer is written down at most. There are no more than [`HOLDER_SHARE`] on one level of
/// the tree, unless the decision was about a part of the memory only.
pub const MAX_HOLDERS: usize = 128;

/// A cgroup that holds much. The level's name follows, as in a [`Section`](crate::Section).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Holder {
    /// Which of those before it is its parent, from 1; 0 is the root.
    pub parent: u32,
    /// Padding, zero.
    pub pad: u32,
    /// The cgroup.
    pub level: Level,
}

const _: () = assert!(size_of::<Holder>() == 56);
