//! Verdicts: why it happened, as a pure function of the case.

use schemars::JsonSchema;
use serde::Serialize;

use crate::enrich::Party;
use crate::event::Lineage;

/// The cause of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Cause {
    /// The node ran out of memory, or the part of it that the request was bound to.
    SystemOom,
    /// A memory cgroup's limit was hit.
    CgroupOom,
    /// Could not be told.
    Unknown,
}

/// Whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// The cgroup limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFinding {
    /// The cgroup whose limit it is, and its ancestors.
    pub cgroups: Lineage,
    /// Whose it is.
    pub party: Party,
    /// Level of that cgroup by itself; the verdict's level may be `container` where this is `pod`.
    pub charged_at: Level,
}

/// Why an incident happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The cause.
    pub cause: Cause,
    /// Whose limit it was.
    pub level: Option<Level>,
    /// How the kernel came to it.
    pub origin: Option<Origin>,
    /// The limit that was hit, where it is a cgroup's.
    pub limit: Option<LimitFinding>,
    /// How it is known.
    pub certainty: Certainty,
    /// Fields of the report that were inferred.
    pub inferred: Vec<&'static str>,
    /// One sentence for people.
    pub summary: String,
    /// The facts that it rests on.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
}
