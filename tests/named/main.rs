//! The whole of it: real OOM kills in pods of a real containerd, before an agent that has their names from an API server. The
//! reports while the API server knows a pod, does not know it yet, and is gone.
//!
//! The API server is the tests' own (`tests/support/src/api_server.rs`), over TLS with a token, found by a kubeconfig. It has these
//! very pods. Needs the same as `tests/containerd.rs`; `CRASHTRACE_SKIP_LIVE=1` leaves it out.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crashtrace_test_support::agent::{Agent, Line, Output};
use crashtrace_test_support::api_server::objects::Objects;
use crashtrace_test_support::api_server::{Answer, Kind, Server};
use crashtrace_test_support::containerd::pods::{Container, Pod, Script};
use crashtrace_test_support::containerd::runtime::Runtime;
use crashtrace_test_support::{cleanup, http, skipped};

mod imitation;
mod worst;

const MIB: u64 = 1 << 20;
/// How long a report or an answer may take on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// An API server in a separate thread, so that it answers while the test waits for the agent.
struct ApiServer {
    server: Option<Server>,
    kubeconfig: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiServer {
    /// Starts one that has these pods.
    fn start(pods: &[Value]) -> Self {
        let list: Vec<u8> = pods.iter().flat_map(|pod| event("ADDED", pod)).chain(bookmark()).collect();
        let (tell, told) = channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let tokio =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio.block_on(async {
                let server = Server::start(move |seen| match seen.kind {
                    Kind::StreamedList => Answer::Open(list.clone()),
                    Kind::Watch | Kind::List | Kind::Events => Answer::Open(Vec::new()),
                });
                tell.send(server.await).expect("the test waits");
                let _ = stopped.await;
            });
        });
        let server = told.recv().expect("it starts");
        let kubeconfig = kubeconfig(&server);
        Self { server: Some(server), kubeconfig, stop: Some(stop), thread: Some(thread) }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it runs")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.server = None;
        self.stop.take().map(|stop| stop.send(()));
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn kubeconfig(server: &Server) -> PathBuf {
    let path = server.file("kubeconfig");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": {
            "server": format!("https://{}", server.address()), "certificate-authority": server.file("ca.crt") } }],
        "users": [{ "name": "u", "user": { "tokenFile": server.file("token") } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    // JSON is YAML.
    std::fs::write(&path, config.to_string()).expect("a file");
    path
}

fn event(kind: &str, object: &Value) -> Vec<u8> {
    format!("{}\n", json!({ "type": kind, "object": object })).into_bytes()
}

/// The end of a list that comes as a watch, as the server writes it.
fn bookmark() -> Vec<u8> {
    let annotations = json!({ "k8s.io/initial-events-end": "true" });
    let object = json!({ "kind": "Pod", "apiVersion": "v1", "spec": { "containers": null }, "status": {},
        "metadata": { "resourceVersion": "100", "annotations": annotations } });
    event("BOOKMARK", &object)
}

/// The API server's object of this pod, whose container is limited to so much.
fn object(pod: &Pod, container: &Container, limit: &str) -> Value {
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "uid": pod.uid, "namespace": pod.namespace, "name": pod.name, "resourceVersion": "90",
            "labels": { "pod-template-hash": "7d9c5b8f6d" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d9c5b8f6d",
                "uid": "r", "controller": true }],
        },
        "spec": { "nodeName": "node1", "containers": [{ "name": container.name, "image": "registry.example/web:1.2",
            "resources": { "requests": { "memory": "16Mi" }, "limits": { "memory": limit } } }] },
        "status": { "phase": "Running", "qosClass": "Burstable", "containerStatuses": [{
            "name": container.name, "containerID": format!("containerd://{}", container.id),
            "image": "registry.example/web:1.2", "restartCount": 4, "ready": true,
            "state": { "running": {} } }] },
    })
}

