//! Recorded lists, and lists that lack things.

use std::collections::HashMap;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value;

use super::super::decode::listing;
use super::super::message::{
    Container, ContainerMetadata, ImageSpec, ListContainersResponse, PodSandbox, PodSandboxMetadata,
};
use super::super::{CriContainer, CriState};

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number<T: TryFrom<u64>>(value: &Value) -> T {
    T::try_from(value.as_u64().expect("a number")).ok().expect("it fits")
}

fn labels(value: &Value) -> HashMap<String, String> {
    let all = value.as_object().expect("labels").iter();
    all.map(|(name, value)| (name.clone(), text(value))).collect()
}

fn which(value: &Value, of: &[&str]) -> i32 {
    let at = of.iter().position(|name| value == name).expect("a state of CRI");
    i32::try_from(at).expect("it fits")
}

/// The recorded containers, as the messages that they were.
pub(super) fn containers() -> Vec<Container> {
    let all: Value =
        serde_json::from_str(include_str!("../../../../../tests/fixtures/kubernetes/cri/containers.json"))
            .expect("it is JSON");
    let states = ["CONTAINER_CREATED", "CONTAINER_RUNNING", "CONTAINER_EXITED", "CONTAINER_UNKNOWN"];
    let all = all["containers"].as_array().expect("a list").iter();
    all.map(|it| Container {
        id: text(&it["id"]),
        pod_sandbox_id: text(&it["podSandboxId"]),
        metadata: Some(ContainerMetadata {
            name: text(&it["metadata"]["name"]),
            attempt: number(&it["metadata"]["attempt"]),
        }),
        image: Some(ImageSpec {
            image: text(&it["image"]["image"]),
            user_specified_image: text(&it["image"]["userSpecifiedImage"]),
        }),
        image_ref: text(&it["imageRef"]),
        state: which(&it["state"], &states),
        created_at: text(&it["createdAt"]).parse().expect("a number"),
        labels: labels(&it["labels"]),
    })
    .collect()
}

/// The recorded sandboxes, as the messages that they were.
pub(super) fn sandboxes() -> Vec<PodSandbox> {
    let all: Value =
        serde_json::from_str(include_str!("../../../../../tests/fixtures/kubernetes/cri/sandboxes.json"))
            .expect("it is JSON");
    let all = all["items"].as_array().expect("a list").iter();
    all.map(|it| PodSandbox {
        id: text(&it["id"]),
        metadata: Some(PodSandboxMetadata {
            name: text(&it["metadata"]["name"]),
            uid: text(&it["metadata"]["uid"]),
            namespace: text(&it["metadata"]["namespace"]),
            attempt: number(&it["metadata"]["attempt"]),
        }),
        state: which(&it["state"], &["SANDBOX_READY", "SANDBOX_NOTREADY"]),
        created_at: text(&it["createdAt"]).parse().expect("a number"),
        labels: labels(&it["labels"]),
    })
    .collect()
}

fn only(all: Vec<CriContainer>, pod: &str, name: &str, attempt: u32) -> CriContainer {
    let mut all = all.into_iter().filter(|it| {
        it.pod_name.as_deref() == Some(pod) && it.name.as_deref() == Some(name) && it.attempt == Some(attempt)
    });
    let found = all.next().expect("it is listed");
    assert_eq!(all.next(), None);
    found
}

#[test]
fn a_recorded_container_is_named() {
    let all = listing(sandboxes(), containers()).containers;
    let hog = only(all, "oom-two-containers", "hog", 4);
    let expected = CriContainer {
        id: hog.id.clone(),
        name: Some("hog".to_owned()),
        attempt: Some(4),
        image: Some("localhost/busybox:1".to_owned()),
        pod_uid: hog.pod_uid.clone(),
        namespace: Some("cases".to_owned()),
        pod_name: Some("oom-two-containers".to_owned()),
        sandbox_id: hog.sandbox_id.clone(),
        created_unix_ns: hog.created_unix_ns,
        state: CriState::Exited,
    };
    assert_eq!(hog, expected);
    assert!(hog.id.starts_with("e4805433") && hog.id.len() == 64, "{}", hog.id);
    assert_eq!(hog.pod_uid.as_deref().map(|uid| uid.starts_with("e5ee07d8-")), Some(true));
    // November 2026.
    assert_eq!(hog.created_unix_ns.map(|ns| ns / 1_000_000_000_000_000), Some(1795));
}

#[test]
fn a_static_pod_has_its_hash_for_a_uid_and_both_lives_of_a_container_are_listed() {
    let listing = listing(sandboxes(), containers());
    let web = only(listing.containers.clone(), "static-web-node1", "web", 0);
    let uid = web.pod_uid.expect("a uid");
    assert!(uid.len() == 32 && uid.starts_with("349ec37f5"), "{uid}");
    let killed = only(listing.containers.clone(), "killed-from-host", "c", 0);
    let second = only(listing.containers.clone(), "killed-from-host", "c", 1);
    assert_eq!((killed.state, second.state), (CriState::Exited, CriState::Running));
    assert_eq!(killed.pod_uid, second.pod_uid);
    // A pod without a container has its sandbox only.
    assert!(listing.sandboxes.iter().any(|it| it.pod_name.as_deref() == Some("no-image")));
}

#[test]
fn labels_and_the_sandbox_say_the_same() {
    let with = listing(sandboxes(), containers());
    let bare = containers().into_iter().map(|it| Container { labels: HashMap::new(), ..it }).collect();
    assert_eq!(listing(sandboxes(), bare), with);
    let bare = sandboxes().into_iter().map(|it| PodSandbox { labels: HashMap::new(), ..it }).collect();
    assert_eq!(listing(bare, containers()), with);
    let bare = sandboxes().into_iter().map(|it| PodSandbox { metadata: None, ..it }).collect();
    let without = listing(bare, containers());
    assert_eq!(without.containers, with.containers);
    let names = |all: &[super::super::CriSandbox]| {
        all.iter()
            .map(|it| (it.pod_uid.clone(), it.namespace.clone(), it.pod_name.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&without.sandboxes), names(&with.sandboxes));
}

#[test]
fn what_is_not_said_is_none() {
    let bare =
        Container { id: "a".to_owned(), state: 77, created_at: -62_135_596_800, ..Container::default() };
    let nameless = Container::default();
    let found = listing(Vec::new(), vec![bare, nameless]).containers;
    let expected = CriContainer {
        id: "a".to_owned(),
        name: None,
        attempt: None,
        image: None,
        pod_uid: None,
        namespace: None,
        pod_name: None,
        sandbox_id: None,
        created_unix_ns: None,
        state: CriState::Unknown,
    };
    assert_eq!(found, [expected]);
}

proptest! {
    #[test]
    fn whatever_the_bytes_are_there_is_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = ListContainersResponse::decode(bytes.as_slice()) {
            prop_assert!(listing(Vec::new(), message.containers.clone()).containers.len() <= message.containers.len());
        }
    }
}
