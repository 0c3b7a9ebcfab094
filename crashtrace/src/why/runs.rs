//! Ended runs of a container: what the status has of them, joined with what crashtrace reported. PURE.
//!
//! The container's id joins them: each run has one of its own. Where one side has no id, the count of restarts or the time does.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::diagnosis::{Incident, IncidentRef, Run, Source};
use super::ended::Told;
use super::facts::{Ended, View};
use super::words::Subject;
use crate::crash_report::{ContainerReport, ReportedIncident};
use crate::phrase::{quoted, size};

/// The status has whole seconds, and the runtime tells kubelet of an end some milliseconds after the kernel saw it.
const SAME_END_S: i64 = 3;
/// A container of which all processes are OOM-killed takes a while to go.
const KILL_BEFORE_END_S: i64 = 10;

/// A container's ended runs and other incidents, each newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    pub(super) ended: Vec<Run>,
    pub(super) incidents: Vec<Incident>,
    /// Ended runs that are counted by the report, and of which it has nothing else any more.
    pub(super) only_counted: u64,
}

/// Joins them. `told` says what the status has of a run.
pub(super) fn join<'a>(
    view: Option<&'a View<'a>>,
    report: Option<&ContainerReport>,
    subject: Subject<'_>,
    told: impl Fn(&'a Ended<'a>) -> Option<Told>,
    ended: &'a [Ended<'a>],
) -> Runs {
    let mut left: Vec<&ReportedIncident> =
        report.map_or_else(Vec::new, |report| report.incidents.iter().collect());
    let mut runs = Vec::new();
    for run in ended {
        let found = left.iter().position(|it| is_end(it) && is_of(it, run, SAME_END_S));
        let found =
            found.or_else(|| left.iter().position(|it| is_kill(it) && is_of(it, run, KILL_BEFORE_END_S)));
        let incident = found.map(|at| left.remove(at));
        match (incident, told(run)) {
            (Some(incident), _) => runs.push(reported(incident, Some(run), subject)),
            (None, Some(told)) => runs.push(by_status(run, told)),
            (None, None) => {}
        }
    }
    let (ends, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|it| is_end(it));
    runs.extend(ends.into_iter().map(|incident| reported(incident, None, subject)));
    if runs.iter().all(|run| run.restart.is_some()) {
        // A run that kubelet lost has no time.
        runs.sort_by_key(|run| std::cmp::Reverse((run.restart, run.ended)));
    } else {
        runs.sort_by_key(|run| std::cmp::Reverse((run.ended, run.restart)));
    }
    let mut incidents: Vec<_> = rest.into_iter().map(incident).collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse(incident.time));
    let counts = report.map(|report| &report.counts);
    let only_counted = counts.map_or(0, |counts| only_counted(counts, &runs, &incidents, view));
    Runs { ended: runs, incidents, only_counted }
}

/// Runs of which the report has only the count. It counts incidents that ended no run too, so the status bounds it.
fn only_counted(
    counts: &BTreeMap<String, u64>,
    runs: &[Run],
    incidents: &[Incident],
    view: Option<&View<'_>>,
) -> u64 {
    let shown = |cause: &str| -> u64 {
        let runs = runs.iter().filter(|run| run.cause == cause && run.source == Source::Crashtrace);
        let incidents =
            incidents.iter().filter(|it| it.cause == cause).map(|it| it.repeats.saturating_add(1));
        runs.map(|run| run.repeats.saturating_add(1)).chain(incidents).fold(0, u64::saturating_add)
    };
    let sum =
        counts.iter().map(|(cause, count)| count.saturating_sub(shown(cause))).fold(0, u64::saturating_add);
    let shown = known(runs);
    sum.min(view.map_or(u64::MAX, |view| u64::from(view.ends()).saturating_sub(shown)))
}

/// How many ends these stand for.
pub(super) fn known(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.repeats.saturating_add(1)).fold(0, u64::saturating_add)
}

/// Whether it is the end of a container's first process.
fn is_end(incident: &ReportedIncident) -> bool {
    incident.exit.is_some() || incident.kind == "container_exit"
}

