//! Statuses and Events that no recording has, in the form that kubelet and the scheduler give them.

use super::*;

/// A pod with one container in this state, and what else its status has.
fn pod(state: &Value, more: &Value) -> Value {
    let mut pod = json!({
        "metadata": { "name": "api-7f9c", "namespace": "shop", "uid": "1" },
        "spec": {
            "restartPolicy": "Always",
            "containers": [{ "name": "api", "image": "registry.example/api:1", "readinessProbe": { "periodSeconds": 1 } }],
        },
        "status": {
            "phase": "Pending",
            "containerStatuses": [{
                "name": "api", "ready": false, "restartCount": 0, "image": "i", "imageID": "", "state": state, "lastState": {},
            }],
        },
    });
    for (name, value) in more.as_object().expect("an object") {
        pod["status"][name] = value.clone();
    }
    pod
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({ "waiting": { "reason": reason, "message": message } })
}

fn event(reason: &str, message: &str) -> Value {
    json!({
        "metadata": {}, "involvedObject": { "uid": "1" }, "reason": reason, "message": message, "count": 3,
        "firstTimestamp": "2026-11-22T08:00:00Z", "lastTimestamp": "2026-11-22T08:05:00Z",
    })
}

fn of(pod: Value, events: &[Value]) -> Diagnosis {
    diagnose(&facts(pod, events, "2026-11-22T08:05:00Z".parse().expect("a time")))
}

/// The container's one finding: its cause, summary and remedy.
fn found(state: &Value, events: &[Value]) -> (&'static str, String, String) {
    let diagnosis = of(pod(state, &json!({})), events);
    assert!(diagnosis.wrong);
    let [finding] = diagnosis.containers[0].findings.as_slice() else { panic!("{diagnosis:#?}") };
    assert!(!finding.evidence.is_empty(), "{finding:?}");
    assert!(diagnosis.summary.contains(&finding.summary), "{}", diagnosis.summary);
    (finding.cause, finding.summary.clone(), finding.remedy.clone())
}

#[test]
fn images() {
    for (reason, message, event_message, why, remedy) in [
        (
            "ErrImagePull",
            "rpc error: code = NotFound desc = failed to pull and unpack image: not found",
            "",
            "no such image",
            "tag",
        ),
        (
            "ImagePullBackOff",
            "Back-off pulling image \"registry.example/api:1\"",
            "Failed to pull image \"registry.example/api:1\": pull access denied, authorization failed: unauthorized",
            "refuses the credentials",
            "imagePullSecrets",
        ),
        (
            "ErrImagePull",
            "failed to do request: Head \"https://registry.example\": dial tcp: lookup registry.example: no such host",
            "",
            "cannot reach the registry",
            "DNS",
        ),
        (
            "ErrImagePull",
            "no match for platform in manifest: not found",
            "",
            "node's architecture",
            "architecture",
        ),
        (
            "InvalidImageName",
            "couldn't parse image name \"Api:1\": invalid reference format",
            "",
            "no image's name",
            "Correct",
        ),
        (
            "ErrImageNeverPull",
            "Container image is not present with pull policy of Never",
            "",
            "imagePullPolicy is Never",
            "Load",
        ),
        ("ImagePullBackOff", "Back-off pulling image", "", "the pull failed", "message"),
    ] {
        let events: Vec<_> =
            Some(event("Failed", event_message)).filter(|_| !event_message.is_empty()).into_iter().collect();
        let (cause, summary, says) = found(&waiting(reason, message), &events);
        assert_eq!(cause, "image_pull", "{message}");
        assert!(summary.contains(why) && says.contains(remedy), "{message}: {summary}: {says}");
        assert!(summary.contains("registry.example/api:1"), "{summary}");
    }
}

#[test]
fn configuration() {
    for (message, expected) in [
        ("configmap \"settings\" not found", "config_missing"),
        ("secret \"token\" not found", "config_missing"),
        ("couldn't find key url in ConfigMap shop/settings", "config_missing"),
        ("container has runAsNonRoot and image will run as root (pod: \"api\")", "config_refused"),
    ] {
        let (cause, summary, _) = found(&waiting("CreateContainerConfigError", message), &[]);
        assert_eq!(cause, expected, "{message}");
        assert!(summary.contains("does not start"), "{summary}");
    }
}

