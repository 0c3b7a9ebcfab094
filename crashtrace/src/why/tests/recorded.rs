//! Recorded deaths.

use super::*;

/// A recording of one pod, at the state that a condition chooses, with the Events up to then.
pub(super) fn recording(file: &str, at: impl Fn(&Value) -> bool) -> Facts {
    let recording = read(&fixtures("deaths").join(format!("{file}.json")));
    let timeline = recording["timeline"].as_array().expect("a timeline");
    let change =
        timeline.iter().rev().find(|change| at(change)).unwrap_or_else(|| panic!("{file}: no such state"));
    let mut pod =
        json!({ "metadata": change["metadata"], "spec": recording["spec"], "status": change["status"] });
    for (name, value) in [("namespace", "namespace"), ("name", "pod"), ("uid", "uid")] {
        pod["metadata"][name] = recording[value].clone();
    }
    pod["spec"]["nodeName"] = json!("node1");
    let seen: Timestamp = change["seen"].as_str().expect("a time").parse().expect("a time");
    let mut events: Vec<Value> = Vec::new();
    for written in recording["events"].as_array().expect("Events") {
        let at: Timestamp = written["seen"].as_str().expect("a time").parse().expect("a time");
        // The status tells of an end a little after the Event.
        if at > seen + jiff::SignedDuration::from_secs(1) {
            continue;
        }
        let event = json!({
            "metadata": {},
            "involvedObject": { "uid": recording["uid"], "fieldPath": written["fieldPath"] },
            "reason": written["reason"], "message": written["message"], "count": written["count"],
            "firstTimestamp": written["first"], "lastTimestamp": written["last"], "type": "Normal",
        });
        // Counted up in place.
        events.retain(|it| {
            ["reason", "message", "firstTimestamp"].into_iter().any(|name| it[name] != event[name])
        });
        events.push(event);
    }
    facts(pod, &events, seen)
}

/// Of each container: its name, and of each ended run that is known the restart, the cause and how many contradictions.
type Ends = Vec<(String, Vec<(u32, String, usize)>)>;

fn ends(facts: &Facts) -> Ends {
    let of = |run: &diagnosis::Run| {
        assert!(!run.summary.is_empty() && !run.evidence.is_empty(), "{run:?}");
        (run.restart.expect("a count"), run.cause.clone(), run.contradictions.len())
    };
    let containers = diagnose(facts).containers.into_iter();
    containers.map(|container| (container.name, container.runs.iter().map(of).collect())).collect()
}

/// The same, as a table has it.
type Expected<'a> = [(&'a str, &'a [(u32, &'a str, usize)])];

fn expected(ends: &Expected<'_>) -> Ends {
    let run = |(restart, cause, contradictions): &(u32, &str, usize)| {
        (*restart, (*cause).to_owned(), *contradictions)
    };
    ends.iter().map(|(name, runs)| ((*name).to_owned(), runs.iter().map(run).collect())).collect()
}

fn is_there(change: &Value) -> bool {
    change["type"] != "DELETED"
}

/// Before anything ended the pod.
fn lives(change: &Value) -> bool {
    change["metadata"]["deletionTimestamp"].is_null() && change["status"]["phase"] == "Running"
}

