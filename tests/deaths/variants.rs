//! The same deaths where Kubernetes knows less of them, or tells it otherwise.

use crashtrace::schema::Stop;
use serde_json::{Value, json};

use crate::cluster::Answers;
use crate::play::{ALL, DEFAULT, Played, Setup, play};
use crate::recording::{Recording, Written};
use crate::truth::Truth;
use crate::{Case, against};

fn with(events: Answers) -> Setup {
    Setup { events: Some(events), ..ALL }
}

/// Every death whose verdict needs Kubernetes' word.
fn stopped_by_kubernetes(truth: &Truth) -> impl Iterator<Item = Case> {
    let cases = truth.deaths.iter().filter(|it| matches!(it.cause.as_str(), "health_check" | "stopped"));
    cases.map(|death| Case::new(&death.case)).collect::<Vec<_>>().into_iter()
}

#[test]
fn late_and_doubled_events_give_the_same_verdict() {
    let truth = Truth::read();
    let mut against_all = Vec::new();
    for case in stopped_by_kubernetes(&truth) {
        for answers in [Answers::After(2_000), Answers::Twice] {
            against_all.extend(against(&case.last(with(answers)), &case.death));
        }
    }
    assert!(against_all.is_empty(), "{}", against_all.join("\n"));
}

#[test]
fn an_answer_that_comes_after_the_first_line_makes_the_second_revision() {
    let case = Case::new("live-143");
    let played = case.play(with(Answers::After(2_000)));
    let of = |line: &Value| json!([line["verdict"]["cause"], line["verdict"]["certainty"]]);
    let verdicts: Vec<_> = played.of(&case.id()).map(of).collect();
    // At once by what the kernel saw, then by Kubernetes' word.
    assert_eq!(verdicts.first(), Some(&json!(["health_check", "inferred"])));
    assert_eq!(verdicts.last(), Some(&json!(["health_check", "observed"])));
    assert!((2..=3).contains(&verdicts.len()), "{verdicts:?}");
}

/// Nothing is waited for without end, and the reason is said.
#[test]
fn without_events_the_end_is_told_by_what_is_known() {
    for answers in [Answers::Never, Answers::Refused, Answers::Empty] {
        for name in ["del-term", "del-kill", "evict-api", "drain", "evict-mem", "deadline", "deadline-term"] {
            let case = Case::new(name);
            let report = case.last(with(answers));
            assert_eq!(against(&report, &case.death), [""; 0], "{answers:?}");
        }
        for name in ["live-143", "live-kill", "startup"] {
            let case = Case::new(name);
            let report = case.last(with(answers));
            let verdict = &report["verdict"];
            // Processes that came by exec failed at the probe's interval.
            let said = json!([verdict["cause"], verdict["certainty"], report["exit"]["ended_by"]]);
            assert_eq!(said, json!(["health_check", "inferred", "runtime"]), "{answers:?}: {report:#}");
            let reasons = verdict["evidence"].to_string();
            match answers {
                Answers::Refused => assert!(reasons.contains("403"), "{report:#}"),
                Answers::Never => assert!(reasons.contains("not answered"), "{report:#}"),
                _ => {}
            }
        }
    }
}

/// Where there is no API server, the kernel's evidence is all that there is, and two failed processes do not suffice.
#[test]
fn without_any_source_the_kernels_evidence_stands() {
    let none = Setup { events: None, ..ALL };
    // Probes that failed only twice, which may be chance.
    for name in ["live-143", "live-kill", "startup", "del-term", "del-kill", "evict-mem", "deadline"] {
        let report = Case::new(name).last(none);
        assert_eq!(report["exit"]["ended_by"], "runtime", "{name}: {report:#}");
        assert_ne!(report["verdict"]["cause"], "health_check", "{name}: {report:#}");
        assert_eq!(report["exit"]["probe"], Value::Null, "{name}: {report:#}");
    }
    for name in ["exit1", "segv", "hostkill", "share", "sharehog", "oom-pid1", "nocmd"] {
        let case = Case::new(name);
        let report = case.last(none);
        assert_eq!(against(&report, &case.death), [""; 0]);
    }
}

