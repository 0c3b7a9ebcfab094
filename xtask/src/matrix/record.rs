//! The results of a run: kernels, their shapes, and the outcome of each scenario. Pure but for [`load`].
//!
//! `cargo xtask vm --all` writes them to `tests/results/matrix.json`, and `cargo xtask docs` writes the table in
//! `tests/results/README.md`.

use super::outcome::{AGENT, Cost, Judged, Judgement, Outcome};
use super::plan::Boot;
use super::shape::Shape;
use crate::files;
use crate::guest::kernel::KERNELS;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A run of the whole matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Matrix {
    /// The tested commit.
    pub(crate) commit: String,
    /// Why the run was not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) incomplete: Option<String>,
    /// The day of its end, in UTC.
    pub(crate) date: String,
    pub(crate) duration_s: u64,
    /// A remark for readers, added by hand: for example that a part was played again at the same commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remark: Option<String>,
    pub(crate) kernels: Vec<KernelResults>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KernelResults {
    pub(crate) label: String,
    pub(crate) arch: String,
    /// Debian's package and its version.
    pub(crate) package: String,
    pub(crate) shapes: Vec<ShapeResults>,
    pub(crate) verifier: Vec<Cost>,
}

/// The results of one shape of a kernel's guests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShapeResults {
    pub(crate) shape: Shape,
    pub(crate) scenarios: Vec<ScenarioResults>,
}

/// The results of one scenario. [`AGENT`] stands for the agents' own start and end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ScenarioResults {
    pub(crate) scenario: String,
    /// Of agents that watched at once.
    pub(crate) together: BTreeMap<Judged, Outcome>,
    /// Of agents that watched alone.
    pub(crate) alone: BTreeMap<Judged, Outcome>,
}

/// A guest that has ended.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) boot: Boot,
    pub(crate) arch: String,
    pub(crate) package: String,
    pub(crate) judgements: Vec<Judgement>,
    pub(crate) costs: Vec<Cost>,
    /// The failure of the guest itself.
    pub(crate) trouble: Option<String>,
    /// The folder of its output, if anything failed.
    pub(crate) logs: Option<PathBuf>,
}

impl Played {
    /// Failed and lost results.
    pub(crate) fn bad(&self) -> impl Iterator<Item = &Judgement> {
        self.judgements.iter().filter(|judgement| !judgement.outcome.is_good())
    }
}

impl ScenarioResults {
    /// The worst outcome for one agent.
    pub(crate) fn worst(&self, judged: Judged) -> Option<Outcome> {
        self.together.get(&judged).max(self.alone.get(&judged)).copied()
    }
}

impl ShapeResults {
    /// The scenarios without the agents' own row.
    pub(crate) fn played(&self) -> impl Iterator<Item = &ScenarioResults> {
        self.scenarios.iter().filter(|results| results.scenario != AGENT)
    }
}

/// Merges the guests of each kernel, in the order of [`KERNELS`] and [`Shape`].
pub(crate) fn merge(guests: &[Played]) -> Vec<KernelResults> {
    let mut kernels: Vec<KernelResults> = Vec::new();
    for guest in guests {
        let label = guest.boot.kernel;
        let kernel = find_or_push(
            &mut kernels,
            |kernel| kernel.label == label,
            || KernelResults {
                label: label.to_owned(),
                arch: guest.arch.clone(),
                package: guest.package.clone(),
                shapes: Vec::new(),
                verifier: Vec::new(),
            },
        );
        kernel.verifier.extend(guest.costs.iter().cloned());
        let shape = guest.boot.shape;
        let new = || ShapeResults { shape, scenarios: Vec::new() };
        let shape = find_or_push(&mut kernel.shapes, |results| results.shape == shape, new);
        for Judgement { scenario, judged, alone, outcome, .. } in &guest.judgements {
            let new = || ScenarioResults {
                scenario: scenario.clone(),
                together: BTreeMap::new(),
                alone: BTreeMap::new(),
            };
            let results = find_or_push(&mut shape.scenarios, |results| results.scenario == *scenario, new);
            let outcomes = if *alone { &mut results.alone } else { &mut results.together };
            let worst = outcomes.entry(*judged).or_insert(*outcome);
            *worst = (*worst).max(*outcome);
        }
    }
    kernels.sort_by_key(|kernel| KERNELS.iter().position(|spec| spec.label == kernel.label));
    for kernel in &mut kernels {
        kernel.shapes.sort_by_key(|results| results.shape);
    }
    kernels
}

fn find_or_push<T>(items: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> &mut T {
    let index = items.iter().position(is_it).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    });
    &mut items[index]
}

