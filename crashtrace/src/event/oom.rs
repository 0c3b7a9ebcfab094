//! OOM kills, and OOMs that killed nobody.

use super::{Level, Lineage, Name, Stack, Stamp, Task};

/// Entry of `oom_kill_process`, or what could be gathered of it at the first `oom:mark_victim`.
#[derive(Clone, Debug, PartialEq)]
pub struct OomDecision {
    /// When and where.
    pub stamp: Stamp,
    /// The kernel's `oom_control`; `None` where it was not found.
    pub control: Option<OomControl>,
    /// The message that the kernel logs the kill under.
    pub message: Option<Name>,
    /// The current task: who ran into the limit, asked for the page, or wrote the limit.
    pub trigger: Task,
    /// Its cgroups.
    pub trigger_cgroups: Option<Lineage>,
    /// Whom the kernel chose, if that could be read.
    pub victim: Option<Task>,
    /// The victim's cgroups.
    pub victim_cgroups: Option<Lineage>,
    /// The cgroup whose limit was hit, and its ancestors; `None` for an OOM that is not a memcg's, and
    /// where the `oom_control` was not found.
    pub limit_cgroups: Option<Lineage>,
    /// Kernel functions that led here, innermost first, as far as they are of interest.
    pub stack: Option<Stack>,
}

/// `struct oom_control` (`include/linux/oom.h`, 5.10 to 7.3) as it stood when the victim was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomControl {
    /// Bytes that the scope may hold: limit and swap of the memcg, or memory and swap of the machine.
    pub total_bytes: u64,
    /// Badness of the chosen process in bytes: its memory, shifted by `oom_score_adj` thousandths of the total.
    pub points_bytes: i64,
    /// Flags of the request.
    pub gfp: u32,
    /// Order of the request; `None` for sysrq, which has none.
    pub order: Option<u32>,
    /// Which memory the request was bound to.
    pub constraint: Constraint,
    /// The limit of a memory cgroup was hit.
    pub memcg: bool,
    /// A page allocation failed; neither this nor `memcg` means kswapd's own kill (6.1 and later).
    pub zonelist: bool,
}

/// `enum oom_constraint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The whole machine.
    None,
    /// The cpuset's nodes.
    Cpuset,
    /// A memory policy's nodes.
    Mempolicy,
    /// A memory cgroup.
    Memcg,
    /// A value that this version does not know.
    Other(u32),
}

/// `oom:mark_victim`.
#[derive(Clone, Debug, PartialEq)]
pub struct OomVictim {
    /// When and where.
    pub stamp: Stamp,
    /// The marked task.
    pub task: Task,
    /// Its cgroups.
    pub cgroups: Option<Lineage>,
    /// Thread id of the task in whose context it was marked.
    pub marker_tid: u32,
}

/// Why an OOM killed nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoKill {
    /// There is no process that the kernel may kill.
    NobodyFound,
    /// The OOM killer of the memory cgroup is switched off (v1's `oom_kill_disable`): the task waits.
    SwitchedOff,
}

/// An OOM that killed nobody.
#[derive(Clone, Debug, PartialEq)]
pub struct OomNoVictim {
    /// When and where.
    pub stamp: Stamp,
    /// Why.
    pub why: NoKill,
    /// How many more of the same memcg there were since the last event, not sent one by one.
    pub repeats: u64,
    /// Flags of the request; `None` for a wait where the kernel does not keep them (from 6.12 on).
    pub gfp: Option<u32>,
    /// Order of the request; `None` for sysrq.
    pub order: Option<u32>,
    /// The limit of a memory cgroup was hit.
    pub memcg: bool,
    /// Who asked.
    pub trigger: Task,
    /// Its cgroups.
    pub trigger_cgroups: Option<Lineage>,
    /// The cgroup whose limit was hit, and its ancestors.
    pub limit_cgroups: Option<Lineage>,
    /// Kernel functions that led here.
    pub stack: Option<Stack>,
}

/// Who holds the node's memory: a walk over the memory controller's tree that went only into what is large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomHolders {
    /// When and where, and of which decision.
    pub stamp: Stamp,
    /// What holds at least this much is large.
    pub least_bytes: u64,
    /// The large ones, level by level.
    pub holders: Vec<Holder>,
    /// Large ones that found no place in the record.
    pub left_out: u32,
    /// Cgroups that hold less, among those that were looked at.
    pub small: u32,
    /// What those hold together.
    pub small_bytes: u64,
    /// Cgroups looked at, large and small.
    pub looked_at: u32,
    /// Cgroups that there are.
    pub total: Option<u32>,
    /// The walk ended before it was through.
    pub unfinished: bool,
}

/// A cgroup that holds much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which of those before it is its parent; `None` for the root's children.
    pub parent: Option<usize>,
    /// The cgroup.
    pub level: Level,
}
