//! Lines of a tool's output, and which victims they name. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// How a line names its victims.
#[derive(Clone, Debug)]
pub enum Form {
    /// A report of `crashtrace/v1`.
    Report,
    /// By the number behind this text.
    After(String),
}

/// What a tool has told since its start.
#[derive(Debug, Default)]
pub struct Told {
    /// Victims by pid. Those of one storm have different ones: a guest's pids do not come round within it.
    pub victims: BTreeSet<u32>,
    /// Victims of a report by its id: what it counts, listed or not. Of several revisions the largest count holds.
    totals: BTreeMap<String, u64>,
    /// Lines that name victims.
    pub lines: u64,
    pub bytes: u64,
    /// What the tool itself says that it lost, in its own unit.
    pub lost: u64,
}

/// What is read of a report.
#[derive(Deserialize)]
struct Report {
    kind: String,
    lost: u64,
    id: Option<String>,
    #[serde(default)]
    victims: Vec<Victim>,
    #[serde(default)]
    victims_total: u64,
    #[serde(default)]
    folded: Option<Folded>,
}

#[derive(Deserialize)]
struct Folded {
    #[serde(default)]
    victims: Vec<Victim>,
}

#[derive(Deserialize)]
struct Victim {
    pid: Option<u32>,
}

impl Told {
    /// Takes a line, without its newline, and gives the victims that it names.
    pub fn take(&mut self, form: &Form, line: &str) -> Vec<u32> {
        self.bytes += line.len() as u64 + 1;
        let named = match form {
            Form::After(text) => number_behind(line, text).into_iter().collect(),
            Form::Report => self.report(line),
        };
        if !named.is_empty() {
            self.lines += 1;
        }
        self.victims.extend(&named);
        named
    }

    fn report(&mut self, line: &str) -> Vec<u32> {
        let Ok(report) = serde_json::from_str::<Report>(line) else { return Vec::new() };
        self.lost = self.lost.max(report.lost);
        if report.kind != "oom_kill" {
            return Vec::new();
        }
        if let Some(id) = report.id {
            let total = self.totals.entry(id).or_default();
            *total = report.victims_total.max(*total);
        }
        let folded = report.folded.map(|folded| folded.victims).unwrap_or_default();
        report.victims.into_iter().chain(folded).filter_map(|victim| victim.pid).collect()
    }

    /// Adds what an earlier session has told.
    pub fn absorb(&mut self, before: Self) {
        self.victims.extend(before.victims);
        for (id, count) in before.totals {
            let total = self.totals.entry(id).or_default();
            *total = count.max(*total);
        }
        self.lines += before.lines;
        self.bytes += before.bytes;
        self.lost += before.lost;
    }

    /// Victims that it has accounted for: by pid or, where a report lists fewer than it counts, by its count.
    pub fn accounted(&self) -> u64 {
        (self.victims.len() as u64).max(self.totals.values().sum())
    }
}

fn number_behind(line: &str, text: &str) -> Option<u32> {
    let (_, rest) = line.split_once(text)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_text_names_one_victim() {
        let form = Form::After("OOM kill of PID ".to_owned());
        let mut told = Told::default();
        let line = r#"12:00:01 Triggered by PID 7 ("a"), OOM kill of PID 8 ("b"), 256 pages"#;
        assert_eq!(told.take(&form, line), [8]);
        assert_eq!(told.take(&form, line), [8]);
        assert!(told.take(&form, "Tracing OOM kills... Ctrl-C to stop.").is_empty());
        assert_eq!((told.accounted(), told.lines), (1, 2));
        assert_eq!(told.bytes, 2 * (line.len() as u64 + 1) + 37);
    }

    #[test]
    fn a_report_counts_what_it_does_not_list_and_a_revision_counts_nothing_twice() {
        let mut told = Told::default();
        let report = |revision: u32, id: &str, total: u32| {
            format!(
                r#"{{"kind":"oom_kill","lost":3,"id":"{id}","revision":{revision},"victims":[{{"pid":5}}],
                   "victims_total":{total},"folded":{{"victims":[{{"pid":6}},{{"pid":null}}]}}}}"#
            )
        };
        assert_eq!(told.take(&Form::Report, &report(1, "a", 4)), [5, 6]);
        told.take(&Form::Report, &report(2, "a", 4));
        told.take(&Form::Report, r#"{"kind":"container_exit","lost":4,"id":"b","victims_total":9}"#);
        assert_eq!((told.accounted(), told.victims.len(), told.lost), (4, 2, 4));
    }
}
