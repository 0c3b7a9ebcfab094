//! Kubernetes Events of incidents: what `kubectl describe pod` shows. PURE.
//!
//! One object for each pod (or the node), container and reason of a session, whose `count` goes up: a crash loop is one Event. Of
//! core/v1: that is what `kubectl describe` and its elders read, in events.k8s.io a series has no message of its own, and the one right
//! is the same. kube's `Recorder` writes events.k8s.io, holds its series for six minutes only, which is less than the pauses of a
//! crash loop, and waits for no bound of a node.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde_json::{Value, json};

use super::digest::{Digest, PodId};
use crate::crash_report::ReportedIncident;
use crate::schema::{Cause, Kind, Level};

/// Characters of an Event's message that the API server takes.
const MAX_NOTE_CHARS: usize = 1024;
/// Series that are remembered.
const MAX_SERIES: usize = 1024;
/// Incidents of a series whose later revisions are known again.
const MAX_IDS: usize = 16;
/// Who says it.
const COMPONENT: &str = "crashtrace";
/// Where Events of the node are.
const NODE_NAMESPACE: &str = "default";

/// What a series of Events is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// `None`: the node.
    pub pod: Option<PodId>,
    pub container: Option<String>,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Series {
    name: String,
    count: u64,
    first: String,
    last: String,
    note: String,
    /// The latest incidents in it.
    ids: Vec<String>,
    /// The server has it.
    is_there: bool,
    turn: u64,
}

/// The series of a session.
#[derive(Debug)]
pub struct EventBook {
    node: String,
    session: String,
    all: BTreeMap<Key, Series>,
    turn: u64,
}

/// A request that writes an Event.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// `POST` to this path.
    Create { path: String, body: Value },
    /// `PATCH` of this path, as a merge.
    Count { path: String, body: Value },
}

impl EventBook {
    #[must_use]
    pub fn new(node: &str, session: &str) -> Self {
        Self { node: node.to_owned(), session: session.to_owned(), all: BTreeMap::new(), turn: 0 }
    }

    /// Takes what a line says of a container, and gives the series that this changes.
    pub fn take(&mut self, digest: &Digest) -> Option<Key> {
        let Digest { pod, container, incident, .. } = digest;
        let key = Key { pod: pod.clone(), container: container.clone(), reason: reason(digest)? };
        self.turn += 1;
        self.make_room(&key);
        let series = self.all.entry(key.clone()).or_default();
        series.turn = self.turn;
        let is_known = series.ids.contains(&incident.id);
        if is_known {
            // The line of the container's end says less than the kill's.
            let note = note(incident);
            if incident.exit.as_ref().is_some_and(|exit| exit.id.is_some()) || note == series.note {
                return None;
            }
            series.note = note;
            return Some(key);
        }
        series.ids.push(incident.id.clone());
        if series.ids.len() > MAX_IDS {
            series.ids.remove(0);
        }
        series.count += incident.weight();
        if series.name.is_empty() {
            series.name = name(&self.session, &self.node, &key);
            series.first = seconds(&incident.time);
        }
        if seconds(&incident.time) >= series.last {
            series.last = seconds(&incident.time);
            series.note = note(incident);
        }
        Some(key)
    }

