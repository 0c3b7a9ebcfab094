//! The queries of `deploy/monitoring`: they use only names that exist, and promtool accepts them.

use std::collections::BTreeSet;

use crashtrace::metrics::incidents::{expected, word};
use crashtrace::metrics::table::{Metric, Row};
use crashtrace::schema::{Cause, Kind};
use serde_json::Value;
use strum::VariantArray as _;

use crate::prometheus::{Target, config, deployed, pleases, text, yaml};

/// Labels that no metric has of itself: those of the scrape, of a histogram's buckets, and of an alert.
const GIVEN: [&str; 4] = ["job", "instance", "node", "le"];

/// The queries of the dashboard's panels.
pub(crate) fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("a panel asks something"));
    targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

/// A query of the dashboard as Grafana sends it.
pub(crate) fn as_sent(query: &str) -> String {
    let sent = query.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$node", ".*");
    assert!(!sent.contains('$'), "a variable that this test does not know: {sent}");
    sent
}

/// This field of each alert.
fn of_alerts(what: &str) -> Vec<String> {
    let alerts = yaml("alerts.yaml");
    let groups = alerts["groups"].as_array().expect("groups").iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.map(|rule| rule[what].as_str().unwrap_or_else(|| panic!("no {what}: {rule}")).to_owned()).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|mark: char| !(mark.is_ascii_alphanumeric() || mark == '_' || mark == ':'))
}

fn row(sample: &str) -> Option<Row> {
    Metric::ALL.map(Metric::row).into_iter().find(|row| row.samples().iter().any(|name| name == sample))
}

/// Names of labels in a query: those that choose, and those that are summed by.
fn labels(query: &str) -> Vec<&str> {
    let inside = |open: &'static str, close: char| {
        query.split(open).skip(1).filter_map(move |rest| rest.split(close).next())
    };
    let chosen = inside("{", '}').flat_map(|matchers| matchers.split(',')).filter_map(|it| words(it).next());
    let summed = inside("by (", ')').chain(inside("without (", ')')).flat_map(|list| list.split(", "));
    chosen.chain(summed).collect()
}

#[test]
fn only_metrics_and_labels_that_exist_are_queried() {
    let queries = queries();
    let conditions = of_alerts("expr");
    let mut asked = BTreeSet::new();
    for query in queries.iter().chain(&conditions) {
        let samples: Vec<_> = words(query).filter(|word| word.starts_with("crashtrace_")).collect();
        let rows: Vec<_> = samples
            .iter()
            .map(|name| row(name).unwrap_or_else(|| panic!("no metric {name}: {query}")))
            .collect();
        assert!(!rows.is_empty() || query.starts_with("up{"), "{query}");
        for label in labels(query) {
            let known = GIVEN.contains(&label) || rows.iter().all(|row| row.labels.contains(&label));
            assert!(known, "no label {label}: {query}");
        }
        asked.extend(rows.iter().map(Row::name));
    }
    // The variable that all of them use.
    assert!(text("dashboard.json").contains("label_values(crashtrace_ready, node)"));
    assert!(queries.len() > 15 && asked.len() > 12, "{asked:?}");
}

#[test]
fn the_labels_of_a_query_are_found() {
    let query =
        r#"sum by (le, node) (rate(a{kind="x",node=~"$node"}[1m])) / sum without (cause) (b{level!="y"})"#;
    assert_eq!(labels(query), ["kind", "node", "level", "le", "node", "cause"]);
}

/// Words of the report's enums: a label that has another value never matches.
#[test]
fn values_that_are_queried_exist() {
    let known: BTreeSet<_> = expected()
        .iter()
        .flat_map(|(kind, cause, level)| [word(kind), word(cause), word(level)])
        .chain(["crashtrace".to_owned(), "$node".to_owned()])
        .collect();
    for query in queries().iter().chain(&of_alerts("expr")) {
        for values in query.split('"').skip(1).step_by(2) {
            for value in values.split('|') {
                assert!(known.contains(value), "no {value}: {query}");
            }
        }
    }
}

/// Alerts on a cause: those that choose it by its label, or by a metric that has no other cause.
fn alerts_on(cause: &str) -> BTreeSet<String> {
    let chosen = format!("cause=\"{cause}\"");
    let of_it = |expr: &str| {
        expr.contains(&chosen) || (cause == "health_check" && expr.contains(&Metric::ProbeKills.row().name()))
    };
    let all = of_alerts("alert").into_iter().zip(of_alerts("expr"));
    all.filter(|(_, expr)| of_it(expr)).map(|(name, _)| name).collect()
}

