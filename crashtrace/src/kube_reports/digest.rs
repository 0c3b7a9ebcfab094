//! An incident's line as the entries of the pods that it is about. PURE.

use serde_json::Value;

use crate::crash_report::{self, ReportedIncident};
use crate::schema::{Cause, Incident, Kind, Level, Owner, OwnerKind, ProbeKind, Process, Text, shorten};

/// Bytes of a sentence that are kept.
const MAX_SENTENCE_BYTES: usize = 512;
/// Sentences of evidence that are kept.
const MAX_EVIDENCE: usize = 8;

/// A pod by its names and the id that its cgroups have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodId {
    pub namespace: String,
    pub name: String,
    /// Its UID or, of a static pod, its config hash.
    pub uid: String,
}

/// What a line says of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Digest {
    /// The pod; `None` for an incident of the node, outside of pods.
    pub pod: Option<PodId>,
    /// The container; `None` for the pod as a whole, or the node.
    pub container: Option<String>,
    /// The cause, as the entry has it as text.
    pub cause: Cause,
    /// Whose limit was hit.
    pub level: Option<Level>,
    /// A probe's kind, of a failed health check.
    pub startup_probe: bool,
    pub kind: Kind,
    /// The entry. Of the line of a container's end which belongs to an OOM kill `id` is that kill's, and `exit` has the line's.
    pub incident: ReportedIncident,
}

/// The entries of a line: one for each container that it is about.
#[must_use]
pub fn digests(line: &Incident) -> Vec<Digest> {
    let json = serde_json::to_value(line).unwrap_or_default();
    let mut digests: Vec<Digest> = Vec::new();
    for process in parties(line) {
        let owner = process.and_then(|process| process.owner.as_ref());
        let pod = owner.and_then(pod);
        // A pod without a name: it is not the node's.
        if pod.is_none() && owner.is_some_and(is_of_pod) {
            continue;
        }
        let container = owner.filter(|_| pod.is_some()).and_then(|owner| owner.container.as_ref()).map(text);
        if !digests.iter().any(|known| (&known.pod, &known.container) == (&pod, &container)) {
            let owner = serde_json::to_value(owner).unwrap_or_default();
            digests.push(Digest { pod, container, ..of_line(line, &json, &owner) });
        }
    }
    digests
}

/// The processes that a line is about. One that is `None` stands for the node.
fn parties(line: &Incident) -> Vec<Option<&Process>> {
    match line.kind {
        Kind::ContainerExit => line.exit.iter().map(|exit| Some(&exit.process)).collect(),
        Kind::OomKill if !line.victims.is_empty() => line.victims.iter().map(Some).collect(),
        Kind::OomKill
        | Kind::OomNoKill
        | Kind::OomWait
        | Kind::AllocFailure
        | Kind::VmallocFailure
        | Kind::ChargeFailure
        | Kind::OtherAllocFailure => vec![line.trigger.as_ref()],
    }
}

fn pod(owner: &Owner) -> Option<PodId> {
    let [namespace, name, uid] = [&owner.namespace, &owner.pod, &owner.pod_uid].map(Option::as_ref);
    Some(PodId { namespace: text(namespace?), name: text(name?), uid: text(uid?) })
}

fn is_of_pod(owner: &Owner) -> bool {
    owner.pod_uid.is_some() || matches!(owner.kind, OwnerKind::Container | OwnerKind::Pod)
}

fn of_line(line: &Incident, json: &Value, owner: &Value) -> Digest {
    let verdict = &line.verdict;
    let mut incident = crash_report::line::incident(json, None, owner);
    if let (Some(kill), Some(exit)) = (line.exit.as_ref().and_then(|it| it.oom.as_ref()), &mut incident.exit)
    {
        (exit.id, exit.revision) = (Some(line.id.clone()), Some(line.revision));
        (incident.id, incident.time) = (kill.id.clone(), kill.time.clone());
    }
    shorten_all(&mut incident);
    let probe = line.exit.as_ref().and_then(|exit| exit.probe.as_ref());
    Digest {
        pod: None,
        container: None,
        cause: verdict.cause,
        level: verdict.level,
        startup_probe: probe.is_some_and(|probe| probe.kind == ProbeKind::Startup),
        kind: line.kind,
        incident,
    }
}

/// Shortens what may be long, so that ten incidents of a container fit an object.
fn shorten_all(incident: &mut ReportedIncident) {
    let ReportedIncident { summary, evidence, remedy, exit, limit, .. } = incident;
    evidence.truncate(MAX_EVIDENCE);
    let contradictions = exit.iter_mut().flat_map(|exit| &mut exit.contradictions);
    let paths = limit.iter_mut().map(|limit| &mut limit.cgroup);
    for text in [summary, remedy].into_iter().chain(evidence).chain(contradictions).chain(paths) {
        if let Some(short) = shorten(text, MAX_SENTENCE_BYTES) {
            *text = short;
        }
    }
}

fn text(text: &Text) -> String {
    text.as_str().to_owned()
}
