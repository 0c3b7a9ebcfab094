//! The account of memory in a report: it must add up, in every report that has one.

use serde_json::Value;

use super::check::Check;

/// Pages that a CPU may keep apart from a counter before it adds them (`MEMCG_CHARGE_BATCH` in `include/linux/memcontrol.h`; of a zone's
/// or node's counters 125 at most, `calculate_normal_threshold` in `mm/vmstat.c`), times the counters that an account is made of.
const PAGES_A_CPU: u64 = 4 * 64;
/// Bytes of a page in guests.
const PAGE: u64 = 4096;
/// By which part of the total the entries may exceed it.
const PART: u64 = 50;

/// By how much, in bytes, counters that are kept on each CPU may be off.
pub fn slack_bytes(cpus: u64) -> u64 {
    PAGES_A_CPU * PAGE * cpus.max(1)
}

/// The faults of a report's account, if it has one: entries and remainder are the total, as it is stated; no entry is negative or
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
    let (remainder, overcount) =
        (number(&check, "remainder_bytes").unwrap_or(0), number(&check, "overcount_bytes").unwrap_or(0));
    let (Some(total), Some(bytes), false) = (total, bytes, entries.is_empty()) else {
        check.fault(at, "a total, and entries with bytes");
        return check.faults;
    };
    let sum: u64 = bytes.iter().sum();
    if sum + remainder != total + overcount {
        check.fault(at, format!("entries ({sum}) and remainder ({remainder}) that are the total ({total})"));
    }
    let most = total / PART + slack_bytes(cpus);
    if overcount > most || remainder > 0 && overcount > 0 {
        check.fault("memory.account.overcount_bytes", format!("{most} at most, and none with a remainder"));
    }
    if bytes.contains(&0) {
        check.fault(at, "no entry of nothing");
    }
    if !bytes.is_sorted_by(|one, next| one >= next) {
        check.fault(at, "the largest entry first");
    }
    check.faults
}
