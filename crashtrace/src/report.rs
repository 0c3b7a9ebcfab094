//! The report: crashtrace's public output, schema `crashtrace/v1`. **This file with `report/{folded,memory,own,owner}.rs` is
//! its definition**; `crashtrace schema` prints it as JSON Schema.
//!
//! One JSON object a line, at most [`MAX_LINE_BYTES`] long. Field names are snake case and carry their unit
//! (`_bytes`, `_ns`). Within v1 fields and enum values may be added; none is renamed or removed, and the order of
//! fields stays. A consumer ignores what it does not know.
//!
//! - Unknown is `null`, and [`Incident::unresolved`] says why. A limit that is not set is `null` with
//!   `unlimited` true beside it. `null` never means zero.
//! - `id` names an incident for good; a line with the same `id` and a higher `revision` replaces the earlier one.
//! - Text that processes and containers choose (`comm`, cgroup names) may be any bytes. Valid UTF-8 stands as it
//!   is but for the backslash, which is doubled; a byte that is not UTF-8 is `\xNN`, and so is each byte of a character
//!   that a terminal acts on or does not show: controls (C0, DEL, C1), direction of writing, line separators, no width.
//!   So it can be undone without loss, and is harmless to whoever shows it.
//! - In all other strings such characters are in JSON's own escapes (`\u202e`), so that a line is harmless as it is.
//! - A line that would be too long is cut, as `fit` says, and `truncated` is then true. A text that was cut has
//!   `…` in it.
//! - `seq` counts the lines of one session (a run of the agent), from 1: a gap is a line lost on the way. `lost`
//!   is what the agent itself lost in that session up to then, in records.
//!
//! The beginning of a line, to give an idea (whole ones are in `tests/fixtures/report`):
//!
//! ```json
//! {"schema":"crashtrace/v1","agent":"0.1.0","node":"worker-3","boot_id":"7e0a…","session":"b51c…","seq":17,"lost":0,
//!  "id":"7e0a…-812345678901-3","revision":1,"redelivered":false,"kind":"oom_kill",
//!  "time":"2026-11-22T07:23:15.123456789Z","ktime_ns":812345678901,"verdict":{"cause":"cgroup_oom",
//!  "level":"container","certainty":"observed","inferred":[],"summary":"…","evidence":["…"],"remedy":"…"}}
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::classify::{Cause, Certainty, Level, Origin, Shortage};

pub mod build;
pub mod fit;
mod folded;
pub mod json;
mod memory;
mod own;
mod owner;
pub mod schema;
pub mod text;

pub use build::{Context, incident};
pub use fit::to_json_line;
pub use folded::{Folded, FoldedVictim};
pub use memory::{HOLDERS, Holder, Memory, Unmovable, ZONES, Zone};
pub use own::{
    AgentStarted, AgentStartedKind, AgentStopping, AgentStoppingKind, ClockChanged, ClockChangedKind, Loss,
    LossKind,
};
pub use owner::{Claims, ContainerRole, Kubernetes, NameSource, Owner, OwnerKind, Workload};
pub use schema::schema;
pub use text::Text;

/// Value of [`Envelope::schema`].
pub const SCHEMA: &str = "crashtrace/v1";

/// Bytes of the longest line, its newline included: container runtimes split lines of 16 KiB and more.
pub const MAX_LINE_BYTES: usize = 12 * 1024;

/// A line of the stream.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Line {
    /// Something happened to a process or a container.
    Incident(Box<Incident>),
    /// The agent watches from here on.
    AgentStarted(Box<AgentStarted>),
    /// The agent lost something, and no incident was there to carry the count.
    Loss(Box<Loss>),
    /// Somebody has set the wall clock.
    ClockChanged(Box<ClockChanged>),
    /// The agent watches no longer.
    AgentStopping(Box<AgentStopping>),
}

impl Line {
    /// What opens it.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Self::Incident(line) => &mut line.envelope,
            Self::AgentStarted(line) => &mut line.envelope,
            Self::Loss(line) => &mut line.envelope,
            Self::ClockChanged(line) => &mut line.envelope,
            Self::AgentStopping(line) => &mut line.envelope,
        }
    }
}

/// What opens each line.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Envelope {
    /// Always `crashtrace/v1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// Version of the agent.
    pub agent: String,
    /// Name of the node: `--node-name`, else the host's name.
    pub node: Text,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Id of this run of the agent.
    pub session: String,
    /// Number of the line in the session, from 1.
    pub seq: u64,
    /// Records lost in the session so far.
    pub lost: u64,
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
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

/// Why it happened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// The cause.
    pub cause: Cause,
    /// What of the node's memory was lacking: pages, or large pieces. Null where it was not what was short, and where the
    /// zones do not tell.
    pub shortage: Option<Shortage>,
    /// Whose limit it was.
    pub level: Option<Level>,
    /// How it is known.
    pub certainty: Certainty,
    /// What was inferred and not observed, by field.
    pub inferred: Vec<String>,
    /// One sentence for people.
    pub summary: String,
    /// The facts that it rests on, with their numbers.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
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

/// Something unknown, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unresolved {
    /// Path of the field, such as `victims[0].uid`, or of all that is below it, such as `trigger`. `victims[*].uid` is
    /// of some or all victims; the reason has their number.
    pub field: String,
    /// Why it is unknown.
    pub reason: String,
}
