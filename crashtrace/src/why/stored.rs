//! Lines of the stream from a file, standard input or a journal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use super::diagnosis::{OtherPod, Outcome, SourceName, SourceState};
use super::facts::Facts;
use super::lines::{Lines, PodLines, Reader};
use super::target::Target;
use super::words::count;
use crate::journal::reading;

/// The longest line that is read. One of the stream has at most 16 KiB.
const MOST_LINE_BYTES: u64 = 1 << 20;

/// What is in a stream of lines; `-` is standard input.
pub(super) fn stream(path: &Path) -> Result<(SourceName, Lines)> {
    let mut reader = Reader::default();
    let failed = || format!("cannot read {}", path.display());
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal, not a stream of lines");
        }
        read_lines(&mut io::stdin().lock(), &mut reader).with_context(failed)?;
    } else {
        let file = File::open(path).with_context(failed)?;
        read_lines(&mut BufReader::new(file), &mut reader).with_context(failed)?;
    }
    Ok((SourceName::Stream, reader.finish()))
}

/// What is in a journal.
pub(super) fn journal(path: &Path) -> Result<(SourceName, Lines)> {
    let mut reader = Reader::default();
    reading::read(path, |line| reader.line(line))?;
    Ok((SourceName::Journal, reader.finish()))
}

/// Reads each line; one that is too long is as one that is no JSON.
fn read_lines(from: &mut impl BufRead, reader: &mut Reader) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.by_ref().take(MOST_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < MOST_LINE_BYTES;
        if !is_whole {
            from.skip_until(b'\n')?;
        }
        reader.line(if is_whole { &line } else { b"too long" });
    }
}

fn is_meant(pod: &PodLines, target: &Target) -> bool {
    let in_namespace = target.namespace.as_ref().is_none_or(|namespace| pod.namespace == *namespace);
    in_namespace
        && match target.workload_name() {
            Some(workload) => pod.workload.as_ref() == Some(&workload),
            None => pod.name == target.name,
        }
}

/// The pod with the latest incident of those that are meant.
pub(super) fn facts(
    (source, lines): (SourceName, Lines),
    target: Option<&Target>,
    container: Option<&str>,
    now: Timestamp,
) -> Result<Facts> {
    let state = SourceState { source, outcome: Outcome::Read, note: Some(note(&lines)) };
    let mut meant = lines.pods.into_iter().filter(|pod| target.is_none_or(|target| is_meant(pod, target)));
    let mut facts = Facts { sources: vec![state], ..Facts::nothing(now) };
    let Some(pod) = meant.next() else {
        facts.namespace = target.and_then(|target| target.namespace.clone());
        facts.name = target.map_or_else(
            || "the lines".to_owned(),
            |target| match target.workload_name() {
                Some(workload) => workload,
                None => target.name.clone(),
            },
        );
        return Ok(facts);
    };
    if let Some(wanted) = container {
        let names: Vec<_> = pod.report.containers.iter().filter_map(|it| it.name.as_deref()).collect();
        if !names.contains(&wanted) {
            bail!("no incident of a container {wanted}; there are some of: {}", names.join(", "));
        }
        facts.container = Some(wanted.to_owned());
    }
    facts.others = meant.map(|pod| other(&pod)).collect();
    facts.namespace = Some(pod.namespace).filter(|namespace| !namespace.is_empty());
    facts.name = pod.name;
    facts.report = Some(pod.report);
    Ok(facts)
}

fn other(pod: &PodLines) -> OtherPod {
    OtherPod {
        namespace: Some(pod.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        pod: pod.name.clone(),
        restarts: None,
        last_ended: pod.report.latest.time.parse().ok(),
        ready: None,
    }
}

/// What was in the lines, and what was not used.
fn note(lines: &Lines) -> String {
    let mut facts = vec![format!(
        "{} of {}",
        count(lines.incidents as u64, "incident"),
        count(lines.pods.len() as u64, "pod")
    )];
    let mut add = |number: u64, what: &str| {
        if number > 0 {
            facts.push(format!("{} {what}", count(number, "line")));
        }
    };
    add(lines.without_pod, "without the name of a pod");
    add(lines.other, "of something else than crashtrace/v1");
    add(lines.not_json, "without JSON");
    facts.join(", ")
}