/// A kill of which no end was reported: of a child, or the end's line did not come.
fn is_kill(incident: &ReportedIncident) -> bool {
    incident.kind == "oom_kill" && !is_end(incident)
}

fn is_of(incident: &ReportedIncident, run: &Ended<'_>, most_s: i64) -> bool {
    let time = incident.exit.as_ref().map_or(incident.time.as_str(), |exit| exit.time.as_str());
    let apart = || {
        let (kernel, status) = (parsed(time)?, run.finished()?);
        Some(status.as_second().saturating_sub(kernel.as_second()).saturating_abs() <= most_s)
    };
    let of_run = incident.run.as_ref();
    let ids = of_run.and_then(|of_run| of_run.container_id.as_deref()).zip(run.container_id());
    if let Some((kernel, status)) = ids {
        // An OOM kill of a child has the id too: the run ended at another time then.
        return kernel == status && (is_end(incident) || apart().unwrap_or(false));
    }
    let restart = of_run.and_then(|of_run| of_run.restart_count);
    restart.is_none_or(|restart| restart == run.restart) && apart().unwrap_or(false)
}

fn parsed(time: &str) -> Option<Timestamp> {
    // With fractions and an offset.
    Some(time).filter(|time| time.len() <= 40)?.parse().ok()
}

fn by_status(run: &Ended<'_>, told: Told) -> Run {
    Run {
        restart: Some(run.restart),
        container_id: run.container_id().map(str::to_owned),
        ended: run.finished(),
        ran_seconds: run.ran_seconds(),
        exit_code: Some(run.by.exit_code),
        signal: None,
        status_reason: Some(run.reason().to_owned()).filter(|reason| !reason.is_empty()),
        source: Source::Status,
        cause: told.cause.name().to_owned(),
        level: None,
        certainty: None,
        ended_by: None,
        limit_bytes: None,
        reason: told.reason,
        summary: told.summary,
        evidence: told.evidence,
        remedy: told.remedy,
        contradictions: told.contradictions,
        incident: None,
        repeats: 0,
    }
}

fn reported(incident: &ReportedIncident, run: Option<&Ended<'_>>, subject: Subject<'_>) -> Run {
    let exit = incident.exit.clone().unwrap_or_default();
    let of_run = incident.run.as_ref();
    let status_reason = run.map(|run| run.reason().to_owned()).filter(|reason| !reason.is_empty());
    let status_reason = status_reason.or_else(|| exit.status_reason.clone());
    let mut contradictions = exit.contradictions.clone();
    if let Some(run) = run.filter(|_| contradictions.is_empty()) {
        contradictions.extend(contradiction(incident, run, subject));
    }
    let kernel = parsed(&exit.time).or_else(|| parsed(&incident.time));
    Run {
        restart: of_run.and_then(|of_run| of_run.restart_count).or(run.map(|run| run.restart)),
        container_id: of_run
            .and_then(|of_run| of_run.container_id.clone())
            .or_else(|| run.and_then(Ended::container_id).map(str::to_owned)),
        ended: kernel.or_else(|| run.and_then(Ended::finished)),
        ran_seconds: exit.ran_seconds.or_else(|| run.and_then(Ended::ran_seconds)),
        exit_code: exit.code.or(run.map(|run| run.by.exit_code)),
        signal: exit.signal.clone(),
        status_reason,
        source: Source::Crashtrace,
        cause: incident.cause.clone(),
        level: incident.level.clone(),
        certainty: Some(incident.certainty.clone()),
        ended_by: exit.ended_by.clone(),
        limit_bytes: incident.limit.as_ref().and_then(|limit| limit.bytes),
        reason: reason(incident),
        summary: incident.summary.clone(),
        evidence: incident.evidence.clone(),
        remedy: incident.remedy.clone(),
        contradictions,
        incident: Some(IncidentRef {
            id: incident.id.clone(),
            revision: incident.revision,
            kind: incident.kind.clone(),
        }),
        repeats: incident.repeats,
    }
}

