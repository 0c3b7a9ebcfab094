//! Plays scenarios before one or more agents at once, and compares each agent's reports with the events.
//!
//! Several agents with different hooks see the very same kill, so their reports must agree as well. A result is printed
//! as soon as all expected lines have come; a later line, which should not come, is found when the agents have ended.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::deployed::{self, Deployment, remove_cgroups};
use crate::kernel_log::KernelLog;
use crate::privileges;
use crate::scenarios::{self, EARLY, Early, Stage};
use crate::scratch;
use crate::watcher::{self, Watcher};
use crashtrace_judge::agree;
use crashtrace_judge::cast::Cast;
use crashtrace_judge::catalogue::{Catalogue, Harness, Scenario, Surroundings, Tier};
use crashtrace_judge::clock::Timed;
use crashtrace_judge::exit;
use crashtrace_judge::kernel_log::Decision;
use crashtrace_judge::matching::{self, Said};
use crashtrace_test_support::agent::Line;
use crashtrace_test_support::cgroup::Hierarchy;

/// Lines of an agent's log that are shown when it failed.
const MOST_LOG_LINES: usize = 20;

/// What to play, and before whom.
#[derive(clap::Args)]
pub struct Args {
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    crashtrace: PathBuf,
    /// Agents to run, by the hooks that they use; of several, their reports must agree
    #[arg(long, value_delimiter = ',', default_value = "tracepoint")]
    hooks: Vec<Tier>,
    /// Hooks that this kernel may refuse altogether
    #[arg(long, value_name = "HOOKS", value_delimiter = ',')]
    may_lack: Vec<Tier>,
    /// This is a guest, and may be harmed
    #[arg(long)]
    guest: bool,
    /// Beside an agent in a container, as the manifests in this folder have it
    #[arg(long, value_name = "DIR", requires = "guest")]
    deployed: Option<PathBuf>,
    /// Print the reports also of scenarios that pass
    #[arg(long)]
    lines: bool,
    /// The scenarios, or `all`
    #[arg(required = true)]
    names: Vec<String>,
}

