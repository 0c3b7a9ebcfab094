//! From the API server's Event to a [`PodEvent`]: leniently, and no more of it than is needed. PURE.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::names::PodEvent;
use crate::pods::life::{MAX_WORD_BYTES, cut, seconds};
use crate::pods::object::MAX_NAME_BYTES;
use crate::pods::object::read::{field, object, read};

/// The most Events of a pod that are kept.
pub(super) const MOST_EVENTS: usize = 32;
/// So much is kept of a message. What happened stands at its beginning; what a probe's program wrote is last.
pub(super) const MAX_MESSAGE_BYTES: usize = 512;

/// An Event, as `core/v1` has it. Its fields are those of `shapes::EVENTS`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Written {
    #[serde(deserialize_with = "object")]
    involved_object: Involved,
    #[serde(deserialize_with = "field")]
    reason: Option<String>,
    #[serde(deserialize_with = "field")]
    message: Option<String>,
    #[serde(deserialize_with = "field")]
    count: Option<u32>,
    #[serde(deserialize_with = "field")]
    first_timestamp: Option<String>,
    #[serde(deserialize_with = "field")]
    last_timestamp: Option<String>,
    #[serde(deserialize_with = "field")]
    event_time: Option<String>,
    #[serde(deserialize_with = "object")]
    series: Series,
    #[serde(deserialize_with = "object")]
    source: Source,
    #[serde(deserialize_with = "field")]
    reporting_component: Option<String>,
    #[serde(deserialize_with = "field")]
    reporting_instance: Option<String>,
}

/// Who wrote it. Nothing holds a writer to the truth: whoever may create Events may name any.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Source {
    #[serde(deserialize_with = "field")]
    component: Option<String>,
    #[serde(deserialize_with = "field")]
    host: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Involved {
    #[serde(deserialize_with = "field")]
    uid: Option<String>,
    #[serde(deserialize_with = "field")]
    field_path: Option<String>,
}

/// How Events of `events.k8s.io` are counted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Series {
    #[serde(deserialize_with = "field")]
    count: Option<u32>,
    #[serde(deserialize_with = "field")]
    last_observed_time: Option<String>,
}

/// Controllers that end pods for taints, of Kubernetes before 1.29 and from then on.
const OF_TAINTS: [&str; 2] = ["taint-controller", "taint-eviction-controller"];

/// Whether an Event with this reason is of the component that writes such. A scheduler has the name of its profile.
fn is_from(component: &str, reason: &str) -> bool {
    match reason {
        "TaintManagerEviction" => OF_TAINTS.contains(&component),
        "Preempted" => component == "kubelet" || component.contains("scheduler"),
        _ => component == "kubelet",
    }
}

/// Whether its writer is the one of such Events, and kubelet's is this node. Servers and clients fill in one of two places, or both.
fn is_credible(reason: &str, written: &Written, node: &str) -> bool {
    let named = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let components = [named(&written.source.component), named(&written.reporting_component)];
    let mut components = components.into_iter().flatten().peekable();
    let hosts = [named(&written.source.host), named(&written.reporting_instance)];
    let of_kubelet = components.peek().is_some_and(|component| component == "kubelet");
    components.peek().is_some()
        && components.all(|component| is_from(&component, reason))
        && (!of_kubelet || node.is_empty() || hosts.into_iter().flatten().all(|host| host == node))
}

/// The Event, if it is one of this object, has a reason, and is of the component that writes such.
fn event(json: &[u8], uid: &str, node: &str) -> Option<PodEvent> {
    let json: &RawValue = serde_json::from_slice(json).ok()?;
    let written: Written = read(json)?;
    let reason = written.reason.clone().filter(|reason| (1..=MAX_WORD_BYTES).contains(&reason.len()))?;
    if !is_credible(&reason, &written, node) {
        return None;
    }
    let Written {
        involved_object, message, count, first_timestamp, last_timestamp, event_time, series, ..
    } = written;
    if involved_object.uid.as_deref() != Some(uid) {
        return None;
    }
    let time = |text: Option<&String>| seconds(text?);
    let once = time(event_time.as_ref());
    let first_s = time(first_timestamp.as_ref()).or(once);
    let last_s = time(last_timestamp.as_ref()).max(time(series.last_observed_time.as_ref())).or(once);
    Some(PodEvent {
        reason,
        message: cut(&message.unwrap_or_default(), MAX_MESSAGE_BYTES).into(),
        count: count.max(series.count).unwrap_or_default().max(1),
        first_s,
        last_s: last_s.max(first_s),
        container: involved_object.field_path.as_deref().and_then(container),
    })
}

