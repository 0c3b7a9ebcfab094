//! The line of one incident.

use schemars::JsonSchema;
use serde::Serialize;
use strum::VariantArray;

use super::{Envelope, Folded, Level, Memory, Origin, Owner, Text, Unresolved, Verdict};

/// A report about one incident.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Incident {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Names the incident: boot id, `ktime_ns` and CPU, joined by `-`.
    pub id: String,
    /// 1 for the first line of an incident; a higher one replaces it.
    pub revision: u32,
    /// The line may have been sent by an earlier session too.
    pub redelivered: bool,
    /// What happened.
    pub kind: Kind,
    /// `ktime_ns` as UTC, RFC 3339 with nanoseconds: by the wall clock as it was when the line was written.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When it happened, in nanoseconds of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// Why it happened.
    pub verdict: Verdict,
    /// The hooks that saw it, `fentry:oom_kill_process` and the like.
    pub hooks: Vec<String>,
    /// How the kernel came to it.
    pub origin: Option<Origin>,
    /// Which memory the request was bound to.
    pub constraint: Option<Constraint>,
    /// All that belongs to the incident is in it: the kernel's decision was seen from beginning to end.
    pub complete: bool,
    /// How many more incidents of the same kind and limit this line stands for, since the last one; of kills, `folded` has
    /// more.
    pub repeats: u64,
    /// The limit that was hit; null for an OOM of the node.
    pub limit: Option<LimitHit>,
    /// The node's memory; null where it was not what was short.
    pub memory: Option<Memory>,
    /// The process that ran into it; not the victim, and not by itself at fault.
    pub trigger: Option<Process>,
    /// The killed processes, largest first.
    pub victims: Vec<Process>,
    /// How many processes were killed; more than `victims` holds if `truncated`, or if some are in `folded`.
    pub victims_total: u64,
    /// The further kills that this line stands for; null if it stands for its own alone.
    pub folded: Option<Folded>,
    /// The request that could not be met.
    pub allocation: Option<Allocation>,
    /// What is unknown, and why.
    pub unresolved: Vec<Unresolved>,
    /// Something was cut to keep the line in its size.
    pub truncated: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The kernel's OOM killer killed one or more processes.
    OomKill,
    /// The kernel was out of memory in some scope and found nobody to kill.
    OomNoKill,
    /// A task met the limit of a cgroup whose OOM killer is switched off (cgroup v1's `oom_kill_disable`), and waits
    /// there for memory.
    OomWait,
    /// The kernel could not give pages that were asked for.
    AllocFailure,
    /// The kernel could not put pages together in its address space (vmalloc).
    VmallocFailure,
    /// The kernel had a page, could not charge it to a memory cgroup at its limit, and killed nobody for it.
    ChargeFailure,
    /// The kernel warned of some other allocation that failed.
    OtherAllocFailure,
}

/// Which memory a request was bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The whole node.
    None,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy.
    Mempolicy,
    /// A memory cgroup.
    Memcg,
}

