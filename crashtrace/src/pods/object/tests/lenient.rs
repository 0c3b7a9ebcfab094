//! Objects that no server should send.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{MAX_CONTAINERS, MAX_IMAGE_BYTES, MAX_NAME_BYTES, MAX_POD_BYTES, PodObject, pod};
use super::recorded;
use crate::names::{Names, ProbeAction};
use crate::pods::life::{MAX_MESSAGE_BYTES, MAX_WORD_BYTES};
use crate::pods::pod::{Container, ContainerKind, MemoryMounts, Pod};

pub(super) const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn read(text: &str) -> PodObject {
    serde_json::from_str(text).expect("JSON is read")
}

pub(super) fn pod_of(object: &Value) -> Pod {
    pod(&read(&object.to_string())).expect("a pod")
}

/// A pod with one container, and its status.
pub(super) fn object(spec: &Value, status: &Value) -> Value {
    json!({
        "metadata": { "uid": "u", "namespace": "n", "name": "p" },
        "spec": { "containers": [spec] },
        "status": { "containerStatuses": [status] },
    })
}

pub(super) fn container_of(spec: &Value, status: &Value) -> Container {
    let pod = pod_of(&object(spec, status));
    let [container] = &*pod.containers else { panic!("one container") };
    container.clone()
}

#[test]
fn a_field_of_another_type_is_absent_and_the_rest_is_read() {
    let wrong = [
        "null",
        "1",
        "-1",
        "1e400",
        "true",
        "\"text\"",
        "[]",
        "[[1]]",
        "{}",
        "{\"a\":1}",
        "\"\\ud800\"",
        "\"\"",
    ];
    for wrong in wrong {
        let text = format!(
            r#"{{"kind":{wrong},"metadata":{{"uid":"u","namespace":"n","name":"p","labels":{wrong},"annotations":{wrong},
            "ownerReferences":{wrong},"resourceVersion":"7"}},
            "spec":{{"restartPolicy":{wrong},"terminationGracePeriodSeconds":"30","initContainers":{wrong},"resources":{wrong},"containers":[{wrong},
                {{"name":"c","image":{wrong},"restartPolicy":{wrong},"livenessProbe":{wrong},
                    "startupProbe":{{"exec":{{}},"grpc":{wrong},"periodSeconds":{wrong},"timeoutSeconds":{wrong},"terminationGracePeriodSeconds":"5"}},"resources":{{"limits":{{"memory":"1Mi","cpu":{wrong}}},"requests":{wrong}}}}},
                {{"name":{wrong}}}]}},
            "status":{{"qosClass":{wrong},"reason":{wrong},"conditions":[{wrong},{{"type":"DisruptionTarget","status":"True","reason":"DeletionByPodGC"}}],"resources":{wrong},"containerStatuses":[{wrong},
                {{"name":"c","containerID":"containerd://{ID}","restartCount":3,"state":{{"terminated":{{"containerID":"{ID}","exitCode":1,"reason":{wrong},"finishedAt":{wrong}}}}},"lastState":{{"terminated":{wrong}}},"resources":{wrong}}}]}}}}"#
        );
        let object = read(&text);
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"), "{wrong}");
        let pod = pod(&object).expect("a pod");
        assert_eq!((&*pod.uid, pod.config_hash, pod.workload, pod.qos), ("u", None, None, None), "{wrong}");
        let container = pod.containers.first().expect("a container");
        assert_eq!((&*container.name, container.id.as_deref()), ("c", Some(ID)), "{wrong}");
        assert_eq!(
            (container.restart_count, container.memory.limit_bytes),
            (Some(3), Some(1 << 20)),
            "{wrong}"
        );
        assert_eq!((container.kind, &container.last_id), (ContainerKind::App, &None), "{wrong}");
        assert_eq!((pod.life.restart_policy, pod.life.grace_seconds), (None, None), "{wrong}");
        assert_eq!(pod.life.disruption.as_deref(), Some("DeletionByPodGC"), "{wrong}");
        let life = &container.life;
        assert_eq!(life.ended.as_ref().and_then(|it| it.exit_code), Some(1), "{wrong}");
        assert_eq!(life.liveness, None, "{wrong}");
        let startup = life.startup.as_ref().map(|it| (it.action, it.failure_threshold, it.grace_seconds));
        assert_eq!(startup, Some((ProbeAction::Exec, 3, None)), "{wrong}");
    }
}

