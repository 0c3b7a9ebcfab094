//! Agents with different hooks against each other.

use serde_json::{Value, json};

use super::super::agree::{compare, faults, unboosted};
use super::super::catalogue::{Catalogue, Tier};
use super::{FILE, line};

#[test]
fn agents_agree_where_their_reports_say_the_same() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    let agree = |change: &dyn Fn(&mut Value)| {
        let mut other = line();
        change(&mut other);
        let reports = [(Tier::Fentry, vec![line()]), (Tier::Kprobe, vec![other])];
        faults(&catalogue.scenarios[0], &reports, &|_| Vec::new(), &[])
    };
    assert_eq!(agree(&|_| ()), [""; 0]);
    // Of the agent itself, and readings of one counter at two instants.
    assert_eq!(agree(&|line| line["hooks"] = json!([])), [""; 0]);
    assert_eq!(agree(&|line| line["victims"][0]["anon_bytes"] = json!(45 * 1_048_000)), [""; 0]);
    assert_eq!(agree(&|line| line["verdict"]["evidence"][0] = json!("it used 47.9 MiB")), [""; 0]);
    assert_ne!(agree(&|line| line["verdict"]["evidence"][0] = json!("it used 40 MiB")), [""; 0]);
    assert_ne!(agree(&|line| line["verdict"]["evidence"][0] = json!("it used 48 KiB")), [""; 0]);
    assert_ne!(agree(&|line| line["victims"][0]["anon_bytes"] = json!(44 << 20)), [""; 0]);
    assert_ne!(agree(&|line| line["victims"][0]["pid"] = json!(41)), [""; 0]);
    assert_ne!(agree(&|line| line["victims"] = json!([])), [""; 0]);
    let reports = [(Tier::Fentry, vec![line()]), (Tier::Kprobe, Vec::new())];
    assert_ne!(faults(&catalogue.scenarios[0], &reports, &|_| Vec::new(), &[]), [""; 0]);
}

#[test]
fn whole_numbers_agree_only_as_shares() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    let agree = |one: &str, other: &str| {
        let line = |text: &str| vec![json!({ "verdict": { "evidence": [text] } })];
        let reports = [(Tier::Fentry, line(one)), (Tier::Kprobe, line(other))];
        faults(&catalogue.scenarios[0], &reports, &|_| Vec::new(), &[]).is_empty()
    };
    assert!(agree("pod 1 (204.3 MiB, 79 %), and", "pod 1 (204.1 MiB, 80 %), and"));
    assert!(!agree("pod 1 (204.3 MiB, 79 %)", "pod 1 (204.3 MiB, 81 %)"));
    assert!(!agree("eater (pid 1000)", "eater (pid 1001)"));
    assert!(!agree("79 %", "79 % more"));
    assert!(agree("it ran for 347 ms.", "it ran for 343 ms.") && agree("after 2.1 s: it", "after 2.2 s: it"));
    assert!(!agree("it ran for 347 ms.", "it ran for 949 ms.") && !agree("after 2.1 s", "after 2.7 s"));
    assert!(agree("1.0 s before the end", "989 ms before the end") && agree("1 MiB.", "1023 KiB."));
    assert!(!agree("1.0 s before the end", "1.0 ms before the end") && !agree("killed by s", "killed by ms"));
    assert!(agree("(8 of 9 cgroups looked at)", "(8 of 8 cgroups looked at)"));
    assert!(agree(
        "7 of 9 cgroups were looked at, of which 3 held",
        "6 of 9 cgroups were looked at, of which 2 held"
    ));
    assert!(!agree("of which 3 held", "of which 9 held"));
    assert!(!agree("eater (pid 1000) of cgroup x", "eater (pid 1001) of cgroup x"));
}

#[test]
fn a_boost_may_go_between_two_looks_and_a_watermark_may_not() {
    let line = |boost: u64, min: u64| {
        let zone = json!({ "min_bytes": min + boost, "low_bytes": min + boost, "high_bytes": min + boost,
            "boost_bytes": boost });
        unboosted(json!({ "memory": { "zones": [zone] } }))
    };
    let differ = |one: &Value, other: &Value| {
        let mut differences = Vec::new();
        compare("", one, other, &mut differences);
        differences.len()
    };
    assert_eq!(differ(&line(2 << 20, 1 << 20), &line(0, 1 << 20)), 0);
    assert_eq!(differ(&line(0, 4 << 20), &line(0, 1 << 20)), 3);
}

#[test]
fn zones_of_two_nodes_are_each_agents_own_and_all_else_is_not() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    let agree = |node: u32, free: u64, sentence: &str| {
        let line = |free: u64, sentence: &str| {
            let zones =
                json!([{ "numa_node": 0, "free_bytes": 1 }, { "numa_node": node, "free_bytes": free }]);
            let evidence = json!(["zone DMA32 had so much", sentence]);
            vec![json!({ "verdict": { "evidence": evidence }, "memory": { "zones": zones } })]
        };
        let reports = [(Tier::Fentry, line(1 << 20, "it used much")), (Tier::Kprobe, line(free, sentence))];
        faults(&catalogue.scenarios[0], &reports, &|_| Vec::new(), &[]).is_empty()
    };
    assert!(agree(1, 9 << 20, "it used much"));
    assert!(!agree(1, 1 << 20, "it used little"));
    assert!(!agree(0, 9 << 20, "it used much"), "one node");
}

#[test]
fn a_zone_may_move_a_little_between_two_looks() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    let line = |free: u64, blocks: [u32; 2], room: bool, managed: u64| {
        let zones = json!([{ "numa_node": 0, "managed_bytes": managed, "free_bytes": free, "free_blocks": blocks,
            "room": room }]);
        let evidence = json!([format!("zone DMA32 had {}", if room { "room" } else { "no room" })]);
        vec![json!({ "verdict": { "evidence": evidence }, "memory": { "zones": zones } })]
    };
    let agree = |other: Vec<Value>| {
        let reports = [(Tier::Fentry, line(3 << 20, [1, 2], true, 1 << 30)), (Tier::Kprobe, other)];
        faults(&catalogue.scenarios[0], &reports, &|_| Vec::new(), &[]).is_empty()
    };
    assert!(agree(line(2 << 20, [1, 1], false, 1 << 30)));
    assert!(agree(line(3 << 20, [3, 1], false, 1 << 30)));
    assert!(!agree(line(3 << 20, [1, 2], false, 1 << 30)), "the same figures say the same");
    assert!(!agree(line(8 << 20, [1, 2], true, 1 << 30)), "too much of it");
    assert!(!agree(line(2 << 20, [1, 1], true, 2 << 30)), "this does not move");
}