/// The limit that was hit.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LimitHit {
    /// Path of the cgroup whose limit it is, in the memory controller's hierarchy. Where the path could not be
    /// read whole, `unresolved` says so.
    pub cgroup: Text,
    /// Level of that cgroup. In a pod of one container this is often `pod` where the verdict says `container`:
    /// both have the same limit, and the pod's sandbox is charged to the pod.
    pub charged_at: Option<Level>,
    /// Whose cgroup it is.
    pub owner: Option<Owner>,
    /// The limit.
    pub limit_bytes: Option<u64>,
    /// There is no limit.
    pub unlimited: bool,
    /// What Kubernetes has as the limit of the container or pod that the verdict's level means: `resources.limits.memory` of
    /// its spec, the sum of its containers' for a pod without one of its own. It may be older than the kill, and differs from
    /// `limit_bytes` after a resize or a change by hand. Null at other levels, and where the API server is not asked.
    pub kubernetes_limit_bytes: Option<u64>,
    /// The same as the pod's status has it: what kubelet says is in force.
    pub kubernetes_limit_in_force_bytes: Option<u64>,
    /// In use at the decision.
    pub usage_bytes: Option<u64>,
    /// Shared memory and files in tmpfs of the cgroup and those below it, read from `memory.stat` just after the
    /// decision. Of this, what is in files (memory-backed emptyDir volumes, /dev/shm) stays when processes die.
    pub shmem_bytes: Option<u64>,
    /// Swap in use; memory and swap together where `swap_includes_memory` is true.
    pub swap_usage_bytes: Option<u64>,
    /// Limit of the same.
    pub swap_limit_bytes: Option<u64>,
    /// That has no limit.
    pub swap_unlimited: bool,
    /// Usage and limit of swap count memory too: cgroup v1. Null where the version is not known.
    pub swap_includes_memory: Option<bool>,
    /// `memory.oom.group`: all of the cgroup's processes die together.
    pub oom_group: Option<bool>,
}

/// A process at the moment of the incident. Ids are the host's unless the name says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Process {
    /// Process id.
    pub pid: Option<u32>,
    /// Thread id.
    pub tid: Option<u32>,
    /// Process id as its container sees it.
    pub container_pid: Option<u32>,
    /// Name of the process (at most 15 bytes, the kernel's `comm`).
    pub comm: Option<Text>,
    /// Name of the thread.
    pub thread_comm: Option<Text>,
    /// User id.
    pub uid: Option<u32>,
    /// When it started, in nanoseconds of `CLOCK_BOOTTIME`.
    pub start_boottime_ns: Option<u64>,
    /// Anonymous memory resident. The resident sizes are the kernel's cheap counters: on kernels from 6.2 each
    /// may be off by up to 32 pages a CPU (2 * CPUs pages a CPU above 16 CPUs).
    pub anon_bytes: Option<u64>,
    /// File pages resident.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs resident.
    pub shmem_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Page tables.
    pub page_table_bytes: Option<u64>,
    /// Address space.
    pub total_vm_bytes: Option<u64>,
    /// -1000 (never kill) to 1000 (kill first).
    pub oom_score_adj: Option<i16>,
    /// It was ending already when it was marked.
    pub exiting: Option<bool>,
    /// Path of its cgroup, in the memory controller's hierarchy; where the process is in the root of that, its
    /// path in the unified hierarchy.
    pub cgroup: Option<Text>,
    /// That is not the whole path: the levels nearest to the process (very deep ones), or those nearest to the
    /// root, could not be read.
    pub cgroup_cut: bool,
    /// Whose process it is.
    pub owner: Option<Owner>,
}

/// The request that could not be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Allocation {
    /// 2^order pages in one piece; null for a request that has none (sysrq, vmalloc).
    pub order: Option<u32>,
    /// The same in bytes.
    pub bytes: Option<u64>,
    /// What the memory was to be for; null for what is not a request for pages, a charge for one.
    pub migrate_type: Option<MigrateType>,
    /// The NUMA nodes that the request was bound to; empty if to none, or if its `constraint` says more.
    pub numa_nodes: Vec<u32>,
    /// The flags by their names on the kernel that this is about.
    pub gfp: Vec<String>,
    /// The flags as a number.
    pub gfp_mask: u32,
    /// Memory that the scope of the OOM may hold: the limit with swap, or the node's memory and swap. This and the next are
    /// null where the OOM killer had no part.
    pub scope_total_bytes: Option<u64>,
    /// Badness of the first victim, as the kernel weighed it: its memory and page tables, shifted by
    /// `oom_score_adj` thousandths of the scope.
    pub victim_points_bytes: Option<i64>,
}

/// What memory is for, as far as it decides which free blocks it may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrateType {
    /// The kernel's, which stays where it is.
    Unmovable,
    /// A process's, which can be moved.
    Movable,
    /// Caches of the kernel that can be given back.
    Reclaimable,
}
