//! Reports on pods and Events, as the agent writes them to the API server: what is there afterwards, and what refuses them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crashtrace::crash_report::{CrashReport, MAX_BYTES};
use crashtrace::kube_reports::{self, Counts, Object, Pace, Reports};
use crashtrace::pods::kube::Kube;
use crashtrace::schema::{Cause, Kind};
use crashtrace_test_support::api_server::Server;
use crashtrace_test_support::api_server::objects::Objects;

use self::line::{Of, end, kill, line};
use super::{LONG, UID, options, synced, well};

mod line;

const NAME: &str = "web-7d9c5b8f6d-x2v4k";
const WEB: Of = Of { namespace: "shop", pod: NAME, uid: UID, container: "web", is_static: false };

/// A server with the recorded pods and with objects, an agent's watch and its writer.
struct Cluster {
    server: Server,
    objects: Arc<Mutex<Objects>>,
    kube: Kube,
}

impl Cluster {
    async fn start(objects: Objects) -> Self {
        let server = Server::start(well).await;
        let objects = Arc::new(Mutex::new(objects));
        let answering = Arc::clone(&objects);
        server.answer_writes_by(move |wrote| lock(&answering).answer(wrote));
        let kube = Kube::start(options(&server));
        synced(&kube).await;
        Self { server, objects, kube }
    }

    async fn well() -> Self {
        Self::start(Objects::well(&["shop", "kube-system"])).await
    }

    /// A writer, as the agent starts it.
    fn agent(&self, session: &str) -> Reports {
        self.agent_that_rests(session, Duration::from_millis(50))
    }

    /// One that writes the same object after this time at the earliest.
    fn agent_that_rests(&self, session: &str, apart: Duration) -> Reports {
        let pace = Pace { apart, burst: 20, refill: Duration::from_millis(5) };
        let refused = Duration::from_millis(100);
        let kube = options(&self.server);
        let options = kube_reports::Options {
            reports: true,
            events: true,
            pace,
            refused,
            ..kube_reports::Options::new(kube, session)
        };
        let kube = self.kube.clone();
        let find = move |uid: &str| {
            let pod = kube.find_pod(uid)?;
            let [namespace, name, uid] = [&pod.namespace, &pod.name, &pod.uid].map(ToString::to_string);
            Some(kube_reports::Pod { namespace, name, uid })
        };
        Reports::start(options, Arc::new(find))
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        lock(&self.objects)
    }

    fn report(&self, namespace: &str, name: &str) -> CrashReport {
        let object = self.objects().reports.get(&(namespace.to_owned(), name.to_owned())).cloned();
        let object =
            object.unwrap_or_else(|| panic!("no report {namespace}/{name}: {:?}", self.objects().wrote));
        serde_json::from_value(object).expect("as the CRD has it")
    }
}

