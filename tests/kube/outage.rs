//! A server that is away for a while: the known pods meanwhile, and how often requests are sent.

use std::time::{Duration, Instant};

use super::{LONG, degraded, json, knows, options, recorded, synced, well};
use crashtrace::pods::kube::Kube;
use crashtrace_test_support::api_server::{Answer, Kind, Seen, Server};

/// As a control plane of one node is upgraded: told to stop it refuses connections, and ends its watches a minute later;
/// while it is away connections are refused; started anew it refuses those that come too early, and then every old version.
#[tokio::test]
async fn a_server_that_is_started_anew_is_found_again() {
    let mut server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.refuse().await;
    server.send(recorded!("watch/bookmark.jsonl"));
    kube.wait(LONG, |status| status.events == 18).await.expect("the watch lives");
    server.end_streams();
    let said = degraded(&kube).await;
    let expected = format!(
        "cannot connect to the API server https://{}: Connection refused (os error 111)",
        server.address()
    );
    assert_eq!(said, expected);
    knows(&kube);

    server.stop().await;
    let mut requests = 0;
    server.answer_by(move |seen| {
        requests += 1;
        match seen.kind {
            _ if requests == 1 => json(403, recorded!("errors/403-while-apiserver-starts.json")),
            Kind::Watch => Answer::Closed(recorded!("errors/410-watch-resume-after-apiserver-restart.json")),
            _ => well(seen),
        }
    });
    server.listen().await;
    synced(&kube).await;
    knows(&kube);
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch, Kind::Watch, Kind::StreamedList]);
}

/// As where a node is up before its control plane.
#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = Server::start(well).await;
    server.stop().await;
    let kube = Kube::start(options(&server));
    let said = degraded(&kube).await;
    assert!(said.starts_with("cannot connect to the API server https://127.0.0.1:"), "{said}");
    server.listen().await;
    synced(&kube).await;
    knows(&kube);
    assert_eq!(server.kinds(), [Kind::StreamedList]);
}

/// The numbers of many agents over minutes are in the unit tests of the pauses. This checks the agent against them: it sends one
/// request for each pause, and no others.
#[tokio::test]
async fn each_pause_is_followed_by_one_request() {
    const REFUSALS: usize = 40;
    let overloaded = |_: &Seen| Answer::Whole(503, "text/plain", None, "overloaded".into());
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    let begun = Instant::now();
    server.answer_by(overloaded);
    server.break_streams();
    let seen = server.wait_for_requests(1 + REFUSALS, LONG).await;
    let took = seen[REFUSALS].at - begun;
    // Pauses are half of 160 ms in the mean. That 40 of them are shorter than a second together is not to be lived to see.
    assert!(took > Duration::from_secs(1), "{took:?}");
    let lists = seen[1..].iter().filter(|seen| seen.kind != Kind::Watch).count();
    assert_eq!(seen[1..4].iter().filter(|seen| seen.kind == Kind::Watch).count(), 3, "{seen:?}");
    assert_eq!(lists, REFUSALS - 3, "then the version is given up");
    server.answer_by(well);
    let status = synced(&kube).await;
    assert_eq!(status.requests(), status.failures + 1, "the break, the refusals, and the two that went well");
    assert_eq!(server.seen().len() as u64, status.requests(), "no other client sends requests");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.seen().len() as u64, status.requests(), "and all is quiet again");
}
