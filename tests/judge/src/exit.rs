//! Ends of containers' first processes: the faults in one agent's lines about them.
//!
//! Agents see every end, so a line may come in any scenario. It must be one of these:
//! - what `scenarios.toml` expects of a role;
//! - the end of a victim of an OOM report of the same agent: one death, one verdict, so cause, level and id are that report's;
//! - of a process that the harness killed itself, at whatever time it cleaned up.
//!
//! The second witness of an end is the parent's `wait`: status, start and duration of each line about a known process are
//! compared with it.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::cast::{Cast, End, Process};
use super::catalogue::{Exit, ExitSignal, Scenario, Surroundings, Tier};
use super::check::Check;

pub const KIND: &str = "container_exit";
const SIGKILL: u8 = 9;
/// Bytes of the first page, where a null pointer with an offset points.
const FIRST_PAGE: u64 = 4096;

/// Whether a line is about such an end.
pub fn is_one(line: &Value) -> bool {
    line["kind"] == KIND
}

/// Whether all ends that must be told have been: those that the file expects, and those of first processes in OOM reports.
pub fn enough(scenario: &Scenario, tier: Tier, cast: &Cast, lines: &[&Value]) -> bool {
    let told = |process: &Process| lines.iter().any(|line| is_one(line) && is_of(line, process));
    let needed = scenario.exits(tier).filter(|exit| !exit.optional);
    let mut expected = needed.flat_map(|exit| cast.processes.get(exit.role.as_str()).into_iter().flatten());
    let kills = lines.iter().filter(|line| line["kind"] == "oom_kill");
    let mut victims = kills.flat_map(|line| victims(line)).filter_map(|pid| cast.by_pid(pid));
    expected.all(told) && victims.all(|process| !process.is_first || told(process))
}

/// The lines that agents with other hooks must have too: the harness kills at a time of its own.
pub fn compared(scenario: &Scenario, tier: Tier, cast: &Cast, line: &Value) -> bool {
    let roles = scenario.exits(tier).filter_map(|exit| cast.processes.get(exit.role.as_str()));
    !line["exit"]["oom"].is_null() || roles.flatten().any(|process| is_of(line, process))
}

/// The faults in one agent's lines about a scenario.
pub fn faults(
    scenario: &Scenario,
    cast: &Cast,
    tier: Tier,
    surroundings: &Surroundings,
    all: &[&Value],
) -> Vec<String> {
    let mut faults = Vec::new();
    let mut left: Vec<&Value> = all.iter().copied().filter(|line| is_one(line)).collect();
    for line in &left {
        faults.extend(form(line));
    }
    for exit in scenario.exits(tier) {
        let Some(processes) = cast.processes.get(exit.role.as_str()) else {
            faults.push(format!(
                "scenarios.toml and the scenario do not fit: no process has the role {:?}",
                exit.role
            ));
            continue;
        };
        for process in processes {
            faults.extend(process.end.and_then(|end| unlike(exit, end)));
            let own = take(&mut left, |line| is_of(line, process));
            match own.as_slice() {
                [] if exit.optional => {}
                [line] => faults.extend(expected(exit, process, cast, surroundings, all, line)),
                lines => faults.push(format!(
                    "{} lines about the end of {:?} (pid {})",
                    lines.len(),
                    exit.role,
                    process.pid
                )),
            }
        }
    }
    for oom in all.iter().filter(|line| line["kind"] == "oom_kill") {
        let own = take(&mut left, |line| line["exit"]["oom"]["id"] == oom["id"]);
        for line in &own {
            faults.extend(joined(line, oom));
            faults.extend(cast.by_pid(pid(line)).into_iter().flat_map(|process| witnessed(line, process)));
        }
        for pid_of in victims(oom) {
            let lines = own.iter().filter(|line| pid(line) == pid_of).count();
            let process = cast.by_pid(pid_of);
            let elsewhere =
                process.is_some_and(|process| all.iter().any(|line| is_one(line) && is_of(line, process)));
            match process.map(|process| process.is_first) {
                Some(true) if lines == 0 && !elsewhere => {
                    faults.push(format!("no line about the end of the OOM's victim {pid_of}"));
                }
                Some(false) if lines > 0 => {
                    faults.push(format!(
                        "{lines} lines about the end of {pid_of}, which is no container's first process"
                    ));
                }
                _ if lines > 1 => {
                    faults.push(format!("{lines} lines about the end of the OOM's victim {pid_of}"));
                }
                _ => {}
            }
        }
    }
    left.retain(|line| !by_the_harness(line, all, surroundings));
    for line in left {
        let exit = &line["exit"];
        faults.push(format!(
            "an end that should not be told: pid {}, {}, code {}, cause {}",
            exit["process"]["pid"], exit["process"]["comm"], exit["exit_code"], line["verdict"]["cause"]
        ));
    }
    faults
}

/// The fault of a process that did not end as its role must.
fn unlike(exit: &Exit, end: End) -> Option<String> {
    let same = (exit.code, exit.signal, exit.core_dumped) == (end.code, end.signal, end.core_dumped);
    (!same).then(|| format!("{:?} did not end as scenarios.toml has it: {end:?}", exit.role))
}