/// The container's name in `spec.containers{name}`.
fn container(path: &str) -> Option<String> {
    let (list, rest) = path.split_once('{')?;
    let lists = ["spec.containers", "spec.initContainers", "spec.ephemeralContainers"];
    let name = rest.strip_suffix('}').filter(|_| lists.contains(&list))?;
    (1..=MAX_NAME_BYTES).contains(&name.len()).then(|| name.to_owned())
}

/// The latest Events of a list.
#[derive(Debug, Default)]
pub(in crate::pods::kube) struct Latest {
    pub(in crate::pods::kube) list: Vec<PodEvent>,
    /// Those that had no room, or were too large.
    pub(in crate::pods::kube) left_out: usize,
}

impl Latest {
    /// An item of the list, by the kept part of it.
    pub(in crate::pods::kube) fn take(&mut self, json: &[u8], uid: &str, node: &str) {
        let Some(event) = event(json, uid, node) else { return };
        self.list.push(event);
        if self.list.len() > MOST_EVENTS {
            let oldest = self.list.iter().enumerate().min_by_key(|(_, event)| event.last_s);
            if let Some((at, _)) = oldest {
                self.list.swap_remove(at);
            }
            self.left_out += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::pods::kube::shapes;
    use crate::pods::kube::sieve::{Piece, Sieve};

    const LIST: &str = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/kubernetes/api/events-list.json"
    ));

    /// Through the sieve, as they come.
    fn latest(list: &str, uid: &str) -> Latest {
        let (mut sieve, mut bytes) = (Sieve::whole(&shapes::EVENTS, "list"), list.as_bytes());
        let mut latest = Latest::default();
        while !bytes.is_empty() {
            let (taken, piece) = sieve.take(bytes).expect("JSON");
            bytes = &bytes[taken..];
            if let Some(Piece::Item(kept)) = piece {
                latest.take(&kept, uid, "node1");
            }
        }
        latest
    }

    fn of(change: &Value) -> Option<PodEvent> {
        let mut event =
            json!({ "involvedObject": { "uid": "u" }, "reason": "Killing", "reportingComponent": "kubelet" });
        for (key, value) in change.as_object().expect("an object") {
            event[key] = value.clone();
        }
        latest(&json!({ "items": [event] }).to_string(), "u").list.pop()
    }

    #[test]
    fn recorded_events_are_read() {
        let events = latest(LIST, "f9344945-0893-45b6-a750-d5a5c7360d54").list;
        let find = |reason: &str| events.iter().find(|it| it.reason == reason).expect("it is there");
        let expected = PodEvent {
            reason: "Unhealthy".to_owned(),
            message: "Liveness probe failed: cat: can't open '/var/ok': No such file or directory".to_owned(),
            count: 15,
            first_s: Some(1_795_335_687),
            last_s: Some(1_795_336_089),
            container: Some("c".to_owned()),
        };
        assert_eq!(*find("Unhealthy"), expected);
        let killing = find("Killing");
        assert_eq!(
            (killing.message.as_str(), killing.count),
            ("Container c failed liveness probe, will be restarted", 6)
        );
        let evicted = latest(LIST, "ba5ab538-0523-4c24-baee-58789b7c908e").list;
        assert!(evicted.iter().any(|it| it.reason == "Evicted" && it.container.is_none()), "{evicted:?}");
        assert!(latest(LIST, "another").list.is_empty());
    }

    #[test]
    fn events_of_the_newer_api_have_one_time_and_a_series() {
        let event = of(&json!({
            "firstTimestamp": null, "lastTimestamp": null, "eventTime": "2026-11-28T16:29:05.550031Z",
            "series": { "count": 4, "lastObservedTime": "2026-11-28T16:29:15.000000Z" },
        }));
        let event = event.expect("an Event");
        assert_eq!((event.count, event.first_s, event.last_s), (4, Some(1_795_883_345), Some(1_795_883_355)));
        let event = of(&json!({ "eventTime": "2026-11-28T16:29:05.550031Z", "series": null })).expect("one");
        assert_eq!((event.count, event.first_s, event.last_s), (1, Some(1_795_883_345), Some(1_795_883_345)));
    }

