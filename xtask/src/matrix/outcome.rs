//! Compares a guest's output with the plan of its plays. Pure: text in, judgements out.

use super::plan::{Boot, DeployedTurn, TURN};
use super::tier::{by_hand, may_lack};
use crashtrace_judge::catalogue::Tier;
use crashtrace_judge::starts::Check;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// The name in the output of `scenario run` for the agent's own start and end.
pub(crate) const AGENT: &str = "agent";

/// A judged agent, or the agreement of all that watched at once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, VariantArray, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub(crate) enum Judged {
    Fentry,
    Kprobe,
    Tracepoint,
    Agree,
    /// The agent in its container.
    Deployed,
}

impl Judged {
    pub(crate) const ALL: &[Self] = Self::VARIANTS;

    /// Its name in the output of `scenario`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

impl From<Tier> for Judged {
    fn from(tier: Tier) -> Self {
        match tier {
            Tier::Fentry => Self::Fentry,
            Tier::Kprobe => Self::Kprobe,
            Tier::Tracepoint => Self::Tracepoint,
        }
    }
}

/// The result of a scenario, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// The kernel refuses these hooks, and may.
    Lacking,
    /// These hooks cannot see it, and the agent wrote no line.
    Blind,
    Passed,
    Failed,
    /// There is no result, or the scenario was not played.
    Missing,
}

impl Outcome {
    pub(crate) fn is_good(self) -> bool {
        self < Self::Failed
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    pub(crate) scenario: String,
    pub(crate) judged: Judged,
    /// No other agent watched.
    pub(crate) alone: bool,
    pub(crate) outcome: Outcome,
    pub(crate) failures: Vec<String>,
    /// The agent's lines, if there are failures.
    pub(crate) lines: Vec<serde_json::Value>,
    pub(crate) start_ms: Option<u64>,
    /// From the victim's last page touch to the line.
    pub(crate) touch_to_line_us: Option<u64>,
}

/// The verifier's cost of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) program: String,
    pub(crate) instructions: Option<u64>,
    pub(crate) stack_bytes: Option<u64>,
    pub(crate) error: Option<String>,
}

/// A line of `scenario run`.
#[derive(Debug, Deserialize)]
struct Line {
    scenario: String,
    hooks: Judged,
    pass: Option<bool>,
    skipped: Option<String>,
    #[serde(default)]
    blind: bool,
    #[serde(default)]
    failures: Vec<String>,
    #[serde(default)]
    lines: Vec<serde_json::Value>,
    start_ms: Option<u64>,
    touch_to_line_us: Option<u64>,
}

/// Whether a line of the guest's output is a result, in contrast to a message.
pub(crate) fn is_result(line: &str) -> bool {
    line.starts_with(TURN) || parse::<Line>(line).is_some() || parse::<Cost>(line).is_some()
}

fn parse<T: for<'a> Deserialize<'a>>(line: &str) -> Option<T> {
    serde_json::from_str(line).ok()
}

/// The verifier's costs in a guest's output.
pub(crate) fn costs(output: &str) -> Vec<Cost> {
    output.lines().filter_map(parse).collect()
}

/// A judgement for each scenario and agent of each turn.
pub(crate) fn judge(boot: &Boot, output: &str) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    let lines = |number: usize| -> Vec<Line> {
        let begin = format!("{TURN}{number}");
        let of_turn = output.lines().skip_while(|line| *line != begin).skip(1);
        of_turn.take_while(|line| !line.starts_with(TURN)).filter_map(parse).collect()
    };
    for (number, tiers) in boot.turns.iter().enumerate() {
        let judges: Vec<_> = tiers.iter().copied().map(Judged::from).collect();
        let expected = expected(&boot.scenarios, &judges);
        judgements.extend(judge_turn(boot, tiers.len() == 1, &expected, &lines(number)));
    }
    if let Some(DeployedTurn { scenarios, checks }) = &boot.deployed {
        let mut expected = expected(scenarios, &[Judged::Deployed, by_hand(boot.kernel).into()]);
        expected.extend(checks.iter().map(|check| (check.as_str(), Judged::Deployed)));
        judgements.extend(judge_turn(boot, false, &expected, &lines(boot.turns.len())));
    }
    if boot.starts {
        let tiers = boot.start_tiers();
        let all =
            Check::ALL.iter().flat_map(|check| tiers.iter().map(|tier| (check.name(), Judged::from(*tier))));
        judgements.extend(judge_turn(boot, true, &all.collect::<Vec<_>>(), &lines(boot.starts_turn())));
    }
    judgements
}