fn lock(objects: &Mutex<Objects>) -> MutexGuard<'_, Objects> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until nothing waits to be written and this holds of the counts of reports and Events.
async fn until(reports: &Reports, what: &str, holds: impl Fn(&[Counts; 2]) -> bool) -> [Counts; 2] {
    let end = Instant::now() + LONG;
    loop {
        let counts = reports.counts();
        if holds(&counts) {
            return counts;
        }
        assert!(Instant::now() < end, "{what}: {counts:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn written(reports: &Reports) -> [Counts; 2] {
    let done = |counts: &Counts| counts.waiting == 0 && counts.problem.is_none();
    until(reports, "written", |counts| counts.iter().all(done) && counts[0].written > 0).await
}

#[tokio::test]
async fn a_death_becomes_an_object_that_its_pod_owns_and_an_event() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    let oom = kill(&WEB, 1);
    agent.take(&line(oom.clone()));
    agent.take(&line(end(&WEB, 2, Some(&oom))));
    until(&agent, "both lines", |counts| {
        counts.iter().all(|counts| counts.waiting == 0) && counts[1].written > 0 && {
            let objects = cluster.objects();
            objects
                .reports
                .values()
                .any(|it| it["spec"]["containers"][0]["incidents"][0]["exit"]["code"] == 137)
        }
    })
    .await;
    let object = cluster.report("shop", NAME);
    let owner = &object.metadata.owner_references.as_ref().expect("owners")[0];
    assert_eq!((&*owner.kind, &*owner.name, &*owner.uid), ("Pod", NAME, UID));
    let spec = &object.spec;
    assert_eq!((&*spec.node, &*spec.pod_uid, spec.truncated), ("node1", UID, false));
    assert_eq!(
        (spec.latest.container.as_deref(), &*spec.latest.cause, spec.latest.count),
        (Some("web"), "cgroup_oom", 1)
    );
    let [container] = &spec.containers[..] else { panic!("{spec:?}") };
    let [incident] = &container.incidents[..] else { panic!("{container:?}") };
    assert_eq!(
        (&*incident.id, &*incident.kind, incident.level.as_deref()),
        (&*oom.id, "oom_kill", Some("container"))
    );
    assert_eq!(incident.limit.as_ref().and_then(|limit| limit.bytes), Some(64 << 20));
    assert_eq!(incident.run.as_ref().and_then(|run| run.restart_count), Some(3));
    let objects = cluster.objects();
    let [event] = &objects.events.values().collect::<Vec<_>>()[..] else { panic!("{:?}", objects.events) };
    assert_eq!((&event["reason"], &event["count"]), (&"OOMKilledContainerLimit".into(), &1.into()));
    assert_eq!(event["involvedObject"]["uid"], UID);
}

#[tokio::test]
async fn the_next_session_goes_on_with_the_counts_and_the_incidents() {
    let cluster = Cluster::well().await;
    let first = cluster.agent("first");
    for number in 0..12 {
        first.take(&line(kill(&WEB, number)));
    }
    until(&first, "twelve", |_| {
        cluster.objects().reports.values().any(|it| it["spec"]["latest"]["count"] == 12)
    })
    .await;
    drop(first);
    let second = cluster.agent("second");
    // The last one is delivered again.
    for number in 11..14 {
        second.take(&line(kill(&WEB, number)));
    }
    until(&second, "fourteen", |_| {
        cluster.objects().reports.values().any(|it| it["spec"]["latest"]["count"] == 14)
    })
    .await;
    let object = cluster.report("shop", NAME);
    let [container] = &object.spec.containers[..] else { panic!("{object:?}") };
    let ids: Vec<_> = container.incidents.iter().map(|it| it.id.clone()).collect();
    assert_eq!(ids, (4..14).rev().map(|number| kill(&WEB, number).id).collect::<Vec<_>>());
}

#[tokio::test]
async fn at_its_end_the_agent_writes_what_would_have_rested() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent_that_rests("session", Duration::from_hours(1));
    agent.take(&line(kill(&WEB, 1)));
    until(&agent, "the first", |counts| counts.iter().all(|counts| counts.written == 1)).await;
    agent.take(&line(kill(&WEB, 2)));
    assert!(agent.counts().iter().all(|counts| counts.waiting == 1), "{:?}", agent.counts());
    agent.finish(LONG).await;
    assert_eq!(cluster.report("shop", NAME).spec.latest.count, 2);
    assert_eq!(cluster.objects().events.values().next().expect("an Event")["count"], 2);
    // With nothing to write there is nothing to wait for.
    agent.finish(LONG).await;
    assert_eq!(cluster.objects().applies(), 2);
}

#[tokio::test]
async fn a_pod_that_was_deleted_a_moment_before_gets_no_object() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    let gone = Of {
        namespace: "shop",
        pod: "api-0",
        uid: "00000000-0000-4000-8000-000000000000",
        container: "c",
        is_static: false,
    };
    agent.take(&line(kill(&gone, 1)));
    until(&agent, "gone", |counts| counts.iter().all(|counts| counts.gone == 1 && counts.waiting == 0)).await;
    assert_eq!(cluster.objects().wrote.len(), 0);
}