/// They cost requests, so they are asked for only where they decide.
#[test]
fn events_are_asked_for_only_after_an_end_by_the_runtime() {
    for (name, asks) in [
        ("exit1, seen untraced", false),
        ("segv", false),
        ("abort", false),
        ("nocmd", false),
        ("oom-guaranteed", false),
        ("live-143", true),
        ("evict-mem", true),
    ] {
        let played = Case::new(name).play(ALL);
        assert_eq!(played.requests > 0, asks, "{name}: {} requests", played.requests);
    }
    // A few for a death, however long it is waited for.
    let played = Case::new("evict-mem").play(with(Answers::Never));
    assert!(played.requests <= 5, "{} requests", played.requests);
}

fn event(reason: &str, message: &str, seen: &str) -> Written {
    let time = seen.parse().expect("a time");
    Written {
        seen: time,
        reason: reason.to_owned(),
        message: message.to_owned(),
        count: Some(1),
        first: Some(time),
        last: Some(time),
        field_path: Some("spec.containers{main}".to_owned()),
    }
}

#[test]
fn events_of_the_pods_earlier_life_do_not_count() {
    for name in ["hostkill", "del-term", "evict-api"] {
        let mut case = Case::new(name);
        for (reason, message) in [
            ("Unhealthy", "Liveness probe failed: no"),
            ("Killing", "Container main failed liveness probe, will be restarted"),
        ] {
            case.recording.events.push(event(reason, message, "2026-11-28T16:27:01Z"));
        }
        for setup in [ALL, with(Answers::Twice)] {
            let report = case.last(setup);
            assert_eq!(against(&report, &case.death), [""; 0], "{report:#}");
        }
    }
}

/// Changes what the watch told from the condition on.
fn with_disruption(recording: &mut Recording, reason: &str) {
    for change in &mut recording.timeline {
        for condition in change.status["conditions"].as_array_mut().into_iter().flatten() {
            condition["reason"] = json!(reason);
        }
    }
}

/// The recordings' README has these two, without a recording: made of others.
#[test]
fn preemption_and_a_failed_hook() {
    let mut case = Case::new("evict-api");
    with_disruption(&mut case.recording, "PreemptionByScheduler");
    case.recording.events.push(event(
        "Preempted",
        "Preempted by pod x on node node1",
        "2026-11-28T16:30:03Z",
    ));
    let report = case.last(ALL);
    assert_eq!(report["verdict"]["cause"], "stopped", "{report:#}");
    assert_eq!(report["exit"]["stop"], json!(Stop::Preempted), "{report:#}");
    let lines = case.play(DEFAULT);
    assert_eq!(lines.of(&case.id()).count(), 0);

    // The hook fails just after the start; SIGTERM is ignored, and SIGKILL follows.
    let mut case = Case::new("live-kill");
    case.recording.events.clear();
    for (reason, message) in
        [("FailedPostStartHook", "PostStartHook failed"), ("Killing", "FailedPostStartHook")]
    {
        case.recording.events.push(event(reason, message, "2026-11-28T16:29:11Z"));
    }
    for container in case.recording.spec["containers"].as_array_mut().into_iter().flatten() {
        container.as_object_mut().expect("a container").remove("livenessProbe");
        container["lifecycle"] = json!({ "postStart": { "exec": { "command": ["/bin/false"] } } });
    }
    let report = case.last(ALL);
    assert_eq!(report["verdict"]["cause"], "stopped", "{report:#}");
    assert_eq!(report["exit"]["stop"], json!(Stop::PostStartHook), "{report:#}");
}

/// A death after another in the same container: what the status says of the one is not held against the other.
#[test]
fn each_death_of_a_crash_loop_has_its_own_line() {
    let case = Case::new("live-kill");
    let played: Played = play(&case.recording, &case.death.file, &case.truth, ALL);
    let ids: std::collections::BTreeSet<_> = played.exits().map(|line| line["id"].to_string()).collect();
    assert_eq!(ids.len(), case.truth.of(&case.death.file).count());
    let before: Vec<_> = {
        let deaths: Vec<_> = case.truth.of(&case.death.file).collect();
        let of = |container: &str| {
            let id = case.recording.container(container);
            played.of(&id).last().map(|line| line["exit"]["ends_last_hour"].clone())
        };
        deaths.iter().map(|death| of(&death.container)).collect()
    };
    assert_eq!(before, [Some(json!(0)), Some(json!(1)), Some(json!(2))]);
}
