//! What `crashtrace why` has found: the value that is written as JSON (`crashtrace/why/v1`), and that the text is made of.
//!
//! Within the version fields and values may be added; none is renamed or removed. What is not known is null.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Name and version of the shape.
pub const SCHEMA: &str = "crashtrace/why/v1";

/// What is known of a pod's deaths.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    pub schema: &'static str,
    pub namespace: Option<String>,
    pub pod: String,
    pub uid: Option<String>,
    pub node: Option<String>,
    /// The pod's controller, for example `Deployment/api`.
    pub workload: Option<String>,
    /// `status.phase`; null without a status.
    pub phase: Option<String>,
    /// Whether there is anything to explain.
    pub wrong: bool,
    /// The verdict in one sentence.
    pub summary: String,
    /// What holds for the pod as a whole now.
    pub findings: Vec<Finding>,
    /// Its containers: init containers, containers, ephemeral ones, and those that only a report names.
    pub containers: Vec<ContainerDiagnosis>,
    /// Incidents of the pod as a whole, newest first.
    pub incidents: Vec<Incident>,
    /// Other pods of the workload, or of the same name.
    pub others: Vec<OtherPod>,
    /// What was read, and what could not be.
    pub sources: Vec<SourceState>,
}

/// Something that is wrong now, besides the ends of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub cause: &'static str,
    pub summary: String,
    pub evidence: Vec<String>,
    pub remedy: String,
}

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ContainerDiagnosis {
    pub name: String,
    /// `app`, `init`, `sidecar`, `ephemeral`; null without the pod.
    pub role: Option<&'static str>,
    /// What it does now; null without a status.
    pub state: Option<String>,
    /// `restartCount` of its status.
    pub restarts: Option<u32>,
    pub findings: Vec<Finding>,
    /// Its ended runs that are known, newest first.
    pub runs: Vec<Run>,
    /// Ended runs of which neither the status nor a report has anything.
    pub unknown_runs: u32,
    /// Incidents that ended no run, as far as is known; newest first.
    pub incidents: Vec<Incident>,
    pub log: Option<Log>,
    /// How often the report counted each cause: for the verdict, which reports have in a map of their own.
    #[serde(skip)]
    pub counts: std::collections::BTreeMap<String, u64>,
}

/// Where a run's cause is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// crashtrace saw the end in the kernel.
    Crashtrace,
    /// The pod's status and Events alone.
    Status,
}

/// A run of a container that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// How often the container had been restarted before this run.
    pub restart: Option<u32>,
    pub container_id: Option<String>,
    /// When it ended.
    #[serde(serialize_with = "utc")]
    pub ended: Option<Timestamp>,
    pub ran_seconds: Option<u64>,
    pub exit_code: Option<i32>,
    pub signal: Option<String>,
    /// The reason that the status has.
    pub status_reason: Option<String>,
    pub source: Source,
    /// Of crashtrace as in its stream; of the status as in the documents.
    pub cause: String,
    pub level: Option<String>,
    /// `observed` or `inferred`; null of the status, which says neither.
    pub certainty: Option<String>,
    /// Who or what ended it, as in the stream.
    pub ended_by: Option<String>,
    /// The memory limit that was hit.
    pub limit_bytes: Option<u64>,
    /// The sentence's end: `for its own memory limit of 512 MiB`.
    #[serde(skip)]
    pub reason: String,
    pub summary: String,
    pub evidence: Vec<String>,
    pub remedy: String,
    /// Where the status, the Events and the kernel contradict each other.
    pub contradictions: Vec<String>,
    /// The report's incident.
    pub incident: Option<IncidentRef>,
    /// How many further ends of the same kind the incident stands for.
    pub repeats: u64,
}

/// The incident behind a run, as the stream names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IncidentRef {
    pub id: String,
    pub revision: u32,
    pub kind: String,
}

/// An incident that ended no run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    pub id: String,
    pub revision: u32,
    pub kind: String,
    #[serde(serialize_with = "utc")]
    pub time: Option<Timestamp>,
    pub cause: String,
    pub certainty: String,
    pub summary: String,
    pub evidence: Vec<String>,
    pub remedy: String,
    pub repeats: u64,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Of the run before the current one; false: of the current one, which has ended.
    pub previous: bool,
    pub lines: Vec<String>,
    /// Why there are none.
    pub problem: Option<String>,
}

/// Another pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherPod {
    pub namespace: Option<String>,
    pub pod: String,
    /// Of all its containers; null without a status.
    pub restarts: Option<u32>,
    /// When a run of it ended last.
    #[serde(serialize_with = "utc")]
    pub last_ended: Option<Timestamp>,
    pub ready: Option<bool>,
}

/// A source of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    Status,
    CrashReport,
    Events,
    Logs,
    Stream,
    Journal,
}

/// What came of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Read,
    /// The API server has no such object.
    None,
    /// The user has no right to it.
    Forbidden,
    /// The cluster does not know such objects.
    Unsupported,
    Failed,
}

/// A source, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceState {
    pub source: SourceName,
    pub outcome: Outcome,
    /// What the reader should know of it.
    pub note: Option<String>,
}

impl SourceState {
    #[must_use]
    pub fn read(source: SourceName) -> Self {
        Self { source, outcome: Outcome::Read, note: None }
    }

    #[must_use]
    pub fn with(source: SourceName, outcome: Outcome, note: String) -> Self {
        Self { source, outcome, note: Some(note) }
    }
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn utc<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}
