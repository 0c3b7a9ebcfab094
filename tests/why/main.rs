//! `crashtrace why` as it is run: before the tests' own API server over TLS with a kubeconfig, and over lines of the stream.
//!
//! The reports are those of `tests/fixtures/report`, as an agent shortens them; statuses and Events have the form of recorded ones.
//! `CRASHTRACE_BLESS=1 cargo test -p crashtrace --test why` writes the expected texts anew; review the difference.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crashtrace_test_support::api_server::{Answer, Seen, Server};
use serde_json::{Value, json};

mod causes;
mod cluster;
mod lines;
mod refusals;
mod workloads;

const NAMESPACE: &str = "shop";
const POD: &str = "api-7f9c4d8b6-x2x7q";
const UID: &str = "b2f8a1c4-0d3e-4b6a-9c57-1e2f3a4b5c6d";
const CONTAINER_ID: &str = "3f2a9c0d1e4b5a69788796a5b4c3d2e1f00112233445566778899aabbccddeef";

fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures").join(path)
}

/// The command, with nothing of this process's environment that it would look at.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crashtrace"));
    command.arg("why").args(args);
    for name in ["CRASHTRACE_LOG", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent");
    command
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).expect("UTF-8")
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).expect("UTF-8")
}

/// The text without what depends on the time at which the test runs: `3 minutes ago`, `runs for 3 min 0 s,`.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut shown: Vec<&str> = Vec::new();
        for word in words {
            if word.trim_end_matches([',', ';', ':']) == "ago" {
                shown.truncate(shown.len().saturating_sub(2));
                shown.push("AGES");
            }
            shown.push(word);
        }
        steady.push_str(&shown.join(" "));
        steady.push('\n');
    }
    steady
}

/// Compares a text with the reviewed one.
fn reviewed(name: &str, text: &str) {
    let path = fixtures("why").join(format!("{name}.txt"));
    let got = steady(text);
    if std::env::var_os("CRASHTRACE_BLESS").is_some() {
        std::fs::write(&path, &got).expect("the fixtures can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("a fixture for each case");
    assert_eq!(got, expected, "{}", path.display());
}

/// A line of a reviewed report.
fn line(name: &str) -> Value {
    let text = std::fs::read(fixtures("report").join(format!("{name}.json"))).expect("a reviewed report");
    serde_json::from_slice(&text).expect("JSON")
}

/// What an agent writes of these lines: each the container's, and the later the older.
fn report(incidents: &[Value]) -> Value {
    let mut counts = serde_json::Map::new();
    for incident in incidents {
        let cause = incident["cause"].as_str().expect("a cause");
        let count = counts.get(cause).and_then(Value::as_u64).unwrap_or(0) + 1;
        counts.insert(cause.to_owned(), count.into());
    }
    let latest = &incidents[0];
    json!({
        "apiVersion": "crashtrace.dev/v1alpha1",
        "kind": "CrashReport",
        "metadata": { "name": POD, "namespace": NAMESPACE },
        "spec": {
            "node": "worker-3",
            "podUid": UID,
            "latest": {
                "container": "api", "cause": latest["cause"], "count": 1, "time": latest["time"], "summary": latest["summary"],
            },
            "containers": [{
                "name": "api", "counts": counts, "since": incidents[incidents.len() - 1]["time"], "incidents": incidents,
            }],
        },
    })
}

/// An incident, from a line or from the two of a death by OOM.
fn incident(line: &Value, end: Option<&Value>) -> Value {
    let owner = [end.unwrap_or(line), line]
        .into_iter()
        .map(|line| &line["exit"]["process"]["owner"])
        .chain([&line["victims"][0]["owner"], &line["trigger"]["owner"]])
        .find(|owner| owner.is_object())
        .expect("an owner");
    serde_json::to_value(crashtrace::crash_report::line::incident(line, end, owner)).expect("JSON")
}

/// The pod, with the status of its container.
fn pod(status: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": POD, "namespace": NAMESPACE, "uid": UID,
            "labels": { "app": "api", "pod-template-hash": "7f9c4d8b6" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "api-7f9c4d8b6", "uid": "1", "controller": true,
            }],
        },
        "spec": {
            "nodeName": "worker-3",
            "restartPolicy": "Always",
            "containers": [{
                "name": "api",
                "image": "registry.example/shop/api:1.4.2",
                "resources": { "limits": { "memory": "512Mi" } },
                "livenessProbe": { "httpGet": { "path": "/healthz", "port": 8080 } },
            }],
        },
        "status": { "phase": "Running", "containerStatuses": [status] },
    })
}

