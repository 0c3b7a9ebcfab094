//! `crashtrace watch` and `doctor` where they cannot work: they give the reason and the remedy.

use super::*;

/// The command as a user without any rights, if that is to be had here.
fn without_rights(args: &[&str]) -> Option<Command> {
    if fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| !status.contains("\nCapEff:\t0000000000000000"))
    {
        let setpriv = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let tried = Command::new("setpriv").args(setpriv).arg("true").stderr(Stdio::null()).status();
        if !tried.is_ok_and(|status| status.success()) {
            return None;
        }
        // Where the build directory is not for everybody, the command is not found.
        let copy = std::env::temp_dir().join(format!("crashtrace-test-{}", std::process::id()));
        fs::copy(env!("CARGO_BIN_EXE_crashtrace"), &copy).ok()?;
        let mut command = Command::new("setpriv");
        command.args(setpriv).arg(copy).args(args);
        return Some(command);
    }
    Some(crashtrace(args))
}

#[test]
fn without_the_right_to_it_watch_names_the_capability() {
    let Some(mut command) = without_rights(&["watch", "--node-name", "n"]) else {
        eprintln!("skipped: no way to run without rights here");
        return;
    };
    let output = command.output().expect("the command runs");
    let copy = std::env::temp_dir().join(format!("crashtrace-test-{}", std::process::id()));
    let _ = fs::remove_file(copy);
    assert_eq!((output.status.code(), stdout(&output)), (Some(4), ""), "{}", stderr(&output));
    assert!(stderr(&output).contains("CAP_BPF"), "{}", stderr(&output));
}

#[test]
fn btf_that_is_not_there_is_named_with_the_option() {
    let output = run(&["watch", "--btf", "/nonexistent", "--node-name", "n"]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(4), ""));
    let said = stderr(&output);
    assert!(said.contains("--btf") && said.contains("/nonexistent"), "{said}");
}

#[test]
fn doctor_is_json_whose_status_is_its_exit_code() {
    for more in [&[][..], &["--btf", "/nonexistent"]] {
        let output = run(&[&["doctor", "--output", "json", "--log", "error"], more].concat());
        let report: Value = serde_json::from_str(stdout(&output)).expect("one JSON object");
        assert_eq!(report["schema"], "crashtrace-doctor/v1");
        let code = match report["verdict"]["status"].as_str().expect("a status") {
            "ok" => 0,
            "degraded" => 3,
            "unusable" => 4,
            other => panic!("{other}"),
        };
        assert_eq!(output.status.code(), Some(code));
        assert!(code == 4 || more.is_empty(), "without BTF nothing can be watched");
        assert_eq!(report["uses"].is_null(), code == 4);
    }
}

/// Where no hook is loaded yet, and without rights.
#[test]
fn a_directory_for_pins_that_is_on_no_bpf_file_system_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a directory");
    let pins = folder.path().join("pins");
    let pin = format!("--pin={}", pins.display());
    let output = run(&["watch", "--pods", "none", &pin]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    for part in [&*pins.to_string_lossy(), "is not on a BPF file system", "mount -t bpf bpf /sys/fs/bpf"] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    assert!(!pins.exists());
    let path = folder.path().to_string_lossy().into_owned();
    let output = run(&["unpin", &path]);
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).contains("is not on a BPF file system"), "{}", stderr(&output));
}

#[test]
fn unpin_says_when_there_is_nothing() {
    let folder = tempfile::tempdir().expect("a directory");
    let none = folder.path().join("none");
    let output = run(&["unpin", &none.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), format!("nothing is pinned: there is no {}\n", none.display()));
}
