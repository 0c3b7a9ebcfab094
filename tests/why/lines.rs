//! Without a cluster: lines of the stream, from a file, standard input and a journal.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use crashtrace::journal::{Limits, Now, open};

use super::*;

fn one_line(value: &Value) -> String {
    value.to_string() + "\n"
}

/// A death by OOM, as two lines; another revision of an end; the agent's own lines; and what is no line.
fn stream() -> String {
    let (mut kill, end) = (line("container_oom"), line("exit_oom"));
    kill["id"] = end["exit"]["oom"]["id"].clone();
    let (mut first, mut second) = (line("exit_unknown"), line("exit_code"));
    for (revision, value) in [(1, &mut first), (2, &mut second)] {
        value["id"] = "an-end".into();
        value["revision"] = revision.into();
        value["time"] = "2026-11-22T07:00:00.000000000Z".into();
    }
    let mut of_a_newer_agent = line("exit_code");
    of_a_newer_agent["id"] = "newer".into();
    of_a_newer_agent["time"] = "2026-11-22T06:00:00.000000000Z".into();
    of_a_newer_agent["verdict"]["cause"] = "cosmic_ray".into();
    of_a_newer_agent["exit"]["ended_by"] = json!({ "not": "a word" });
    let mut text = String::new();
    for value in [line("agent_started"), kill, second, first, end, of_a_newer_agent, line("loss")] {
        text.push_str(&one_line(&value));
    }
    text.push_str("cut off {\"schema\":\n{\"schema\":\"another\"}\n\n");
    text
}

fn of(args: &[&str], input: &str) -> Output {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn a_stream_is_read_and_the_two_lines_of_a_death_are_one() {
    let output = of(&[POD, "--from", "-"], &stream());
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    reviewed("stream", stdout(&output));
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("lines.jsonl");
    std::fs::write(&file, stream()).expect("a file");
    let output = of(&["--from", file.to_str().expect("UTF-8"), "-o", "json"], "");
    let json: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!((&json["namespace"], &json["pod"]), (&json!(NAMESPACE), &json!(POD)));
    let runs = json["containers"][0]["runs"].as_array().expect("runs");
    let causes: Vec<_> = runs.iter().map(|run| run["cause"].as_str().expect("a cause")).collect();
    assert_eq!(causes, ["cgroup_oom", "container_exit", "cosmic_ray"]);
    assert_eq!((&runs[0]["limit_bytes"], &runs[0]["exit_code"]), (&json!(512 << 20), &json!(137)));
    assert_eq!((&runs[1]["incident"]["revision"], &json["wrong"]), (&json!(2), &json!(true)));
    let note = json["sources"][0]["note"].as_str().expect("a note");
    assert!(note.contains("1 line without JSON") && note.contains("1 line of something else"), "{note}");
}

#[test]
fn pods_are_chosen_as_given() {
    for (target, code) in [
        (POD, 0),
        ("shop/api-7f9c4d8b6-x2x7q", 0),
        ("deploy/api", 0),
        ("other/api-7f9c4d8b6-x2x7q", 2),
        ("deploy/web", 2),
        ("web", 2),
    ] {
        let output = of(&[target, "--from", "-"], &stream());
        assert_eq!((output.status.code(), stderr(&output)), (Some(code), ""), "{target}");
        assert_eq!(
            stdout(&output).contains("no incident is known"),
            code == 2,
            "{target}: {}",
            stdout(&output)
        );
    }
    let output = of(&[POD, "-c", "web", "--from", "-"], &stream());
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
}

#[test]
fn a_journal_is_read_beside_its_agent() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("journal");
    let now = Now { boot: 1, boottime_ns: 1, realtime_ns: 1 };
    let limits = Limits { size_bytes: 1 << 20, age: Duration::from_hours(1) };
    let mut journal = open(&path, limits, now).expect("a journal");
    for line in stream().lines() {
        journal.spool.put(format!("{line}\n").as_bytes(), now);
    }
    let output = of(&[POD, "--journal", path.to_str().expect("UTF-8")], "");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
    assert!(stdout(&output).contains("for its own memory limit of 512 MiB"), "{}", stdout(&output));
    // The lock is still the agent's, and no line was taken.
    assert_eq!(journal.spool.state().lines, stream().lines().count() as u64);
    let output = of(&[POD, "--journal", folder.path().to_str().expect("UTF-8")], "");
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("cannot read the journal"), "{}", stderr(&output));
}
