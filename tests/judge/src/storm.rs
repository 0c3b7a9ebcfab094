//! A storm of kills: rules for its lines, whichever kills have separate lines and whichever are folded. That depends on
//! their times, and on how fast the machine is.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::cast::Cast;
use super::check::Check;

/// Kills that have separate lines however fast they come, and the most lines that may follow in a second: four of kills
/// that are slow enough, and one of folded kills.
const AT_ONCE: u64 = 64;
const A_SECOND: u64 = 5;

/// The reports that must come.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// Role of the cgroup whose limit it is.
    pub cgroup: String,
}

/// The faults of the lines.
pub(super) fn faults(storm: &Storm, cast: &Cast, lines: &[&Value]) -> Vec<String> {
    let Some([place]) = cast.places.get(storm.cgroup.as_str()).map(Vec::as_slice) else {
        return vec![format!("{} is not one cgroup", storm.cgroup)];
    };
    let mut faults = Vec::new();
    let (mut ids, mut pids) = (BTreeSet::new(), BTreeSet::new());
    for line in lines {
        let mut check = Check::new(line);
        check.eq("kind", "oom_kill");
        check.eq("verdict.cause", "cgroup_oom");
        check.eq("verdict.level", "container");
        check.bytes("limit.cgroup", &place.path);
        check.eq("complete", true);
        let repeats = check.get("repeats").as_u64().unwrap_or_default();
        check.eq("victims_total", repeats + 1);
        if repeats > 0 {
            check.eq("folded.victims_total", repeats);
            check.within(
                "folded.until_ktime_ns",
                (check.get("ktime_ns").as_u64().unwrap_or_default(), u64::MAX),
            );
        } else {
            check.eq("folded", Value::Null);
        }
        if !ids.insert(check.get("id").as_str()) {
            check.fault("id", "one of its own");
        }
        for victim in check.list("victims").iter().chain(check.list("folded.victims")) {
            if !pids.insert(victim["pid"].as_u64()) {
                check.faults.push(format!("{} died twice", victim["pid"]));
            }
        }
        faults.extend(check.faults);
    }
    let time = |line: &&Value| line["ktime_ns"].as_u64();
    let first = lines.iter().filter_map(time).min().unwrap_or_default();
    let last = lines.iter().filter_map(|line| line["folded"]["until_ktime_ns"].as_u64().or(time(line))).max();
    let seconds = last.unwrap_or_default().saturating_sub(first) / 1_000_000_000 + 1;
    let most = AT_ONCE + A_SECOND * seconds;
    if lines.len() as u64 > most {
        faults.push(format!("{} lines within {seconds} s, not {most} at most", lines.len()));
    }
    faults
}