/// The results that a turn must have: each scenario by each agent and, of several agents, their agreement.
fn expected<'a>(scenarios: &'a [String], judges: &[Judged]) -> Vec<(&'a str, Judged)> {
    let scenarios = std::iter::once(AGENT).chain(scenarios.iter().map(String::as_str));
    let all = scenarios.flat_map(|scenario| {
        let agree = (judges.len() > 1 && scenario != AGENT).then_some(Judged::Agree);
        judges.iter().copied().chain(agree).map(move |judged| (scenario, judged))
    });
    all.collect()
}

fn judge_turn(boot: &Boot, alone: bool, expected: &[(&str, Judged)], lines: &[Line]) -> Vec<Judgement> {
    let judgement = |line: &Line, outcome, failures| Judgement {
        scenario: line.scenario.clone(),
        judged: line.hooks,
        alone,
        outcome,
        failures,
        lines: line.lines.clone(),
        start_ms: line.start_ms,
        touch_to_line_us: line.touch_to_line_us,
    };
    let refused = |judged: Judged| {
        let may = may_lack(boot.kernel).iter().any(|tier| judged == (*tier).into());
        may && lines
            .iter()
            .any(|line| line.scenario == AGENT && line.hooks == judged && line.skipped.is_some())
    };
    let mut judgements: Vec<_> = lines
        .iter()
        .map(|line| match (line.pass, &line.skipped) {
            (Some(true), None) if line.blind => judgement(line, Outcome::Blind, Vec::new()),
            (Some(true), None) => judgement(line, Outcome::Passed, Vec::new()),
            (Some(false), None) => judgement(line, Outcome::Failed, line.failures.clone()),
            (None, Some(_)) if refused(line.hooks) => judgement(line, Outcome::Lacking, Vec::new()),
            // The plan has only scenarios whose needs this guest meets.
            (None, Some(why)) => judgement(line, Outcome::Missing, vec![format!("not played: {why}")]),
            _ => judgement(line, Outcome::Failed, vec!["an invalid result".to_owned()]),
        })
        .collect();
    for &(scenario, judged) in expected {
        let came = lines.iter().any(|line| line.scenario == scenario && line.hooks == judged);
        if !came {
            let (outcome, failures) = if refused(judged) {
                (Outcome::Lacking, vec![])
            } else {
                (Outcome::Missing, vec!["no result".to_owned()])
            };
            judgements.push(Judgement {
                scenario: scenario.to_owned(),
                judged,
                alone,
                outcome,
                failures,
                lines: Vec::new(),
                start_ms: None,
                touch_to_line_us: None,
            });
        }
    }
    judgements
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    fn boot(kernel: &'static str, turns: &[&[Tier]]) -> Boot {
        let turns = turns.iter().map(|tiers| tiers.to_vec()).collect();
        Boot {
            kernel,
            shape: Shape::V2,
            scenarios: vec!["child".to_owned()],
            turns,
            verifier: false,
            deployed: None,
            starts: false,
        }
    }

    fn outcomes(boot: &Boot, output: &str) -> Vec<(String, Judged, bool, Outcome)> {
        let mut all: Vec<_> = judge(boot, output)
            .into_iter()
            .map(|it| (it.scenario, it.judged, it.alone, it.outcome))
            .collect();
        all.sort();
        all
    }

    fn outcome(
        scenario: &str,
        judged: Judged,
        alone: bool,
        outcome: Outcome,
    ) -> (String, Judged, bool, Outcome) {
        (scenario.to_owned(), judged, alone, outcome)
    }

    #[test]
    fn each_turn_has_its_own_results() {
        let boot = boot("6.1", &[&[Tier::Kprobe, Tier::Tracepoint], &[Tier::Kprobe]]);
        let output = r#"crashtrace-turn: 0
scenario: child
{"scenario":"agent","hooks":"kprobe","pass":true,"start_ms":1500}
{"scenario":"agent","hooks":"tracepoint","pass":true,"start_ms":1600}
{"scenario":"child","hooks":"kprobe","pass":true,"touch_to_line_us":2500,"lines":[]}
{"scenario":"child","hooks":"tracepoint","pass":true,"blind":true}
{"scenario":"child","hooks":"agree","pass":false,"failures":["x"]}
crashtrace-turn: 1
{"scenario":"agent","hooks":"kprobe","pass":true}
{"scenario":"child","hooks":"kprobe","pass":false,"failures":["y"],"lines":[{"seq":1}]}
"#;
        assert_eq!(
            outcomes(&boot, output),
            [
                outcome("agent", Judged::Kprobe, false, Outcome::Passed),
                outcome("agent", Judged::Kprobe, true, Outcome::Passed),
                outcome("agent", Judged::Tracepoint, false, Outcome::Passed),
                outcome("child", Judged::Kprobe, false, Outcome::Passed),
                outcome("child", Judged::Kprobe, true, Outcome::Failed),
                outcome("child", Judged::Tracepoint, false, Outcome::Blind),
                outcome("child", Judged::Agree, false, Outcome::Failed),
            ]
        );
        let judgements = judge(&boot, output);
        assert_eq!(judgements[0].start_ms, Some(1500));
        let failed: Vec<_> = judgements.iter().filter(|it| it.outcome == Outcome::Failed).collect();
        assert_eq!((failed[1].failures[0].as_str(), failed[1].lines.len()), ("y", 1));
    }

    #[test]
    fn the_agent_as_it_is_deployed_has_a_turn_of_its_own() {
        let turn = DeployedTurn {
            scenarios: vec!["child".to_owned()],
            checks: vec!["leaves_nothing".to_owned(), "without_bpf".to_owned()],
        };
        let boot = Boot { deployed: Some(turn), ..boot("6.1", &[&[Tier::Kprobe]]) };
        let output = r#"crashtrace-turn: 0
{"scenario":"agent","hooks":"kprobe","pass":true}
{"scenario":"child","hooks":"kprobe","pass":true}
crashtrace-turn: 1
{"scenario":"agent","hooks":"deployed","pass":true}
{"scenario":"agent","hooks":"fentry","pass":true}
{"scenario":"child","hooks":"deployed","pass":true}
{"scenario":"child","hooks":"agree","pass":true}
{"scenario":"leaves_nothing","hooks":"deployed","pass":false,"failures":["left behind: map 7"]}
"#;
        assert_eq!(
            outcomes(&boot, output),
            [
                outcome("agent", Judged::Fentry, false, Outcome::Passed),
                outcome("agent", Judged::Kprobe, true, Outcome::Passed),
                outcome("agent", Judged::Deployed, false, Outcome::Passed),
                outcome("child", Judged::Fentry, false, Outcome::Missing),
                outcome("child", Judged::Kprobe, true, Outcome::Passed),
                outcome("child", Judged::Agree, false, Outcome::Passed),
                outcome("child", Judged::Deployed, false, Outcome::Passed),
                outcome("leaves_nothing", Judged::Deployed, false, Outcome::Failed),
                outcome("without_bpf", Judged::Deployed, false, Outcome::Missing),
            ]
        );
    }

    #[test]
    fn starts_have_the_last_turn_and_only_hooks_that_the_kernel_must_have() {
        let turn = DeployedTurn { scenarios: Vec::new(), checks: vec!["leaves_nothing".to_owned()] };
        let boot = Boot { deployed: Some(turn), starts: true, ..boot("arm64-6.1", &[]) };
        let output = r#"crashtrace-turn: 0
{"scenario":"sessions","hooks":"tracepoint","pass":true}
crashtrace-turn: 1
{"scenario":"sessions","hooks":"kprobe","pass":true,"lines":[{"kills":9}]}
{"scenario":"wrong_btf","hooks":"kprobe","pass":false,"failures":["exit code 0"]}
"#;
        let starts: Vec<_> = outcomes(&boot, output).into_iter().filter(|it| it.2).collect();
        assert_eq!(
            starts,
            [
                outcome("pinned", Judged::Kprobe, true, Outcome::Missing),
                outcome("pinned", Judged::Tracepoint, true, Outcome::Missing),
                outcome("sessions", Judged::Kprobe, true, Outcome::Passed),
                outcome("sessions", Judged::Tracepoint, true, Outcome::Missing),
                outcome("wrong_btf", Judged::Kprobe, true, Outcome::Failed),
                outcome("wrong_btf", Judged::Tracepoint, true, Outcome::Missing),
            ]
        );
    }

    #[test]
    fn what_a_dead_guest_never_said_is_missing() {
        let boot = boot("6.1", &[&[Tier::Fentry], &[Tier::Kprobe]]);
        let output =
            "crashtrace-turn: 0\n{\"scenario\":\"agent\",\"hooks\":\"fentry\",\"pass\":true}\n{\"scen";
        assert_eq!(
            outcomes(&boot, output),
            [
                outcome("agent", Judged::Fentry, true, Outcome::Passed),
                outcome("agent", Judged::Kprobe, true, Outcome::Missing),
                outcome("child", Judged::Fentry, true, Outcome::Missing),
                outcome("child", Judged::Kprobe, true, Outcome::Missing),
            ]
        );
    }

    #[test]
    fn hooks_may_be_lacking_only_where_the_kernel_may_refuse_them() {
        let output = r#"crashtrace-turn: 0
{"scenario":"agent","hooks":"fentry","skipped":"refused by the kernel"}
"#;
        let lacking = outcomes(&boot("arm64-6.1", &[&[Tier::Fentry]]), output);
        assert!(lacking.iter().all(|it| it.3 == Outcome::Lacking) && lacking.len() == 2, "{lacking:?}");
        let missing = outcomes(&boot("6.1", &[&[Tier::Fentry]]), output);
        assert!(missing.iter().all(|it| it.3 == Outcome::Missing) && missing.len() == 2, "{missing:?}");
    }

    #[test]
    fn what_was_skipped_in_a_guest_made_for_it_is_missing() {
        let output = r#"crashtrace-turn: 0
{"scenario":"agent","hooks":"kprobe","pass":true}
{"scenario":"child","hooks":"kprobe","skipped":"needs cgroup v1"}
"#;
        let judgements = judge(&boot("6.1", &[&[Tier::Kprobe]]), output);
        assert_eq!(judgements[1].outcome, Outcome::Missing);
        assert_eq!(judgements[1].failures, ["not played: needs cgroup v1"]);
        assert!(!judgements[1].outcome.is_good() && judgements[0].outcome.is_good());
    }

    #[test]
    fn results_are_told_from_what_is_for_people() {
        let cost = r#"{"program":"a","instructions":60123,"stack_bytes":232,"states":9,"error":null}"#;
        let refused = r#"{"program":"b","error":"no such function"}"#;
        let costs = costs(&format!("x\n{cost}\n{refused}\n"));
        assert_eq!((costs[0].instructions, costs[0].stack_bytes), (Some(60123), Some(232)));
        assert_eq!(costs[1].error.as_deref(), Some("no such function"));
        for result in [cost, "crashtrace-turn: 0", r#"{"scenario":"a","hooks":"agree","pass":true}"#] {
            assert!(is_result(result), "{result}");
        }
        assert!(!is_result("scenario: child") && !is_result("{}"));
    }
}
