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

/// kubectl runs `kubectl-crashtrace` for `kubectl crashtrace`, and so does a link of that name to the program.
#[test]
fn as_a_plugin_of_kubectl_it_has_the_name_that_its_user_types() {
    let folder = tempfile::tempdir().expect("a directory");
    let link = |name: &str| {
        let link = folder.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_crashtrace"), &link).expect("a link");
        link
    };
    let (plugin, other) = (link("kubectl-crashtrace"), link("crashtrace-0.1"));
    let run = |program: &Path, args: &[&str]| Command::new(program).args(args).output().expect("it runs");
    // Wrong usage by clap's rules and by the program's own, and help.
    let wrong_namespace = &["replay", "x", "--namespace", "Shop"][..];
    for args in [&["watsch"][..], &["replay"], wrong_namespace] {
        let output = run(&plugin, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("\nUsage: kubectl crashtrace "), "{args:?}: {}", stderr(&output));
        let output = run(&other, args);
        assert!(!stderr(&output).contains("kubectl"), "{args:?}: {}", stderr(&output));
    }
    let output = run(&plugin, &["replay", "--help"]);
    assert!(stdout(&output).contains("\nUsage: kubectl crashtrace replay "), "{}", stdout(&output));
    let output = crashtrace(wrong_namespace).output().expect("it runs");
    assert!(stderr(&output).contains("\nUsage: crashtrace "), "{}", stderr(&output));
    // It does what the program does.
    let (as_plugin, schema) = (run(&plugin, &["schema"]), run(&other, &["schema"]));
    assert_eq!((as_plugin.status.code(), &as_plugin.stdout), (Some(0), &schema.stdout));
    let version = run(&plugin, &["--version"]);
    assert_eq!(stdout(&version), format!("crashtrace {}\n", env!("CARGO_PKG_VERSION")));
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
