//! Plays scenarios before one or more agents at once, and holds what each reports against what happened.
//!
//! Several agents with different hooks see the very same kill, so their reports must agree as well.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::agent::{Agent, Line, Output};
use crate::agree;
use crate::cgroup::Hierarchy;
use crate::expect::Tier;
use crate::scenarios::{ALL, Played, Scenario, Stage};

/// How long a report may take: far longer than it does, for guests are emulated.
const REPORT: Duration = Duration::from_secs(30);

/// What to play, and before whom.
#[derive(clap::Args)]
pub struct Args {
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    crashtrace: PathBuf,
    /// Agents to run, by the hooks that they use; of several, their reports must agree
    #[arg(long, value_delimiter = ',', default_value = "tracepoint", value_parser = tier)]
    hooks: Vec<Tier>,
    /// This is a guest, and may be harmed
    #[arg(long)]
    guest: bool,
    /// Print the reports also of scenarios that pass
    #[arg(long)]
    lines: bool,
    /// The scenarios, or `all` that can be played here
    #[arg(required = true)]
    names: Vec<String>,
}

fn tier(name: &str) -> Result<Tier, String> {
    let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name);
    tier.ok_or_else(|| "one of fentry, kprobe, tracepoint".to_owned())
}

/// An agent before which scenarios are played.
struct Watcher {
    tier: Tier,
    agent: RefCell<Agent>,
}

/// A scenario that was played, with what was found until its last line was there.
struct Outcome {
    name: &'static str,
    played: Result<Played>,
    took: Duration,
}

/// Plays, and prints one JSON object for each scenario and agent. Says whether all is as it must be.
pub fn run(args: &Args) -> Result<bool> {
    let hierarchy = Hierarchy::find()?;
    if args.guest {
        // The harness must survive what it brings about; its victims set their own.
        std::fs::write("/proc/self/oom_score_adj", "-999").context("cannot set oom_score_adj")?;
    }
    let scenarios = choose(args, &hierarchy)?;
    let watchers = start(&args.crashtrace, &args.hooks)?;
    let mut outcomes = Vec::new();
    for scenario in scenarios {
        eprintln!("scenario: {}", scenario.name);
        let begun = Instant::now();
        let played = play(scenario, &hierarchy, &watchers);
        outcomes.push(Outcome { name: scenario.name, played, took: begun.elapsed() });
    }
    let together = watchers.len() > 1;
    let mut good = true;
    for watcher in &watchers {
        let stopped = watcher.agent.borrow_mut().stop();
        let failures: Vec<_> = stopped.err().into_iter().map(|error| format!("{error:#}")).collect();
        good &= failures.is_empty();
        let start = watcher.agent.borrow().start;
        let result = json!({ "scenario": "agent", "hooks": watcher.tier.name(), "together": together,
            "pass": failures.is_empty(), "start_ms": start.as_millis() as u64, "failures": failures });
        println!("{result}");
    }
    // Judged only now that all lines of the session are there: one too many must not slip through.
    for outcome in &outcomes {
        for watcher in &watchers {
            let mut result = judge(outcome, watcher, args.lines);
            result["together"] = together.into();
            good &= result["pass"] == true;
            println!("{result}");
        }
        if let (Ok(played), true) = (&outcome.played, together) {
            let judged = |it: &Watcher| {
                let count = played.expected(it.tier).count();
                (it.tier, reports(it, played).into_iter().take(count).collect())
            };
            let reports: Vec<_> = watchers.iter().map(judged).collect();
            let failures = agree::faults(&reports);
            good &= failures.is_empty();
            let result = json!({ "scenario": outcome.name, "hooks": "agree", "together": true, "pass": failures.is_empty(),
                "failures": failures });
            println!("{result}");
        }
    }
    Ok(good)
}

