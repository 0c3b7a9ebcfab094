//! The tables at the end of a run: kernels by scenarios, kinds of hooks by scenarios, and the verifier's costs. Pure.

use super::outcome::{AGENT, Judged, Judgement, Outcome};
use super::record::{KernelResults, ScenarioResults};
use std::fmt::Write as _;

/// Guests by scenarios, with a legend.
pub(crate) fn matrix(kernels: &[KernelResults]) -> String {
    let guests: Vec<_> =
        kernels.iter().flat_map(|kernel| kernel.shapes.iter().map(move |shape| (kernel, shape))).collect();
    let mut scenarios: Vec<&str> = vec![AGENT];
    for (_, shape) in &guests {
        for ScenarioResults { scenario, .. } in &shape.scenarios {
            if !scenarios.contains(&scenario.as_str()) {
                scenarios.push(scenario);
            }
        }
    }
    let labels = guests.iter().map(|(kernel, _)| kernel.label.clone());
    let shapes = guests.iter().map(|(_, shape)| shape.shape.name().to_owned());
    let mut rows = vec![row("", labels), row("", shapes)];
    for scenario in scenarios {
        let cells = guests.iter().map(|(_, shape)| {
            let found = shape.scenarios.iter().find(|results| results.scenario == scenario);
            found.map_or_else(|| "-".to_owned(), cell)
        });
        rows.push(row(scenario, cells));
    }
    grid(&rows) + LEGEND
}

const LEGEND: &str = "\
ok passed; FAIL failed; LOST no result; for f fentry, k kprobe, t tracepoint, d deployed, a agreement of all hooks
-t these hooks are blind to it, and no line came; !f the kernel refuses these hooks; - not played
";

/// The outcomes of all kinds of hooks, in one to four words.
fn cell(results: &ScenarioResults) -> String {
    let which = |outcome: Outcome| -> String {
        let is_it = |judged: &Judged| results.worst(*judged) == Some(outcome);
        // The first letters differ.
        Judged::ALL.iter().filter(|judged| is_it(judged)).map(|judged| &judged.name()[..1]).collect()
    };
    let mut words = Vec::new();
    for (word, outcome) in [("FAIL ", Outcome::Failed), ("LOST ", Outcome::Missing)] {
        words.push((word, which(outcome)));
    }
    if words.iter().all(|(_, which)| which.is_empty()) {
        words = vec![("ok", " ".to_owned())];
    }
    words.extend([("-", which(Outcome::Blind)), ("!", which(Outcome::Lacking))]);
    let words: Vec<_> = words
        .into_iter()
        .filter(|(_, which)| !which.is_empty())
        .map(|(word, which)| format!("{word}{}", which.trim()))
        .collect();
    words.join(" ")
}

/// Kinds of hooks by scenarios, with times, for one guest.
pub(crate) fn guest(judgements: &[Judgement]) -> String {
    let mut scenarios: Vec<&str> = Vec::new();
    let mut columns: Vec<(bool, Judged)> = Vec::new();
    for judgement in judgements {
        if !scenarios.contains(&judgement.scenario.as_str()) {
            scenarios.push(&judgement.scenario);
        }
        columns.push((judgement.alone, judgement.judged));
    }
    columns.sort_unstable();
    columns.dedup();
    let heads = columns.iter().map(|(alone, judged)| column(*alone, *judged));
    let mut rows = vec![row("", heads)];
    for scenario in scenarios {
        let cells = columns.iter().map(|(alone, judged)| {
            let of = judgements
                .iter()
                .filter(|it| it.scenario == scenario && it.judged == *judged && it.alone == *alone);
            of.max_by_key(|judgement| judgement.outcome).map_or_else(|| "-".to_owned(), timed)
        });
        rows.push(row(scenario, cells));
    }
    grid(&rows)
}

/// Failures that several agents have in common.
pub(crate) struct Fault<'a> {
    /// The scenario and the agents, and a line for each failure.
    pub(crate) text: String,
    /// The lines of the first of these agents.
    pub(crate) lines: &'a [serde_json::Value],
}

/// The failures; those that several agents have in common once.
pub(crate) fn faults(judgements: &[Judgement]) -> Vec<Fault<'_>> {
    let mut left: Vec<&Judgement> =
        judgements.iter().filter(|judgement| !judgement.outcome.is_good()).collect();
    let mut faults = Vec::new();
    while let Some(&first) = left.first() {
        let is_same = |it: &&Judgement| it.scenario == first.scenario && it.failures == first.failures;
        let (same, others): (Vec<_>, Vec<_>) = left.into_iter().partition(is_same);
        let who: Vec<_> = same.iter().map(|judgement| column(judgement.alone, judgement.judged)).collect();
        let mut text = format!("{} ({})", first.scenario, who.join(", "));
        for failure in &first.failures {
            write!(text, "\n  {failure}").unwrap_or_default();
        }
        faults.push(Fault { text, lines: &first.lines });
        left = others;
    }
    faults
}

fn column(alone: bool, judged: Judged) -> String {
    format!("{}{}", judged.name(), if alone { " alone" } else { "" })
}

