//! Recorded lists, and lists that lack things.

use std::collections::HashMap;

use proptest::prelude::*;
use prost::Message as _;
use serde_json::Value;

use super::super::decode::{LONGEST_TEXT, MOST, MOST_BYTES, Of};
use super::super::{CriContainer, CriState, Listing};
use super::message::{
    Container, ContainerMetadata, ImageSpec, ListContainersResponse, ListPodSandboxResponse, PodSandbox,
    PodSandboxMetadata, container, listing, read_in, sandbox,
};

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
fn an_absent_field_is_none() {
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

/// A text for a name or a label, now and then one with a meaning.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => ".{0,8}",
        1 => Just("io.kubernetes.pod.uid".to_owned()),
        1 => Just("io.kubernetes.pod.name".to_owned()),
        1 => Just("io.kubernetes.container.name".to_owned()),
        1 => "[a-z]{30,70}",
    ]
}

fn any_labels() -> impl Strategy<Value = HashMap<String, String>> {
    prop::collection::hash_map(any_text(), any_text(), 0..6)
}

fn any_container() -> impl Strategy<Value = Container> {
    let metadata = prop::option::of((any_text(), any::<u32>()));
    let image = prop::option::of((any_text(), any_text()));
    let numbers = (-1..5_i32, any::<i64>());
    (any_text(), any_text(), metadata, image, any_text(), numbers, any_labels()).prop_map(
        |(id, pod_sandbox_id, metadata, image, image_ref, (state, created_at), labels)| Container {
            id,
            pod_sandbox_id,
            metadata: metadata.map(|(name, attempt)| ContainerMetadata { name, attempt }),
            image: image.map(|(image, user_specified_image)| ImageSpec { image, user_specified_image }),
            image_ref,
            state,
            created_at,
            labels,
        },
    )
}

fn any_sandbox() -> impl Strategy<Value = PodSandbox> {
    let metadata = prop::option::of((any_text(), any_text(), any_text(), any::<u32>()));
    (any_text(), metadata, -1..5_i32, any::<i64>(), any_labels()).prop_map(
        |(id, metadata, state, created_at, labels)| PodSandbox {
            id,
            metadata: metadata.map(|(name, uid, namespace, attempt)| PodSandboxMetadata {
                name,
                uid,
                namespace,
                attempt,
            }),
            state,
            created_at,
            labels,
        },
    )
}

proptest! {
    #[test]
    fn what_is_read_in_pieces_is_what_prost_reads_as_a_whole(
        containers in prop::collection::vec(any_container(), 0..6),
        sandboxes in prop::collection::vec(any_sandbox(), 0..6),
        piece in 1..200_usize,
    ) {
        let mut got = Listing::default();
        let bytes = ListContainersResponse { containers: containers.clone() }.encode_to_vec();
        prop_assert_eq!(read_in(Of::Containers, &bytes, piece, &mut got), Ok(true));
        let bytes = ListPodSandboxResponse { items: sandboxes.clone() }.encode_to_vec();
        prop_assert_eq!(read_in(Of::Sandboxes, &bytes, piece, &mut got), Ok(true));
        prop_assert_eq!(got.containers, containers.into_iter().filter_map(container).collect::<Vec<_>>());
        prop_assert_eq!(got.sandboxes, sandboxes.into_iter().filter_map(sandbox).collect::<Vec<_>>());
        prop_assert_eq!(got.refused, 0);
    }

    #[test]
    fn whatever_the_bytes_are_there_is_an_answer_and_the_pieces_do_not_matter(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x0a), 0..24_u8], 0..200),
        piece in 1..20_usize,
    ) {
        for of in [Of::Containers, Of::Sandboxes] {
            let (mut whole, mut pieces) = (Listing::default(), Listing::default());
            let read = read_in(of, &bytes, bytes.len().max(1), &mut whole);
            prop_assert_eq!(read_in(of, &bytes, piece, &mut pieces), read);
            prop_assert_eq!(pieces, whole);
        }
    }
}

#[test]
fn a_text_that_is_too_long_or_not_utf8_is_absent() {
    let it = Container {
        id: "a".to_owned(),
        pod_sandbox_id: "s".repeat(LONGEST_TEXT),
        image_ref: "i".repeat(LONGEST_TEXT + 1),
        ..Container::default()
    };
    let found = listing(Vec::new(), vec![it]).containers.remove(0);
    assert_eq!((found.sandbox_id.map(|id| id.len()), found.image), (Some(LONGEST_TEXT), None));
    // An id, and an image_ref that is not UTF-8.
    let mut got = Listing::default();
    let read = read_in(Of::Containers, b"\x0a\x07\x0a\x01a\x2a\x02\xff\xfe", 1, &mut got);
    assert_eq!((read, got.containers[0].image.as_deref()), (Ok(true), None));
    // A label whose value stands before its key, and one that is set twice.
    let mut got = Listing::default();
    let mut item = b"\x0a\x01a".to_vec();
    for (first, second) in [("\x12\x01x", KEY), (KEY, "\x12\x01y")] {
        item.extend_from_slice(&[0x42, u8::try_from(first.len() + second.len()).expect("it is short")]);
        item.extend_from_slice(first.as_bytes());
        item.extend_from_slice(second.as_bytes());
        let mut list = vec![0x0a, u8::try_from(item.len()).expect("it is short")];
        list.extend_from_slice(&item);
        assert_eq!(read_in(Of::Containers, &list, 1, &mut got), Ok(true));
    }
    let uids: Vec<_> = got.containers.iter().map(|it| it.pod_uid.as_deref()).collect();
    assert_eq!(uids, [Some("x"), Some("y")]);
}

/// The key of a label.
const KEY: &str = "\x0a\x15io.kubernetes.pod.uid";

#[test]
fn number_and_bytes_are_bounded_and_refused_items_are_counted() {
    let many = |count: usize, image: usize| {
        let one = |at: usize| Container {
            id: at.to_string(),
            image_ref: "i".repeat(image),
            ..Container::default()
        };
        listing(Vec::new(), (0..count).map(one).collect())
    };
    let found = many(MOST + 3, 0);
    assert_eq!((found.containers.len(), found.refused), (MOST, 3));
    let found = many(MOST, LONGEST_TEXT);
    let took = found.containers.len();
    assert!((MOST_BYTES / (LONGEST_TEXT + 512)..MOST).contains(&took), "{took}");
    assert_eq!(found.refused, (MOST - took) as u64);
}
