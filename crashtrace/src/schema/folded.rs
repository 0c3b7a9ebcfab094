//! Kills that are told in the line of another.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;

/// The further kills that a line stands for, `repeats` of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Folded {
    /// Processes killed by them; included in the line's `victims_total`.
    pub victims_total: u64,
    /// Of these, how many were already exiting: the kernel only gave them access to its reserves.
    pub exiting_total: u64,
    /// Their resident memory together; null if that of some is not known.
    pub resident_bytes: Option<u64>,
    /// Time of the last of these kills, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub until: String,
    /// The same in nanoseconds of `CLOCK_BOOTTIME`.
    pub until_ktime_ns: u64,
    /// The processes in the order of their kills, as many as fit.
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
    /// The end of its cgroup's path; null if that is the cgroup of the line's first kill.
    pub cgroup: Option<Text>,
}
