use strum::VariantArray as _;

use super::*;

pub(crate) fn digest(cause: Cause, kind: Kind) -> Digest {
    let word =
        |value: serde_json::Result<Value>| value.expect("a word").as_str().unwrap_or_default().to_owned();
    Digest {
        pod: Some(PodId { namespace: "shop".to_owned(), name: "api".to_owned(), uid: "uid".to_owned() }),
        container: Some("api".to_owned()),
        cause,
        level: Some(Level::Container),
        startup_probe: false,
        kind,
        incident: ReportedIncident {
            id: "boot-1-0".to_owned(),
            revision: 1,
            time: "2026-11-30T10:00:00.123456789Z".to_owned(),
            kind: word(serde_json::to_value(kind)),
            cause: word(serde_json::to_value(cause)),
            certainty: "observed".to_owned(),
            summary: "container api hit its own limit".to_owned(),
            remedy: "Raise the limit.".to_owned(),
            ..ReportedIncident::default()
        },
    }
}

fn of(number: u32) -> Digest {
    let mut digest = digest(Cause::CgroupOom, Kind::OomKill);
    digest.incident.id = format!("boot-{number}-0");
    digest.incident.time = format!("2026-11-30T10:00:{number:02}.5Z");
    digest
}

#[test]
fn a_series_is_one_event_that_is_counted_up() {
    let mut book = EventBook::new("node-1", "session");
    let key = book.take(&of(1)).expect("an Event");
    let Some(Write::Create { path, body }) = book.write(&key) else { panic!("it is new") };
    assert_eq!(path, "/api/v1/namespaces/shop/events");
    assert_eq!(body["reason"], "OOMKilledContainerLimit");
    assert_eq!(body["message"], "container api hit its own limit. Raise the limit.");
    assert_eq!(body["involvedObject"]["fieldPath"], "spec.containers{api}");
    assert_eq!((&body["count"], &body["type"]), (&json!(1), &json!("Warning")));
    let name = body["metadata"]["name"].as_str().expect("a name").to_owned();
    book.there(&key, true);
    assert_eq!(
        (2..5).filter_map(|number| book.take(&of(number))).collect::<Vec<_>>(),
        [&key, &key, &key].map(Clone::clone)
    );
    let Some(Write::Count { path, body }) = book.write(&key) else { panic!("it is there") };
    assert_eq!(path, format!("/api/v1/namespaces/shop/events/{name}"));
    assert_eq!(body["count"], 4);
    assert_eq!(body["lastTimestamp"], "2026-11-30T10:00:04Z");
    // Events end after an hour: then it is made anew, and goes on counting.
    book.there(&key, false);
    let Some(Write::Create { body, .. }) = book.write(&key) else { panic!("it is gone") };
    assert_eq!((&body["count"], &body["firstTimestamp"]), (&json!(4), &json!("2026-11-30T10:00:01Z")));
}

#[test]
fn a_later_revision_changes_the_words_and_not_the_count() {
    let mut book = EventBook::new("node-1", "session");
    let key = book.take(&of(1)).expect("an Event");
    assert_eq!(book.take(&of(1)), None);
    let mut later = of(1);
    later.incident.summary = "container api of Deployment/api hit its own limit".to_owned();
    assert_eq!(book.take(&later), Some(key.clone()));
    let mut end = later.clone();
    end.incident.summary = "the container ended".to_owned();
    end.incident.exit =
        Some(crate::crash_report::ReportedExit { id: Some("e".to_owned()), ..Default::default() });
    assert_eq!(book.take(&end), None, "the kill's own line says more");
    let Some(Write::Create { body, .. }) = book.write(&key) else { panic!("it is new") };
    assert_eq!(body["count"], 1);
    assert!(body["message"].as_str().is_some_and(|text| text.starts_with("container api of Deployment/api")));
}

#[test]
fn what_happens_outside_of_pods_is_an_event_of_the_node() {
    let mut book = EventBook::new("node-1", "session");
    let node = Digest { pod: None, container: None, ..digest(Cause::SystemOom, Kind::OomKill) };
    let key = book.take(&node).expect("an Event");
    let Some(Write::Create { path, body }) = book.write(&key) else { panic!("it is new") };
    assert_eq!(path, "/api/v1/namespaces/default/events");
    assert_eq!(
        body["involvedObject"],
        json!({ "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "node-1" })
    );
    assert_eq!(body["reason"], "OOMKilledNode");
}

#[test]
fn each_cause_has_a_reason_of_its_own_but_what_kubernetes_did_on_purpose() {
    let reason = |cause| reason(&digest(cause, Kind::ContainerExit));
    let without: Vec<_> = Cause::VARIANTS.iter().filter(|cause| reason(**cause).is_none()).collect();
    assert_eq!(without, [&Cause::Stopped]);
    let mut all: Vec<_> = Cause::VARIANTS.iter().filter_map(|cause| reason(*cause)).collect();
    for reason in &all {
        assert!(reason.chars().all(|c| c.is_ascii_alphanumeric()) && reason.len() <= 128, "{reason}");
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), Cause::VARIANTS.len() - 1);
    let startup = Digest { startup_probe: true, ..digest(Cause::HealthCheck, Kind::ContainerExit) };
    assert_eq!(super::reason(&startup), Some("StartupProbeKilled"));
}

#[test]
fn a_note_is_cut_where_the_server_would_refuse_it() {
    let mut long = of(1);
    long.incident.summary = "\u{1f980}".repeat(700);
    long.incident.remedy = "y".repeat(700);
    let note = note(&long.incident);
    assert_eq!(note.chars().count(), MAX_NOTE_CHARS);
    assert!(note.ends_with('\u{2026}'));
}

#[test]
fn names_are_names_of_kubernetes_and_differ() {
    let of = |pod: &str, container: &str, session: &str| {
        let pod = PodId { namespace: "n".to_owned(), name: pod.to_owned(), uid: "u".to_owned() };
        let key = Key { pod: Some(pod), container: Some(container.to_owned()), reason: "R" };
        name(session, "node", &key)
    };
    let long = format!("{}-b", "a".repeat(250));
    let names = [of("p", "c", "s"), of("p", "d", "s"), of("p", "c", "t"), of(&long, "c", "s")];
    for name in &names {
        assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    }
    assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
}

#[test]
fn series_are_bounded() {
    let mut book = EventBook::new("node-1", "session");
    for number in 0..MAX_SERIES + 10 {
        let mut digest = of(1);
        digest.container = Some(format!("c{number}"));
        assert!(book.take(&digest).is_some());
    }
    assert_eq!(book.all.len(), MAX_SERIES);
    assert!(book.all.keys().all(|key| key.container.as_deref() != Some("c0")));
}
