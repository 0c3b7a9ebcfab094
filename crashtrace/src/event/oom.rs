//! OOM kills, and OOMs without a victim.

use super::{Level, Lineage, MemcgMemory, Name, Stack, Stamp, Task};

/// Entry of `oom_kill_process`, or the facts about it that could be gathered at the first `oom:mark_victim`.
#[derive(Clone, Debug, PartialEq)]
pub struct OomDecision {
    /// When and where.
    pub stamp: Stamp,
    /// The kernel's `oom_control`; `None` if it was not found.
    pub control: Option<OomControl>,
    /// The kernel's log message for the kill.
    pub message: Option<Name>,
    /// The current task: the trigger, or the writer of the limit.
    pub trigger: Task,
    /// Its cgroups.
    pub trigger_cgroups: Option<Lineage>,
    /// The task that the kernel chose, if it could be read.
    pub victim: Option<Task>,
    /// The victim's cgroups.
    pub victim_cgroups: Option<Lineage>,
    /// The limit owner, and its ancestors; `None` for an OOM that is not a memcg's, and if the `oom_control` was not found.
    pub limit_cgroups: Option<Lineage>,
    /// Memory of the limit owner.
    pub limit_memory: Option<Box<MemcgMemory>>,
    /// Memory of the victim's own memcg, if that is another.
    pub victim_memory: Option<Box<MemcgMemory>>,
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
    /// Flags of the allocation.
    pub gfp: u32,
    /// Order of the allocation; `None` for sysrq, which has none.
    pub order: Option<u32>,
    /// Which memory the allocation was bound to.
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
    /// Its cgroups are those of the decision's victim, and not repeated here.
    pub in_decision: bool,
    /// Thread id of the task in whose context it was marked.
    pub marker_tid: u32,
}

/// Why an OOM had no victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoKill {
    /// The kernel may kill none of the processes.
    NobodyFound,
    /// The OOM killer of the memory cgroup is switched off (v1's `oom_kill_disable`): the task waits.
    SwitchedOff,
}

/// An OOM without a victim.
#[derive(Clone, Debug, PartialEq)]
pub struct OomNoVictim {
    /// When and where.
    pub stamp: Stamp,
    /// Why.
    pub why: NoKill,
    /// How many more of the same memcg there were since the last event, which were only counted.
    pub repeats: u64,
    /// Flags of the allocation; `None` for a wait if the kernel does not store them (from 6.12 on).
    pub gfp: Option<u32>,
    /// Order of the allocation; `None` for sysrq.
    pub order: Option<u32>,
    /// The limit of a memory cgroup was hit.
    pub memcg: bool,
    /// The task whose charge failed, or the task that waits.
    pub trigger: Task,
    /// Its cgroups.
    pub trigger_cgroups: Option<Lineage>,
    /// The limit owner, and its ancestors.
    pub limit_cgroups: Option<Lineage>,
    /// Memory of the limit owner.
    pub limit_memory: Option<Box<MemcgMemory>>,
    /// Kernel functions that led here.
    pub stack: Option<Stack>,
}

/// The holders of the memory of the node, or of the limit owner: a walk over the memory controller's tree that descended only into
/// large cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomHolders {
    /// When and where, and of which decision.
    pub stamp: Stamp,
    /// Minimum for a large holder.
    pub least_bytes: u64,
    /// The large cgroups, level by level.
    pub holders: Vec<Holder>,
    /// Large cgroups that had no place in the record.
    pub left_out: u32,
    /// Smaller cgroups, among those that were visited.
    pub small: u32,
    /// Memory of the smaller cgroups together.
    pub small_bytes: u64,
    /// Cgroups visited, large and small.
    pub looked_at: u32,
    /// Cgroups in the tree.
    pub total: Option<u32>,
    /// The walk is incomplete.
    pub unfinished: bool,
    /// It is, because its time was up. Older recordings do not say why.
    pub time_up: bool,
    /// The walk began at the limit owner, not at the root.
    pub of_limit: bool,
    /// Of the smaller cgroups, those that have been removed: how many, and their memory. `None` in recordings of older agents.
    pub removed_small: Option<(u64, u64)>,
}

/// A large cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Index of its parent among the holders before it; `None` for the root's children.
    pub parent: Option<usize>,
    /// The cgroup.
    pub level: Level,
}
