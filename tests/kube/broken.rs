//! Connections that break, hang or babble.

use std::time::Duration;

use super::{LONG, Seen, degraded, first, is_degraded, is_synced, knows, options, recorded, synced, well};
use crashtrace::pods::kube::{Kube, LONGEST_OBJECT, Options, Problem};
use crashtrace_test_support::api_server::{Answer, Kind, Server};

/// A peer that is gone without a word, as after a network partition: TCP does not tell.
#[tokio::test]
async fn a_watch_that_falls_silent_is_made_anew() {
    let server = Server::start(well).await;
    let silence = Duration::from_secs(1);
    let kube = Kube::start(Options { silence, ..options(&server) });
    synced(&kube).await;
    // Bookmarks are signs of life.
    for bookmarks in 1..=4 {
        tokio::time::sleep(silence / 4).await;
        server.send(recorded!("watch/bookmark.jsonl"));
        kube.wait(LONG, |status| status.events == 17 + bookmarks).await.expect("a bookmark");
    }
    let quiet = kube.wait(LONG, |status| status.failures == 1).await.expect("silence");
    if let Some(problem) = quiet.problem {
        assert_eq!(problem, Problem::Quiet(silence));
    }
    let seen = server.wait_for_requests(2, LONG).await;
    assert_eq!((seen[1].kind, seen[1].version()), (Kind::Watch, "939"));
    assert_ne!(seen[1].connection, seen[0].connection, "the old connection is not trusted");
    knows(&kube);
}

/// A server that hangs: the index is as old as the server's last message, not as the moment when the silence was noticed.
#[tokio::test]
async fn a_server_that_hangs_is_out_of_step_as_soon_as_bookmarks_are_missing() {
    let server = Server::start(well).await;
    let silence = Duration::from_secs(2);
    let kube = Kube::start(Options { silence, grace: silence / 2, ..options(&server) });
    synced(&kube).await;
    server.answer_by(|_: &Seen| Answer::Never);
    let status = kube.wait(LONG, |status| status.failures == 1).await.expect("it is noticed");
    assert!(is_degraded(&status), "{status:?}");
    assert_eq!(status.problem, Some(Problem::Quiet(silence)));
    assert!(status.heard_age.is_some_and(|age| age >= silence), "{status:?}");
    knows(&kube);
}

/// A server that hangs before its first bookmark is out of step as soon as two are missing. A server that goes on after it may send
/// no bookmarks: its watches may be silent for longer.
#[tokio::test]
async fn a_watch_without_bookmarks_may_be_silent_for_longer() {
    let server = Server::start(|seen: &Seen| match seen.kind {
        Kind::StreamedList => super::json(422, recorded!("errors/422-sendinitialevents-without-match.json")),
        _ => well(seen),
    })
    .await;
    let silence_without_bookmarks = Duration::from_secs(2);
    let silence = Duration::from_millis(200);
    let grace = silence / 2;
    let kube = Kube::start(Options { silence, silence_without_bookmarks, grace, ..options(&server) });
    synced(&kube).await;
    let status = kube.wait(LONG, |status| status.failures == 1).await.expect("it is noticed");
    assert!(is_degraded(&status), "{status:?}");
    assert_eq!(status.problem, Some(Problem::Quiet(silence)));
    let status = kube.wait(LONG, |status| status.failures == 2).await.expect("it is noticed again");
    assert_eq!(status.problem, Some(Problem::Quiet(silence_without_bookmarks)));
}

/// Bytes that never make a line are no sign of life.
#[tokio::test]
async fn a_watch_that_drips_is_silent() {
    let server = Server::start(well).await;
    let kube = Kube::start(Options { silence: Duration::from_millis(500), ..options(&server) });
    synced(&kube).await;
    for _ in 0..100 {
        server.send(" ");
        if kube.wait(Duration::from_millis(50), |status| status.failures > 0).await.is_ok() {
            return;
        }
    }
    panic!("it is taken for alive: {:?}", kube.status());
}

#[tokio::test]
async fn a_request_without_an_answer_is_made_anew() {
    let server = Server::start(first(|| Answer::Never)).await;
    let answer_deadline = Duration::from_secs(1);
    let kube = Kube::start(Options { answer_deadline, ..options(&server) });
    let status = kube.wait(LONG, |status| status.failures > 0).await.expect("silence");
    if let Some(problem) = status.problem {
        assert_eq!(problem.to_string(), "the API server gives no answer within 1000 ms");
    }
    synced(&kube).await;
    let seen = server.seen();
    assert_ne!(seen[1].connection, seen[0].connection);
}

/// A listener that accepts and does nothing: TLS itself has no deadline.
#[tokio::test]
async fn a_port_that_says_nothing_is_given_up() {
    let server = Server::start(well).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut options = options(&server);
    if let crashtrace::pods::kube::Source::Pod { port, .. } = &mut options.source {
        *port = listener.local_addr().expect("an address").port().to_string();
    }
    let kube = Kube::start(Options { answer_deadline: Duration::from_millis(300), ..options });
    let said = degraded(&kube).await;
    assert_eq!(said, "the API server gives no answer within 300 ms");
}

