//! A pod as the index keeps it: what a report says of it, and nothing else. PURE.
//!
//! A node has up to some hundred pods, and an object of the API server has kilobytes of what no report needs: so only these
//! fields are kept, in the smallest form. Each may be missing: what a server sends is not to be trusted to be whole.

use std::sync::Arc;

use crate::cgroup::Qos;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// A static pod's: annotation `kubernetes.io/config.mirror`. Its cgroups, and the runtime's labels, have this in place of
    /// the UID.
    pub config_hash: Option<Box<str>>,
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// What made it.
    pub workload: Option<Workload>,
    /// `status.qosClass`.
    pub qos: Option<Qos>,
    /// `metadata.deletionTimestamp` is set: it is being deleted.
    pub deleting: bool,
    /// `spec.resources` and `status.resources`: the pod's own limit, where it has one.
    pub memory: MemoryBounds,
    /// Its containers: those of the spec, in its order, init containers first, ephemeral ones last.
    pub containers: Box<[Container]>,
}

/// What made a pod: its controller, or the controller of that where its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `ReplicaSet`, or any other kind; `Node` for a static pod.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: Box<str>,
    /// What kind of container.
    pub kind: ContainerKind,
    /// Its id, without the runtime's prefix, once it was started. The id that it had before where it is in
    /// [`Container::last_id`].
    pub id: Option<Box<str>>,
    /// The id of its last run that ended (`lastState.terminated.containerID`), without the prefix.
    pub last_id: Option<Box<str>>,
    /// The image, as the spec has it.
    pub image: Option<Arc<str>>,
    /// How often it was started anew.
    pub restart_count: Option<u32>,
    /// What it asks for and may have.
    pub memory: MemoryBounds,
}

/// What kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerKind {
    /// One of `spec.containers`.
    App,
    /// An init container, which must end before the others begin.
    Init,
    /// An init container with `restartPolicy: Always`, which runs beside the others.
    Sidecar,
    /// Added to a running pod, by `kubectl debug` for one. Has no limit of its own.
    Ephemeral,
}

/// Memory that is asked for and allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBounds {
    /// `spec`: `resources.requests.memory`.
    pub request_bytes: Option<u64>,
    /// `spec`: `resources.limits.memory`. `None`: no limit, or none that can be read.
    pub limit_bytes: Option<u64>,
    /// `status`: `resources.limits.memory`: the limit that the node has put into force, from Kubernetes 1.27 on (always from
    /// 1.33). It differs from the spec's while an in-place resize is under way, or cannot be done.
    pub limit_in_force_bytes: Option<u64>,
}