/// Takes those out of a list for which this holds.
fn take<'a>(left: &mut Vec<&'a Value>, holds: impl Fn(&Value) -> bool) -> Vec<&'a Value> {
    let (taken, rest) = left.iter().copied().partition(|line| holds(line));
    *left = rest;
    taken
}

fn pid(line: &Value) -> u64 {
    line["exit"]["process"]["pid"].as_u64().unwrap_or_default()
}

fn is_of(line: &Value, process: &Process) -> bool {
    pid(line) == u64::from(process.pid)
}

/// Process ids of the victims that a line names.
fn victims(oom: &Value) -> impl Iterator<Item = u64> {
    let lists = [&oom["victims"], &oom["folded"]["victims"]];
    lists
        .into_iter()
        .flat_map(|list| list.as_array().into_iter().flatten())
        .filter_map(|it| it["pid"].as_u64())
}

/// What holds of every line about an end.
fn form(line: &Value) -> Vec<String> {
    let mut check = Check::new(line);
    check.eq("schema", "crashtrace/v1");
    check.eq("redelivered", false);
    check.eq("lost", 0);
    check.eq("complete", true);
    check.eq("truncated", false);
    check.eq("repeats", 0);
    check.eq("victims", json!([]));
    check.eq("victims_total", 0);
    check.eq("trigger", Value::Null);
    check.eq("allocation", Value::Null);
    check.eq("exit.process.owner.kind", "container");
    let inferred = !check.list("verdict.inferred").is_empty();
    check.eq("verdict.certainty", if inferred { "inferred" } else { "observed" });
    // Each says what was sent before the end, and in order.
    let times: Vec<_> = check.list("exit.signals").iter().map(|signal| signal["ktime_ns"].as_u64()).collect();
    let end = check.get("ktime_ns").as_u64();
    if !times.is_sorted() || times.last().is_some_and(|last| *last > end || last.is_none()) {
        check.fault("exit.signals", format!("in order, and before {end:?}"));
    }
    check.faults
}

/// The faults of the line that a role must have.
fn expected(
    exit: &Exit,
    process: &Process,
    cast: &Cast,
    surroundings: &Surroundings,
    all: &[&Value],
    line: &Value,
) -> Vec<String> {
    let mut check = Check::new(line);
    let silent = exit.silent_before.is_some_and(|version| surroundings.kernel < version);
    check.eq("verdict.cause", if silent { "unknown" } else { exit.cause.as_str() });
    check.eq("verdict.level", json!(exit.level));
    check.eq("verdict.certainty", exit.certainty.as_str());
    if exit.certainty == "observed" {
        check.eq("verdict.inferred", json!([]));
    }
    check.eq("exit.signal", json!(exit.signal));
    check.eq("exit.exit_code", json!(exit.code.or(exit.signal.map(|signal| signal + 128))));
    check.eq("exit.core_dumped", exit.core_dumped);
    check.eq("exit.before_exec", exit.before_exec);
    check.eq("exit.ended_by", json!(exit.ended_by.as_ref().filter(|_| !silent)));
    if silent {
        check.unresolved("exit.ended_by");
    }
    check.eq("hooks.0", "raw_tp:sched_process_exit");
    fault(&mut check, exit, process, silent);
    let told = check.list("exit.signals").len();
    if told != exit.signals.len() {
        check.fault("exit.signals", format!("{} of them", exit.signals.len()));
    }
    for (index, signal) in exit.signals.iter().enumerate() {
        if let Err(error) = sent(&mut check, &format!("exit.signals.{index}"), signal, cast) {
            check.faults.push(format!("scenarios.toml and the scenario do not fit: {error:#}"));
        }
    }
    check.eq("exit.oom_kills_before_total", exit.oom_kills_before.len());
    for (index, role) in exit.oom_kills_before.iter().enumerate() {
        let at = format!("exit.oom_kills_before.{index}");
        let victim = cast.processes.get(role.as_str()).and_then(|them| them.first());
        check.eq(&format!("{at}.pid"), json!(victim.map(|victim| victim.pid)));
        let is_report = |other: &&&Value| {
            other["kind"] == "oom_kill"
                && victim.is_some_and(|it| victims(other).any(|pid| pid == u64::from(it.pid)))
        };
        check
            .eq(&format!("{at}.id"), all.iter().find(is_report).map_or(Value::Null, |oom| oom["id"].clone()));
    }
    for words in exit.evidence.iter().filter_map(|words| words.of(exit.tiers[0])) {
        check.says("verdict.evidence", words);
    }
    for words in exit.remedy.iter().filter_map(|words| words.of(exit.tiers[0])) {
        check.says("verdict.remedy", words);
    }
    for words in &exit.never {
        check.never_says(words);
    }
    let mut faults = check.faults;
    match all.iter().find(|oom| oom["kind"] == "oom_kill" && oom["id"] == line["exit"]["oom"]["id"]) {
        Some(oom) if exit.oom => faults.extend(joined(line, oom)),
        _ if exit.oom => {
            faults.push(format!("exit.oom: expected a report of this agent, got {}", line["exit"]["oom"]));
        }
        _ if !line["exit"]["oom"].is_null() => {
            faults.push(format!("exit.oom: expected null, got {}", line["exit"]["oom"]));
        }
        _ => {}
    }
    faults.extend(witnessed(line, process));
    faults
}

