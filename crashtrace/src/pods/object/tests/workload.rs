//! Which names of controllers tell the owner behind them.

use super::super::{Labels, Meta, OwnerReference, workload};

fn owner(api_version: &str, kind: &str, name: &str, controller: Option<bool>) -> OwnerReference {
    let text = |text: &str| Some(text.to_owned());
    OwnerReference { api_version: text(api_version), kind: text(kind), name: text(name), controller }
}

fn of(owner_references: Vec<OwnerReference>, hash: Option<&str>) -> Option<(String, String, bool)> {
    let labels = Labels { pod_template_hash: hash.map(str::to_owned) };
    let workload = workload::of(&Meta { labels, owner_references, ..Meta::default() })?;
    Some((workload.kind.into(), workload.name.into(), workload.inferred))
}

fn one(api_version: &str, kind: &str, name: &str, hash: Option<&str>) -> (String, String, bool) {
    of(vec![owner(api_version, kind, name, Some(true))], hash).expect("a workload")
}

fn told(kind: &str, name: &str, inferred: bool) -> (String, String, bool) {
    (kind.to_owned(), name.to_owned(), inferred)
}

#[test]
fn a_deployment_is_known_by_the_label_and_the_name() {
    let set = |name, hash| one("apps/v1", "ReplicaSet", name, hash);
    assert_eq!(set("my-web-7d9c5b8f6d", Some("7d9c5b8f6d")), told("Deployment", "my-web", true));
    for hash in
        [None, Some(""), Some("5b8f6d"), Some("other"), Some("my-web-7d9c5b8f6d"), Some("-7d9c5b8f6d")]
    {
        assert_eq!(
            set("my-web-7d9c5b8f6d", hash),
            told("ReplicaSet", "my-web-7d9c5b8f6d", false),
            "{hash:?}"
        );
    }
    assert_eq!(set("-7d9c5b8f6d", Some("7d9c5b8f6d")), told("ReplicaSet", "-7d9c5b8f6d", false));
    let foreign = one("example.com/v1", "ReplicaSet", "web-1", Some("1"));
    assert_eq!(foreign, told("ReplicaSet", "web-1", false));
}

#[test]
fn a_cron_job_is_known_by_minutes_at_the_end_of_its_jobs_name() {
    let job = |name| one("batch/v1", "Job", name, None);
    assert_eq!(job("nightly-29395380"), told("CronJob", "nightly", true));
    assert_eq!(job("a-b-29680000"), told("CronJob", "a-b", true));
    let plain = [
        "nightly",
        "-29395380",
        "29395380",
        "nightly-2939538",
        "nightly-129395380",
        "nightly-2939538x",
        "nightly-+2939538",
        // Dates.
        "nightly-20261125",
        "nightly-19991231",
        "nightly-x7k2p",
        "nightly-29395380-x",
        "nightly-",
    ];
    for name in plain {
        assert_eq!(job(name), told("Job", name, false));
    }
    assert_eq!(one("batch.volcano.sh/v1alpha1", "Job", "x-29395380", None), told("Job", "x-29395380", false));
}

#[test]
fn other_controllers_are_named_as_they_are() {
    for kind in ["StatefulSet", "DaemonSet", "Node", "Rollout"] {
        assert_eq!(one("apps/v1", kind, "it-29395380", Some("29395380")), told(kind, "it-29395380", false));
    }
}

#[test]
fn only_the_controller_counts() {
    let other = owner("v1", "ConfigMap", "x", None);
    assert_eq!(of(vec![], None), None);
    assert_eq!(of(vec![other.clone(), owner("v1", "Secret", "y", Some(false))], None), None);
    let made_by = of(vec![other, owner("apps/v1", "StatefulSet", "db", Some(true))], None);
    assert_eq!(made_by, Some(told("StatefulSet", "db", false)));
    let long = "x".repeat(254);
    assert_eq!(of(vec![owner("apps/v1", "StatefulSet", &long, Some(true))], None), None);
    assert_eq!(of(vec![owner("apps/v1", "", "db", Some(true))], None), None);
}
