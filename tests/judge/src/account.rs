//! The account of memory in a report: it must add up, in every report that has one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::catalogue::Report;
use super::check::{Check, undo};

/// Pages that a CPU may keep apart from a counter before it adds them (`MEMCG_CHARGE_BATCH` in `include/linux/memcontrol.h`; of a zone's
/// or node's counters 125 at most, `calculate_normal_threshold` in `mm/vmstat.c`), times the counters that an account is made of.
const PAGES_A_CPU: u64 = 4 * 64;
/// Bytes of a page in guests.
const PAGE: u64 = 4096;
/// By which part of the total the entries may exceed it.
const PART: u64 = 50;

/// CPUs of a guest at most.
const CPUS: u64 = 2;

/// By how much, in bytes, counters that are kept on each CPU may be off.
pub fn slack_bytes(cpus: u64) -> u64 {
    PAGES_A_CPU * PAGE * cpus.max(1)
}

/// The faults of a report's account, if it has one: entries and what is unaccounted for are the total, as it is stated; no entry is negative or
/// nothing; what is counted twice is within 2 % and the CPUs' slack.
pub fn faults(line: &Value, cpus: u64) -> Vec<String> {
    let at = "memory.account";
    let mut check = Check::new(line);
    if check.get(at).is_null() {
        return Vec::new();
    }
    let total = check.get("memory.account.total_bytes").as_u64();
    let entries = check.list("memory.account.entries");
    let bytes: Option<Vec<u64>> = entries.iter().map(|entry| entry["bytes"].as_u64()).collect();
    let number = |check: &Check<'_>, field: &str| check.get(&format!("{at}.{field}")).as_u64();
    let (unaccounted, excess) =
        (number(&check, "unaccounted_bytes").unwrap_or(0), number(&check, "excess_bytes").unwrap_or(0));
    let (Some(total), Some(bytes), false) = (total, bytes, entries.is_empty()) else {
        check.fault(at, "a total, and entries with bytes");
        return check.faults;
    };
    let sum: u64 = bytes.iter().sum();
    if sum + unaccounted != total + excess {
        check.fault(
            at,
            format!(
                "entries ({sum}) and what is unaccounted for ({unaccounted}) that are the total ({total})"
            ),
        );
    }
    let most = total / PART + slack_bytes(cpus);
    if excess > most || unaccounted > 0 && excess > 0 {
        check.fault(
            "memory.account.excess_bytes",
            format!("{most} at most, and none where memory is unaccounted for"),
        );
    }
    if bytes.contains(&0) {
        check.fault(at, "no entry of nothing");
    }
    if !bytes.is_sorted_by(|one, next| one >= next) {
        check.fault(at, "the largest entry first");
    }
    check.faults
}

/// Whether the account has what `scenarios.toml` says of it. `path` is that of a role's cgroup.
pub(super) fn entries(check: &mut Check<'_>, report: &Report, path: impl Fn(&str) -> Vec<u8>) {
    const MIB: u64 = 1 << 20;
    let told = check.list("memory.account.entries");
    for expected in &report.account {
        let holder = expected.holder.as_deref().map(&path);
        let is_it = |entry: &&Value| {
            let of_holder =
                |path: &Vec<u8>| entry["cgroup"].as_str().map(undo).as_deref() == Some(path.as_slice());
            entry["kind"] == expected.kind.as_str() && holder.as_ref().is_none_or(of_holder)
        };
        let bytes: u64 = told.iter().filter(is_it).filter_map(|entry| entry["bytes"].as_u64()).sum();
        let (least, most) = (expected.mib.saturating_sub(expected.within), expected.mib + expected.within);
        if !(least * MIB..=most * MIB).contains(&bytes) {
            let what = format!("{least} to {most} MiB of {}, and not {bytes} bytes", expected.kind);
            check.fault("memory.account", what);
        }
    }
    if let Some(kind) = &report.largest {
        check.eq("memory.account.entries.0.kind", kind.as_str());
    }
    if let Some(mib) = report.unaccounted_mib {
        check.within_mib("memory.account.unaccounted_bytes", (0, mib));
    }
}

/// The difference of two accounts of one decision, which are taken out of the lines. Each agent reads the counters at another
/// instant, and entries of nearly the same size may change places.
pub(super) fn difference(one: &mut Value, other: &mut Value) -> Option<String> {
    let [one, other] = [one, other].map(|line| line["memory"].as_object_mut()?.remove("account"));
    let [one, other] = [one.unwrap_or(Value::Null), other.unwrap_or(Value::Null)];
    if one.is_null() != other.is_null() {
        return Some(format!("memory.account: {one} and {other}"));
    }
    let most = one["total_bytes"].as_u64().unwrap_or(0) / PART + slack_bytes(CPUS);
    let mut entries: BTreeMap<(String, String), [u64; 2]> = BTreeMap::new();
    for (index, account) in [&one, &other].into_iter().enumerate() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for entry in account["entries"].as_array().into_iter().flatten() {
            let bytes = entry["bytes"].as_u64().unwrap_or(0);
            entries.entry((text(&entry["kind"]), text(&entry["cgroup"]))).or_default()[index] += bytes;
        }
    }
    let apart = entries.into_iter().find(|(_, [one, other])| one.abs_diff(*other) > most);
    apart.map(|((kind, cgroup), [one, other])| {
        format!("memory.account: {kind} {cgroup}: {one} and {other} bytes")
    })
}
