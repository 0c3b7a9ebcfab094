//! What a report says of a pod, and what it is asked of. The sources of names (`pods/`) know more.

use serde::Serialize;

use crate::schema::{ContainerRole, NameSource, Qos};

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

/// What made a pod: its controller, or the controller of that where its name tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `ReplicaSet`, or any other kind; `Node` for a static pod.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// The controller's own name tells it, no object says it.
    pub inferred: bool,
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

impl Names {
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

/// Nobody who knows.
#[derive(Clone, Debug)]
pub struct NoNames(pub &'static str);

impl PodNames for NoNames {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer { names: None, missing: Some(self.0.to_owned()), soon: false }
    }
}
