//! The verdict in one line. PURE.

use jiff::Timestamp;

use super::cause::Cause;
use super::diagnosis::{ContainerDiagnosis, Diagnosis, Finding, Run, Source};
use super::runs::known;
use super::words::{ago, count, seconds};

/// For example `shop/api-7f9c, container api: 6 restarts, all for its own memory limit of 512 MiB; the last 3 minutes ago`.
pub(super) fn summary(diagnosis: &Diagnosis, now: Timestamp) -> String {
    let pod = pod_name(diagnosis);
    let mut failing: Vec<_> = diagnosis.containers.iter().filter(|it| last_failure(it).is_some()).collect();
    failing.sort_by_key(|it| {
        std::cmp::Reverse(last_crash(it).or(last_failure(it)).map(|run| (is_crash(run), run.ended)))
    });
    if let Some((first, others)) = failing.split_first() {
        let mut text = format!("{pod}, {}: {}", named(first), of_container(first, now));
        // What holds now beside the ends, unless it only repeats them.
        let now_too =
            diagnosis.findings.iter().chain(diagnosis.containers.iter().flat_map(|it| &it.findings));
        if let Some(finding) = now_too.into_iter().find(|it| it.cause != Cause::InitFailed.name()) {
            text.push_str("; ");
            text.push_str(&finding.summary);
        }
        if !others.is_empty() {
            let names: Vec<_> = others.iter().map(|it| it.name.as_str()).collect();
            text = format!("{text}; also ended: {}", names.join(", "));
        }
        return text;
    }
    let findings: Vec<&Finding> =
        diagnosis.findings.iter().chain(diagnosis.containers.iter().flat_map(|it| &it.findings)).collect();
    if let Some((first, others)) = findings.split_first() {
        let more = if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        return format!("{pod}: {}{more}", first.summary);
    }
    if let Some(container) = diagnosis.containers.iter().find(|it| it.unknown_runs > 0) {
        let restarts = count(u64::from(container.restarts.unwrap_or(container.unknown_runs)), "restart");
        return format!("{pod}, {}: {restarts}, of which nothing is known any more", named(container));
    }
    let incidents =
        diagnosis.incidents.iter().chain(diagnosis.containers.iter().flat_map(|it| &it.incidents));
    if let Some(newest) = incidents.max_by_key(|incident| incident.time) {
        return format!("{pod}: no container ended, but: {}", newest.summary);
    }
    healthy(diagnosis, &pod)
}

pub(super) fn pod_name(diagnosis: &Diagnosis) -> String {
    let namespace = diagnosis.namespace.as_deref().map_or_else(String::new, |it| format!("{it}/"));
    format!("{namespace}{}", diagnosis.pod)
}

/// `container api`, `init container setup`
pub(super) fn named(container: &ContainerDiagnosis) -> String {
    let role = match container.role {
        Some("init") => "init container",
        Some("ephemeral") => "ephemeral container",
        Some("sidecar") => "sidecar",
        _ => "container",
    };
    format!("{role} {}", container.name)
}

fn is_failure(run: &Run) -> bool {
    run.cause != Cause::Completed.name()
}

/// An end that Kubernetes did not make on purpose.
fn is_crash(run: &Run) -> bool {
    is_failure(run) && run.cause != Cause::Stopped.name()
}

fn last_crash(container: &ContainerDiagnosis) -> Option<&Run> {
    container.runs.iter().find(|run| is_crash(run))
}

fn last_failure(container: &ContainerDiagnosis) -> Option<&Run> {
    container.runs.iter().find(|run| is_failure(run))
}

fn of_container(container: &ContainerDiagnosis, now: Timestamp) -> String {
    let failures: Vec<_> = container.runs.iter().filter(|run| is_failure(run)).collect();
    let last = failures.first().and_then(|run| run.ended).map(|time| ago(now, time));
    let groups = groups(container, &failures);
    let Some(restarts) = container.restarts.filter(|restarts| *restarts > 0) else {
        return without_restarts(container, &failures, &groups, last);
    };
    let restarts = u64::from(restarts);
    let mut text = count(restarts, "restart");
    if let ([(reason, 1)], Some(last), 2..) = (groups.as_slice(), &last, restarts) {
        return format!("{text}; the last {last}, {reason}");
    }
    text.push_str(&of_groups(&groups, restarts));
    match last {
        Some(last) => format!("{text}; the last {last}"),
        None => text,
    }
}

