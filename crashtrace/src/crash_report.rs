//! `CrashReport`, the object that the API server keeps of a pod's deaths: its type, from which the CRD in `deploy/reports` is made.
//!
//! One object for each pod, with the pod's name and owned by it, so that it goes with the pod. What is in it is the stream's
//! (`crashtrace/v1`), shortened to what `kubectl` and `crashtrace why` show: the latest incidents of each container, and how many there
//! were of each cause. Values that are a closed list in the stream are plain strings here: an agent that is newer than the cluster's CRD
//! must not be refused for a word that the CRD lacks.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod line;

/// Group of the API.
pub const GROUP: &str = "crashtrace.dev";
/// Its version.
pub const VERSION: &str = "v1alpha1";
/// The resource in paths and in RBAC.
pub const PLURAL: &str = "crashreports";

/// Incidents of a container that are kept.
pub const MAX_INCIDENTS: usize = 10;
/// Bytes of an object's `spec` as JSON, at most.
pub const MAX_BYTES: usize = 32 << 10;

/// Why the containers of a pod died, by crashtrace.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "crashtrace.dev",
    version = "v1alpha1",
    kind = "CrashReport",
    plural = "crashreports",
    namespaced,
    derive = "PartialEq",
    printcolumn = r#"{"name":"Pod","type":"string","jsonPath":".metadata.name"}"#,
    printcolumn = r#"{"name":"Container","type":"string","jsonPath":".spec.latest.container"}"#,
    printcolumn = r#"{"name":"Cause","type":"string","jsonPath":".spec.latest.cause"}"#,
    printcolumn = r#"{"name":"Times","type":"integer","jsonPath":".spec.latest.count"}"#,
    printcolumn = r#"{"name":"Last","type":"date","jsonPath":".spec.latest.time"}"#,
    printcolumn = r#"{"name":"Node","type":"string","jsonPath":".spec.node"}"#,
    printcolumn = r#"{"name":"Summary","type":"string","jsonPath":".spec.latest.summary"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct CrashReportSpec {
    /// Name of the node whose agent writes this.
    pub node: String,
    /// UID of the pod; of a static pod its mirror's. A pod of the same name with another UID is another pod: this object is then begun anew.
    pub pod_uid: String,
    /// The latest incident of all containers.
    pub latest: Latest,
    /// The containers that had an incident, by name.
    pub containers: Vec<ContainerReport>,
    /// Incidents or parts of them were left out to keep the object small; `counts` have them all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// What `kubectl get crashreports` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latest {
    /// The container; absent if the incident is the pod's as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Why: `system_oom`, `cgroup_oom`, `fragmentation`, `low_memory`, `container_exit`, `killed`, `health_check`, `stopped`, `unknown`.
    pub cause: String,
    /// How often this container had an incident of this cause.
    pub count: u64,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// One sentence.
    pub summary: String,
}

/// A container's incidents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerReport {
    /// Its name; absent for incidents of the pod as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many incidents there were of each cause since `since`. A death by OOM is one, though the stream has a line for the kill and
    /// one for the container's end.
    pub counts: BTreeMap<String, u64>,
    /// The first incident that is counted, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
    /// The latest incidents, newest first, at most ten.
    pub incidents: Vec<ReportedIncident>,
}

/// An incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedIncident {
    /// The stream's `id`: the same for good. Of a death by OOM the kill's.
    pub id: String,
    /// The stream's `revision`: a higher one has replaced a lower one.
    pub revision: u32,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// What happened: `oom_kill`, `container_exit`, ... as in the stream.
    pub kind: String,
    /// Why.
    pub cause: String,
    /// Whose limit was hit: `container`, `pod`, `qos`, `node_allocatable`, `host_service`, `cgroup`, `node`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// `observed` or `inferred`.
    pub certainty: String,
    /// One sentence.
    pub summary: String,
    /// The facts that this rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
    /// How many further incidents of the same kind this one stands for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// How the container's first process ended; absent if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ReportedExit>,
    /// The limit that was hit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ReportedLimit>,
    /// The run of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

/// How a container's first process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedExit {
    /// The stream's `id` of the end, where that is not the incident's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its `revision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u32>,
    /// When it ended, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The code that `kubectl` shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that it ended by, for example `SIGKILL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// How long it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran_seconds: Option<u64>,
    /// Who or what ended it: `itself`, `fault`, `oom_killer`, `runtime`, ... as in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// The reason that the container's status has, for example `Error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// Where the status, the Events and the kernel contradict each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contradictions: Vec<String>,
}

/// The limit that was hit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReportedLimit {
    /// The limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// In use at the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    /// The path of its cgroup.
    pub cgroup: String,
}

/// The run of a container that an incident belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Id of the container, without the runtime's prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// How often the container had been restarted before this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_count: Option<u32>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The pod's controller, for example `Deployment/api`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

impl Latest {
    /// The latest incident of these containers, whose incidents are newest first.
    #[must_use]
    pub fn of(containers: &[ContainerReport]) -> Option<Self> {
        let newest = containers.iter().filter_map(|report| Some((report, report.incidents.first()?)));
        // Times are UTC and of one length: their texts have their order.
        let (report, incident) = newest.max_by(|(_, one), (_, other)| one.time.cmp(&other.time))?;
        Some(Self {
            container: report.name.clone(),
            cause: incident.cause.clone(),
            count: report.counts.get(&incident.cause).copied().unwrap_or_default(),
            time: incident.time.clone(),
            summary: incident.summary.clone(),
        })
    }
}

impl ReportedIncident {
    /// How many incidents it stands for, itself included.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.repeats.saturating_add(1)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use kube::{CustomResourceExt as _, Resource as _};

    use super::*;

    #[test]
    fn the_names_in_paths_are_those_of_the_crd() {
        let crd = CrashReport::crd();
        assert_eq!(crd.metadata.name.as_deref(), Some(format!("{PLURAL}.{GROUP}").as_str()));
        assert_eq!((crd.spec.group.as_str(), crd.spec.names.plural.as_str()), (GROUP, PLURAL));
        let versions: Vec<_> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
        assert_eq!(versions, [VERSION]);
        assert_eq!(CrashReport::api_version(&()), format!("{GROUP}/{VERSION}"));
    }
}