#[tokio::test]
async fn of_a_static_pod_the_mirror_owns_the_object_and_events_have_its_hash() {
    const HASH: &str = "349ec37f55eed21f6a216e957a510f10";
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    let web = Of {
        namespace: "kube-system",
        pod: "static-web-node1",
        uid: HASH,
        container: "web",
        is_static: true,
    };
    agent.take(&line(kill(&web, 1)));
    until(&agent, "both", |counts| counts.iter().all(|counts| counts.written == 1)).await;
    let object = cluster.report("kube-system", "static-web-node1");
    let owners = object.metadata.owner_references.expect("owners");
    assert_eq!(owners[0].uid, "689bf48b-bbc3-41a6-9c9d-3803edd8723e");
    // As kubelet does it, and `kubectl describe` looks for it.
    assert_eq!(cluster.objects().events.values().next().expect("an Event")["involvedObject"]["uid"], HASH);
}

#[tokio::test]
async fn what_happens_outside_of_pods_is_an_event_of_the_node_and_no_object() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    agent.take(&line(line::of_host(1)));
    until(&agent, "the Event", |counts| counts[1].written == 1).await;
    let objects = cluster.objects();
    assert!(objects.reports.is_empty());
    let event = objects.events.values().next().expect("an Event");
    assert_eq!(
        (&event["involvedObject"]["kind"], &event["reason"]),
        (&"Node".into(), &"OOMKilledNode".into())
    );
}

#[tokio::test]
async fn nothing_is_lost_while_the_server_refuses_and_each_problem_is_said() {
    let cluster = Cluster::start(Objects { crd: false, ..Objects::well(&["shop"]) }).await;
    let agent = cluster.agent("session");
    let problem = |text: &'static str| {
        move |counts: &[Counts; 2]| counts[0].problem.as_deref().is_some_and(|it| it.contains(text))
    };
    agent.take(&line(kill(&WEB, 1)));
    until(&agent, "no CRD", problem("404")).await;
    agent.take(&line(kill(&WEB, 2)));
    {
        let mut objects = cluster.objects();
        (objects.crd, objects.allowed) = (true, false);
    }
    until(&agent, "no right", problem("cannot patch resource")).await;
    agent.take(&line(kill(&WEB, 3)));
    {
        let mut objects = cluster.objects();
        objects.allowed = true;
        objects.denied.insert(NAME.to_owned());
    }
    until(&agent, "a policy", problem("denied request")).await;
    // It refuses this object, and no other.
    let two = Of {
        namespace: "shop",
        pod: "two",
        uid: "eb030a48-bb34-4432-a0d9-4e7f82c7e0a2",
        container: "api",
        is_static: false,
    };
    agent.take(&line(kill(&two, 4)));
    until(&agent, "another pod", |_| cluster.objects().reports.len() == 1).await;
    {
        let mut objects = cluster.objects();
        objects.denied.clear();
        objects.conflicts = 1;
    }
    until(&agent, "all of them", |counts| {
        let whole =
            |it: &serde_json::Value| it["metadata"]["name"] == NAME && it["spec"]["latest"]["count"] == 3;
        counts[0].problem.is_none() && cluster.objects().reports.values().any(whole)
    })
    .await;
}

#[tokio::test]
async fn a_server_that_was_away_gets_all_that_came_meanwhile() {
    let mut cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    agent.take(&line(kill(&WEB, 1)));
    until(&agent, "written", |counts| counts.iter().all(|counts| counts.written == 1)).await;
    cluster.server.stop().await;
    for number in 2..6 {
        agent.take(&line(kill(&WEB, number)));
    }
    until(&agent, "trouble", |counts| counts[0].problem.is_some()).await;
    cluster.server.listen().await;
    until(&agent, "back", |_| {
        cluster.objects().reports.values().any(|it| it["spec"]["latest"]["count"] == 5)
    })
    .await;
    until(&agent, "the Event", |_| cluster.objects().events.values().any(|it| it["count"] == 5)).await;
}

