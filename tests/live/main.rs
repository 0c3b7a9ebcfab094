//! Real OOM kills on this machine, through its own kernel: the scenarios of `tests/scenario` that do no harm to it,
//! with the hooks that work on every kernel. Guests (`cargo xtask vm --scenario all`) have the rest.
//!
//! They need root and a memory controller, and fail without: a test that was not run has shown nothing. Where these
//! are not available, `CRASHTRACE_SKIP_LIVE=1` leaves them out.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crashtrace::decode::Machine;
use crashtrace::gfp::GfpNames;
use crashtrace::kernel::host::{self, KERNEL_BTF};
use crashtrace::kernel::layout::{KernelBtf, Layout};
use crashtrace::kernel::load::{self, Kernel};
use crashtrace::kernel::types;
use crashtrace::self_test;
use crashtrace_ebpf::fields;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crashtrace_judge::catalogue::{Catalogue, Need, Tier};
use crashtrace_test_support::scenario_program::program;

/// Ends of containers.
mod exits;
/// A journal, and an output that is not read.
mod journal;
/// Loads that are interrupted, hindered and broken off.
mod starts;

/// Fixtures of the tests.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// BTF of other kernels than this one, on one of which the tests may run: where something that is read lies elsewhere.
fn other_kernels() -> Vec<PathBuf> {
    // Two builds of one version may differ in these alone, which the self-test does not compare.
    let unshown = ["MEMCG_OOM_KILL_DISABLE", "MEMCG_NODEINFO"];
    let layout = |btf: &Path| {
        let layout = Layout::resolve(&KernelBtf::open(btf).expect("it is BTF"));
        let fields = fields::TABLE.iter().zip(layout.values());
        let shown = fields.filter(|(field, _)| !unshown.contains(&field.name)).map(|(_, value)| *value);
        shown.collect::<Vec<_>>()
    };
    let own = layout(Path::new(KERNEL_BTF));
    let files =
        fs::read_dir(fixtures().join("btf")).expect("fixtures").map(|file| file.expect("a file").path());
    let others: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "btf"))
        .filter(|path| layout(path) != own)
        .collect();
    assert!(others.len() > 1, "{others:?}");
    others
}

const CRASHTRACE: &str = env!("CARGO_BIN_EXE_crashtrace");

/// All that do no harm, in one run of the agent; that this tier is blind to one of them is shown as well.
#[test]
fn the_scenarios_that_do_no_harm_pass() {
    let Some(mut scenario) = program() else { return };
    let output = scenario.args(["run", "--crashtrace", CRASHTRACE, "--hooks", "tracepoint", "all"]).output();
    let output = output.expect("it starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let results: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("a result a line")).collect();
    let failed: Vec<_> = results.iter().filter(|result| result["pass"] == false).collect();
    assert!(output.status.success() && failed.is_empty(), "{}\n{failed:#?}\n{stderr}", output.status);
    let catalogue = Catalogue::read().expect("the file of scenarios");
    let harmless = [Need::V1, Need::V2];
    for it in catalogue.scenarios.iter().filter(|it| it.needs.iter().all(|need| harmless.contains(need))) {
        let result = results.iter().find(|result| result["scenario"] == it.name.as_str());
        let result = result.unwrap_or_else(|| panic!("{} has no result", it.name));
        // Only scenarios of the other version of cgroups may be left out.
        assert_eq!(result["skipped"].is_string(), result["pass"].is_null(), "{result}");
        assert!(result["pass"] == true || !it.needs.is_empty(), "{result}");
        assert_eq!(
            result["pass"] == true && it.blind.contains_key(&Tier::Tracepoint),
            result["blind"] == true
        );
    }
}

/// In another order than the file, and by name.
#[test]
fn a_scenario_can_be_played_by_name() {
    let Some(mut scenario) = program() else { return };
    let arguments =
        ["run", "--crashtrace", CRASHTRACE, "--hooks", "tracepoint", "--lines", "child", "own_limit"];
    let output = scenario.args(arguments).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    let results: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("a result a line")).collect();
    let names: Vec<_> = results.iter().map(|result| result["scenario"].as_str()).collect();
    assert_eq!(names, [Some("agent"), Some("child"), Some("own_limit")]);
    assert_eq!(results[1]["lines"][0]["kind"], "oom_kill");
}

/// Every other kernel's table, by the self-test alone: as where the kernel's own BTF cannot be read. No hook is attached.
#[test]
fn a_table_of_another_kernel_is_found_out_by_reading_this_process() {
    if program().is_none() {
        return;
    }
    let own = Path::new(KERNEL_BTF);
    let types = types::read(own, None);
    let facts = host::gather(Path::new("/"), &types);
    let machine = Machine { page_size_bytes: facts.page_size_bytes, symbols: None };
    let tried = |btf: &Path| {
        let layout = Layout::resolve(&KernelBtf::open(btf).expect("it is BTF"));
        let kernel = Kernel {
            layout: &layout,
            functions: &types.functions,
            mark_victim_arg: 1,
            cgroup_v1: false,
            node_root: 0,
            gfp: GfpNames::fallback().kernel_bits(),
            locked_memory_bytes: None,
            include_nowarn: false,
            debug: false,
        };
        let mut ebpf = load::object(&kernel).expect("it can be loaded");
        self_test::run(&mut ebpf, &kernel, &facts, &machine, Path::new("/proc")).expect("it can be run")
    };
    let report = tried(own);
    assert_eq!(report.wrong, [], "{report:#?}");
    assert!(report.right.len() >= 17, "{report:#?}");
    for path in other_kernels() {
        assert_ne!(tried(&path).wrong, [], "{} is taken for this kernel's", path.display());
    }
}

