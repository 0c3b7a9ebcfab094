//! Recorded answers of a real server.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::{PodObject, pod};
use crate::names::MemoryBounds;
use crate::pods::pod::{Container, ContainerKind, Pod};

pub(in crate::pods) const LIST: &str =
    include_str!("../../../../../tests/fixtures/kubernetes/api/pods-list.json");
pub(in crate::pods) const WATCH: &str =
    include_str!("../../../../../tests/fixtures/kubernetes/api/pods-watch.jsonl");
pub(in crate::pods) const WATCH_END: &str =
    include_str!("../../../../../tests/fixtures/kubernetes/api/pods-watch-end.jsonl");

/// As clients of the API declare it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(in crate::pods) enum Event {
    Added(PodObject),
    Modified(PodObject),
    Deleted(PodObject),
    Bookmark(PodObject),
}

/// Clients flatten the type into a list, and serde then buffers the fields that it has no other place for.
#[derive(Deserialize)]
struct List {
    #[serde(flatten)]
    types: HashMap<String, String>,
    #[serde(rename = "metadata")]
    _metadata: IgnoredAny,
    items: Vec<PodObject>,
}

pub(in crate::pods) fn objects() -> Vec<PodObject> {
    let list: List = serde_json::from_str(LIST).expect("a list");
    assert_eq!(list.types.get("kind").map(String::as_str), Some("PodList"));
    list.items
}

pub(in crate::pods) fn list() -> Vec<Pod> {
    objects().iter().map(|object| pod(object).expect("a pod")).collect()
}

pub(in crate::pods) fn events(lines: &str) -> Vec<Event> {
    lines.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

/// The pods that events bring, in order.
fn pods(lines: &str, name: &str) -> Vec<Pod> {
    let of = |event: &Event| match event {
        Event::Added(object) | Event::Modified(object) | Event::Deleted(object) => pod(object),
        Event::Bookmark(_) => None,
    };
    events(lines).iter().filter_map(of).filter(|pod| &*pod.name == name).collect()
}

const MI: u64 = 1 << 20;

/// In Mi.
fn show(bounds: &MemoryBounds) -> String {
    let mi = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| (bytes / MI).to_string());
    format!("{}/{}/{}", mi(bounds.request_bytes), mi(bounds.limit_bytes), mi(bounds.limit_in_force_bytes))
}

fn line(pod: &Pod) -> String {
    let owner = pod.workload.as_ref().map_or("-".to_owned(), |it| {
        format!("{}:{}{}", it.kind, it.name, if it.inferred { "?" } else { "" })
    });
    let container = |it: &Container| {
        let id = it.id.as_deref().map_or("-", |id| &id[..6]);
        let count = it.restart_count.map_or("-".to_owned(), |count| count.to_string());
        format!(" | {} {:?} {id} {} x{count}", it.name, it.kind, show(&it.memory))
    };
    let containers: String = pod.containers.iter().map(container).collect();
    let qos = pod.qos.map_or("-".to_owned(), |qos| format!("{qos:?}"));
    format!("{}/{} {qos} {owner} {}{containers}", pod.namespace, pod.name, show(&pod.memory))
}

/// Memory is request/limit/limit in force, in Mi. `nightly` has no limit in force, since its container has none: its
/// status names 32Mi, which is the ended init container's, and its cgroup was unlimited.
#[test]
fn each_pod_of_the_list_has_these_fields() {
    let lines: Vec<_> = list().iter().map(line).collect();
    let expected = [
        "batch/done BestEffort - -/-/- | c App 6ca5db -/-/- x0",
        "batch/failed Burstable - -/-/- | c App 3e4388 32/32/32 x0",
        "batch/nightly-29395380-x7k2p Burstable CronJob:nightly? -/-/- | fetch Init b1a544 32/32/32 x0 | export App fef048 -/-/- x0",
        "crashtrace/node-agent-9kq7z Burstable DaemonSet:node-agent -/-/- | agent App cf628f 64/128/128 x0",
        "default/besteffort BestEffort - -/-/- | c App 0a12f8 -/-/- x0",
        "default/burstable-nolimit Burstable - -/-/- | c App 1c2b42 16/-/- x0",
        "default/debugged Burstable - -/-/- | c App 7a45e1 32/32/32 x0 | debugger-q8x Ephemeral 5a8f4d -/-/- x0",
        "default/guaranteed Guaranteed - -/-/- | c App f439ab 32/32/32 x0",
        "default/no-image BestEffort - -/-/- | c App - -/-/- x0",
        "default/shared-pid Burstable - -/-/- | a App e19b94 32/32/32 x0 | b App ed0e08 32/32/32 x0",
        "kube-system/static-web-node1 Burstable Node:node1 -/-/- | web App d659e8 16/48/48 x0",
        "shop/cache-0 Guaranteed StatefulSet:cache -/-/- | cache App 14f992 96/96/96 x0",
        "shop/mesh Burstable - -/-/- | setup Init a181f0 16/16/16 x0 | sidecar Sidecar 8a7065 48/48/48 x0 | app App 28896c 64/64/64 x0",
        "shop/podlevel Burstable - 48/96/96 | a App 6018ee -/-/- x0 | b App 77dfc1 -/-/- x0",
        "shop/two Burstable - -/-/- | api App 88c324 64/64/64 x0 | proxy App 58845c 96/96/96 x0",
        "shop/web-7d9c5b8f6d-x2v4k Burstable Deployment:web? -/-/- | web App 0edac3 32/64/64 x0",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len());
}

