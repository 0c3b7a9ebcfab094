//! What ends a pod and its containers: probes, grace periods, reasons, and how runs ended. PURE.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::{ContainerSpec, ContainerStatus, PodObject, field, id, object, read};
use crate::names::{Probe, ProbeAction, RestartPolicy};
use crate::pods::life::{Ended, MAX_MESSAGE_BYTES, OfContainer, OfPod, cut, seconds, word};

/// A probe in `spec`. One without an action, which the API server does not take, is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProbeSpec {
    /// `exec`.
    #[serde(deserialize_with = "presence")]
    pub exec: Option<Present>,
    /// `httpGet`.
    #[serde(deserialize_with = "presence")]
    pub http_get: Option<Present>,
    /// `tcpSocket`.
    #[serde(deserialize_with = "presence")]
    pub tcp_socket: Option<Present>,
    /// `grpc`.
    #[serde(deserialize_with = "presence")]
    pub grpc: Option<Present>,
    /// `initialDelaySeconds`.
    #[serde(deserialize_with = "field")]
    pub initial_delay_seconds: Option<u32>,
    /// `periodSeconds`.
    #[serde(deserialize_with = "field")]
    pub period_seconds: Option<u32>,
    /// `timeoutSeconds`.
    #[serde(deserialize_with = "field")]
    pub timeout_seconds: Option<u32>,
    /// `failureThreshold`.
    #[serde(deserialize_with = "field")]
    pub failure_threshold: Option<u32>,
    /// `terminationGracePeriodSeconds`.
    #[serde(deserialize_with = "field")]
    pub termination_grace_period_seconds: Option<u32>,
}

/// An object of which only that it is there is read: a probe's command, or the headers of its request, may hold passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {}

/// An element of `status.conditions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `type`.
    #[serde(rename = "type", deserialize_with = "field")]
    pub kind: Option<String>,
    /// `status`: `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "field")]
    pub status: Option<String>,
    /// `reason`.
    #[serde(deserialize_with = "field")]
    pub reason: Option<String>,
}

/// A container's state, where it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// `terminated`.
    #[serde(deserialize_with = "object")]
    pub terminated: Terminated,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Terminated {
    /// `containerID`. `ContainerStatusUnknown` has none: kubelet did not find the container, so that is the status of no run.
    #[serde(rename = "containerID", deserialize_with = "field")]
    pub container_id: Option<String>,
    /// `reason`.
    #[serde(deserialize_with = "field")]
    pub reason: Option<String>,
    /// `exitCode`.
    #[serde(deserialize_with = "field")]
    pub exit_code: Option<i32>,
    /// `finishedAt`.
    #[serde(deserialize_with = "field")]
    pub finished_at: Option<String>,
}

/// Whether there is an object, whatever is in it.
fn presence<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Present>, D::Error> {
    Ok(read(<&RawValue>::deserialize(from)?))
}

/// What the pod's object says of its end.
pub(super) fn of_pod(object: &PodObject) -> OfPod {
    let PodObject { metadata, spec, status } = object;
    let disruption = status.conditions.iter().find(|condition| {
        let is = |text: &Option<String>, wanted: &str| text.as_deref() == Some(wanted);
        is(&condition.kind, "DisruptionTarget") && is(&condition.status, "True")
    });
    OfPod {
        restart_policy: restart_policy(spec.restart_policy.as_ref()),
        grace_seconds: spec.termination_grace_period_seconds,
        deleting: metadata.deletion_timestamp.is_some(),
        deletion_grace_seconds: metadata.deletion_grace_period_seconds,
        reason: status.reason.as_deref().and_then(word),
        message: status
            .message
            .as_deref()
            .map(|text| cut(text, MAX_MESSAGE_BYTES))
            .filter(|text| !text.is_empty()),
        disruption: disruption.and_then(|condition| word(condition.reason.as_deref()?)),
    }
}

/// And of a container's, whose newest run has the id `now`.
pub(super) fn of_container(
    spec: &ContainerSpec,
    status: Option<&ContainerStatus>,
    now: Option<&str>,
) -> OfContainer {
    let newest = status.map(|status| &status.state.terminated);
    let newest = newest.filter(|it| now.is_some() && id(it.container_id.as_ref()).as_deref() == now);
    let last = status.map(|status| &status.last_state.terminated);
    OfContainer {
        restart_policy: restart_policy(spec.restart_policy.as_ref()),
        liveness: probe(&spec.liveness_probe),
        startup: probe(&spec.startup_probe),
        ended: newest.and_then(ended),
        last_ended: last.filter(|it| id(it.container_id.as_ref()).is_some()).and_then(ended),
    }
}

fn ended(terminated: &Terminated) -> Option<Box<Ended>> {
    let ended = Ended {
        reason: terminated.reason.as_deref().and_then(word),
        exit_code: terminated.exit_code,
        finished_at_s: terminated.finished_at.as_deref().and_then(seconds),
    };
    (ended != Ended::default()).then(|| Box::new(ended))
}

fn restart_policy(text: Option<&String>) -> Option<RestartPolicy> {
    match text?.as_str() {
        "Always" => Some(RestartPolicy::Always),
        "OnFailure" => Some(RestartPolicy::OnFailure),
        "Never" => Some(RestartPolicy::Never),
        _ => None,
    }
}

/// With the API server's defaults where it has left them out (`SetDefaults_Probe`, `pkg/apis/core/v1/defaults.go`, Kubernetes 1.20
/// to 1.36).
fn probe(spec: &ProbeSpec) -> Option<Probe> {
    let actions = [
        (ProbeAction::Exec, &spec.exec),
        (ProbeAction::HttpGet, &spec.http_get),
        (ProbeAction::TcpSocket, &spec.tcp_socket),
        (ProbeAction::Grpc, &spec.grpc),
    ];
    let (action, _) = actions.into_iter().find(|(_, present)| present.is_some())?;
    let or = |value: Option<u32>, default: u32| value.filter(|value| *value > 0).unwrap_or(default);
    Some(Probe {
        action,
        initial_delay_seconds: or(spec.initial_delay_seconds, 0),
        period_seconds: or(spec.period_seconds, 10),
        timeout_seconds: or(spec.timeout_seconds, 1),
        failure_threshold: or(spec.failure_threshold, 3),
        grace_seconds: spec.termination_grace_period_seconds,
    })
}