/// As the user meets it.
#[test]
fn a_btf_file_is_believed_if_the_kernels_own_says_the_same() {
    if program().is_none() {
        return;
    }
    // Its first line, and how it ended: with that line it is told to.
    let watch = |btf: &Path| {
        let agent = Command::new(CRASHTRACE)
            .args(["watch", "--pods", "none", "--hooks", "tracepoint", "--btf"])
            .arg(btf)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut agent = agent.expect("it starts");
        let mut first = String::new();
        BufReader::new(agent.stdout.take().expect("piped")).read_line(&mut first).expect("text");
        if !first.is_empty() {
            kill_process(Pid::from_child(&agent), Signal::TERM).expect("it has not been waited for");
        }
        let output = agent.wait_with_output().expect("it ends");
        (first, output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let differs = |btf: &PathBuf| {
        let differs = types::read(Path::new(KERNEL_BTF), Some(btf)).btf.differs;
        differs.first().is_some_and(|first| first.starts_with("task_struct."))
    };
    let other = other_kernels().into_iter().find(differs).expect("one with another task_struct");
    let (first, code, said) = watch(&other);
    assert_eq!((first.as_str(), code), ("", Some(4)), "{said}");
    assert!(said.contains("is another kernel's: task_struct.") && said.contains("leave --btf out"), "{said}");

    let copy = tempfile::NamedTempFile::new().expect("a file");
    fs::copy(KERNEL_BTF, copy.path()).expect("the kernel shows its BTF");
    let (first, _, said) = watch(copy.path());
    let started: Value = serde_json::from_str(&first).unwrap_or_else(|_| panic!("{first}{said}"));
    assert_eq!(started["btf"]["source"], "file_that_agrees", "{started}");
    assert_eq!(started["btf"]["path"], copy.path().to_str().expect("text"));
}

/// Agents start and stop while the kernel kills, with no regard for either.
#[test]
fn each_kill_between_start_and_stop_is_told_and_none_outside_is_told_as_a_whole_one() {
    let Some(mut scenario) = program() else { return };
    let output = scenario.args(["starts", "--crashtrace", CRASHTRACE, "sessions"]).output();
    let output = output.expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// In a mount namespace with a BPF file system of its own, so that this machine's is left alone.
#[test]
fn pinned_hooks_go_on_while_no_agent_runs_and_each_kill_is_told_once() {
    let Some(scenario) = program() else { return };
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--propagation", "private"]).arg(scenario.get_program());
    let output = unshare.args(["starts", "--crashtrace", CRASHTRACE, "pinned"]).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("\"scenario\":\"pinned\""), "{stdout}");
}

#[test]
fn the_demo_shows_a_kill_as_text_and_as_json() {
    let Some(mut scenario) = program() else { return };
    let output = scenario.args(["demo", "--crashtrace", CRASHTRACE]).output().expect("it starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in ["memory-hog", "its own limit of 64 MiB", "\"kind\": \"oom_kill\"", "last page touch"] {
        assert!(stdout.contains(part), "no {part} in: {stdout}");
    }
}

/// SIGINT as from a terminal, at some of the steps that the demo prints.
#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for step in ["starting", "made cgroup", "touches page"] {
        let Some(mut scenario) = program() else { return };
        scenario.args(["demo", "--crashtrace", CRASHTRACE]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut demo = scenario.spawn().expect("it starts");
        let stderr = BufReader::new(demo.stderr.take().expect("it is piped"));
        let mut lines = stderr.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(step)), "the demo never came to: {step}");
        kill_process(Pid::from_child(&demo), Signal::INT).expect("it is there");
        let status = demo.wait().expect("it ends");
        assert_eq!(status.code(), Some(130), "{step}: {status}");
        // The agent and the victim hold this pipe too: it ends when the last of them has ended.
        assert_eq!(lines.filter(|line| line.contains("cannot remove")).count(), 0, "{step}");
        let name = format!("/ct-{}-", demo.id());
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
        for mount in cgroups.filter_map(|line| line.split(' ').nth(4)) {
            let left = fs::read_dir(mount).expect("a hierarchy").flatten().map(|entry| entry.path());
            let left: Vec<_> = left.filter(|path| path.to_string_lossy().contains(&name)).collect();
            assert_eq!(left, [""; 0].map(PathBuf::from), "{step}");
        }
    }
}