/// The report on a kill in this container, once its pod is named, and the revision in which it is.
fn report(agent: &mut Agent, container: &Container, named: bool) -> Value {
    let of = |line: &Line| {
        let owner = &line.value["victims"][0]["owner"];
        owner["container_id"] == container.id.as_str() && owner["pod"].is_string() == named
    };
    agent.read_until(Instant::now() + SOON, |lines| lines.iter().any(of)).expect("the agent goes on");
    let lines: Vec<_> = agent.lines.iter().filter(|line| of(line)).collect();
    assert_eq!(lines.len(), 1, "{:#?}", agent.lines);
    lines[0].value.clone()
}

fn check_named(report: &Value, pod: &Pod, container: &Container, revision: u64) {
    assert_eq!((&report["revision"], &report["kind"]), (&json!(revision), &json!("oom_kill")), "{report:#}");
    let owner = &report["victims"][0]["owner"];
    let names = json!([owner["namespace"], owner["pod"], owner["container"], owner["pod_uid"]]);
    assert_eq!(names, json!([pod.namespace, pod.name, container.name, pod.uid]), "{report:#}");
    let expected = json!({
        "role": "app",
        "workload": { "kind": "Deployment", "name": "web", "inferred": true },
        "image": "registry.example/web:1.2",
        "restart_count": 4,
        "memory_request_bytes": 16 * MIB,
        "memory_limit_bytes": owner["kubernetes"]["memory_limit_bytes"],
        "source": "kube",
        "stale_seconds": null,
    });
    assert_eq!(owner["kubernetes"], expected, "{report:#}");
    assert_eq!(report["limit"]["owner"]["pod"], pod.name, "{report:#}");
    assert_eq!(report["limit"]["limit_bytes"], container.limit_bytes, "{report:#}");
    let unresolved = report["unresolved"].as_array().expect("a list");
    assert!(unresolved.iter().all(|it| !it["field"].as_str().unwrap_or_default().ends_with("owner.pod")));
}

/// The only source of names in `/readyz?verbose`, once it is in this state.
fn index_once(agent: &Agent, state: &str) -> Value {
    let address = http::listening(agent.pid(), SOON).expect("it serves");
    let end = Instant::now() + SOON;
    loop {
        let answer = http::get(address, "/readyz?verbose").expect("it answers");
        let said: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, &said["ready"]), (200, &json!(true)), "{said}");
        let index = &said["pod_index"][0];
        if index["state"] == state {
            return index.clone();
        }
        assert!(Instant::now() < end, "{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Lets the agent write to the API server, and gives what is there.
fn written(api_server: &ApiServer) -> Arc<Mutex<Objects>> {
    let objects = Arc::new(Mutex::new(Objects::well(&["shop"])));
    let answering = Arc::clone(&objects);
    api_server
        .server()
        .answer_writes_by(move |wrote| answering.lock().expect("no test panicked").answer(wrote));
    objects
}

/// Waits for the pod's report with the exit of its container, and looks at it and at the pod's Events.
fn check_written(objects: &Mutex<Objects>, pod: &Pod, container: &Container, id: &Value) {
    let end = Instant::now() + SOON;
    // The line of the end may come first, and the next write rests for five seconds.
    let is_whole = |it: &Value| {
        let incident = &it["spec"]["containers"][0]["incidents"][0];
        incident["kind"] == "oom_kill" && incident["exit"]["code"].is_number()
    };
    let key = ("shop".to_owned(), pod.name.to_string());
    let object = loop {
        let object = objects.lock().expect("no test panicked").reports.get(&key).cloned();
        if let Some(object) = object.filter(is_whole) {
            break object;
        }
        assert!(Instant::now() < end, "{:#?}", objects.lock().expect("no test panicked").wrote);
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], pod.uid.as_str(), "{object:#}");
    let spec = &object["spec"];
    let seen = json!([
        spec["node"],
        spec["podUid"],
        spec["latest"]["container"],
        spec["latest"]["cause"],
        spec["latest"]["count"]
    ]);
    assert_eq!(seen, json!(["node1", pod.uid, container.name, "cgroup_oom", 1]), "{object:#}");
    let incident = &spec["containers"][0]["incidents"][0];
    let seen =
        json!([incident["id"], incident["kind"], incident["exit"]["code"], incident["exit"]["signal"]]);
    assert_eq!(seen, json!([id, "oom_kill", 137, "SIGKILL"]), "{object:#}");
    assert_eq!(incident["run"]["containerId"], container.id.as_str(), "{object:#}");
    assert_eq!(incident["limit"]["bytes"], container.limit_bytes, "{object:#}");
    let events = objects.lock().expect("no test panicked").events.clone();
    let events: Vec<_> =
        events.values().filter(|event| event["involvedObject"]["uid"] == pod.uid.as_str()).collect();
    let reasons: Vec<_> = events.iter().map(|event| &event["reason"]).collect();
    assert!(!events.is_empty() && events.iter().all(|event| event["count"] == 1), "{events:#?}");
    assert!(
        reasons.iter().all(|reason| reason.as_str().is_some_and(|it| it.starts_with("OOMKilled"))),
        "{reasons:?}"
    );
}