#[test]
fn volumes_and_the_sandbox() {
    for (reason, message, cause, remedy) in [
        (
            "FailedMount",
            "MountVolume.SetUp failed for volume \"settings\" : configmap \"settings\" not found",
            "volume",
            "Create",
        ),
        (
            "FailedAttachVolume",
            "Multi-Attach error for volume \"pvc-1\" Volume is already used by pod(s) b",
            "volume",
            "another node",
        ),
        (
            "FailedMount",
            "Unable to attach or mount volumes: timed out waiting for the condition",
            "volume",
            "CSI",
        ),
        (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: plugin type=\"calico\" failed (add): no IP addresses available",
            "sandbox",
            "CNI",
        ),
    ] {
        let (found, summary, says) = found(&waiting("ContainerCreating", ""), &[event(reason, message)]);
        assert_eq!(found, cause, "{message}");
        assert!(says.contains(remedy), "{message}: {summary}: {says}");
    }
    let diagnosis = of(pod(&waiting("ContainerCreating", ""), &json!({})), &[]);
    assert!(!diagnosis.wrong, "a container that is being created is not wrong: {}", diagnosis.summary);
}

#[test]
fn starts() {
    let oom = "failed to create shim task: runc create failed: unable to start container process: container init was OOM-killed \
               (memory limit too low?)";
    for (reason, message, cause) in [
        ("RunContainerError", oom, "start_oom"),
        ("RunContainerError", "exec: \"/nope\": stat /nope: no such file or directory", "start_failed"),
        (
            "CreateContainerError",
            "failed to generate spec: path \"/x\" is mounted on \"/\" but it is not a shared mount",
            "start_failed",
        ),
        ("PostStartHookError", "", "post_start_hook"),
    ] {
        assert_eq!(found(&waiting(reason, message), &[]).0, cause, "{message}");
    }
    for (message, remedy) in [
        ("exec format error", "architecture"),
        ("exec: \"/x\": permission denied", "chmod"),
        ("exec: \"x\": executable file not found in $PATH", "must exist"),
    ] {
        let (_, _, says) = found(&waiting("RunContainerError", message), &[]);
        assert!(says.contains(remedy), "{message}: {says}");
    }
}

#[test]
fn a_failed_post_start_hook_explains_the_end_that_it_made() {
    let mut pod = pod(&waiting("PostStartHookError", "PostStartHookError"), &json!({ "phase": "Running" }));
    pod["status"]["containerStatuses"][0]["restartCount"] = 2.into();
    pod["status"]["containerStatuses"][0]["lastState"] = json!({ "terminated": {
        "exitCode": 137, "reason": "Error", "startedAt": "2026-11-22T08:04:50Z", "finishedAt": "2026-11-22T08:05:00Z",
    } });
    let diagnosis = of(pod, &[event("FailedPostStartHook", "PostStartHook failed: exit status 1")]);
    assert_eq!(diagnosis.containers[0].runs[0].cause, "post_start_hook");
    assert!(
        diagnosis.summary.contains("2 restarts; the last 5 minutes ago, for a failed postStart hook"),
        "{}",
        diagnosis.summary
    );
}

/// The pod is deleted while kubelet ends a container for its probe; and OOMKilled may be left over then.
#[test]
fn a_probe_that_failed_before_the_deletion_is_the_cause() {
    let ended = json!({ "terminated": {
        "exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-11-22T08:04:00Z", "finishedAt": "2026-11-22T08:05:00Z",
    } });
    let mut pod = pod(&ended, &json!({ "phase": "Failed" }));
    pod["metadata"]["deletionTimestamp"] = "2026-11-22T08:05:28Z".into();
    pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let deleted = of(pod.clone(), &[]);
    assert_eq!(deleted.containers[0].runs[0].cause, "stopped");
    assert_eq!(deleted.containers[0].runs[0].contradictions.len(), 1);
    let probed = of(pod, &[event("Killing", "Container api failed liveness probe, will be restarted")]);
    assert_eq!(probed.containers[0].runs[0].cause, "health_check");
    assert_eq!(probed.containers[0].runs[0].contradictions.len(), 1);
}