fn incident(incident: &ReportedIncident) -> Incident {
    Incident {
        id: incident.id.clone(),
        revision: incident.revision,
        kind: incident.kind.clone(),
        time: parsed(&incident.time),
        cause: incident.cause.clone(),
        certainty: incident.certainty.clone(),
        summary: incident.summary.clone(),
        evidence: incident.evidence.clone(),
        remedy: incident.remedy.clone(),
        repeats: incident.repeats,
    }
}

/// Incidents without a container.
pub(super) fn incidents(report: &ContainerReport) -> Vec<Incident> {
    let mut incidents: Vec<_> = report.incidents.iter().map(incident).collect();
    incidents.sort_by_key(|incident| std::cmp::Reverse(incident.time));
    incidents
}

/// Where the status says something else than the kernel, and the report does not tell of it.
fn contradiction(incident: &ReportedIncident, run: &Ended<'_>, subject: Subject<'_>) -> Option<String> {
    let code = incident.exit.as_ref().and_then(|exit| exit.code);
    let by_oom = match incident.exit.as_ref().and_then(|exit| exit.ended_by.as_deref()) {
        Some(by) => by == "oom_killer",
        None => incident.kind == "oom_kill",
    };
    let reason = run.reason();
    if let Some(code) = code.filter(|code| *code != run.by.exit_code) {
        return Some(format!("the status says exit code {}, and the kernel saw {code}", run.by.exit_code));
    }
    match (reason, by_oom) {
        ("OOMKilled", false) => Some(format!(
            "the status says OOMKilled, but the kernel's OOM killer did not end this run of {subject}: the reason is left over from an \
             earlier OOM kill or came from another container of the pod"
        )),
        ("OOMKilled", true) | (_, false) => None,
        (reason, true) => Some(format!(
            "the status says {} with exit code {}, and not OOMKilled, but the kernel's OOM killer ended this run",
            if reason.is_empty() { "nothing".to_owned() } else { quoted(reason) },
            run.by.exit_code
        )),
    }
}

/// The end of the sentence on several restarts.
fn reason(incident: &ReportedIncident) -> String {
    let exit = incident.exit.as_ref();
    let limit = incident.limit.as_ref().and_then(|limit| limit.bytes);
    let of = limit.map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
    match incident.cause.as_str() {
        "cgroup_oom" => match incident.level.as_deref() {
            Some("container") => format!("for its own memory limit{of}"),
            Some("pod") => format!("for its pod's memory limit{of}"),
            Some("qos") => format!("for the memory limit{of} of its QoS class"),
            Some("node_allocatable") => format!("for the memory limit{of} of all pods together"),
            _ => format!("for a memory limit{of}"),
        },
        "system_oom" => "because the node ran out of memory".to_owned(),
        "fragmentation" => "for an allocation that failed: free memory was fragmented".to_owned(),
        "low_memory" => "for an allocation that failed: memory was short".to_owned(),
        "container_exit" => match exit.map(|exit| (exit.signal.as_deref(), exit.code)) {
            Some((Some(signal), _)) => format!("after {}", quoted(signal)),
            Some((None, Some(code))) => format!("after exit code {code}"),
            _ => "by itself".to_owned(),
        },
        "killed" => {
            let signal = exit.and_then(|exit| exit.signal.as_deref()).unwrap_or("a signal");
            format!("by {} from {}", quoted(signal), by(exit.and_then(|exit| exit.ended_by.as_deref())))
        }
        "health_check" => "for a failed health check".to_owned(),
        "stopped" => "because Kubernetes stopped it".to_owned(),
        "unknown" => "for an unknown reason".to_owned(),
        other => format!("for {}", quoted(other)),
    }
}

/// Who, in words; a value of a newer agent as it is.
fn by(ended_by: Option<&str>) -> String {
    match ended_by {
        Some("same_container") => "the same container".to_owned(),
        Some("same_pod") => "another container of the pod".to_owned(),
        Some("other_container") => "another container".to_owned(),
        Some("host") => "a process of the host".to_owned(),
        Some("oom_daemon") => "the node's OOM daemon".to_owned(),
        Some("pid_namespace") => "the kernel, as its pid namespace ended".to_owned(),
        Some("runtime") => "the container runtime".to_owned(),
        Some(other) => quoted(other),
        None => "an unknown sender".to_owned(),
    }
}
