//! Names and facts of a pod in a report, and the interface to look them up. The sources of names (`pods/`) know more.

use serde::Serialize;

use crate::schema::{ContainerRole, NameSource, Qos};

mod rules;
mod workload;

pub use rules::{is_label, is_name};

/// A source of pods' names. Used while a report is built, so it answers from memory and never waits.
pub trait PodNames: std::fmt::Debug {
    /// The facts about this container, or about the pod if `container_id` is not given.
    fn find(&mut self, who: Who<'_>) -> Answer;

    /// The sources, with their states; empty if there is none.
    fn status(&self) -> Vec<NamesStatus> {
        Vec::new()
    }

    /// The pod's Events in Kubernetes. The first call about a pod makes the source fetch them, and a later one has the answer: so
    /// it is called only where they decide.
    fn events(&mut self, _who: Who<'_>) -> Events {
        Events { missing: Some("the API server is not a source".to_owned()), ..Events::default() }
    }
}

/// State of a source of pods' names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamesStatus {
    /// The source.
    pub source: NameSource,
    /// Whether its answers are reliable.
    pub state: NamesState,
    /// The problem, as a phrase.
    pub problem: Option<String>,
    /// Pods that it knows: of the API server the existing ones; of the runtime also removed ones that are still stored. `None`
    /// if they are not counted.
    pub pods: Option<u64>,
    /// Containers that it knows, with removed ones that are still stored.
    pub containers: Option<u64>,
    /// Pods that had no room; `None` if there is no bound.
    pub refused_pods: Option<u64>,
    /// Seconds since it was last reached; `None` if it never was.
    pub age_seconds: Option<u64>,
}

/// Whether a source's answers are reliable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NamesState {
    /// It has sent its whole list, and is reachable.
    Synced,
    /// It has not sent its whole list yet, or is not reachable any more. Reports go out with the known facts.
    Degraded,
}

/// The pod and container in a cgroup's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who<'a> {
    /// The pod's UID; for a static pod the hash of its configuration, or the UID in its manifest.
    pub pod_uid: &'a str,
    /// The container's id; `None` for the pod.
    pub container_id: Option<&'a str>,
    /// The pod's QoS class.
    pub qos: Option<Qos>,
}

/// The answer to a lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The names, as far as they are known.
    pub names: Option<Names>,
    /// Why facts are missing, as a phrase; `None` if none is.
    pub missing: Option<String>,
    /// More may be known in a moment.
    pub soon: bool,
    /// More may be known within minutes: a source cannot be reached now.
    pub later: bool,
}

/// A pod, and the container that was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The source of these facts.
    pub source: NameSource,
    /// The pod's namespace.
    pub namespace: Option<String>,
    /// The pod's name.
    pub pod: Option<String>,
    /// The workload that made the pod.
    pub workload: Option<Workload>,
    /// The pod's QoS class.
    pub qos: Option<Qos>,
    /// The pod's own bounds, or those that follow from its containers'.
    pub pod_memory: MemoryBounds,
    /// The pod has a limit of its own (`spec.resources`); else its limit is what follows from its containers'. `None` if the source
    /// does not tell.
    pub pod_limit_is_own: Option<bool>,
    /// Its containers share one pid namespace (`shareProcessNamespace`). `None` if the source does not tell.
    pub shares_pids: Option<bool>,
    /// Its memory-backed volumes; `None` if the source does not tell.
    pub memory_volumes: Option<Vec<MemoryVolume>>,
    /// What ends the pod and its containers.
    pub life: PodLife,
    /// The container that was looked up.
    pub container: Option<ContainerNames>,
    /// Seconds since the source was last reached, after which its facts may be out of date. `None` while it is reachable.
    pub stale_seconds: Option<u64>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerNames {
    /// Its name in the pod; `None` for the pod's sandbox.
    pub name: Option<String>,
    /// The kind of container; `None` if the source does not tell.
    pub role: Option<ContainerRole>,
    /// The image.
    pub image: Option<String>,
    /// How often it had been restarted before this one ran.
    pub restart_count: Option<u32>,
    /// Its request and limit.
    pub memory: MemoryBounds,
    /// The pod's memory-backed volumes that are mounted in it; `None` if the source does not tell.
    pub memory_volumes: Option<Vec<MemoryVolume>>,
    /// What ends it, and how its run of this id ended.
    pub life: ContainerLife,
}

/// A memory-backed volume of a pod: an `emptyDir` with medium `Memory`. Its files are charged to the containers that wrote them, and
/// to the pod when those are gone: they outlive each container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryVolume {
    pub name: Box<str>,
    /// `sizeLimit`. `None`: none, or an unreadable one.
    pub size_limit_bytes: Option<u64>,
}

