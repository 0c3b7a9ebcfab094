//! The Events of single pods: recorded ones, late, twice, of an earlier life, none, and each refusal.

use std::time::{Duration, Instant};

use crashtrace::names::{Events, PodEvent};
use crashtrace::pods::kube::{EventOptions, Kube, Options, check};
use crashtrace_test_support::api_server::{Answer, Kind, Seen, Server};

use super::{LONG, SHORT, json, knows, options, recorded, synced, well};

const POD: &str = "f9344945-0893-45b6-a750-d5a5c7360d54";
const STATIC: &str = "349ec37f55eed21f6a216e957a510f10";
const RUN: Option<&str> = Some("a");
const SECOND: Duration = Duration::from_secs(1);

/// Asks as a report does, until the answer is as wanted.
async fn until(kube: &Kube, uid: &str, wanted: impl Fn(&Events) -> bool) -> Events {
    let end = Instant::now() + LONG;
    loop {
        let events = kube.events("cases", uid, RUN);
        if wanted(&events) {
            return events;
        }
        assert!(Instant::now() < end, "it does not come: {events:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn known(kube: &Kube, uid: &str) -> Vec<PodEvent> {
    until(kube, uid, |events| events.missing.is_none()).await.list
}

/// The reason why they are not known.
async fn reason(kube: &Kube, wanted: &str) -> Events {
    until(kube, POD, |events| events.missing.as_deref().is_some_and(|it| it.contains(wanted))).await
}

fn recorded_events(_: &Seen) -> Answer {
    json(200, recorded!("events-list.json"))
}

/// One Event `Killing` of the pod, at this second of a minute, seen so often.
fn killing(name: &str, second: u32, count: u32) -> String {
    let time = format!("2026-11-22T08:21:{second:02}Z");
    format!(
        r#"{{"metadata":{{"name":"{name}"}},"involvedObject":{{"uid":"{POD}","fieldPath":"spec.containers{{c}}"}},"reason":"Killing","reportingComponent":"kubelet","message":"Stopping container c","count":{count},"firstTimestamp":"{time}","lastTimestamp":"{time}"}}"#
    )
}

/// As the API server words it for pods.
fn forbidden() -> Answer {
    let message = r#"events is forbidden: User \"system:serviceaccount:crashtrace:crashtrace\" cannot list resource \"events\" in API group \"\" in the namespace \"cases\""#;
    let status = format!(
        r#"{{"kind":"Status","status":"Failure","message":"{message}","reason":"Forbidden","code":403}}"#
    );
    json(403, status.into_bytes())
}

fn list(items: &[String], page: &str) -> Answer {
    let items = items.join(",");
    json(
        200,
        format!(r#"{{"kind":"EventList","metadata":{{"resourceVersion":"7","continue":"{page}"}},"items":[{items}]}}"#)
            .into_bytes(),
    )
}

/// The server does not select here, so the list has the Events of other pods: they are not taken.
#[tokio::test]
async fn recorded_events_are_those_of_the_pod_that_was_asked_about() {
    let server = Server::start(well).await;
    server.answer_events_by(recorded_events);
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    assert!(server.seen_events().is_empty(), "nobody has asked");
    let first = kube.events("cases", POD, RUN);
    assert!(first.soon && first.list.is_empty() && first.missing.is_some(), "{first:?}");
    let events = known(&kube, POD).await;
    let mut reasons: Vec<_> = events.iter().map(|it| (it.reason.as_str(), it.container.as_deref())).collect();
    reasons.sort_unstable();
    let c = Some("c");
    let expected =
        [("BackOff", c), ("Created", c), ("Killing", c), ("Pulled", c), ("Started", c), ("Unhealthy", c)];
    assert_eq!(reasons, expected);
    let seen = &server.seen_events()[0];
    assert_eq!((seen.kind, seen.path.as_str()), (Kind::Events, "/api/v1/namespaces/cases/events"));
    assert_eq!(seen.query["fieldSelector"], format!("involvedObject.uid={POD}"));
    assert_eq!(seen.query["limit"], "100");
    // A static pod's have its config hash.
    assert_eq!(known(&kube, STATIC).await.len(), 3);
    knows(&kube);
}

/// An Event comes after it was first asked for, and the same one is counted up; what is of an earlier life is a fact as well.
#[tokio::test]
async fn events_that_come_late_are_seen_while_they_may_come() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    assert!(known(&kube, POD).await.is_empty(), "none yet");
    assert!(kube.events("cases", POD, RUN).soon);
    server.answer_events_by(|_| {
        list(&[killing("old", 1, 1), killing("new", 30, 1), killing("new", 30, 1)], "")
    });
    let events = until(&kube, POD, |events| !events.list.is_empty()).await;
    assert_eq!(events.list.iter().filter(|it| it.last_s == events.list[0].last_s).count(), 1);
    assert_eq!(events.list.len(), 3, "as the server has them: {events:?}");
    server.answer_events_by(|_| list(&[killing("new", 40, 2)], ""));
    until(&kube, POD, |events| events.list.iter().any(|it| it.count == 2)).await;
}

#[tokio::test]
async fn after_its_time_a_pod_is_not_listed_any_more() {
    let server = Server::start(well).await;
    let events = EventOptions { soon: SHORT, again: Duration::from_millis(1), ..EventOptions::default() };
    let kube = Kube::start(Options { events, ..options(&server) });
    until(&kube, POD, |events| events.missing.is_none() && !events.soon).await;
    let before = server.seen_events().len();
    for _ in 0..20 {
        assert!(!kube.events("cases", POD, RUN).soon);
        tokio::time::sleep(SHORT / 20).await;
    }
    assert_eq!(server.seen_events().len(), before);
    // Another run of it is.
    assert!(kube.events("cases", POD, Some("b")).soon);
    let end = Instant::now() + LONG;
    while server.seen_events().len() == before {
        assert!(Instant::now() < end, "it is not listed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_list_in_pages_is_read_to_its_end_and_one_without_an_end_is_not() {
    let server = Server::start(well).await;
    server.answer_events_by(|seen| match seen.query.get("continue").map(String::as_str) {
        None => list(&[killing("one", 1, 1)], "more"),
        Some(_) => list(&[killing("two", 2, 1)], ""),
    });
    let kube = Kube::start(options(&server));
    assert_eq!(known(&kube, POD).await.len(), 2);
    server.answer_events_by(|_| list(&[killing("one", 1, 1)], "more"));
    let events = reason(&kube, "so many Events").await;
    assert_eq!(events.list.len(), 5, "what came is there: {events:?}");
}

#[tokio::test]
async fn without_the_right_it_is_named_and_not_asked_for_again_and_again() {
    let server = Server::start(well).await;
    server.answer_events_by(|_| forbidden());
    let kube = Kube::start(options(&server));
    synced(&kube).await;
    let events = until(&kube, POD, |events| events.missing.is_some() && !events.soon).await;
    let said = events.missing.expect("a reason");
    assert!(said.starts_with("the API server refuses the pod's Events: 403 events is forbidden"), "{said}");
    assert!(said.ends_with("; grant list on events"), "{said}");
    for _ in 0..20 {
        assert!(!kube.events("cases", POD, RUN).soon);
        tokio::time::sleep(SHORT / 20).await;
    }
    assert_eq!(server.seen_events().len(), 2, "once more, for a server that starts refuses for a moment");
    let status = kube.status();
    assert_eq!((status.reason(), status.events_problem), (None, Some(said)), "names are as good as ever");
    knows(&kube);
}

#[tokio::test]
async fn a_right_that_is_granted_later_is_used() {
    let server = Server::start(well).await;
    server.answer_events_by(|_| forbidden());
    let events = EventOptions { refused: SHORT, ..options(&server).events };
    let kube = Kube::start(Options { events, ..options(&server) });
    reason(&kube, "403").await;
    server.answer_events_by(recorded_events);
    assert!(!known(&kube, POD).await.is_empty());
    assert_eq!(kube.status().events_problem, None);
}

/// Flow control, a server that is overloaded, a path that is not there, a page that is too old: each is said, and tried again.
#[tokio::test]
async fn each_refusal_is_said_and_tried_again() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    for (code, words) in [
        (404, "404 Not Found"),
        (410, "410 Gone"),
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
        (504, "504 Gateway Timeout"),
    ] {
        server.answer_events_by(move |_| Answer::Whole(code, "text/html", None, "<html>".into()));
        reason_of_new(&kube, code, words).await;
    }
    server.answer_events_by(recorded_events);
    assert!(!known(&kube, POD).await.is_empty());
    knows(&kube);
}

/// For another run, so that what was known before is no answer.
async fn reason_of_new(kube: &Kube, code: u16, words: &str) {
    let (run, end) = (code.to_string(), Instant::now() + LONG);
    loop {
        let events = kube.events("cases", POD, Some(&run));
        if events.missing.as_deref().is_some_and(|it| it.contains(words)) {
            assert!(events.missing.is_some_and(|it| it.starts_with("the pod's Events: ")));
            return;
        }
        assert!(Instant::now() < end, "{words}: {events:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn after_too_many_requests_it_waits_as_long_as_the_server_wants() {
    let server = Server::start(well).await;
    let mut refused = false;
    server.answer_events_by(move |seen| {
        if std::mem::replace(&mut refused, true) {
            return recorded_events(seen);
        }
        Answer::Whole(
            429,
            "text/plain; charset=utf-8",
            Some("1"),
            recorded!("errors/429-watch-pods.txt").into(),
        )
    });
    let kube = Kube::start(options(&server));
    assert!(!known(&kube, POD).await.is_empty());
    let seen = server.seen_events();
    assert!(seen[1].at - seen[0].at >= SECOND, "{seen:?}");
}

/// Bodies that are no list of Events, and items that are too large.
#[tokio::test]
async fn garbage_is_no_list_without_events() {
    let server = Server::start(well).await;
    let kube = Kube::start(options(&server));
    for (run, (body, words)) in [
        ("{}", "without a resource version"),
        ("null\n", "no list"),
        ("<html>\u{1b}[2J", "JSON breaks off"),
        ("", "ends in the middle"),
        ("[]", "no list"),
        (r#"{"metadata":{"resourceVersion":"7"},"items":[{"#, "ends in the middle"),
    ]
    .into_iter()
    .enumerate()
    {
        server.answer_events_by(move |_| json(200, body.as_bytes().to_vec()));
        reason_of_new(&kube, u16::try_from(run).expect("a few"), words).await;
    }
    server.answer_events_by(|_| {
        let large = killing("large", 1, 1).replace("Stopping", &"\\u0001".repeat(1 << 20));
        list(&[large, killing("small", 2, 1), "7".to_owned()], "")
    });
    let events = known(&kube, POD).await;
    let messages: Vec<_> = events.iter().map(|it| it.message.len()).collect();
    assert!(messages.len() == 2 && messages.iter().all(|length| *length <= 512), "{messages:?}");
}

/// A server that hangs holds up nothing but Events.
#[tokio::test]
async fn a_list_that_hangs_is_given_up() {
    let server = Server::start(well).await;
    server.answer_events_by(|_| Answer::Never);
    let events = EventOptions { deadline: SHORT, ..options(&server).events };
    let kube = Kube::start(Options { events, ..options(&server) });
    reason(&kube, "gives no answer within 200 ms").await;
    synced(&kube).await;
    server.answer_events_by(|_| Answer::Open(br#"{"metadata":{"resourceVersion":"7"},"items":["#.to_vec()));
    until(&kube, POD, |_| server.seen_events().len() >= 3).await;
    server.answer_events_by(recorded_events);
    assert!(!known(&kube, POD).await.is_empty());
    knows(&kube);
}

#[tokio::test]
async fn a_check_says_that_the_right_is_missing_and_fails_for_nothing_else() {
    let server = Server::start(well).await;
    let checked = check(&options(&server), LONG).await.expect("all is well");
    assert_eq!(checked.no_events, None);
    server.answer_events_by(|_| forbidden());
    let checked = check(&options(&server), LONG).await.expect("names are there");
    let (why, remedy) = checked.no_events.expect("a reason");
    assert!(why.contains("403 events is forbidden") && remedy.contains("list on events"), "{why}: {remedy}");
    assert_eq!(checked.pods, super::PODS);
}
