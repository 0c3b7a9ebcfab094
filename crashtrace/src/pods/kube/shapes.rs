//! The fields of the API server's answers that are kept: those of [`PodObject`], and those of the answers around it.
//!
//! [`PodObject`]: crate::pods::object::PodObject

use super::sieve::Shape::{self, Items, List, Object, Scalar, Start};
use crate::pods::object::MAX_CONTAINERS;

/// Owners of a pod that are looked at. One of them is the controller, and more than one are rare.
const MOST_OWNERS: usize = 16;
/// Volumes of a pod, and those mounted in a container, that are looked at.
const MOST_VOLUMES: usize = MAX_CONTAINERS;
/// Conditions of a pod that are looked at: kubelet's half a dozen, and one for each readiness gate.
const MOST_CONDITIONS: usize = 32;

/// A `PodList`.
pub(super) static LIST: Shape = Object(&[
    ("kind", Scalar),
    ("metadata", Object(&[("resourceVersion", Scalar), ("continue", Scalar)])),
    ("items", Items(&POD)),
]);

/// A line of a watch. Its object is a pod, or a `Status`.
pub(super) static EVENT: Shape = Object(&[
    ("type", Scalar),
    (
        "object",
        Object(&[
            ("metadata", METADATA),
            ("spec", SPEC),
            ("status", STATUS),
            ("kind", Scalar),
            ("code", Scalar),
            ("message", Scalar),
            ("details", Object(&[("retryAfterSeconds", Scalar)])),
        ]),
    ),
]);

/// An `EventList`.
pub(super) static EVENTS: Shape = Object(&[
    ("kind", Scalar),
    ("metadata", Object(&[("resourceVersion", Scalar), ("continue", Scalar)])),
    ("items", Items(&EVENT_OF_POD)),
]);

static EVENT_OF_POD: Shape = Object(&[
    ("involvedObject", Object(&[("uid", Scalar), ("fieldPath", Scalar)])),
    ("reason", Scalar),
    ("message", Start),
    ("count", Scalar),
    ("firstTimestamp", Scalar),
    ("lastTimestamp", Scalar),
    ("eventTime", Scalar),
    ("series", Object(&[("count", Scalar), ("lastObservedTime", Scalar)])),
    ("source", Object(&[("component", Scalar), ("host", Scalar)])),
    ("reportingComponent", Scalar),
    ("reportingInstance", Scalar),
]);

static POD: Shape = Object(&[("metadata", METADATA), ("spec", SPEC), ("status", STATUS)]);

const METADATA: Shape = Object(&[
    ("uid", Scalar),
    ("namespace", Scalar),
    ("name", Scalar),
    ("resourceVersion", Scalar),
    ("deletionTimestamp", Scalar),
    ("deletionGracePeriodSeconds", Scalar),
    ("labels", Object(&[("pod-template-hash", Scalar)])),
    (
        "annotations",
        Object(&[("kubernetes.io/config.mirror", Scalar), ("k8s.io/initial-events-end", Scalar)]),
    ),
    ("ownerReferences", List(&OWNER, MOST_OWNERS)),
]);

static OWNER: Shape =
    Object(&[("apiVersion", Scalar), ("kind", Scalar), ("name", Scalar), ("controller", Scalar)]);

const SPEC: Shape = Object(&[
    ("initContainers", CONTAINERS),
    ("containers", CONTAINERS),
    ("ephemeralContainers", CONTAINERS),
    ("resources", RESOURCES),
    ("volumes", List(&VOLUME, MOST_VOLUMES)),
    ("shareProcessNamespace", Scalar),
    ("nodeName", Scalar),
    ("restartPolicy", Scalar),
    ("terminationGracePeriodSeconds", Scalar),
]);

const CONTAINERS: Shape = List(&CONTAINER, MAX_CONTAINERS);

static CONTAINER: Shape = Object(&[
    ("name", Scalar),
    ("image", Scalar),
    ("restartPolicy", Scalar),
    ("livenessProbe", PROBE),
    ("startupProbe", PROBE),
    ("volumeMounts", List(&VOLUME_MOUNT, MOST_VOLUMES)),
    ("resources", RESOURCES),
]);

static VOLUME: Shape =
    Object(&[("name", Scalar), ("emptyDir", Object(&[("medium", Scalar), ("sizeLimit", Scalar)]))]);

static VOLUME_MOUNT: Shape = Object(&[("name", Scalar)]);

