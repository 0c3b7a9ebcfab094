//! All lines of one agent about one scenario: which line is which report, whether there are as many as there must be,
//! and whether they count as many kills as the kernel did.

use anyhow::Result;
use serde_json::Value;

use super::account;
use super::cast::Cast;
use super::catalogue::{Exception, Scenario, Surroundings, Tier, Trigger, Victim};
use super::clock::{self, Timed};
use super::exit;
use super::failure;
use super::kernel_log::{self, Decision};
use super::report::Expected;
use super::storm;

/// Bytes of the longest line, its newline included.
pub const MAX_LINE_BYTES: usize = 12 * 1024;

/// The reports that agents with these hooks must give, with their roles filled.
pub fn expected<'a>(scenario: &'a Scenario, tier: Tier, cast: &'a Cast) -> Result<Vec<Expected<'a>>> {
    let mut all = Vec::new();
    for report in scenario.reports(tier) {
        let role = match (report.victims.first(), &report.trigger) {
            _ if !report.each => None,
            (Some(Victim::Role(role)), _) | (None, Trigger::Role(role)) => Some(role),
            (Some(Victim::Process(actor)), _) | (None, Trigger::Process(actor)) => Some(&actor.role),
            _ => None,
        };
        let times = role.map_or(1, |role| cast.processes.get(role.as_str()).map_or(0, Vec::len));
        for index in 0..times {
            all.push(Expected::fill(report, cast, index)?);
        }
    }
    Ok(all)
}

/// Whether all lines that may be waited for have come.
pub fn enough(scenario: &Scenario, tier: Tier, cast: &Cast, lines: &[&Value]) -> bool {
    // A role without a process is found when the lines are judged.
    let Ok(expected) = expected(scenario, tier, cast) else { return true };
    let needed = expected.iter().filter(|expected| !expected.report.optional).count();
    let kills = cast.kills.filter(|_| !expected.is_empty() || scenario.storm.is_some());
    let failures = failure::count(lines);
    let reports = lines.iter().filter(|line| is_plain(line)).count();
    reports >= needed
        && exit::enough(scenario, tier, cast, lines)
        && failures >= failure::expected(scenario, tier)
        && kills.is_none_or(|kills| kills_in(lines) >= kills)
}

/// Whether a line is a report that is neither of a failed allocation nor of a container's end: those have rules of their own.
fn is_plain(line: &Value) -> bool {
    !failure::is_one(line) && !exit::is_one(line)
}

/// A kind of reports that goes on after the last report that is waited for: folded kills come once a second, until the
/// process at its limit has been ended.
pub fn goes_on(scenario: &Scenario, tier: Tier) -> Option<&str> {
    let last = scenario.reports(tier).last()?;
    let folds = (last.repeats > 0).then_some(last.kind.as_str());
    folds.or(scenario.goes_on.as_deref().filter(|kind| last.kind == *kind))
}

/// Whether this line may come beside those that are expected.
pub fn may_come(scenario: &Scenario, tier: Tier, line: &Value) -> bool {
    let kinds = [goes_on(scenario, tier), scenario.by_chance.as_deref()];
    kinds.into_iter().flatten().any(|kind| line["kind"] == kind)
}

/// The lines that agents with other hooks must have too. Folded reports go on for as long as the judging takes, so of those only
/// the expected ones count.
pub fn compared<'a>(scenario: &Scenario, tier: Tier, cast: &Cast, lines: &[&'a Value]) -> Vec<&'a Value> {
    if scenario.storm.is_some() {
        return Vec::new();
    }
    let (exits, plain): (Vec<&Value>, Vec<&Value>) =
        lines.iter().copied().partition(|line| exit::is_one(line));
    let exits = exits.into_iter().filter(|line| exit::compared(scenario, tier, cast, line));
    compared_plain(scenario, tier, cast, &plain).into_iter().chain(exits).collect()
}

fn compared_plain<'a>(scenario: &Scenario, tier: Tier, cast: &Cast, lines: &[&'a Value]) -> Vec<&'a Value> {
    if goes_on(scenario, tier).is_none() {
        return lines.to_vec();
    }
    let Ok(expected) = expected(scenario, tier, cast) else { return Vec::new() };
    if expected.iter().any(|expected| expected.report.each) {
        return by_process(&expected, lines).into_iter().flatten().collect();
    }
    lines.iter().copied().take(expected.len()).collect()
}

/// Kills in these reports, as the kernel counts them: in a group it counts the chosen victim twice, and it does not count a victim
/// that was already exiting. No scenario folds groups.
pub fn kills_in(lines: &[&Value]) -> u64 {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let of = |line: &&Value| {
        let folded = &line["folded"];
        let own = match number(&line["victims_total"]).saturating_sub(number(&folded["victims_total"])) {
            0 => 0,
            1 => u64::from(line["victims"][0]["exiting"] == false),
            group => group + 1,
        };
        own + number(&folded["victims_total"]).saturating_sub(number(&folded["exiting_total"]))
    };
    lines.iter().filter(|line| line["kind"] == "oom_kill").map(of).sum()
}

