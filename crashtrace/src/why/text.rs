//! A diagnosis for a reader at a terminal: the verdict first, then each container with its ended runs. PURE.
//!
//! Of several runs with the same cause the newest has all its evidence, the others have what differs; JSON has everything.

use jiff::Timestamp;

use super::diagnosis::{
    ContainerDiagnosis, Diagnosis, Finding, Incident, Log, Outcome, Run, Source, SourceName, SourceState,
};
use super::summary::{named, pod_name};
use super::words::{ago, count, seconds};
use crate::harmless::one_line;
use crate::terminal::{Page, Style};

/// Characters of a line of a log.
const LOG_LINE_CHARS: usize = 400;
/// Other pods that are named.
const OTHERS: usize = 10;

/// The text. For any content, the only control characters in it are newlines and, with `color`, its own colours.
#[must_use]
pub fn render(diagnosis: &Diagnosis, now: Timestamp, color: bool) -> String {
    let mut page = Page::new(color);
    let style = if diagnosis.wrong { Style::Alarm } else { Style::Good };
    page.put(style, &diagnosis.summary).end();
    page.put(Style::Faint, &about(diagnosis)).end();
    for finding in &diagnosis.findings {
        page.end();
        finding_lines(&mut page, finding);
    }
    for incident in &diagnosis.incidents {
        page.end();
        incident_lines(&mut page, incident, now);
    }
    for container in diagnosis.containers.iter().filter(|it| has_something(it, diagnosis.wrong)) {
        page.end();
        container_lines(&mut page, container, now);
    }
    other_lines(&mut page, diagnosis, now);
    source_lines(&mut page, &diagnosis.sources);
    page.into_string()
}

fn about(diagnosis: &Diagnosis) -> String {
    let mut facts = vec![format!("  pod {}", pod_name(diagnosis))];
    facts.extend(diagnosis.phase.clone());
    facts.extend(diagnosis.workload.as_ref().map(|workload| format!("of {workload}")));
    facts.extend(diagnosis.node.as_ref().map(|node| format!("on node {node}")));
    facts.join(", ")
}

/// Where something is wrong, containers without anything are left out.
fn has_something(container: &ContainerDiagnosis, wrong: bool) -> bool {
    !wrong
        || !container.runs.is_empty()
        || !container.findings.is_empty()
        || !container.incidents.is_empty()
        || container.unknown_runs > 0
}

fn container_lines(page: &mut Page, container: &ContainerDiagnosis, now: Timestamp) {
    page.put(Style::Heading, &named(container));
    let mut facts: Vec<_> = container.state.clone().into_iter().collect();
    facts.extend(container.restarts.map(|restarts| match restarts {
        0 => "no restarts".to_owned(),
        _ => count(u64::from(restarts), "restart"),
    }));
    if !facts.is_empty() {
        page.plain(": ").plain(&facts.join(", "));
    }
    page.end();
    for finding in &container.findings {
        finding_lines(page, finding);
    }
    for (place, run) in container.runs.iter().enumerate() {
        let same = container.runs[..place].iter().any(|newer| {
            newer.cause == run.cause && newer.remedy == run.remedy && newer.source == run.source
        });
        run_lines(page, run, same, now);
    }
    if container.unknown_runs > 0 {
        let runs = count(u64::from(container.unknown_runs), "earlier end");
        let text = format!(
            "  {runs} of which nothing is known: Kubernetes keeps only the last, and crashtrace reported none of them"
        );
        page.put(Style::Faint, &text).end();
    }
    for incident in &container.incidents {
        incident_lines(page, incident, now);
    }
    if let Some(log) = &container.log {
        log_lines(page, log);
    }
}

fn finding_lines(page: &mut Page, finding: &Finding) {
    page.plain("  ").put(Style::Caution, "now").plain("  ").plain(&finding.summary).end();
    label(page, "cause", finding.cause);
    list(page, "because", &finding.evidence);
    remedy(page, &finding.remedy);
}

