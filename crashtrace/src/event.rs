//! Events: the kernel's facts, decoded and owned, one value for each record.
//!
//! Sizes are bytes, times are nanoseconds of `CLOCK_BOOTTIME`. A value that could not be read is `None`; a limit that is not
//! set is [`Limit::Unlimited`]. Names are bytes as the kernel has them: user processes choose them.

use std::fmt;

use strum::{Display, VariantArray};

pub mod alloc;
pub mod exit;
pub mod memory;
pub mod oom;
pub mod signals;
pub mod zones;

pub use alloc::{AllocFailure, Asked, Counted, FailureKey, MigrateType, VMALLOC, Vmalloc, VmallocStep};
pub use exit::{ContainerExit, FailedExec, Outcome, Parent, Raised, SI_KERNEL, Sender, Signal, WaitStatus};
pub use memory::{
    ChargedLru, HugePages, LimitMemory, Lru, MemcgMemory, MemcgStats, NodeMemory, NodeStats, SwapDevice,
    SwapKind,
};
pub use oom::{Constraint, Holder, NoKill, OomControl, OomDecision, OomHolders, OomNoVictim, OomVictim};
pub use zones::{BlockTypes, Unmovable, Watermarks, Zone, ZoneTypes, Zones};

/// The beginning of every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When the record was begun.
    pub ktime_ns: u64,
    /// CPU that wrote it.
    pub cpu: u32,
    /// Its number among the records that this CPU set out to write.
    pub seq: u64,
    /// The hook that wrote it.
    pub hook: Hook,
    /// When the open decision was made, if there was one.
    pub decision_ns: Option<u64>,
}

/// A tier of hooks, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Hook {
    /// BPF trampoline at entry or return of a function.
    Fentry,
    /// kprobe or kretprobe.
    Kprobe,
    #[strum(serialize = "raw_tp")]
    RawTracepoint,
}

/// One kernel fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The kernel chose a victim.
    OomDecision(Box<OomDecision>),
    /// That decision has been carried out.
    OomDecisionEnd(Stamp),
    /// A task was marked as OOM victim.
    OomVictim(Box<OomVictim>),
    /// An OOM had no victim.
    OomNoVictim(Box<OomNoVictim>),
    /// The holders of the node's memory, at the decision that the stamp names.
    OomHolders(Box<OomHolders>),
    /// The zones and the memory of the node, at the decision that the stamp names. The second may be missing.
    OomZones(Stamp, Box<Zones>, Option<Box<NodeMemory>>),
    /// Memory of the limit owner, and of the victim's own memcg if that is another, at the decision that the stamp names.
    OomMemory(Stamp, LimitMemory),
    /// An allocation failed.
    AllocFailure(Box<AllocFailure>),
    /// A container's first process has ended.
    ContainerExit(Box<ContainerExit>),
}

impl Event {
    /// Its stamp.
    #[must_use]
    pub fn stamp(&self) -> &Stamp {
        match self {
            Self::OomDecision(decision) => &decision.stamp,
            Self::OomDecisionEnd(stamp) | Self::OomZones(stamp, ..) | Self::OomMemory(stamp, ..) => stamp,
            Self::OomVictim(victim) => &victim.stamp,
            Self::OomNoVictim(none) => &none.stamp,
            Self::OomHolders(holders) => &holders.stamp,
            Self::AllocFailure(failure) => &failure.stamp,
            Self::ContainerExit(exit) => &exit.stamp,
        }
    }
}

/// A task at the moment of its event. Ids are of the init namespaces unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    /// Process id.
    pub pid: Option<u32>,
    /// Thread id.
    pub tid: Option<u32>,
    /// Process id in its own pid namespace.
    pub container_pid: Option<u32>,
    /// Name of the process (of its first thread).
    pub comm: Option<Name>,
    /// Name of the thread.
    pub thread_comm: Option<Name>,
    /// Real user id.
    pub uid: Option<u32>,
    /// -1000 (never) to 1000 (first).
    pub oom_score_adj: Option<i16>,
    /// Memory of the process.
    pub rss: Option<Rss>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Address space.
    pub total_vm_bytes: Option<u64>,
    /// When the process started.
    pub start_boottime_ns: Option<u64>,
    /// It had begun to exit before (`PF_EXITING`, `SIGNAL_GROUP_EXIT`).
    pub exiting: Option<bool>,
}

