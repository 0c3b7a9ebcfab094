//! Servers that do not send lists as watches, and versions that are too old.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{LONG, PODS, json, knows, options, recorded, synced, well};
use crashtrace::pods::kube::{Kube, Options};
use crashtrace_test_support::api_server::{Answer, Kind, Seen, Server};

/// Before Kubernetes 1.27 the parameters are unknown, after it they may be turned off: 422.
fn old(seen: &Seen) -> Answer {
    match seen.kind {
        Kind::StreamedList => json(422, recorded!("errors/422-sendinitialevents-without-match.json")),
        _ => well(seen),
    }
}

#[tokio::test]
async fn a_refused_streamed_list_is_not_tried_again() {
    let server = Server::start(old).await;
    let kube = Kube::start(options(&server));
    let status = synced(&kube).await;
    assert!(!status.streams_lists, "{status:?}");
    knows(&kube);
    let seen = server.wait_for_requests(3, LONG).await;
    assert_eq!((seen[1].kind, seen[1].version()), (Kind::List, "0"));
    assert!(!seen[1].query.contains_key("limit"), "{seen:?}");
    assert_eq!(seen[2].kind, Kind::Watch);
    let version = list()["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    assert_eq!(seen[2].version(), version);
    // Another list is needed.
    server.send(recorded!("errors/410-watch-too-old.json"));
    server.wait_for_requests(5, LONG).await;
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::List, Kind::Watch, Kind::List, Kind::Watch]);
    assert_eq!(synced(&kube).await.failures, 0);
    knows(&kube);
}

/// So that an upgrade is noticed.
#[tokio::test]
async fn after_a_while_a_streamed_list_is_tried_again() {
    let server = Server::start(old).await;
    let kube = Kube::start(Options { plain_lists: Duration::ZERO, ..options(&server) });
    server.answer_by({
        let mut requests = 0;
        move |seen| {
            requests += 1;
            if requests == 1 { old(seen) } else { well(seen) }
        }
    });
    assert!(synced(&kube).await.streams_lists);
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::StreamedList]);
}

/// Older servers ignore unknown parameters, and send the pods as new, without an end.
#[tokio::test]
async fn a_streamed_list_that_never_ends_is_replaced_by_a_plain_one() {
    let endless = |bookmark: bool| {
        move |seen: &Seen| match seen.kind {
            Kind::StreamedList => {
                let all = recorded!("watch/first-list.jsonl");
                let end = all.iter().rposition(|byte| *byte == b'{').map(|_| last_line(&all)).expect("lines");
                let mut lines = all[..end].to_vec();
                if bookmark {
                    lines.extend(recorded!("watch/bookmark.jsonl"));
                }
                Answer::Open(lines)
            }
            _ => well(seen),
        }
    };
    for bookmark in [false, true] {
        let server = Server::start(endless(bookmark)).await;
        let wait = if bookmark { LONG } else { Duration::from_millis(500) };
        let kube = Kube::start(Options { list_deadline: wait, ..options(&server) });
        kube.wait(LONG, |status| status.pods == PODS).await.expect("what comes is known at once");
        synced(&kube).await;
        server.wait_for_requests(3, LONG).await;
        assert_eq!(server.kinds(), [Kind::StreamedList, Kind::List, Kind::Watch]);
        knows(&kube);
    }
}

fn last_line(lines: &[u8]) -> usize {
    let lines = lines.trim_ascii_end();
    lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn list() -> Value {
    serde_json::from_slice(&recorded!("pods-list.json")).expect("JSON")
}

/// The client does not request chunks (`limit`), but a server may send them.
#[tokio::test]
async fn a_list_in_pages_is_read_to_its_end() {
    let server = Server::start(|seen| match seen.kind {
        Kind::List => {
            let mut page = list();
            let items = page["items"].as_array_mut().expect("items");
            let second = seen.query.get("continue").map(String::as_str) == Some("next");
            if second {
                drop(items.drain(..10));
            } else {
                items.truncate(10);
            }
            if !second {
                page["metadata"]["continue"] = json!("next");
            }
            Answer::Whole(200, "application/json", None, Bytes::from(page.to_string()))
        }
        _ => old(seen),
    })
    .await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    knows(&kube);
    assert_eq!(server.kinds()[..3], [Kind::StreamedList, Kind::List, Kind::List]);
}

/// So does a server that was started anew answer even the newest version: HTTP 200, and one event.
#[tokio::test]
async fn a_version_that_is_too_old_brings_a_new_list() {
    let server = Server::start(|seen| match seen.kind {
        Kind::Watch => Answer::Closed(recorded!("errors/410-watch-resume-after-apiserver-restart.json")),
        _ => well(seen),
    })
    .await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.end_streams();
    server.wait_for_requests(3, LONG).await;
    assert_eq!(synced(&kube).await.failures, 0, "it is part of the way things go");
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch, Kind::StreamedList]);
    knows(&kube);
}

/// Or it says so before it begins: HTTP 410.
#[tokio::test]
async fn a_watch_that_is_refused_as_too_old_brings_a_new_list() {
    let server = Server::start(|seen| match seen.kind {
        Kind::Watch => json(410, recorded!("errors/410-list-exact-too-old.json")),
        _ => well(seen),
    })
    .await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.end_streams();
    server.wait_for_requests(3, LONG).await;
    assert_eq!(synced(&kube).await.failures, 0, "it is part of the way things go");
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch, Kind::StreamedList]);
    knows(&kube);
}

/// A pod that is missing in the new list is gone, and known for a while.
#[tokio::test]
async fn a_new_list_removes_pods_that_are_not_in_it() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.answer_by(|_| {
        let all = recorded!("watch/first-list.jsonl");
        Answer::Open(all[last_line(&all)..].to_vec())
    });
    server.send(recorded!("errors/410-watch-too-old.json"));
    kube.wait(LONG, |status| status.pods == 0).await.expect("an empty list");
    assert!(kube.find_pod(super::UID).is_some());
}

#[tokio::test]
async fn a_list_may_be_refused_as_too_old_as_well() {
    let mut lists = 0;
    let server = Server::start(move |seen| match seen.kind {
        Kind::List => {
            lists += 1;
            if lists == 1 { json(410, recorded!("errors/410-list-exact-too-old.json")) } else { well(seen) }
        }
        _ => old(seen),
    })
    .await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.wait_for_requests(4, LONG).await;
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::List, Kind::List, Kind::Watch]);
    knows(&kube);
}