    /// The request that brings the server up to date.
    #[must_use]
    pub fn write(&self, key: &Key) -> Option<Write> {
        let series = self.all.get(key)?;
        let namespace = key.pod.as_ref().map_or(NODE_NAMESPACE, |pod| &pod.namespace);
        let path = format!("/api/v1/namespaces/{namespace}/events");
        if series.is_there {
            let Series { count, last, note, .. } = series;
            let body = json!({ "count": count, "lastTimestamp": last, "message": note });
            return Some(Write::Count { path: format!("{path}/{}", series.name), body });
        }
        let about = match &key.pod {
            Some(pod) => {
                let container = key.container.as_ref();
                let part = container.map(|container| format!("spec.containers{{{container}}}"));
                json!({
                    "apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid,
                    "fieldPath": part,
                })
            }
            // `kubectl describe node` looks for both, its UID and this.
            None => json!({ "apiVersion": "v1", "kind": "Node", "name": self.node, "uid": self.node }),
        };
        let body = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "namespace": namespace, "name": series.name },
            "involvedObject": about,
            "reason": key.reason,
            "message": series.note,
            "type": "Warning",
            "count": series.count,
            "firstTimestamp": series.first,
            "lastTimestamp": series.last,
            "source": { "component": COMPONENT, "host": self.node },
            "reportingComponent": COMPONENT,
            "reportingInstance": self.node,
        });
        Some(Write::Create { path, body })
    }

    /// Whether the server has it.
    pub fn there(&mut self, key: &Key, is_there: bool) {
        if let Some(series) = self.all.get_mut(key) {
            series.is_there = is_there;
        }
    }

    /// The pod, or its namespace, is gone.
    pub fn forget(&mut self, key: &Key) {
        self.all.remove(key);
    }

    fn make_room(&mut self, key: &Key) {
        while self.all.len() >= MAX_SERIES && !self.all.contains_key(key) {
            let oldest = self.all.iter().min_by_key(|(_, series)| series.turn).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            self.all.remove(&oldest);
        }
    }
}

/// Why, in the form of Kubernetes' own reasons. `None`: Kubernetes did it on purpose, and has said so.
#[must_use]
pub fn reason(digest: &Digest) -> Option<&'static str> {
    Some(match (digest.cause, digest.kind, digest.level) {
        (_, Kind::OomNoKill, _) => "OutOfMemoryWithoutVictim",
        (_, Kind::OomWait, _) => "OutOfMemoryWaiting",
        (Cause::SystemOom, ..) => "OOMKilledNode",
        (Cause::CgroupOom, Kind::OomKill | Kind::ContainerExit, level) => match level {
            Some(Level::Container) => "OOMKilledContainerLimit",
            Some(Level::Pod) => "OOMKilledPodLimit",
            Some(Level::Qos | Level::NodeAllocatable) => "OOMKilledNodeAllocatable",
            Some(Level::HostService | Level::Cgroup | Level::Node) | None => "OOMKilledCgroupLimit",
        },
        (Cause::CgroupOom, ..) => "ChargeFailedAtLimit",
        (Cause::Fragmentation, ..) => "MemoryFragmented",
        (Cause::LowMemory, ..) => "AllocationFailed",
        (Cause::ContainerExit, ..) => "ContainerExited",
        (Cause::Killed, ..) => "KilledByProcess",
        (Cause::HealthCheck, ..) if digest.startup_probe => "StartupProbeKilled",
        (Cause::HealthCheck, ..) => "LivenessProbeKilled",
        (Cause::Unknown, Kind::ContainerExit, _) => "ContainerEnded",
        (Cause::Unknown, ..) => "OutOfMemoryOfUnknownCause",
        (Cause::Stopped, ..) => return None,
    })
}

/// Summary and remedy.
fn note(incident: &ReportedIncident) -> String {
    let ReportedIncident { summary, remedy, .. } = incident;
    let end = if summary.ends_with('.') || remedy.is_empty() { "" } else { "." };
    let space = if remedy.is_empty() { "" } else { " " };
    let note = format!("{summary}{end}{space}{remedy}");
    match note.char_indices().nth(MAX_NOTE_CHARS - 1) {
        Some((at, _)) if note.chars().count() > MAX_NOTE_CHARS => format!("{}\u{2026}", &note[..at]),
        _ => note,
    }
}

/// Times of core/v1 have no fraction.
fn seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

/// A name that no other session and no other series has.
fn name(session: &str, node: &str, key: &Key) -> String {
    let mut hasher = DefaultHasher::new();
    (session, node, key).hash(&mut hasher);
    let of = key.pod.as_ref().map_or(node, |pod| &pod.name);
    // Names have at most 253 bytes, and are of ASCII.
    let of: String = of.chars().take(200).collect();
    format!("{}.{:016x}", of.trim_end_matches(['.', '-']), hasher.finish())
}

#[cfg(test)]
pub(crate) mod tests;
