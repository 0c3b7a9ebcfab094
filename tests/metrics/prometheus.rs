//! A Prometheus of the test's own, which scrapes by the job of `deploy/monitoring/scrape.yaml` and evaluates the alerts there.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cleanup;
use crate::http;

const START: Duration = Duration::from_mins(1);
const TICK: Duration = Duration::from_millis(100);

/// A file of `deploy/monitoring`.
pub(crate) fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name)
}

/// The text of one.
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).expect("it is there")
}

/// The same, parsed.
pub(crate) fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).expect("YAML")
}

/// A program of Prometheus: where `cargo xtask setup --tools` puts it, or installed.
fn program(name: &str) -> Command {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/prometheus/usr/bin").join(name);
    let mut command = if place.exists() { Command::new(place) } else { Command::new(name) };
    command.stdin(Stdio::null());
    command
}

const MISSING: &str = "Prometheus does not start: `cargo xtask setup --tools` fetches it";

/// Checks that promtool accepts this: the name of a file as its last argument, or its input.
pub(crate) fn pleases(arguments: &[&str], input: &str) {
    let mut promtool = program("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect(MISSING);
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("it reads all of it");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// A pod, as the discovery of pods would find it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    /// Label `app.kubernetes.io/name`.
    pub(crate) app: &'a str,
    pub(crate) node: &'a str,
}

/// A configuration with the job for these pods. They are given: Debian's Prometheus is built without the discovery of pods.
pub(crate) fn config(targets: &[Target<'_>]) -> String {
    let mut config = yaml("scrape.yaml");
    let rules = deployed("alerts.yaml").canonicalize().expect("it is there");
    config["global"] = json!({ "scrape_interval": "250ms", "evaluation_interval": "250ms" });
    config["rule_files"] = json!([rules]);
    let job = config["scrape_configs"][0].as_object_mut().expect("a job");
    job.remove("kubernetes_sd_configs").expect("it discovers pods");
    let pods = targets.iter().map(|Target { address, app, node }| {
        let labels = json!({
            "__meta_kubernetes_pod_label_app_kubernetes_io_name": app,
            "__meta_kubernetes_pod_container_port_name": "metrics",
            "__meta_kubernetes_pod_node_name": node,
        });
        json!({ "targets": [address], "labels": labels })
    });
    job.insert("static_configs".to_owned(), pods.collect());
    // JSON is YAML.
    config.to_string()
}

/// It.
#[derive(Debug)]
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these.
    pub(crate) fn start(targets: &[Target<'_>]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("prometheus.yaml");
        std::fs::write(&file, config(targets))?;
        let mut command = program("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.args(["--web.listen-address=127.0.0.1:0", "--log.level=warn"]);
        let mut known = cleanup::lock()?;
        let child = command.spawn().context(MISSING)?;
        known.processes.push(child.id());
        drop(known);
        let mut prometheus = Self { child, address: ([127, 0, 0, 1], 0).into(), _dir: dir };
        prometheus.address = http::listening(prometheus.child.id(), START)?;
        prometheus
            .wait("it is ready", |it| Ok((http::get(it.address, "/-/ready")?.status == 200).then_some(())))?;
        Ok(prometheus)
    }

    /// Sends a request to its API.
    pub(crate) fn ask(&self, path: &str) -> Result<Value> {
        let answer = http::get(self.address, path)?;
        let value: Value =
            serde_json::from_str(&answer.body).with_context(|| format!("no JSON: {}", answer.body))?;
        if value["status"] != "success" {
            bail!("{path}: {value}");
        }
        Ok(value["data"].clone())
    }

    /// The current result of a query: labels and values.
    pub(crate) fn query(&self, query: &str) -> Result<Vec<(Value, f64)>> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let data = self.ask(&format!("/api/v1/query?{query}"))?;
        let results = data["result"].as_array().context("a list of results")?;
        let sample = |it: &Value| {
            let value = it["value"][1].as_str()?.parse().ok()?;
            Some((it["metric"].clone(), value))
        };
        results.iter().map(|it| sample(it).with_context(|| format!("no sample: {it}"))).collect()
    }

    /// The one value of a query; `None` if there is none.
    pub(crate) fn value(&self, query: &str) -> Result<Option<f64>> {
        match self.query(query)?.as_slice() {
            [] => Ok(None),
            [(_, value)] => Ok(Some(*value)),
            more => bail!("{query}: {more:?}"),
        }
    }

    /// Waits until this gives a value.
    pub(crate) fn wait<T>(&self, what: &str, mut ask: impl FnMut(&Self) -> Result<Option<T>>) -> Result<T> {
        let end = Instant::now() + START;
        loop {
            match ask(self) {
                Ok(Some(it)) => return Ok(it),
                result if Instant::now() > end => {
                    bail!("waited in vain until {what}: {:?}", result.err());
                }
                _ => std::thread::sleep(TICK),
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Ok(mut known) = cleanup::lock() {
            known.processes.retain(|pid| *pid != self.child.id());
        }
        // It is a child, so this is its number still.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
