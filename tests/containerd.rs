//! Pods of a real containerd, made through CRI as kubelet makes them, and real OOM kills in them: crashtrace's report of
//! each, and the CRI client's answer about the very same containers.
//!
//! Needs root, a memory controller, containerd, runc and busybox (`cargo xtask setup --runtime` installs the last three), and
//! fails without. Where these are not available, `CRASHTRACE_SKIP_LIVE=1` leaves these tests out. The test starts its own
//! containerd, with its own folders, socket and images; nothing of it stays.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crashtrace::pods::cri::cache::Listed;
use crashtrace::pods::cri::{self, Cri, CriContainer, CriState, Options};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crashtrace_test_support::agent::{self, Agent, Output};
use crashtrace_test_support::containerd::pods::{Container, Pod, Script};
use crashtrace_test_support::containerd::remains::{left_of, suffix};
use crashtrace_test_support::containerd::runtime::Runtime;
use crashtrace_test_support::{cgroup, cleanup, skipped};

mod containerd {
    mod ends;
    use super::{MIB, SOON, Stage, alone};
}

const MIB: u64 = 1 << 20;
/// How long a report or an answer may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// One at a time: the agents of one test would see the kills of another.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static ALONE: Mutex<()> = Mutex::new(());
    if skipped() {
        return None;
    }
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A stage with a runtime, its client, and an agent that watches.
struct Stage {
    tokio: tokio::runtime::Runtime,
    cri: Cri,
    agent: Agent,
    /// Goes last: the fields above use it.
    runtime: Runtime,
}

impl Stage {
    fn set() -> Self {
        Self::set_with(&[])
    }

    /// The agent has these options more.
    fn set_with(options: &[&str]) -> Self {
        cleanup::on_signals().expect("signals can be waited for");
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let crashtrace = Path::new(env!("CARGO_BIN_EXE_crashtrace"));
        let runtime = tokio.block_on(Runtime::start()).expect("containerd starts");
        let socket = runtime.socket.as_os_str();
        let mut more = vec!["--pods".as_ref(), "cri".as_ref(), "--cri-socket".as_ref(), socket];
        more.extend(options.iter().map(OsStr::new));
        let agent = Agent::spawn_with(crashtrace, "tracepoint", Output::Json, &more);
        let mut agent = agent.expect("it starts");
        // Tasks of this runtime stand still while this thread waits for the agent.
        let options =
            Options { deadline: SOON * 3, ..Options::at(&format!("unix://{}", runtime.socket.display())) };
        let cri = tokio.block_on(async { Cri::start(options) });
        agent.wait_started().expect("it watches");
        Self { tokio, cri, agent, runtime }
    }

    /// The report on a kill in this container: of several revisions the last, which has its name.
    fn report(&mut self, container: &Container, revision: u64) -> Value {
        let of = |line: &agent::Line| {
            let victim = &line.value["victims"][0];
            line.value["kind"] == "oom_kill" && victim["owner"]["container_id"] == container.id.as_str()
        };
        let named = |line: &agent::Line| line.value["victims"][0]["owner"]["pod"].is_string();
        let read =
            self.agent.read_until(Instant::now() + SOON, |lines| lines.iter().any(|it| of(it) && named(it)));
        read.expect("the agent goes on");
        let lines: Vec<_> = self.agent.lines.iter().filter(|line| of(line)).collect();
        assert_eq!(lines.len(), 1, "{:#?}", self.agent.lines);
        assert_eq!(lines[0].value["revision"], revision, "{:#?}", self.agent.lines);
        lines[0].value.clone()
    }

    /// This container in a fresh list.
    fn listed(&self, container: &Container) -> Option<CriContainer> {
        let listing = self.tokio.block_on(cri::list(&self.runtime.socket, SOON)).expect("a list");
        listing.containers.into_iter().find(|it| it.id == container.id)
    }

