use serde_json::{Value, json};

use super::{cast, faults, line};
use crate::account;
use crate::catalogue::Catalogue;

const TOTAL: u64 = 100 << 20;

fn with(entries: &[u64], unaccounted: u64, excess: u64) -> Value {
    let entries: Vec<_> = entries.iter().map(|bytes| json!({ "kind": "anon", "bytes": bytes })).collect();
    json!({ "memory": { "account": { "total_bytes": TOTAL, "entries": entries,
        "unaccounted_bytes": unaccounted, "excess_bytes": excess } } })
}

#[test]
fn entries_and_what_is_unaccounted_for_are_the_total() {
    assert_eq!(account::faults(&with(&[60 << 20, 30 << 20], 10 << 20, 0), 1), [""; 0]);
    assert_eq!(account::faults(&with(&[60 << 20, 42 << 20], 0, 2 << 20), 1), [""; 0]);
    for wrong in [
        with(&[60 << 20, 30 << 20], 9 << 20, 0),
        with(&[60 << 20, 30 << 20], 0, 0),
        with(&[60 << 20, 42 << 20], 0, 0),
        // More than 2 % and the CPUs' slack is counted twice.
        with(&[60 << 20, 48 << 20], 0, 8 << 20),
        with(&[60 << 20, 42 << 20], 1 << 20, 3 << 20),
        with(&[30 << 20, 60 << 20], 10 << 20, 0),
        with(&[90 << 20, 0], 10 << 20, 0),
        with(&[], TOTAL, 0),
    ] {
        assert_eq!(account::faults(&wrong, 1).len(), 1, "{wrong}");
    }
    let mut negative = with(&[60 << 20, 30 << 20], 10 << 20, 0);
    negative["memory"]["account"]["entries"][1]["bytes"] = (-1).into();
    assert_eq!(account::faults(&negative, 1).len(), 1);
    negative["memory"]["account"]["total_bytes"] = Value::Null;
    assert_eq!(account::faults(&negative, 1).len(), 1);
}

#[test]
fn each_cpu_has_its_slack() {
    let line = with(&[60 << 20, 44 << 20], 0, 4 << 20);
    assert_eq!(account::faults(&line, 1).len(), 1);
    assert_eq!(account::faults(&line, 2), [""; 0]);
    assert_eq!(account::slack_bytes(0), account::slack_bytes(1));
}

#[test]
fn every_report_with_an_account_is_checked() {
    let catalogue = Catalogue::parse(super::FILE).expect("a good file");
    let judge = |line: &Value| faults(&catalogue.scenarios[0], &cast(), &[line], 100);
    let mut line = line();
    line["memory"] = with(&[60 << 20, 30 << 20], 1, 0)["memory"].clone();
    assert!(judge(&line).iter().any(|fault| fault.contains("that are the total")), "{:?}", judge(&line));
}
