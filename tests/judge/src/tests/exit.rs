//! Ends of containers' first processes.

use serde_json::{Value, json};

use super::super::agree;
use super::super::cast::{Cast, End, Process};
use super::super::catalogue::{Catalogue, Harness, Surroundings, Tier};
use super::super::exit::{compared, enough, faults};
use super::{FILE, cast, leaves, line};

const EXIT: &str = r#"
[[scenario]]
name = "one"
about = "it aborts, some time after a child of it was killed"
needs = []
[[scenario.exit]]
role = "main"
cause = "killed"
signal = 6
core_dumped = true
ended_by = "host"
fault = { name = "SIGABRT", code_name = "SI_USER" }
signals = [{ number = 15, ignored = true, from = "host", sender = "sends", parent_comm = "sh" }]
oom_kills_before = ["eater"]
evidence = ["word"]
"#;

fn surroundings() -> Surroundings {
    Surroundings { kernel: (6, 1), harness: Harness { pid: 7, ended_by: "host" }, ..Surroundings::default() }
}

fn process(pid: u32) -> Process {
    Process { pid, tid: Some(pid), is_first: true, ..cast().processes["eater"][0].clone() }
}

fn ended(cast: Cast) -> Cast {
    let end = End { code: None, signal: Some(6), core_dumped: true, at_ns: (100, 200), syscall: None };
    cast.process("main", Process { end: Some(end), ..process(60) }).process("sends", process(61))
}

/// An OOM kill of another process of the container before.
fn oom() -> Value {
    let mut oom = line();
    oom["id"] = json!("boot-5-0");
    oom["ktime_ns"] = json!(5);
    oom
}

fn told(pid: u32) -> Value {
    let owner = json!({ "kind": "container", "container_id": "c1" });
    json!({ "pid": pid, "tid": pid, "container_pid": 1, "comm": "ea\"\\\\\n\\xff", "uid": 0, "start_boottime_ns": 15,
        "cgroup": "/ct/pod/c1", "cgroup_cut": false, "owner": owner })
}

fn end() -> Value {
    let sent = json!({ "number": 15, "ignored": true, "ktime_ns": 90, "count": 1, "from": "host", "sender": told(61),
        "sender_parent_comm": "sh" });
    json!({ "schema": "crashtrace/v1", "kind": "container_exit", "id": "boot-150-1", "revision": 1, "redelivered": false,
        "lost": 0, "ktime_ns": 150, "time": "2026-11-25T00:00:00.000000150Z", "complete": true, "repeats": 0,
        "hooks": ["raw_tp:sched_process_exit"],
        "verdict": { "cause": "killed", "level": null, "certainty": "observed", "inferred": [], "evidence": ["a word"] },
        "trigger": null, "victims": [], "victims_total": 0, "allocation": null, "truncated": false,
        "exit": { "process": told(60), "exit_code": 134, "signal": 6, "core_dumped": true,
            "started": "2026-11-25T00:00:00.000000015Z", "ran_ns": 135, "before_exec": false, "ended_by": "host",
            "signals": [sent], "fault": { "number": 6, "name": "SIGABRT", "code_name": "SI_USER", "syscall": null }, "oom": null,
            "oom_kills_before": [{ "id": "boot-5-0", "pid": 40 }], "oom_kills_before_total": 1 } })
}

fn judge(text: &str, cast: &Cast, lines: &[&Value]) -> Vec<String> {
    let catalogue = Catalogue::parse(text).expect("a good file");
    faults(&catalogue.scenarios[0], cast, Tier::Fentry, &surroundings(), lines)
}

