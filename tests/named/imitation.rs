//! Cgroups that imitate those of a pod, and real kills in them: the pod is known to the API server with the very UID and
//! container id that they have, and its names must not be said of them. No runtime is needed for that.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crashtrace_test_support::agent::{Agent, Line, Output};
use crashtrace_test_support::cgroup::random_hex;
use crashtrace_test_support::trees::Trees;
use crashtrace_test_support::{cleanup, http, skipped};

use super::{ApiServer, MIB, SOON, index_once};

const LIMIT_BYTES: u64 = 16 * MIB;
/// A part of each name of these pods, and of no other text.
const NAMES: &str = "zq9";

/// A pod that the API server knows, with its one container.
struct Known {
    uid: String,
    id: String,
    name: String,
}

impl Known {
    fn new(name: &str) -> Self {
        Self { uid: uid(), id: random_hex().expect("an id"), name: format!("{name}-{NAMES}") }
    }

    fn object(&self) -> Value {
        let limit = json!({ "memory": LIMIT_BYTES.to_string() });
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": { "uid": self.uid, "namespace": format!("shop-{NAMES}"), "name": self.name },
            "spec": { "nodeName": "node1", "containers": [{ "name": format!("web-{NAMES}"), "resources": { "limits": limit } }] },
            "status": { "qosClass": "Burstable", "containerStatuses": [{
                "name": format!("web-{NAMES}"), "containerID": format!("containerd://{}", self.id), "restartCount": 0 }] },
        })
    }

    /// Where kubelet would put the container, below a directory.
    fn path(&self) -> String {
        format!("kubepods/burstable/pod{}/{}", self.uid, self.id)
    }
}

fn uid() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a UUID").trim().to_owned()
}

/// Two trees of cgroups: a slice at the root, and a plain directory.
struct Tree(Trees);

impl Tree {
    fn new() -> Self {
        Self(Trees::new(&[".slice", ""]).expect("a memory controller"))
    }

    fn make(&self, root: usize, path: &str) -> PathBuf {
        self.0.make(root, path).expect("a cgroup")
    }

    /// Kills a process by the limit of the cgroup of this path, and gives its pid.
    fn kill(&self, root: usize, path: &str) -> u32 {
        let dir = self.make(root, path);
        let cgroup = self.0.hierarchy.cgroup(dir.clone()).expect("a cgroup");
        cgroup.set_limit(LIMIT_BYTES).expect("a limit");
        let script = "echo $$ >\"$0\" && exec tail /dev/zero";
        let mut eater = Command::new("sh")
            .args(["-c", script])
            .arg(dir.join("cgroup.procs"))
            .stdout(Stdio::null())
            .spawn()
            .expect("sh");
        let status = eater.wait().expect("it ends");
        assert!(!status.success(), "it was killed");
        eater.id()
    }
}

fn arguments(api_server: &ApiServer) -> Vec<String> {
    let kubeconfig = api_server.kubeconfig.display().to_string();
    let fixed = [
        "watch",
        "--output",
        "json",
        "--hooks",
        "tracepoint",
        "--pods",
        "kube",
        "--node-name",
        "node1",
        "--metrics",
        "127.0.0.1:0",
        "--kubeconfig",
    ];
    fixed.map(str::to_owned).into_iter().chain([kubeconfig]).collect()
}

fn started(command: Command, name: &str) -> Agent {
    let mut agent = Agent::spawn_command(command, name, Output::Json).expect("it starts");
    agent.wait_started().expect("it watches");
    index_once(&agent, "synced");
    agent
}

/// The report on the kill of this process.
fn report(agent: &mut Agent, pid: u32) -> Value {
    let of = |line: &Line| line.value["victims"][0]["pid"] == pid;
    agent.read_until(Instant::now() + SOON, |lines| lines.iter().any(of)).expect("the agent goes on");
    let line = agent.lines.iter().find(|line| of(line));
    line.unwrap_or_else(|| panic!("no report on {pid}: {:#?}", agent.lines)).value.clone()
}

fn reason<'a>(report: &'a Value, field: &str) -> &'a str {
    let all = report["unresolved"].as_array().expect("a list");
    let found = all.iter().find(|it| it["field"] == field);
    found.and_then(|it| it["reason"].as_str()).unwrap_or_else(|| panic!("no reason for {field}: {report:#}"))
}

/// Not in a name, a sentence or a figure.
fn has_no_names(report: &Value) {
    let text = report.to_string();
    assert!(!text.contains(NAMES) && !text.contains("Kubernetes has"), "{report:#}");
    assert_eq!(report["limit"]["kubernetes_limit_bytes"], Value::Null, "{report:#}");
}

fn is_named(report: &Value, pod: &Known) {
    let owner = &report["victims"][0]["owner"];
    let got = [&owner["kind"], &owner["pod"], &owner["pod_uid"], &owner["container_id"], &owner["claims"]];
    assert_eq!(
        got,
        [&json!("container"), &json!(pod.name), &json!(pod.uid), &json!(pod.id), &Value::Null],
        "{report:#}"
    );
    assert_eq!(report["verdict"]["level"], "container", "{report:#}");
    assert!(
        report["verdict"]["evidence"].to_string().contains("Kubernetes has the same limit of 16 MiB"),
        "{report:#}"
    );
}

