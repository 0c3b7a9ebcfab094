//! What a report says of a pod: the names of one container or pod, from whatever source has them. PURE.

use schemars::JsonSchema;
use serde::Serialize;

use super::cri::cache::Listed;
use super::pod::{Container, ContainerKind, MemoryBounds, Pod, Workload};
use crate::cgroup::Qos;

/// Somebody who knows pods by name. Asked while a report is put together, so it answers from memory and never waits.
pub trait PodNames: std::fmt::Debug {
    /// What is known of this container, or of the pod where `container_id` is not given.
    fn find(&mut self, who: Who<'_>) -> Answer;

    /// Who is asked, and how that goes; empty if nobody is.
    fn status(&self) -> Vec<NamesStatus> {
        Vec::new()
    }
}

/// How it goes with one who knows pods by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamesStatus {
    /// Who.
    pub source: NameSource,
    /// Whether what it told can be relied on.
    pub state: NamesState,
    /// What is wrong, as a phrase.
    pub problem: Option<String>,
    /// Pods that are known by way of it: of the API server those that are there; of the runtime also those that are gone and kept.
    /// `None` where that is not counted.
    pub pods: Option<u64>,
    /// Containers that are known by way of it, with those that are gone and kept.
    pub containers: Option<u64>,
    /// Pods that had no room; `None` where there is no bound.
    pub refused_pods: Option<u64>,
    /// Since it was last heard; `None` if it never was.
    pub age_seconds: Option<u64>,
}

/// Whether what was told of names can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesState {
    /// It has told all, and is heard.
    Synced,
    /// It has not told all yet, or is not heard any more. Reports go out with what is known.
    Degraded,
}

/// Whom a cgroup's path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who<'a> {
    /// The pod's UID; for a static pod the hash of its configuration, or what its manifest has for a UID.
    pub pod_uid: &'a str,
    /// The container's id; `None` for the pod.
    pub container_id: Option<&'a str>,
    /// The pod's QoS class.
    pub qos: Option<Qos>,
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The names, as far as they are known.
    pub names: Option<Names>,
    /// Why no more is known, as a phrase; `None` if nothing is missing.
    pub missing: Option<String>,
    /// More may be known in a moment.
    pub soon: bool,
}

/// A pod, and the container that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Who says so.
    pub source: NameSource,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// What made the pod.
    pub workload: Option<Workload>,
    /// The pod's QoS class.
    pub qos: Option<Qos>,
    /// The pod's own bounds, or those that follow from its containers'.
    pub pod_memory: MemoryBounds,
    /// The container that was asked for.
    pub container: Option<ContainerNames>,
    /// The source has not been heard for so long, so that what it says may be out of date. `None` while it is heard.
    pub stale_seconds: Option<u64>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerNames {
    /// Its name in the pod; `None` for the pod's sandbox.
    pub name: Option<String>,
    /// What kind of container; `None` where the source does not tell.
    pub role: Option<ContainerRole>,
    /// The image.
    pub image: Option<String>,
    /// How often it had been started anew when this one ran.
    pub restart_count: Option<u32>,
    /// What it asks for and may have.
    pub memory: MemoryBounds,
}

/// Who names pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameSource {
    /// The API server.
    Kube,
    /// The container runtime.
    Cri,
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
    /// Added to the running pod, by `kubectl debug` for one.
    Ephemeral,
    /// The runtime's own, which holds the pod together (pause).
    Sandbox,
}

impl From<ContainerKind> for ContainerRole {
    fn from(kind: ContainerKind) -> Self {
        match kind {
            ContainerKind::App => Self::App,
            ContainerKind::Init => Self::Init,
            ContainerKind::Sidecar => Self::Sidecar,
            ContainerKind::Ephemeral => Self::Ephemeral,
        }
    }
}

impl Names {
    /// What the API server says of a pod.
    #[must_use]
    pub fn of_pod(pod: &Pod, stale_seconds: Option<u64>) -> Self {
        Self {
            source: NameSource::Kube,
            namespace: Some(pod.namespace.to_string()),
            pod: Some(pod.name.to_string()),
            workload: pod.workload.clone(),
            qos: pod.qos,
            pod_memory: pod_memory(pod),
            container: None,
            stale_seconds,
        }
    }

