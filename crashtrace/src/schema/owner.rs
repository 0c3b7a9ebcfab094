//! The part of a report about whose something is.

use schemars::JsonSchema;
use serde::Serialize;

use super::Text;

/// The container, pod or host service that a process or a limit belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// The pod's namespace. This, the two names and `kubernetes` come from Kubernetes: null outside of pods, or for the reason
    /// in `unresolved`. A later revision of the report may have them.
    pub namespace: Option<Text>,
    /// The pod's name.
    pub pod: Option<Text>,
    /// The container's name in the pod; null for a sandbox.
    pub container: Option<Text>,
    /// What else Kubernetes says of it.
    pub kubernetes: Option<Kubernetes>,
    /// The pod's UID; for a static pod the hash of its configuration.
    pub pod_uid: Option<Text>,
    /// `pod_uid` is a static pod's hash: the API server knows the pod by another UID and has the hash in
    /// annotation `kubernetes.io/config.mirror`.
    pub static_pod: bool,
    /// The container's id, without the runtime's prefix.
    pub container_id: Option<Text>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
    /// The container runtime, where the path says.
    pub runtime: Option<Runtime>,
    /// The systemd unit of a host process.
    pub unit: Option<Text>,
    /// Outside of Kubernetes: what the software that makes such cgroups calls it, by the form of the path. Null if it has none of
    /// the known forms.
    pub engine: Option<Engine>,
    /// If the cgroup lies below a delegated one (of a user's service manager, a service, a container outside of Kubernetes):
    /// what the names below it say. The owner is the delegate; nothing else in the report rests on this. Null if there is no
    /// such claim.
    pub claims: Option<Claims>,
}

/// What software other than Kubernetes calls a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Engine {
    /// What it is.
    pub kind: EngineKind,
    /// Its id or name there.
    pub name: Text,
    /// The user in whose service manager it is: the uid is certain, the rest is that user's word. Null for what root made.
    pub uid: Option<u32>,
}

/// A kind of cgroup that software other than Kubernetes makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// A pod of Podman: `name` is its id.
    PodmanPod,
    /// A user's container of Podman; one of the host has `container_id`.
    PodmanContainer,
    /// A user's container of Docker; one of the host has `container_id`.
    DockerContainer,
    /// A build step of `BuildKit`.
    BuildkitStep,
    /// A task of Amazon ECS, with all its containers.
    EcsTask,
    /// A task of Nomad: `<allocation>.<task>`, or an id of Nomad's that is not the allocation's.
    NomadTask,
    /// A container of Garden (Cloud Foundry, Concourse): its handle.
    GardenContainer,
    /// A container of LXC, LXD or Incus.
    LxcContainer,
    /// A job of Slurm.
    SlurmJob,
    /// A container of systemd-nspawn.
    NspawnContainer,
    /// A unit of a user's service manager (`systemctl --user`); `unit` is that service manager.
    UserUnit,
    /// The processes of a Kata sandbox on the host, outside of its pod.
    KataOverhead,
}

/// What a cgroup's names claim. Whatever was delegated that part of the tree may have chosen them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Claims {
    /// What it claims to be.
    pub kind: OwnerKind,
    /// The pod's UID, or a static pod's hash.
    pub pod_uid: Option<Text>,
    /// The container's id.
    pub container_id: Option<Text>,
    /// The pod's QoS class.
    pub qos_class: Option<Qos>,
}

/// What Kubernetes says of a container; of an owner that is a pod, what it says of the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kubernetes {
    /// What kind of container; null for a pod, and if the source is the container runtime, which does not say.
    pub role: Option<ContainerRole>,
    /// The pod's controller; null if it has none, or if that is not known.
    pub workload: Option<Workload>,
    /// The container's image.
    pub image: Option<Text>,
    /// How often the container had been restarted when this one began.
    pub restart_count: Option<u32>,
    /// `resources.requests.memory`; for a pod without one the sum over its containers.
    pub memory_request_bytes: Option<u64>,
    /// The same of `resources.limits.memory`. What the kernel enforced is in `limit`.
    pub memory_limit_bytes: Option<u64>,
    /// Where this comes from.
    pub source: NameSource,
    /// For how long the source has not answered: this may be out of date. Null while it answers.
    pub stale_seconds: Option<u64>,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `ReplicaSet`, `Node` (a static pod), or any other kind.
    pub kind: Text,
    /// Its name, in the pod's namespace.
    pub name: Text,
    /// Derived from the direct controller's name: a Deployment from its `ReplicaSet`'s, a `CronJob` from its Job's.
    pub inferred: bool,
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A container, in a pod or not.
    Container,
    /// A pod as a whole.
    Pod,
    /// All pods of a QoS class.
    Qos,
    /// All pods of the node.
    Kubepods,
    /// A service or slice of the host.
    HostService,
    /// Another cgroup.
    Cgroup,
    /// The host: the root cgroup.
    Host,
}

/// Kubernetes' quality-of-service class, as the cgroup tree shows it.
// No rename: the variants are spelt as Kubernetes spells `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub enum Qos {
    /// Each container has equal requests and limits: no folder of its own, the pod is directly in `kubepods`.
    Guaranteed,
    /// Some request or limit is set.
    Burstable,
    /// No request or limit is set.
    BestEffort,
}

/// The container runtime, where the name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd: by its CRI plugin, by nerdctl, or in its namespaces `default` and `k8s.io`.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker: by cri-dockerd or outside Kubernetes.
    Docker,
    /// Podman.
    Podman,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerRole {
    /// One of its containers.
    App,
    /// An init container, which must end before the others begin.
    Init,
    /// An init container that runs beside the others.
    Sidecar,
    /// Added to the running pod, for example by `kubectl debug`.
    Ephemeral,
    /// The runtime's sandbox container (pause).
    Sandbox,
}

/// A source of names of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// The API server.
    Kube,
    /// The container runtime.
    Cri,
}
