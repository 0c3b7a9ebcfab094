//! From the API server's pod object to a [`Pod`]. PURE and total: whatever JSON comes, there is an answer.
//!
//! [`PodObject`] has the fields that a report needs and skips all others unread. Each field is read by itself: where a
//! server sends another type than is due (`"spec":{"containers":null}` in a bookmark, a number where text must be, `1e400`),
//! that field is absent, and the rest of the object is read. Only a text that is no JSON at all is an error.
//!
//! # Bounds
//!
//! | field | at most | beyond that |
//! |---|---|---|
//! | names, UID, config hash | [`MAX_NAME_BYTES`] | of the pod itself: no pod. Of a container: not kept. Else absent |
//! | image | [`MAX_IMAGE_BYTES`] | absent: half an image's name may be another image's |
//! | container id | 64 hex digits | any other id is absent: no cgroup is named so |
//! | containers | [`MAX_CONTAINERS`] | the first ones: init containers, then the app's, ephemeral ones last |
//! | memory-backed volumes | [`MemoryMounts::MOST`], of the first [`MAX_CONTAINERS`] volumes | the first ones |
//! | reasons | [`MAX_WORD_BYTES`] | absent |
//! | the pod's message | [`MAX_MESSAGE_BYTES`] | cut, with an ellipsis |
//!
//! An object that names one field twice is taken as empty. No name is cut: a name that was cut is a wrong name. Names that
//! Kubernetes would not allow are kept unchanged; the outputs escape them. So a pod holds no more than [`MAX_POD_BYTES`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::life::{Ended, MAX_MESSAGE_BYTES, MAX_WORD_BYTES};
use super::pod::{Container, ContainerKind, MemoryMounts, Pod};
use crate::names::{MemoryBounds, MemoryVolume};
use crate::schema::Qos;

mod life;
mod mirror;
pub mod quantity;
pub(in crate::pods) mod read;
#[cfg(test)]
pub(super) mod tests;
pub mod workload;

pub use life::{Condition, ProbeSpec, State, Terminated};
use read::{field, list, object, read};

/// The longest name that Kubernetes allows to anything (a DNS subdomain).
pub const MAX_NAME_BYTES: usize = 253;
/// The longest image name that is kept. Registries allow a path of 255 bytes and a tag of 128.
pub const MAX_IMAGE_BYTES: usize = 512;
/// The most containers of a pod that are kept.
pub const MAX_CONTAINERS: usize = 128;
/// The most that a [`Pod`] from here can hold, in bytes: its struct, six names (UID, config hash, namespace, name, kind and name of
/// the workload), a message and two reasons, for each memory-backed volume its struct and a name, and for each container its struct, a name, an image with the counters of its `Arc`, two
/// ids and how two runs ended.
pub const MAX_POD_BYTES: usize = size_of::<Pod>()
    + 6 * MAX_NAME_BYTES
    + MAX_MESSAGE_BYTES
    + 2 * MAX_WORD_BYTES
    + MemoryMounts::MOST * (size_of::<MemoryVolume>() + MAX_NAME_BYTES)
    + MAX_CONTAINERS * MAX_CONTAINER_BYTES;
const MAX_CONTAINER_BYTES: usize = size_of::<Container>()
    + MAX_NAME_BYTES
    + MAX_IMAGE_BYTES
    + 2 * size_of::<usize>()
    + 2 * 64
    + 2 * (size_of::<Ended>() + MAX_WORD_BYTES);

/// A pod object, as a list and a watch of the API server have it. The fields of this type are kept of an answer
/// (`kube/shapes.rs`; its test reports a field that is missing there). Reads any JSON; needs it as text (not buffered by serde, as
/// an untagged enum does it).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Box<RawValue>")]
pub struct PodObject {
    /// `metadata`.
    pub metadata: Meta,
    /// `spec`: the wanted state.
    pub spec: Spec,
    /// `status`: the observed state.
    pub status: Status,
}

/// The same, for serde to derive.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    #[serde(deserialize_with = "object")]
    metadata: Meta,
    #[serde(deserialize_with = "object")]
    spec: Spec,
    #[serde(deserialize_with = "object")]
    status: Status,
}