fn timed(judgement: &Judgement) -> String {
    let word = match judgement.outcome {
        Outcome::Passed => "ok",
        Outcome::Blind => "blind",
        Outcome::Lacking => "refused",
        Outcome::Failed => return "FAIL".to_owned(),
        Outcome::Missing => return "LOST".to_owned(),
    };
    match (judgement.start_ms, judgement.touch_to_line_us) {
        (Some(start), _) => format!("{word} {:.1} s", start as f64 / 1e3),
        (None, Some(touch)) => format!("{word} {:.1} ms", touch as f64 / 1e3),
        (None, None) => word.to_owned(),
    }
}

/// Kernels by programs: instructions that the verifier processed, and bytes of stack.
pub(crate) fn costs(kernels: &[KernelResults]) -> String {
    let mut programs: Vec<&str> = Vec::new();
    for cost in kernels.iter().flat_map(|kernel| &kernel.verifier) {
        if !programs.contains(&cost.program.as_str()) {
            programs.push(&cost.program);
        }
    }
    if programs.is_empty() {
        return "the verifier's cost: not recorded\n".to_owned();
    }
    let mut rows = vec![row("", kernels.iter().map(|kernel| kernel.label.clone()))];
    for program in programs {
        let cells = kernels.iter().map(|kernel| {
            let Some(cost) = kernel.verifier.iter().find(|cost| cost.program == program) else {
                return "-".to_owned();
            };
            let number = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |it| it.to_string());
            match cost.error {
                Some(_) => "refused".to_owned(),
                None => format!("{} / {}", number(cost.instructions), number(cost.stack_bytes)),
            }
        });
        rows.push(row(program, cells));
    }
    format!("the verifier's cost: instructions processed / bytes of stack\n{}", grid(&rows))
}

fn row(head: &str, cells: impl Iterator<Item = String>) -> Vec<String> {
    std::iter::once(head.to_owned()).chain(cells).collect()
}

fn grid(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..count)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ").unwrap_or_default();
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Cost;
    use super::super::record::merge;
    use super::super::record::tests::{cost, judgement, played};
    use super::super::shape::Shape;
    use super::*;
    use Judged::{Agree, Fentry, Kprobe, Tracepoint};

    fn child(judged: Judged, alone: bool, outcome: Outcome) -> Judgement {
        judgement("child", judged, alone, outcome)
    }

    #[test]
    fn guests_by_scenarios() {
        let kernels = merge(&[
            played(
                "5.10",
                Shape::V2,
                vec![
                    judgement(AGENT, Kprobe, false, Outcome::Passed),
                    child(Fentry, false, Outcome::Passed),
                    child(Agree, false, Outcome::Passed),
                ],
            ),
            played(
                "5.10",
                Shape::V1,
                vec![child(Kprobe, false, Outcome::Passed), child(Tracepoint, false, Outcome::Blind)],
            ),
            played(
                "sid",
                Shape::V2,
                vec![
                    child(Fentry, false, Outcome::Lacking),
                    child(Kprobe, false, Outcome::Passed),
                    child(Kprobe, true, Outcome::Failed),
                    child(Agree, false, Outcome::Failed),
                    child(Tracepoint, true, Outcome::Missing),
                    judgement("system", Kprobe, false, Outcome::Passed),
                ],
            ),
        ]);
        let expected = "        5.10  5.10   sid
        v2    v1     v2
agent   ok    -      -
child   ok    ok -t  FAIL ka LOST t !f
system  -     -      ok
";
        assert_eq!(matrix(&kernels), format!("{expected}{LEGEND}"));
    }

    #[test]
    fn one_guest_with_its_times() {
        let mut agent = judgement(AGENT, Fentry, false, Outcome::Passed);
        agent.start_ms = Some(1540);
        let mut seen = child(Fentry, false, Outcome::Passed);
        seen.touch_to_line_us = Some(2510);
        let judgements =
            [agent, seen, child(Fentry, true, Outcome::Failed), child(Agree, false, Outcome::Missing)];
        let expected = "       fentry     agree  fentry alone
agent  ok 1.5 s   -      -
child  ok 2.5 ms  LOST   FAIL
";
        assert_eq!(guest(&judgements), expected);
    }

    #[test]
    fn says_once_what_several_did_the_same_way() {
        let wrong = |judged, alone, failure: &str| Judgement {
            failures: vec![failure.to_owned(), "more".to_owned()],
            ..child(judged, alone, Outcome::Failed)
        };
        let judgements = [
            wrong(Fentry, false, "no line"),
            child(Agree, false, Outcome::Passed),
            wrong(Kprobe, false, "two lines"),
            wrong(Tracepoint, true, "no line"),
        ];
        let texts: Vec<_> = faults(&judgements).into_iter().map(|fault| fault.text).collect();
        assert_eq!(
            texts,
            ["child (fentry, tracepoint alone)\n  no line\n  more", "child (kprobe)\n  two lines\n  more"]
        );
    }

    #[test]
    fn costs_by_kernels() {
        let mut newest = played("sid", Shape::V2, Vec::new());
        newest.costs = vec![
            Cost {
                error: Some("no such function".to_owned()),
                instructions: None,
                ..cost("oom_kill_fentry", 0)
            },
            cost("mark_victim", 812),
        ];
        let kernels = merge(&[played("6.1", Shape::V2, Vec::new()), newest]);
        let expected = "the verifier's cost: instructions processed / bytes of stack
                 6.1          sid
oom_kill_fentry  60123 / 232  refused
mark_victim      -            812 / 232
";
        assert_eq!(costs(&kernels), expected);
        assert!(costs(&[]).contains("not recorded"));
    }
}