    #[test]
    fn an_event_is_of_the_component_that_writes_such_and_of_this_node() {
        let by = |reason: &str, component: &str, reporting: &str, host: &str| {
            let source = json!({ "component": component, "host": host });
            let change = json!({ "reason": reason, "source": source, "reportingComponent": reporting });
            of(&change).is_some()
        };
        for (reason, component, reporting, host, kept) in [
            ("Killing", "kubelet", "kubelet", "node1", true),
            ("Killing", "kubelet", "", "", true),
            ("Killing", "", "kubelet", "", true),
            ("Killing", "", "", "", false),
            ("Killing", "my-operator", "", "node1", false),
            ("Killing", "kubelet", "my-operator", "node1", false),
            ("Killing", "kubelet", "kubelet", "node2", false),
            ("Unhealthy", "default-scheduler", "", "", false),
            ("Preempted", "", "default-scheduler", "", true),
            ("Preempted", "my-operator", "", "", false),
            ("TaintManagerEviction", "taint-eviction-controller", "", "", true),
            ("TaintManagerEviction", "my-operator", "", "", false),
        ] {
            assert_eq!(
                by(reason, component, reporting, host),
                kept,
                "{reason} {component} {reporting} {host}"
            );
        }
    }

    #[test]
    fn what_is_no_event_of_the_pod_is_none() {
        assert!(of(&json!({})).is_some());
        for bad in [
            json!({ "involvedObject": { "uid": "v" } }),
            json!({ "involvedObject": null }),
            json!({ "involvedObject": "u" }),
            json!({ "reason": null }),
            json!({ "reason": "" }),
            json!({ "reason": "r".repeat(MAX_WORD_BYTES + 1) }),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
        let mut latest = Latest::default();
        for bad in [&b""[..], b"null", b"[]", b"\xff", b"{"] {
            latest.take(bad, "u", "node1");
        }
        assert!(latest.list.is_empty());
    }

    #[test]
    fn a_field_of_another_type_is_absent() {
        for wrong in [json!(null), json!(-1), json!(1e300), json!([]), json!({}), json!("text")] {
            let event = of(&json!({
                "count": wrong, "firstTimestamp": wrong, "lastTimestamp": wrong, "eventTime": wrong, "series": wrong,
                "involvedObject": { "uid": "u", "fieldPath": wrong },
            }));
            let event = event.unwrap_or_else(|| panic!("{wrong}"));
            assert_eq!((event.count, event.first_s, event.last_s, event.container), (1, None, None, None));
        }
        let path =
            |path: &str| of(&json!({ "involvedObject": { "uid": "u", "fieldPath": path } }))?.container;
        assert_eq!(path("spec.initContainers{a-b}").as_deref(), Some("a-b"));
        assert_eq!(path("spec.ephemeralContainers{e}").as_deref(), Some("e"));
        for none in ["spec.containers", "spec.containers{}", "spec.containers{a", "metadata{a}", "{a}", ""] {
            assert_eq!(path(none), None, "{none}");
        }
    }

    #[test]
    fn long_messages_keep_their_beginning_and_many_events_the_latest() {
        for filler in ["x", "\u{1}", "ö", "\u{1f600}", "\\", "\""] {
            let text = format!("Liveness probe failed: {}", filler.repeat(20_000));
            let message = of(&json!({ "message": text })).expect("an Event").message;
            assert!(message.starts_with("Liveness probe failed: ") && message.ends_with("..."), "{message}");
            assert!(
                (MAX_MESSAGE_BYTES - 4..=MAX_MESSAGE_BYTES).contains(&message.len()),
                "{}",
                message.len()
            );
        }
        let event = |second: usize| {
            json!({ "involvedObject": { "uid": "u" }, "reason": "Killing", "count": second + 1,
                "source": { "component": "kubelet" },
                "lastTimestamp": format!("2026-11-28T16:29:{second:02}Z") })
        };
        let all: Vec<_> = (0..60).rev().map(event).collect();
        let latest = latest(&json!({ "items": all }).to_string(), "u");
        let mut counts: Vec<_> = latest.list.iter().map(|it| it.count as usize).collect();
        counts.sort_unstable();
        assert_eq!(counts, (61 - MOST_EVENTS..=60).collect::<Vec<_>>());
        assert_eq!(latest.left_out, 60 - MOST_EVENTS);
    }
}
