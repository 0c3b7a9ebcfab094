//! Cases: an incident with its owners and the facts gathered for it, and what could not be found.

use schemars::JsonSchema;
use serde::Serialize;

use crate::cgroup::{Placement, Qos, Runtime};
use crate::correlate::Incident;

/// An incident with its owners.
#[derive(Clone, Debug)]
pub struct Case {
    /// What happened.
    pub incident: Incident,
    /// Whose process ran into the limit.
    pub trigger: Option<Party>,
    /// Whose processes were killed: one for each of the incident's victims, in the same order. Empty for an OOM
    /// without a kill.
    pub victims: Vec<Option<Party>>,
    /// Whose limit it was, where the kernel said so.
    pub limit: Option<Party>,
    /// What could not be found, by field of the report, and why.
    pub unresolved: Vec<Gap>,
}

/// A cgroup's place in the tree and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Path of the cgroup in the memory controller's hierarchy.
    pub path: Vec<u8>,
    /// What the path says.
    pub placement: Placement,
    /// Whose it is.
    pub owner: Owner,
}

/// Something that could not be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Path of the field in the report, `victims[0].owner` and the like.
    pub field: String,
    /// Why.
    pub reason: String,
}

/// The container, pod or host service that a process or a limit belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// The pod's UID; for a static pod the hash of its configuration.
    pub pod_uid: Option<String>,
    /// `pod_uid` is a static pod's hash.
    pub static_pod: bool,
    /// The container's id, without the runtime's prefix.
    pub container_id: Option<String>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
    /// The container runtime, where the path says.
    pub runtime: Option<Runtime>,
    /// The systemd unit of a host process.
    pub unit: Option<String>,
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A container, in a pod or not.
    Container,
    /// A pod, no container of it in particular.
    Pod,
    /// All pods of a QoS class.
    Qos,
    /// All pods of the node.
    Kubepods,
    /// A service or slice of the host.
    HostService,
    /// Some other cgroup.
    Cgroup,
    /// The host: the root cgroup.
    Host,
}
