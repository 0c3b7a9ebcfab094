use super::*;
use crate::names::{ContainerLife, MemoryBounds, NamesState, NamesStatus, PodLife, Workload};

use crate::pods::life;
use crate::pods::pod::MemoryMounts;

const MIB: u64 = 1 << 20;

fn container(kind: ContainerKind, limit: Option<u64>) -> Container {
    Container {
        memory_mounts: MemoryMounts::default(),
        name: "c".into(),
        kind,
        id: None,
        last_id: None,
        image: None,
        restart_count: Some(0),
        memory: MemoryBounds { limit_bytes: limit, request_bytes: Some(MIB), limit_in_force_bytes: None },
        life: life::OfContainer::default(),
    }
}

fn pod(memory: MemoryBounds, containers: Vec<Container>) -> Pod {
    Pod {
        shares_pids: false,
        memory_volumes: Box::default(),
        uid: "u".into(),
        config_hash: None,
        namespace: "shop".into(),
        name: "api".into(),
        workload: None,
        qos: None,
        life: life::OfPod::default(),
        memory,
        containers: containers.into(),
    }
}

/// The status of a source that has only these.
pub(crate) fn status(source: NameSource, state: NamesState) -> NamesStatus {
    NamesStatus {
        source,
        state,
        problem: None,
        pods: None,
        containers: None,
        refused_pods: None,
        age_seconds: None,
    }
}

/// Container `api` of pod `shop/api-7f9c`, by the API server.
pub(crate) fn shop(memory: MemoryBounds) -> Names {
    let container = ContainerNames {
        memory_volumes: None,
        name: Some("api".into()),
        role: Some(ContainerRole::App),
        image: Some("registry/api:1".into()),
        restart_count: Some(3),
        memory,
        life: ContainerLife::default(),
    };
    Names {
        pod_limit_is_own: Some(false),
        shares_pids: Some(false),
        memory_volumes: None,
        source: NameSource::Kube,
        namespace: Some("shop".into()),
        pod: Some("api-7f9c".into()),
        workload: Some(Workload { kind: "Deployment".into(), name: "api".into(), inferred: true }),
        qos: None,
        pod_memory: memory,
        life: PodLife::default(),
        container: Some(container),
        stale_seconds: None,
    }
}

/// As kubelet wrote it into the cgroups of the recorded pods.
#[test]
fn a_pods_limit_is_the_sum_of_containers_that_run_together() {
    use ContainerKind::{App, Ephemeral, Init, Sidecar};
    for (what, containers, expected) in [
        ("two", vec![(App, Some(64)), (App, Some(32))], Some(96)),
        ("one has none", vec![(App, Some(64)), (App, None)], None),
        ("a sidecar counts", vec![(Sidecar, Some(16)), (App, Some(64))], Some(80)),
        ("a small init container does not", vec![(Init, Some(16)), (App, Some(64))], Some(64)),
        ("a large one does", vec![(Init, Some(128)), (App, Some(64))], Some(128)),
        (
            "beside the sidecar before it",
            vec![(Sidecar, Some(8)), (Init, Some(128)), (App, Some(1))],
            Some(136),
        ),
        ("not the one after it", vec![(Init, Some(128)), (Sidecar, Some(8)), (App, Some(1))], Some(128)),
        ("an ephemeral one has none of its own", vec![(App, Some(64)), (Ephemeral, None)], Some(64)),
        ("none at all", vec![], None),
    ] {
        let containers = containers.into_iter().map(|(kind, mib)| container(kind, mib.map(|mib| mib * MIB)));
        let pod = pod(MemoryBounds::default(), containers.collect());
        assert_eq!(pod_memory(&pod).limit_bytes, expected.map(|mib: u64| mib * MIB), "{what}");
    }
}

#[test]
fn a_pods_own_limit_goes_before_its_containers() {
    let own = MemoryBounds { limit_bytes: Some(40 * MIB), ..MemoryBounds::default() };
    let pod = pod(own, vec![container(ContainerKind::App, Some(64 * MIB))]);
    let memory = pod_memory(&pod);
    assert_eq!((memory.limit_bytes, memory.request_bytes), (Some(40 * MIB), Some(MIB)));
}

#[test]
fn sums_of_absurd_numbers_stay_numbers() {
    let pod = pod(
        MemoryBounds::default(),
        vec![
            container(ContainerKind::App, Some(u64::MAX)),
            container(ContainerKind::Sidecar, Some(u64::MAX)),
        ],
    );
    assert_eq!(pod_memory(&pod).limit_bytes, Some(u64::MAX));
}