/// Reasons with how often each is known, the newest first.
fn groups<'a>(container: &'a ContainerDiagnosis, failures: &[&'a Run]) -> Vec<(&'a str, u64)> {
    let mut groups: Vec<(&str, &str, u64)> = Vec::new();
    for run in failures {
        let ends = run.repeats.saturating_add(1);
        match groups.iter_mut().find(|(reason, ..)| *reason == run.reason) {
            Some((_, _, sum)) => *sum = sum.saturating_add(ends),
            None => groups.push((&run.reason, &run.cause, ends)),
        }
    }
    // The report keeps the latest, and the counts of all. They say for how many a reason holds if the cause has only one.
    let mut counted = groups.clone();
    for (reason, cause, sum) in &mut counted {
        let of_cause = groups.iter().filter(|(_, other, _)| other == cause).count();
        let by_crashtrace =
            failures.iter().any(|run| run.reason == *reason && run.source == Source::Crashtrace);
        if of_cause == 1 && by_crashtrace && container.incidents.is_empty() {
            *sum = (*sum).max(container.counts.get(*cause).copied().unwrap_or(0));
        }
    }
    counted.into_iter().map(|(reason, _, sum)| (reason, sum)).collect()
}

fn of_groups(groups: &[(&str, u64)], restarts: u64) -> String {
    match groups {
        [] => String::new(),
        [(reason, _)] if restarts == 1 => format!(", {reason}"),
        [(reason, known)] if *known >= restarts => format!(", all {reason}"),
        [(reason, 1)] => format!(", the last {reason}"),
        [(reason, known)] => format!(", the last {known} {reason}"),
        several => {
            let parts: Vec<_> = several.iter().map(|(reason, known)| format!("{known} {reason}")).collect();
            let sum = several.iter().map(|(_, known)| *known).fold(0, u64::saturating_add);
            let rest = restarts.saturating_sub(sum);
            let rest = if rest > 0 { format!(", {rest} unknown") } else { String::new() };
            format!(", {}{rest}", parts.join(", "))
        }
    }
}

/// It ended and was not started again, or there is no status that counts.
fn without_restarts(
    container: &ContainerDiagnosis,
    failures: &[&Run],
    groups: &[(&str, u64)],
    last: Option<String>,
) -> String {
    if let ([only], [(reason, 1)]) = (failures, groups) {
        let when = last.map_or_else(String::new, |last| format!(" {last}"));
        let ran = only.ran_seconds.map_or_else(String::new, |ran| format!(" after {}", seconds(ran)));
        let comma = if when.is_empty() && ran.is_empty() { "" } else { "," };
        return format!("ended{when}{ran}{comma} {reason}");
    }
    let when = last.map_or_else(String::new, |last| format!("; the last {last}"));
    let counted = groups.iter().map(|(_, known)| *known).fold(0, u64::saturating_add);
    let total = counted.max(known(&container.runs));
    format!("ended {total} times{}{when}", of_groups(groups, total))
}

fn healthy(diagnosis: &Diagnosis, pod: &str) -> String {
    let phase = diagnosis.phase.as_deref().map_or_else(String::new, |phase| format!(": the pod is {phase}"));
    if diagnosis.containers.is_empty() && diagnosis.phase.is_none() {
        return format!("{pod}: no incident is known");
    }
    let restarts = diagnosis.containers.iter().filter_map(|it| it.restarts).fold(0, u32::saturating_add);
    let restarts =
        if restarts == 0 { "no restarts".to_owned() } else { count(u64::from(restarts), "restart") };
    let containers = count(diagnosis.containers.len() as u64, "container");
    format!("{pod}: nothing is wrong{phase}, {containers}, {restarts}")
}
