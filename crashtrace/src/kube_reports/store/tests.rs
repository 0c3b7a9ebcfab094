use super::*;
use crate::crash_report::ReportedExit;
use crate::kube_reports::event::tests::digest;
use crate::schema::{Cause, Kind};

fn pod(number: usize) -> PodId {
    PodId {
        namespace: "shop".to_owned(),
        name: format!("api-{number}"),
        uid: format!("{number:08x}-0000-4000-8000-000000000000"),
    }
}

fn kill(number: usize) -> Digest {
    let mut digest = digest(Cause::CgroupOom, Kind::OomKill);
    digest.container = Some("api".to_owned());
    digest.incident.id = format!("boot-{number:012}-0");
    digest.incident.time = format!("2026-11-30T10:{:02}:{:02}.000000000Z", number / 60 % 60, number % 60);
    digest
}

/// The line of the container's end that the kill brought about.
fn end_of(kill: &Digest, revision: u32) -> Digest {
    let mut end = kill.clone();
    end.kind = Kind::ContainerExit;
    end.incident.kind = "container_exit".to_owned();
    end.incident.summary = "the container ended".to_owned();
    end.incident.exit = Some(ReportedExit {
        id: Some(format!("{}-end", kill.incident.id)),
        revision: Some(revision),
        code: Some(137),
        status_reason: (revision > 1).then(|| "OOMKilled".to_owned()),
        ..ReportedExit::default()
    });
    end
}

fn object(store: &mut Store, pod: &PodId) -> CrashReportSpec {
    store.object(&pod.uid, "node-1", "uid-of-the-api").expect("it has an entry")
}

#[test]
fn the_latest_ten_incidents_are_kept_and_all_are_counted() {
    let (mut store, pod) = (Store::default(), pod(1));
    for number in 0..25 {
        assert!(store.take(&pod, &kill(number)));
    }
    let object = object(&mut store, &pod);
    let [container] = &object.containers[..] else { panic!("{object:?}") };
    assert_eq!(container.counts, BTreeMap::from([("cgroup_oom".to_owned(), 25)]));
    assert_eq!(container.since, kill(0).incident.time);
    let kept: Vec<_> = container.incidents.iter().map(|incident| &*incident.id).collect();
    let newest: Vec<_> = (15..25).rev().map(|number| kill(number).incident.id).collect();
    assert_eq!(kept, newest);
    assert_eq!((object.latest.count, &*object.latest.time), (25, &*kill(24).incident.time));
    assert_eq!((&*object.node, &*object.pod_uid, object.truncated), ("node-1", "uid-of-the-api", false));
}

#[test]
fn a_higher_revision_replaces_a_lower_one_and_moves_the_count() {
    let (mut store, pod) = (Store::default(), pod(1));
    let mut first = digest(Cause::Unknown, Kind::ContainerExit);
    assert!(store.take(&pod, &first));
    let mut second = first.clone();
    (second.incident.revision, second.incident.cause) = (2, "health_check".to_owned());
    second.incident.repeats = 2;
    assert!(store.take(&pod, &second));
    // Late, and again.
    assert!(!store.take(&pod, &second));
    assert!(!store.take(&pod, &first));
    first.incident.revision = 2;
    assert!(!store.take(&pod, &first));
    let object = object(&mut store, &pod);
    assert_eq!(object.containers[0].counts, BTreeMap::from([("health_check".to_owned(), 3)]));
    assert_eq!(object.containers[0].incidents.len(), 1);
}

#[test]
fn a_death_by_oom_is_one_incident_whichever_of_its_lines_comes_first() {
    let kill = kill(1);
    let [end, late] = [end_of(&kill, 1), end_of(&kill, 2)];
    for order in [[&kill, &end, &late], [&end, &kill, &late], [&end, &late, &kill]] {
        let (mut store, pod) = (Store::default(), pod(1));
        for digest in order {
            assert!(store.take(&pod, digest), "{digest:?}");
        }
        for digest in order {
            assert!(!store.take(&pod, digest), "again: {digest:?}");
        }
        let object = object(&mut store, &pod);
        let [incident] = &object.containers[0].incidents[..] else { panic!("{object:?}") };
        assert_eq!((&*incident.kind, &*incident.summary), ("oom_kill", &*kill.incident.summary));
        let exit = incident.exit.as_ref().expect("how it ended");
        assert_eq!((exit.code, exit.status_reason.as_deref()), (Some(137), Some("OOMKilled")));
        assert_eq!(object.containers[0].counts, BTreeMap::from([("cgroup_oom".to_owned(), 1)]));
    }
}

