//! The results of a run, by kernel: what the scenario program printed in the guests. `tests/results/bench.json` has those of the last
//! complete run.

use crate::files;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;

/// Its path from the root of the tree.
pub(crate) const NAME: &str = "tests/results/bench.json";

/// A complete run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// The measured commit.
    pub(crate) commit: String,
    /// The day of its end, in UTC.
    pub(crate) date: String,
    pub(crate) kernels: Vec<KernelCosts>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KernelCosts {
    pub(crate) label: String,
    /// Debian's package and its version.
    pub(crate) package: String,
    /// Of crashtrace and its peers.
    pub(crate) tools: Vec<OfTool>,
    /// Of loops beside agents with different hooks.
    pub(crate) loops: Vec<OfLoop>,
}

/// A measurement of a tool: a line of `scenario bench` and `scenario replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OfTool {
    /// The tool.
    pub(crate) label: String,
    /// What was measured.
    pub(crate) of: String,
    /// By name, with the unit in it.
    pub(crate) figures: Map<String, Value>,
}

/// A loop beside an agent, or without one: a line of `scenario faults`, `ends` and `decisions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OfLoop {
    /// The agent.
    pub(crate) label: String,
    /// By what is counted, in each round.
    pub(crate) ns: BTreeMap<String, Vec<f64>>,
}

impl OfLoop {
    /// The median of the rounds.
    pub(crate) fn median(&self, thing: &str) -> Option<f64> {
        let mut rounds = self.ns.get(thing)?.clone();
        rounds.sort_by(f64::total_cmp);
        rounds.get(rounds.len() / 2).copied()
    }
}

impl KernelCosts {
    /// The results in a guest's output.
    pub(crate) fn read(label: &str, package: &str, output: &str) -> Self {
        fn lines<T: serde::de::DeserializeOwned>(output: &str) -> Vec<T> {
            output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        }
        let [label, package] = [label, package].map(str::to_owned);
        Self { label, package, tools: lines(output), loops: lines(output) }
    }

    /// A tool's figure, if it was measured.
    pub(crate) fn figure(&self, tool: &str, of: &str, name: &str) -> Option<u64> {
        let measured = self.tools.iter().find(|measured| measured.label == tool && measured.of == of)?;
        measured.figures.get(name)?.as_u64()
    }
}

/// Writes a run: to the record if it was complete, else beside it.
pub(crate) fn keep(costs: &Costs, incomplete: Option<&str>) -> Result<()> {
    let path = match incomplete {
        None => files::root().join(NAME),
        Some(_) => files::target_dir().join("bench-incomplete.json"),
    };
    let text = serde_json::to_string_pretty(costs).context("cannot write the results as JSON")?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    match incomplete {
        None => eprintln!("xtask: this run is in {NAME}"),
        Some(why) => eprintln!("xtask: {NAME} is not changed: {why}; the results are in {}", path.display()),
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const OUTPUT: &str = r#"some other line
{"label":"crashtrace","of":"basics","figures":{"start_ns":3000,"lost_kills":0}}
{"label":"oomkill","of":"basics","figures":{"start_ns":1000,"lost_kills":0}}
{"label":"dmesg","of":"basics","figures":{"start_ns":2000,"lost_kills":4}}
{"label":"no agent","ns":{"page":[9.0,5.0,7.0]}}
"#;

    #[test]
    fn reads_what_a_guest_printed() {
        let costs = KernelCosts::read("6.1", "linux-image-6.1 1", OUTPUT);
        assert_eq!((costs.tools.len(), costs.loops.len()), (3, 1));
        assert_eq!(costs.figure("oomkill", "basics", "start_ns"), Some(1000));
        assert_eq!(costs.figure("oomkill", "basics", "stop_ns"), None);
        assert_eq!(costs.loops[0].median("page"), Some(7.0));
        assert_eq!(costs.loops[0].median("signal"), None);
    }

    #[test]
    fn a_record_is_read_back_as_it_was() {
        let kernels = vec![KernelCosts::read("6.1", "linux-image-6.1 1", OUTPUT)];
        let costs = Costs { commit: "c0ffee".to_owned(), date: "2026-11-25".to_owned(), kernels };
        let text = serde_json::to_string(&costs).expect("it can be written");
        assert_eq!(serde_json::from_str::<Costs>(&text).expect("it can be read"), costs);
    }
}
