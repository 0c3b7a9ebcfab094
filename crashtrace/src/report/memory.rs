//! The part of a report about the node's memory.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Owner, Text};

/// Who held the node's memory at the decision, from the kernel's tree of memory cgroups. Pods, and outside of pods the
/// innermost cgroups that are large; a cgroup's figure is all that is charged to it and to those below it, page cache and
/// kernel memory too.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// Read after the decision, when some of it had changed already.
    pub late: bool,
    /// All pods together (`kubepods`); null where there is none, or it held less than `least_bytes`.
    pub pods: Option<Holder>,
    /// The largest owners, the largest first; at most 10.
    pub holders: Vec<Holder>,
    /// Owners that held at least `least_bytes`; there may be more if `incomplete`.
    pub holders_total: u64,
    /// From here on an owner counts as large: one 128th of the memory that the decision was about.
    pub least_bytes: u64,
    /// Cgroups that held less, among those that were looked at.
    pub small_total: u32,
    /// What those held together. Those that are in a holder are in its figure as well.
    pub small_bytes: u64,
    /// Cgroups that were looked at: all on the way down to the large ones. What is below a small one is not looked at.
    pub cgroups_looked_at: u32,
    /// Cgroups that there were.
    pub cgroups_total: Option<u32>,
    /// There may be large ones that were not seen.
    pub incomplete: bool,
}

/// Entries of [`Memory::holders`] at most, as its doc says.
pub const HOLDERS: usize = 10;

/// Someone who held memory.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Holder {
    /// Path of the cgroup.
    pub cgroup: Text,
    /// Whose it is.
    pub owner: Owner,
    /// What it held.
    pub usage_bytes: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
    /// It has no limit.
    pub unlimited: bool,
    /// Thousandths of the node's memory and swap together; null where the decision was about a part of the memory only
    /// (a cpuset or a memory policy).
    pub share_permille: Option<u32>,
}