/// Parses a kind of hooks.
/// Version of the running kernel.
pub fn kernel() -> Option<(u32, u32)> {
    let release = rustix::system::uname();
    let mut numbers = release.release().to_str().ok()?.split(|mark: char| !mark.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the kernel lists where its NUMA nodes are.
fn nodes_listed() -> Result<bool> {
    let symbols = std::fs::read("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    let names =
        symbols.split(|byte| *byte == b'\n').filter_map(|line| line.rsplit(|byte| *byte == b' ').next());
    Ok(names.into_iter().any(|name| name == b"node_data" || name == b"contig_page_data"))
}

/// This program, as lines about what it kills must have it.
fn harness() -> Result<Harness> {
    let own = std::fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    // Its tests may run in a container, whose id is 64 digits.
    let is_id = |name: &str| name.len() >= 64 && name.contains(|mark: char| mark.is_ascii_hexdigit());
    let contained = own.lines().any(|line| line.split(['/', '-', '.']).any(is_id));
    Ok(Harness { pid: std::process::id(), ended_by: if contained { "other_container" } else { "host" } })
}

fn timed(line: &Line) -> Timed<'_> {
    Timed { line: &line.value, wall_ahead_ns: line.wall_ahead_ns }
}

/// A scenario that was played and judged.
struct Outcome<'a> {
    scenario: &'a Scenario,
    cast: Cast,
    /// How many lines each agent had said about it when it was judged.
    counts: Vec<usize>,
    /// It was as expected then.
    good: bool,
}

/// Plays, and prints one JSON object for each scenario and agent. Returns whether all passed.
pub fn run(args: &Args) -> Result<bool> {
    let catalogue = Catalogue::read()?;
    scenarios::fit(&catalogue.names())?;
    let chosen = choose(&catalogue, &args.names)?;
    let hierarchy = if args.guest { Hierarchy::find_any()? } else { Hierarchy::find()? };
    if args.guest {
        // The harness and the agents must survive the scenarios' OOMs; the victims set their own.
        std::fs::write("/proc/self/oom_score_adj", "-999").context("cannot set oom_score_adj")?;
    }
    let deployment = args.deployed.as_deref();
    let deployment = deployment.map(|dir| Deployment::new(dir, &args.crashtrace, &hierarchy)).transpose()?;
    let early = chosen.iter().any(|scenario| scenario.name == EARLY).then(|| Early::start(&hierarchy));
    let early = RefCell::new(early.transpose()?);
    let watchers = watcher::start(&args.crashtrace, &args.hooks, &args.may_lack, deployment.as_ref())?;
    if watchers.is_empty() {
        // All that were wanted may be lacking.
        return Ok(true);
    }
    let surroundings = Surroundings {
        kernel: kernel().context("the kernel's version cannot be read")?,
        tiers: watchers.iter().map(|watcher| watcher.tier).collect(),
        cpus: std::thread::available_parallelism().context("the number of CPUs is unknown")?.get() as u64,
        nodes_listed: nodes_listed()?,
        harness: harness()?,
    };
    let together = args.hooks.len() > 1 || deployment.is_some();
    let session = Session { args, catalogue: &catalogue, hierarchy, watchers, surroundings, together, early };
    let mut outcomes = Vec::new();
    let mut good = true;
    let mut broken = false;
    for scenario in chosen {
        if let Some(why) = scenarios::hindrance(scenario, &session.hierarchy, args.guest) {
            session.skip(scenario, why);
            continue;
        }
        eprintln!("scenario: {}", scenario.name);
        match session.play(scenario) {
            Some((outcome, as_expected)) => {
                good &= as_expected;
                outcomes.push(outcome);
            }
            None => broken = true,
        }
    }
    good &= session.end(&outcomes, broken);
    drop(session);
    deployment.iter().try_for_each(|deployment| remove_cgroups(&deployment.hierarchy))?;
    Ok(good && !broken)
}

fn choose<'a>(catalogue: &'a Catalogue, names: &[String]) -> Result<Vec<&'a Scenario>> {
    if names == ["all"] {
        return Ok(catalogue.scenarios.iter().collect());
    }
    let find =
        |name: &String| catalogue.scenario(name).with_context(|| format!("there is no scenario {name}"));
    names.iter().map(find).collect()
}

/// One run of the agents.
struct Session<'a> {
    args: &'a Args,
    catalogue: &'a Catalogue,
    surroundings: Surroundings,
    hierarchy: Hierarchy,
    watchers: Vec<Watcher>,
    together: bool,
    early: RefCell<Option<Early>>,
}