/// A new cause has an alert, or a reason why it has none: the table in README.md is the list.
#[test]
fn each_cause_has_its_alerts_or_is_left_out_with_a_reason() {
    let readme = text("README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| cause | alert")).skip(2);
    let rows: Vec<Vec<_>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let causes: Vec<_> = Cause::VARIANTS.iter().map(|cause| format!("`{}`", word(cause))).collect();
    assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), causes);
    for row in rows {
        let [cause, alerts, why] = row.as_slice() else { panic!("{row:?}") };
        assert!(!why.is_empty(), "{cause} has no reason");
        let listed = alerts.split(", ").filter(|name| *name != "-").map(str::to_owned).collect();
        assert_eq!(alerts_on(cause.trim_matches('`')), listed, "{cause}");
    }
}

/// Whether this query has a curve for each cause of this kind of incident, by a metric that has that kind.
fn shows_causes_of(query: &str, kind: Kind) -> bool {
    let is = |metric: Metric| query.contains(&metric.row().name());
    let has_kind = match kind {
        Kind::OomKill if is(Metric::OomKills) => true,
        Kind::ContainerExit if is(Metric::ContainerEnds) => true,
        _ if is(Metric::Incidents) && !query.contains("kind=\"") && !query.contains("kind=~") => {
            let excluded = query.split("kind!~\"").nth(1).and_then(|rest| rest.split('"').next());
            !excluded.into_iter().flat_map(|kinds| kinds.split('|')).any(|it| it == word(&kind))
        }
        _ => false,
    };
    let by_cause = query.split("by (").nth(1).and_then(|rest| rest.split(')').next());
    let by_cause = by_cause.is_some_and(|list| list.split(", ").any(|label| label == "cause"));
    has_kind && by_cause && !query.contains("cause=") && !query.contains("cause!")
}

#[test]
fn the_dashboard_shows_every_cause_of_every_kind_of_incident() {
    let queries = queries();
    for kind in Kind::VARIANTS {
        assert!(queries.iter().any(|query| shows_causes_of(query, *kind)), "{kind:?}: {queries:#?}");
    }
    let but = "sum by (cause) (crashtrace_incidents_total{kind!~\"oom_kill|oom_wait\"})";
    assert!(shows_causes_of(but, Kind::OomNoKill) && !shows_causes_of(but, Kind::OomKill));
    assert!(!shows_causes_of("sum by (node) (crashtrace_oom_kills_total)", Kind::OomKill));
    let one = "sum by (cause) (crashtrace_oom_kills_total{cause=\"cgroup_oom\"})";
    assert!(!shows_causes_of(one, Kind::OomKill));
}

#[test]
fn promtool_has_nothing_against_the_alerts_and_each_fires_where_it_should() {
    pleases(&["check", "rules", &deployed("alerts.yaml").to_string_lossy()], "");
    pleases(&["test", "rules", &deployed("alerts.test.yaml").to_string_lossy()], "");
    let tests = yaml("alerts.test.yaml");
    let tests = tests["tests"].as_array().expect("tests").iter();
    let cases: Vec<_> = tests.flat_map(|test| test["alert_rule_test"].as_array().expect("cases")).collect();
    for name in of_alerts("alert") {
        let fires = |case: &&&Value| {
            case["alertname"] == name.as_str()
                && case["exp_alerts"].as_array().is_some_and(|it| !it.is_empty())
        };
        assert!(cases.iter().any(|case| fires(&case)), "no test in which {name} fires");
    }
}

#[test]
fn promtool_has_nothing_against_the_scrape_job() {
    let address = ([127, 0, 0, 1], 9464).into();
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("prometheus.yaml");
    std::fs::write(&file, config(&[Target { address, app: "crashtrace", node: "n1" }])).expect("a file");
    pleases(&["check", "config", &file.to_string_lossy()], "");
}

/// As far as can be told without one.
#[test]
fn grafana_can_read_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&text("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");
    for panel in panels {
        let at = &panel["gridPos"];
        let (x, w) = (at["x"].as_u64().expect("x"), at["w"].as_u64().expect("w"));
        assert!(x + w <= 24, "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
    }
}