#[tokio::test]
async fn an_event_that_is_not_there_as_thought_is_written_the_other_way() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    let counted = async |count: u64| {
        until(&agent, "counted", |_| cluster.objects().events.values().any(|it| it["count"] == count)).await;
        let sent: Vec<_> = std::mem::take(&mut cluster.objects().wrote);
        let sent = sent.into_iter().filter(|wrote| wrote.path.contains("/events")).map(|wrote| wrote.method);
        sent.collect::<Vec<_>>()
    };
    agent.take(&line(kill(&WEB, 1)));
    assert_eq!(counted(1).await, ["POST"]);
    // The server forgets Events after an hour.
    let forgotten = std::mem::take(&mut cluster.objects().events);
    agent.take(&line(kill(&WEB, 2)));
    assert_eq!(counted(2).await, ["PATCH", "POST"]);
    // The answer to its creation was lost: another agent of the same session names it the same.
    cluster.objects().events = forgotten;
    let agent = cluster.agent("session");
    agent.take(&line(kill(&WEB, 3)));
    agent.take(&line(kill(&WEB, 4)));
    until(&agent, "counted", |_| {
        cluster.objects().events.values().any(|it| it["lastTimestamp"] == "2026-11-30T10:00:04Z")
    })
    .await;
    assert_eq!(cluster.objects().events.len(), 1);
}

#[tokio::test]
async fn a_namespace_that_goes_takes_its_pods_objects_with_it() {
    let cluster = Cluster::well().await;
    cluster.objects().terminating.insert("shop".to_owned());
    let agent = cluster.agent("session");
    agent.take(&line(kill(&WEB, 1)));
    until(&agent, "gone", |counts| counts.iter().all(|counts| counts.gone == 1 && counts.waiting == 0)).await;
    assert!(cluster.objects().reports.is_empty() && cluster.objects().events.is_empty());
    assert!(agent.counts().iter().all(|counts| counts.problem.is_none()));
}

#[tokio::test]
async fn a_storm_in_all_pods_comes_together_and_each_object_is_whole() {
    const LINES: u32 = 40;
    let cluster =
        Cluster::start(Objects::well(&["shop", "default", "batch", "crashtrace", "kube-system"])).await;
    let agent = cluster.agent("session");
    let pods = line::recorded_pods();
    for number in 0..LINES {
        for pod in &pods {
            agent.take(&line(kill(pod, number)));
            tokio::task::yield_now().await;
        }
    }
    let count = |object: &serde_json::Value| object["spec"]["latest"]["count"] == LINES;
    until(&agent, "all", |_| cluster.objects().reports.values().filter(|it| count(it)).count() == pods.len())
        .await;
    let [reports, _] = written(&agent).await;
    let objects = cluster.objects();
    assert!(objects.applies() < 40 * pods.len() && reports.coalesced > 0, "{reports:?}");
    for object in objects.reports.values() {
        assert!(object["spec"].to_string().len() <= MAX_BYTES);
        assert_eq!(object["spec"]["containers"][0]["incidents"].as_array().map(Vec::len), Some(10));
    }
}

#[tokio::test]
async fn what_kubernetes_did_on_purpose_is_in_the_report_and_no_event() {
    let cluster = Cluster::well().await;
    let agent = cluster.agent("session");
    let mut stopped = end(&WEB, 1, None);
    (stopped.verdict.cause, stopped.kind) = (Cause::Stopped, Kind::ContainerExit);
    agent.take(&line(stopped));
    written(&agent).await;
    assert_eq!(cluster.report("shop", NAME).spec.latest.cause, "stopped");
    assert!(cluster.objects().events.is_empty());
}

#[tokio::test]
async fn doctor_says_what_keeps_reports_from_being_written() {
    let cluster = Cluster::start(Objects { crd: false, ..Objects::well(&["shop"]) }).await;
    let options = options(&cluster.server);
    let amiss = kube_reports::check(&options, Object::Report, LONG).await.expect_err("no CRD");
    assert_eq!(amiss.says, "the API server has no crashreports.crashtrace.dev");
    assert!(amiss.remedy.contains("kubectl apply"), "{amiss:?}");
    {
        let mut objects = cluster.objects();
        (objects.crd, objects.allowed) = (true, false);
    }
    let amiss = kube_reports::check(&options, Object::Report, LONG).await.expect_err("no right");
    assert_eq!(amiss.says, "no right to create crashreports in all namespaces");
    assert_eq!(kube_reports::check(&options, Object::Event, LONG).await, Ok(()));
    cluster.objects().allowed = true;
    assert_eq!(kube_reports::check(&options, Object::Report, LONG).await, Ok(()));
    assert_eq!(cluster.objects().wrote.len(), 0, "nothing is written");
}