impl Session<'_> {
    fn skip(&self, scenario: &Scenario, why: &str) {
        for watcher in &self.watchers {
            let result = json!({ "scenario": scenario.name, "hooks": watcher.name,
                "together": self.together, "skipped": why });
            println!("{result}");
        }
    }

    /// Plays and judges, and returns whether all passed. `None` if it could not be played to its end.
    fn play<'a>(&self, scenario: &'a Scenario) -> Option<(Outcome<'a>, bool)> {
        let before: Vec<_> = self.watchers.iter().map(Watcher::count).collect();
        let begun = Instant::now();
        // On a machine that others use, its log is theirs too, and not open to all.
        let log = self.args.guest.then(KernelLog::follow).transpose();
        let played = log.and_then(|log| Ok((self.bring_about(scenario, &before)?, log)));
        scratch::remove_what_is_over();
        let took = begun.elapsed();
        let played = played.and_then(|(cast, log)| {
            Ok((cast, log.map(KernelLog::decisions).transpose()?.unwrap_or_default()))
        });
        let (cast, log) = match played {
            Ok(played) => played,
            Err(error) => {
                for (watcher, before) in self.watchers.iter().zip(before) {
                    let failures = vec![format!("{error:#}")];
                    let result = json!({ "lines": watcher.incidents_since(before) });
                    self.print(scenario, watcher.name, &failures, &result);
                }
                return None;
            }
        };
        let mut good = true;
        let mut reports = Vec::new();
        for (watcher, before) in self.watchers.iter().zip(&before) {
            let lines = watcher.reports(&cast);
            let said = (lines.as_slice(), watcher.clock_changes(*before));
            good &= self.judge((scenario, &cast, &log), watcher, said, took);
            let values: Vec<_> = lines.iter().map(|line| &line.value).collect();
            let compared = matching::compared(scenario, watcher.tier, &cast, &values);
            reports.push((watcher.tier, compared.into_iter().cloned().collect::<Vec<_>>()));
        }
        if self.together {
            // In its pod it knows the node by another name, and has other sources of pods' names.
            let deployed = self.watchers.iter().any(Watcher::is_deployed);
            let own: &[&str] = if deployed { &["node", "unresolved"] } else { &[] };
            let excuse = |tier: Tier| self.catalogue.exceptions(tier, &self.surroundings);
            let failures = agree::faults(scenario, &reports, &excuse, own);
            good &= failures.is_empty();
            self.print(scenario, "agree", &failures, &json!({}));
        }
        let counts = self.watchers.iter().map(|watcher| watcher.reports(&cast).len()).collect();
        Some((Outcome { scenario, cast, counts, good }, good))
    }

    /// `before` is how many lines each agent had said.
    fn bring_about(&self, scenario: &Scenario, before: &[usize]) -> Result<Cast> {
        let wait = |prefixes: &[String], count: usize| {
            let mut seeing =
                self.watchers.iter().filter(|watcher| !scenario.blind.contains_key(&watcher.tier));
            seeing.try_for_each(|watcher| watcher.wait(prefixes, count))
        };
        let reports = |prefixes: &[String]| {
            let mut seeing =
                self.watchers.iter().filter(|watcher| !scenario.blind.contains_key(&watcher.tier));
            seeing.next().map_or_else(Vec::new, |watcher| watcher.said_about(prefixes))
        };
        let agents: Vec<_> = self.watchers.iter().map(Watcher::pid).collect();
        let wait_clock = |count: usize| {
            let mut watchers = self.watchers.iter().zip(before);
            watchers.try_for_each(|(watcher, before)| watcher.wait_clock(*before, count))
        };
        let stage = Stage {
            hierarchy: &self.hierarchy,
            agents: &agents,
            guest: self.args.guest,
            runc: self.args.guest && scenario.runc,
            early: &self.early,
            wait: &wait,
            reports: &reports,
            wait_clock: &wait_clock,
        };
        let cast = scenarios::play(&scenario.name)?(&stage)?;
        self.watchers.iter().try_for_each(|watcher| watcher.wait_for(scenario, &cast))?;
        Ok(cast)
    }

    fn judge(
        &self,
        (scenario, cast, log): (&Scenario, &Cast, &[Decision]),
        watcher: &Watcher,
        (lines, clock): (&[Line], Vec<Line>),
        took: Duration,
    ) -> bool {
        let values: Vec<_> = lines.iter().map(|line| &line.value).collect();
        let (bytes, wall_ahead_ns) = lines.iter().map(|line| (line.bytes, line.wall_ahead_ns)).unzip();
        let exceptions = self.catalogue.exceptions(watcher.tier, &self.surroundings);
        let surroundings = &self.surroundings;
        let said = Said {
            tier: watcher.tier,
            failures: watcher.failures,
            surroundings,
            exceptions,
            kernel_log: log,
            lines: values,
            bytes,
            wall_ahead_ns,
            clock: self.args.guest.then(|| clock.iter().map(timed).collect()),
        };
        let mut failures = matching::faults(scenario, cast, &said);
        if watcher.is_deployed() {
            failures.extend(deployed::faults(&said.lines));
        }
        let blind = scenario.blind.get(&watcher.tier);
        if let Some(what) = blind {
            let said = watcher.ensure_blind(&self.args.crashtrace, what);
            failures.extend(said.err().map(|error| format!("{error:#}")));
        }
        let since_us = |line: &Line, ns: u64| line.read_ns.saturating_sub(ns) / 1000;
        let first = lines.first();
        let touch_to_line_us = first.zip(cast.last_touch_ns).map(|(line, ns)| since_us(line, ns));
        let decision_to_line_us =
            first.and_then(|line| Some(since_us(line, line.value["ktime_ns"].as_u64()?)));
        // A failure is printed with the whole line.
        let show = self.args.lines || !failures.is_empty();
        let shown = if show { said.lines } else { Vec::new() };
        let mut result = json!({ "took_ms": took.as_millis() as u64, "touch_to_line_us": touch_to_line_us,
            "decision_to_line_us": decision_to_line_us, "lines": shown });
        if blind.is_some() && failures.is_empty() {
            result["blind"] = true.into();
        }
        let good = failures.is_empty();
        self.print(scenario, watcher.name, &failures, &result);
        good
    }

    fn print(&self, scenario: &Scenario, hooks: &str, failures: &[String], more: &Value) {
        let mut result = json!({ "scenario": scenario.name, "hooks": hooks, "pass": failures.is_empty(),
            "together": self.together, "failures": failures });
        for (field, value) in more.as_object().into_iter().flatten() {
            result[field] = value.clone();
        }
        println!("{result}");
    }

    /// Ends the agents, and finds lines that should not have come: about a scenario after it was judged, and about
    /// nothing that was played.
    fn end(&self, outcomes: &[Outcome<'_>], broken: bool) -> bool {
        let mut good = true;
        for (index, watcher) in self.watchers.iter().enumerate() {
            let mut failures = Vec::new();
            if !watcher.is_deployed() {
                // All that was reported was reported by an agent without rights.
                failures.extend(privileges::faults(watcher.pid(), Some(self.surroundings.kernel)));
            }
            failures.extend(watcher.stop().err().map(|error| format!("{error:#}")));
            for Outcome { scenario, cast, counts, good: as_expected } in outcomes {
                let late = watcher.reports(cast).into_iter().skip(counts[index]).map(|line| line.value);
                let plain =
                    |line: &Value| !exit::is_one(line) && !matching::may_come(scenario, watcher.tier, line);
                let late: Vec<_> = late.filter(plain).collect();
                let mut failures = Vec::new();
                if !late.is_empty() {
                    failures.push(format!("{} reports too many, after it was judged", late.len()));
                }
                if *as_expected {
                    // Processes end when a scenario is over, too.
                    let lines = watcher.reports(cast);
                    let lines: Vec<_> = lines.iter().map(|line| &line.value).collect();
                    failures.extend(exit::faults(scenario, cast, watcher.tier, &self.surroundings, &lines));
                }
                if !failures.is_empty() {
                    good = false;
                    self.print(scenario, watcher.name, &failures, &json!({ "lines": late }));
                }
            }
            // On a machine that others use, they have their own; and a scenario that was not played to its end has some.
            let strays = watcher.incidents_since(0).into_iter();
            let strays: Vec<_> =
                strays.filter(|line| !outcomes.iter().any(|outcome| outcome.cast.is_about(line))).collect();
            if self.args.guest && !broken && !strays.is_empty() {
                failures.push(format!("{} reports about nothing that was to be", strays.len()));
            }
            if !good || !failures.is_empty() {
                eprintln!("scenario: {} hooks counted {}", watcher.name, watcher.counters());
                // What it could not read, and why, is here alone.
                for line in watcher.log().lines().take(MOST_LOG_LINES) {
                    eprintln!("scenario: {} hooks logged {line}", watcher.name);
                }
            }
            if !failures.is_empty() {
                good = false;
                let result = json!({ "scenario": "agent", "hooks": watcher.name,
                    "together": self.together, "pass": false, "failures": failures, "lines": strays });
                println!("{result}");
            }
        }
        good
    }
}
