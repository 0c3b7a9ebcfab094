//! The report as its readers get it: reviewed lines, the schema, an independent reader, and the effect of hostile names and
//! enormous incidents.
//!
//! `CRASHTRACE_BLESS=1 cargo test --test report` writes the expected lines anew; review the difference.

use std::fs;
use std::path::PathBuf;

use crashtrace::event::Event;
use crashtrace::node::Node;
use crashtrace::report::{Context, to_json_line};
use crashtrace::schema::{Constraint, Field, Line, Origin, ProcessField, Unresolved, json_schema};
use crashtrace::sinks::text::render;
use serde_json::Value;

#[path = "report/cases.rs"]
mod cases;
#[path = "report/claims.rs"]
mod claims;
#[path = "report/exits.rs"]
mod exits;
#[path = "report/hostile.rs"]
mod hostile;
#[path = "report/lines.rs"]
mod lines;
#[path = "report/memory.rs"]
mod memory;
#[path = "report/pages.rs"]
mod pages;
#[path = "report/parts.rs"]
mod parts;
#[path = "report/reader.rs"]
mod reader;
#[path = "report/zones.rs"]
mod zones;

fn parsed(line: &[u8]) -> Value {
    serde_json::from_slice(line).expect("one JSON object")
}

fn validator() -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(&json_schema()).expect("a valid schema")
}

/// The faults of `line` by the schema.
fn faults(validator: &jsonschema::Validator, line: &Value) -> Vec<String> {
    validator.iter_errors(line).map(|error| error.to_string()).collect()
}

/// The names of the fields of `object`, in their order.
fn keys(object: &Value) -> Vec<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn each_case_gives_the_reviewed_line_and_block() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/report");
    let bless = std::env::var_os("CRASHTRACE_BLESS").is_some();
    for (name, line) in cases::all() {
        // Spread out to be reviewed; the order of the fields is the line's.
        let json = serde_json::to_string_pretty(&parsed(&to_json_line(&line))).expect("JSON") + "\n";
        for (extension, got) in [("json", json), ("txt", render(&line, false))] {
            let path = folder.join(format!("{name}.{extension}"));
            if bless {
                fs::write(&path, &got).expect("the fixtures can be written");
            }
            let expected = fs::read_to_string(&path).expect("a fixture for each case");
            assert_eq!(got, expected, "{}", path.display());
        }
    }
}

#[test]
fn each_line_is_as_the_schema_says() {
    let validator = validator();
    for (name, line) in cases::all() {
        assert_eq!(faults(&validator, &parsed(&to_json_line(&line))), [""; 0], "{name}");
    }
}

#[test]
fn the_schema_refuses_a_text_that_is_no_line() {
    let validator = validator();
    let (_, line) = &cases::all()[0];
    let good = parsed(&to_json_line(line));
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut line = good.clone();
        change(&mut line);
        !validator.is_valid(&line)
    };
    assert!(broken(&|line| line["kind"] = "agent_started".into()));
    assert!(broken(&|line| line["kind"] = "surprise".into()));
    assert!(broken(&|line| line["schema"] = "crashtrace/v2".into()));
    assert!(broken(&|line| line["time"] = "yesterday".into()));
    assert!(broken(&|line| line["verdict"]["cause"] = Value::Null));
    assert!(broken(&|line| drop(line.as_object_mut().expect("an object").remove("trigger"))));
    assert!(broken(&|line| drop(line["victims"][0].as_object_mut().expect("an object").remove("pid"))));
    // A later version may add.
    assert!(!broken(&|line| line["since_v1_1"] = 1.into()));
}

#[test]
fn the_schema_has_a_title_and_descriptions() {
    let schema = json_schema();
    assert_eq!((&schema["$id"], &schema["title"]), (&"urn:crashtrace:v1".into(), &"crashtrace/v1".into()));
    assert!(!schema.to_string().contains("[`"), "a link of rustdoc leads nowhere in a schema");
    for (line, kinds) in [
        (
            "Kind",
            &[
                "oom_kill",
                "oom_no_kill",
                "oom_wait",
                "alloc_failure",
                "vmalloc_failure",
                "charge_failure",
                "other_alloc_failure",
                "container_exit",
            ][..],
        ),
        ("AgentStartedKind", &["agent_started"]),
        ("LossKind", &["loss"]),
        ("ClockChangedKind", &["clock_changed"]),
        ("AgentStoppingKind", &["agent_stopping"]),
    ] {
        let values = schema["$defs"][line]["oneOf"].as_array().expect("a list");
        assert_eq!(values.iter().map(|value| &value["const"]).collect::<Vec<_>>(), kinds, "{line}");
    }
}

