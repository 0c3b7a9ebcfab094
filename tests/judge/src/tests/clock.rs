//! Times that are wrong, and a set clock that was told wrongly.

use super::super::clock::{Timed, changes};
use super::*;

const HOUR_NS: i64 = 3_600_000_000_000;

#[test]
fn the_time_of_another_clock_is_a_fault() {
    let mut line = line();
    for (time, good) in [
        ("2026-11-25T00:00:10Z", true),
        ("2026-11-25T00:00:11.9Z", true),
        ("2026-11-25T00:00:12.1Z", false),
        ("2026-11-25T01:00:10Z", false),
        ("10 s", false),
    ] {
        line["time"] = json!(time);
        assert_eq!(judge(&[&line]).is_empty(), good, "{time}");
    }
}

/// The clock of `WALL_AHEAD_NS` was set an hour ahead.
fn ahead() -> Value {
    json!({ "schema": "crashtrace/v1", "kind": "clock_changed", "lost": 0, "ktime_ns": 20_000_000_000_u64,
        "time": "2026-11-25T01:00:20Z", "time_before": "2026-11-25T00:00:20Z", "step_ns": HOUR_NS + 1_000_000 })
}

/// And back.
fn back() -> Value {
    json!({ "schema": "crashtrace/v1", "kind": "clock_changed", "lost": 0, "ktime_ns": 30_000_000_000_u64,
        "time": "2026-11-25T00:00:30Z", "time_before": "2026-11-25T01:00:30Z", "step_ns": -HOUR_NS })
}

fn told(ahead: &Value, back: &Value) -> Vec<String> {
    let timed = |line, wall_ahead_ns| Timed { line, wall_ahead_ns };
    changes(&[3600, -3600], &[timed(ahead, WALL_AHEAD_NS + HOUR_NS), timed(back, WALL_AHEAD_NS)])
}

#[test]
fn each_step_of_the_clock_must_be_told_as_it_was() {
    assert_eq!(told(&ahead(), &back()), [""; 0]);
    for field in ["schema", "lost", "ktime_ns", "time", "time_before", "step_ns"] {
        let mut wrong = ahead();
        wrong[field] = json!("something else");
        assert_ne!(told(&wrong, &back()), [""; 0], "{field}");
    }
    assert_ne!(told(&back(), &ahead()), [""; 0], "in another order");
    let mut late = back();
    // By the clock of before.
    late["time"] = late["time_before"].clone();
    assert_ne!(told(&ahead(), &late), [""; 0]);
}

#[test]
fn a_missing_step_is_a_fault_and_so_is_an_invented_one() {
    assert_eq!(changes(&[], &[]), [""; 0]);
    assert_ne!(changes(&[3600, -3600], &[]), [""; 0]);
    let line = ahead();
    assert_ne!(changes(&[], &[Timed { line: &line, wall_ahead_ns: WALL_AHEAD_NS }]), [""; 0]);
    let told = changes(&[3600], &[Timed { line: &line, wall_ahead_ns: WALL_AHEAD_NS + HOUR_NS }]);
    assert_eq!(told, [""; 0]);
}

#[test]
fn a_machine_that_others_use_keeps_its_clock() {
    let steps = |needs: &str, steps: &str| {
        Catalogue::parse(&FILE.replacen(
            "needs = []",
            &format!("needs = [{needs}]\nclock_steps_s = [{steps}]"),
            1,
        ))
    };
    steps("\"guest\"", "3600, -3600").expect("a guest's may be set");
    steps("", "3600").expect_err("this machine's");
    steps("\"guest\"", "0").expect_err("no step at all");
}