    /// Waits until a fresh list has this container ended.
    fn ended(&self, container: &Container) -> CriContainer {
        let deadline = Instant::now() + SOON;
        loop {
            let it = self.listed(container).expect("it is listed");
            if it.state == CriState::Exited {
                return it;
            }
            assert!(Instant::now() < deadline, "it does not end: {it:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// This container, from the handle.
    fn known(&self, container: &Container) -> Option<CriContainer> {
        match self.tokio.block_on(self.cri.find_within(&container.id, SOON))? {
            Listed::Container(it) => Some(CriContainer::clone(&it)),
            Listed::Sandbox(it) => panic!("no sandbox: {it:?}"),
        }
    }

    /// Has the handle make a list that begins now.
    fn list_again(&self) {
        let id = cgroup::random_hex().expect("an id");
        assert_eq!(self.tokio.block_on(self.cri.find_within(&id, SOON)), None);
        assert_eq!(self.cri.status().problem, None);
    }
}

/// Compares CRI's answer about a container with the configuration that it was made with.
fn check_named(it: &CriContainer, pod: &Pod, container: &Container) {
    let expected = CriContainer {
        id: container.id.clone(),
        name: Some(container.name.to_owned()),
        attempt: Some(container.attempt),
        image: it.image.clone(),
        pod_uid: Some(pod.uid.clone()),
        namespace: Some(pod.namespace.to_owned()),
        pod_name: Some(pod.name.to_owned()),
        sandbox_id: Some(pod.sandbox_id.clone()),
        created_unix_ns: it.created_unix_ns,
        state: it.state,
    };
    assert_eq!(*it, expected);
    assert!(
        it.image.as_deref().is_some_and(|image| !image.is_empty()) && it.created_unix_ns.is_some(),
        "{it:?}"
    );
}

/// Compares a report's victim, trigger and verdict with the container.
fn check_report(report: &Value, pod: &Pod, container: &Container, charged_at: &str) {
    let told = |owner: &Value| {
        json!([
            owner["kind"],
            owner["pod_uid"],
            owner["container_id"],
            owner["qos_class"],
            owner["static_pod"]
        ])
    };
    let owner = json!(["container", pod.uid, container.id, "Burstable", false]);
    assert_eq!(told(&report["victims"][0]["owner"]), owner, "{report:#}");
    assert_eq!(told(&report["trigger"]["owner"]), owner, "{report:#}");
    for party in [&report["victims"][0], &report["trigger"]] {
        let owner = &party["owner"];
        let names = json!([owner["namespace"], owner["pod"], owner["container"]]);
        assert_eq!(names, json!([pod.namespace, pod.name, container.name]), "{report:#}");
        assert_eq!(owner["kubernetes"]["source"], "cri", "{report:#}");
        assert_eq!(owner["kubernetes"]["restart_count"], container.attempt, "{report:#}");
        assert!(owner["kubernetes"]["image"].is_string(), "{report:#}");
    }
    let limit = &report["limit"]["owner"];
    assert_eq!(json!([limit["namespace"], limit["pod"]]), json!([pod.namespace, pod.name]), "{report:#}");
    let whose = format!("container {} of pod {}/{}", container.name, pod.namespace, pod.name);
    let summary = report["verdict"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with(&format!("{whose} hit its ")), "{summary}");
    assert!(summary.contains(" limit of 64 MiB"), "{summary}");
    assert_eq!(report["victims"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(report["verdict"]["cause"], "cgroup_oom", "{report:#}");
    assert_eq!(report["verdict"]["level"], "container", "{report:#}");
    assert_eq!(report["limit"]["charged_at"], charged_at, "{report:#}");
    assert_eq!(report["limit"]["owner"]["pod_uid"], pod.uid.as_str(), "{report:#}");
    let path = match charged_at {
        "pod" => pod.cgroup_path(),
        _ => format!("{}/{}", pod.cgroup_path(), container.id),
    };
    assert_eq!(report["limit"]["cgroup"], path.as_str(), "{report:#}");
    assert_eq!(report["limit"]["limit_bytes"], container.limit_bytes, "{report:#}");
}

#[test]
fn killed_containers_are_reported_and_named() {
    let Some(_alone) = alone() else { return };
    let mut stage = Stage::set();
    let Stage { tokio, runtime, .. } = &stage;

    // A pod of one container, whose limit is the pod's too.
    let alone = tokio.block_on(Pod::run(runtime, "shop", "web-0", 64 * MIB)).expect("a pod");
    let hog = tokio.block_on(alone.container("web", 0, 64 * MIB, Script::HogAsPid1)).expect("a container");
    // One of two containers, made anew twice.
    let two = tokio.block_on(Pod::run(runtime, "batch", "two", 128 * MIB)).expect("a pod");
    let side = tokio.block_on(two.container("side", 0, 48 * MIB, Script::Waits)).expect("a container");
    let one = tokio.block_on(two.container("hog", 2, 64 * MIB, Script::HogAsPid1)).expect("a container");
    // A child of PID 1, which lives on.
    let parent = tokio.block_on(Pod::run(runtime, "shop", "parent", 256 * MIB)).expect("a pod");
    let child = tokio.block_on(parent.container("sh", 1, 64 * MIB, Script::HogAsChild)).expect("a container");

    let pods = [(&alone, &hog), (&two, &side), (&two, &one), (&parent, &child)];
    for (pod, container) in pods {
        let it = stage.known(container).expect("it is known before it runs");
        check_named(&it, pod, container);
        let it = stage.listed(container).expect("it is listed");
        assert_eq!(it.state, CriState::Running);
        check_named(&it, pod, container);
        let found = stage.cri.find(&pod.sandbox_id);
        assert!(
            matches!(&found, Some(Listed::Sandbox(it)) if it.ready && it.pod_name.as_deref() == Some(pod.name))
        );
        assert_eq!(stage.cri.find_pod(&pod.uid).map(|it| it.id.clone()), Some(pod.sandbox_id.clone()));
    }

    // The agent has listed before there were any: the first kill makes it list anew.
    for ((pod, container), charged_at, revision) in
        [((&alone, &hog), "pod", 2), ((&two, &one), "container", 1)]
    {
        container.go();
        let report = stage.report(container, revision);
        check_report(&report, pod, container, charged_at);
        assert_eq!(report["victims"][0]["container_pid"], 1, "{report:#}");
        let it = stage.ended(container);
        check_named(&it, pod, container);
        let status = stage.tokio.block_on(container.status()).expect("a status");
        assert_eq!((status.reason.as_str(), status.exit_code), ("OOMKilled", 137));
    }
    child.go();
    let report = stage.report(&child, 1);
    check_report(&report, &parent, &child, "container");
    assert_ne!(report["victims"][0]["container_pid"], 1, "{report:#}");
    assert_eq!(child.kills(), Some(1), "the kernel's own count");
    for (pod, container) in [(&two, &side), (&parent, &child)] {
        let it = stage.listed(container).expect("it is listed");
        assert_eq!(it.state, CriState::Running, "it was not killed");
        check_named(&it, pod, container);
    }

    // Ended: still known, and as ended. Removed: still known.
    stage.list_again();
    assert_eq!(stage.known(&hog).map(|it| it.state), Some(CriState::Exited));
    stage.tokio.block_on(hog.remove()).expect("it can be removed");
    stage.list_again();
    assert_eq!(stage.listed(&hog), None);
    let it = stage.known(&hog).expect("it is known still");
    check_named(&it, &alone, &hog);

    // The runtime hangs, is gone, comes back: its containers stay known all along.
    stage.runtime.hold().expect("it can be stopped");
    let short = Duration::from_millis(500);
    let problem = stage.tokio.block_on(cri::list(&stage.runtime.socket, short)).expect_err("it hangs");
    assert_eq!(problem.to_string(), "no answer within 500 ms");
    check_named(&stage.known(&one).expect("it is known"), &two, &one);
    stage.runtime.signal(Signal::CONT).expect("it is there");
    stage.runtime.stop().expect("it stops");
    let problem =
        stage.tokio.block_on(cri::list(&stage.runtime.socket, SOON)).expect_err("no server listens");
    assert!(problem.to_string().starts_with("cannot connect"), "{problem}");
    let id = cgroup::random_hex().expect("an id");
    assert_eq!(stage.tokio.block_on(stage.cri.find_within(&id, short * 4)), None);
    let problem = stage.cri.status().problem.expect("no server listens");
    assert!(
        problem.contains("sock: cannot connect") || problem.contains("no container runtime"),
        "{problem}"
    );
    check_named(&stage.known(&one).expect("it is known"), &two, &one);
    let Stage { tokio, runtime, .. } = &mut stage;
    tokio.block_on(runtime.start_again()).expect("it starts again");
    stage.list_again();
    assert_eq!(stage.known(&child).map(|it| it.state), Some(CriState::Running), "it lived through that");

    stage.agent.stop().expect("it ends well");
    let name = stage.runtime.name();
    let kills = stage.agent.lines.iter().filter(|line| line.value["kind"] == "oom_kill");
    let uids = kills.filter_map(|line| line.value["victims"][0]["owner"]["pod_uid"].as_str());
    let ours = uids.filter(|uid| uid.ends_with(&suffix(&name))).count();
    assert_eq!(ours, 3, "{:#?}", stage.agent.lines);

    drop(stage);
    assert_eq!(left_of(&name), [""; 0]);
}

/// Not a test by itself: [`nothing_is_left`] runs it, and ends it in the middle.
#[test]
#[ignore = "it runs until it is interrupted, or panics"]
fn in_the_middle() {
    let Some(_alone) = alone() else { return };
    let stage = Stage::set();
    let pod = stage.tokio.block_on(Pod::run(&stage.runtime, "shop", "web-0", 64 * MIB)).expect("a pod");
    let container = stage.tokio.block_on(pod.container("web", 0, 64 * MIB, Script::Waits));
    container.expect("a container");
    eprintln!("ready: {}", stage.runtime.name());
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the end of it");
    panic!("as it was told");
}

#[test]
fn nothing_is_left() {
    let Some(_alone) = alone() else { return };
    for (interrupt, code) in [(true, 130), (false, 101)] {
        let mut this = Command::new(std::env::current_exe().expect("this program has a path"));
        this.args(["--exact", "in_the_middle", "--ignored", "--nocapture"]);
        this.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut this = this.spawn().expect("it starts");
        let mut lines =
            BufReader::new(this.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let mut said = Vec::new();
        let name = lines.by_ref().find_map(|line| {
            said.push(line.clone());
            line.strip_prefix("ready: ").map(str::to_owned)
        });
        let name = name.unwrap_or_else(|| panic!("it is never ready: {said:#?}"));
        assert_ne!(left_of(&name), [""; 0], "it has begun");
        if interrupt {
            let pid = Pid::from_raw(i32::try_from(this.id()).expect("a pid")).expect("a pid");
            kill_process(pid, Signal::INT).expect("it is there");
        }
        // The end of its input makes it panic.
        let status = this.wait().expect("it ends");
        let rest: Vec<_> = lines.collect();
        assert_eq!(status.code(), Some(code), "{rest:#?}");
        assert_eq!(left_of(&name), [""; 0], "{rest:#?}");
    }
}