#[test]
fn the_expected_end_has_no_fault_and_each_wrong_field_is_one() {
    let (cast, oom) = (ended(cast()), oom());
    assert_eq!(judge(EXIT, &cast, &[&oom, &end()]), [""; 0]);
    let mut paths = Vec::new();
    leaves(&end(), "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    // Not of the end itself, and what the sender is to its own container.
    let free = |path: &&String| {
        ["/kind", "/id", "/revision"].contains(&path.as_str()) || path.ends_with("/sender/container_pid")
    };
    for path in paths.iter().filter(|path| !free(path)) {
        let mut line = end();
        *line.pointer_mut(path).expect("it is there") = json!("something else");
        assert_ne!(judge(EXIT, &cast, &[&oom, &line]), [""; 0], "{path}");
    }
    assert_ne!(judge(EXIT, &cast, &[&oom]), [""; 0], "no line");
    assert_ne!(judge(EXIT, &cast, &[&oom, &end(), &end()]), [""; 0], "two lines");
    assert_ne!(judge(EXIT, &cast, &[&end()]), [""; 0], "another agent told the OOM");
}

#[test]
fn what_a_kernel_does_in_silence_is_unknown_there() {
    let text = EXIT.replace("role = \"main\"", "role = \"main\"\nsilent_before = [6, 2]");
    let (cast, oom) = (ended(cast()), oom());
    assert_ne!(judge(&text, &cast, &[&oom, &end()]), [""; 0]);
    let mut line = end();
    line["verdict"]["cause"] = json!("unknown");
    line["exit"]["ended_by"] = Value::Null;
    line["exit"]["fault"] = Value::Null;
    assert_ne!(judge(&text, &cast, &[&oom, &line]), [""; 0], "no reason is given");
    line["unresolved"] = json!([{ "field": "exit.ended_by", "reason": "no record" }]);
    assert_eq!(judge(&text, &cast, &[&oom, &line]), [""; 0]);
    assert_ne!(judge(EXIT, &cast, &[&oom, &line]), [""; 0], "another kernel");
}

#[test]
fn the_parents_word_must_fit_the_file() {
    let mut cast = ended(cast());
    let main = &mut cast.processes.get_mut("main").expect("it is there")[0];
    main.end = main.end.map(|end| End { core_dumped: false, ..end });
    assert_ne!(judge(EXIT, &cast, &[&oom(), &end()]), [""; 0]);
    let main = &mut cast.processes.get_mut("main").expect("it is there")[0];
    main.end = main.end.map(|end| End { core_dumped: true, at_ns: (160, 200), ..end });
    assert_ne!(judge(EXIT, &cast, &[&oom(), &end()]), [""; 0], "it lived then");
}

/// The end of the process that the OOM killer has killed.
fn of_victim() -> Value {
    let mut line = end();
    line["verdict"] = oom()["verdict"].clone();
    let exit = &mut line["exit"];
    exit["process"] = told(40);
    exit["process"]["tid"] = json!(41);
    exit["exit_code"] = json!(137);
    exit["signal"] = json!(9);
    exit["core_dumped"] = json!(false);
    exit["ended_by"] = json!("oom_killer");
    exit["oom"] = json!({ "id": "boot-5-0", "pid": 40 });
    line
}

fn first(is_first: bool) -> Cast {
    let mut cast = cast();
    cast.processes.get_mut("eater").expect("it is there")[0].is_first = is_first;
    cast
}

#[test]
fn the_first_process_that_an_oom_killed_has_one_line_with_its_verdict() {
    let (oom, line) = (oom(), of_victim());
    assert_eq!(judge(FILE, &first(true), &[&oom, &line]), [""; 0]);
    for lines in [vec![&oom], vec![&oom, &line, &line], vec![&line]] {
        assert_ne!(judge(FILE, &first(true), &lines), [""; 0], "{lines:?}");
    }
    assert_eq!(judge(FILE, &first(false), &[&oom]), [""; 0]);
    assert_ne!(judge(FILE, &first(false), &[&oom, &line]), [""; 0], "it is no first process");
    for (path, wrong) in [
        ("/verdict/cause", json!("killed")),
        ("/verdict/level", json!("pod")),
        ("/exit/oom/id", json!("boot-6-0")),
        ("/exit/ended_by", json!("kernel")),
        ("/ktime_ns", json!(4)),
    ] {
        let mut line = line.clone();
        *line.pointer_mut(path).expect("it is there") = wrong;
        assert_ne!(judge(FILE, &first(true), &[&oom, &line]), [""; 0], "{path}");
    }
}

#[test]
fn it_is_waited_for() {
    let catalogue =
        Catalogue::parse(&format!("{FILE}{}", EXIT.replace("\"one\"", "\"two\""))).expect("a good file");
    let enough = |scenario: usize, cast: &Cast, lines: &[&Value]| {
        enough(&catalogue.scenarios[scenario], Tier::Fentry, cast, lines)
    };
    let (oom, line) = (oom(), of_victim());
    assert!(!enough(0, &first(true), &[&oom]));
    assert!(enough(0, &first(true), &[&oom, &line]));
    assert!(enough(0, &first(false), &[&oom]));
    assert!(!enough(1, &ended(first(false)), &[&oom]));
    assert!(enough(1, &ended(first(false)), &[&oom, &end()]));
}

/// The end of a process that the harness has killed.
fn of_harness() -> Value {
    let mut line = end();
    let exit = &mut line["exit"];
    exit["exit_code"] = json!(137);
    exit["signal"] = json!(9);
    exit["core_dumped"] = json!(false);
    exit["signals"] = json!([{ "number": 9, "ktime_ns": 90, "sender": { "pid": 7 } }]);
    line
}

#[test]
fn what_the_harness_kills_is_no_fault_and_any_other_end_is() {
    let (oom, line) = (oom(), of_harness());
    assert_eq!(judge(FILE, &first(false), &[&oom, &line]), [""; 0]);
    for (path, wrong) in [
        ("/exit/signals/0/sender/pid", json!(8)),
        ("/exit/signals/0/number", json!(15)),
        ("/exit/signal", json!(6)),
        ("/exit/ended_by", json!("runtime")),
        ("/verdict/cause", json!("unknown")),
        ("/exit/oom", json!({ "id": "boot-9-0" })),
        // The OOM killer was first.
        ("/exit/process/pid", json!(40)),
    ] {
        let mut line = line.clone();
        *line.pointer_mut(path).expect("it is there") = wrong;
        assert_ne!(judge(FILE, &first(false), &[&oom, &line]), [""; 0], "{path}");
    }
}

#[test]
fn agents_agree_on_ends_but_for_times() {
    let catalogue = Catalogue::parse(EXIT).expect("a good file");
    let scenario = &catalogue.scenarios[0];
    assert!(compared(scenario, Tier::Fentry, &ended(cast()), &end()));
    assert!(!compared(scenario, Tier::Fentry, &cast(), &of_harness()));
    let agree = |path: &str, value: Value| {
        let mut other = end();
        *other.pointer_mut(path).expect("it is there") = value;
        let reports = [(Tier::Fentry, vec![end()]), (Tier::Tracepoint, vec![other])];
        agree::faults(scenario, &reports, &|_| Vec::new(), &[]).is_empty()
    };
    assert!(agree("/exit/ran_ns", json!(136)) && agree("/exit/signals/0/ktime_ns", json!(91)));
    assert!(agree("/exit/oom_kills_before/0/id", json!("boot-6-0")));
    assert!(!agree("/exit/signals/0/number", json!(2)) && !agree("/exit/exit_code", json!(1)));
    let reports = [(Tier::Fentry, vec![end()]), (Tier::Tracepoint, Vec::new())];
    assert_ne!(agree::faults(scenario, &reports, &|_| Vec::new(), &[]), [""; 0]);
}

#[test]
fn a_table_of_an_end_that_could_not_fail_is_refused() {
    Catalogue::parse(EXIT).expect("a good file");
    for (from, to) in [
        ("cause = \"killed\"", "cause = \"fragmentation\""),
        ("cause = \"killed\"", "cause = \"cgroup_oom\""),
        ("cause = \"killed\"", "cause = \"killed\"\nlevel = \"container\""),
        ("cause = \"killed\"", "cause = \"killed\"\ncode = 1"),
        ("signal = 6\n", ""),
        ("signal = 6\ncore_dumped = true", "code = 6"),
        ("ended_by = \"host\"", "ended_by = \"a user\""),
        ("number = 15", "number = 65"),
        ("from = \"host\"", "from = \"nobody\""),
        ("sender = \"sends\"", "sender = \"\""),
        ("role = \"main\"", "role = \"\""),
        ("evidence = [\"word\"]", "evidence = [\"\"]"),
        ("evidence = [\"word\"]", "certainty = \"sure\""),
        ("evidence = [\"word\"]", "tiers = []"),
        ("evidence = [\"word\"]", "quiet = true"),
    ] {
        let text = EXIT.replacen(from, to, 1);
        assert_ne!(text, EXIT, "{from}");
        Catalogue::parse(&text).expect_err(to);
    }
}
