//! Workloads: the pods of their selectors.

use super::*;

fn named(mut pod: Value, name: &str, finished: &str) -> Value {
    pod["metadata"]["name"] = name.into();
    pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["finishedAt"] = finished.into();
    pod
}

#[tokio::test]
async fn the_pod_that_crashed_last_is_diagnosed_and_the_others_are_named() {
    let crashed_last = pod(&crashed("Error", 1, 3));
    let before = named(crashed_last.clone(), "api-7f9c4d8b6-other", "2026-11-22T06:00:00Z");
    let cluster = Cluster { pod: crashed_last.clone(), ..Cluster::default() };
    for (word, path, kind) in [
        ("deploy", "/apis/apps/v1/namespaces/shop/deployments/api", "Deployment"),
        ("sts", "/apis/apps/v1/namespaces/shop/statefulsets/api", "StatefulSet"),
        ("ds", "/apis/apps/v1/namespaces/shop/daemonsets/api", "DaemonSet"),
        ("job", "/apis/batch/v1/namespaces/shop/jobs/api", "Job"),
    ] {
        let (cluster, pods) = (cluster.clone(), json!([before, crashed_last]));
        let script = move |seen: &Seen| {
            if seen.path == path {
                return answer(200, &workload(kind));
            }
            if seen.path == "/api/v1/namespaces/shop/pods" {
                assert_eq!(seen.query["labelSelector"], "app=api");
                return answer(
                    200,
                    &json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods }),
                );
            }
            cluster.answer(seen)
        };
        let (_server, kubeconfig) = serve(script).await;
        let output = run(&kubeconfig, &[&format!("{word}/api"), "-o", "json"]).await;
        assert_eq!(stderr(&output), "", "{word}");
        let json: Value = serde_json::from_str(stdout(&output)).expect("JSON");
        assert_eq!((&json["pod"], json["others"].as_array().map(Vec::len)), (&json!(POD), Some(1)), "{word}");
        assert_eq!(json["others"][0]["pod"], "api-7f9c4d8b6-other");
        assert_eq!(json["others"][0]["last_ended"], "2026-11-22T06:00:00Z");
    }
}

fn workload(kind: &str) -> Value {
    let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    json!({
        "apiVersion": group, "kind": kind, "metadata": { "name": "api", "namespace": NAMESPACE },
        "spec": {
            "serviceName": "api",
            "selector": { "matchLabels": { "app": "api" } },
            "template": { "metadata": { "labels": { "app": "api" } }, "spec": { "containers": [] } },
        },
    })
}

#[tokio::test]
async fn a_workload_without_pods_or_that_is_absent_is_said() {
    let script = |seen: &Seen| match seen.path.as_str() {
        "/api/v1/namespaces/shop/pods" => {
            answer(200, &json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [] }))
        }
        _ => answer(200, &workload("Deployment")),
    };
    let (_server, path) = serve(script).await;
    let output = run(&path, &["deploy/api"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Deployment api has no pods in namespace shop"), "{}", stderr(&output));
    let (_server, path) = serve(|_| not_found("deployments.apps", "api")).await;
    let output = run(&path, &["deploy/api"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no Deployment api"), "{}", stderr(&output));
}
