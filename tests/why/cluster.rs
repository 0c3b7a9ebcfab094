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
