//! What is read of the API's objects. PURE.
//!
//! k8s-openapi's types read all of a pod, its volumes and affinities too, which is half a megabyte of code in the program. These have
//! the fields that a diagnosis rests on; all may be absent, and all others are passed over.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// A type of the API: each field may be absent or null.
macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name {
                $($(#[$attribute])* #[serde(deserialize_with = "or_default")] pub $field: $type,)*
            }
        )*
    };
}

objects! {
    Pod {
        metadata: ObjectMeta,
        spec: Option<PodSpec>,
        status: Option<PodStatus>,
    }
    ObjectMeta {
        namespace: Option<String>,
        name: Option<String>,
        uid: Option<String>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
        deletion_timestamp: Option<Time>,
        deletion_grace_period_seconds: Option<i64>,
    }
    OwnerReference {
        api_version: String,
        kind: String,
        name: String,
        controller: Option<bool>,
    }
    PodSpec {
        node_name: Option<String>,
        restart_policy: Option<String>,
        termination_grace_period_seconds: Option<i64>,
        init_containers: Option<Vec<Container>>,
        containers: Vec<Container>,
        ephemeral_containers: Option<Vec<Container>>,
    }
    Container {
        name: String,
        image: Option<String>,
        restart_policy: Option<String>,
        resources: Option<Resources>,
        liveness_probe: Option<Probe>,
        readiness_probe: Option<Probe>,
        startup_probe: Option<Probe>,
    }
    Resources {
        /// A quantity is text, or a number.
        limits: Option<BTreeMap<String, serde_json::Value>>,
    }
    /// That there is one is all that is asked.
    Probe {}
    PodStatus {
        phase: Option<String>,
        reason: Option<String>,
        message: Option<String>,
        conditions: Option<Vec<PodCondition>>,
        init_container_statuses: Option<Vec<ContainerStatus>>,
        container_statuses: Option<Vec<ContainerStatus>>,
        ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
    }
    PodCondition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
        reason: Option<String>,
        message: Option<String>,
    }
    ContainerStatus {
        name: String,
        ready: bool,
        started: Option<bool>,
        restart_count: i32,
        state: Option<ContainerState>,
        last_state: Option<ContainerState>,
    }
    ContainerState {
        running: Option<Running>,
        waiting: Option<Waiting>,
        terminated: Option<Terminated>,
    }
    Running {
        started_at: Option<Time>,
    }
    Waiting {
        reason: Option<String>,
        message: Option<String>,
    }
    Terminated {
        #[serde(rename = "containerID")]
        container_id: Option<String>,
        exit_code: i32,
        reason: Option<String>,
        message: Option<String>,
        started_at: Option<Time>,
        finished_at: Option<Time>,
    }
    Event {
        involved_object: ObjectReference,
        reason: Option<String>,
        message: Option<String>,
        count: Option<i32>,
        first_timestamp: Option<Time>,
        last_timestamp: Option<Time>,
        event_time: Option<Time>,
        series: Option<EventSeries>,
    }
    ObjectReference {
        field_path: Option<String>,
    }
    EventSeries {
        count: Option<i32>,
        last_observed_time: Option<Time>,
    }
}

/// The API writes null for what is absent, too.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A time, as the API writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Time(pub Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A list of objects.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
}
