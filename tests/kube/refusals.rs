//! A server that says no: for a moment, for long, and when to come back.

use std::time::Duration;

use super::{LONG, degraded, first, is_synced, json, knows, options, recorded, synced, well};
use crashtrace::pods::kube::{Kube, Options, check};
use crashtrace_test_support::api_server::{Answer, Kind, Server};

const SECOND: Duration = Duration::from_secs(1);

/// As flow control does it: not JSON, and a header.
#[tokio::test]
async fn after_too_many_requests_it_waits_as_long_as_the_server_wants() {
    let server = Server::start(first(|| {
        let body = recorded!("errors/429-watch-pods.txt").into();
        Answer::Whole(429, "text/plain; charset=utf-8", Some("1"), body)
    }))
    .await;
    let kube = Kube::start(options(&server));
    let refused = kube.wait(LONG, |status| status.failures == 1).await.expect("a refusal");
    let said = refused.problem.expect("a problem").to_string();
    assert_eq!(said, "the API server refuses: 429 Too many requests, please try again later.");
    synced(&kube).await;
    let seen = server.seen();
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::StreamedList]);
    assert!(seen[1].at - seen[0].at >= SECOND, "{seen:?}");
    assert_eq!(seen[1].connection, seen[0].connection, "the connection is good");
}

/// `retryAfterSeconds` in the body does as well; and the list that is known is not given up.
#[tokio::test]
async fn a_server_that_lags_behind_is_given_the_time_that_it_wants() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.answer_by(first(|| json(504, recorded!("errors/504-resourceversion-too-large.json"))));
    server.end_streams();
    let seen = server.wait_for_requests(3, LONG).await;
    assert!(seen[2].at - seen[1].at >= SECOND, "{seen:?}");
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch, Kind::Watch]);
    synced(&kube).await;
    knows(&kube);
}

/// A server that starts has not read yet which rights it is to grant.
#[tokio::test]
async fn a_refusal_of_a_moment_is_not_reported() {
    let server =
        Server::start(first(|| json(403, recorded!("errors/403-while-apiserver-starts.json")))).await;
    let kube = Kube::start(Options { grace: LONG, ..options(&server) });
    let status = kube
        .wait(LONG, |status| is_synced(status) || super::is_degraded(status))
        .await
        .expect("it is tried again at once");
    assert!(is_synced(&status), "{status:?}");
    assert_eq!((status.failures, server.seen().len()), (1, 2));
}

#[tokio::test]
async fn a_refusal_that_lasts_names_the_rights_that_lack() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.answer_by(|_| json(403, recorded!("errors/403-watch-pods.json")));
    server.end_streams();
    let said = degraded(&kube).await;
    assert_eq!(
        said,
        "the API server refuses: 403 pods is forbidden: User \"system:serviceaccount:crashtrace:crashtrace\" cannot watch \
         resource \"pods\" in API group \"\" at the cluster scope; grant list and watch on pods"
    );
    knows(&kube);
    assert!(
        kube.status().to_string().starts_with("out of step with the API server for "),
        "{}",
        kube.status()
    );
    server.answer_by(well);
    synced(&kube).await;
    let kinds = server.kinds();
    assert!(kinds[1..].iter().all(|kind| *kind == Kind::Watch), "a refusal costs no list: {kinds:?}");
    knows(&kube);
}

/// A server whose data is older than the known version: a version that is refused again and again is given up.
#[tokio::test]
async fn a_version_that_is_always_refused_is_given_up() {
    let server = Server::start(|seen| match seen.kind {
        Kind::Watch => json(500, recorded!("errors/500-watch-resourceversion-not-a-number.json")),
        _ => well(seen),
    })
    .await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.end_streams();
    server.wait_for_requests(5, LONG).await;
    let expected = [Kind::StreamedList, Kind::Watch, Kind::Watch, Kind::Watch, Kind::StreamedList];
    assert_eq!(server.kinds(), expected);
    synced(&kube).await;
    knows(&kube);
}

/// An event may say so, too.
#[tokio::test]
async fn an_error_in_a_watch_is_a_refusal() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.send(
        &br#"{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd is\u001b[2J gone"}}"#[..],
    );
    server.send("\n");
    let status = kube.wait(LONG, |status| status.failures == 1).await.expect("a failure");
    if let Some(problem) = status.problem {
        assert_eq!(problem.to_string(), "the API server refuses: 500 etcd is [2J gone");
    }
    server.wait_for_requests(2, LONG).await;
    synced(&kube).await;
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::Watch]);
}

#[tokio::test]
async fn a_check_tries_a_refusal_again_and_then_says_it() {
    let server =
        Server::start(first(|| json(403, recorded!("errors/403-while-apiserver-starts.json")))).await;
    check(&options(&server), LONG).await.expect("it was of a moment");
    server.answer_by(|seen| match seen.kind {
        Kind::Watch => json(403, recorded!("errors/403-watch-pods.json")),
        _ => well(seen),
    });
    let before = server.seen().len();
    let said = check(&options(&server), LONG).await.expect_err("it lasts").to_string();
    assert!(
        said.contains("cannot watch resource") && said.ends_with("grant list and watch on pods"),
        "{said}"
    );
    assert_eq!(server.seen().len(), before + 6);
    server.answer_by(|_| Answer::Never);
    let said = check(&options(&server), SECOND).await.expect_err("silence").to_string();
    assert_eq!(said, "the API server gives no answer within 1000 ms");
}