#[test]
fn no_node() {
    for (reason, message, remedy) in [
        ("Unschedulable", "0/3 nodes are available: 3 Insufficient memory.", "requests"),
        ("Unschedulable", "0/1 nodes are available: 1 node(s) had untolerated taint(s).", "toleration"),
        (
            "Unschedulable",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector.",
            "nodeSelector",
        ),
        ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates", "gates"),
    ] {
        let mut pod = pod(
            &json!({}),
            &json!({ "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        }] }),
        );
        pod["status"]["containerStatuses"] = json!([]);
        let diagnosis = of(pod, &[]);
        let [finding] = diagnosis.findings.as_slice() else { panic!("{diagnosis:#?}") };
        assert_eq!(finding.cause, "unschedulable");
        assert!(finding.remedy.contains(remedy), "{message}: {}", finding.remedy);
        assert!(diagnosis.wrong && diagnosis.summary.contains(&finding.summary), "{}", diagnosis.summary);
    }
}

#[test]
fn pods_that_kubelet_ended_or_refused_before_a_container_ran() {
    for (reason, message, cause) in [
        ("Evicted", "The node was low on resource: memory.", "evicted"),
        (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
            "deadline_exceeded",
        ),
        ("OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu", "rejected"),
    ] {
        let mut pod = pod(&json!({}), &json!({ "phase": "Failed", "reason": reason, "message": message }));
        pod["status"]["containerStatuses"] = json!([]);
        let diagnosis = of(pod, &[]);
        assert_eq!(diagnosis.findings.iter().map(|it| it.cause).collect::<Vec<_>>(), [cause]);
    }
}

#[test]
fn an_init_container_that_fails_is_named_with_its_reason() {
    let mut pod = pod(&waiting("PodInitializing", ""), &json!({}));
    pod["spec"]["initContainers"] = json!([{ "name": "migrate", "image": "m" }]);
    pod["status"]["initContainerStatuses"] = json!([{
        "name": "migrate", "ready": false, "restartCount": 4, "image": "i", "imageID": "",
        "state": waiting("CrashLoopBackOff", "back-off"),
        "lastState": { "terminated": {
            "exitCode": 3, "reason": "Error", "startedAt": "2026-11-22T08:04:50Z", "finishedAt": "2026-11-22T08:05:00Z",
        } },
    }]);
    let diagnosis = of(pod, &[]);
    let [finding] = diagnosis.findings.as_slice() else { panic!("{diagnosis:#?}") };
    assert_eq!(finding.cause, "init_failed");
    assert!(
        finding.summary.contains("init container migrate fails")
            && finding.summary.contains("5 times, the last time after exit code 3"),
        "{}",
        finding.summary
    );
    assert_eq!(
        diagnosis.summary,
        "shop/api-7f9c, init container migrate: 4 restarts; the last 5 minutes ago, after exit code 3"
    );
    assert_eq!((diagnosis.containers[0].role, diagnosis.containers[0].unknown_runs), (Some("init"), 4));
}

#[test]
fn not_ready_is_no_crash() {
    let state = json!({ "running": { "startedAt": "2026-11-22T08:00:00Z" } });
    let (cause, summary, _) = found(
        &state,
        &[event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")],
    );
    assert_eq!(cause, "not_ready");
    assert!(summary.contains("this is no crash"), "{summary}");
}

#[test]
fn codes() {
    for (code, cause, reason) in [
        (1, "container_exit", "after exit code 1"),
        (126, "container_exit", "after exit code 126"),
        (127, "container_exit", "after exit code 127"),
        (134, "container_exit", "after exit code 134 (SIGABRT)"),
        (137, "unknown", "by a SIGKILL of unknown origin"),
        (143, "unknown", "by a SIGTERM of unknown origin"),
        (255, "container_exit", "after exit code 255"),
        (0, "completed_again", "because it runs to completion"),
    ] {
        let reason_of_status = if code == 0 { "Completed" } else { "Error" };
        let state = json!({ "terminated": {
            "exitCode": code, "reason": reason_of_status, "finishedAt": "2026-11-22T08:05:00Z",
        } });
        let diagnosis = of(pod(&state, &json!({})), &[]);
        let run = &diagnosis.containers[0].runs[0];
        assert_eq!((run.cause.as_str(), run.reason.as_str()), (cause, reason));
        assert!(!run.summary.contains("OOM"), "{}", run.summary);
    }
}
