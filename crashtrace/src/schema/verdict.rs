//! The verdict: why an incident happened.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use super::Field;

/// Why it happened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// The cause.
    pub cause: Cause,
    /// What the node's memory lacked: pages, or contiguous ones. Null if it was not short, or if the zones do not tell.
    pub shortage: Option<Shortage>,
    /// Whose limit was hit.
    pub level: Option<Level>,
    /// How it is known.
    pub certainty: Certainty,
    /// Fields that were inferred and not observed.
    pub inferred: Vec<Field>,
    /// One sentence for people.
    pub summary: String,
    /// The facts that the verdict rests on, with numbers.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
}

/// The cause of an incident.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// The node ran out of memory, or the part of it that the allocation was restricted to.
    SystemOom,
    /// A memory cgroup's limit was hit.
    CgroupOom,
    /// Enough memory was free, but not in contiguous blocks large enough for the allocation.
    Fragmentation,
    /// An allocation failed because memory was low.
    LowMemory,
    /// A container's first process ended by itself: by `exit`, a signal that it raised, or a fault.
    ContainerExit,
    /// Another process killed a container's first process.
    Killed,
    /// A liveness or startup probe failed, and Kubernetes ended the container.
    HealthCheck,
    /// Kubernetes ended a container on purpose.
    Stopped,
    /// The cause could not be determined.
    Unknown,
}

/// What the node's memory lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Contiguous memory: enough was free, but no block of the size.
    Fragmentation,
    /// Memory.
    LowMemory,
    /// Memory, and the atomic reserves were exhausted too.
    AtomicReserves,
}

/// Whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The container's own.
    Container,
    /// The pod's, as distinct from that of its only container.
    Pod,
    /// That of all pods of a QoS class.
    Qos,
    /// That of all pods of the node (`kubepods`).
    NodeAllocatable,
    /// That of a service or slice of the host.
    HostService,
    /// That of another cgroup: inside a container, or made by neither Kubernetes nor systemd.
    Cgroup,
    /// The node's memory.
    Node,
}

/// How a verdict is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// All of it was read from the kernel at the decision.
    Observed,
    /// Some of it, listed in `inferred`, follows from other facts.
    Inferred,
}

/// What made the kernel look for a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An allocation found no free page on the node.
    Allocation,
    /// Memory was charged to a cgroup at its limit.
    Charge,
    /// A limit was lowered below the usage.
    LimitWrite,
    /// Requested by sysrq.
    Sysrq,
    /// kswapd could not keep the working set resident for as long as told (`min_ttl_ms`).
    Kswapd,
}
