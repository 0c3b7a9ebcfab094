//! Any content gives a diagnosis, and no text of it reaches a terminal as it is.

use proptest::prelude::*;

use super::recorded::recording;
use super::*;

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop_oneof![
            Just("2026-11-22T08:21:27Z"),
            Just("0001-01-01T00:00:00Z"),
            Just("9999-12-30T22:00:00.9Z"),
            Just("OOMKilled"),
            Just("crashtrace/v1"),
            Just("container_exit"),
            Just("oom_kill"),
        ]
        .prop_map(Value::from),
    ]
}

/// The words of lines, so that something is found.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "schema",
        "id",
        "revision",
        "kind",
        "time",
        "verdict",
        "cause",
        "level",
        "summary",
        "evidence",
        "exit",
        "process",
        "owner",
        "namespace",
        "pod",
        "container",
        "victims",
        "oom",
        "kubernetes",
        "workload",
        "repeats",
        "limit",
        "limit_bytes",
        "restart_count",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..9)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Replaces the value that `way` leads to.
fn replace(value: &mut Value, way: &[usize], with: Value) {
    let below = match value {
        Value::Array(items) if !items.is_empty() => {
            let at = way.first().map_or(0, |step| step % items.len());
            items.get_mut(at)
        }
        Value::Object(fields) if !fields.is_empty() => {
            let at = way.first().map_or(0, |step| step % fields.len());
            fields.values_mut().nth(at)
        }
        _ => None,
    };
    match (below, way) {
        (Some(below), [_, rest @ ..]) => replace(below, rest, with),
        _ => *value = with,
    }
}

fn is_harmless(text: &str) {
    let harmful = text.chars().find(|c| *c != '\n' && crate::harmless::is_harmful(*c));
    assert_eq!(harmful, None, "{text:?}");
}

fn shown(facts: &Facts) {
    let diagnosis = diagnose(facts);
    is_harmless(&render(&diagnosis, facts.now, false));
    serde_json::to_vec(&diagnosis).expect("JSON");
}

proptest! {
    #[test]
    fn any_lines_are_read(values in prop::collection::vec(value(), 0..6), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut reader = lines::Reader::default();
        reader.line(&bytes);
        for mut value in values {
            if let Some(fields) = value.as_object_mut() {
                fields.insert("schema".to_owned(), "crashtrace/v1".into());
            }
            reader.value(value);
        }
        for pod in reader.finish().pods {
            let now = Timestamp::UNIX_EPOCH;
            shown(&Facts { name: pod.name, report: Some(pod.report), ..Facts::nothing(now) });
        }
    }

    #[test]
    fn any_pod_that_is_one_has_a_diagnosis(
        file in prop::sample::select(vec!["traced/live-kill", "untraced/oom-init", "traced/noimg", "traced/deadline"]),
        changes in prop::collection::vec((prop::collection::vec(any::<usize>(), 1..7), leaf()), 1..4),
    ) {
        let mut facts = recording(file, |change| change["type"] != "DELETED");
        let mut pod = serde_json::to_value(&facts.pod).expect("JSON");
        let mut events = serde_json::to_value(&facts.events).expect("JSON");
        for (way, with) in changes {
            replace(&mut pod, &way, with.clone());
            replace(&mut events, &way, with);
        }
        if let Ok(events) = serde_json::from_value(events) {
            facts.events = events;
        }
        if let Ok(pod) = serde_json::from_value(pod) {
            facts.pod = pod;
        }
        shown(&facts);
    }
}
