//! The watch of a node's pods, before the tests' own API server: over TLS, with recorded answers of a real one. The failures that
//! can occur there, and the known pods meanwhile.

use std::time::Duration;

use crashtrace::pods::kube::{EventOptions, Kube, Options, Pauses, Source, State, WatchStatus};

use crashtrace_test_support::api_server::{Answer, Kind, Seen, Server};

mod access;
mod broken;
mod events;
mod good;
mod lists;
mod log;
mod outage;
mod refusals;
mod reports;

/// For events that must come: a busy machine takes its time.
const LONG: Duration = Duration::from_mins(1);
/// For events that must not come.
const SHORT: Duration = Duration::from_millis(200);
/// Pods in the recorded lists.
const PODS: usize = 16;

/// One of them, and its container.
const UID: &str = "2227d2ac-729b-4912-87f5-14f1fda3ef9f";
const CONTAINER: &str = "0edac3e774496ee0cdb3f70ecd9bb84281d5767ac1a7c1a65677d66d7b15b397";

/// A recorded answer.
macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/kubernetes/api/", $name))
            .to_vec()
    };
}
pub(crate) use recorded;

/// As usual, but all times are short.
fn options(server: &Server) -> Options {
    let pauses = Pauses {
        first: Duration::from_millis(20),
        longest: Duration::from_millis(160),
        health: Duration::from_secs(1),
    };
    let address = server.address();
    let source = Source::Pod {
        host: address.ip().to_string(),
        port: address.port().to_string(),
        token: server.file("token"),
        ca: server.file("ca.crt"),
    };
    let events = EventOptions { again: Duration::from_millis(20), soon: LONG, ..EventOptions::default() };
    Options { pauses, events, grace: Duration::from_millis(300), ..Options::new("node1", source) }
}

/// A server that is well.
fn well(seen: &Seen) -> Answer {
    match seen.kind {
        Kind::StreamedList => Answer::Open(recorded!("watch/first-list.jsonl")),
        Kind::List => json(200, recorded!("pods-list.json")),
        Kind::Watch => Answer::Open(Vec::new()),
        Kind::Events => panic!("a list of Events has a script of its own"),
    }
}

fn json(status: u16, body: Vec<u8>) -> Answer {
    Answer::Whole(status, "application/json", None, body.into())
}

/// The first answer is this, those after it are well.
fn first(answer: impl FnOnce() -> Answer + Send + 'static) -> impl FnMut(&Seen) -> Answer + Send {
    let mut answer = Some(answer);
    move |seen| answer.take().map_or_else(|| well(seen), |answer| answer())
}

fn is_synced(status: &WatchStatus) -> bool {
    status.state == State::Synced && status.problem.is_none()
}

fn is_degraded(status: &WatchStatus) -> bool {
    matches!(status.state, State::Degraded { .. })
}

async fn synced(kube: &Kube) -> WatchStatus {
    kube.wait(LONG, is_synced).await.unwrap_or_else(|status| panic!("not in step: {status:?}"))
}

/// The reason why it is not well.
async fn degraded(kube: &Kube) -> String {
    let status =
        kube.wait(LONG, is_degraded).await.unwrap_or_else(|status| panic!("all is well: {status:?}"));
    status.reason().expect("a reason")
}

/// The pods are still known.
fn knows(kube: &Kube) {
    assert_eq!(kube.status().pods, PODS);
    let pod = kube.find_pod(UID).expect("the pod");
    assert_eq!(&*pod.name, "web-7d9c5b8f6d-x2v4k");
    let found = kube.find_container(CONTAINER).expect("its container");
    assert_eq!(found.pod, pod);
}
