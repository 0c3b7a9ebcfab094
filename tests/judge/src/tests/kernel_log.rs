use serde_json::{Value, json};

use crate::kernel_log::{Decision, decisions, faults, of_record};

macro_rules! log {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/kernel-log/", $name, ".log"))
    };
}

const SYSTEM: [(&str, &str); 3] =
    [("5.10", log!("5.10-system")), ("6.12", log!("6.12-system")), ("7.3", log!("7.3-system"))];
const MEMCG: [(&str, &str); 3] =
    [("5.10", log!("5.10-memcg")), ("6.12", log!("6.12-memcg")), ("7.3", log!("7.3-memcg"))];
const CONTAINER: &str = "/kubepods/burstable/pod0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0/\
     0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// What a CPU may keep apart.
const SLACK: u64 = 256 << 10;

fn only(log: &str) -> Decision {
    let mut found = decisions(log);
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn reads_the_nodes_counters_of_each_kernel() {
    for (kernel, log) in SYSTEM {
        let decision = only(log);
        assert_eq!((decision.memcg.as_deref(), decision.killed.is_some()), (None, true), "{kernel}");
        let pages = |name: &str| decision.bytes[name] / 4096;
        assert_eq!((pages("present"), pages("shmem")), (130_941, 896), "{kernel}");
        assert!((400..700).contains(&pages("free")), "{kernel}: {}", pages("free"));
        assert!((224..300).contains(&pages("pagetables")), "{kernel}: {}", pages("pagetables"));
        assert!((608..=848).contains(&(decision.bytes["kernel_stack"] >> 10)), "{kernel}");
        assert_eq!(decision.bytes["huge_pages"], 0, "{kernel}");
    }
    assert_eq!(only(SYSTEM[1].1).killed, Some(448));
}

#[test]
fn reads_a_memcgs_counters_of_each_kernel() {
    for (kernel, log) in MEMCG {
        let decision = only(log);
        assert_eq!(
            (decision.memcg.as_deref(), decision.killed.is_some()),
            (Some(CONTAINER), true),
            "{kernel}"
        );
        assert!((18 << 20..20 << 20).contains(&decision.bytes["anon"]), "{kernel}");
        assert_eq!((decision.bytes["file"], decision.bytes["sock"]), (0, 0), "{kernel}");
    }
    assert_eq!(only(MEMCG[1].1).bytes["pagetables"], 77824);
    assert!(!only(MEMCG[0].1).bytes.contains_key("pagetables"), "5.10 does not count them");
}

#[test]
fn reads_several_decisions_and_leaves_out_what_was_not_printed() {
    let (system, memcg) = (SYSTEM[1].1, MEMCG[1].1);
    let both = decisions(&format!("eth0: up\n{system}{memcg}"));
    assert_eq!((both.len(), both[0].memcg.is_none(), both[1].memcg.is_some()), (2, true, true));
    // Only the kill: the rest was rate-limited.
    let after = format!("{memcg}Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB");
    assert_eq!(only(&after).killed, Some(372));
    assert_eq!(decisions("Out of memory: Killed process 7 (x) total-vm:1kB"), []);
    assert_eq!(decisions("x invoked oom-killer: gfp_mask=0xcc0\nOut of memory: Killed process 7 (x)"), []);
    // No process to kill: no report to compare it with.
    let (head, _) = system.split_once("Tasks state").expect("it has tasks");
    assert_eq!(decisions(head), []);
    let huge = system.replace(
        "hugepages_total=0 hugepages_free=0 hugepages_surp=0 hugepages_size=2048kB",
        "hugepages_total=140 hugepages_free=139 hugepages_surp=0 hugepages_size=2048kB",
    );
    assert_eq!(only(&huge).bytes["huge_pages"], 280 << 20);
}

#[test]
fn reads_records_of_the_kernel() {
    assert_eq!(of_record("6,339,5140900,-;Mem-Info:\n SUBSYSTEM=acpi\n").as_deref(), Some("Mem-Info:"));
    assert_eq!(of_record("4,1,2,c;active_anon:1\\x0a free:2").as_deref(), Some("active_anon:1\n free:2"));
    assert_eq!(of_record("no record"), None);
}

fn entries(of: &[(&str, u64)]) -> Vec<Value> {
    of.iter().map(|(kind, bytes)| json!({ "kind": kind, "bytes": bytes })).collect()
}

#[test]
fn a_report_on_a_memcg_agrees_with_the_log_or_not() {
    let log = decisions(MEMCG[1].1);
    let line = |anon: u64, tables: u64| {
        let entries = entries(&[("anon", anon), ("page_tables", tables), ("slab_unreclaimable", 5384)]);
        json!({ "limit": { "cgroup": CONTAINER }, "victims": [{ "pid": 372 }], "constraint": "memcg",
            "memory": { "account": { "total_bytes": 19_996_672, "entries": entries } } })
    };
    assert_eq!(faults(&log, &line(19_902_464, 77_824), SLACK), [""; 0]);
    assert_eq!(faults(&log, &line(19_902_464 - (400 << 10), 77_824), SLACK), [""; 0], "within the error");
    assert_eq!(faults(&log, &line(12 << 20, 77_824), SLACK).len(), 1);
    assert_eq!(faults(&log, &line(12 << 20, 7 << 20), SLACK).len(), 2);
    let mut other = line(19_902_464, 77_824);
    other["limit"]["cgroup"] = "/kubepods".into();
    assert_eq!(faults(&log, &other, SLACK).len(), 1);
    // Another kill, of which the log has nothing; and a report without an account.
    other["victims"][0]["pid"] = 373.into();
    assert_eq!(faults(&log, &other, SLACK), [""; 0]);
    other["victims"][0]["pid"] = 372.into();
    other["memory"]["account"] = Value::Null;
    assert_eq!(faults(&log, &other, SLACK), [""; 0]);
}

#[test]
fn a_report_on_the_node_agrees_with_the_log_or_not() {
    let log = decisions(SYSTEM[1].1);
    let line = |total: u64, free: u64, slab: u64| {
        let entries = entries(&[
            ("free", free),
            ("free_ineligible", 0),
            ("slab_unreclaimable", slab),
            ("huge_pages", 0),
        ]);
        json!({ "victims": [{ "pid": 448 }], "constraint": "none",
            "memory": { "account": { "total_bytes": total, "entries": entries } } })
    };
    let total = (130_941 - 16_586) * 4096;
    assert_eq!(faults(&log, &line(total, 433 * 4096, 1000 * 4096), SLACK), [""; 0]);
    assert_eq!(faults(&log, &line(total, 0, 0), SLACK), [""; 0], "less than the error");
    assert_eq!(faults(&log, &line(total, 40 << 20, 0), SLACK).len(), 1);
    assert_eq!(faults(&log, &line(total, 0, 40 << 20), SLACK).len(), 1, "more slab than the node has");
    assert_eq!(faults(&log, &line(total / 2, 0, 0), SLACK).len(), 1);
    let mut bound = line(total / 2, 0, 0);
    bound["constraint"] = "cpuset".into();
    assert_eq!(faults(&log, &bound, SLACK), [""; 0], "a part of the machine");
}
