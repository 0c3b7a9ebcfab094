use serde_json::{Value, json};

use super::{cast, faults, line};
use crate::account;
use crate::catalogue::Catalogue;

const TOTAL: u64 = 100 << 20;

fn with(entries: &[u64], unaccounted: u64, excess: u64) -> Value {
    let entries: Vec<_> = entries.iter().map(|bytes| json!({ "kind": "anon", "bytes": bytes })).collect();
    json!({ "memory": { "account": { "total_bytes": TOTAL, "entries": entries,
        "others_bytes": 0, "unaccounted_bytes": unaccounted, "excess_bytes": excess } } })
}

#[test]
fn entries_and_what_is_unaccounted_for_are_the_total() {
    assert_eq!(account::faults(&with(&[60 << 20, 30 << 20], 10 << 20, 0), 1, false), [""; 0]);
    assert_eq!(account::faults(&with(&[60 << 20, 42 << 20], 0, 2 << 20), 1, false), [""; 0]);
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
        assert_eq!(account::faults(&wrong, 1, false).len(), 1, "{wrong}");
    }
    let mut negative = with(&[60 << 20, 30 << 20], 10 << 20, 0);
    negative["memory"]["account"]["entries"][1]["bytes"] = (-1).into();
    assert_eq!(account::faults(&negative, 1, false).len(), 1);
    negative["memory"]["account"]["total_bytes"] = Value::Null;
    assert_eq!(account::faults(&negative, 1, false).len(), 1);
}

#[test]
fn each_cpu_has_its_slack() {
    let line = with(&[60 << 20, 44 << 20], 0, 4 << 20);
    assert_eq!(account::faults(&line, 1, false).len(), 1);
    assert_eq!(account::faults(&line, 2, false), [""; 0]);
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

#[test]
fn a_scenario_says_what_an_account_must_have() {
    let with = |account: &str| {
        let text = format!("{}{account}\n", super::FILE);
        Catalogue::parse(&text).expect("a good file")
    };
    let mut line = line();
    let entries = json!([{ "kind": "huge_pages", "bytes": 40 << 20 },
        { "kind": "pod", "bytes": 5 << 20, "holder": { "cgroup": "/ct/pod/c1" } },
        { "kind": "pod", "bytes": 3 << 20, "holder": { "cgroup": "/ct/other" } }]);
    line["memory"] = json!({ "zones": [], "account": { "total_bytes": 49 << 20, "entries": entries,
        "others_bytes": 0, "unaccounted_bytes": 1 << 20, "excess_bytes": 0 } });
    let judge = |account: &str| faults(&with(account).scenarios[0], &cast(), &[&line], 100).len();
    for right in [
        "largest = \"huge_pages\"",
        "unaccounted_mib = 1",
        "account = [{ kind = \"huge_pages\", mib = 41, within = 1 }, { kind = \"pod\", mib = 8, within = 0 }]",
        "account = [{ kind = \"pod\", mib = 5, within = 0, holder = \"container\" }]",
        "account = [{ kind = \"zsmalloc\", mib = 5, within = 0, since = [5, 10] }]",
    ] {
        assert_eq!(judge(right), 0, "{right}");
    }
    for wrong in [
        "largest = \"pod\"",
        "unaccounted_mib = 0",
        "account = [{ kind = \"huge_pages\", mib = 42, within = 1 }]",
        "account = [{ kind = \"pod\", mib = 8, within = 0, holder = \"container\" }]",
        "account = [{ kind = \"zsmalloc\", mib = 5, within = 0 }]",
        "account = [{ kind = \"pod\", mib = 8, within = 0, since = [5, 10] }]",
        "summary = [\"huge\"]",
    ] {
        assert_eq!(judge(wrong), 1, "{wrong}");
    }
    assert!(
        Catalogue::parse(&format!("{}account = [{{ kind = \"pod\", mib = 5, within = 5 }}]", super::FILE))
            .is_err()
    );
}

#[test]
fn agents_agree_on_an_account_within_the_slack() {
    let one = with(&[60 << 20, 30 << 20], 10 << 20, 0);
    let far = with(&[60 << 20, 39 << 20], 1 << 20, 0);
    let differences = |one: &Value, other: &Value| account::difference(&mut one.clone(), &mut other.clone());
    assert_eq!(differences(&one, &with(&[61 << 20, 30 << 20], 9 << 20, 0)), [""; 0]);
    assert_eq!(differences(&one, &far).len(), 1);
    assert_eq!(differences(&one, &json!({ "memory": {} })).len(), 1);
    assert_eq!(differences(&json!({ "memory": null }), &json!({ "memory": null })), [""; 0]);
}
