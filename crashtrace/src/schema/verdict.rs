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
    /// What of the node's memory was lacking: pages, or large pieces. Null where it was not what was short, and where the
    /// zones do not tell.
    pub shortage: Option<Shortage>,
    /// Whose limit it was.
    pub level: Option<Level>,
    /// How it is known.
    pub certainty: Certainty,
    /// What was inferred and not observed, by field.
    pub inferred: Vec<Field>,
    /// One sentence for people.
    pub summary: String,
    /// The facts that it rests on, with their numbers.
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
    /// The node ran out of memory, or the part of it that the request was bound to.
    SystemOom,
    /// A memory cgroup's limit was hit.
    CgroupOom,
    /// Memory was there, in pieces too small for what was asked for.
    Fragmentation,
    /// An allocation failed for want of memory.
    LowMemory,
    /// Could not be told.
    Unknown,
}

/// What of the node's memory was lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Large pieces: there was enough memory, but no block of the size.
    Fragmentation,
    /// Memory.
    LowMemory,
    /// Memory, and with it the reserves for requests that cannot wait.
    AtomicReserves,
}

/// Whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The container's own.
    Container,
    /// The pod's, and not just that of its only container.
    Pod,
    /// That of all pods of a QoS class.
    Qos,
    /// That of all pods of the node (`kubepods`).
    NodeAllocatable,
    /// That of a service or slice of the host.
    HostService,
    /// That of some other cgroup: one inside a container, or one that neither Kubernetes nor systemd made.
    Cgroup,
    /// The node's memory.
    Node,
}

/// How a verdict is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// All of it was read from the kernel as it decided.
    Observed,
    /// Some of it, listed in `inferred`, follows from other facts.
    Inferred,
}

/// How the kernel came to look for a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A page was asked for and the node had none.
    Allocation,
    /// Memory was charged to a cgroup at its limit.
    Charge,
    /// A limit was lowered below what was in use.
    LimitWrite,
    /// Somebody asked for it by sysrq.
    Sysrq,
    /// kswapd could not keep the working set resident for as long as told (`min_ttl_ms`).
    Kswapd,
}