fn fault(check: &mut Check<'_>, exit: &Exit, process: &Process, silent: bool) {
    let Some(fault) = exit.fault.as_ref().filter(|_| !silent) else {
        check.eq("exit.fault", Value::Null);
        return;
    };
    check.eq("exit.fault.name", fault.name.as_str());
    check.eq("exit.fault.number", json!(exit.signal));
    if let Some(code_name) = &fault.code_name {
        check.eq("exit.fault.code_name", code_name.as_str());
    }
    if fault.null_pointer {
        let digits = check.get("exit.fault.address").as_str().and_then(|text| text.strip_prefix("0x"));
        if !digits.is_some_and(|digits| u64::from_str_radix(digits, 16).is_ok_and(|at| at < FIRST_PAGE)) {
            check.fault("exit.fault.address", "one in the first page");
        }
    }
    let number = process.end.and_then(|end| end.syscall).filter(|_| fault.syscall);
    check.eq("exit.fault.syscall", json!(number));
}

/// A signal, and the whole identity of its sender.
fn sent(check: &mut Check<'_>, path: &str, signal: &ExitSignal, cast: &Cast) -> Result<()> {
    let at = |field: &str| format!("{path}.{field}");
    check.eq(&at("number"), signal.number);
    check.eq(&at("ignored"), signal.ignored);
    check.eq(&at("from"), signal.from.as_str());
    check.eq(&at("count"), signal.count);
    if let Some(comm) = &signal.parent_comm {
        check.eq(&at("sender_parent_comm"), comm.as_str());
    }
    match &signal.sender {
        None => check.eq(&at("sender"), Value::Null),
        Some(role) => {
            let sender = cast.processes.get(role.as_str()).and_then(|them| them.first());
            check.identity(
                &at("sender"),
                sender.with_context(|| format!("no process has the role {role:?}"))?,
            );
        }
    }
    Ok(())
}

/// One death, one verdict.
fn joined(line: &Value, oom: &Value) -> Vec<String> {
    let mut check = Check::new(line);
    for field in ["verdict.cause", "verdict.level"] {
        check.eq(field, Check::new(oom).get(field).clone());
    }
    check.eq("exit.oom.id", oom["id"].clone());
    check.eq("exit.oom.pid", check.get("exit.process.pid").clone());
    check.eq("exit.signal", SIGKILL);
    check.eq("exit.ended_by", "oom_killer");
    check.within("ktime_ns", (oom["ktime_ns"].as_u64().unwrap_or(u64::MAX), u64::MAX));
    check.faults
}

/// What the parent of the process saw of it.
fn witnessed(line: &Value, process: &Process) -> Vec<String> {
    let mut check = Check::new(line);
    check.identity("exit.process", process);
    check.eq("exit.process.container_pid", process.container_pid);
    if let Some(end) = process.end {
        let End { code, signal, core_dumped, .. } = end;
        check.eq("exit.exit_code", json!(code.or(signal.map(|signal| signal + 128))));
        check.eq("exit.signal", json!(signal));
        check.eq("exit.core_dumped", core_dumped);
        check.within("ktime_ns", end.at_ns);
        let least = end.at_ns.0.saturating_sub(process.started_ns.1);
        check.within("exit.ran_ns", (least, end.at_ns.1.saturating_sub(process.started_ns.0)));
    }
    let time = |path: &str| {
        check.get(path).as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond)
    };
    let ran_ns = time("time").zip(time("exit.started")).map(|(end, start)| end - start);
    if ran_ns != check.get("exit.ran_ns").as_u64().map(i128::from) {
        check.fault("exit.started", "the time of the end less `ran_ns`");
    }
    check.faults
}

/// Whether the harness has ended the process: what it cleans up is no part of a scenario. A victim that the kernel marked while it
/// lived is the OOM killer's alone.
fn by_the_harness(line: &Value, all: &[&Value], surroundings: &Surroundings) -> bool {
    let exit = &line["exit"];
    let mut signals = exit["signals"].as_array().into_iter().flatten();
    let sent = signals
        .any(|signal| signal["number"] == SIGKILL && signal["sender"]["pid"] == surroundings.harness.pid);
    let is_victim = |victim: &Value| victim["pid"] == exit["process"]["pid"] && victim["exiting"] == false;
    let marked = all.iter().filter(|line| line["kind"] == "oom_kill");
    let marked = marked.flat_map(|line| line["victims"].as_array().into_iter().flatten()).any(is_victim);
    sent && !marked
        && exit["signal"] == SIGKILL
        && exit["oom"].is_null()
        && exit["ended_by"] == surroundings.harness.ended_by
        && line["verdict"]["cause"] == "killed"
}