/// What Kubernetes knows of the life and end of a pod. All of it is `None` if the API server is not the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodLife {
    /// `spec.restartPolicy`.
    pub restart_policy: Option<RestartPolicy>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
    /// `metadata.deletionTimestamp` is set, or the API server does not have the pod any more. (Of a static pod it is the mirror's:
    /// that may be deleted while the pod runs on.)
    pub deleting: bool,
    /// `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_seconds: Option<u32>,
    /// `status.reason`: `Evicted`, `DeadlineExceeded`, `Preempting`, `NodeShutdown` and others.
    pub reason: Option<String>,
    /// `status.message`: of an eviction, the resource that was short.
    pub message: Option<String>,
    /// Reason of the condition `DisruptionTarget`, if that is true: `EvictionByEvictionAPI`, `PreemptionByScheduler`,
    /// `TerminationByKubelet`, `DeletionByTaintManager`, `DeletionByPodGC`.
    pub disruption: Option<String>,
}

impl PodLife {
    /// Kubernetes ends the pod, or has ended it.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.deleting || self.reason.is_some() || self.disruption.is_some()
    }
}

/// The same of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerLife {
    /// Its own `restartPolicy`: a sidecar's `Always`, or one that overrides the pod's.
    pub restart_policy: Option<RestartPolicy>,
    pub liveness: Option<Probe>,
    pub startup: Option<Probe>,
    /// How the run with this container id ended, according to its status.
    pub ended: Option<EndedStatus>,
}

/// When a container that ended is started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

/// A probe that ends a container when it fails, with its effective values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub action: ProbeAction,
    pub initial_delay_seconds: u32,
    pub period_seconds: u32,
    pub timeout_seconds: u32,
    pub failure_threshold: u32,
    /// Its own `terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAction {
    Exec,
    HttpGet,
    TcpSocket,
    Grpc,
}

/// `state.terminated` or `lastState.terminated` of a container's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedStatus {
    /// `OOMKilled`, `Error`, `Completed`, `StartError`, `ContainerStatusUnknown` and others.
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
    /// `finishedAt`, in seconds since 1970.
    pub finished_at_s: Option<i64>,
}

/// The answer to a look-up of a pod's Events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// As the API server has them, in no order; those of the pod's earlier life are among them.
    pub list: Vec<PodEvent>,
    /// Why they are not known, as a phrase; `None` if they are.
    pub missing: Option<String>,
    /// More may be known in a moment.
    pub soon: bool,
}

/// An Event of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEvent {
    /// `Unhealthy`, `Killing`, `Evicted`, `Preempted`, `FailedPostStartHook` and others.
    pub reason: String,
    pub message: String,
    /// How often it happened.
    pub count: u32,
    /// When it happened first and last, in seconds since 1970.
    pub first_s: Option<i64>,
    pub last_s: Option<i64>,
    /// The container, if `involvedObject.fieldPath` names one.
    pub container: Option<String>,
}

/// The workload that made a pod: its controller, or the controller of that if its name shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, `CronJob`, `ReplicaSet`, or any other kind; `Node` for a static pod.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Inferred from the controller's name; no object has it.
    pub inferred: bool,
}

/// Request and limit of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryBounds {
    /// `spec`: `resources.requests.memory`.
    pub request_bytes: Option<u64>,
    /// `spec`: `resources.limits.memory`. `None`: no limit, or an unreadable one.
    pub limit_bytes: Option<u64>,
    /// `status`: `resources.limits.memory`: the limit in force on the node, from Kubernetes 1.27 on (always from 1.33). It
    /// differs from the spec's while an in-place resize is under way, or cannot be done.
    pub limit_in_force_bytes: Option<u64>,
}

impl Names {
    /// The policy that holds for the container: its own, else its pod's. An init container is not started again when it is done,
    /// whatever its pod's policy is, and an ephemeral one never (`ShouldContainerBeRestarted` and `computeInitContainerActions`,
    /// `pkg/kubelet`, Kubernetes 1.36).
    #[must_use]
    pub fn restart_policy(&self) -> Option<RestartPolicy> {
        let container = self.container.as_ref();
        let of_pod = self.life.restart_policy;
        container.and_then(|container| container.life.restart_policy).or_else(|| {
            match container.and_then(|container| container.role) {
                Some(ContainerRole::Init) if of_pod == Some(RestartPolicy::Never) => of_pod,
                Some(ContainerRole::Init) => Some(RestartPolicy::OnFailure),
                Some(ContainerRole::Ephemeral) => Some(RestartPolicy::Never),
                _ => of_pod,
            }
        })
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
            memory_volumes: Some(Vec::new()),
            life: ContainerLife::default(),
        }
    }
}

/// No source of names.
#[derive(Clone, Debug)]
pub struct NoNames(pub &'static str);

impl PodNames for NoNames {
    fn find(&mut self, _: Who<'_>) -> Answer {
        Answer { missing: Some(self.0.to_owned()), ..Answer::default() }
    }
}
