//! The memory of the watch of pods while lists come that are far larger than their kept parts. One test alone in its
//! program, so that no other test allocates.

use std::time::Duration;

use bytes::Bytes;
use crashtrace::pods::kube::{Kube, Options, Source, State};
use peak_alloc::PeakAlloc;

use crashtrace_test_support::api_server::{Answer, Kind, Seen, Server};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const LONG: Duration = Duration::from_mins(2);
const PODS: usize = 50;
const MIB: usize = 1 << 20;

/// A pod as large as a database stores: labels, annotations and variables of the environment, and the kept fields after them.
fn pod(number: usize) -> String {
    let id = format!("{number:064x}");
    let label = "l".repeat(1000);
    let labels: Vec<_> = (0..400).map(|at| format!(r#""label-{at}":"{label}""#)).collect();
    let env: Vec<_> = (0..20_000).map(|at| format!(r#"{{"name":"VARIABLE_{at}","value":"{at}"}}"#)).collect();
    format!(
        r#"{{"metadata":{{"labels":{{{}}},"annotations":{{"large":"{}"}},"uid":"uid-{number}","namespace":"n","name":"p{number}","resourceVersion":"7"}},"spec":{{"containers":[{{"env":[{}],"name":"c"}}]}},"status":{{"containerStatuses":[{{"name":"c","containerID":"containerd://{id}"}}]}}}}"#,
        labels.join(","),
        "a".repeat(256 << 10),
        env.join(",")
    )
}

fn pieces(text: String) -> Vec<Bytes> {
    let mut left = Bytes::from(text);
    let mut pieces = Vec::new();
    while !left.is_empty() {
        pieces.push(left.split_to(left.len().min(16 << 10)));
    }
    pieces
}

#[tokio::test]
async fn a_list_of_any_size_takes_little_memory() {
    let pods: Vec<_> = (0..PODS).map(pod).collect();
    let items = pods.join(",");
    let list = format!(r#"{{"kind":"PodList","items":[{items}],"metadata":{{"resourceVersion":"7"}}}}"#);
    assert!(list.len() > 60 * MIB, "{}", list.len());
    let end = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null}}}"#;
    let added = pods.iter().map(|pod| format!(r#"{{"type":"ADDED","object":{pod}}}"#));
    let lines = added.chain([end.to_owned(), String::new()]).collect::<Vec<_>>().join("\n");
    drop((pods, items));
    for (streamed, body) in [(true, pieces(lines)), (false, pieces(list))] {
        let server = Server::start(move |seen: &Seen| match seen.kind {
            Kind::StreamedList if !streamed => Answer::Whole(422, "text/plain", None, Bytes::new()),
            _ => Answer::Open(Vec::new()),
        })
        .await;
        let address = server.address();
        let source = Source::Pod {
            host: address.ip().to_string(),
            port: address.port().to_string(),
            token: server.file("token"),
            ca: server.file("ca.crt"),
        };
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let kube = Kube::start(Options { list_deadline: LONG, ..Options::new("node1", source) });
        server.wait_for_requests(if streamed { 1 } else { 2 }, LONG).await;
        for piece in &body {
            server.send(piece.clone());
        }
        if !streamed {
            server.end_streams();
        }
        let status = kube.wait(LONG, |status| status.state == State::Synced).await;
        let status = status.unwrap_or_else(|status| panic!("not in step: {status:?}"));
        let peak = MEMORY.peak_usage() - before;
        println!("streamed {streamed}: {} bytes received, peak {peak}", status.received_bytes);
        assert_eq!((status.pods, status.containers, status.unreadable), (PODS, PODS, 0), "{status:?}");
        assert_eq!(kube.find_pod("uid-49").map(|pod| pod.name.to_string()).as_deref(), Some("p49"));
        assert!(status.received_bytes as usize > 60 * MIB, "{status:?}");
        // The server's own connection is in it.
        assert!(peak < 4 * MIB, "{peak} bytes for lists of which {} came", status.received_bytes);
    }
}