fn evidence(report: &Value) -> String {
    report["verdict"]["evidence"].to_string()
}

#[test]
fn the_api_servers_names_are_in_the_report_or_in_its_next_revision() {
    if skipped() {
        return;
    }
    cleanup::on_signals().expect("signals can be waited for");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let runtime = tokio.block_on(Runtime::start()).expect("containerd starts");
    let run = |name: &'static str| {
        let pod = tokio.block_on(Pod::run(&runtime, "shop", name, 64 * MIB)).expect("a pod");
        let container = tokio.block_on(pod.container("web", 0, 64 * MIB, Script::HogAsPid1));
        (pod, container.expect("a container"))
    };
    let [known, late, resized] = ["web-7d9c5b8f6d-a", "web-7d9c5b8f6d-b", "web-7d9c5b8f6d-c"].map(run);

    // The limit in the last one's spec differs from that of its cgroup.
    let api_server =
        ApiServer::start(&[object(&known.0, &known.1, "64Mi"), object(&resized.0, &resized.1, "96Mi")]);
    let crashtrace = Path::new(env!("CARGO_BIN_EXE_crashtrace"));
    let kubeconfig = api_server.kubeconfig.as_os_str();
    let more = [
        "--pods".as_ref(),
        "kube".as_ref(),
        "--node-name".as_ref(),
        "node1".as_ref(),
        "--metrics".as_ref(),
        "127.0.0.1:0".as_ref(),
        "--kube-reports".as_ref(),
        "--kube-events".as_ref(),
        "--kubeconfig".as_ref(),
        kubeconfig,
    ];
    let objects = written(&api_server);
    let mut agent = Agent::spawn_with(crashtrace, "tracepoint", Output::Json, &more).expect("it starts");
    agent.wait_started().expect("it watches");
    assert_eq!(agent.started["names_from"], json!(["kube"]));
    let requests = tokio.block_on(api_server.server().wait_for_requests(1, SOON));
    assert_eq!(requests[0].kind, Kind::StreamedList);
    let index = index_once(&agent, "synced");
    assert_eq!((&index["source"], &index["problem"]), (&json!("kube"), &Value::Null), "{index}");
    assert_eq!((&index["pods"], &index["containers"]), (&json!(2), &json!(2)), "{index}");
    assert!(index["age_seconds"].is_u64(), "{index}");

    // The API server has not told of this one: the line goes out, and once more when it has.
    late.1.go();
    let first = report(&mut agent, &late.1, false);
    assert_eq!(first["revision"], 1);
    assert_eq!(first["victims"][0]["owner"]["pod_uid"], late.0.uid.as_str());
    let unresolved = first["unresolved"].as_array().expect("a list");
    assert!(unresolved.iter().any(|it| it["field"] == "victims[0].owner.pod"), "{first:#}");
    api_server.server().send(event("ADDED", &object(&late.0, &late.1, "64Mi")));
    let second = report(&mut agent, &late.1, true);
    check_named(&second, &late.0, &late.1, 2);
    assert_eq!(second["id"], first["id"]);

    known.1.go();
    let named = report(&mut agent, &known.1, true);
    check_named(&named, &known.0, &known.1, 1);
    assert_eq!(named["limit"]["kubernetes_limit_bytes"], 64 * MIB);
    assert!(evidence(&named).contains("Kubernetes has the same limit of 64 MiB"), "{named:#}");
    let whose = format!("container web of pod shop/{} hit its ", known.0.name);
    let summary = named["verdict"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with(&whose) && summary.contains(" limit of 64 MiB"), "{named:#}");

    // What `kubectl` shows of both: the kill, and the end of the container that it brought about.
    for ((pod, container), id) in [(&known, &named["id"]), (&late, &first["id"])] {
        check_written(&objects, pod, container, id);
    }

    // The API server goes away: its pods are still known.
    api_server.server().break_streams();
    drop(api_server);
    resized.1.go();
    let named = report(&mut agent, &resized.1, true);
    check_named(&named, &resized.0, &resized.1, 1);
    assert_eq!(named["limit"]["kubernetes_limit_bytes"], 96 * MIB);
    assert!(evidence(&named).contains("Kubernetes has a limit of 96 MiB"), "{named:#}");
    assert!(evidence(&named).contains("but 64 MiB was in force"), "{named:#}");
    agent.stop().expect("it ends well");
}