/// `crashtrace/docs/deaths.md` has what happened in each.
#[test]
fn recorded_ends_have_the_cause_that_status_and_events_allow() {
    let mut wrong = Vec::new();
    for (file, at, ends_of_it) in [
        ("traced/exit1", lives as fn(&Value) -> bool, &[("main", &[(1, "container_exit", 0)][..])][..]),
        ("traced/exit1", is_there, &[("main", &[(2, "stopped", 0), (1, "container_exit", 0)])]),
        ("traced/exit0", lives, &[("main", &[(1, "completed_again", 0)])]),
        ("traced/exit0", is_there, &[("main", &[(2, "completed_again", 0), (1, "completed_again", 0)])]),
        ("traced/segv", lives, &[("main", &[(2, "container_exit", 0), (1, "container_exit", 0)])]),
        ("traced/hostpid", lives, &[("main", &[(1, "container_exit", 0), (0, "container_exit", 0)])]),
        ("traced/hostkill", is_there, &[("main", &[(0, "unknown", 0)])]),
        ("traced/live-143", is_there, &[("main", &[(3, "health_check", 0)])]),
        ("traced/live-term", is_there, &[("main", &[(3, "health_check", 1)])]),
        ("traced/live-kill", is_there, &[("main", &[(4, "stopped", 0), (3, "health_check", 0)])]),
        ("traced/startup", is_there, &[("main", &[(3, "health_check", 1)])]),
        ("traced/ready", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/del-term", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/del-kill", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/selfkill", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/evict-api", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/evict-api-kill", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/drain-697d8c87fb-dpkqt", is_there, &[("main", &[(0, "stopped", 0)])]),
        ("traced/drain-697d8c87fb-bcsct", is_there, &[("main", &[(0, "evicted", 0)])]),
        ("traced/evict-mem", is_there, &[("main", &[(0, "evicted", 0)])]),
        ("traced/deadline", is_there, &[("main", &[(0, "deadline_exceeded", 0)])]),
        ("traced/deadline-term", is_there, &[("main", &[(0, "deadline_exceeded", 0)])]),
        ("traced/nocmd", is_there, &[("main", &[(3, "evicted", 0), (2, "start_failed", 0)])]),
        (
            "traced/share",
            is_there,
            &[("killer", &[(0, "stopped", 0)]), ("victim", &[(1, "stopped", 0), (0, "unknown", 0)])],
        ),
        ("untraced/evicted-emptydir", is_there, &[("c", &[(0, "evicted", 0)])]),
        ("untraced/exit139-child", is_there, &[("c", &[(0, "container_exit", 0)])]),
        ("untraced/killed-from-host", is_there, &[("c", &[(2, "stopped", 0), (1, "stopped", 0)])]),
        ("untraced/oom-pid1-deleted", is_there, &[("hog", &[(0, "oom_killed", 0)])]),
        ("untraced/oom-guaranteed", is_there, &[("hog", &[(0, "oom_killed", 0)])]),
        ("untraced/oom-child-exit0", is_there, &[("sh", &[(0, "oom_killed", 0)])]),
        // OOMKilled, and the kernel killed nothing then.
        ("untraced/oom-child-survives", is_there, &[("sh", &[(0, "stopped", 1)])]),
        (
            "untraced/oom-pod-limit",
            is_there,
            &[("hog", &[(7, "oom_killed", 0), (6, "oom_killed", 0)]), ("side", &[(0, "stopped", 1)])],
        ),
        (
            "untraced/oom-pod-limit-innocent",
            is_there,
            &[("big", &[(1, "stopped", 0), (0, "oom_killed", 0)]), ("small", &[(0, "stopped", 1)])],
        ),
        ("untraced/oom-tmpfs", is_there, &[("fill", &[(6, "start_oom", 0)])]),
        (
            "untraced/oom-sidecar",
            is_there,
            &[("sidecar", &[(6, "oom_killed", 0)]), ("main", &[(0, "stopped", 0)])],
        ),
    ] {
        let (got, expected) = (ends(&recording(file, at)), expected(ends_of_it));
        if got != expected {
            wrong.push(format!("{file}: {got:?}, and not {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No reason but kubelet's own is ever an OOM kill.
#[test]
fn an_oom_kill_is_what_kubelet_calls_so() {
    for kind in ["traced", "untraced"] {
        for entry in std::fs::read_dir(fixtures("deaths").join(kind)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            let file = format!("{kind}/{}", name.strip_suffix(".json").expect("a recording"));
            for container in diagnose(&recording(&file, is_there)).containers {
                for run in
                    container.runs.iter().filter(|run| run.status_reason.as_deref() != Some("OOMKilled"))
                {
                    assert_ne!(run.cause, "oom_killed", "{file}");
                }
            }
        }
    }
}

#[test]
fn verdicts_of_recorded_pods() {
    for (facts, verdict) in [
        (
            recording("traced/exit1", lives),
            "t/q-exit1, container main: 2 restarts; the last 5 minutes ago, after exit code 1",
        ),
        (
            recording("untraced/exit1", is_there),
            "cases/exit1, container c: 6 restarts; the last 9 minutes ago, after exit code 1",
        ),
        (
            recording("untraced/oom-pid1-deleted", is_there),
            "cases/oom-pid1-deleted, container hog: ended 13 minutes ago after 4 s, by the OOM killer, as kubelet says",
        ),
        (
            recording("traced/ready", lives),
            "t/r-ready: container main runs and is not ready: its readiness probe fails; this is no crash, and it ends nothing",
        ),
        (
            recording("traced/noimg", |change| {
                change["status"]["phase"] == "Pending" && change["status"]["containerStatuses"].is_array()
            }),
            "t/r-noimg: container main does not start: image localhost/none:1 cannot be pulled: the node does not have it, and \
             imagePullPolicy is Never",
        ),
        (
            recording("untraced/oom-init", |change| change["status"]["phase"] == "Pending"),
            "cases/oom-init, init container prepare: 7 restarts, the last 2 by the OOM killer, as kubelet says; the last 5 minutes ago",
        ),
    ] {
        assert_eq!(diagnose(&facts).summary, verdict);
    }
}
