//! Ends of containers' first processes, and the OOM kills that they belong to.

use crate::event::{ContainerExit, Name};

/// The end of a container's first process.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEnd {
    pub event: Box<ContainerExit>,
    /// The OOM kill whose victim the process was.
    pub oom: Option<KilledBy>,
    /// OOM kills of other processes of the container while this one ran, latest first, as many as are stored.
    pub oom_before: Vec<KilledBy>,
    /// How many there were.
    pub oom_before_total: u64,
}

/// A process that an OOM decision killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KilledBy {
    /// Time and CPU that name the decision's incident.
    pub ktime_ns: u64,
    /// See `ktime_ns`.
    pub cpu: u32,
    /// The process that was killed.
    pub pid: Option<u32>,
    pub comm: Option<Name>,
}