const PROBE: Shape = Object(&[
    ("exec", PRESENT),
    ("httpGet", PRESENT),
    ("tcpSocket", PRESENT),
    ("grpc", PRESENT),
    ("initialDelaySeconds", Scalar),
    ("periodSeconds", Scalar),
    ("timeoutSeconds", Scalar),
    ("failureThreshold", Scalar),
    ("terminationGracePeriodSeconds", Scalar),
]);

/// Only that it is there.
const PRESENT: Shape = Object(&[]);

const RESOURCES: Shape = Object(&[("requests", AMOUNTS), ("limits", AMOUNTS)]);

const AMOUNTS: Shape = Object(&[("memory", Scalar)]);

const STATUS: Shape = Object(&[
    ("qosClass", Scalar),
    ("initContainerStatuses", STATUSES),
    ("containerStatuses", STATUSES),
    ("ephemeralContainerStatuses", STATUSES),
    ("resources", RESOURCES),
    ("reason", Scalar),
    ("message", Start),
    ("conditions", List(&CONDITION, MOST_CONDITIONS)),
]);

static CONDITION: Shape = Object(&[("type", Scalar), ("status", Scalar), ("reason", Scalar)]);

const STATUSES: Shape = List(&CONTAINER_STATUS, MAX_CONTAINERS);

static CONTAINER_STATUS: Shape = Object(&[
    ("name", Scalar),
    ("containerID", Scalar),
    ("restartCount", Scalar),
    ("state", STATE),
    ("lastState", STATE),
    ("resources", RESOURCES),
]);

const STATE: Shape = Object(&[("terminated", TERMINATED)]);

const TERMINATED: Shape =
    Object(&[("containerID", Scalar), ("reason", Scalar), ("exitCode", Scalar), ("finishedAt", Scalar)]);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::pods::kube::sieve::{Piece, Sieve};
    use crate::pods::object::PodObject;

    const RECORDED: [&str; 2] = [
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/kubernetes/api/pods-watch.jsonl"
        )),
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/kubernetes/api/pods-watch-end.jsonl"
        )),
    ];

    /// A field that [`PodObject`] has newly and no shape keeps would be absent for ever.
    #[test]
    fn all_fields_that_an_object_reads_are_kept() {
        let mut fields = std::collections::BTreeSet::new();
        for line in RECORDED.iter().flat_map(|recorded| recorded.lines()) {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let (_, piece) = Sieve::lines(&EVENT, "event").take(line.as_bytes()).expect("an event");
            let Some(Piece::Whole(kept)) = piece else { panic!("an event is whole: {line}") };
            let kept: Value = serde_json::from_slice(&kept).expect("JSON");
            assert_eq!(kept["type"], event["type"]);
            let read = |object: &Value| -> PodObject {
                serde_json::from_str(&object.to_string()).expect("an object")
            };
            assert_eq!(read(&kept["object"]), read(&event["object"]), "{line}");
            names(&serde_json::to_value(read(&event["object"])).expect("a value"), &mut fields);
        }
        // Those of which there is none in the recordings would not be missed.
        for field in [
            "pod-template-hash",
            "controller",
            "kubernetes.io/config.mirror",
            "lastState",
            "memory",
            "qosClass",
            "deletionGracePeriodSeconds",
            "terminationGracePeriodSeconds",
            "conditions",
            "volumes",
            "medium",
            "volumeMounts",
            "exitCode",
            "finishedAt",
        ] {
            assert!(fields.contains(field), "no {field} is in the recordings: {fields:?}");
        }
    }

    /// Of which there is none in the recordings of the watch.
    #[test]
    fn a_shared_pid_namespace_and_the_limit_of_a_volume_are_kept() {
        let spec = serde_json::json!({
            "shareProcessNamespace": true,
            "volumes": [{ "name": "cache", "emptyDir": { "medium": "Memory", "sizeLimit": "1Gi" } }],
        });
        let line = format!("{}\n", serde_json::json!({ "type": "ADDED", "object": { "spec": spec } }));
        let (_, piece) = Sieve::lines(&EVENT, "event").take(line.as_bytes()).expect("an event");
        let Some(Piece::Whole(kept)) = piece else { panic!("an event is whole") };
        let kept: Value = serde_json::from_slice(&kept).expect("JSON");
        assert_eq!(kept["object"]["spec"], spec);
    }

    /// The names of all fields in it.
    fn names(value: &Value, into: &mut std::collections::BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                    into.insert(name.clone());
                    names(value, into);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| names(value, into)),
            _ => {}
        }
    }
}
