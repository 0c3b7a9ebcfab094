//! What ends a pod and its containers.

use serde_json::{Value, json};

use super::lenient::{ID, container_of, object, pod_of};
use crate::names::{Probe, ProbeAction, RestartPolicy};
use crate::pods::life::{Ended, MAX_MESSAGE_BYTES};

#[test]
fn a_probe_has_the_servers_defaults_where_a_field_is_absent() {
    let probe = |probe: Value| container_of(&json!({ "name": "c", "livenessProbe": probe }), &json!({})).life;
    let defaults = |action| Probe {
        action,
        initial_delay_seconds: 0,
        period_seconds: 10,
        timeout_seconds: 1,
        failure_threshold: 3,
        grace_seconds: None,
    };
    for (field, action) in [
        ("exec", ProbeAction::Exec),
        ("httpGet", ProbeAction::HttpGet),
        ("tcpSocket", ProbeAction::TcpSocket),
        ("grpc", ProbeAction::Grpc),
    ] {
        let life = probe(json!({ field: { "port": 1 } }));
        assert_eq!((life.liveness, life.startup), (Some(defaults(action)), None), "{field}");
    }
    let all = json!({
        "httpGet": {}, "initialDelaySeconds": 5, "periodSeconds": 6, "timeoutSeconds": 7, "failureThreshold": 8,
        "terminationGracePeriodSeconds": 9, "successThreshold": 1,
    });
    let expected = Probe {
        action: ProbeAction::HttpGet,
        initial_delay_seconds: 5,
        period_seconds: 6,
        timeout_seconds: 7,
        failure_threshold: 8,
        grace_seconds: Some(9),
    };
    assert_eq!(probe(all).liveness, Some(expected));
    let zeros = json!({ "exec": {}, "periodSeconds": 0, "timeoutSeconds": 0, "failureThreshold": -1 });
    assert_eq!(probe(zeros).liveness, Some(defaults(ProbeAction::Exec)));
    assert_eq!(probe(json!({ "periodSeconds": 6 })).liveness, None, "without an action it is no probe");
}

#[test]
fn an_end_belongs_to_the_run_that_its_status_names() {
    let (other, unknown) =
        (ID.replace('0', "f"), json!({ "reason": "ContainerStatusUnknown", "exitCode": 137 }));
    let ended = |state: Value, last: Value, id: &str| {
        let status = json!({ "name": "c", "containerID": id, "state": { "terminated": state }, "lastState": { "terminated": last } });
        let life = container_of(&json!({ "name": "c" }), &status).life;
        let code = |it: Option<Box<Ended>>| it.and_then(|it| it.exit_code);
        (code(life.ended), code(life.last_ended))
    };
    let of = |id: &str, code: i32| json!({ "containerID": format!("containerd://{id}"), "exitCode": code });
    assert_eq!(ended(of(ID, 1), of(&other, 2), ID), (Some(1), Some(2)));
    assert_eq!(ended(of(&other, 1), Value::Null, ID), (None, None), "of another run");
    assert_eq!(ended(unknown.clone(), unknown.clone(), ID), (None, None), "of no run");
    assert_eq!(ended(unknown, of(ID, 3), ""), (None, Some(3)));
}

#[test]
fn the_end_of_a_pod_is_read_where_it_is_true() {
    let life = |change: Value| {
        let mut object = object(&json!({ "name": "c", "restartPolicy": "OnFailure" }), &json!({}));
        object["spec"]["restartPolicy"] = json!("Never");
        object["metadata"]["deletionTimestamp"] = json!("2026-11-28T16:30:08Z");
        object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        object["status"]["reason"] = json!("Evicted");
        object["status"]["message"] = json!("m".repeat(1000));
        object["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "True", "reason": "r" }, change]);
        pod_of(&object)
    };
    let target = |status: &str| json!({ "type": "DisruptionTarget", "status": status, "reason": "TerminationByKubelet" });
    let pod = life(target("True"));
    assert_eq!(pod.life.disruption.as_deref(), Some("TerminationByKubelet"));
    assert_eq!((pod.life.restart_policy, pod.life.deleting), (Some(RestartPolicy::Never), true));
    assert_eq!((pod.life.reason.as_deref(), pod.life.deletion_grace_seconds), (Some("Evicted"), Some(0)));
    let message = pod.life.message.expect("a message");
    assert!(message.len() == MAX_MESSAGE_BYTES && message.ends_with("m..."), "{message}");
    assert_eq!(pod.containers[0].life.restart_policy, Some(RestartPolicy::OnFailure));
    assert_eq!(life(target("False")).life.disruption, None);
}
