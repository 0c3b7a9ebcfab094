//! The worst of all at once, in the memory that the manifest gives: the start with the verifier's memory charged to it, a
//! list of 60 MB from the API server, 16 MiB of labels and more containers than are taken from the runtime, and clients that
//! hold every connection but one of the metrics' server. The kernel does the sum: it would kill the agent.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::apps::v1::DaemonSet;

use crashtrace_test_support::cgroup::{Cgroup, kills};
use crashtrace_test_support::large_runtime::{Body, Runtime, container, sandbox};
use crashtrace_test_support::trees::Trees;

use super::*;

const PODS: usize = 250;
/// Of each pod's environment, in two variables.
const ENVIRONMENT_BYTES: usize = 240_000;
/// Sandboxes with their labels, and containers, of the runtime.
const SANDBOXES: usize = 12;
const LABELS_BYTES: usize = 650_000;
const CONTAINERS: usize = 5000;
/// All but the connection of the test itself.
const CLIENTS: usize = crashtrace::metrics::server::CONNECTIONS - 1;
/// A debug build decodes slowly, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_mins(3);

/// The container's limit.
fn limit_bytes() -> u64 {
    let manifest = include_str!("../../deploy/base/daemonset.yaml");
    let it: DaemonSet = serde_saphyr::from_str(manifest).expect("a DaemonSet");
    let pod = it.spec.and_then(|spec| spec.template.spec).expect("a pod");
    let limits = pod.containers[0].resources.clone().and_then(|resources| resources.limits).expect("limits");
    let mib = limits["memory"].0.strip_suffix("Mi").expect("MiB").parse::<u64>();
    mib.expect("a number") * MIB
}

/// A limited cgroup, until it is dropped.
struct Limited {
    cgroup: Cgroup,
    trees: Trees,
}

impl Limited {
    fn new(limit_bytes: u64) -> Self {
        let trees = Trees::new(&[""]).expect("a memory controller");
        let dir = trees.roots[0].clone();
        trees.hierarchy.create(&dir).expect("a cgroup");
        let cgroup = trees.hierarchy.cgroup(dir).expect("a cgroup");
        cgroup.set_limit(limit_bytes).expect("a limit");
        Self { cgroup, trees }
    }

    /// The highest charge; where the kernel does not keep that (v2 before 5.19), the current one.
    fn peak_bytes(&self) -> u64 {
        let files = ["memory.peak", "memory.max_usage_in_bytes"].map(|name| self.cgroup.dir.join(name));
        let peak = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
        let peak = peak.map(|bytes| bytes.trim().parse().expect("a number"));
        peak.unwrap_or_else(|| self.cgroup.usage_bytes().expect("it can be read"))
    }
}

/// The runtime in a separate thread, until it is dropped.
struct Served {
    socket: PathBuf,
    _stop: oneshot::Sender<()>,
}

impl Served {
    fn start(sandboxes: Body, containers: Body) -> Self {
        let (tell, told) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build();
            tokio.expect("a runtime").block_on(async {
                let runtime = Runtime::start(sandboxes, containers);
                tell.send(runtime.socket.clone()).expect("the test waits");
                let _ = stopped.await;
            });
        });
        Self { socket: told.recv().expect("it starts"), _stop: stop }
    }
}

/// A flag that is set when this goes.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clients that never end their requests, and connect again.
fn hold(address: SocketAddr, over: &AtomicBool) {
    let mut clients: Vec<TcpStream> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        clients.retain_mut(|client| client.write_all(b"x").is_ok());
        while clients.len() < CLIENTS {
            let Ok(mut client) = TcpStream::connect(address) else { break };
            let _ = write!(client, "GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(4000));
            clients.push(client);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_worst_of_all_at_once_fits_the_limit_of_the_manifest() {
    if skipped() {
        return;
    }
    cleanup::on_signals().expect("signals can be waited for");
    let list: Value =
        serde_json::from_str(include_str!("../fixtures/kubernetes/api/pods-list.json")).expect("a list");
    let variable = |name: &str| json!({ "name": name, "value": "v".repeat(ENVIRONMENT_BYTES / 2) });
    let pods = list["items"].as_array().expect("pods").iter().cycle().take(PODS).enumerate();
    let pods: Vec<_> = pods
        .map(|it| {
            let mut pod = numbered(it);
            pod["spec"]["containers"][0]["env"] = json!([variable("A"), variable("B")]);
            pod
        })
        .collect();
    let api_server = ApiServer::start(&pods);
    drop(pods);
    let sandboxes = Body((0..SANDBOXES).map(|number| (sandbox(number, LABELS_BYTES), 1)).collect());
    let containers = Body((0..CONTAINERS).map(|number| (container(number), 1)).collect());
    let runtime = Served::start(sandboxes, containers);

    let limit_bytes = limit_bytes();
    let limited = Limited::new(limit_bytes);
    // A shell goes into the cgroup, and becomes the agent.
    let mut command = Command::new("sh");
    command.args(["-c", "echo $$ >\"$0\" && exec \"$@\""]).arg(limited.cgroup.dir.join("cgroup.procs"));
    command.args([env!("CARGO_BIN_EXE_crashtrace"), "watch", "--output", "json", "--hooks", "tracepoint"]);
    command.args(["--pods", "auto", "--node-name", "node1", "--metrics", "127.0.0.1:0", "--kubeconfig"]);
    command.arg(&api_server.kubeconfig).arg("--cri-socket").arg(&runtime.socket);
    let mut agent = Agent::spawn_command(command, "the limited one", Output::Json).expect("it starts");
    agent.wait_started().expect("it watches");
    let address = http::listening(agent.pid(), SOON).expect("it serves");
    let over = AtomicBool::new(false);
    let known = std::thread::scope(|scope| {
        // Also where `all_known` panics: the scope waits for the clients.
        let _over = SetWhenDropped(&over);
        scope.spawn(|| hold(address, &over));
        all_known(address)
    });
    let killed = kills(&limited.cgroup.dir, limited.trees.hierarchy.version).expect("it can be read");
    assert_eq!(killed, Some(0));
    // Pages of the program are charged to the first process that touches them, which on a node is the agent. This one is built for
    // tests, and four times as large as what an image may have.
    let (charged, of_files) = (limited.peak_bytes(), file_bytes(agent.pid()).min(SHIPPED_BYTES));
    println!("{charged} bytes charged at most, {of_files} of files, of {limit_bytes}; {known}");
    assert!(charged + of_files < limit_bytes, "{charged} bytes and {of_files} of files of {limit_bytes}");
    agent.stop().expect("it was not killed, and ends well");
}

/// The size of the program in an image at most (`PROGRAM_MAX_BYTES` in `xtask/src/release.rs`); it is static.
const SHIPPED_BYTES: u64 = 12_500_000;

/// The file-backed memory that a process has mapped, in bytes.
fn file_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let kib = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("a size");
    kib.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// The known pods once the API server's are all there, and as many of the runtime's containers as there is room for.
fn all_known(address: SocketAddr) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        // It may have no connection left for a moment.
        let said = http::get(address, "/readyz?verbose").ok();
        let said: Value = said.and_then(|it| serde_json::from_str(&it.body).ok()).unwrap_or_default();
        let of = |source: &str, field: &str| {
            let all = said["pod_index"].as_array().into_iter().flatten();
            all.filter(|it| it["source"] == source).find_map(|it| it[field].as_u64()).unwrap_or_default()
        };
        if of("kube", "pods") == PODS as u64 && of("cri", "containers") > 1000 {
            return said["pod_index"].clone();
        }
        assert!(Instant::now() < end, "{said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
