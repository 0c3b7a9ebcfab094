//! Whether agents with different hooks report the same of the same kill.
//!
//! All fields must be equal, but for those that cannot be: the agent's identity and the time, the hooks, and the confidence. Each
//! agent reads the kernel's counters at another instant, so numbers may differ by a little (`close`).

use serde_json::Value;

use super::account;
use super::catalogue::{Exception, Scenario, Tier};
use super::exit;
use super::report::excused;

/// Counts of cgroups.
const CGROUPS: [&str; 3] = [".memory.cgroups_looked_at", ".memory.cgroups_total", ".memory.small_total"];

/// Fields that may differ.
const OWN: [&str; 8] =
    ["session", "seq", "id", "time", "ktime_ns", "hooks", "verdict.certainty", "verdict.inferred"];

/// The differences between the first and each of the others. Agents that are blind to the scenario are left out. `own` are more
/// fields that may differ.
pub fn faults<'a>(
    scenario: &Scenario,
    reports: &[(Tier, Vec<Value>)],
    excuse: &dyn Fn(Tier) -> Vec<&'a Exception>,
    own: &[&str],
) -> Vec<String> {
    // Each agent reports the zones of failed allocations at another instant, and each is checked against its own zones: the
    // fields that must be the same are in `scenarios.toml` for all of them.
    let reports: Vec<_> = reports
        .iter()
        .map(|(tier, lines)| {
            let lines = lines.iter().filter(|line| !super::failure::is_one(line));
            (*tier, lines.cloned().collect::<Vec<_>>())
        })
        .collect();
    let seeing: Vec<_> = reports.iter().filter(|(tier, _)| !scenario.blind.contains_key(tier)).collect();
    let Some(((first, reference), others)) = seeing.split_first() else { return Vec::new() };
    let mut faults = Vec::new();
    for (tier, lines) in others {
        // No process was marked, so the last tier, which sees marks alone, has no line.
        let seen = |line: &&Value| tier.sees_decision() || exit::is_one(line) || line["victims_total"] != 0;
        let reference: Vec<_> = reference.iter().filter(seen).cloned().collect();
        if reference.len() != lines.len() {
            let [one, other] = [first, tier].map(|tier| tier.name());
            faults.push(format!("{one}: {} reports, {other}: {}", reference.len(), lines.len()));
        }
        let mut left_out: Vec<&str> = [&OWN[..], own].concat();
        for report in scenario.reports(*tier) {
            left_out.extend(report.differ.iter().map(String::as_str));
            if report.repeats > 0 {
                // How many were folded is a matter of when.
                left_out.extend(["repeats", "verdict.evidence"]);
            }
            if !tier.sees_decision() && report.group {
                // Without a hook on the end of a group kill it is unknown whether it is over: "at least".
                left_out.extend(["complete", "verdict.summary", "verdict.evidence"]);
            }
        }
        for (expected, got) in in_order(&reference).into_iter().zip(in_order(lines)) {
            let mut differences = Vec::new();
            let mut left_out = left_out.clone();
            let excused = |tier: Tier, line: &Value| excused(&excuse(tier), line).collect::<Vec<_>>();
            for field in excused(*first, expected).into_iter().chain(excused(*tier, got)) {
                // And the fields that rest on it.
                left_out.extend([
                    field,
                    "unresolved",
                    "verdict.summary",
                    "verdict.evidence",
                    "verdict.remedy",
                ]);
            }
            let [mut expected, mut got] = [expected, got].map(|line| without(line, &left_out));
            leave_out_times(&mut expected);
            leave_out_times(&mut got);
            leave_out_what_moved(&mut expected, &mut got);
            differences.extend(account::difference(&mut expected, &mut got));
            let [expected, got] = [expected, got].map(unboosted);
            compare("", &expected, &got, &mut differences);
            let named = |difference| format!("{} and {}: {difference}", first.name(), tier.name());
            faults.extend(differences.into_iter().map(named));
        }
    }
    faults
}

/// Incidents of several CPUs may overtake each other.
fn in_order(lines: &[Value]) -> Vec<&Value> {
    let mut lines: Vec<_> = lines.iter().collect();
    lines.sort_by_key(|line| {
        let pid = |process: &Value| process["pid"].as_u64();
        (pid(&line["trigger"]), pid(&line["exit"]["process"]), line["ktime_ns"].as_u64())
    });
    lines
}

/// The fields that must be the same in all of them.
fn without(line: &Value, left_out: &[&str]) -> Value {
    let mut line = line.clone();
    for path in left_out {
        let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
        let parent = if parent.is_empty() { String::new() } else { format!("/{}", parent.replace('.', "/")) };
        if let Some(parent) = line.pointer_mut(&parent).and_then(Value::as_object_mut) {
            parent.remove(field);
        }
    }
    line
}

