//! A cluster without a report of the pod, or without crashtrace.

use super::*;

fn probed() -> Cluster {
    Cluster {
        pod: pod(&crashed("Error", 137, 3)),
        events: vec![
            event(
                "Killing",
                "Container api failed liveness probe, will be restarted",
                "2026-11-22T07:22:55Z",
                "2026-11-22T07:22:55Z",
                1,
            ),
            event(
                "Unhealthy",
                "Liveness probe failed: timeout",
                "2026-11-22T07:22:35Z",
                "2026-11-22T07:22:55Z",
                3,
            ),
        ],
        ..Cluster::default()
    }
}

#[tokio::test]
async fn without_a_report_status_and_events_are_told_as_such() {
    let (text, json, code) = diagnosed(probed()).await;
    reviewed("no_report", &text);
    let run = &json["containers"][0]["runs"][0];
    assert_eq!((code, &run["cause"], &run["source"]), (0, &json!("health_check"), &json!("status")));
    assert!(text.contains("from status and Events only"), "{text}");
    let report =
        json["sources"].as_array().unwrap().iter().find(|it| it["source"] == "crash_report").unwrap();
    assert_eq!(report["outcome"], "none");
}

#[tokio::test]
async fn a_bare_137_is_no_oom() {
    let cluster = Cluster { pod: pod(&crashed("Error", 137, 1)), ..Cluster::default() };
    let (text, json, _) = diagnosed(cluster).await;
    assert_eq!(json["containers"][0]["runs"][0]["cause"], "unknown");
    assert!(text.contains("SIGKILL by something; Kubernetes does not say by what"), "{text}");
}

#[tokio::test]
async fn without_the_crd_the_rest_is_told() {
    let cluster = probed();
    let script = move |seen: &Seen| {
        if seen.path.starts_with("/apis/crashtrace.dev/") {
            return Answer::Whole(404, "text/plain", None, "404 page not found\n".into());
        }
        cluster.answer(seen)
    };
    let (_server, path) = serve(script).await;
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(
        stdout(&output).contains("the CRD crashreports.crashtrace.dev is not installed"),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).contains("failed its liveness probe"), "{}", stdout(&output));
}

#[tokio::test]
async fn a_right_that_is_missing_for_one_source_is_said_and_does_not_fail() {
    let cluster = probed();
    let script = move |seen: &Seen| match seen.path.as_str() {
        path if path.ends_with("/events") => forbidden("list", "events"),
        path if path.ends_with("/log") => forbidden("get", "pods/log"),
        path if path.contains("/crashreports/") => forbidden("get", "crashreports"),
        _ => cluster.answer(seen),
    };
    let (_server, path) = serve(script).await;
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    let text = stdout(&output);
    for check in [
        "kubectl auth can-i list events -n shop",
        "kubectl auth can-i get pods --subresource=log -n shop",
        "kubectl auth can-i get crashreports.crashtrace.dev -n shop",
    ] {
        assert!(text.contains(check), "{check}: {text}");
    }
    // What only Events tell is not known then.
    assert!(text.contains("SIGKILL by something"), "{text}");
}

#[tokio::test]
async fn a_report_of_an_earlier_pod_of_the_name_is_not_this_ones() {
    let mut of_another = report(&[incident(&line("exit_code"), None)]);
    of_another["spec"]["podUid"] = "another".into();
    let cluster =
        Cluster { pod: pod(&crashed("Error", 1, 3)), report: Some(of_another), ..Cluster::default() };
    let (text, json, _) = diagnosed(cluster).await;
    assert_eq!(json["containers"][0]["runs"][0]["source"], "status");
    assert!(text.contains("it is of an earlier pod of this name"), "{text}");
}

#[tokio::test]
async fn nothing_wrong_is_2() {
    let running = json!({
        "name": "api", "ready": true, "started": true, "restartCount": 0, "image": "i", "imageID": "i",
        "state": { "running": { "startedAt": "2026-11-22T07:22:35Z" } }, "lastState": {},
    });
    let (text, json, code) = diagnosed(Cluster { pod: pod(&running), ..Cluster::default() }).await;
    assert_eq!((code, json["wrong"].as_bool()), (2, Some(false)));
    assert!(text.contains("nothing is wrong: the pod is Running, 1 container, no restarts"), "{text}");
}

#[tokio::test]
async fn hostile_texts_reach_no_terminal() {
    let mut status = crashed("Error\u{1b}[2J", 1, 3);
    status["lastState"]["terminated"]["message"] = "\u{1b}]0;owned\u{7}\u{202e}\n".into();
    let cluster =
        Cluster { pod: pod(&status), log: "\u{1b}[31mred\u{9b}2J\r\n\u{7}bell\n", ..Cluster::default() };
    let (text, ..) = diagnosed(cluster).await;
    let harmful =
        text.chars().find(|c| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c));
    assert_eq!(harmful, None, "{text:?}");
    assert!(text.contains("|  [31mred 2J"), "{text}");
}

/// As cloud providers have it; and the context that is named, not the current one.
#[tokio::test]
async fn a_program_may_give_the_credentials_and_a_context_is_chosen() {
    let cluster = probed();
    let (server, path) = serve(move |seen| cluster.answer(seen)).await;
    let program = server.file("program");
    let answer = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"good-token"}}"#;
    std::fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).expect("a file");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&program, executable).expect("its mode");
    let user =
        format!("{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: {}}}}}", program.display());
    let good = kubeconfig(&server, &user);
    let config = good.replace("current-context: here", "current-context: absent");
    std::fs::write(&path, config).expect("a file");
    let output = run(&path, &[POD]).await;
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("absent"), "{}", stderr(&output));
    let output = run(&path, &[POD, "--context", "here", "--no-logs"]).await;
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(stdout(&output).contains("failed its liveness probe"), "{}", stdout(&output));
    assert!(server.seen().iter().all(|seen| !seen.path.ends_with("/log")), "no logs are asked for");
}

/// kubelet's Events of a static pod have the hash of its configuration for a UID.
#[tokio::test]
async fn events_of_a_static_pod_are_found_by_its_hash() {
    let hash = "349ec37f55eed21f6a216e957a510f10";
    let mut cluster = probed();
    cluster.pod["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": hash });
    let script = move |seen: &Seen| {
        if !seen.path.ends_with("/events") {
            return cluster.answer(seen);
        }
        let of_hash = seen.query["fieldSelector"] == format!("involvedObject.uid={hash}");
        let items = if of_hash { cluster.events.clone() } else { Vec::new() };
        answer(200, &json!({ "kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": items }))
    };
    let (_server, path) = serve(script).await;
    let output = run(&path, &[POD]).await;
    assert!(stdout(&output).contains("failed its liveness probe"), "{}", stdout(&output));
}
