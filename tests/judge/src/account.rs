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

/// The faults of a report's accounts, if it has any: of the node or the limit owner, and of the victim's own cgroup. `is_moving`: memory
/// is being freed while the figures are read.
pub fn faults(line: &Value, cpus: u64, is_moving: bool) -> Vec<String> {
    let mut check = Check::new(line);
    for at in ["memory.account", "memory.victim_account"] {
        if !check.get(at).is_null() {
            adds_up(&mut check, at, cpus, is_moving);
        }
    }
    check.faults
}

/// Entries, others and what is unaccounted for are the total, as it is stated; no entry is negative or nothing; what is counted twice is
/// within 2 % and the CPUs' slack.
fn adds_up(check: &mut Check<'_>, at: &str, cpus: u64, is_moving: bool) {
    let entries = check.list(&format!("{at}.entries"));
    let bytes: Option<Vec<u64>> = entries.iter().map(|entry| entry["bytes"].as_u64()).collect();
    let fields = ["total_bytes", "others_bytes", "unaccounted_bytes", "excess_bytes"];
    let [Some(total), Some(others), Some(unaccounted), Some(excess)] =
        fields.map(|field| check.get(&format!("{at}.{field}")).as_u64())
    else {
        check.fault(at, format!("numbers {fields:?}"));
        return;
    };
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty() || total == 0) else {
        check.fault(at, "entries with bytes");
        return;
    };
    let sum = bytes.iter().sum::<u64>();
    if sum + others + unaccounted != total + excess {
        let parts = format!("entries ({sum}), others ({others}) and what is unaccounted for ({unaccounted})");
        check.fault(at, format!("{parts} that are the total ({total}) and the excess ({excess})"));
    }
    let most = total / PART + slack_bytes(cpus);
    // What is freed meanwhile is in a figure that was read before, and not in the total.
    if excess > most && !is_moving || unaccounted > 0 && excess > 0 {
        check.fault(
            &format!("{at}.excess_bytes"),
            format!("{most} at most, and none where memory is unaccounted for"),
        );
    }
    if bytes.contains(&0) {
        check.fault(at, "no entry of nothing");
    }
    if !bytes.is_sorted_by(|one, next| one >= next) {
        check.fault(at, "the largest entry first");
    }
}

/// Whether the account has what `scenarios.toml` says of it, on this kernel. `path` is that of a role's cgroup.
pub(super) fn entries(
    check: &mut Check<'_>,
    report: &Report,
    kernel: (u32, u32),
    path: impl Fn(&str) -> Vec<u8>,
) {
    const MIB: u64 = 1 << 20;
    let told = check.list("memory.account.entries");
    for expected in &report.account {
        let holder = expected.holder.as_deref().map(&path);
        let is_it = |entry: &&Value| {
            let cgroup = entry["holder"]["cgroup"].as_str().map(undo);
            entry["kind"] == expected.kind.as_str() && (holder.is_none() || cgroup == holder)
        };
        let bytes: u64 = told.iter().filter(is_it).filter_map(|entry| entry["bytes"].as_u64()).sum();
        let untold = expected.since.is_some_and(|since| kernel < since);
        let range = (expected.mib.saturating_sub(expected.within), expected.mib + expected.within);
        let (least, most) = if untold { (0, 0) } else { range };
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

/// The difference of the accounts of one decision, which are taken out of the lines. Each agent reads the counters at another
/// instant, entries of nearly the same size may change places, and one that has hardly any memory may be there or not.
pub(super) fn difference(one: &mut Value, other: &mut Value) -> Vec<String> {
    let mut take = |name: &str| {
        let [one, other] = [&mut *one, &mut *other].map(|line| {
            line["memory"].as_object_mut().and_then(|memory| memory.remove(name)).unwrap_or_default()
        });
        (format!("memory.{name}"), one, other)
    };
    let accounts = ["account", "victim_account"].map(&mut take);
    accounts.into_iter().filter_map(|(name, one, other)| apart(&name, &one, &other)).collect()
}

fn apart(name: &str, one: &Value, other: &Value) -> Option<String> {
    if one.is_null() != other.is_null() {
        return Some(format!("{name}: {one} and {other}"));
    }
    let most = one["total_bytes"].as_u64().unwrap_or(0) / PART + slack_bytes(CPUS);
    let mut entries: BTreeMap<(String, String), [u64; 2]> = BTreeMap::new();
    for (index, account) in [one, other].into_iter().enumerate() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for entry in account["entries"].as_array().into_iter().flatten() {
            let key = (text(&entry["kind"]), text(&entry["holder"]["cgroup"]));
            entries.entry(key).or_default()[index] += entry["bytes"].as_u64().unwrap_or(0);
        }
    }
    let apart = entries.into_iter().find(|(_, [one, other])| one.abs_diff(*other) > most);
    apart.map(|((kind, cgroup), [one, other])| format!("{name}: {kind} {cgroup}: {one} and {other} bytes"))
}