impl From<Box<RawValue>> for PodObject {
    fn from(json: Box<RawValue>) -> Self {
        let Parts { metadata, spec, status } = read(&json).unwrap_or_default();
        Self { metadata, spec, status }
    }
}

/// `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// `uid`.
    #[serde(deserialize_with = "field")]
    pub uid: Option<String>,
    /// `namespace`.
    #[serde(deserialize_with = "field")]
    pub namespace: Option<String>,
    /// `name`.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// `resourceVersion`: where a watch goes on. A bookmark has only this.
    #[serde(deserialize_with = "field")]
    pub resource_version: Option<String>,
    /// `deletionTimestamp`: set while it is being deleted.
    #[serde(deserialize_with = "field")]
    pub deletion_timestamp: Option<String>,
    /// `deletionGracePeriodSeconds`.
    #[serde(deserialize_with = "field")]
    pub deletion_grace_period_seconds: Option<u32>,
    /// `labels`.
    #[serde(deserialize_with = "object")]
    pub labels: Labels,
    /// `annotations`.
    #[serde(deserialize_with = "object")]
    pub annotations: Annotations,
    /// `ownerReferences`.
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<OwnerReference>,
}

/// The labels that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Labels {
    /// `pod-template-hash`: a Deployment puts it on its `ReplicaSets`, and into their names.
    #[serde(deserialize_with = "field")]
    pub pod_template_hash: Option<String>,
}

/// The annotations that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Annotations {
    /// `kubernetes.io/config.mirror`: a static pod's config hash. kubelet writes it, and so may any client that makes a pod:
    /// `mirror`, and [`super::index`] lets none of them take another's place.
    #[serde(rename = "kubernetes.io/config.mirror", deserialize_with = "field")]
    pub config_mirror: Option<String>,
    /// `k8s.io/initial-events-end`: `true` in the bookmark that ends a watch's first list.
    #[serde(rename = "k8s.io/initial-events-end", deserialize_with = "field")]
    pub initial_events_end: Option<String>,
}

/// An entry of `ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// `apiVersion`: group and version of the kind.
    #[serde(deserialize_with = "field")]
    pub api_version: Option<String>,
    /// `kind`.
    #[serde(deserialize_with = "field")]
    pub kind: Option<String>,
    /// `name`.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// `controller`: this owner made the pod and replaces it. At most one does.
    #[serde(deserialize_with = "field")]
    pub controller: Option<bool>,
}

/// `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// `initContainers`, sidecars among them.
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<ContainerSpec>,
    /// `containers`.
    #[serde(deserialize_with = "list")]
    pub containers: Vec<ContainerSpec>,
    /// `ephemeralContainers`.
    #[serde(deserialize_with = "list")]
    pub ephemeral_containers: Vec<ContainerSpec>,
    /// `resources`: the pod's own.
    #[serde(deserialize_with = "object")]
    pub resources: Resources,
    /// `volumes`.
    #[serde(deserialize_with = "list")]
    pub volumes: Vec<VolumeSpec>,
    /// `shareProcessNamespace`: its containers share one pid namespace, with the sandbox's process as pid 1.
    #[serde(deserialize_with = "field")]
    pub share_process_namespace: Option<bool>,
    /// `nodeName`: the node that it is on.
    #[serde(deserialize_with = "field")]
    pub node_name: Option<String>,
    /// `restartPolicy`.
    #[serde(deserialize_with = "field")]
    pub restart_policy: Option<String>,
    /// `terminationGracePeriodSeconds`.
    #[serde(deserialize_with = "field")]
    pub termination_grace_period_seconds: Option<u32>,
}

/// A container in `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerSpec {
    /// `name`.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// `image`.
    #[serde(deserialize_with = "field")]
    pub image: Option<String>,
    /// `restartPolicy`: `Always` makes an init container a sidecar.
    #[serde(deserialize_with = "field")]
    pub restart_policy: Option<String>,
    /// `livenessProbe`.
    #[serde(deserialize_with = "object")]
    pub liveness_probe: ProbeSpec,
    /// `startupProbe`.
    #[serde(deserialize_with = "object")]
    pub startup_probe: ProbeSpec,
    /// `volumeMounts`.
    #[serde(deserialize_with = "list")]
    pub volume_mounts: Vec<VolumeMount>,
    /// `resources`.
    #[serde(deserialize_with = "object")]
    pub resources: Resources,
}

