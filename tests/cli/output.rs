//! Standard output and standard error that are closed, full or not read.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::recordings::{path, two_kills, written};
use super::*;
use crashtrace_test_support::recording::{bytes, preamble};

/// A pipe that takes no more, and whose reader does not read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let flags = fcntl_getfl(writer.as_fd()).expect("flags");
    fcntl_setfl(writer.as_fd(), flags | OFlags::NONBLOCK).expect("flags");
    while writer.write(&[b'.'; 4096]).is_ok() {}
    while writer.write(b".").is_ok() {}
    fcntl_setfl(writer.as_fd(), flags).expect("flags");
    (reader, writer)
}

fn full_disk() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").expect("the device"))
}

/// With one of its descriptors closed by the shell.
fn with_closed(descriptor: &str, args: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {descriptor}>&-"), "sh", env!("CARGO_BIN_EXE_crashtrace")]);
    command.args(args).output().expect("the command runs")
}

/// Two kills, and in front of them so many records that are none.
fn recording_with(malformed: usize) -> Vec<u8> {
    let mut recording = bytes(&preamble(), &[]);
    let start = recording.len();
    for _ in 0..malformed {
        recording.extend_from_slice(&1_u32.to_le_bytes());
        recording.push(0xff);
    }
    recording.extend_from_slice(&bytes(&preamble(), &two_kills())[start..]);
    recording
}

#[test]
fn a_closed_standard_output_is_an_error_and_dev_null_is_not() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = written(folder.path(), &two_kills());
    for args in
        [&["schema"][..], &["completions", "bash"], &["--help"], &["--version"], &["replay", path(&file)]]
    {
        let output = with_closed("1", args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains("closed"), "{args:?}: {}", stderr(&output));
        // As the shell opens it, as daemon(3) and Python do.
        for read in [false, true] {
            let null = File::options().read(read).write(true).open("/dev/null").expect("the device");
            let output = crashtrace(args).stdout(null).output().expect("the command runs");
            assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{args:?}");
        }
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = written(folder.path(), &two_kills());
    for args in
        [&["schema"][..], &["completions", "bash"], &["--help"], &["--version"], &["replay", path(&file)]]
    {
        let output = crashtrace(args).stdout(full_disk()).output().expect("the command runs");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr(&output).contains("No space left"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn standard_error_that_takes_nothing_changes_no_line_and_no_exit_code() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("a.rec");
    fs::write(&file, recording_with(3)).expect("a file");
    let expected = run(&["replay", path(&file)]);
    let expected = stdout(&expected).lines().count();
    let (reader, closed_pipe) = io::pipe().expect("a pipe");
    drop(reader);
    let (_reader, full) = full_pipe();
    for (name, stderr, dropped) in
        [("disk", full_disk(), 3), ("closed pipe", closed_pipe.into(), 3), ("full pipe", full.into(), 0)]
    {
        let mut command = crashtrace(&["replay", path(&file), "--log", "warn"]);
        let output = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the command runs");
        let output = output.wait_with_output().expect("an end");
        assert_eq!(output.status.code(), Some(0), "{name}");
        let lines = lines(&output);
        assert_eq!(lines.len(), expected, "{name}");
        let counters = &lines.last().expect("a line")["counters"];
        // Lines that wait for a reader are not dropped yet.
        assert_eq!(counters["messages_dropped"], dropped, "{name}: {counters}");
    }
    let output = with_closed("2", &["replay", path(&file)]);
    assert_eq!((output.status.code(), lines(&output).len()), (Some(0), expected));
    // Neither is an error any other for it.
    for (args, code) in [(&["replay", "/nonexistent"][..], 1), (&["wrong"], 2)] {
        let output = crashtrace(args).stderr(full_disk()).output().expect("the command runs");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_flood_of_malformed_records_is_no_flood_of_messages() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("a.rec");
    fs::write(&file, recording_with(100_000)).expect("a file");
    let output = run(&["replay", path(&file)]);
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    // More than the first twenty only on a machine that takes more than ten seconds for it.
    assert!(said.lines().count() < 50, "{} lines", said.lines().count());
    assert!(
        said.contains("more messages like this one were kept back: a record could not be read"),
        "{said}"
    );
    let lines = lines(&output);
    let counters = &lines.last().expect("a line")["counters"];
    assert_eq!(counters["records_malformed"], 100_000);
    let kept_back = counters["messages_kept_back"].as_u64().expect("a count");
    assert_eq!(kept_back + said.matches("WARN").count() as u64, 100_000);
}

/// Which by itself ends a process (SIGXFSZ).
#[test]
fn a_limit_of_the_files_size_is_an_error_of_a_write() {
    let folder = tempfile::tempdir().expect("a directory");
    let (file, to) = (written(folder.path(), &two_kills()), folder.path().join("out"));
    // In blocks of 512 or 1024 bytes.
    let limited = |args: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -f 1; exec \"$0\" {args}"), env!("CARGO_BIN_EXE_crashtrace")]);
        shell.args([path(&file), path(&to)]).output().expect("a shell")
    };
    for args in ["replay \"$1\" > \"$2\"", "schema > \"$2\""] {
        let output = limited(args);
        assert_eq!(output.status.code(), Some(1), "{args}: {}", output.status);
        assert!(stderr(&output).contains("File too large"), "{args}: {}", stderr(&output));
    }
    fs::write(&file, recording_with(30)).expect("a file");
    let output = limited("replay \"$1\" 2> \"$2\"");
    assert_eq!(output.status.code(), Some(0), "{}", output.status);
    let lines = lines(&output);
    let counters = &lines.last().expect("a line")["counters"];
    assert!(counters["messages_dropped"].as_u64().is_some_and(|dropped| dropped > 0), "{counters}");
}