/// A container in its back-off, whose last run ended so.
fn crashed(reason: &str, code: i32, restarts: u32) -> Value {
    json!({
        "name": "api", "ready": false, "started": false, "restartCount": restarts, "image": "i", "imageID": "i",
        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container=api" } },
        "lastState": { "terminated": {
            "exitCode": code, "reason": reason, "startedAt": "2026-11-22T07:22:35Z", "finishedAt": "2026-11-22T07:23:15Z",
            "containerID": format!("containerd://{CONTAINER_ID}"),
        } },
    })
}

fn event(reason: &str, message: &str, first: &str, last: &str, count: u32) -> Value {
    json!({
        "metadata": { "name": format!("{POD}.{reason}"), "namespace": NAMESPACE },
        "involvedObject": { "kind": "Pod", "name": POD, "uid": UID, "fieldPath": "spec.containers{api}" },
        "reason": reason, "message": message, "count": count, "firstTimestamp": first, "lastTimestamp": last,
        "type": "Warning", "source": { "component": "kubelet" },
    })
}

fn answer(code: u16, body: &Value) -> Answer {
    Answer::Whole(code, "application/json", None, body.to_string().into_bytes().into())
}

/// A refusal, as the API server words it.
fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": details, "code": code,
    });
    answer(code, &body)
}

fn not_found(resource: &str, name: &str) -> Answer {
    let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
    let details = json!({ "name": name, "kind": kind, "group": group });
    status(404, "NotFound", &format!("{resource} \"{name}\" not found"), &details)
}

fn forbidden(verb: &str, resource: &str) -> Answer {
    let message = format!(
        "{resource} is forbidden: User \"dev\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"{NAMESPACE}\""
    );
    status(403, "Forbidden", &message, &json!({ "kind": resource }))
}

/// What the server has.
#[derive(Clone, Debug, Default)]
struct Cluster {
    pod: Value,
    report: Option<Value>,
    events: Vec<Value>,
    log: &'static str,
}

impl Cluster {
    fn answer(&self, seen: &Seen) -> Answer {
        let base = format!("/api/v1/namespaces/{NAMESPACE}");
        let path = seen.path.as_str();
        if path == format!("{base}/pods/{POD}") {
            return answer(200, &self.pod);
        }
        if path == format!("{base}/pods/{POD}/log") {
            assert_eq!((seen.query["container"].as_str(), seen.query["tailLines"].as_str()), ("api", "20"));
            return Answer::Whole(200, "text/plain", None, self.log.as_bytes().into());
        }
        if path == format!("{base}/events") {
            assert_eq!(seen.query["fieldSelector"], format!("involvedObject.uid={UID}"));
            return answer(
                200,
                &json!({ "kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": self.events }),
            );
        }
        if path == format!("/apis/crashtrace.dev/v1alpha1/namespaces/{NAMESPACE}/crashreports/{POD}") {
            return match &self.report {
                Some(report) => answer(200, report),
                None => not_found("crashreports.crashtrace.dev", POD),
            };
        }
        panic!("nothing else is asked: {path}");
    }
}

/// A server, and its kubeconfig.
async fn serve(script: impl FnMut(&Seen) -> Answer + Send + 'static) -> (Server, PathBuf) {
    let server = Server::start(|_| panic!("no agent asks here")).await;
    server.answer_all_by(script);
    let path = server.file("kubeconfig");
    std::fs::write(&path, kubeconfig(&server, "{token: good-token}")).expect("a file");
    (server, path)
}

fn kubeconfig(server: &Server, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: ca.crt}}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u, namespace: {NAMESPACE}}}}}]\n\
         users: [{{name: u, user: {user}}}]\n",
        server.address()
    )
}

/// Runs the command before this server.
async fn run(kubeconfig: &Path, args: &[&str]) -> Output {
    let mut command = command(args);
    command.arg("--kubeconfig").arg(kubeconfig);
    tokio::task::spawn_blocking(move || command.output().expect("the command runs")).await.expect("it ends")
}

/// The diagnosis of a cluster, as text and as JSON, and the exit code.
async fn diagnosed(cluster: Cluster) -> (String, Value, i32) {
    let (_server, path) = serve(move |seen| cluster.answer(seen)).await;
    let text = run(&path, &[POD]).await;
    assert_eq!(stderr(&text), "");
    let json = run(&path, &[&format!("{NAMESPACE}/{POD}"), "-o", "json"]).await;
    let value = serde_json::from_str(stdout(&json)).expect("one JSON object");
    assert_eq!(text.status, json.status);
    (stdout(&text).to_owned(), value, text.status.code().expect("a code"))
}