/// Resident memory by kind, and swap. The kernel's cheap counters: see the ABI's `Task` on their accuracy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rss {
    /// Anonymous memory.
    pub anon_bytes: u64,
    /// Mapped files.
    pub file_bytes: u64,
    /// Shared memory and tmpfs.
    pub shmem_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

impl Rss {
    /// All that is resident.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.anon_bytes.saturating_add(self.file_bytes).saturating_add(self.shmem_bytes)
    }
}

/// A cgroup and its ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// From the nearest to the root; the root is last unless `incomplete`. Never empty.
    pub levels: Vec<Level>,
    /// How many levels nearest to the task were left out for depth: the first of `levels` is then an ancestor of the task's own
    /// cgroup.
    pub skipped: u16,
    /// The walk did not reach the root: `path` lacks its beginning.
    pub incomplete: bool,
    /// These are cgroups of the unified hierarchy, without a memory controller.
    pub unified: bool,
}

impl Lineage {
    /// The path of the nearest cgroup in the record, from the root: `/` and names.
    #[must_use]
    pub fn path(&self) -> Vec<u8> {
        self.path_of(0)
    }

    /// The path of `levels[index]`.
    #[must_use]
    pub fn path_of(&self, index: usize) -> Vec<u8> {
        let levels = self.levels.get(index..).unwrap_or_default();
        let mut path = Vec::with_capacity(levels.iter().map(Level::path_bytes).sum::<usize>().max(1));
        for level in levels.iter().rev().filter(|level| !level.root) {
            path.push(b'/');
            path.extend_from_slice(level.name.as_ref().map_or(b"?".as_slice(), |name| &name.0));
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    /// The cgroup at `levels[index]` and its ancestors. Levels left out for depth are below it.
    #[must_use]
    pub fn from_level(&self, index: usize) -> Self {
        Self { levels: self.levels.get(index..).unwrap_or_default().to_vec(), skipped: 0, ..*self }
    }

    /// The level whose path has this many bytes, as counted by the prefixes of [`crate::cgroup::Placement`].
    #[must_use]
    pub fn level_at(&self, path_bytes: usize) -> Option<&Level> {
        let mut left: usize = self.levels.iter().map(Level::path_bytes).sum();
        self.levels.iter().find(|level| {
            // The root's is `/`.
            let is_it = left.max(1) == path_bytes;
            left -= level.path_bytes();
            is_it
        })
    }
}

/// One cgroup with its memory controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Inode of the cgroup's directory.
    pub cgroup_id: Option<u64>,
    /// Last component of its path; the root's is empty.
    pub name: Option<Name>,
    /// The root of its hierarchy.
    pub root: bool,
    /// Memory in use.
    pub usage_bytes: Option<u64>,
    /// Its own limit.
    pub limit: Option<Limit>,
    /// Swap in use (v2), or memory and swap (v1).
    pub swap_usage_bytes: Option<u64>,
    /// Limit of the same.
    pub swap_limit: Option<Limit>,
    /// `memory.oom.group`.
    pub oom_group: Option<bool>,
    /// v1's `oom_kill_disable`.
    pub oom_kill_disable: bool,
    /// It has been removed, and memory is still charged to it.
    pub removed: bool,
}

impl Level {
    /// What it adds to a path: `/` and its name.
    fn path_bytes(&self) -> usize {
        if self.root { 0 } else { 1 + self.name.as_ref().map_or(1, |name| name.0.len()) }
    }

    /// Usage is within `slack_bytes` of the limit. The kernel charges in batches of 64 pages a CPU and has reclaimed a little
    /// by the time of the decision, so "exactly at the limit" would be too strict.
    #[must_use]
    pub fn at_limit(&self, slack_bytes: u64) -> bool {
        match (self.usage_bytes, self.limit) {
            (Some(usage), Some(Limit::Bytes(limit))) => usage.saturating_add(slack_bytes) >= limit,
            _ => false,
        }
    }
}

/// A limit of a memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `max`.
    Unlimited,
    /// This many bytes.
    Bytes(u64),
}

impl Limit {
    /// The bytes, if there is a limit.
    #[must_use]
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}

/// A kernel stack by names, innermost first: it has only functions that `symbols` looks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack(pub Vec<String>);

impl Stack {
    /// Whether `function` is on it.
    #[must_use]
    pub fn has(&self, function: &str) -> bool {
        self.0.iter().any(|name| name == function)
    }
}

/// A name that a user process or a container chose: any bytes without NUL.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(pub Vec<u8>);

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(name.as_bytes().to_vec())
    }
}