/// Leaves out when each agent's hooks saw a signal, an OOM and the end.
fn leave_out_times(line: &mut Value) {
    let Some(exit) = line.get_mut("exit").and_then(Value::as_object_mut) else { return };
    exit.retain(|field, _| !["started", "ran_ns"].contains(&field.as_str()));
    for field in ["signals", "oom", "oom_kills_before"] {
        let part = exit.get_mut(field);
        let parts: Vec<_> = match part {
            Some(Value::Array(list)) => list.iter_mut().collect(),
            part => part.into_iter().collect(),
        };
        for part in parts.into_iter().filter_map(Value::as_object_mut) {
            part.retain(|field, _| !["id", "time", "ktime_ns"].contains(&field.as_str()));
        }
    }
}

fn without_words_of_zones(line: &mut Value) {
    if let Some(evidence) = line.pointer_mut("/verdict/evidence").and_then(Value::as_array_mut) {
        let of_zone = |it: &str| it.starts_with("zone ") || it.contains("index of zone ");
        evidence.retain(|sentence| !sentence.as_str().is_some_and(of_zone));
    }
}

/// The same with watermarks as they are without their boost. That comes when some CPU takes a block out of another kind's, and
/// is taken back by kswapd a moment later (`boost_watermark`, `balance_pgdat`): between two looks, maybe.
pub(super) fn unboosted(mut line: Value) -> Value {
    let zones = line.pointer_mut("/memory/zones").and_then(Value::as_array_mut);
    for zone in zones.into_iter().flatten().filter_map(Value::as_object_mut) {
        let Some(boost) = zone.remove("boost_bytes").and_then(|boost| boost.as_u64()) else { continue };
        for mark in ["min_bytes", "low_bytes", "high_bytes"] {
            if let Some(bytes) = zone.get(mark).and_then(Value::as_u64) {
                zone.insert(mark.to_owned(), bytes.saturating_sub(boost).into());
            }
        }
    }
    line
}

/// Figures of a zone that move with its free memory, and figures computed from them.
const MOVING: [&str; 9] = [
    "free_bytes",
    "usable_bytes",
    "free_cma_bytes",
    "highatomic_bytes",
    "free_blocks",
    "room",
    "suitable_block",
    "fragmentation_index",
    "unusable_index",
];

/// How much of a zone may be freed or taken between two probes in one place, on one CPU: they may be interrupted, and an interrupt
/// frees memory of other tasks.
const MOVED_BYTES: u64 = 4 << 20;

/// Leaves out figures of a zone that moved a little between the two agents' readings, and texts that follow from them. A figure
/// that moved by more stays in, and so differs.
fn leave_out_what_moved(one: &mut Value, other: &mut Value) {
    let [Some(zones), Some(others)] =
        [&mut *one, &mut *other].map(|line| line.pointer_mut("/memory/zones").and_then(Value::as_array_mut))
    else {
        return;
    };
    // With two NUMA nodes there are two CPUs, and memory that one frees is there for the second agent and not for the first.
    let most = if zones.iter().any(|zone| zone["numa_node"] != 0) { u64::MAX } else { MOVED_BYTES };
    let mut moved = false;
    for (zone, same) in zones.iter_mut().zip(others) {
        let free = [&*zone, &*same].map(|zone| zone["free_bytes"].as_u64());
        let [Some(free), Some(then)] = free else { continue };
        let stood =
            ["free_bytes", "free_blocks", "boost_bytes"].iter().all(|field| zone[*field] == same[*field]);
        if stood || free.abs_diff(then) > most {
            continue;
        }
        moved = true;
        for zone in [zone, same].into_iter().filter_map(Value::as_object_mut) {
            zone.retain(|field, _| !MOVING.contains(&field.as_str()));
        }
    }
    if moved {
        [one, other].into_iter().for_each(without_words_of_zones);
    }
}

/// How far apart two readings of one counter may be in any case: the kernel keeps up to 32 pages a CPU apart from the sum
/// of a process's sizes, and up to 64 pages that a CPU has charged in advance from a cgroup's. Guests have two CPUs at most.
const BATCH_BYTES: f64 = 2.0 * 64.0 * 4096.0;

/// Whether two readings of one counter, in bytes, may lie that close together: between the decision and the mark of its
/// victim the kernel gives back some pages.
fn close(one: f64, other: f64) -> bool {
    let difference = (one - other).abs();
    difference <= BATCH_BYTES || difference <= one.abs().max(other.abs()) / 100.0
}

/// Whether shares in thousandths, or in hundreds, of such readings may be: they are cut to whole numbers.
fn close_share(one: f64, other: f64) -> bool {
    let difference = (one - other).abs();
    difference <= 1.0 || difference <= one.abs().max(other.abs()) / 100.0
}

