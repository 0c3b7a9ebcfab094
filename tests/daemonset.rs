//! The image that `cargo xtask image` made, in a real containerd, in containers as kubelet makes them by the manifests in deploy/:
//! their report of a real OOM kill, the result of `doctor` in them, their memory, and how they end.
//!
//! `cargo xtask image --test` runs this; it names the image in `CRASHTRACE_IMAGE`. Needs the same as `tests/containerd.rs`, and
//! kubectl.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use crashtrace_test_support::cgroup::{Hierarchy, Version};
use crashtrace_test_support::containerd::message::{
    ContainerRequest, ContainerStatusResponse, ExecSyncRequest, ExecSyncResponse, KeyValue, Nothing,
    StopContainerRequest,
};
use crashtrace_test_support::containerd::pods::{Container, Pod, Script, call};
use crashtrace_test_support::containerd::remains::left_of;
use crashtrace_test_support::containerd::runtime::Runtime;
use crashtrace_test_support::containerd::{kubelet, log};
use crashtrace_test_support::deploy::needs::{CONTAINERD, Form};
use crashtrace_test_support::{cleanup, deploy, http};

const MIB: u64 = 1 << 20;
/// How long a report or an answer may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);
const NODE: &str = "worker-1";

/// A container of the image, by the manifest.
struct Deployed<'a> {
    runtime: &'a Runtime,
    tokio: &'a tokio::runtime::Runtime,
    pod: Pod,
    id: String,
    limit_bytes: u64,
}

impl<'a> Deployed<'a> {
    fn start(runtime: &'a Runtime, tokio: &'a tokio::runtime::Runtime, form: Form) -> Self {
        let spec = spec(form);
        let limit_bytes = kubelet::memory_limit(&spec.containers[0]);
        // The runtime's socket is this runtime's; all else is where it is.
        let folder = |path: &str| match path {
            "/run/containerd" => runtime.socket.parent().expect("a folder").to_owned(),
            other => PathBuf::from(other),
        };
        let mut config = kubelet::container(&spec, NODE, folder);
        kubelet::spare(&mut config, &kubelet::Machine::look());
        if form == Form::Capabilities {
            // Its only source of names, which kubelet tells every container of; here no server listens.
            let server = [("HOST", "127.0.0.1"), ("PORT", "1")];
            config.envs.extend(server.map(|(what, value)| KeyValue {
                key: format!("KUBERNETES_SERVICE_{what}"),
                value: value.to_owned(),
            }));
        }
        let name = if form == Form::Privileged { "privileged" } else { "capabilities" };
        let privileged = form == Form::Privileged;
        let pod = Pod::run_as(runtime, "crashtrace", name, limit_bytes, privileged);
        let pod = tokio.block_on(pod).expect("a pod");
        let id = tokio.block_on(pod.start(config)).expect("it starts");
        Self { runtime, tokio, pod, id, limit_bytes }
    }

    /// Waits for a line of its stream, through the runtime's log.
    fn line(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let log = fs::read(self.pod.logs().join(kubelet::LOG)).unwrap_or_default();
            let lines = log::lines(&log, "stdout");
            if let Some(line) = lines.iter().filter_map(|it| serde_json::from_slice(it).ok()).find(&is) {
                return line;
            }
            assert!(Instant::now() < deadline, "no line {what}:\n{}", String::from_utf8_lossy(&log));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The most memory that it has been charged for.
    fn peak_bytes(&self) -> u64 {
        let hierarchy = Hierarchy::find().expect("a memory controller");
        let files = match hierarchy.version {
            Version::V1 => ["memory.max_usage_in_bytes"; 2],
            // Before 5.19 there is no peak.
            Version::V2 => ["memory.peak", "memory.current"],
        };
        let dir = self.pod.cgroup_of(&self.id);
        let text = files.iter().find_map(|file| fs::read_to_string(dir.join(file)).ok());
        text.and_then(|text| text.trim().parse().ok()).expect("a number")
    }

    /// As `kubectl exec` does.
    fn exec(&self, command: &[&str]) -> ExecSyncResponse {
        let request = ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(|&word| word.to_owned()).collect(),
            timeout: i64::try_from(SOON.as_secs()).expect("it fits"),
        };
        self.tokio.block_on(call(&self.runtime.socket, "ExecSync", &request)).expect("an answer")
    }

    /// Ends it as kubelet does, and says with which exit code it ended.
    fn stop(&self, grace_seconds: i64) -> i32 {
        let socket = &self.runtime.socket;
        let request = StopContainerRequest { container_id: self.id.clone(), timeout: grace_seconds };
        let Nothing {} = self.tokio.block_on(call(socket, "StopContainer", &request)).expect("it ends");
        let request = ContainerRequest { container_id: self.id.clone() };
        let status: ContainerStatusResponse =
            self.tokio.block_on(call(socket, "ContainerStatus", &request)).expect("an answer");
        status.status.expect("a status").exit_code
    }
}