    /// And of a container in it, in the run that ended or runs with this count of restarts.
    #[must_use]
    pub fn with_container(self, container: &Container, restart_count: Option<u32>) -> Self {
        let names = ContainerNames {
            name: Some(container.name.to_string()),
            role: Some(container.kind.into()),
            image: container.image.as_deref().map(str::to_owned),
            restart_count,
            memory: container.memory,
        };
        Self { container: Some(names), ..self }
    }

    /// What the runtime says of a container or sandbox.
    #[must_use]
    pub fn of_runtime(found: &Listed, stale_seconds: Option<u64>) -> Self {
        let (namespace, pod, container) = match found {
            Listed::Container(it) => (
                &it.namespace,
                &it.pod_name,
                ContainerNames {
                    name: it.name.clone(),
                    role: None,
                    image: it.image.clone(),
                    restart_count: it.attempt,
                    memory: MemoryBounds::default(),
                },
            ),
            Listed::Sandbox(it) => (&it.namespace, &it.pod_name, ContainerNames::sandbox()),
        };
        Self {
            source: NameSource::Cri,
            namespace: namespace.clone(),
            pod: pod.clone(),
            workload: None,
            qos: None,
            pod_memory: MemoryBounds::default(),
            container: Some(container),
            stale_seconds,
        }
    }

    /// The same without the container.
    #[must_use]
    pub fn without_container(self) -> Self {
        Self { container: None, ..self }
    }
}

impl ContainerNames {
    /// The runtime's own container in each pod.
    #[must_use]
    pub fn sandbox() -> Self {
        Self {
            name: None,
            role: Some(ContainerRole::Sandbox),
            image: None,
            restart_count: None,
            memory: MemoryBounds::default(),
        }
    }
}

/// What a pod asks for and may have: its own figures where it has them, else what follows from its containers, as kubelet
/// works it out for the pod's cgroup (`ResourceConfigForPod`, `pkg/kubelet/cm/helpers_linux.go`, Kubernetes 1.20 to 1.36): all
/// that run side by side together, or what an init container takes beside the sidecars before it, if that is more; no limit at
/// all as soon as one container has none.
#[must_use]
pub fn pod_memory(pod: &Pod) -> MemoryBounds {
    let sum = |of: fn(&MemoryBounds) -> Option<u64>, all: bool| -> Option<u64> {
        let (mut side_by_side, mut sidecars, mut most_init) = (0_u64, 0_u64, 0_u64);
        let mut any = false;
        for container in &pod.containers {
            if container.kind == ContainerKind::Ephemeral {
                continue;
            }
            let bytes = match of(&container.memory) {
                Some(bytes) => bytes,
                None if all => return None,
                None => 0,
            };
            any = true;
            match container.kind {
                ContainerKind::App => side_by_side = side_by_side.saturating_add(bytes),
                ContainerKind::Sidecar => sidecars = sidecars.saturating_add(bytes),
                ContainerKind::Init => most_init = most_init.max(sidecars.saturating_add(bytes)),
                ContainerKind::Ephemeral => {}
            }
        }
        any.then(|| side_by_side.saturating_add(sidecars).max(most_init)).filter(|bytes| *bytes > 0)
    };
    MemoryBounds {
        request_bytes: pod.memory.request_bytes.or_else(|| sum(|it| it.request_bytes, false)),
        limit_bytes: pod.memory.limit_bytes.or_else(|| sum(|it| it.limit_bytes, true)),
        limit_in_force_bytes: pod
            .memory
            .limit_in_force_bytes
            .or_else(|| sum(|it| it.limit_in_force_bytes, true)),
    }
}

/// Nobody who knows.
#[derive(Clone, Debug)]
pub struct NoNames(pub &'static str);

impl PodNames for NoNames {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer { names: None, missing: Some(self.0.to_owned()), soon: false }
    }
}

#[cfg(test)]
pub(crate) mod tests;
