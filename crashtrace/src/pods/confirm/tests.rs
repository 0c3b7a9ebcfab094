use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::names::{MemoryBounds, Workload};
use crate::pods::cri::{CriContainer, CriSandbox, CriState};
use crate::pods::life;
use crate::schema::Qos;

const UID: &str = "2227d2ac-729b-4912-87f5-14f1fda3ef9f";
const OTHER: &str = "242832fb-e8e5-40d4-8e26-ed956de27eb3";
const HASH: &str = "349ec37f55eed21f6a216e957a510f10";

fn who(pod_uid: &str) -> Who<'_> {
    Who { pod_uid, container_id: Some("c"), qos: Some(Qos::Burstable) }
}

fn pod(uid: &str, hash: Option<&str>, node: Option<&str>) -> Pod {
    Pod {
        shares_pids: false,
        memory_volumes: Box::default(),
        uid: uid.into(),
        config_hash: hash.map(Into::into),
        namespace: "shop".into(),
        name: "api-0".into(),
        workload: node.map(|node| Workload { kind: "Node".into(), name: node.into(), inferred: false }),
        qos: Some(Qos::Burstable),
        life: life::OfPod::default(),
        memory: MemoryBounds::default(),
        containers: Box::default(),
    }
}

fn container(uid: Option<&str>, namespace: Option<&str>, name: Option<&str>) -> Listed {
    Listed::Container(Arc::new(CriContainer {
        id: "c".into(),
        name: Some("api".into()),
        attempt: None,
        image: None,
        pod_uid: uid.map(Into::into),
        namespace: namespace.map(Into::into),
        pod_name: name.map(Into::into),
        sandbox_id: None,
        created_unix_ns: None,
        state: CriState::Running,
    }))
}

fn sandbox(uid: Option<&str>) -> Listed {
    Listed::Sandbox(Arc::new(CriSandbox {
        id: "c".into(),
        pod_uid: uid.map(Into::into),
        namespace: Some("shop".into()),
        pod_name: Some("api-0".into()),
        attempt: 0,
        ready: true,
        created_unix_ns: None,
    }))
}

#[test]
fn a_pod_is_believed_by_its_uid_and_class() {
    let against = |pod: &Pod| against_pod(who(UID), pod, Some("n1"));
    assert_eq!(against(&pod(UID, None, None)), None);
    assert_eq!(against(&Pod { qos: None, ..pod(UID, None, None) }), None, "no class says nothing");
    let other = against(&pod(OTHER, None, None)).expect("another pod");
    assert!(other.contains(UID) && other.contains(OTHER) && !other.contains("api-0"), "{other}");
    let class = against(&Pod { qos: Some(Qos::Guaranteed), ..pod(UID, None, None) }).expect("another class");
    assert!(class.contains("Guaranteed") && class.contains("Burstable"), "{class}");
    // An annotation is no UID.
    assert!(against(&pod(OTHER, Some(UID), Some("n1"))).is_some());
}

#[test]
fn a_static_pod_is_believed_by_its_hash_on_its_own_node() {
    let against = |pod: &Pod| against_pod(who(HASH), pod, Some("n1"));
    assert_eq!(against(&pod(OTHER, Some(HASH), Some("n1"))), None);
    for no_mirror in [pod(OTHER, Some(HASH), Some("n2")), pod(OTHER, Some(HASH), None)] {
        assert!(against(&no_mirror).is_some_and(|reason| reason.contains("not of this node")));
    }
    let deployment = Workload { kind: "Deployment".into(), name: "n1".into(), inferred: true };
    assert!(against(&Pod { workload: Some(deployment), ..pod(OTHER, Some(HASH), None) }).is_some());
    assert!(against(&pod(OTHER, Some("00000000000000000000000000000000"), Some("n1"))).is_some());
    assert!(against(&pod(OTHER, None, Some("n1"))).is_some());
}

/// A manifest file may set any UID, in which the systemd driver turns each `-` into `_`.
#[test]
fn a_uid_of_no_known_form_is_compared_as_the_path_has_it() {
    for path in ["my-static-pod", "my_static_pod"] {
        assert_eq!(against_pod(who(path), &pod(OTHER, Some("my-static-pod"), Some("n1")), Some("n1")), None);
        assert_eq!(against_listed(who(path), &container(Some("my-static-pod"), None, None)), None);
        assert!(against_listed(who(path), &container(Some("my-static-po"), None, None)).is_some());
    }
}

#[test]
fn the_runtime_is_believed_by_the_pods_uid() {
    for listed in [container(Some(UID), Some("shop"), Some("api-0")), sandbox(Some(UID))] {
        assert_eq!(against_listed(who(UID), &listed), None);
        let other = against_listed(who(OTHER), &listed).expect("another pod");
        assert!(other.contains(UID) && other.contains(OTHER) && !other.contains("api-0"), "{other}");
    }
    for listed in [container(None, Some("shop"), Some("api-0")), sandbox(None)] {
        assert!(
            against_listed(who(UID), &listed).is_some_and(|reason| reason.contains("does not say which pod"))
        );
    }
}

#[test]
fn both_must_have_one_name() {
    let pod = pod(UID, None, None);
    assert_eq!(against_both(&pod, &container(Some(UID), Some("shop"), Some("api-0"))), None);
    assert_eq!(against_both(&pod, &container(Some(UID), None, None)), None);
    assert!(against_both(&pod, &container(Some(UID), Some("bank"), Some("api-0"))).is_some());
    assert!(against_both(&pod, &container(Some(UID), Some("shop"), Some("api-1"))).is_some());
}

fn uid() -> impl Strategy<Value = String> {
    let known = [UID, OTHER, HASH, "x-y", "x_y", ""].map(str::to_owned).to_vec();
    prop_oneof![proptest::sample::select(known), "[0-9a-f-]{0,36}"]
}

proptest! {
    /// Whatever is known and whatever the path says: without one UID or hash nothing is taken.
    #[test]
    fn nothing_is_believed_of_another_pod(
        path in uid(),
        has in proptest::option::of(uid()),
        hash in proptest::option::of(uid()),
        class in any::<bool>(),
    ) {
        let who = Who { qos: class.then_some(Qos::BestEffort), ..who(&path) };
        let pod = pod(has.as_deref().unwrap_or_default(), hash.as_deref(), Some("n1"));
        let same = |uid: Option<&str>| uid.is_some_and(|uid| uid.replace('-', "_") == path.replace('-', "_"));
        if against_pod(who, &pod, Some("n1")).is_none() {
            prop_assert!(!class && (same(Some(&pod.uid)) || same(hash.as_deref())));
        }
        if against_listed(who, &container(has.as_deref(), None, None)).is_none() {
            prop_assert!(same(has.as_deref()));
        }
    }
}