/// Fields, their types and their values are those that v1 began with, or more; their descriptions may change.
#[test]
fn the_schema_holds_all_that_v1_had() {
    /// The fields that `old` has and `new` has not.
    fn missing(
        path: &str,
        (old_root, old): (&Value, &Value),
        (new_root, new): (&Value, &Value),
        seen: &mut Vec<String>,
    ) -> Vec<String> {
        let follow = |root: &'_ Value, schema: &'_ Value| -> Option<Value> {
            let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
            root["$defs"].get(name).cloned()
        };
        if let Some(name) = old.get("$ref").and_then(Value::as_str) {
            let at = format!("{path} {name}");
            if seen.contains(&name.to_owned()) {
                return Vec::new();
            }
            seen.push(name.to_owned());
            let old = follow(old_root, old).expect("the definition");
            let new = follow(new_root, new).unwrap_or_else(|| new.clone());
            return missing(&at, (old_root, &old), (new_root, &new), seen);
        }
        let new = follow(new_root, new).unwrap_or_else(|| new.clone());
        match old {
            Value::Object(fields) => fields
                .iter()
                .filter(|(key, _)| {
                    !["description", "title", "$defs", "$id", "$schema"].contains(&key.as_str())
                })
                .flat_map(|(key, value)| match new.get(key) {
                    Some(other) => {
                        missing(&format!("{path}.{key}"), (old_root, value), (new_root, other), seen)
                    }
                    None => vec![format!("{path}.{key}")],
                })
                .collect(),
            // The order of a list says nothing, and it may have more.
            Value::Array(items) => items
                .iter()
                .enumerate()
                .filter(|(_, item)| {
                    let candidates = new.as_array().into_iter().flatten();
                    !candidates
                        .map(|other| missing(path, (old_root, item), (new_root, other), &mut seen.clone()))
                        .any(|missing| missing.is_empty())
                })
                .map(|(index, item)| format!("{path}[{index}]: {item}"))
                .collect(),
            other => {
                if *other == new {
                    Vec::new()
                } else {
                    vec![format!("{path}: {other} is {new}")]
                }
            }
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/schema/v1.json");
    let old: Value = serde_json::from_slice(&fs::read(path).expect("a fixture")).expect("JSON");
    let new = json_schema();
    assert_eq!(missing("", (&old, &old), (&new, &new), &mut Vec::new()), [""; 0]);
    // It can fail.
    let mut less = json_schema();
    less["$defs"]["Cause"]["oneOf"].as_array_mut().expect("a list").pop();
    less["$defs"]["Process"]["properties"].as_object_mut().expect("an object").remove("uid");
    assert_eq!(missing("", (&old, &old), (&less, &less), &mut Vec::new()).len(), 1, "the choices of a line");
}

#[test]
fn an_independent_reader_reads_every_incident() {
    for (name, line) in cases::all() {
        if let Line::Incident(_) = line {
            let read: reader::Incident = serde_json::from_slice(&to_json_line(&line)).expect(name);
            assert_eq!((read.schema.as_str(), read.seq), ("crashtrace/v1", 17));
            let folded = read.folded.map_or(0, |folded| folded.victims_total);
            assert_eq!(read.victims_total - folded, read.victims.len() as u64);
            assert!(read.id.starts_with(&format!("{}-812345678901-3", read.boot_id)));
        }
    }
}

#[test]
fn the_order_of_fields_is_fixed() {
    let (_, line) = &cases::all()[0];
    let line = parsed(&to_json_line(line));
    assert_eq!(
        keys(&line).join(" "),
        "schema agent node boot_id session seq lost id revision redelivered kind time ktime_ns verdict hooks origin \
         constraint complete repeats limit memory trigger victims victims_total folded allocation exit unresolved truncated"
    );
    assert_eq!(
        keys(&line["verdict"]).join(" "),
        "cause shortage level certainty inferred summary evidence remedy"
    );
    assert_eq!(
        keys(&line["limit"]).join(" "),
        "cgroup charged_at owner limit_bytes kind unlimited kubernetes_limit_bytes kubernetes_limit_in_force_bytes usage_bytes shmem_bytes swap_usage_bytes swap_limit_bytes swap_unlimited \
         swap_includes_memory \
         oom_group"
    );
    assert_eq!(
        keys(&line["limit"]["owner"]).join(" "),
        "kind namespace pod container kubernetes pod_uid static_pod container_id qos_class runtime unit engine claims"
    );
    assert_eq!(
        keys(&line["victims"][0]["owner"]["kubernetes"]).join(" "),
        "role workload image restart_count memory_request_bytes memory_limit_bytes source stale_seconds"
    );
    assert_eq!(
        keys(&line["victims"][0]).join(" "),
        "pid tid container_pid comm thread_comm uid start_boottime_ns anon_bytes file_bytes shmem_bytes swap_bytes \
         page_table_bytes total_vm_bytes oom_score_adj exiting cgroup cgroup_cut owner"
    );
}

#[test]
fn the_largest_victim_is_first_and_its_gaps_move_along() {
    let (_, mut made) = cases::built().swap_remove(2);
    // Of the fourth in the kernel's order, which is the third by size.
    made.case
        .unresolved
        .insert(0, Unresolved::new(Field::Victim(3, ProcessField::Owner), "the cgroup was gone"));
    let line = parsed(&to_json_line(&Line::Incident(Box::new(made.report()))));
    let pids: Vec<_> =
        line["victims"].as_array().expect("a list").iter().map(|it| it["pid"].as_u64()).collect();
    assert_eq!(pids, [Some(52), Some(53), Some(54), Some(51)]);
    assert!(line["victims"][2]["owner"].is_null());
    assert_eq!(line["unresolved"][0]["field"], "victims[2].owner");
}

/// A reason comes from the stage that could not find the fact, and nothing but the whole row shows that none was forgotten.
#[test]
fn every_field_that_is_unknown_has_a_reason() {
    /// Null because there is no value: an owner has the fields of its kind, an unlimited limit has no bytes, an OOM of the
    /// node no limit, a kill by itself nothing folded, and an OOM of a cgroup no holders of the node's memory.
    fn may_be_empty(path: &str, line: &Value) -> bool {
        let of_exit = line["kind"] == "container_exit";
        path.contains(".owner.")
            || path == "exit" && !of_exit
            || of_exit && !path.starts_with("exit.") && path != "verdict.cause"
            // A process that ends has freed its memory, and of a sender none is read.
            || path.starts_with("exit.") && (path.ends_with("_bytes") || path.ends_with("oom_score_adj"))
            // Each is null for ends of another kind; why the status is not known is said of the pod's name.
            || ["exit.signal", "exit.signal_name", "exit.fault", "exit.fault.syscall", "exit.oom", "exit.probe", "exit.stop", "exit.status", "exit.signals[*].sender", "exit.signals[*].sender_parent_comm"].contains(&path)
            || path == "limit" && line["verdict"]["cause"] == "system_oom"
            || path == "memory" && line["verdict"]["cause"] == "cgroup_oom"
            || path == "verdict.shortage"
                && (line["verdict"]["cause"] != "system_oom" || line["origin"] == "sysrq")
            || path == "allocation.migrate_type"
                && (line["verdict"]["cause"] == "cgroup_oom" || line["allocation"]["order"].is_null())
            // Only an OOM of the node has holders, and only fragmentation a list of unmovable memory.
            || path.starts_with("memory.")
                && (line["victims_total"] == 0 || line["unresolved"].to_string().contains("\"memory.holders\""))
            // A cgroup has no figures of a node, and the reverse; an entry has only those of its kind.
            || path.starts_with("memory.account.") || path.starts_with("memory.victim_account")
            // There is no second look where the first was complete.
            || (path == "memory.cgroups_looked_at_late" || path == "memory.late_incomplete")
                && (line["memory"]["incomplete"] == false
                    || line["unresolved"].to_string().contains("\"memory.holders_late\""))
            || path == "memory.account" && line["kind"].as_str().is_some_and(|kind| kind.ends_with("_failure"))
            // The OOM of a cgroup has no holders, unless others are in it.
            || path.starts_with("memory.") && path != "memory.account" && line["verdict"]["cause"] == "cgroup_oom"
            || path == "folded" || path == "folded.victims[*].cgroup"
            || path == "memory.unmovable" && line["verdict"]["shortage"] != "fragmentation"
            || path == "limit" && line["verdict"]["level"] == "node"
            // Of other levels it has none, and why a pod is not known is said of its name.
            || path.starts_with("limit.kubernetes_limit")
            // The OOM killer had no part in it.
            || (path == "allocation.scope_total_bytes" || path == "allocation.victim_points_bytes")
                && line["kind"].as_str().is_some_and(|kind| kind.ends_with("_failure"))
            // Of a vmalloc, also of one whose charge failed: its size is no power of two.
            || path == "allocation.order" && line["allocation"]["bytes"].is_u64()
            || path == "limit.swap_limit_bytes" && line["limit"]["swap_unlimited"] == true
            || path == "memory.holders[*].limit_bytes"
                && line["memory"]["holders"]
                    .as_array()
                    .is_some_and(|all| all.iter().all(|held| held["limit_bytes"].is_null() == (held["unlimited"] == true)))
    }
    fn nulls(path: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Null => found.push(path.to_owned()),
            Value::Array(items) => {
                // The reason of a victim's field may be given for all of them.
                for item in items {
                    nulls(&format!("{path}[*]"), item, found);
                }
            }
            Value::Object(fields) => {
                let dot = if path.is_empty() { "" } else { "." };
                for (name, field) in fields {
                    nulls(&format!("{path}{dot}{name}"), field, found);
                }
            }
            _ => {}
        }
    }
    for (name, made) in cases::built() {
        // Nothing is known of the node beyond the record.
        let mut node = Node { gfp: cases::context().gfp, ..Node::unseen("a test") };
        let line = parts::Made::of(made.case.incident, &mut node).report();
        let line = parsed(&to_json_line(&Line::Incident(Box::new(line))));
        let mut empty = Vec::new();
        nulls("", &line, &mut empty);
        let reasons = line["unresolved"].as_array().expect("a list").iter();
        let reasons = reasons.map(|reason| reason["field"].as_str().expect("a path").replace("[0]", "[*]"));
        let reasons: Vec<_> = reasons.collect();
        let explained = |path: &str| {
            let of = |reason: &String| path.strip_prefix(reason.as_str());
            reasons.iter().filter_map(of).any(|below| below.is_empty() || below.starts_with('.'))
        };
        empty.retain(|path| !may_be_empty(path, &line) && !explained(path));
        assert_eq!(empty, [""; 0], "{name}");
    }
}

#[test]
fn any_time_of_the_clock_can_be_written() {
    let time =
        |ktime_ns, realtime_offset_ns| Context { realtime_offset_ns, ..cases::context() }.time(ktime_ns);
    assert_eq!(time(0, 0), "1970-01-01T00:00:00.000000000Z");
    assert_eq!(time(812_345_678_901, cases::context().realtime_offset_ns), "2026-11-22T07:23:15.123456789Z");
    assert_eq!(time(0, i64::MIN), "1677-09-21T00:12:43.145224192Z");
    assert_eq!(time(u64::MAX, i64::MAX), "2846-10-30T23:21:50.564327422Z");
}

#[test]
fn an_allocation_of_any_order_can_be_written() {
    for (order, bytes) in
        [(Some(10), Some(4 << 20)), (Some(51), Some(1 << 63)), (Some(52), None), (Some(u32::MAX), None)]
    {
        let mut events = cases::container_oom_events();
        let Event::OomDecision(decision) = &mut events[0] else { panic!("a decision") };
        decision.control.as_mut().expect("its control").order = order;
        let allocation = parts::made(events).report().allocation.expect("an allocation");
        assert_eq!((allocation.order, allocation.bytes), (order, bytes));
    }
}

/// A kill by sysrq, or on the nodes of a cpuset, is no shortage of the node.
#[test]
fn the_headline_says_that_the_node_ran_out_of_memory_only_where_it_did() {
    let system = cases::all().into_iter().find(|(name, _)| *name == "system_oom").expect("the case").1;
    let headline = |origin, constraint| {
        let Line::Incident(mut incident) = system.clone() else { panic!("an incident") };
        (incident.origin, incident.constraint) = (Some(origin), Some(constraint));
        render(&Line::Incident(incident), false).lines().next().expect("a line").to_owned()
    };
    let node = "the node ran out of memory";
    assert!(headline(Origin::Allocation, Constraint::None).ends_with(node));
    for (origin, constraint, expected) in [
        (Origin::Sysrq, Constraint::None, "requested by sysrq"),
        (Origin::Kswapd, Constraint::None, "kswapd could not keep the working set in memory"),
        (Origin::Allocation, Constraint::Cpuset, "the NUMA nodes of a cpuset ran out of memory"),
    ] {
        assert!(headline(origin, constraint).ends_with(expected), "{}", headline(origin, constraint));
    }
}