/// The lines of one agent about a scenario.
pub struct Said<'a> {
    pub tier: Tier,
    /// The hooks whose way of seeing failed allocations it has: the kernel may refuse it the better one by itself.
    pub failures: Tier,
    pub surroundings: &'a Surroundings,
    /// Fields that may be null in it.
    pub exceptions: Vec<&'a Exception>,
    /// What the kernel logged of its decisions meanwhile.
    pub kernel_log: &'a [Decision],
    pub lines: Vec<&'a Value>,
    /// Lengths of the lines.
    pub bytes: Vec<usize>,
    /// By how many nanoseconds the wall clock was ahead of the clock of `ktime_ns` when each was read.
    pub wall_ahead_ns: Vec<i64>,
    /// The `clock_changed` lines. `None` on a machine where others may set the clock.
    pub clock: Option<Vec<Timed<'a>>>,
}

/// The faults in one agent's lines.
pub fn faults(scenario: &Scenario, cast: &Cast, said: &Said<'_>) -> Vec<String> {
    let Said { tier, failures, surroundings, exceptions, lines: all, .. } = said;
    let tier = *tier;
    let lines: Vec<_> = all.iter().copied().filter(|line| is_plain(line)).collect();
    let lines = &lines;
    let expected = match expected(scenario, tier, cast) {
        Ok(expected) => expected,
        Err(error) => return vec![format!("scenarios.toml and the scenario do not fit: {error:#}")],
    };
    let mut faults = failure::faults(scenario, cast, *failures, surroundings, all);
    faults.extend(exit::faults(scenario, cast, tier, surroundings, all));
    if let Some(storm) = &scenario.storm {
        faults.extend(storm::faults(storm, cast, lines));
    }
    let in_any_order = expected.iter().any(|expected| expected.report.each || expected.report.optional);
    let found = if in_any_order { by_process(&expected, lines) } else { in_order(&expected, lines) };
    for (expected, line) in expected.iter().zip(&found) {
        match line {
            Some(line) => faults.extend(expected.faults(tier, surroundings.kernel, exceptions, line)),
            None if expected.report.optional => {}
            None => faults.push(missing(expected)),
        }
    }
    let in_a_storm = |line: &Value| scenario.storm.is_some() && line["kind"] == "oom_kill";
    let is_one = |line: &&&Value| found.iter().flatten().any(|found| std::ptr::eq(*found, **line));
    let strange =
        lines.iter().filter(|line| !is_one(line) && !may_come(scenario, tier, line) && !in_a_storm(line));
    let strange = strange.count();
    if strange > 0 {
        faults.push(format!("{} reports, of which {strange} should not be there", lines.len()));
    }
    let is_moving = scenario.reports(tier).any(|report| report.differ.iter().any(|field| field == "memory"));
    for line in all {
        faults.extend(account::faults(line, surroundings.cpus, is_moving));
        faults.extend(kernel_log::faults(said.kernel_log, line, account::slack_bytes(surroundings.cpus)));
    }
    for (line, wall_ahead_ns) in all.iter().zip(&said.wall_ahead_ns) {
        faults.extend(clock::faults(Timed { line, wall_ahead_ns: *wall_ahead_ns }));
    }
    if let Some(told) = &said.clock {
        faults.extend(clock::changes(&scenario.clock_steps_s, told));
    }
    if let Some(longest) = said.bytes.iter().max().filter(|longest| **longest > MAX_LINE_BYTES) {
        faults.push(format!("a line of {longest} bytes"));
    }
    let (counted, told) = (cast.kills.filter(|_| !scenario.blind.contains_key(&tier)), kills_in(lines));
    if let Some(counted) = counted.filter(|counted| *counted != told) {
        faults.push(format!("the kernel counts {counted} kills, the reports come to {told}"));
    }
    faults
}

fn missing(expected: &Expected<'_>) -> String {
    let pids: Vec<_> = expected.victims.iter().map(|it| it.process.pid).collect();
    let report = expected.report;
    format!("no report of {} ({}), victims {pids:?}", report.kind, report.cause)
}

fn in_order<'a>(expected: &[Expected<'_>], lines: &[&'a Value]) -> Vec<Option<&'a Value>> {
    (0..expected.len()).map(|index| lines.get(index).copied()).collect()
}

/// Each report's line is the first that is about the same processes.
fn by_process<'a>(expected: &[Expected<'_>], lines: &[&'a Value]) -> Vec<Option<&'a Value>> {
    expected.iter().map(|expected| lines.iter().copied().find(|line| expected.is_of(line))).collect()
}
