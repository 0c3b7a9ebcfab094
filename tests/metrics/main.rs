//! `crashtrace watch --metrics`: the values that Debian's Prometheus has of a real agent, before which real processes are killed,
//! and the alerts of `deploy/monitoring` from them.
//!
//! Needs the same as `tests/live`, and Prometheus (`cargo xtask setup --tools`); `CRASHTRACE_SKIP_LIVE=1` leaves the kills out.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crashtrace_test_support::agent::{Agent, Line, Output};
use crashtrace_test_support::scenario_program::program;
use crashtrace_test_support::{cleanup, http, skipped};
use prometheus::{Prometheus, Target};

mod deploy;
mod output;
mod prometheus;

const CRASHTRACE: &str = env!("CARGO_BIN_EXE_crashtrace");
/// How long something may take on a busy machine.
const SOON: Duration = Duration::from_mins(3);

/// One at a time: the agent of one test would see the kills of another.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(address: SocketAddr, path: &str) -> (u16, Value) {
    let answer = http::get(address, path).expect("it answers");
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

/// Incidents, each once, by kind, cause and level.
fn counted(lines: &[Line]) -> BTreeMap<[String; 3], f64> {
    let mut counts = BTreeMap::new();
    for line in lines.iter().map(|line| &line.value).filter(|line| line["id"].is_string()) {
        let what = [&line["kind"], &line["verdict"]["cause"], &line["verdict"]["level"]];
        let what = what.map(|word| word.as_str().unwrap_or("none").to_owned());
        *counts.entry(what).or_default() += 1.0;
    }
    counts
}

/// The same from Prometheus.
fn scraped(prometheus: &Prometheus) -> anyhow::Result<BTreeMap<[String; 3], f64>> {
    let samples = prometheus.query("crashtrace_incidents_total > 0")?;
    let label = |labels: &Value, name| labels[name].as_str().unwrap_or_default().to_owned();
    let samples = samples
        .into_iter()
        .map(|(labels, count)| (["kind", "cause", "level"].map(|name| label(&labels, name)), count));
    Ok(samples.collect())
}

fn of_level(lines: &[Line], level: &str) -> bool {
    lines.iter().any(|line| line.value["kind"] == "oom_kill" && line.value["verdict"]["level"] == level)
}

/// Plays while clients of all kinds send requests without a pause. The number of answers.
fn play_under_siege(address: SocketAddr, mut scenario: Command) -> u64 {
    let (over, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let silent: Vec<_> = (0..64).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let output = std::thread::scope(|scope| {
        for path in ["/metrics", "/metrics", "/readyz", "/nothing"] {
            let (over, answers) = (&over, &answers);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // A connection that is closed to make room for others has no answer.
                    answers.fetch_add(u64::from(http::get(address, path).is_ok()), Ordering::Relaxed);
                }
            });
        }
        let output = scenario.output();
        over.store(true, Ordering::Relaxed);
        output.expect("it starts")
    });
    drop(silent);
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    answers.into_inner()
}

