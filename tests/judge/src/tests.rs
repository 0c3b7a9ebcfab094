use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::cast::{Cast, Place, Process};
use super::catalogue::{Catalogue, Scenario, Surroundings, Tier};
use super::check::undo;
use super::matching::{self, Said, enough, kills_in};

mod account;
mod agree;
mod clock;
mod exit;
mod failure;
mod kernel_log;
mod names;

/// 2026-11-25T00:00:00Z, where the clock of `ktime_ns` is at 0.
const WALL_AHEAD_NS: i64 = 1_795_564_800_000_000_000;

const FILE: &str = r#"
[[scenario]]
name = "one"
about = "a container at its limit"
needs = []
[[scenario.report]]
kind = "oom_kill"
cause = "cgroup_oom"
level = "container"
origin = "charge"
constraint = "memcg"
limit = { cgroup = "container", charged_at = "container", mib = 48, shmem_mib = [0, 1] }
trigger = "eater"
victims = ["eater"]
evidence = ["48 MiB"]
unresolved = ["victims[0].exiting"]
"#;

fn cast() -> Cast {
    let owner = json!({ "kind": "container", "container_id": "c1" });
    let process = Process {
        pid: 40,
        tid: Some(41),
        container_pid: 1,
        comm: b"ea\"\\\n\xff".to_vec(),
        thread_comm: Some(b"tail".to_vec()),
        adj: 7,
        started_ns: (10, 20),
        anon: (40 << 20, 50 << 20),
        path: b"/ct/pod/c1".to_vec(),
        owner: owner.clone(),
        is_first: false,
        end: None,
    };
    Cast { prefixes: vec!["/ct".to_owned()], kills: Some(1), ..Cast::default() }
        .process("eater", process)
        .place("container", Place { path: b"/ct/pod/c1".to_vec(), owner })
}

fn line() -> Value {
    let owner = json!({ "kind": "container", "container_id": "c1" });
    let process = json!({ "pid": 40, "tid": 41, "container_pid": 1, "comm": "ea\"\\\\\n\\xff", "thread_comm": "tail",
        "uid": 0, "start_boottime_ns": 15, "anon_bytes": 45 << 20, "page_table_bytes": 1 << 18,
        "total_vm_bytes": 90 << 20, "oom_score_adj": 7, "exiting": false, "cgroup": "/ct/pod/c1",
        "cgroup_cut": false, "owner": owner });
    json!({ "schema": "crashtrace/v1", "time": "2026-11-25T00:00:10.5Z", "ktime_ns": 10_000_000_000_u64, "lost": 0, "revision": 1, "redelivered": false, "kind": "oom_kill",
        "verdict": { "cause": "cgroup_oom", "level": "container", "certainty": "observed", "inferred": [],
            "evidence": ["it used 48 MiB"] },
        "hooks": ["fentry:oom_kill_process", "raw_tp:mark_victim"], "origin": "charge", "constraint": "memcg",
        "complete": true, "repeats": 0,
        "limit": { "cgroup": "/ct/pod/c1", "charged_at": "container", "owner": owner, "limit_bytes": 48 << 20,
            "unlimited": false, "usage_bytes": 48 << 20, "oom_group": false, "shmem_bytes": 4096 },
        "trigger": process, "victims": [process], "victims_total": 1, "allocation": { "order": 0 },
        "unresolved": [{ "field": "victims[0].exiting", "reason": "why" }], "truncated": false })
}

fn judge(lines: &[&Value]) -> Vec<String> {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    faults(&catalogue.scenarios[0], &cast(), lines, 100)
}

fn faults(scenario: &Scenario, cast: &Cast, lines: &[&Value], bytes: usize) -> Vec<String> {
    let surroundings = &Surroundings::default();
    let said = Said {
        tier: Tier::Fentry,
        failures: Tier::Fentry,
        surroundings,
        exceptions: Vec::new(),
        kernel_log: &[],
        lines: lines.to_vec(),
        bytes: vec![bytes],
        wall_ahead_ns: vec![WALL_AHEAD_NS; lines.len()],
        clock: Some(Vec::new()),
    };
    matching::faults(scenario, cast, &said)
}

/// Paths of all values that hold no others.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    if children.is_empty() {
        found.push(path.to_owned());
    }
    for (name, value) in children {
        leaves(value, &format!("{path}/{name}"), found);
    }
}