/// Whether two counts of cgroups may be of the same tree: removed ones leave it when the last of their memory is freed,
/// which may be between two looks.
fn close_count(one: f64, other: f64) -> bool {
    (one - other).abs() <= 3.0
}

/// Whether two times in milliseconds may be of the same event: one hook sees an OOM kill when it is decided, and another when its
/// victim is marked, with lines on a slow console in between; and where programs can be preempted, other tasks run between two agents'
/// programs on one hook (on 6.12-rt 137 ms, on a busy host).
fn close_time(one: f64, other: f64) -> bool {
    (one - other).abs() <= 500.0
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Time,
    Size,
}

/// What a unit measures, and how many milliseconds or bytes it has.
fn measure(unit: &str) -> Option<(Measure, f64)> {
    Some(match unit {
        "ms" => (Measure::Time, 1.0),
        "s" => (Measure::Time, 1000.0),
        "B" => (Measure::Size, 1.0),
        "KiB" => (Measure::Size, 1024.0),
        "MiB" => (Measure::Size, 1024.0 * 1024.0),
        "GiB" => (Measure::Size, 1024.0 * 1024.0 * 1024.0),
        _ => return None,
    })
}

/// Whether the word before this one is a number.
fn is_number(words: &[String], index: usize) -> bool {
    index.checked_sub(1).and_then(|before| words.get(before)).is_some_and(|word| word.parse::<f64>().is_ok())
}

/// The same words, with sizes (48 MiB), shares (79 %), times (2.8 ms) and counts of cgroups that are close. Two that are close may
/// have another unit (989 ms and 1.0 s).
fn alike(one: &str, other: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let plain = |word: &str| word.trim_matches(|mark| "(),;:".contains(mark)).to_owned();
        text.split(' ').map(plain).collect()
    };
    let (left, right) = (words(one), words(other));
    let unit = |words: &[String], index: usize| {
        words.get(index).map_or("", String::as_str).trim_end_matches('.').to_owned()
    };
    let same = |index: usize| {
        let (one, other) = (&left[index], &right[index]);
        let [of_one, of_other] = [&left, &right].map(|words| unit(words, index + 1));
        // `8 of 9 cgroups were looked at, of which 3 held`
        let word = |ahead: usize| left.get(index + ahead).map(String::as_str);
        let of_which =
            index.checked_sub(1).and_then(|before| left.get(before)).is_some_and(|word| word == "which");
        let of_cgroups = of_one == "of" && word(3) == Some("cgroups") || of_one == "held" && of_which;
        let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
        match numbers.zip(measure(&of_one).zip(measure(&of_other))) {
            // 989 ms and 1.0 s.
            Some(((one, other), ((measure, factor), (same, by)))) if measure == same => {
                return match measure {
                    Measure::Time => close_time(one * factor, other * by),
                    Measure::Size => close(one * factor, other * by),
                };
            }
            _ => {}
        }
        let kind = |word: &str| measure(word.trim_end_matches('.')).map(|(measure, _)| measure);
        one == other
            || kind(one).is_some_and(|it| kind(other) == Some(it))
                && is_number(&left, index)
                && is_number(&right, index)
            || numbers.is_some_and(|(one, other)| match of_one.as_str() {
                "%" => close_share(one, other),
                "cgroups" => close_count(one, other),
                _ if of_cgroups => close_count(one, other),
                _ => false,
            })
    };
    left.len() == right.len() && (0..left.len()).all(same)
}

/// Finds where two values differ.
pub(super) fn compare(path: &str, expected: &Value, got: &Value, differences: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(one), Value::Object(other)) if one.keys().eq(other.keys()) => {
            for (field, value) in one {
                compare(&format!("{path}.{field}"), value, &other[field], differences);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (value, other)) in one.iter().zip(other).enumerate() {
                compare(&format!("{path}.{index}"), value, other, differences);
            }
        }
        _ if expected == got => {}
        (Value::String(one), Value::String(other)) if alike(one, other) => {}
        (Value::Number(one), Value::Number(other)) if close_field(path, one.as_f64(), other.as_f64()) => {}
        _ => differences.push(format!("{}: {expected} and {got}", path.trim_start_matches('.'))),
    }
}

/// Whether this field of two reports may have these two values.
fn close_field(path: &str, one: Option<f64>, other: Option<f64>) -> bool {
    let close = match path.rsplit('_').next() {
        Some("bytes") => close,
        Some("permille") => close_share,
        _ if CGROUPS.contains(&path) => close_count,
        _ => return false,
    };
    one.zip(other).is_some_and(|(one, other)| close(one, other))
}