/// A volume in `spec`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeSpec {
    /// `name`.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// `emptyDir`.
    #[serde(deserialize_with = "object")]
    pub empty_dir: EmptyDir,
}

/// `emptyDir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EmptyDir {
    /// `medium`: `Memory` makes it a tmpfs.
    #[serde(deserialize_with = "field")]
    pub medium: Option<String>,
    /// `sizeLimit`, a [`quantity`].
    #[serde(deserialize_with = "field")]
    pub size_limit: Option<String>,
}

/// An element of a container's `volumeMounts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeMount {
    /// `name`: the volume.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
}

/// `resources`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Resources {
    /// `requests`.
    #[serde(deserialize_with = "object")]
    pub requests: Amounts,
    /// `limits`.
    #[serde(deserialize_with = "object")]
    pub limits: Amounts,
}

/// Amounts of resources; only memory is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// `memory`, a [`quantity`].
    #[serde(deserialize_with = "field")]
    pub memory: Option<String>,
}

/// `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Status {
    /// `qosClass`.
    #[serde(deserialize_with = "field")]
    pub qos_class: Option<String>,
    /// `initContainerStatuses`.
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// `containerStatuses`.
    #[serde(deserialize_with = "list")]
    pub container_statuses: Vec<ContainerStatus>,
    /// `ephemeralContainerStatuses`.
    #[serde(deserialize_with = "list")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
    /// `resources`.
    #[serde(deserialize_with = "object")]
    pub resources: Resources,
    /// `reason`.
    #[serde(deserialize_with = "field")]
    pub reason: Option<String>,
    /// `message`.
    #[serde(deserialize_with = "field")]
    pub message: Option<String>,
    /// `conditions`.
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<Condition>,
}

/// A container in `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    /// `name`.
    #[serde(deserialize_with = "field")]
    pub name: Option<String>,
    /// `containerID`: `<runtime>://<id>`. While a container waits to be started anew, still that of the dead one.
    #[serde(rename = "containerID", deserialize_with = "field")]
    pub container_id: Option<String>,
    /// `restartCount`.
    #[serde(deserialize_with = "field")]
    pub restart_count: Option<u32>,
    /// `state`.
    #[serde(deserialize_with = "object")]
    pub state: State,
    /// `lastState`.
    #[serde(deserialize_with = "object")]
    pub last_state: State,
    /// `resources`: the amounts that the node has put into force.
    #[serde(deserialize_with = "object")]
    pub resources: Resources,
}

/// The pod of an object. `None` without a UID, a namespace and a name: then it is no pod, or a bookmark.
#[must_use]
pub fn pod(object: &PodObject) -> Option<Pod> {
    let PodObject { metadata, spec, status } = object;
    let memory_volumes = memory_volumes(spec);
    Some(Pod {
        uid: name(metadata.uid.as_ref())?,
        config_hash: mirror::config_hash(metadata, spec),
        namespace: name(metadata.namespace.as_ref())?,
        name: name(metadata.name.as_ref())?,
        workload: workload::of(metadata),
        qos: status.qos_class.as_deref().and_then(qos),
        life: life::of_pod(object),
        memory: bounds_of_pod(&spec.resources, &status.resources),
        shares_pids: spec.share_process_namespace == Some(true),
        containers: containers(spec, status, &memory_volumes),
        memory_volumes,
    })
}

fn memory_volumes(spec: &Spec) -> Box<[MemoryVolume]> {
    let backed = spec.volumes.iter().filter(|volume| volume.empty_dir.medium.as_deref() == Some("Memory"));
    let volume = |volume: &VolumeSpec| {
        let size_limit = volume.empty_dir.size_limit.as_deref().and_then(quantity::bytes);
        // kubelet takes a limit of zero as none.
        let size_limit_bytes = size_limit.filter(|bytes| *bytes > 0);
        Some(MemoryVolume { name: name(volume.name.as_ref())?, size_limit_bytes })
    };
    backed.filter_map(volume).take(MemoryMounts::MOST).collect()
}