#[test]
fn what_an_earlier_session_wrote_goes_on() {
    let pod = pod(1);
    let mut before = Store::default();
    assert!((0..25).all(|number| before.take(&pod, &kill(number))));
    let earlier = object(&mut before, &pod);
    let mut store = Store::default();
    // One of the earlier ones is delivered again.
    assert!((24..28).all(|number| store.take(&pod, &kill(number))));
    assert!(!store.is_whole(&pod.uid));
    store.absorb(&pod.uid, "uid-of-the-api", Some(earlier.clone()));
    assert!(store.is_whole(&pod.uid));
    let together = object(&mut store, &pod);
    assert_eq!(together.containers[0].counts, BTreeMap::from([("cgroup_oom".to_owned(), 28)]));
    let ids: Vec<_> = together.containers[0].incidents.iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids, (18..28).rev().map(|number| kill(number).incident.id).collect::<Vec<_>>());
    assert_eq!(together.containers[0].since, kill(0).incident.time);
    // Of another pod of the same name nothing is taken over.
    let mut store = Store::default();
    store.take(&pod, &kill(30));
    store.absorb(&pod.uid, "another", Some(earlier));
    assert_eq!(object(&mut store, &pod).containers[0].counts.values().sum::<u64>(), 1);
}

#[test]
fn an_object_of_many_containers_with_long_words_fits() {
    let (mut store, pod) = (Store::default(), pod(1));
    for container in 0..12 {
        for number in 0..12 {
            let mut digest = kill(number);
            digest.container = Some(format!("container-{container}"));
            digest.incident.evidence = vec!["\u{1f980}\"".repeat(60); 8];
            store.take(&pod, &digest);
        }
    }
    let object = object(&mut store, &pod);
    assert!(object.truncated);
    assert!(json_bytes(&object) <= MAX_BYTES);
    assert_eq!(object.containers.len(), 12);
    for container in &object.containers {
        assert_eq!(container.incidents[0].id, kill(11).incident.id, "the newest stays");
        assert_eq!(container.counts["cgroup_oom"], 12);
    }
}

#[test]
fn memory_is_bounded_and_what_is_written_goes_first() {
    let mut store = Store::default();
    let mut long = kill(0);
    long.incident.evidence = vec!["x".repeat(500); 8];
    // One that was written, and can be read again.
    store.take(&pod(0), &long);
    store.absorb(&pod(0).uid, "u", None);
    store.object(&pod(0).uid, "n", "u").expect("an entry");
    for number in 1..3000 {
        store.take(&pod(number), &long);
        assert!(store.bytes() <= MAX_STORE_BYTES);
    }
    let mut has = |number| store.object(&pod(number).uid, "n", "u").is_some();
    assert!(!has(0));
    assert!(has(2999));
    assert!(store.left_out() > 0);
    for number in 0..3000 {
        store.forget(&pod(number).uid);
    }
    assert_eq!(store.bytes(), 0);
}

/// Each pod crashes every ten seconds; what a server would have is kept beside. Nothing but incidents of which there are too many is
/// left out, and no count.
#[test]
fn a_thousand_pods_in_crash_loops_for_ten_minutes_are_told_in_full_within_the_bounds() {
    use std::time::{Duration, Instant};

    use crate::kube_reports::{Next, Pace, Schedule};

    const PODS: usize = 1000;
    const ROUNDS: usize = 60;
    let (mut store, mut schedule) = (Store::default(), Schedule::new(Pace::default()));
    let mut server: BTreeMap<String, CrashReportSpec> = BTreeMap::new();
    let (mut now, mut writes, mut most_bytes) = (Instant::now(), 0, 0);
    let mut write = |store: &mut Store, uid: &String| {
        if !store.is_whole(uid) {
            store.absorb(uid, "u", server.get(uid).cloned());
        }
        let object = store.object(uid, "n", "u").expect("it has changed");
        assert!(json_bytes(&object) <= MAX_BYTES);
        server.insert(uid.clone(), object);
    };
    for round in 0..ROUNDS {
        for number in 0..PODS {
            let mut digest = kill(round * 10);
            digest.incident.id = format!("boot-{round}-{number}");
            digest.incident.evidence = vec!["a fact of some length, as they are".to_owned(); 6];
            assert!(store.take(&pod(number), &digest));
            schedule.changed(&pod(number).uid, now);
            most_bytes = most_bytes.max(store.bytes());
        }
        let next_round = now + Duration::from_secs(10);
        while now < next_round {
            match schedule.next(now) {
                Next::Write(uid) => {
                    write(&mut store, &uid);
                    writes += 1;
                }
                Next::At(at) => now = at.min(next_round),
                Next::Idle => now = next_round,
            }
        }
    }
    assert!(
        most_bytes <= MAX_STORE_BYTES && writes <= 20 + 2 * 10 * ROUNDS,
        "{most_bytes} bytes, {writes} writes"
    );
    // When it is over.
    loop {
        match schedule.next(now) {
            Next::Write(uid) => write(&mut store, &uid),
            Next::At(at) => now = at,
            Next::Idle => break,
        }
    }
    assert_eq!(server.len(), PODS);
    for (uid, object) in &server {
        let counts: Vec<_> = object.containers.iter().map(|report| &report.counts).collect();
        assert_eq!(counts, [&BTreeMap::from([("cgroup_oom".to_owned(), ROUNDS as u64)])], "{uid}");
        assert_eq!(object.latest.time, kill((ROUNDS - 1) * 10).incident.time, "{uid}");
    }
}
