//! Kills that are told in the line of another.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;

/// The kills that a line stands for beside its own, `repeats` of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Folded {
    /// Processes that were killed by them; in the line's `victims_total`, too.
    pub victims_total: u64,
    /// Of these, how many were ending already: the kernel only gave them access to its reserves.
    pub exiting_total: u64,
    /// What they had resident, all together; null where that of some is not known.
    pub resident_bytes: Option<u64>,
    /// When the last of the kills was, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// The same in nanoseconds of `CLOCK_BOOTTIME`.
    pub until_ktime_ns: u64,
    /// The processes in the order of their deaths, as many as fit.
    pub victims: Vec<FoldedVictim>,
}

/// A process of a folded kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FoldedVictim {
    /// Process id.
    pub pid: Option<u32>,
    /// Name of the process.
    pub comm: Option<Text>,
    /// When it was killed, in nanoseconds of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// The end of its cgroup's path; null where that is the cgroup of the kill that the line tells itself.
    pub cgroup: Option<Text>,
}
