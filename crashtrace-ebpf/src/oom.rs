//! The records of OOM kills.

use crate::{STACK_FRAMES, Task};
#[cfg(doc)]
use crate::{kind, missing, section};

mod holders;
mod memory;

pub use holders::{HOLDER_NS, HOLDER_SHARE, HOLDER_STEPS, Holder, MAX_HOLDERS, OomHolders, holders_flag};
pub use memory::{
    HUGE_SIZES, HugePages, LRU_LISTS, MemcgMemory, NodeMemory, RemovedCgroups, memcg_memory_missing,
    memcg_stat, node_memory_flag, node_stat,
};

/// Bytes copied of `oom_kill_process`'s message; its longest is 40.
pub const MESSAGE_BYTES: usize = 48;

/// Body of [`kind::OOM_DECISION`].
///
/// Sections: [`section::TRIGGER`], [`section::VICTIM`], and for a memcg OOM [`section::LIMIT`], and one or two of
/// [`section::MEMCG_MEMORY`] if there is no probe on the decision; else these are in [`kind::OOM_MEMORY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OomDecision {
    /// Pages that the scope of the OOM may hold (`oom_control.totalpages`): the memcg's limit and swap, or the
    /// machine's memory and swap. Never the size of a process.
    pub totalpages: u64,
    /// Badness of the chosen process (`oom_control.chosen_points`), can be negative.
    pub points: i64,
    /// `oom_control.gfp_mask`.
    pub gfp: u32,
    /// `oom_control.order`; -1 is sysrq.
    pub order: i32,
    /// `oom_control.constraint` (`enum oom_constraint`): 0 none, 1 cpuset, 2 memory policy, 3 memcg.
    pub constraint: u32,
    /// Bits of [`decision_flag`].
    pub flags: u32,
    /// The kernel's log message for the kill, NUL-padded.
    pub message: [u8; MESSAGE_BYTES],
    /// The task whose charge or allocation invoked the OOM killer: the current one.
    pub trigger: Task,
    /// The chosen task.
    pub victim: Task,
    /// Return addresses, innermost first; unused ones are 0.
    pub stack: [u64; STACK_FRAMES],
}

const _: () = assert!(size_of::<OomDecision>() == 80 + 2 * 128 + 192);
const _: () = assert!(core::mem::offset_of!(OomDecision, trigger) == 80);

/// Bits of [`OomDecision::flags`].
pub mod decision_flag {
    /// `oom_control.memcg` was set: the limit of a memory cgroup was hit.
    pub const MEMCG: u32 = 1 << 0;
    /// `oom_control.zonelist` was set: a page allocation failed. Clear without [`MEMCG`] means kswapd.
    pub const ZONELIST: u32 = 1 << 1;
    /// `oom_control.nodemask` was set.
    pub const NODEMASK: u32 = 1 << 2;
}

/// Body of [`kind::OOM_VICTIM`]. Section: [`section::VICTIM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OomVictim {
    /// The marked task. On kernels whose tracepoint passes only a number (5.10 and others of its age) just
    /// `tid` is there.
    pub task: Task,
    /// Thread id of the task in whose context it was marked: ties the mark to its decision.
    pub marker_tid: u32,
    /// Padding, zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<OomVictim>() == 136);

/// Body of [`kind::OOM_NO_VICTIM`] and [`kind::OOM_WAIT`]. Sections: [`section::TRIGGER`], [`section::LIMIT`],
/// [`section::MEMCG_MEMORY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OomNoVictim {
    /// How many more there were for the same memcg since the last such record: these were counted instead of written.
    pub repeats: u64,
    /// The allocation's gfp mask. A wait has none from 6.12 on: [`missing::REQUEST`].
    pub gfp: u32,
    /// The allocation's order; the same.
    pub order: i32,
    /// Bits of [`decision_flag`].
    pub flags: u32,
    /// Padding, zero.
    pub pad: u32,
    /// The task whose charge failed, or the task that waits.
    pub trigger: Task,
    /// Return addresses, innermost first; unused ones are 0.
    pub stack: [u64; STACK_FRAMES],
}

const _: () = assert!(size_of::<OomNoVictim>() == 24 + 128 + 192);