fn run_lines(page: &mut Page, run: &Run, same: bool, now: Timestamp) {
    let mut head = Vec::new();
    head.extend(run.ended.map(|time| format!("ended {time:.0}, {}", ago(now, time))));
    head.extend(run.ran_seconds.map(|ran| format!("ran for {}", seconds(ran))));
    if head.is_empty() {
        head.push("ended at an unknown time".to_owned());
    }
    if run.repeats > 0 {
        head.push(format!("and {} more like it", run.repeats));
    }
    let name = run.restart.map_or_else(
        || "run".to_owned(),
        |restart| match restart {
            0 => "first run".to_owned(),
            _ => format!("run after restart {restart}"),
        },
    );
    page.plain("  ").put(Style::Heading, &name).plain(": ").plain(&head.join("; ")).end();
    let mut cause = run.cause.clone();
    cause.extend(run.level.iter().map(|level| format!(" ({level})")));
    match run.source {
        Source::Status => cause.push_str(", from status and Events only"),
        Source::Crashtrace if run.certainty.as_deref() == Some("inferred") => cause.push_str(", inferred"),
        Source::Crashtrace => {}
    }
    label(page, "cause", &cause);
    label(page, "", &run.summary);
    for contradiction in &run.contradictions {
        page.put(Style::Caution, &format!("    {:<10}", "but")).plain(contradiction).end();
    }
    if same {
        label(page, "", "evidence and remedy: as above");
        return;
    }
    list(page, "because", &run.evidence);
    remedy(page, &run.remedy);
}

fn incident_lines(page: &mut Page, incident: &Incident, now: Timestamp) {
    let when = incident.time.map_or_else(String::new, |time| format!(": {time:.0}, {}", ago(now, time)));
    let more =
        if incident.repeats > 0 { format!("; and {} more like it", incident.repeats) } else { String::new() };
    page.plain("  ").put(Style::Heading, "incident that ended no run");
    page.plain(&when).plain(&more).end();
    label(page, "cause", &format!("{} ({})", incident.cause, incident.kind));
    label(page, "", &incident.summary);
    list(page, "because", &incident.evidence);
    remedy(page, &incident.remedy);
}

fn label(page: &mut Page, name: &str, text: &str) {
    page.put(Style::Faint, &format!("    {name:<10}")).plain(text).end();
}

fn list(page: &mut Page, name: &str, items: &[String]) {
    for (place, item) in items.iter().enumerate() {
        label(page, if place == 0 { name } else { "" }, &format!("- {item}"));
    }
}

fn remedy(page: &mut Page, text: &str) {
    if !text.is_empty() {
        label(page, "do", text);
    }
}

fn log_lines(page: &mut Page, log: &Log) {
    // Of a container that runs or waits it is the log of the run before, of one that has ended the current one: both ended last.
    let of = "the run that ended last";
    if let Some(problem) = &log.problem {
        page.plain("  ").plain(&format!("log of {of}: ")).put(Style::Caution, problem).end();
        return;
    }
    if log.lines.is_empty() {
        page.plain("  ").plain(&format!("log of {of}: empty")).end();
        return;
    }
    page.plain("  ").plain(&format!("log of {of}, last {}:", count(log.lines.len() as u64, "line"))).end();
    for line in &log.lines {
        page.put(Style::Faint, "    | ").plain(&one_line(line, LOG_LINE_CHARS)).end();
    }
}

fn other_lines(page: &mut Page, diagnosis: &Diagnosis, now: Timestamp) {
    if diagnosis.others.is_empty() {
        return;
    }
    page.end();
    page.put(Style::Heading, "other pods").end();
    let mut rows = Vec::new();
    for other in diagnosis.others.iter().take(OTHERS) {
        let namespace = other.namespace.as_deref().map_or_else(String::new, |it| format!("{it}/"));
        let restarts =
            other.restarts.map_or_else(String::new, |restarts| count(u64::from(restarts), "restart"));
        let ready = match other.ready {
            Some(true) => "ready",
            Some(false) => "not ready",
            None => "",
        };
        let last = other.last_ended.map_or_else(String::new, |time| format!("last end {}", ago(now, time)));
        rows.push((Style::Plain, [format!("{namespace}{}", other.pod), restarts, ready.to_owned(), last]));
    }
    page.table(&rows, [false, true, false, false]);
    let rest = diagnosis.others.len().saturating_sub(OTHERS);
    if rest > 0 {
        page.plain(&format!("  and {rest} more")).end();
    }
}

fn source_lines(page: &mut Page, sources: &[SourceState]) {
    let told: Vec<_> = sources.iter().filter(|source| source.note.is_some()).collect();
    if told.is_empty() {
        return;
    }
    page.end();
    for source in told {
        let style = if source.outcome == Outcome::Read { Style::Faint } else { Style::Caution };
        let name = match source.source {
            SourceName::Status => "status",
            SourceName::CrashReport => "crashtrace's report",
            SourceName::Events => "Events",
            SourceName::Logs => "logs",
            SourceName::Stream => "stream",
            SourceName::Journal => "journal",
        };
        page.put(style, name).plain(": ").plain(source.note.as_deref().unwrap_or_default()).end();
    }
}