#[tokio::test]
async fn a_connection_that_breaks_goes_on_where_it_was() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    server.break_streams();
    let status = kube.wait(LONG, |status| status.failures == 1).await.expect("a failure");
    if let Some(problem) = status.problem {
        assert!(problem.to_string().starts_with("the connection to the API server broke: "), "{problem}");
    }
    let seen = server.wait_for_requests(2, LONG).await;
    assert_eq!((seen[1].kind, seen[1].version()), (Kind::Watch, "422"));
    synced(&kube).await;
    knows(&kube);
}

/// In the middle of the first list: pods that came are known, and the list is requested again, from its beginning.
#[tokio::test]
async fn a_list_that_breaks_is_no_list() {
    let half = || {
        let all = recorded!("watch/first-list.jsonl");
        Answer::Open(all[..all.len() / 2].to_vec())
    };
    let server = Server::start(first(half)).await;
    let kube = Kube::start(options(&server));
    kube.wait(LONG, |status| status.pods > 0).await.expect("what comes is known at once");
    server.break_streams();
    kube.wait(LONG, |status| status.failures == 1).await.expect("a failure");
    synced(&kube).await;
    assert_eq!(server.kinds(), [Kind::StreamedList, Kind::StreamedList]);
    knows(&kube);
}

/// Answers that are not the API's: a proxy's page, a line without an end, half a line, no JSON at all.
#[tokio::test]
async fn babble_is_survived() {
    let page = b"<html>\x1b[2J<body>Bad gateway</body></html>\n".to_vec();
    let half = br#"{"type":"ADDED","object":{"metadata":{"uid":"#.to_vec();
    let endless =
        [br#"{"type":"ADDED","object":{"metadata":{"uid":""#, &*vec![b'x'; LONGEST_OBJECT as usize]].concat();
    for (body, wrong) in [
        (Vec::new(), "the watch ended before it had begun"),
        (page, "not an answer of the Kubernetes API: no event ("),
        (endless, "event of more than 33554432 bytes"),
        (half, "the answer ends in the middle"),
        (b"\xff\xfe\x00\n".to_vec(), "no event ("),
        (b"[[[[\n".to_vec(), "no event ("),
    ] {
        let server = Server::start(well).await;
        let kube = Kube::start(options(&server));
        synced(&kube).await;
        server.answer_by(move |_: &Seen| Answer::Closed(body.clone()));
        server.end_streams();
        let status = kube
            .wait(LONG, |status| {
                is_degraded(status) && status.reason().is_some_and(|said| said.contains(wrong))
            })
            .await
            .unwrap_or_else(|status| panic!("{wrong}: {status:?}"));
        let said = status.reason().expect("a reason");
        assert!(said.len() < 500 && !said.contains(char::is_control), "{said}");
        knows(&kube);
        server.answer_by(well);
        synced(&kube).await;
        knows(&kube);
    }
}

#[tokio::test]
async fn a_page_of_a_proxy_is_a_refusal_by_its_status() {
    let page = || Answer::Whole(502, "text/html", None, b"<html>Bad gateway</html>"[..].into());
    let server = Server::start(move |_| page()).await;
    let kube = Kube::start(options(&server));
    assert_eq!(degraded(&kube).await, "the API server refuses: 502 Bad Gateway");
    server.answer_by(|_| {
        Answer::Whole(404, "text/plain", None, recorded!("errors/404-unknown-path.txt").into())
    });
    let not_found =
        |problem: &Problem| problem.to_string() == "the API server refuses: 404 404 page not found";
    kube.wait(LONG, |status| status.problem.as_ref().is_some_and(not_found)).await.expect("another refusal");
    server.answer_by(well);
    synced(&kube).await;
}

/// One pod that cannot be read costs nothing but that pod.
#[tokio::test]
async fn objects_that_are_none_are_passed_over() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    for line in [
        r#"{"type":"ADDED","object":null}"#,
        r#"{"type":"MODIFIED","object":{"metadata":{"uid":7,"name":[]},"spec":{"containers":null}}}"#,
        r#"{"type":"DELETED","object":[1,2,3]}"#,
        r#"{"type":"SOMETHING NEW","object":{}}"#,
        r#"{"type":"BOOKMARK","object":{}}"#,
    ] {
        server.send(format!("{line}\n\n"));
    }
    server.send(recorded!("watch/a-life.jsonl"));
    let status = kube.wait(LONG, |status| status.events == 17 + 5 + 7).await.expect("all of it");
    assert!(is_synced(&status) && status.unreadable == 4, "{status:?}");
    assert_eq!(server.kinds(), [Kind::StreamedList]);
    knows(&kube);
}