/// The victim's owner is this one, and the pod is only what its cgroup claims.
fn only_claims(report: &Value, pod: &Known, kind: &str, unit: &str) {
    has_no_names(report);
    for owner in [&report["victims"][0]["owner"], &report["limit"]["owner"]] {
        assert_eq!(
            (&owner["kind"], &owner["unit"], &owner["pod_uid"]),
            (&json!(kind), &json!(unit), &Value::Null),
            "{report:#}"
        );
        let claims = json!({ "kind": "container", "pod_uid": pod.uid, "container_id": pod.id, "qos_class": "Burstable" });
        assert_eq!(owner["claims"], claims, "{report:#}");
    }
    assert_eq!(report["verdict"]["level"], "cgroup", "{report:#}");
    assert_eq!(report["limit"]["charged_at"], "cgroup", "{report:#}");
    assert!(reason(report, "victims[0].owner").contains("not confirmed"), "{report:#}");
}

/// Waits until the metrics have as many kills of this level as there are lines. A line is counted just after it is written, and
/// other programs kill too.
fn is_counted(agent: &mut Agent, level: &str) {
    let address = http::listening(agent.pid(), SOON).expect("it serves");
    let labels = format!("{{kind=\"oom_kill\",cause=\"cgroup_oom\",level=\"{level}\"}} ");
    let end = Instant::now() + SOON;
    loop {
        agent.read_until(Instant::now(), |_| false).expect("the agent goes on");
        let of_level = |line: &&Line| {
            line.value["kind"] == "oom_kill"
                && line.value["verdict"]["cause"] == "cgroup_oom"
                && line.value["verdict"]["level"] == level
        };
        let told = agent.lines.iter().filter(of_level).count();
        let text = http::get(address, "/metrics").expect("it answers").body;
        let counted = text
            .lines()
            .find_map(|line| line.strip_prefix("crashtrace_incidents_total")?.strip_prefix(&labels));
        if told > 0 && counted == Some(told.to_string().as_str()) {
            return;
        }
        assert!(Instant::now() < end, "{told} lines, and counted are {counted:?}: {text}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_cgroup_that_imitates_a_pod_does_not_get_its_names() {
    if skipped() {
        return;
    }
    cleanup::on_signals().expect("signals can be waited for");
    let [pod, inner] = ["real", "inner"].map(Known::new);
    let tree = Tree::new();
    let scope = format!("docker-{}.scope", random_hex().expect("an id"));
    // There before the agents: they look for kubelet's tree when they start.
    let node = tree.make(0, &format!("{scope}/kubepods")).parent().expect("the scope").to_owned();

    let api_server = ApiServer::start(&[pod.object(), inner.object()]);
    let crashtrace = Path::new(env!("CARGO_BIN_EXE_crashtrace"));
    let watch = |more: &[String]| {
        let mut command = Command::new(crashtrace);
        command.args(arguments(&api_server)).args(more);
        command
    };
    let mut outside = started(watch(&[]), "on the machine");
    let mut filtered = started(watch(&["--namespace".to_owned(), format!("shop-{NAMES}")]), "with a filter");
    // As in kind: the root of the hierarchy that this one sees is the node's container.
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        "mount --bind \"$0\" \"$1\"; shift; exec \"$@\"",
    ]);
    command.arg(&node).arg(&tree.0.hierarchy.mount).arg(crashtrace).args(arguments(&api_server));
    let mut inside = started(command, "in the node's container");

    // Below a user's service manager, with the pod's own UID and container id.
    let imitation = tree.kill(0, &format!("user@1000.service/app.slice/{}", pod.path()));
    for agent in [&mut outside, &mut inside] {
        only_claims(&report(agent, imitation), &pod, "host_service", "user@1000.service");
    }
    // The container under another pod's UID, and the pod in another class.
    let moved = tree.kill(1, &format!("kubepods/burstable/pod{}/{}", inner.uid, pod.id));
    let of_moved = report(&mut outside, moved);
    has_no_names(&of_moved);
    let said = reason(&of_moved, "victims[0].owner.pod");
    assert!(said.contains(&pod.uid) && said.contains(&inner.uid), "{said}");
    let class = tree.kill(1, &format!("kubepods/besteffort/pod{}/{}", pod.uid, pod.id));
    let of_class = report(&mut outside, class);
    has_no_names(&of_class);
    assert!(
        reason(&of_class, "victims[0].owner.pod")
            .contains("Burstable, but the cgroup's path has it as BestEffort")
    );

    // Where kubelet puts it.
    let real = tree.kill(1, &pod.path());
    is_named(&report(&mut outside, real), &pod);
    is_named(&report(&mut filtered, real), &pod);
    // A kill in a pod without a name passes the filter, the imitation does not.
    let through: Vec<_> = filtered.lines.iter().map(|line| line.value["victims"][0]["pid"].clone()).collect();
    let is_through = |pid: u32| through.iter().any(|it| *it == pid);
    assert!(is_through(moved) && is_through(class) && !is_through(imitation), "{through:?}");

    // A node in a container: its kubelet's word, to an agent in it; to any other the container's.
    let of_node = tree.kill(0, &format!("{scope}/{}", inner.path()));
    only_claims(&report(&mut outside, of_node), &inner, "container", &scope);
    let report_inside = report(&mut inside, of_node);
    is_named(&report_inside, &inner);
    // Its files are found from the node's root.
    assert!(report_inside["limit"]["shmem_bytes"].is_u64(), "{report_inside:#}");
    is_counted(&mut outside, "cgroup");
    for mut agent in [outside, filtered, inside] {
        agent.stop().expect("it ends well");
    }
}
