//! Wall-clock times: that of each line is compared with the clock when the line was read, and each `clock_changed` line with the
//! step that the scenario made.

use serde_json::Value;

use super::check::Check;

/// By how much a time may be off.
const SLACK_NS: i128 = 2_000_000_000;
const SECOND_NS: i128 = 1_000_000_000;

/// A line, and by how many nanoseconds the wall clock was ahead of the clock of `ktime_ns` when it was read.
#[derive(Clone, Copy, Debug)]
pub struct Timed<'a> {
    pub line: &'a Value,
    pub wall_ahead_ns: i64,
}

/// The faults of a line's time.
pub(super) fn faults(timed: Timed<'_>) -> Vec<String> {
    let mut check = Check::new(timed.line);
    time(&mut check, "time", i128::from(timed.wall_ahead_ns));
    check.faults
}

/// The faults of the `clock_changed` lines after these steps.
pub(super) fn changes(steps_s: &[i64], told: &[Timed<'_>]) -> Vec<String> {
    if steps_s.len() != told.len() {
        let steps: Vec<_> = told.iter().map(|told| &told.line["step_ns"]).collect();
        return vec![format!(
            "the wall clock was set by {steps_s:?} s, and the clock_changed lines say {steps:?} ns"
        )];
    }
    let mut faults = Vec::new();
    for (step_s, told) in steps_s.iter().zip(told) {
        let step_ns = i128::from(*step_s) * SECOND_NS;
        let mut check = Check::new(told.line);
        check.eq("schema", "crashtrace/v1");
        check.eq("lost", 0);
        time(&mut check, "time", i128::from(told.wall_ahead_ns));
        time(&mut check, "time_before", i128::from(told.wall_ahead_ns) - step_ns);
        let is_it = |told: i64| (i128::from(told) - step_ns).abs() <= SLACK_NS;
        if !check.get("step_ns").as_i64().is_some_and(is_it) {
            check.fault("step_ns", format!("about {step_ns}"));
        }
        faults.extend(check.faults);
    }
    faults
}

/// Checks that the time at `path` is that of `ktime_ns` by a wall clock that is so far ahead.
fn time(check: &mut Check<'_>, path: &str, ahead_ns: i128) {
    let ktime_ns = check.get("ktime_ns").as_u64();
    let told = check.get(path).as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let off_ns = ktime_ns.zip(told).map(|(at, told)| told.as_nanosecond() - i128::from(at) - ahead_ns);
    if off_ns.is_none_or(|off| off.abs() > SLACK_NS) {
        check.fault(path, format!("the time of {ktime_ns:?} by a clock that is {ahead_ns} ns ahead"));
    }
}
