//! A server that is well.

use std::time::Duration;

use super::{CONTAINER, LONG, PODS, SHORT, is_synced, knows, options, recorded, synced, well};
use crashtrace::pods::kube::{Kube, Options, Source, State, check};
use crashtrace_test_support::api_server::{Answer, Kind, Server};

/// The pod of `a-life.jsonl`, and its container.
const SHORT_LIVED: &str = "5c8d5b59-de1c-4de8-a126-e1c7ea5f5b82";
const ITS_CONTAINER: &str = "8165c2a9a242291580cf0c5a3583ada1390431d8de7a8b12fa3f96207c05c599";

#[tokio::test]
async fn one_request_brings_the_pods_and_then_their_changes() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    assert_eq!(kube.status().state, State::Connecting, "it does not wait");
    assert_eq!(kube.find_container(CONTAINER), None);
    let status = synced(&kube).await;
    assert!(status.streams_lists && status.reason().is_none(), "{status:?}");
    assert_eq!((status.lists, status.watches, status.failures, status.unreadable), (0, 1, 0, 0));
    knows(&kube);
    let hash = kube.find_pod("349ec37f55eed21f6a216e957a510f10").expect("a static pod, by its hash");
    assert_eq!(&*hash.name, "static-web-node1");

    server.send(recorded!("watch/a-life.jsonl"));
    let all = kube.wait(LONG, |status| status.events == 17 + 7).await.expect("the changes");
    assert_eq!(all.pods, PODS, "the pod came and went");
    assert_eq!(
        all.received_bytes as usize,
        recorded!("watch/first-list.jsonl").len() + recorded!("watch/a-life.jsonl").len()
    );
    let found = kube.find_container(ITS_CONTAINER).expect("a report comes after a container's end");
    assert_eq!((&*found.pod.name, &*found.pod.uid), ("deleted-exits0", SHORT_LIVED));
    assert_eq!(server.kinds(), [Kind::StreamedList]);
    let asked = &server.seen()[0].query;
    assert_eq!(asked["resourceVersionMatch"], "NotOlderThan");
    let seconds: u32 = asked["timeoutSeconds"].parse().expect("a number");
    assert!((300..=600).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_line_may_come_in_chunks() {
    let server = Server::start(|_| Answer::Open(Vec::new())).await;
    let kube = Kube::start(options(&server));
    server.wait_for_requests(1, LONG).await;
    for piece in recorded!("watch/first-list.jsonl").chunks(1000) {
        server.send(piece.to_vec());
        tokio::task::yield_now().await;
    }
    synced(&kube).await;
    knows(&kube);
}

/// A server ends each watch at the time that the request set.
#[tokio::test]
async fn a_watch_that_ends_goes_on_where_it_was() {
    let server = Server::start(well).await;
    let second = Duration::from_secs(1);
    let kube = Kube::start(Options { watch_seconds: 1..=1, ..options(&server) });
    synced(&kube).await;
    server.send(recorded!("watch/bookmark.jsonl"));
    kube.wait(LONG, |status| status.events == 18).await.expect("the bookmark");
    for requests in 2..=4 {
        tokio::time::sleep(second).await;
        server.end_streams();
        server.wait_for_requests(requests, LONG).await;
    }
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch, Kind::Watch, Kind::Watch]);
    let seen = server.seen();
    assert!(seen[1..].iter().all(|seen| seen.version() == "939"), "from the bookmark: {seen:?}");
    assert!(seen.iter().all(|seen| seen.connection == 1), "on one connection: {seen:?}");
    let status = kube.wait(LONG, is_synced).await.expect("it is well");
    assert_eq!(status.failures, 0);
    knows(&kube);
}

#[tokio::test]
async fn a_watch_that_ends_early_goes_on_after_a_pause() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.end_streams();
    let seen = server.wait_for_requests(2, LONG).await;
    assert_eq!((seen[1].kind, seen[1].version()), (Kind::Watch, "422"));
    knows(&kube);
}

#[tokio::test]
async fn the_last_handle_takes_the_watch_with_it() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    let other = kube.clone();
    synced(&kube).await;
    drop(kube);
    knows(&other);
    server.send(recorded!("watch/bookmark.jsonl"));
    other.wait(LONG, |status| status.events == 18).await.expect("it goes on");
    drop(other);
    tokio::time::timeout(LONG, server.streams_closed()).await.expect("the client closes the stream");
    tokio::time::sleep(SHORT).await;
    assert_eq!(server.seen().len(), 1, "and sends no other request");
}

#[tokio::test]
async fn a_kubeconfig_will_do_as_well() {
    let server = Server::start(well).await;
    let path = server.file("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
         clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: ca.crt}}}}]\n\
         contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {{token: good-token}}}}]\n",
        server.address()
    );
    std::fs::write(&path, text).expect("a file");
    let kube = Kube::start(Options {
        source: Source::Kubeconfig { paths: vec![path], context: None },
        ..options(&server)
    });
    synced(&kube).await;
    knows(&kube);
}

#[tokio::test]
async fn a_check_uses_each_right_that_the_watch_needs() {
    let server = Server::start(well).await;
    let checked = check(&options(&server), LONG).await.expect("all is well");
    assert_eq!((checked.pods, checked.list_bytes), (PODS, recorded!("pods-list.json").len() as u64));
    assert_eq!(checked.server, format!("https://{}", server.address()));
    assert_eq!(server.kinds(), [Kind::List, Kind::Watch]);
}