#[test]
fn a_text_that_is_no_object_is_an_empty_one() {
    for text in [
        "null",
        "[]",
        "[[],[],[]]",
        "1e400",
        "\"text\"",
        "{}",
        "{\"metadata\":[\"u\",\"n\",\"p\"],\"spec\":[],\"status\":1}",
    ] {
        assert_eq!(read(text), PodObject::default(), "{text}");
    }
    // Nor does depth overflow a stack.
    let deep = format!("{{\"spec\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read(&deep), PodObject::default());
    assert!(serde_json::from_str::<PodObject>("{\"metadata\":").is_err());
}

#[test]
fn a_pod_without_a_name_is_none() {
    let whole = json!({ "uid": "u", "namespace": "n", "name": "p" });
    for key in ["uid", "namespace", "name"] {
        for bad in [json!(null), json!(""), json!(7), json!("x".repeat(MAX_NAME_BYTES + 1))] {
            let mut metadata = whole.clone();
            metadata[key] = bad;
            assert_eq!(pod(&read(&json!({ "metadata": metadata }).to_string())), None);
        }
    }
    assert!(pod(&read(&json!({ "metadata": whole }).to_string())).is_some());
}

#[test]
fn absurd_numbers_are_absent() {
    for count in ["-1", "4294967296", "1.5", "1e400", "\"1\"", "null"] {
        let text =
            object(&json!({ "name": "c" }), &json!({ "name": "c", "restartCount": "COUNT" })).to_string();
        let pod = pod(&read(&text.replace("\"COUNT\"", count))).expect("a pod");
        assert_eq!(pod.containers[0].restart_count, None, "{count}");
    }
    let bounds = |limit: Value| {
        container_of(&json!({ "name": "c", "resources": { "limits": { "memory": limit } } }), &json!({}))
    };
    for limit in [json!("1e400"), json!("-5Gi"), json!(5), json!(""), json!("0"), json!("8Ei")] {
        assert_eq!(bounds(limit.clone()).memory.limit_bytes, None, "{limit}");
    }
    assert_eq!(bounds(json!("1e3")).memory.limit_bytes, Some(1000));
}

#[test]
fn ids_are_64_hex_digits_of_any_runtime() {
    let id =
        |text: &str| container_of(&json!({ "name": "c" }), &json!({ "name": "c", "containerID": text })).id;
    for runtime in ["containerd://", "cri-o://", "docker://", ""] {
        assert_eq!(id(&format!("{runtime}{ID}")).as_deref(), Some(ID));
    }
    let (short, long, upper) = (&ID[1..], format!("{ID}0"), ID.to_uppercase());
    for bad in ["", "containerd://", short, &long, &upper, &format!("a://b://{ID}"), &"é".repeat(32)] {
        assert_eq!(id(bad), None, "{bad}");
    }
    // A state may name it alone.
    let status =
        json!({ "name": "c", "state": { "terminated": { "containerID": format!("containerd://{ID}") } } });
    assert_eq!(container_of(&json!({ "name": "c" }), &status).id.as_deref(), Some(ID));
}

#[test]
fn strange_names_are_kept_and_long_ones_are_not() {
    let strange = "Not a \u{1b}[31mDNS\u{1b}[0m name\n\u{202e}";
    assert_eq!(&*container_of(&json!({ "name": strange }), &json!({})).name, strange);
    let spec = json!({ "name": "c", "image": "i".repeat(MAX_IMAGE_BYTES) });
    assert_eq!(container_of(&spec, &json!({})).image.map(|image| image.len()), Some(MAX_IMAGE_BYTES));
    let spec = json!({ "name": "c", "image": "i".repeat(MAX_IMAGE_BYTES + 1) });
    assert_eq!(container_of(&spec, &json!({})).image, None);
    let long = object(&json!({ "name": "c".repeat(MAX_NAME_BYTES + 1) }), &json!({}));
    assert!(pod_of(&long).containers.is_empty());
}

#[test]
fn a_second_container_of_a_name_does_not_get_the_firsts_id() {
    let mut object =
        object(&json!({ "name": "c", "image": "first" }), &json!({ "name": "c", "containerID": ID }));
    object["spec"]["ephemeralContainers"] = json!([{ "name": "c" }, { "name": "d" }]);
    // A status of another list is another container's.
    object["status"]["ephemeralContainerStatuses"] =
        json!([{ "name": "d", "restartCount": 2 }, { "name": "c" }]);
    let pod = pod_of(&object);
    let kept: Vec<_> =
        pod.containers.iter().map(|it| (&*it.name, it.kind, it.id.is_some(), it.restart_count)).collect();
    assert_eq!(
        kept,
        [("c", ContainerKind::App, true, None), ("d", ContainerKind::Ephemeral, false, Some(2))]
    );
}

/// The largest pod that can be made: all bounds at once.
#[test]
fn a_huge_pod_is_cut_to_size() {
    let containers = |list: &str| -> Vec<Value> {
        let name = |index| format!("{list}{index:0>width$}", width = MAX_NAME_BYTES - list.len());
        let one = |index| json!({ "name": name(index), "image": "i".repeat(MAX_IMAGE_BYTES) });
        (0..MAX_CONTAINERS - 2).map(one).collect()
    };
    let statuses = |list: &str| -> Vec<Value> {
        let ended = json!({ "terminated": { "containerID": ID, "reason": "r".repeat(MAX_WORD_BYTES), "exitCode": 1 } });
        let one =
            |it: &Value| json!({ "name": it["name"], "containerID": ID, "state": ended, "lastState": ended });
        containers(list).iter().map(one).collect()
    };
    let long = "n".repeat(MAX_NAME_BYTES);
    let volume = json!({ "name": long, "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } });
    let pod = pod_of(&json!({
        "metadata": {
            "uid": long, "namespace": long, "name": long, "annotations": { "kubernetes.io/config.mirror": long },
            "ownerReferences": [{ "kind": long, "name": long, "controller": true }],
        },
        "spec": { "volumes": vec![volume; MAX_CONTAINERS], "initContainers": containers("i"), "containers": containers("a"), "ephemeralContainers": containers("e") },
        "status": { "message": "m".repeat(MAX_MESSAGE_BYTES + 1), "reason": "r".repeat(MAX_WORD_BYTES), "initContainerStatuses": statuses("i"), "containerStatuses": statuses("a") },
    }));
    let kinds: Vec<_> = pod.containers.iter().map(|it| it.kind).collect();
    let init = kinds.iter().filter(|kind| **kind == ContainerKind::Init).count();
    assert_eq!(
        (kinds.len(), init, kinds.last()),
        (MAX_CONTAINERS, MAX_CONTAINERS - 2, Some(&ContainerKind::App))
    );
    assert!(pod.containers.iter().all(|it| it.id.is_some() && it.last_id.is_some()));
    assert_eq!(pod.memory_volumes.len(), MemoryMounts::MOST);
    let bytes = pod.heap_bytes() + size_of::<Pod>();
    assert!(bytes <= MAX_POD_BYTES, "{bytes}");
    // The bound says something.
    assert!(bytes > MAX_POD_BYTES * 9 / 10, "{bytes}");
}

/// Any JSON of a few levels.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof!["1e400", "-5Gi", "4Gi", "Always", "containerd://x"].prop_map(Value::from),
        (0_usize..2000).prop_map(|length| "x".repeat(length).into()),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| {
        let keys = prop_oneof![
            "name",
            "containerID",
            "memory",
            "limits",
            "terminated",
            "exec",
            "reason",
            "exitCode",
            "uid",
            "controller",
            "\\PC{0,6}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((keys, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Where all values of a value are, as JSON pointers.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), into);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                places(item, &format!("{at}/{}", escaped(key)), into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

static LISTED: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let list: Value = serde_json::from_str(recorded::LIST).expect("JSON");
    list["items"].as_array().expect("a list").clone()
});

proptest! {
    /// Another value in place of a part of a real object harms that part alone.
    #[test]
    fn a_mutation_stays_where_it_is(
        which in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        new in any_json(),
    ) {
        let mut object = which.get(LISTED.as_slice()).clone();
        let before = pod_of(&object);
        let mut all = Vec::new();
        places(&object, "", &mut all);
        let place = place.get(&all);
        *object.pointer_mut(place).expect("it is there") = new;
        let after = pod(&read(&object.to_string()));
        prop_assert!(after.iter().all(|pod| pod.heap_bytes() + size_of::<Pod>() <= MAX_POD_BYTES));
        if place.starts_with("/spec") || place.starts_with("/status") {
            let after = after.expect("its names are as they were");
            prop_assert_eq!((&after.uid, &after.namespace, &after.name), (&before.uid, &before.namespace, &before.name));
            prop_assert_eq!(&after.workload, &before.workload);
        }
        if place.starts_with("/spec/containers/0/") || place.starts_with("/status/containerStatuses/0/") {
            let after = pod(&read(&object.to_string())).expect("its names are as they were");
            let others = |pod: &Pod| -> Vec<Container> {
                let first = &before.containers.iter().find(|it| it.kind == ContainerKind::App).expect("one").name;
                pod.containers.iter().filter(|it| it.name != *first && before.containers.iter().any(|old| old.name == it.name)).cloned().collect()
            };
            prop_assert_eq!(others(&after), others(&before));
        }
    }

    /// Also where the text itself is broken: an error or an answer.
    #[test]
    fn broken_text_has_an_answer(
        which in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let lines: Vec<_> = recorded::WATCH.lines().collect();
        let mut bytes = which.get(&lines).as_bytes().to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(object) = serde_json::from_slice::<PodObject>(&bytes) {
            prop_assert!(pod(&object).is_none_or(|pod| pod.heap_bytes() <= MAX_POD_BYTES));
        }
    }
}

#[test]
fn of_volumes_only_those_in_memory_are_kept_each_with_those_who_mount_it() {
    let pod = pod_of(&json!({
        "metadata": { "uid": "u", "namespace": "n", "name": "p" },
        "spec": {
            "volumes": [
                { "name": "disk", "emptyDir": {} },
                { "name": "cache", "emptyDir": { "medium": "Memory" } },
                { "name": "none", "emptyDir": { "medium": "Memory", "sizeLimit": "0" } },
                { "name": "shm", "emptyDir": { "medium": "Memory", "sizeLimit": "64Mi" } },
                { "emptyDir": { "medium": "Memory" } },
                { "name": "huge", "emptyDir": { "medium": "HugePages" } },
            ],
            "containers": [
                { "name": "a", "volumeMounts": [{ "name": "disk" }, { "name": "shm" }, { "mountPath": "/x" }] },
                { "name": "b", "volumeMounts": 7 },
            ],
        },
    }));
    let volumes: Vec<_> = pod.memory_volumes.iter().map(|it| (&*it.name, it.size_limit_bytes)).collect();
    assert_eq!(volumes, [("cache", None), ("none", None), ("shm", Some(64 << 20))]);
    let mounts =
        |at: usize| (0..3).map(|place| pod.containers[at].memory_mounts.has(place)).collect::<Vec<_>>();
    assert_eq!((mounts(0), mounts(1)), (vec![false, false, true], vec![false; 3]));
    let names = Names::of_pod(&pod, None).with_container(&pod.containers[0], None, None);
    let mounted = names.container.and_then(|it| it.memory_volumes).expect("the API server tells");
    assert_eq!(mounted.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["shm"]);
    assert_eq!(names.memory_volumes.map(|all| all.len()), Some(3));
}