/// A recorded pod, with other names and ids.
fn numbered((number, pod): (usize, &Value)) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["uid"] = json!(format!("{number:08x}-0d3e-4b6a-9c57-000000000000"));
    pod["metadata"]["name"] = json!(format!("pod-{number}"));
    for statuses in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        for status in pod["status"][statuses].as_array_mut().into_iter().flatten() {
            if let Some(id) = status["containerID"].as_str().and_then(|id| id.get(21..)) {
                status["containerID"] = json!(format!("containerd://{number:08x}{id}"));
            }
        }
    }
    pod
}

/// `CRASHTRACE_BIN=<a release build> cargo test -p crashtrace --test named -- --ignored --nocapture`: what an agent holds in
/// memory that knows 250 pods, the ring aside. Not of a debug build, whose code alone is larger.
#[test]
#[ignore = "of a release build, which CRASHTRACE_BIN names: `cargo xtask image --test`"]
fn memory_with_250_pods() {
    const MOST_KIB: u64 = 24 << 10;
    let crashtrace = std::env::var_os("CRASHTRACE_BIN").expect("CRASHTRACE_BIN names a release build");
    let list: Value =
        serde_json::from_str(include_str!("../fixtures/kubernetes/api/pods-list.json")).expect("a list");
    let recorded = list["items"].as_array().expect("pods");
    let pods: Vec<_> = recorded.iter().cycle().take(250).enumerate().map(numbered).collect();
    let api_server = ApiServer::start(&pods);
    let more = [
        "--pods".as_ref(),
        "kube".as_ref(),
        "--node-name".as_ref(),
        "node1".as_ref(),
        "--log".as_ref(),
        "info".as_ref(),
        "--kubeconfig".as_ref(),
        api_server.kubeconfig.as_os_str(),
    ];
    let mut agent =
        Agent::spawn_with(Path::new(&crashtrace), "tracepoint", Output::Json, &more).expect("it starts");
    agent.wait_started().expect("it watches");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio.block_on(api_server.server().wait_for_requests(1, SOON));
    // It has taken all of the list when its memory does not grow any more.
    let held = || held_kib(agent.pid());
    let (mut kib, mut times) = (held(), 0);
    while times < 10 {
        std::thread::sleep(Duration::from_millis(100));
        let now = held();
        times = if now == kib { times + 1 } else { 0 };
        kib = now;
    }
    println!("{kib} KiB resident but for the ring, with {} pods", pods.len());
    assert!(kib < MOST_KIB, "{kib} KiB");
    agent.stop().expect("it ends well");
}

/// Resident memory of a process but for maps of BPF, in KiB.
fn held_kib(pid: u32) -> u64 {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it runs");
    let (mut sum, mut counts) = (0, true);
    for line in smaps.lines() {
        // A mapping begins with its addresses.
        if line.split(' ').next().is_some_and(|word| word.contains('-')) {
            counts = !line.contains("bpf-map");
        } else if let Some(kib) = line.strip_prefix("Rss:").filter(|_| counts) {
            sum += kib.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number");
        }
    }
    sum
}