#[test]
fn the_reviewed_file_is_sound() {
    let catalogue = Catalogue::read().expect("it can be read");
    assert!(catalogue.scenarios.len() >= 29, "{}", catalogue.scenarios.len());
    let kinds: BTreeSet<_> =
        catalogue.scenarios.iter().flat_map(|it| &it.reports).map(|it| &it.kind).collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn a_file_that_could_not_fail_is_refused() {
    Catalogue::parse(FILE).expect("a good file");
    for (from, to) in [
        ("name = \"one\"", "name = \"One\""),
        ("needs = []", "needs = [\"cloud\"]"),
        ("needs = []", ""),
        ("needs = []", "needs = []\nblind.tracepoint = \"\""),
        ("needs = []", "needs = []\nblind.uprobe = \"x\""),
        ("kind = \"oom_kill\"", "kind = \"oom\""),
        ("kind = \"oom_kill\"", "kind = \"oom_no_kill\""),
        ("cause = \"cgroup_oom\"", "cause = \"system_oom\""),
        ("level = \"container\"", "level = \"box\""),
        ("level = \"container\"", "lever = \"container\""),
        ("mib = 48", "mib = 0"),
        ("mib = 48", "mb = 48"),
        ("[0, 1]", "[1, 0]"),
        ("victims = [\"eater\"]", "victims = []"),
        ("victims = [\"eater\"]", "victims = [{ role = \"eater\", cut = true }]"),
        ("trigger = \"eater\"", "trigger = \"\""),
        ("evidence = [\"48 MiB\"]", "evidence = [\"\"]"),
        ("evidence = [\"48 MiB\"]", "tiers = []"),
        ("evidence = [\"48 MiB\"]", "truncated = true"),
        ("evidence = [\"48 MiB\"]", "memory = {}"),
    ] {
        let text = FILE.replacen(from, to, 1);
        assert_ne!(text, FILE, "{from}");
        Catalogue::parse(&text).expect_err(to);
    }
    Catalogue::parse(&format!("{FILE}{FILE}")).expect_err("the same name twice");
}

#[test]
fn the_expected_report_has_no_fault() {
    assert_eq!(judge(&[&line()]), [""; 0]);
}

#[test]
fn each_field_that_is_wrong_is_a_fault() {
    let mut paths = Vec::new();
    leaves(&line(), "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    // Any reason will do, and the kernel alone decides whether the trigger is exiting.
    let free = |path: &&String| path.ends_with("/reason") || *path == "/trigger/exiting";
    for path in paths.iter().filter(|path| !free(path)) {
        let mut line = line();
        *line.pointer_mut(path).expect("it is there") = json!("something else");
        assert_ne!(judge(&[&line]), [""; 0], "{path}");
    }
}

/// The same process, killed by the node, with the holders of the node's memory.
fn node_line() -> Value {
    let mut line = line();
    line["verdict"] = json!({ "cause": "system_oom", "shortage": "low_memory", "level": "node", "certainty": "observed", "inferred": [],
        "evidence": ["it belongs to the largest"], "remedy": "nothing" });
    line["origin"] = json!("allocation");
    line["constraint"] = json!("none");
    line["limit"] = Value::Null;
    line["allocation"]["scope_total_bytes"] = json!(512 << 20);
    let held = |cgroup: &str, owner: Value, mib: u64, limit: Value| {
        json!({ "cgroup": cgroup, "owner": owner, "usage_bytes": mib << 20, "limit_bytes": limit, "unlimited": false,
            "share_permille": mib * 1000 / 512 })
    };
    let owner = json!({ "kind": "container", "container_id": "c1" });
    let pods = held("/ct/kubepods", json!({ "kind": "kubepods" }), 300, json!(400 << 20));
    let largest = held("/ct/pod/c1", owner, 256, Value::Null);
    let other = held("/x.service", json!({ "kind": "host_service" }), 16, Value::Null);
    line["memory"] = json!({ "late": false, "zones": [{}], "zones_total": 1, "pods": pods, "holders": [largest, other], "holders_total": 2,
        "least_bytes": 4 << 20, "small_total": 1, "small_bytes": 4096, "cgroups_looked_at": 4, "cgroups_total": 4,
        "incomplete": false, "time_up": false });
    line
}

#[test]
fn a_wrong_figure_of_the_nodes_memory_is_a_fault() {
    let mut file = String::new();
    for line in FILE.lines().filter(|line| !line.starts_with("limit")) {
        let line = line.replace("cgroup_oom", "system_oom").replace("48 MiB", "largest");
        let line = line.replace("level = \"container\"", "level = \"node\"");
        file += &line.replace("\"charge\"", "\"allocation\"").replace("\"memcg\"", "\"none\"");
        file.push('\n');
    }
    file += "never = [\"bystander\"]\n";
    file += "memory.pods = { cgroup = \"pods\", limit_mib = 400, usage_mib = [290, 310] }\n";
    file += "memory.holders = [{ cgroup = \"container\", usage_mib = [250, 260] }]\n";
    file += "memory.least_looked_at = 4\n";
    let catalogue = Catalogue::parse(&file).expect("a good file");
    let pods = Place { path: b"/ct/kubepods".to_vec(), owner: json!({}) };
    let cast = cast().place("pods", pods);
    let judge = |line: &Value| faults(&catalogue.scenarios[0], &cast, &[line], 100);
    assert_eq!(judge(&node_line()), [""; 0]);

    let mut paths = Vec::new();
    leaves(&node_line()["memory"], "/memory", &mut paths);
    // Not held against anything: they are of those that are not expected by name.
    let free = |path: &&String| {
        path.starts_with("/memory/zones/")
            || path.starts_with("/memory/pods/owner")
            || path.as_str() == "/memory/pods/share_permille"
            || path.ends_with("limit_bytes") && !path.starts_with("/memory/pods")
            || path.ends_with("unlimited") && !path.starts_with("/memory/pods")
            || path.starts_with("/memory/holders/1/")
                && !path.ends_with("usage_bytes")
                && !path.ends_with("share_permille")
    };
    for path in paths.iter().filter(|path| !free(path)) {
        let mut line = node_line();
        *line.pointer_mut(path).expect("it is there") = json!("something else");
        assert_ne!(judge(&line), [""; 0], "{path}");
    }
    for (path, wrong) in [
        ("/memory", Value::Null),
        ("/memory/zones", json!([])),
        ("/trigger", Value::Null),
        ("/memory/holders/1/owner/kind", json!("qos")),
        ("/memory/holders/1/usage_bytes", json!(1 << 20)),
        ("/memory/holders/1/usage_bytes", json!(300 << 20)),
        ("/memory/holders/0/share_permille", json!(600)),
        ("/memory/cgroups_total", json!(3)),
        ("/memory/cgroups_looked_at", json!(3)),
        ("/verdict/evidence/0", json!("the largest is a bystander")),
    ] {
        let mut line = node_line();
        *line.pointer_mut(path).expect("it is there") = wrong;
        assert_ne!(judge(&line), [""; 0], "{path}");
    }
}

#[test]
fn lines_that_are_missing_or_too_many_are_faults() {
    assert_ne!(judge(&[]), [""; 0]);
    assert_ne!(judge(&[&line(), &line()]), [""; 0]);
    let mut stranger = line();
    stranger["victims"][0]["pid"] = json!(99);
    assert_ne!(judge(&[&stranger]), [""; 0]);
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    assert_ne!(faults(&catalogue.scenarios[0], &cast(), &[&line()], 20_000), [""; 0]);
}

#[test]
fn a_kill_that_the_kernel_did_not_count_is_a_fault() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    let cast = Cast { kills: Some(2), ..cast() };
    let line = line();
    assert!(!enough(&catalogue.scenarios[0], Tier::Fentry, &cast, &[&line]));
    let faults = faults(&catalogue.scenarios[0], &cast, &[&line], 100);
    assert_eq!(faults, ["the kernel counts 2 kills, the reports come to 1"]);
}

#[test]
fn kills_are_counted_as_the_kernel_does() {
    let kill = |total: u64, exiting: Value| json!({ "kind": "oom_kill", "victims_total": total, "victims": [{ "exiting": exiting }] });
    let other = json!({ "kind": "oom_no_kill", "victims_total": 0 });
    for (line, count) in [
        (kill(1, json!(false)), 1),
        (kill(1, json!(true)), 0),
        (kill(1, Value::Null), 0),
        (kill(3, Value::Null), 4),
        (kill(0, Value::Null), 0),
        (other, 0),
    ] {
        assert_eq!(kills_in(&[&line]), count, "{line}");
    }
}

#[test]
fn a_blind_tier_must_say_nothing() {
    let text = FILE.replacen("needs = []", "needs = []\nblind.fentry = \"it\"", 1);
    let catalogue = Catalogue::parse(&text).expect("a good file");
    assert_eq!(faults(&catalogue.scenarios[0], &cast(), &[], 100), [""; 0]);
    assert_ne!(faults(&catalogue.scenarios[0], &cast(), &[&line()], 100), [""; 0]);
}

#[test]
fn a_role_without_a_process_is_a_fault() {
    let catalogue = Catalogue::parse(FILE).expect("a good file");
    assert_ne!(faults(&catalogue.scenarios[0], &Cast::default(), &[&line()], 100), [""; 0]);
}

#[test]
fn reports_of_several_may_come_in_any_order() {
    let text = format!("{FILE}each = true\n");
    let catalogue = Catalogue::parse(&text).expect("a good file");
    let mut cast = Cast { kills: Some(2), ..cast() };
    let mut second = cast.processes["eater"][0].clone();
    second.pid = 50;
    cast = cast.process("eater", second);
    let mut other = line();
    other["trigger"]["pid"] = json!(50);
    other["victims"][0]["pid"] = json!(50);
    let judge = |lines: &[&Value]| faults(&catalogue.scenarios[0], &cast, lines, 100);
    assert_eq!(judge(&[&other, &line()]), [""; 0]);
    assert_ne!(judge(&[&line()]), [""; 0]);
    assert_ne!(judge(&[&line(), &line(), &other]), [""; 0]);
}

#[test]
fn escapes_are_undone() {
    assert_eq!(undo(r"a\\b\xff\x0a"), b"a\\b\xff\x0a");
    for own in [r"\", r"\a", r"\x", r"\x1", r"\xzz", r"x@dev-disk\x2dby.service"] {
        assert_eq!(undo(own), own.as_bytes(), "{own}");
    }
    assert_eq!(undo(r"\\x1b"), br"\x1b");
}

#[test]
fn a_line_is_about_whose_cgroups_it_names() {
    let cast = Cast { prefixes: vec!["/a/b".to_owned()], ..Cast::default() };
    for (cgroup, about) in [("/a/b", true), ("/a/b/c", true), ("/a/bc", false), ("/a", false)] {
        for line in [
            json!({ "limit": { "cgroup": cgroup } }),
            json!({ "trigger": { "cgroup": cgroup } }),
            json!({ "victims": [{ "cgroup": cgroup }] }),
        ] {
            assert_eq!(cast.is_about(&line), about, "{line}");
        }
    }
}

#[test]
fn an_exception_excuses_a_null_field_that_has_a_reason() {
    let text = format!(
        "{FILE}[[exception]]\nabout = \"x\"\nkernels_before = [5, 16]\nbeside = \"kprobe\"\n\
         tiers = [\"fentry\"]\nmay_be_null = [\"origin\"]\n"
    );
    let catalogue = Catalogue::parse(&text).expect("a good file");
    let mut line = line();
    line["origin"] = Value::Null;
    let judge = |kernel: (u32, u32), tiers: &[Tier], line: &Value| {
        let surroundings =
            Surroundings { kernel, tiers: tiers.to_vec(), nodes_listed: true, ..Surroundings::default() };
        let exceptions = catalogue.exceptions(Tier::Fentry, &surroundings);
        let surroundings = &surroundings;
        let tier = Tier::Fentry;
        let said = Said {
            tier,
            failures: tier,
            surroundings,
            exceptions,
            kernel_log: &[],
            lines: vec![line],
            bytes: vec![100],
            wall_ahead_ns: vec![WALL_AHEAD_NS],
            clock: None,
        };
        matching::faults(&catalogue.scenarios[0], &cast(), &said)
    };
    let both = [Tier::Fentry, Tier::Kprobe];
    assert_ne!(judge((5, 10), &both, &line), [""; 0], "no reason is given");
    let unresolved = json!([line["unresolved"][0], { "field": "origin", "reason": "why" }]);
    line["unresolved"] = unresolved;
    assert_eq!(judge((5, 10), &both, &line), [""; 0]);
    assert_ne!(judge((6, 1), &both, &line), [""; 0], "another kernel");
    assert_ne!(judge((5, 10), &[Tier::Fentry], &line), [""; 0], "no other agent watches");
    line["origin"] = json!("sysrq");
    assert_ne!(judge((5, 10), &both, &line), [""; 0], "wrong, not null");
}

#[test]
fn an_optional_report_without_a_victim_is_known_by_its_trigger() {
    let report = FILE
        .replace("victims = [\"eater\"]", "each = true\noptional = true")
        .replace("victims[0].exiting", "victims");
    let catalogue = Catalogue::parse(&report).expect("a good file");
    let cast = Cast { kills: Some(0), ..cast() };
    let mut line = line();
    line["hooks"] = json!(["fentry:oom_kill_process"]);
    line["victims"] = json!([]);
    line["victims_total"] = json!(0);
    line["unresolved"][0]["field"] = json!("victims");
    assert_eq!(faults(&catalogue.scenarios[0], &cast, &[], 0), [""; 0]);
    assert_eq!(faults(&catalogue.scenarios[0], &cast, &[&line], 100), [""; 0]);
    line["trigger"]["pid"] = json!(99);
    assert_ne!(faults(&catalogue.scenarios[0], &cast, &[&line], 100), [""; 0]);
}

/// A line of a storm: a kill, and so many folded into it.
fn of_storm(at_ns: u64, repeats: u64) -> Value {
    let pids =
        |from: u64, count: u64| (from..from + count).map(|pid| json!({ "pid": pid })).collect::<Vec<_>>();
    let mut victim = json!({ "pid": at_ns, "exiting": false });
    victim["cgroup"] = json!("/ct/c");
    let folded = json!({
        "victims_total": repeats, "exiting_total": 0, "until_ktime_ns": at_ns + repeats, "victims": pids(at_ns + 1, repeats),
    });
    json!({
        "kind": "oom_kill", "id": at_ns.to_string(), "ktime_ns": at_ns, "complete": true, "repeats": repeats,
        "verdict": { "cause": "cgroup_oom", "level": "container" }, "limit": { "cgroup": "/ct/c" },
        "victims": [victim], "victims_total": repeats + 1, "folded": if repeats > 0 { folded } else { Value::Null },
    })
}

#[test]
fn the_kills_of_a_storm_are_each_in_one_of_few_lines() {
    let storm = super::storm::Storm { cgroup: "container".to_owned() };
    let place = Place { path: b"/ct/c".to_vec(), owner: Value::Null };
    let cast = Cast::default().place("container", place);
    let told = |lines: &[Value]| super::storm::faults(&storm, &cast, &lines.iter().collect::<Vec<_>>());
    let mut lines: Vec<_> = (1000..1060).map(|at| of_storm(at, 0)).collect();
    lines.push(of_storm(2000, 200));
    assert_eq!(told(&lines), [""; 0]);
    assert_eq!(kills_in(&lines.iter().collect::<Vec<_>>()), 261);
    // A process in two lines, sums that do not fit, another limit, and a line for each kill.
    lines.push(of_storm(2100, 0));
    assert_eq!(told(&lines), ["2100 died twice"]);
    lines.pop();
    lines[60]["victims_total"] = json!(200);
    assert_eq!(told(&lines), ["victims_total: expected 201, got 200"]);
    lines[60] = of_storm(2000, 0);
    lines[60]["limit"]["cgroup"] = json!("/ct/other");
    assert_eq!(told(&lines).len(), 1);
    let all: Vec<_> = (1000..1200).map(|at| of_storm(at, 0)).collect();
    assert_eq!(told(&all), ["200 lines within 1 s, not 69 at most"]);
}

#[test]
fn a_victim_in_the_root_cgroup_is_known_by_its_start() {
    let mut cast = cast();
    cast.processes.get_mut("eater").expect("it has one")[0].path = b"/".to_vec();
    let mut line = line();
    line["limit"] = Value::Null;
    for at in ["/trigger/cgroup", "/victims/0/cgroup"] {
        *line.pointer_mut(at).expect("it is there") = "/".into();
    }
    assert!(cast.is_about(&line));
    line["victims"][0]["start_boottime_ns"] = 21.into();
    assert!(!cast.is_about(&line), "another process with that number");
    line["victims"] = json!([]);
    assert!(!cast.is_about(&line), "any trigger in the root cgroup");
}
