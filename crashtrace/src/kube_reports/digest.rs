//! An incident's line as the entries of the pods that it is about. PURE.

use serde::Serialize;

use crate::crash_report::{ReportedExit, ReportedIncident, ReportedLimit, Run};
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
    let mut of: Vec<(Option<PodId>, Option<String>, Option<Run>)> = Vec::new();
    for process in parties(line) {
        let owner = process.and_then(|process| process.owner.as_ref());
        let party = match owner {
            Some(owner) => match pod(owner) {
                Some(pod) => (Some(pod), owner.container.as_ref().map(text), Some(run(owner))),
                // A pod without a name: it is not the node's.
                None if is_of_pod(owner) => continue,
                None => (None, None, None),
            },
            None => (None, None, None),
        };
        if !of.iter().any(|(pod, container, _)| (pod, container) == (&party.0, &party.1)) {
            of.push(party);
        }
    }
    let digest = |(pod, container, run)| Digest { pod, container, ..of_line(line, run) };
    of.into_iter().map(digest).collect()
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

fn run(owner: &Owner) -> Run {
    let kubernetes = owner.kubernetes.as_ref();
    let workload = kubernetes.and_then(|it| it.workload.as_ref());
    Run {
        container_id: owner.container_id.as_ref().map(text),
        restart_count: kubernetes.and_then(|it| it.restart_count),
        image: kubernetes.and_then(|it| it.image.as_ref()).map(text),
        workload: workload.map(|it| format!("{}/{}", it.kind.as_str(), it.name.as_str())),
    }
}

fn of_line(line: &Incident, run: Option<Run>) -> Digest {
    let verdict = &line.verdict;
    let kill = line.exit.as_ref().and_then(|exit| exit.oom.as_ref());
    let exit = line.exit.as_ref().map(|exit| ReportedExit {
        id: kill.map(|_| line.id.clone()),
        revision: kill.map(|_| line.revision),
        time: line.time.clone(),
        code: exit.exit_code,
        signal: exit.signal_name.clone(),
        ran_seconds: exit.ran_ns.map(|ns| ns / 1_000_000_000),
        ended_by: exit.ended_by.map(|by| word(&by)),
        status_reason: exit.status.as_ref().and_then(|status| status.reason.clone()),
        contradictions: exit.contradictions.iter().map(|text| cut(text)).collect(),
    });
    let probe = line.exit.as_ref().and_then(|exit| exit.probe.as_ref());
    let limit = line.limit.as_ref().map(|limit| ReportedLimit {
        bytes: limit.limit_bytes,
        usage_bytes: limit.usage_bytes,
        cgroup: cut(limit.cgroup.as_str()),
    });
    Digest {
        pod: None,
        container: None,
        cause: verdict.cause,
        level: verdict.level,
        startup_probe: probe.is_some_and(|probe| probe.kind == ProbeKind::Startup),
        kind: line.kind,
        incident: ReportedIncident {
            id: kill.map_or(&line.id, |kill| &kill.id).clone(),
            revision: line.revision,
            time: kill.map_or(&line.time, |kill| &kill.time).clone(),
            kind: word(&line.kind),
            cause: word(&verdict.cause),
            level: verdict.level.map(|level| word(&level)),
            certainty: word(&verdict.certainty),
            summary: cut(&verdict.summary),
            evidence: verdict.evidence.iter().take(MAX_EVIDENCE).map(|text| cut(text)).collect(),
            remedy: cut(&verdict.remedy),
            repeats: line.repeats,
            exit,
            limit,
            run,
        },
    }
}

fn text(text: &Text) -> String {
    text.as_str().to_owned()
}

/// A value of a closed list by its public name.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A sentence, shortened.
fn cut(text: &str) -> String {
    shorten(text, MAX_SENTENCE_BYTES).unwrap_or_else(|| text.to_owned())
}
