//! Incidents from lines of the stream (`crashtrace/v1`), without a cluster. PURE.
//!
//! The lines may be of an older or a newer agent, so they are read leniently: a field that is absent or another than expected is
//! unknown, a word that this version does not have stays as it is, and a line that is not JSON is counted.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::crash_report::line::{incident, text, workload};
use crate::crash_report::{ContainerReport, CrashReportSpec, Latest, ReportedIncident};

/// What the lines have, by pod.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    pub pods: Vec<PodLines>,
    /// Incidents that name a pod.
    pub incidents: usize,
    /// Lines that are no JSON object.
    pub not_json: u64,
    /// Lines of JSON that are no line of this stream.
    pub other: u64,
    /// The agent's own lines: starts, stops, losses.
    pub of_agents: u64,
    /// Incidents of the host, or of pods whose name is not known.
    pub without_pod: u64,
}

/// A pod's incidents.
#[derive(Clone, Debug, Default)]
pub struct PodLines {
    pub namespace: String,
    pub name: String,
    pub report: CrashReportSpec,
    /// Its controller, for example `Deployment/api`.
    pub workload: Option<String>,
}

/// Takes lines, one at a time.
#[derive(Debug, Default)]
pub struct Reader {
    /// The highest revision of each id.
    by_id: BTreeMap<String, Value>,
    lines: Lines,
}

impl Reader {
    /// A line, without its newline or with it.
    pub fn line(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let Ok(value @ Value::Object(_)) = serde_json::from_slice(line) else {
            self.lines.not_json += 1;
            return;
        };
        self.value(value);
    }

    /// A line that was read.
    pub fn value(&mut self, value: Value) {
        let is_ours = text(&value["schema"]).is_some_and(|schema| schema.starts_with("crashtrace/v1"));
        let Some(id) = text(&value["id"]).filter(|_| is_ours) else {
            *(if is_ours { &mut self.lines.of_agents } else { &mut self.lines.other }) += 1;
            return;
        };
        let revision = |value: &Value| value["revision"].as_u64().unwrap_or(0);
        let is_newer = self.by_id.get(&id).is_none_or(|known| revision(known) < revision(&value));
        if is_newer {
            self.by_id.insert(id, value);
        }
    }

    /// All that the lines say, by pod; the pod with the latest incident first.
    #[must_use]
    pub fn finish(self) -> Lines {
        let (by_id, mut lines) = (self.by_id, self.lines);
        // The kill has the figures, and the end refers to it: together they are one incident.
        let mut ends_of_kills: BTreeMap<String, &Value> = BTreeMap::new();
        for value in by_id.values() {
            let kill = text(&value["exit"]["oom"]["id"]).filter(|kill| by_id.contains_key(kill));
            if let Some(kill) = kill {
                ends_of_kills.insert(kill, value);
            }
        }
        for (id, value) in &by_id {
            let is_told_with_its_kill = text(&value["exit"]["oom"]["id"])
                .and_then(|kill| ends_of_kills.get(&kill))
                .is_some_and(|end| std::ptr::eq(*end, value));
            if is_told_with_its_kill {
                continue;
            }
            let end = ends_of_kills.get(id).copied();
            let owners = owners(value, end);
            if owners.is_empty() {
                lines.without_pod += 1;
            }
            for owner in owners {
                lines.incidents += 1;
                // An OOM of several pods is each one's, but ended only the first process of one container.
                let end = end.filter(|end| is_same(&end["exit"]["process"]["owner"], owner));
                lines.add(owner, incident(value, end, owner), text(&value["node"]));
            }
        }
        for pod in &mut lines.pods {
            pod.close();
        }
        lines.pods.sort_by(|one, other| other.report.latest.time.cmp(&one.report.latest.time));
        lines
    }
}

/// The containers that an incident is about, each once: where it ended, those of the victims, or that of the trigger.
fn owners<'a>(line: &'a Value, end: Option<&'a Value>) -> Vec<&'a Value> {
    let of_victims = || line["victims"].as_array().into_iter().flatten().map(|victim| &victim["owner"]);
    let of_ends = [Some(line), end].into_iter().flatten().map(|line| &line["exit"]["process"]["owner"]);
    let mut owners: Vec<&Value> = Vec::new();
    for owner in of_ends.chain(of_victims()).filter(|owner| has_pod(owner)) {
        // The kernel's victim may be known as the pod's only, and the container's end says which container it was.
        let is_known = |known: &&Value| {
            is_same(known, owner) || (owner["container"].is_null() && known["pod_uid"] == owner["pod_uid"])
        };
        if !owners.iter().any(is_known) {
            owners.push(owner);
        }
    }
    let is_an_end = line["exit"].is_object();
    if owners.is_empty() && !is_an_end && of_victims().next().is_none() {
        let trigger = [&line["trigger"]["owner"], &line["limit"]["owner"]];
        owners.extend(trigger.into_iter().find(|owner| has_pod(owner)));
    }
    owners
}

fn has_pod(owner: &Value) -> bool {
    owner["pod"].is_string()
}

/// The same container of the same pod.
fn is_same(one: &Value, other: &Value) -> bool {
    ["namespace", "pod", "pod_uid", "container", "container_id"]
        .into_iter()
        .all(|name| one[name] == other[name])
}

impl Lines {
    fn add(&mut self, owner: &Value, incident: ReportedIncident, node: Option<String>) {
        let namespace = text(&owner["namespace"]).unwrap_or_default();
        let name = text(&owner["pod"]).unwrap_or_default();
        let uid = text(&owner["pod_uid"]).unwrap_or_default();
        let place = self
            .pods
            .iter()
            .position(|pod| pod.namespace == namespace && pod.name == name && pod.report.pod_uid == uid);
        let place = place.unwrap_or_else(|| {
            let report = CrashReportSpec { pod_uid: uid, ..CrashReportSpec::default() };
            self.pods.push(PodLines { namespace, name, report, workload: None });
            self.pods.len() - 1
        });
        let Some(pod) = self.pods.get_mut(place) else { return };
        pod.workload = pod.workload.take().or_else(|| workload(owner));
        if let Some(node) = node {
            pod.report.node = node;
        }
        let container = text(&owner["container"]);
        let containers = &mut pod.report.containers;
        let place = containers.iter().position(|known| known.name == container).unwrap_or_else(|| {
            containers.push(ContainerReport { name: container, ..ContainerReport::default() });
            containers.len() - 1
        });
        if let Some(container) = containers.get_mut(place) {
            container.incidents.push(incident);
        }
    }
}

impl PodLines {
    /// Sorts, counts, and finds the latest.
    fn close(&mut self) {
        for container in &mut self.report.containers {
            // Times are UTC and of one length: their texts have their order.
            container.incidents.sort_by(|one, other| other.time.cmp(&one.time));
            container.since = container.incidents.last().map(|it| it.time.clone()).unwrap_or_default();
            for incident in &container.incidents {
                let count = container.counts.entry(incident.cause.clone()).or_default();
                *count = count.saturating_add(incident.weight());
            }
        }
        self.report.latest = Latest::of(&self.report.containers).unwrap_or_default();
    }
}
