//! The command as it is run: its output, where it goes, and the exit code. Needs no rights.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

mod host;
mod output;
mod recordings;

/// The command, with nothing of this process's environment that it would look at.
fn crashtrace(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crashtrace"));
    command.args(args);
    for name in ["CRASHTRACE_LOG", "NODE_NAME", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

fn run(args: &[&str]) -> Output {
    crashtrace(args).output().expect("the command runs")
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect()
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["kind"].as_str().expect("a kind")).collect()
}

#[test]
fn the_version_is_the_packages() {
    let output = run(&["--version"]);
    assert_eq!(stdout(&output), format!("crashtrace {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn wrong_usage_is_2_and_names_the_mistake() {
    for (args, says) in [
        (&[][..], "Usage"),
        (&["watsch"], "watsch"),
        (&["replay"], "FILE"),
        (&["replay", "x", "--cause", "bad_luck"], "bad_luck"),
        (&["watch", "--namespace", "Shop"], "Shop"),
        (&["replay", "/"], "directory"),
        (&["completions", "basic"], "basic"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
    }
}

#[test]
fn each_shell_gets_a_script_that_names_the_commands() {
    for (shell, begins) in
        [("bash", "_crashtrace()"), ("zsh", "#compdef crashtrace"), ("fish", "complete -c crashtrace")]
    {
        let output = run(&["completions", shell]);
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{shell}");
        let script = stdout(&output);
        assert!(script.contains(begins), "{shell}");
        for command in ["watch", "replay", "doctor", "schema", "--namespace"] {
            assert!(script.contains(command.trim_start_matches('-')), "{shell}: {command}");
        }
    }
}

#[test]
fn the_printed_schema_accepts_replays_output() {
    let schema: Value = serde_json::from_str(stdout(&run(&["schema"]))).expect("JSON");
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
    let folder = tempfile::tempdir().expect("a directory");
    let recording = recordings::written(folder.path(), &recordings::two_kills());
    let printed = lines(&run(&["replay", recordings::path(&recording)]));
    assert_eq!(kinds(&printed), ["agent_started", "oom_kill", "oom_no_kill", "oom_kill", "agent_stopping"]);
    for line in &printed {
        let faults: Vec<_> = validator.iter_errors(line).map(|error| error.to_string()).collect();
        assert_eq!(faults, [""; 0], "{line}");
    }
}
