//! The causes that crashtrace tells, each by its report.

use super::*;

/// The kill and the end of one death, which the reviewed reports have apart.
fn death_by(kill: &str) -> Value {
    let (mut kill, end) = (line(kill), line("exit_oom"));
    kill["id"] = end["exit"]["oom"]["id"].clone();
    kill["victims"][0]["owner"] = end["exit"]["process"]["owner"].clone();
    incident(&kill, Some(&end))
}

fn earlier(mut incident: Value, number: u32) -> Value {
    incident["id"] = format!("earlier-{number}").into();
    let minute = 20 - number;
    let time = format!("2026-11-22T07:{minute:02}:15.000000000Z");
    incident["exit"]["time"] = time.clone().into();
    incident["time"] = time.into();
    incident["run"] = json!({ "containerId": format!("{number:064}"), "restartCount": 6 - number });
    incident
}

fn of_run(mut incident: Value, restarts: u32) -> Value {
    incident["run"]["restartCount"] = restarts.into();
    incident
}

#[tokio::test]
async fn cgroup_oom() {
    let death = death_by("container_oom");
    let all: Vec<_> = (0..6)
        .map(|number| if number == 0 { of_run(death.clone(), 6) } else { earlier(death.clone(), number) })
        .collect();
    let cluster = Cluster {
        pod: pod(&crashed("OOMKilled", 137, 6)),
        report: Some(report(&all)),
        log: "loading the cache\nloading the index\n",
        ..Cluster::default()
    };
    let (text, json, code) = diagnosed(cluster).await;
    reviewed("cgroup_oom", &text);
    assert_eq!((code, json["wrong"].as_bool()), (0, Some(true)));
    let container = &json["containers"][0];
    let run = &container["runs"][0];
    assert_eq!(
        (&run["cause"], &run["level"], &run["source"]),
        (&json!("cgroup_oom"), &json!("container"), &json!("crashtrace"))
    );
    assert_eq!(
        (&run["restart"], &run["limit_bytes"], &run["container_id"]),
        (&json!(6), &json!(512 << 20), &json!(CONTAINER_ID))
    );
    assert_eq!((container["runs"].as_array().unwrap().len(), &container["unknown_runs"]), (6, &json!(1)));
    assert_eq!(container["log"]["lines"], json!(["loading the cache", "loading the index"]));
    assert!(text.starts_with(&format!(
        "{NAMESPACE}/{POD}, container api: 6 restarts, all for its own memory limit of 512 MiB; the last "
    )));
}

#[tokio::test]
async fn system_oom() {
    let cluster = Cluster {
        pod: pod(&crashed("OOMKilled", 137, 1)),
        report: Some(report(&[of_run(death_by("system_oom"), 1)])),
        ..Cluster::default()
    };
    let (text, json, code) = diagnosed(cluster).await;
    reviewed("system_oom", &text);
    assert_eq!((code, &json["containers"][0]["runs"][0]["cause"]), (0, &json!("system_oom")));
    assert!(text.contains("because the node ran out of memory"), "{text}");
}

#[tokio::test]
async fn container_exit() {
    let cluster = Cluster {
        pod: pod(&crashed("Error", 1, 3)),
        report: Some(report(&[of_run(incident(&line("exit_code"), None), 3)])),
        log: "panic: no such table\n",
        ..Cluster::default()
    };
    let (text, json, code) = diagnosed(cluster).await;
    reviewed("container_exit", &text);
    let container = &json["containers"][0];
    assert_eq!((code, &container["runs"][0]["cause"]), (0, &json!("container_exit")));
    assert_eq!((&container["unknown_runs"], &json["workload"]), (&json!(3), &json!("Deployment/api")));
}

/// A failed allocation ends no container: the crash beside it has its own cause.
#[tokio::test]
async fn fragmentation() {
    let of_run = of_run(incident(&line("exit_code"), None), 3);
    let cluster = Cluster {
        pod: pod(&crashed("Error", 1, 3)),
        report: Some(report(&[of_run, {
            let mut failure = incident(&line("alloc_fragmentation"), None);
            failure["id"] = "another".into();
            failure
        }])),
        ..Cluster::default()
    };
    let (text, json, code) = diagnosed(cluster).await;
    reviewed("fragmentation", &text);
    let container = &json["containers"][0];
    assert_eq!((code, &container["runs"][0]["cause"]), (0, &json!("container_exit")));
    let other = &container["incidents"][0];
    assert_eq!((&other["kind"], &other["cause"]), (&json!("alloc_failure"), &json!("fragmentation")));
}

#[tokio::test]
async fn health_check() {
    let cluster = Cluster {
        pod: pod(&crashed("Error", 137, 3)),
        report: Some(report(&[of_run(incident(&line("exit_probe"), None), 3)])),
        events: vec![event(
            "Unhealthy",
            "Liveness probe failed: Get \"http://10.42.0.17:8080/healthz\": connection refused",
            "2026-11-22T07:22:45Z",
            "2026-11-22T07:22:55Z",
            3,
        )],
        ..Cluster::default()
    };
    let (text, json, code) = diagnosed(cluster).await;
    reviewed("health_check", &text);
    assert_eq!((code, &json["containers"][0]["runs"][0]["cause"]), (0, &json!("health_check")));
}

#[tokio::test]
async fn a_status_that_contradicts_the_kernel_stands_out() {
    let cluster = Cluster {
        pod: pod(&crashed("OOMKilled", 137, 3)),
        report: Some(report(&[of_run(incident(&line("exit_probe"), None), 3)])),
        ..Cluster::default()
    };
    let (text, json, _) = diagnosed(cluster).await;
    let run = &json["containers"][0]["runs"][0];
    assert_eq!(run["contradictions"].as_array().map(Vec::len), Some(1), "{run}");
    let line = text.lines().find(|line| line.trim_start().starts_with("but ")).expect("a line of its own");
    assert!(line.contains("OOM killer did not end this run"), "{line}");
    assert!(text.lines().next().expect("a verdict").contains("for a failed health check"), "{text}");
}
