//! `cargo xtask vm --scenario`: plays the scenarios of `tests/scenario` in one boot of a guest, before an agent with
//! each kind of hooks and then before all of them at once, whose reports must agree.

use super::kernel::Spec;
use super::{GuestFile, Options, run_in_guest};
use crate::build::{self, Program};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The kinds of hooks, as `crashtrace watch --hooks` has them.
const HOOKS: [&str; 3] = ["fentry", "kprobe", "tracepoint"];

/// How `scenario` calls the comparison of agents that saw the same.
const AGREE: &str = "agree";

/// Emulated, all of it takes some minutes.
const TIMEOUT_SECS: u64 = 1200;

/// The table of scenarios itself: each has a line here.
const SOURCE: &str = include_str!("../../../tests/scenario/scenarios.rs");

/// Which scenarios, and before whom.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Scenarios {
    /// Play these scenarios (`all` of them) in place of a command.
    #[arg(long = "scenario", value_name = "NAME", num_args = 1.., conflicts_with = "shell")]
    pub(super) scenarios: Vec<String>,
    /// With these hooks, one kind after the other, and then with all of them at once.
    #[arg(long, value_delimiter = ',', default_values = HOOKS, value_parser = HOOKS, requires = "scenarios")]
    hooks: Vec<String>,
}

/// The names of all scenarios.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let entries = SOURCE.lines().filter_map(|line| line.trim().strip_prefix("Scenario { name: \""));
    entries.filter_map(|rest| rest.split('"').next())
}

/// Plays, and prints what came of it.
pub(super) fn run(args: &Scenarios, kernel: &str, options: &Options) -> Result<()> {
    for name in &args.scenarios {
        let known = name == "all" || names().any(|known| known == name);
        anyhow::ensure!(
            known,
            "there is no scenario {name}: all, {}",
            names().collect::<Vec<_>>().join(", ")
        );
    }
    let target = Spec::of(kernel)?.arch.target();
    let programs = [Program::Bin("crashtrace"), Program::Example("scenario")];
    let paths = build::build(&programs, "release", Some(target))?;
    let files = paths.iter().zip(["/bin/crashtrace", "/bin/scenario"]);
    let files: Vec<_> = files
        .map(|(host, guest)| GuestFile { guest: guest.to_owned(), host: host.clone(), mode: 0o755 })
        .collect();
    let options = Options {
        timeout_secs: options.timeout_secs.max(TIMEOUT_SECS),
        // The results come as a table.
        on_line: |line| {
            if parse(line).is_none() {
                eprintln!("  | {line}");
            }
        },
        ..options.clone()
    };
    let output = run_in_guest(kernel, &files, &script(args), &options)?;
    let results: Vec<_> = output.results.lines().filter_map(parse).collect();
    for result in results.iter().filter(|result| !result.pass) {
        println!("{} ({}):", result.scenario, result.hooks);
        for failure in &result.failures {
            println!("  {failure}");
        }
        for line in &result.lines {
            println!("  {line}");
        }
    }
    print!("{}", table(&results));
    // A guest that died on the way explains a failure better than the failure itself.
    let failed = results.iter().filter(|result| !result.pass).count();
    if failed > 0 {
        bail!(
            "{failed} of {} results are not as they must be; logs: {}",
            results.len(),
            output.logs.display()
        );
    }
    output.succeeded().context("the scenarios were not played to their end")?;
    Ok(())
}

/// What the guest runs. Each kind of hooks has its turn, whatever became of the one before.
fn script(args: &Scenarios) -> String {
    let mut turns = args.hooks.clone();
    if args.hooks.len() > 1 {
        turns.push(args.hooks.join(","));
    }
    let names = args.scenarios.join(" ");
    let mut script = "status=0\n".to_owned();
    for hooks in turns {
        writeln!(
            script,
            "/bin/scenario run --guest --crashtrace /bin/crashtrace --hooks {hooks} {names} || status=1"
        )
        .unwrap_or_default();
    }
    script + "exit $status"
}

/// One line of `scenario run`.
#[derive(Debug, Deserialize)]
struct Played {
    scenario: String,
    hooks: String,
    pass: bool,
    #[serde(default)]
    failures: Vec<String>,
    #[serde(default)]
    lines: Vec<serde_json::Value>,
    /// How long the agent took to begin.
    start_ms: Option<u64>,
    /// From the victim's last touch to the line.
    touch_to_line_us: Option<u64>,
    /// Agents that watched, if more than one.
    #[serde(default)]
    together: bool,
}

fn parse(line: &str) -> Option<Played> {
    serde_json::from_str(line).ok()
}

/// Scenarios by kinds of hooks.
fn table(results: &[Played]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<(&str, String), String> = BTreeMap::new();
    for result in results {
        if !order.contains(&result.scenario.as_str()) {
            order.push(&result.scenario);
        }
        let time = match (result.start_ms, result.touch_to_line_us) {
            (Some(start), _) => format!(" {:.1} s", start as f64 / 1e3),
            (None, Some(touch)) => format!(" {:.1} ms", touch as f64 / 1e3),
            (None, None) => String::new(),
        };
        let column = if result.together { AGREE.to_owned() } else { result.hooks.clone() };
        let failed =
            cells.get(&(result.scenario.as_str(), column.clone())).is_some_and(|cell| cell == "FAIL");
        let cell = if result.pass && !failed { format!("ok{time}") } else { "FAIL".to_owned() };
        cells.insert((&result.scenario, column), cell);
    }
    let columns: Vec<&str> = HOOKS.into_iter().chain([AGREE]).collect();
    let mut table = format!("{:<14}", "");
    for column in &columns {
        write!(table, " {column:<14}").unwrap_or_default();
    }
    table.push('\n');
    for scenario in order {
        write!(table, "{scenario:<14}").unwrap_or_default();
        for column in &columns {
            let cell = cells.get(&(scenario, (*column).to_owned())).map_or("-", String::as_str);
            write!(table, " {cell:<14}").unwrap_or_default();
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_scenarios_in_their_source() {
        let names: Vec<_> = names().collect();
        assert!(names.contains(&"own_limit") && names.contains(&"system"), "{names:?}");
    }

    #[test]
    fn a_failure_in_any_turn_shows() {
        let lines = [
            r#"{"scenario":"agent","hooks":"fentry","pass":true,"start_ms":1500}"#,
            r#"{"scenario":"child","hooks":"fentry","pass":true,"touch_to_line_us":2500,"lines":[]}"#,
            r#"{"scenario":"child","hooks":"fentry","together":true,"pass":false,"failures":["x"]}"#,
            r#"{"scenario":"child","hooks":"agree","together":true,"pass":true}"#,
        ];
        let results: Vec<_> = lines.iter().filter_map(|line| parse(line)).collect();
        let table = table(&results);
        let rows: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["agent", "ok", "1.5", "s", "-", "-", "-"]);
        assert_eq!(rows[2], ["child", "ok", "2.5", "ms", "-", "-", "FAIL"]);
        assert!(parse("scenario: child").is_none());
    }
}