/// Why these guests are not a complete run, if they are not. `everything` are the guests of a complete one. A record may have failures.
pub(crate) fn incomplete(everything: &[Boot], guests: &[Played]) -> Option<String> {
    let missing: Vec<_> = everything
        .iter()
        .filter(|boot| !guests.iter().any(|guest| guest.boot == **boot))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        return Some(format!("only a subset was run; missing or not complete: {}", missing.join(", ")));
    }
    if let Some((guest, trouble)) = guests.iter().find_map(|guest| Some((guest, guest.trouble.as_ref()?))) {
        return Some(format!("{} failed: {trouble}", guest.boot));
    }
    merge(guests)
        .into_iter()
        .find(|kernel| kernel.verifier.is_empty())
        .map(|kernel| format!("the verifier's cost is not recorded for {}", kernel.label))
}

/// The record of the last complete run.
pub(crate) fn path() -> PathBuf {
    files::root().join(NAME)
}

/// Its path from the root of the tree.
pub(crate) const NAME: &str = "tests/results/matrix.json";

/// Reads the record, if there is one.
pub(crate) fn load() -> Result<Option<Matrix>> {
    match fs::read_to_string(path()) {
        Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| format!("cannot parse {NAME}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {NAME}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crashtrace_judge::catalogue::Tier;

    pub(crate) fn judgement(scenario: &str, judged: Judged, alone: bool, outcome: Outcome) -> Judgement {
        Judgement {
            scenario: scenario.to_owned(),
            judged,
            alone,
            outcome,
            failures: Vec::new(),
            lines: Vec::new(),
            start_ms: None,
            touch_to_line_us: None,
        }
    }

    pub(crate) fn cost(program: &str, instructions: u64) -> Cost {
        Cost {
            program: program.to_owned(),
            instructions: Some(instructions),
            stack_bytes: Some(232),
            error: None,
        }
    }

    pub(crate) fn played(kernel: &'static str, shape: Shape, judgements: Vec<Judgement>) -> Played {
        Played {
            boot: Boot {
                kernel,
                shape,
                scenarios: vec!["child".to_owned()],
                turns: vec![vec![Tier::Fentry]],
                verifier: true,
                deployed: None,
                starts: false,
            },
            arch: "x86_64".to_owned(),
            package: format!("linux-image-{kernel} 1"),
            judgements,
            costs: vec![cost("oom_kill_fentry", 60123)],
            trouble: None,
            logs: None,
        }
    }

    #[test]
    fn guests_of_a_kernel_come_together_and_the_worst_counts() {
        let child = |alone, outcome| judgement("child", Judged::Fentry, alone, outcome);
        let kernels = merge(&[
            played("sid", Shape::V2, vec![child(false, Outcome::Passed)]),
            played("6.1", Shape::V2, vec![child(false, Outcome::Passed), child(true, Outcome::Blind)]),
            Played {
                costs: Vec::new(),
                ..played("6.1", Shape::V1, vec![child(false, Outcome::Passed), child(false, Outcome::Failed)])
            },
            Played { costs: Vec::new(), ..played("6.1", Shape::V2, vec![child(true, Outcome::Missing)]) },
        ]);
        let labels: Vec<_> = kernels.iter().map(|kernel| kernel.label.as_str()).collect();
        assert_eq!(labels, ["6.1", "sid"]);
        let of = |shape: usize| kernels[0].shapes[shape].scenarios[0].worst(Judged::Fentry);
        assert_eq!(of(0), Some(Outcome::Missing));
        assert_eq!(of(1), Some(Outcome::Failed));
        assert_eq!(kernels[0].shapes[0].scenarios[0].worst(Judged::Kprobe), None);
        assert_eq!(kernels[0].verifier, [cost("oom_kill_fentry", 60123)]);
    }

    #[test]
    fn only_all_of_it_is_a_record() {
        let all = || vec![played("6.1", Shape::V2, Vec::new()), played("sid", Shape::V2, Vec::new())];
        let everything: Vec<_> = all().into_iter().map(|guest| guest.boot).collect();
        assert_eq!(incomplete(&everything, &all()), None);
        let why = incomplete(&everything, &all()[..1]).expect("one is missing");
        assert!(why.contains("subset") && why.contains("sid v2"), "{why}");
        let mut less = all();
        less[1].boot.turns.clear();
        incomplete(&everything, &less).expect("one was not played wholly");
        let mut no_costs = all();
        no_costs[0].costs.clear();
        let why = incomplete(&everything, &no_costs).expect("no cost");
        assert!(why.contains("verifier") && why.contains("6.1"), "{why}");
    }

    #[test]
    fn a_record_is_read_back_as_it_was() {
        let kernels = merge(&[played(
            "6.1",
            Shape::Numa,
            vec![judgement("child", Judged::Agree, false, Outcome::Lacking)],
        )]);
        let matrix = Matrix {
            commit: "c0ffee".to_owned(),
            incomplete: None,
            date: "2026-11-25".to_owned(),
            duration_s: 9,
            remark: None,
            kernels,
        };
        let text = serde_json::to_string(&matrix).expect("it can be written");
        assert!(
            text.contains(r#""shape":"numa""#) && text.contains(r#""together":{"agree":"lacking"}"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Matrix>(&text).expect("it can be read"), matrix);
    }
}
