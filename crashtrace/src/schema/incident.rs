//! The line of one incident.

use schemars::JsonSchema;
use serde::Serialize;
use strum::VariantArray;

use super::{Envelope, Exit, Folded, Level, Memory, Origin, Owner, Text, Unresolved, Verdict};

/// A report about one incident.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Incident {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Identifies the incident: boot id, `ktime_ns` and CPU, joined by `-`.
    pub id: String,
    /// 1 for the first line of an incident; a higher one replaces it.
    pub revision: u32,
    /// The line may have been sent by an earlier session too: it is from a recording, or from the journal of that session.
    pub redelivered: bool,
    /// What happened.
    pub kind: Kind,
    /// `ktime_ns` as UTC, RFC 3339 with nanoseconds, by the wall clock at the time of writing.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When it happened, in nanoseconds of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// Why it happened.
    pub verdict: Verdict,
    /// The hooks that saw it, for example `fentry:oom_kill_process`.
    pub hooks: Vec<String>,
    /// What made the kernel look for a victim.
    pub origin: Option<Origin>,
    /// Which memory the allocation was restricted to.
    pub constraint: Option<Constraint>,
    /// The kernel's decision was observed from beginning to end.
    pub complete: bool,
    /// How many further incidents of the same kind and limit this line stands for; for kills see `folded`.
    pub repeats: u64,
    /// The limit that was hit; null for an OOM of the node.
    pub limit: Option<LimitHit>,
    /// Memory: the account of an OOM, and the node's if that was short. Null otherwise.
    pub memory: Option<Memory>,
    /// The task whose allocation or charge invoked the OOM killer or failed. Not the victim, and not necessarily at fault.
    pub trigger: Option<Process>,
    /// The killed processes, largest first.
    pub victims: Vec<Process>,
    /// How many processes were killed; more than `victims` holds if `truncated`, or if some are in `folded`.
    pub victims_total: u64,
    /// The further kills that this line stands for; null if there are none.
    pub folded: Option<Folded>,
    /// The allocation that could not be met.
    pub allocation: Option<Allocation>,
    /// The end of a container's first process; null for another kind of incident.
    pub exit: Option<Exit>,
    /// What is unknown, and why.
    pub unresolved: Vec<Unresolved>,
    /// Something was cut to keep the line within its maximum size.
    pub truncated: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The kernel's OOM killer killed one or more processes.
    OomKill,
    /// The kernel was out of memory in some scope and found no process to kill.
    OomNoKill,
    /// A task reached the limit of a cgroup whose OOM killer is disabled (cgroup v1's `oom_kill_disable`), and waits there for
    /// memory.
    OomWait,
    /// The kernel could not allocate pages.
    AllocFailure,
    /// The kernel could not map pages into its address space (vmalloc).
    VmallocFailure,
    /// The kernel had a page, could not charge it to a memory cgroup at its limit, and killed no process for it.
    ChargeFailure,
    /// The kernel warned of another allocation that failed.
    OtherAllocFailure,
    /// A container's first process ended.
    ContainerExit,
}

/// Which memory an allocation was restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The whole node.
    None,
    /// The NUMA nodes of a cpuset.
    Cpuset,
    /// The NUMA nodes of a memory policy.
    Mempolicy,
    /// A memory cgroup.
    Memcg,
}

/// Which limit of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Of memory.
    Memory,
    /// Of memory and swap together: cgroup v1's `memory.memsw.limit_in_bytes`, which is charged first. Memory may be below its own limit,
    /// or at it too.
    MemoryAndSwap,
    /// Of memory, with swap at its own limit too: cgroup v2's `memory.swap.max`.
    MemorySwapFull,
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
    /// Which of its limits was hit; null if the figures do not tell.
    pub kind: Option<LimitKind>,
    /// There is no limit.
    pub unlimited: bool,
    /// Kubernetes' limit of the container or pod at the verdict's level: `resources.limits.memory` of its spec; for a pod
    /// without one the sum of its containers'. It may be older than the kill, and differs from `limit_bytes` after a resize or
    /// a manual change. Null at other levels, and without the API server as a source.
    pub kubernetes_limit_bytes: Option<u64>,
    /// The same from the pod's status: what kubelet reports as in force.
    pub kubernetes_limit_in_force_bytes: Option<u64>,
    /// In use at the decision.
    pub usage_bytes: Option<u64>,
    /// Shared memory and tmpfs files of the cgroup and those below it, read from `memory.stat` just after the decision. Files
    /// (memory-backed emptyDir volumes, /dev/shm) stay when processes die.
    pub shmem_bytes: Option<u64>,
    /// Swap in use; memory and swap together where `swap_includes_memory` is true.
    pub swap_usage_bytes: Option<u64>,
    /// Limit of swap.
    pub swap_limit_bytes: Option<u64>,
    /// Swap has no limit.
    pub swap_unlimited: bool,
    /// Usage and limit of swap include memory: cgroup v1. Null if the version is not known.
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
    /// It was already exiting when it was marked.
    pub exiting: Option<bool>,
    /// Path of its cgroup in the memory controller's hierarchy; if that is the root, its path in the unified hierarchy.
    pub cgroup: Option<Text>,
    /// The path is not complete: the levels nearest to the process (very deep ones) or to the root could not be read.
    pub cgroup_cut: bool,
    /// Whose process it is.
    pub owner: Option<Owner>,
}

/// The allocation that could not be met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Allocation {
    /// 2^order contiguous pages; null for an allocation without an order (sysrq, vmalloc).
    pub order: Option<u32>,
    /// The same in bytes.
    pub bytes: Option<u64>,
    /// What the memory was for; null if no pages were allocated (a charge, for example).
    pub migrate_type: Option<MigrateType>,
    /// The NUMA nodes that the allocation was restricted to; empty if there is no restriction or `constraint` says more.
    pub numa_nodes: Vec<u32>,
    /// The gfp flags by the kernel's names.
    pub gfp: Vec<String>,
    /// The flags as a number.
    pub gfp_mask: u32,
    /// Memory that the scope of the OOM may hold: the limit with swap, or the node's memory and swap. This and the next are
    /// null without the OOM killer.
    pub scope_total_bytes: Option<u64>,
    /// Badness of the first victim, as the kernel weighed it: its memory and page tables, shifted by
    /// `oom_score_adj` thousandths of the scope.
    pub victim_points_bytes: Option<i64>,
}

/// The migrate type: what the memory is for, which decides from which free blocks it may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MigrateType {
    /// The kernel's memory, which stays where it is.
    Unmovable,
    /// A process's memory, which can be moved.
    Movable,
    /// Reclaimable slab.
    Reclaimable,
}
