//! The agents before which scenarios are played: their start, their reports about a scenario, and their end.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::deployed::{self, Container, Deployment};
use crashtrace_judge::cast::{Cast, is_about};
use crashtrace_judge::catalogue::{Scenario, Tier};
use crashtrace_judge::matching;
use crashtrace_test_support::agent::{Agent, Line, Output};

/// How long a report may take: far longer than it does, for guests are emulated.
const REPORT: Duration = Duration::from_secs(30);

const CLOCK_CHANGED: &str = "clock_changed";

/// An agent before which scenarios are played.
pub struct Watcher {
    /// Its name in results.
    pub name: &'static str,
    pub tier: Tier,
    /// The hooks whose way of seeing failed allocations it has.
    pub failures: Tier,
    agent: RefCell<Agent>,
    /// The blind spots of these hooks by `crashtrace doctor`, which runs when a scenario first needs them.
    blind: RefCell<Option<Vec<String>>>,
    /// Where it is, if it is in one.
    container: Option<Container>,
}

/// Starts agents and prints the result. Agents that the kernel refuses are left out if they may be.
pub fn start(
    crashtrace: &Path,
    tiers: &[Tier],
    may_lack: &[Tier],
    deployment: Option<&Deployment>,
) -> Result<Vec<Watcher>> {
    let together = tiers.len() > 1 || deployment.is_some();
    let mut watchers = Vec::new();
    if let Some(deployment) = deployment {
        eprintln!("scenario: starting an agent in a container, as it is deployed");
        let (container, agent) = deployed::watch(deployment)?;
        watchers.push(Watcher {
            name: deployed::NAME,
            // Until it says which it has taken.
            tier: Tier::Fentry,
            failures: Tier::Fentry,
            agent: RefCell::new(agent),
            blind: RefCell::new(None),
            container: Some(container),
        });
    }
    for &tier in tiers {
        eprintln!("scenario: starting an agent with {} hooks", tier.name());
        let agent = RefCell::new(Agent::spawn(crashtrace, tier.name(), Output::Json)?);
        watchers.push(Watcher {
            name: tier.name(),
            tier,
            failures: tier,
            agent,
            blind: RefCell::new(None),
            container: None,
        });
    }
    let mut started = Vec::new();
    for mut watcher in watchers {
        let begun = watcher.agent.borrow_mut().wait_started();
        let start = watcher.agent.borrow().start;
        let mut result = json!({ "scenario": "agent", "hooks": watcher.name, "together": together });
        match begun {
            Ok(()) => {
                result["pass"] = true.into();
                result["start_ms"] = (start.as_millis() as u64).into();
                println!("{result}");
                if let Some((container, deployment)) = watcher.container.as_ref().zip(deployment) {
                    (watcher.tier, watcher.failures) = deployed::tiers(&watcher.agent.borrow().started);
                    deployed::verify(deployment, container);
                }
                started.push(watcher);
            }
            Err(error) if watcher.container.is_none() && may_lack.contains(&watcher.tier) => {
                result["skipped"] = format!("{error:#}").into();
                println!("{result}");
            }
            Err(error) => {
                // A result like any other, for readers of results alone.
                result["pass"] = false.into();
                result["failures"] = json!([format!("{error:#}")]);
                println!("{result}");
                return Err(error.context("no scenario was played"));
            }
        }
    }
    Ok(started)
}

impl Watcher {
    /// It is the one in a container.
    pub fn is_deployed(&self) -> bool {
        self.container.is_some()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.agent.borrow().pid()
    }

    /// Waits for so many lines about these cgroups, or until there is no hope of more.
    pub fn wait(&self, prefixes: &[String], count: usize) -> Result<()> {
        let enough =
            |lines: &[Line]| lines.iter().filter(|line| is_about(prefixes, &line.value)).count() >= count;
        self.agent.borrow_mut().read_until(Instant::now() + REPORT, enough)
    }

    /// Waits for so many `clock_changed` lines after the first `after` lines, for at most [`REPORT`].
    pub fn wait_clock(&self, after: usize, count: usize) -> Result<()> {
        let enough = |lines: &[Line]| clock_changes(lines, after).count() >= count;
        self.agent.borrow_mut().read_until(Instant::now() + REPORT, enough)
    }

