//! Cgroup paths.
use schemars::JsonSchema;
use serde::Serialize;

/// Kubernetes QoS class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Qos {
    /// Guaranteed
    Guaranteed,
    /// Burstable
    Burstable,
    /// BestEffort
    BestEffort,
}
/// Container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd
    Containerd,
    /// CRI-O
    Crio,
    /// Docker
    Docker,
    /// Podman
    Podman,
}
/// Where in the tree a cgroup sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// /
    Root,
    /// kubepods
    NodeAllocatable,
    /// qos
    Qos,
    /// pod
    Pod,
    /// container
    Container,
    /// host
    HostService,
    /// other
    Other,
}
/// What a path says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "to be replaced")]
pub struct Placement {
    pub place: Place,
    pub nested: bool,
    pub qos: Option<Qos>,
    pub pod_uid: Option<String>,
    pub static_pod: bool,
    pub container_id: Option<String>,
    pub runtime: Option<Runtime>,
    pub infra: bool,
    pub unit: Option<String>,
    pub kubepods_end: Option<usize>,
    pub qos_end: Option<usize>,
    pub pod_end: Option<usize>,
    pub container_end: Option<usize>,
}