#[test]
fn names_uids_and_images_are_whole() {
    let pods = list();
    let pod = pods.iter().find(|pod| &*pod.name == "static-web-node1").expect("it is there");
    assert_eq!(&*pod.uid, "689bf48b-bbc3-41a6-9c9d-3803edd8723e");
    assert_eq!(pod.config_hash.as_deref(), Some("349ec37f55eed21f6a216e957a510f10"));
    let [container] = &*pod.containers else { panic!("one container") };
    assert_eq!(container.image.as_deref(), Some("localhost/busybox:1"));
    let id = "d659e834076a8e42f3153d97bc083488ad8c4aab5d712eab5a9edd03595ccaf5";
    assert_eq!((container.id.as_deref(), container.last_id.as_deref()), (Some(id), None));
    assert_eq!(pods.iter().filter(|pod| pod.config_hash.is_some()).count(), 1);
}

#[test]
fn memory_backed_volumes_and_a_shared_pid_namespace_are_read() {
    let pods = list();
    let named = |name: &str| pods.iter().find(|pod| pod.name.starts_with(name)).expect("it is there");
    let cache = named("cache");
    let [volume] = &*cache.memory_volumes else { panic!("one volume: {:?}", cache.memory_volumes) };
    assert_eq!((&*volume.name, volume.size_limit_bytes), ("data", Some(32 * MI)));
    assert!(cache.containers.iter().all(|container| container.memory_mounts.has(0)));
    assert!(named("two").memory_volumes.is_empty());
    let shared: Vec<_> = pods.iter().filter(|pod| pod.shares_pids).map(|pod| &*pod.name).collect();
    assert_eq!(shared, ["shared-pid"]);
}

#[test]
fn bookmarks_are_read_and_are_no_pods() {
    let marks: Vec<_> = events(WATCH)
        .into_iter()
        .filter_map(|event| match event {
            Event::Bookmark(object) => Some(object),
            Event::Added(_) | Event::Modified(_) | Event::Deleted(_) => None,
        })
        .collect();
    assert!(marks.iter().all(|mark| pod(mark).is_none()));
    let (first, last) = (marks.first().expect("a bookmark"), marks.last().expect("a bookmark"));
    assert_eq!(first.metadata.resource_version.as_deref(), Some("422"));
    assert_eq!(first.metadata.annotations.initial_events_end.as_deref(), Some("true"));
    assert_eq!(last.metadata.resource_version.as_deref(), Some("1482"));
    assert_eq!(last.metadata.annotations.initial_events_end, None);
}

/// The new limit is wanted at once, and in force once the node has set it.
#[test]
fn a_resize_in_place_shows_both_limits() {
    let pods = pods(WATCH_END, "web-7d9c5b8f6d-x2v4k");
    let limits = pods.iter().map(|pod| pod.containers[0].memory);
    let limits: Vec<_> = limits.map(|it| (it.limit_bytes, it.limit_in_force_bytes)).collect();
    let (old, new) = (Some(64 * MI), Some(80 * MI));
    assert_eq!(limits[..4], [(new, old), (new, old), (new, new), (new, new)]);
    assert!(pods.iter().all(|pod| pod.containers[0].restart_count == Some(0)));
}

#[test]
fn deletion_shows() {
    let pods = pods(WATCH_END, "oom-pid1");
    assert!(!pods.is_empty() && pods.iter().all(|pod| pod.life.deleting));
    assert!(list().iter().all(|pod| !pod.life.deleting));
}

/// Waiting for the next run, a container still has the id of the dead one; the last run is then the same.
#[test]
fn a_container_that_crashes_keeps_its_id_until_the_next_run() {
    let mut steps = Vec::new();
    for pod in pods(WATCH, "oom-pid1") {
        let container = &pod.containers[0];
        assert_eq!(container.kind, ContainerKind::App);
        let short = |id: &Option<Box<str>>| id.as_deref().map_or("-".to_owned(), |id| id[..6].to_owned());
        let step = (short(&container.id), short(&container.last_id), container.restart_count);
        if steps.last() != Some(&step) {
            steps.push(step);
        }
    }
    let expected = [
        ("-", "-", None),
        ("-", "-", Some(0)),
        ("6c6853", "-", Some(0)),
        ("bbb811", "6c6853", Some(1)),
        ("bbb811", "bbb811", Some(1)),
        ("3683a6", "bbb811", Some(2)),
        ("3683a6", "3683a6", Some(2)),
        ("5316a9", "3683a6", Some(3)),
        ("5316a9", "5316a9", Some(3)),
        ("4e4325", "5316a9", Some(4)),
        ("4e4325", "4e4325", Some(4)),
        ("bff637", "4e4325", Some(5)),
        ("bff637", "bff637", Some(5)),
        ("15f4ff", "bff637", Some(6)),
        ("15f4ff", "15f4ff", Some(6)),
    ];
    let expected = expected.map(|(id, last, count)| (id.to_owned(), last.to_owned(), count));
    assert_eq!(steps, expected);
}

#[test]
fn a_written_object_reads_the_same() {
    for object in objects() {
        let text = serde_json::to_string(&object).expect("it is written");
        assert_eq!(serde_json::from_str::<PodObject>(&text).expect("it is read"), object);
        let value = serde_json::to_value(&object).expect("it is written");
        assert_eq!(serde_json::from_value::<PodObject>(value).expect("it is read"), object);
    }
}