fn containers(spec: &Spec, status: &Status, memory_volumes: &[MemoryVolume]) -> Box<[Container]> {
    let lists = [
        (ContainerKind::Init, &spec.init_containers, &status.init_container_statuses),
        (ContainerKind::App, &spec.containers, &status.container_statuses),
        (ContainerKind::Ephemeral, &spec.ephemeral_containers, &status.ephemeral_container_statuses),
    ];
    let mut kept: Vec<Container> = Vec::new();
    for (kind, specs, statuses) in lists {
        for spec in specs {
            let Some(name) = name(spec.name.as_ref()) else { continue };
            // A second one of a name could be given the status, and so the id, of the first.
            if kept.len() < MAX_CONTAINERS && kept.iter().all(|other| other.name != name) {
                let status = statuses.iter().find(|status| status.name.as_deref() == Some(&*name));
                kept.push(container(kind, name, spec, status, memory_volumes));
            }
        }
    }
    kept.into_boxed_slice()
}

fn container(
    kind: ContainerKind,
    name: Box<str>,
    spec: &ContainerSpec,
    status: Option<&ContainerStatus>,
    memory_volumes: &[MemoryVolume],
) -> Container {
    let mounts = spec.volume_mounts.iter().filter_map(|mount| mount.name.as_deref());
    let mounts = mounts.filter_map(|name| memory_volumes.iter().position(|volume| *volume.name == *name));
    let always = spec.restart_policy.as_deref() == Some("Always");
    let image = spec.image.as_deref().filter(|image| (1..=MAX_IMAGE_BYTES).contains(&image.len()));
    let id_now = status.and_then(|it| id(it.container_id.as_ref()));
    let id_now = id_now.or_else(|| id(status?.state.terminated.container_id.as_ref()));
    Container {
        life: life::of_container(spec, status, id_now.as_deref()),
        name,
        kind: if kind == ContainerKind::Init && always { ContainerKind::Sidecar } else { kind },
        id: id_now,
        last_id: status.and_then(|it| id(it.last_state.terminated.container_id.as_ref())),
        image: image.map(Arc::from),
        restart_count: status.and_then(|it| it.restart_count),
        memory: bounds(&spec.resources, status.map(|it| &it.resources)),
        memory_mounts: MemoryMounts::of(mounts),
    }
}

fn bounds(spec: &Resources, status: Option<&Resources>) -> MemoryBounds {
    let bytes = |amounts: &Amounts| amounts.memory.as_deref().and_then(quantity::bytes);
    // kubelet takes a limit of zero as none.
    let limit = |resources: &Resources| bytes(&resources.limits).filter(|bytes| *bytes > 0);
    MemoryBounds {
        request_bytes: bytes(&spec.requests),
        limit_bytes: limit(spec),
        limit_in_force_bytes: status.and_then(limit),
    }
}

fn bounds_of_pod(spec: &Resources, status: &Resources) -> MemoryBounds {
    let bounds = bounds(spec, Some(status));
    MemoryBounds { limit_in_force_bytes: bounds.limit_bytes.and(bounds.limit_in_force_bytes), ..bounds }
}

fn qos(class: &str) -> Option<Qos> {
    match class {
        "Guaranteed" => Some(Qos::Guaranteed),
        "Burstable" => Some(Qos::Burstable),
        "BestEffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

fn name(text: Option<&String>) -> Option<Box<str>> {
    let text = text?.as_str();
    (1..=MAX_NAME_BYTES).contains(&text.len()).then(|| text.into())
}

/// The id in `<runtime>://<id>`.
fn id(text: Option<&String>) -> Option<Box<str>> {
    let text = text?.as_str();
    let id = text.split_once("://").map_or(text, |(_, id)| id);
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (id.len() == 64 && id.bytes().all(hex)).then(|| id.into())
}