/// The pod of the DaemonSet: the one form with the runtime's socket, the other without.
fn spec(form: Form) -> PodSpec {
    let components = if form == Form::Privileged { &[CONTAINERD][..] } else { &[] };
    let mut objects = deploy::render::render_with(form.folder(), components).expect("kubectl takes it");
    objects.retain(|object| object["kind"] == "DaemonSet");
    let set: DaemonSet = serde_json::from_value(objects.remove(0)).expect("a DaemonSet");
    set.spec.expect("a spec").template.spec.expect("a spec")
}

fn import(runtime: &Runtime, archive: &Path) {
    let mut ctr = Command::new("ctr");
    ctr.arg("--address").arg(&runtime.socket).args(["--namespace", "k8s.io", "images", "import"]);
    let output = ctr.args(["--snapshotter", "native"]).arg(archive).output().expect("ctr starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The kill of this container, as it is reported, and its names if they come.
fn check_report(report: &Value, pod: &Pod, container: &Container, form: Form) {
    let owner = &report["victims"][0]["owner"];
    assert_eq!(json!([owner["pod_uid"], owner["qos_class"]]), json!([pod.uid, "Burstable"]), "{report:#}");
    assert_eq!(json!([report["node"], report["verdict"]["level"]]), json!([NODE, "container"]), "{report:#}");
    assert_eq!(report["limit"]["limit_bytes"], container.limit_bytes, "{report:#}");
    // From the host's cgroups, which the manifest mounts.
    assert!(report["limit"]["shmem_bytes"].is_u64(), "{report:#}");
    let names = json!([owner["namespace"], owner["pod"], owner["container"]]);
    match form {
        // From the runtime's socket.
        Form::Privileged => assert_eq!(names, json!([pod.namespace, pod.name, container.name]), "{report:#}"),
        Form::Capabilities => {
            assert_eq!(names, json!([null, null, null]), "{report:#}");
            let unresolved = report["unresolved"].as_array().expect("a list");
            assert!(unresolved.iter().any(|it| it["field"] == "victims[0].owner.pod"), "{report:#}");
        }
    }
}

#[test]
#[ignore = "takes the image: `cargo xtask image --test`"]
fn containers_of_the_image_report_a_kill_and_end_well() {
    let archive = std::env::var_os("CRASHTRACE_IMAGE").expect("CRASHTRACE_IMAGE names the image's archive");
    cleanup::on_signals().expect("signals can be waited for");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let runtime = tokio.block_on(Runtime::start()).expect("containerd starts");
    import(&runtime, Path::new(&archive));
    for (form, victim) in [(Form::Privileged, "web-0"), (Form::Capabilities, "web-1")] {
        let it = Deployed::start(&runtime, &tokio, form);
        it.line("of its start", |line| line["kind"] == "agent_started");
        // At the manifest's port; pods have the node's network here.
        for path in ["/healthz", "/readyz", "/metrics"] {
            let answer = http::get(([127, 0, 0, 1], 9464).into(), path).expect("it answers");
            assert_eq!(answer.status, 200, "{form:?}: {path}: {}", answer.body);
        }
        let pod = tokio.block_on(Pod::run(&runtime, "shop", victim, 64 * MIB)).expect("a pod");
        let hog = tokio.block_on(pod.container("web", 0, 64 * MIB, Script::HogAsPid1)).expect("a container");
        hog.go();
        let report = it.line("of the kill", |line| {
            let owner = &line["victims"][0]["owner"];
            let named = form == Form::Capabilities || owner["pod"].is_string();
            line["kind"] == "oom_kill" && owner["container_id"] == hog.id.as_str() && named
        });
        check_report(&report, &pod, &hog, form);

        // The peak is at its start: the limit leaves room for pods' names and for more processors.
        let (peak, limit) = (it.peak_bytes(), it.limit_bytes);
        eprintln!("{form:?}: {peak} of {limit} bytes");
        assert!(peak * 3 < limit * 2, "{form:?}: {peak} of {limit} bytes");

        let said = it.exec(&["/crashtrace", "doctor", "--output", "json"]);
        let doctor: Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said.stderr)));
        // No blind spot, or only those of this kernel.
        assert!([0, 3].contains(&said.exit_code), "{doctor:#}");
        assert!(doctor["uses"].is_string(), "{doctor:#}");
        let left = &doctor["confinement"];
        let held = json!([left["capabilities"]["effective"], left["no_new_privs"], left["seccomp"]]);
        assert_eq!(held, json!([[], true, true]), "{form:?}: {left:#}");
        let usual = it.exec(&["/crashtrace", "--version"]).stdout;
        assert_eq!(String::from_utf8_lossy(&usual).trim(), concat!("crashtrace ", env!("CARGO_PKG_VERSION")));

        let grace = spec(form).termination_grace_period_seconds.expect("a period");
        assert_eq!(it.stop(grace), 0, "it ends by itself within {grace} s");
        it.line("of its end", |line| line["kind"] == "agent_stopping" && line["reason"] == "signal");
    }
    let name = runtime.name();
    drop(runtime);
    assert_eq!(left_of(&name), [""; 0]);
}