fn choose(args: &Args, hierarchy: &Hierarchy) -> Result<Vec<&'static Scenario>> {
    if args.names == ["all"] {
        return Ok(ALL
            .iter()
            .filter(|scenario| scenario.hindrance(hierarchy, args.guest).is_none())
            .collect());
    }
    let mut scenarios = Vec::new();
    for name in &args.names {
        let scenario = Scenario::named(name)?;
        if let Some(why) = scenario.hindrance(hierarchy, args.guest) {
            anyhow::bail!("{name} {why}");
        }
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

fn start(crashtrace: &Path, tiers: &[Tier]) -> Result<Vec<Watcher>> {
    let mut watchers = Vec::new();
    for &tier in tiers {
        eprintln!("scenario: starting an agent with {} hooks", tier.name());
        watchers.push(Watcher {
            tier,
            agent: RefCell::new(Agent::spawn(crashtrace, tier.name(), Output::Json)?),
        });
    }
    for watcher in &watchers {
        if let Err(error) = watcher.agent.borrow_mut().wait_started() {
            // A result like any other, for whoever reads only those.
            let result = json!({ "scenario": "agent", "hooks": watcher.tier.name(), "together": tiers.len() > 1,
                "pass": false, "failures": [format!("{error:#}")] });
            println!("{result}");
            return Err(error.context("no scenario was played"));
        }
    }
    Ok(watchers)
}

fn play(scenario: &Scenario, hierarchy: &Hierarchy, watchers: &[Watcher]) -> Result<Played> {
    let wait = |prefix: &str, count: usize| {
        let mut seeing = watchers.iter().filter(|watcher| watcher.tier.sees_decision());
        seeing.try_for_each(|watcher| wait(watcher, prefix, count))
    };
    let played = scenario.play(&Stage { hierarchy, wait: &wait })?;
    for watcher in watchers {
        self::wait(watcher, &played.prefix, played.expected(watcher.tier).count())?;
    }
    Ok(played)
}

/// Waits for so many reports, or until there is no hope of more.
fn wait(watcher: &Watcher, prefix: &str, count: usize) -> Result<()> {
    let enough = |lines: &[Line]| lines.iter().filter(|line| is_about(&line.value, prefix)).count() >= count;
    watcher.agent.borrow_mut().read_until(Instant::now() + REPORT, enough)
}

/// Whether a report names a cgroup that begins like this.
fn is_about(line: &Value, prefix: &str) -> bool {
    let named =
        |path: &str| line.pointer(path).and_then(Value::as_str).is_some_and(|it| it.starts_with(prefix));
    let victims = line["victims"].as_array().map_or(0, Vec::len);
    named("/limit/cgroup")
        || named("/trigger/cgroup")
        || (0..victims).any(|index| named(&format!("/victims/{index}/cgroup")))
}

/// The reports of an agent about what was played.
fn reports(watcher: &Watcher, played: &Played) -> Vec<Line> {
    let agent = watcher.agent.borrow();
    agent.lines.iter().filter(|line| is_about(&line.value, &played.prefix)).cloned().collect()
}

fn judge(outcome: &Outcome, watcher: &Watcher, show: bool) -> Value {
    let mut failures = Vec::new();
    let mut lines = Vec::new();
    let (mut touch_to_line_us, mut decision_to_line_us) = (None, None);
    match &outcome.played {
        Err(error) => failures.push(format!("{error:#}")),
        Ok(played) => {
            lines = reports(watcher, played);
            let expected: Vec<_> = played.expected(watcher.tier).collect();
            // What folds goes on, one line a second, until the process at its limit has been ended.
            let goes_on = expected.last().is_some_and(|last| last.repeats > 0);
            let more = lines.get(expected.len()..).unwrap_or_default();
            let strange = more.iter().filter(|line| !goes_on || line.value["kind"] != "oom_no_kill").count();
            if lines.len() < expected.len() || strange > 0 {
                failures.push(format!("expected {} reports, got {}", expected.len(), lines.len()));
            }
            for (expected, line) in expected.iter().zip(&lines) {
                failures.extend(expected.faults(watcher.tier, &line.value));
            }
            if let Some(line) = lines.first() {
                let since_us = |ns: u64| line.read_ns.saturating_sub(ns) / 1000;
                touch_to_line_us = played.last_touch_ns.map(since_us);
                decision_to_line_us = line.value["ktime_ns"].as_u64().map(since_us);
            }
        }
    }
    // Whoever reads that something is wrong wants the whole line.
    let show = show || !failures.is_empty();
    let lines: Vec<_> = lines.into_iter().filter(|_| show).map(|line| line.value).collect();
    json!({ "scenario": outcome.name, "hooks": watcher.tier.name(), "pass": failures.is_empty(),
        "took_ms": outcome.took.as_millis() as u64, "touch_to_line_us": touch_to_line_us,
        "decision_to_line_us": decision_to_line_us, "failures": failures,
        "lines": lines })
}