    /// The `clock_changed` lines after the first `after` lines.
    pub fn clock_changes(&self, after: usize) -> Vec<Line> {
        clock_changes(&self.agent.borrow().lines, after).cloned().collect()
    }

    /// Waits for all that it must say of a scenario.
    pub fn wait_for(&self, scenario: &Scenario, cast: &Cast) -> Result<()> {
        let enough = |lines: &[Line]| {
            let about = lines.iter().map(|line| &line.value).filter(|line| cast.is_about(line));
            matching::enough(scenario, self.tier, cast, &about.collect::<Vec<_>>())
        };
        self.agent.borrow_mut().read_until(Instant::now() + REPORT, enough)
    }

    /// Its lines about these cgroups so far.
    pub fn said_about(&self, prefixes: &[String]) -> Vec<Value> {
        let agent = self.agent.borrow();
        agent.lines.iter().map(|line| &line.value).filter(|line| is_about(prefixes, line)).cloned().collect()
    }

    /// Its reports about a scenario so far.
    pub fn reports(&self, cast: &Cast) -> Vec<Line> {
        let agent = self.agent.borrow();
        agent.lines.iter().filter(|line| cast.is_about(&line.value)).cloned().collect()
    }

    /// Incidents that it has told since it had said so many lines.
    pub fn incidents_since(&self, count: usize) -> Vec<Value> {
        let agent = self.agent.borrow();
        let lines = agent.lines.iter().skip(count).map(|line| &line.value);
        lines
            .filter(|line| {
                let own = |kind: &str| kind.starts_with("agent_") || kind == "loss" || kind == CLOCK_CHANGED;
                line["kind"].as_str().is_some_and(|kind| !own(kind))
            })
            .cloned()
            .collect()
    }

    /// How many lines it has said.
    pub fn count(&self) -> usize {
        self.agent.borrow().lines.len()
    }

    /// Its counters, when it has been stopped.
    pub fn counters(&self) -> Value {
        let agent = self.agent.borrow();
        let mut last = agent.lines.iter().rev().map(|line| &line.value);
        last.find(|line| line["kind"] == "agent_stopping")
            .map_or(Value::Null, |line| line["counters"].clone())
    }

    /// What it has logged, when it has been stopped.
    pub fn log(&self) -> String {
        self.agent.borrow().log().to_owned()
    }

    /// Stops it; an error if it did not end well.
    pub fn stop(&self) -> Result<()> {
        self.agent.borrow_mut().stop()
    }

    /// Makes sure that `crashtrace doctor` names this as a blind spot of these hooks.
    pub fn ensure_blind(&self, crashtrace: &Path, what: &str) -> Result<()> {
        let mut blind = self.blind.borrow_mut();
        let list = match &mut *blind {
            Some(list) => list,
            none => none.insert(doctor(crashtrace, self.tier)?),
        };
        ensure!(
            list.iter().any(|item| item.contains(what)),
            "crashtrace doctor --hooks {} should name {what:?} as not seen, but has {list:?}",
            self.tier.name()
        );
        Ok(())
    }
}

fn clock_changes(lines: &[Line], after: usize) -> impl Iterator<Item = &Line> {
    lines.iter().skip(after).filter(|line| line.value["kind"] == CLOCK_CHANGED)
}

/// The blind spots of these hooks.
fn doctor(crashtrace: &Path, tier: Tier) -> Result<Vec<String>> {
    let mut command = Command::new(crashtrace);
    command.args(["doctor", "--output", "json", "--hooks", tier.name()]).stdin(Stdio::null());
    let output = command.output().context("cannot start crashtrace doctor")?;
    let said: Value = serde_json::from_slice(&output.stdout).context("crashtrace doctor gives no JSON")?;
    let blind = said["blind"].as_array().context("crashtrace doctor has no `blind`")?;
    Ok(blind.iter().filter_map(|item| item["what"].as_str()).map(str::to_owned).collect())
}
