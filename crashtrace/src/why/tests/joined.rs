//! Reports and statuses of the same runs.

use super::*;
use crate::crash_report::{ContainerReport, CrashReportSpec, ReportedExit, ReportedIncident, Run};

const ID: &str = "3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";

fn pod(reason: &str, code: i32, id: Option<&str>) -> Facts {
    let mut ended = json!({
        "exitCode": code, "reason": reason, "startedAt": "2026-11-22T08:04:00Z", "finishedAt": "2026-11-22T08:05:00Z",
    });
    if let Some(id) = id {
        ended["containerID"] = format!("containerd://{id}").into();
    }
    let pod = json!({
        "metadata": { "name": "api-7f9c", "namespace": "shop", "uid": "1" },
        "spec": { "restartPolicy": "Always", "containers": [{ "name": "api" }] },
        "status": { "phase": "Running", "containerStatuses": [{
            "name": "api", "ready": true, "restartCount": 3, "image": "i", "imageID": "",
            "state": { "running": { "startedAt": "2026-11-22T08:05:02Z" } }, "lastState": { "terminated": ended },
        }] },
    });
    facts(pod, &[], "2026-11-22T08:05:00Z".parse().expect("a time"))
}

fn exit(time: &str, code: i32, by: &str) -> ReportedExit {
    ReportedExit {
        time: time.to_owned(),
        code: Some(code),
        ended_by: Some(by.to_owned()),
        ..ReportedExit::default()
    }
}

fn incident(id: Option<&str>, restart: Option<u32>, exit: ReportedExit) -> ReportedIncident {
    ReportedIncident {
        id: "i".to_owned(),
        revision: 1,
        time: exit.time.clone(),
        kind: "container_exit".to_owned(),
        cause: "killed".to_owned(),
        certainty: "observed".to_owned(),
        summary: "it was killed".to_owned(),
        exit: Some(exit),
        run: Some(Run { container_id: id.map(str::to_owned), restart_count: restart, ..Run::default() }),
        ..ReportedIncident::default()
    }
}

fn joined(mut facts: Facts, incidents: Vec<ReportedIncident>) -> Diagnosis {
    let container = ContainerReport { name: Some("api".to_owned()), incidents, ..ContainerReport::default() };
    facts.report = Some(CrashReportSpec { containers: vec![container], ..CrashReportSpec::default() });
    diagnose(&facts)
}

fn sources(diagnosis: &Diagnosis) -> Vec<diagnosis::Source> {
    diagnosis.containers[0].runs.iter().map(|run| run.source).collect()
}

#[test]
fn an_id_joins_and_another_does_not() {
    use diagnosis::Source::{Crashtrace, Status};
    let end = || exit("2026-11-22T08:04:59.9Z", 137, "host");
    let one = joined(pod("Error", 137, Some(ID)), vec![incident(Some(ID), Some(2), end())]);
    assert_eq!((sources(&one), one.containers[0].unknown_runs), (vec![Crashtrace], 2));
    assert_eq!(one.containers[0].runs[0].contradictions, [""; 0]);
    let other = joined(pod("Error", 137, Some(ID)), vec![incident(Some("other"), None, end())]);
    assert_eq!((sources(&other).len(), other.containers[0].unknown_runs), (2, 1));
    // The time joins where a side has no id, and the count of restarts keeps apart.
    let by_time = joined(pod("Error", 137, None), vec![incident(None, None, end())]);
    assert_eq!(sources(&by_time), [Crashtrace]);
    let restarts = joined(pod("Error", 137, None), vec![incident(None, Some(1), end())]);
    assert_eq!(sources(&restarts), [Status, Crashtrace]);
    let late = joined(
        pod("Error", 137, None),
        vec![incident(None, None, exit("2026-11-22T08:03:00Z", 137, "host"))],
    );
    assert_eq!(sources(&late), [Status, Crashtrace]);
}

#[test]
fn contradictions_of_status_and_kernel() {
    for (reason, code, exit_code, by, said) in [
        ("Error", 137, 137, "host", None),
        ("OOMKilled", 137, 137, "oom_killer", None),
        ("OOMKilled", 137, 137, "host", Some("did not end this run")),
        ("Error", 137, 137, "oom_killer", Some("not OOMKilled, but the kernel's OOM killer ended this run")),
        ("Error", 1, 139, "fault", Some("the status says exit code 1, and the kernel saw 139")),
    ] {
        let end = exit("2026-11-22T08:05:00Z", exit_code, by);
        let diagnosis = joined(pod(reason, code, Some(ID)), vec![incident(Some(ID), None, end)]);
        let contradictions = &diagnosis.containers[0].runs[0].contradictions;
        assert_eq!(contradictions.len(), usize::from(said.is_some()), "{reason}: {contradictions:?}");
        assert!(said.is_none_or(|said| contradictions[0].contains(said)), "{contradictions:?}");
    }
    // The report's own stand alone.
    let mut end = exit("2026-11-22T08:05:00Z", 137, "host");
    end.contradictions = vec!["as the report has it".to_owned()];
    let diagnosis = joined(pod("OOMKilled", 137, Some(ID)), vec![incident(Some(ID), None, end)]);
    assert_eq!(diagnosis.containers[0].runs[0].contradictions, ["as the report has it"]);
}

/// A kill of a child ended no run, though it has the run's id.
#[test]
fn a_kill_without_an_end_is_the_runs_only_if_the_run_ended_with_it() {
    let kill = |time: &str| ReportedIncident {
        kind: "oom_kill".to_owned(),
        cause: "cgroup_oom".to_owned(),
        level: Some("container".to_owned()),
        time: time.to_owned(),
        exit: None,
        ..incident(Some(ID), None, exit(time, 137, "oom_killer"))
    };
    let at_the_end = joined(pod("OOMKilled", 137, Some(ID)), vec![kill("2026-11-22T08:04:58Z")]);
    assert_eq!(at_the_end.containers[0].runs[0].cause, "cgroup_oom");
    assert_eq!(at_the_end.containers[0].incidents, []);
    let before = joined(pod("OOMKilled", 137, Some(ID)), vec![kill("2026-11-22T08:04:10Z")]);
    assert_eq!(before.containers[0].runs[0].source, diagnosis::Source::Status);
    assert_eq!(before.containers[0].incidents.len(), 1);
}

/// The report keeps the latest ten, and counts all.
#[test]
fn counts_say_how_many_had_the_same_cause() {
    let mut facts = pod("Error", 137, Some(ID));
    let end = exit("2026-11-22T08:05:00Z", 137, "host");
    let mut container = ContainerReport {
        name: Some("api".to_owned()),
        incidents: vec![incident(Some(ID), Some(2), end)],
        ..ContainerReport::default()
    };
    container.counts.insert("killed".to_owned(), 3);
    facts.report = Some(CrashReportSpec { containers: vec![container], ..CrashReportSpec::default() });
    let diagnosis = diagnose(&facts);
    assert_eq!(diagnosis.containers[0].unknown_runs, 0);
    assert_eq!(
        diagnosis.summary,
        "shop/api-7f9c, container api: 3 restarts, all by a signal from a process of the host; the last 5 minutes ago"
    );
}
