//! A report's names of a pod, from each source. PURE.

use super::cri::cache::Listed;
use super::life::Ended;
use super::pod::{Container, ContainerKind, Pod};
use crate::names::{ContainerLife, ContainerNames, MemoryBounds, MemoryVolume, Names, PodLife};
use crate::schema::{ContainerRole, NameSource};

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
    /// A pod, from the API server.
    #[must_use]
    pub fn of_pod(pod: &Pod, stale_seconds: Option<u64>) -> Self {
        Self {
            source: NameSource::Kube,
            namespace: Some(pod.namespace.to_string()),
            pod: Some(pod.name.to_string()),
            workload: pod.workload.clone(),
            qos: pod.qos,
            pod_memory: pod_memory(pod),
            pod_limit_is_own: Some(pod.memory.limit_bytes.is_some()),
            shares_pids: Some(pod.shares_pids),
            memory_volumes: Some(pod.memory_volumes.to_vec()),
            life: pod.life.names(),
            container: None,
            stale_seconds,
        }
    }

    /// And of a container in it, in the run with this count of restarts, which ended so if it has.
    #[must_use]
    pub fn with_container(
        self,
        container: &Container,
        restart_count: Option<u32>,
        ended: Option<&Ended>,
    ) -> Self {
        let mounted = |volumes: &Vec<MemoryVolume>| -> Vec<MemoryVolume> {
            let places = volumes.iter().enumerate();
            let mounted = places.filter(|(place, _)| container.memory_mounts.has(*place));
            mounted.map(|(_, volume)| volume.clone()).collect()
        };
        let names = ContainerNames {
            name: Some(container.name.to_string()),
            role: Some(container.kind.into()),
            image: container.image.as_deref().map(str::to_owned),
            restart_count,
            memory: container.memory,
            memory_volumes: self.memory_volumes.as_ref().map(mounted),
            life: container.life.names(ended),
        };
        Self { container: Some(names), ..self }
    }

    /// A container or sandbox, from the runtime.
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
                    memory_volumes: None,
                    life: ContainerLife::default(),
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
            pod_limit_is_own: None,
            shares_pids: None,
            memory_volumes: None,
            life: PodLife::default(),
            container: Some(container),
            stale_seconds,
        }
    }
}

/// A pod's memory request and limit: its own where it has them, else the figure that follows from its containers, as kubelet
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

#[cfg(test)]
pub(crate) mod tests;
