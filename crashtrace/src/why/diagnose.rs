//! From facts to a diagnosis. PURE.

use super::cause::Cause;
use super::diagnosis::{ContainerDiagnosis, Diagnosis, Incident, SCHEMA};
use super::ended::{Scene, tell};
use super::events::Events;
use super::facts::{Ended, Facts, View, phase, time, views, workload};
use super::runs::{self, Runs};
use super::summary::summary;
use super::trouble::{self, Around};
use super::words::{Subject, ago, seconds, seconds_since};
use crate::crash_report::ContainerReport;
use crate::phrase::quoted;

/// What is known of the pod.
#[must_use]
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let events = Events::of(&facts.events);
    let views = facts.pod.as_ref().map(views).unwrap_or_default();
    let mut containers: Vec<_> = views.iter().map(|view| container(facts, view, &events)).collect();
    let mut incidents: Vec<Incident> = Vec::new();
    for report in facts.report.iter().flat_map(|report| &report.containers) {
        match &report.name {
            Some(name) if views.iter().any(|view| view.name == name) => {}
            Some(name) => containers.push(only_reported(facts, name, report)),
            None => incidents.extend(runs::incidents(report)),
        }
    }
    let pod = facts.pod.as_ref();
    let findings = pod.map_or_else(Vec::new, |pod| {
        let of = |name: &str| containers.iter().find(|it| it.name == name).map(|it| it.runs.clone());
        trouble::of_pod(pod, &views, &events, |name| of(name).unwrap_or_default())
    });
    if let Some(only) = &facts.container {
        containers.retain(|container| container.name == *only);
    }
    let report = facts.report.as_ref();
    let mut diagnosis = Diagnosis {
        schema: SCHEMA,
        namespace: facts.namespace.clone(),
        pod: facts.name.clone(),
        uid: pod
            .and_then(|pod| pod.metadata.uid.clone())
            .or_else(|| report.map(|report| report.pod_uid.clone()))
            .filter(|uid| !uid.is_empty()),
        node: pod
            .and_then(|pod| pod.spec.as_ref()?.node_name.clone())
            .or_else(|| report.map(|report| report.node.clone()))
            .filter(|node| !node.is_empty()),
        workload: pod.and_then(workload).or_else(|| {
            let incidents = report?.containers.iter().flat_map(|container| &container.incidents);
            incidents.filter_map(|it| it.run.as_ref()).find_map(|run| run.workload.clone())
        }),
        phase: pod.and_then(phase).map(str::to_owned),
        wrong: false,
        summary: String::new(),
        findings,
        containers,
        incidents,
        others: facts.others.clone(),
        sources: facts.sources.clone(),
    };
    diagnosis.wrong = !diagnosis.findings.is_empty()
        || !diagnosis.incidents.is_empty()
        || diagnosis.containers.iter().any(is_wrong);
    diagnosis.summary = summary(&diagnosis, facts.now);
    diagnosis
}

/// A run that did what it had to do is the only end that needs no explanation.
fn is_wrong(container: &ContainerDiagnosis) -> bool {
    !container.findings.is_empty()
        || !container.incidents.is_empty()
        || container.unknown_runs > 0
        || container.runs.iter().any(|run| run.cause != Cause::Completed.name())
}

fn container(facts: &Facts, view: &View<'_>, events: &Events<'_>) -> ContainerDiagnosis {
    let subject = Subject { namespace: facts.namespace.as_deref(), pod: &facts.name, container: view.name };
    let report = report_of(facts, view.name);
    let ended = view.ended();
    let pod = facts.pod.as_ref();
    let told = |run: &Ended<'_>| pod.map(|pod| tell(&Scene { pod, view, run, events, subject }));
    let joined = runs::join(Some(view), report, subject, told, &ended);
    let unknown =
        u64::from(view.ends()).saturating_sub(runs::known(&joined.ended)).saturating_sub(joined.only_counted);
    ContainerDiagnosis {
        role: Some(view.role.into()),
        state: state(facts, view),
        restarts: view.status.map(|_| view.restarts()),
        findings: Around { view, events, subject }.findings(),
        unknown_runs: u32::try_from(unknown).unwrap_or(u32::MAX),
        ..with(facts, view.name, joined, report)
    }
}

/// A container that no pod says anything of: there is none, or it was another one.
fn only_reported(facts: &Facts, name: &str, report: &ContainerReport) -> ContainerDiagnosis {
    let subject = Subject { namespace: facts.namespace.as_deref(), pod: &facts.name, container: name };
    with(facts, name, runs::join(None, Some(report), subject, |_| None, &[]), Some(report))
}

fn with(facts: &Facts, name: &str, runs: Runs, report: Option<&ContainerReport>) -> ContainerDiagnosis {
    ContainerDiagnosis {
        name: name.to_owned(),
        runs: runs.ended,
        incidents: runs.incidents,
        log: facts.logs.get(name).cloned(),
        counts: report.map(|report| report.counts.clone()).unwrap_or_default(),
        ..ContainerDiagnosis::default()
    }
}

fn report_of<'a>(facts: &'a Facts, name: &str) -> Option<&'a ContainerReport> {
    facts.report.as_ref()?.containers.iter().find(|container| container.name.as_deref() == Some(name))
}

/// What a container does now.
fn state(facts: &Facts, view: &View<'_>) -> Option<String> {
    let Some(state) = view.state() else {
        return view.status.map(|_| "not started".to_owned());
    };
    if let Some(running) = &state.running {
        let since = time(running.started_at.as_ref());
        let since = since
            .map_or_else(String::new, |since| format!(" for {}", seconds(seconds_since(facts.now, since))));
        let ready = view.status.is_some_and(|status| status.ready);
        return Some(format!("runs{since}, {}", if ready { "ready" } else { "not ready" }));
    }
    if let Some(ended) = &state.terminated {
        let when = time(ended.finished_at.as_ref());
        let when = when.map_or_else(String::new, |when| format!(" {}", ago(facts.now, when)));
        return Some(format!("ended{when} with exit code {}", ended.exit_code));
    }
    let (reason, _) = view.waiting()?;
    Some(match reason {
        "" => "waits".to_owned(),
        "CrashLoopBackOff" => "waits for its next restart (CrashLoopBackOff)".to_owned(),
        reason => format!("waits ({})", quoted(reason)),
    })
}