#[test]
fn prometheus_and_the_stream_agree() {
    let Some(mut scenario) = program() else { return };
    let _alone = alone();
    scenario.args(["run", "--crashtrace", CRASHTRACE, "--hooks", "tracepoint"]);
    scenario.args(["own_limit", "node_allocatable"]);
    cleanup::on_signals().expect("signals can be waited for");
    let nowhere = "/nonexistent/containerd.sock";
    let more = ["--pods", "cri", "--cri-socket", nowhere, "--metrics", "127.0.0.1:0"];
    let more = more.map(std::ffi::OsStr::new);
    let mut agent =
        Agent::spawn_with(Path::new(CRASHTRACE), "tracepoint", Output::Json, &more).expect("it starts");
    agent.wait_started().expect("it watches");
    let address = http::listening(agent.pid(), SOON).expect("it serves");

    // The names of pods are not available: it is ready, and says so.
    let (status, health) = ask(address, "/healthz");
    assert_eq!((status, &health["alive"]), (200, &json!(true)), "{health}");
    let (status, short) = ask(address, "/readyz");
    assert_eq!((status, &short), (200, &json!({ "ready": true, "why": null })));
    let (status, readiness) = ask(address, "/readyz?verbose");
    assert_eq!((status, &readiness["ready"]), (200, &json!(true)), "{readiness}");
    assert_eq!(readiness["hooks"]["in_place"], agent.started["hooks"]);
    let blind = agent.started["blind"].as_array().expect("a list").len();
    assert_eq!(readiness["hooks"]["blind_spots"], blind);
    let index = &readiness["pod_index"][0];
    assert_eq!((&index["source"], &index["state"]), (&json!("cri"), &json!("degraded")), "{readiness}");
    assert!(index["problem"].as_str().is_some_and(|it| it.contains(nowhere)), "{readiness}");

    // The older format; Prometheus requests the newer one.
    let answer = http::get(address, "/metrics").expect("it answers");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    prometheus::pleases(&["check", "metrics"], &answer.body);

    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = Target { address: other.local_addr().expect("an address"), app: "other", node: "n2" };
    let prometheus = Prometheus::start(&[Target { address, app: "crashtrace", node: "n1" }, other]);
    let prometheus = prometheus.expect("it starts");
    let is = |query: &str, value: f64| {
        prometheus
            .wait(&format!("{query} is {value}"), |it| Ok((it.value(query)? == Some(value)).then_some(())))
    };
    is("up{job=\"crashtrace\",node=\"n1\"}", 1.0).expect("it scrapes the agent");
    is("count(up)", 1.0).expect("and no other pod");
    is("crashtrace_ready{node=\"n1\"}", 1.0).expect("as /readyz");
    is("crashtrace_pod_index_synced{source=\"cri\"}", 0.0).expect("as /readyz");
    is("crashtrace_blind_spots", blind as f64).expect("as the stream");
    is("crashtrace_hooks_info{tier=\"raw_tp\"}", 1.0).expect("as it was told");
    // They exist before anything has happened: Prometheus sees a rise only between two samples.
    let all = prometheus.query("crashtrace_incidents_total").expect("an answer");
    assert_eq!(all.len(), crashtrace::metrics::incidents::expected().len(), "{all:?}");

    let answers = play_under_siege(address, scenario);
    assert!(answers > 50, "only {answers}");
    let both = |lines: &[Line]| of_level(lines, "container") && of_level(lines, "node_allocatable");
    agent.read_until(Instant::now() + SOON, both).expect("the agent goes on");
    assert!(both(&agent.lines), "{:#?}", agent.lines);

    // Other users of the machine have their own kills: it counts that both have the same.
    let same = prometheus.wait("both have the same incidents", |it| {
        agent.read_until(Instant::now(), |_| false)?;
        let (told, scraped) = (counted(&agent.lines), scraped(it)?);
        anyhow::ensure!(told == scraped, "{told:?} {scraped:?}");
        Ok(Some(told))
    });
    let same = same.expect("the same");
    let kills = agent.lines.iter().filter(|line| line.value["kind"] == "oom_kill");
    let now_ns = crashtrace_test_support::clock::boottime_ns();
    let latest = kills.map(|line| now_ns - line.value["ktime_ns"].as_u64().expect("a time"));
    let latest_seconds = Duration::from_nanos(latest.sum()).as_secs_f64();
    let count: f64 = same.iter().filter(|(what, _)| what[0] == "oom_kill").map(|(_, count)| count).sum();
    // Folded kills have no latency: other tests may have a storm of kills here.
    let folded = agent.lines.iter().filter(|line| line.value["repeats"].as_u64().is_some_and(|it| it > 0));
    let count = count - folded.filter(|line| line.value["kind"] == "oom_kill").count() as f64;
    is("crashtrace_report_latency_seconds_count{kind=\"oom_kill\"}", count).expect("each kill's");
    // A line is written before it is read, and after the kill.
    let sum =
        prometheus.value("crashtrace_report_latency_seconds_sum{kind=\"oom_kill\"}").expect("an answer");
    let possible = sum.is_some_and(|sum| sum > 0.0 && sum < latest_seconds);
    assert!(possible, "{sum:?} s, and {latest_seconds} s ago they happened");
    let last = agent.lines.last().map_or(&Value::Null, |line| &line.value);
    is("crashtrace_lines_written_total", last["seq"].as_f64().expect("a number")).expect("each line");
    is("sum(crashtrace_lost_total)", last["lost"].as_f64().expect("a number")).expect("as the stream");

    // The effect of a cgroup of all pods on the alerts.
    prometheus
        .wait("the alert is sent", |it| {
            let alerts = it.ask("/api/v1/alerts")?;
            let fires = |alert: &&Value| {
                alert["labels"]["alertname"] == "CrashtracePodsHitNodeAllocatable"
                    && alert["state"] == "firing"
            };
            let alert = alerts["alerts"].as_array().and_then(|alerts| alerts.iter().find(fires).cloned());
            Ok(alert.filter(|alert| alert["labels"]["node"] == "n1"))
        })
        .expect("it fires");
    let rules = prometheus.ask("/api/v1/rules").expect("an answer");
    let rules = rules["groups"].as_array().expect("groups").iter();
    let broken: Vec<_> = rules
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .filter(|rule| rule["health"] != "ok")
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");

    for query in deploy::queries() {
        let result = prometheus.query(&deploy::as_sent(&query)).expect("a query that Prometheus understands");
        // Of a runtime that was never heard there is no age.
        let nothing = query.contains("crashtrace_pod_index_age_seconds");
        assert_eq!(result.is_empty(), nothing, "{query}: {result:?}");
    }
    agent.stop().expect("it ends well");
    is("up{job=\"crashtrace\"}", 0.0).expect("the target is down");
}

#[test]
fn an_address_that_is_taken_is_an_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = Command::new(CRASHTRACE).args(["watch", "--metrics", &address]).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()), "{stderr}");
    assert!(stderr.contains(&address) && stderr.contains("give another port with --metrics"), "{stderr}");
}
