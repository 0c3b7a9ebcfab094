use std::time::Duration;

use super::*;
use crate::names::{MemoryBounds, PodEvent, Workload};
use crate::pods::cri::{CriContainer, CriSandbox, CriState};
use crate::pods::kube;
use crate::pods::life;
use crate::pods::names::tests::status;
use crate::pods::pod::{Container, ContainerKind, MemoryMounts};
use crate::schema::ContainerRole;

mod static_pods;

const ID: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const WHO: Who<'static> = Who { pod_uid: "u", container_id: Some(ID), qos: None };
const POD: Who<'static> = Who { pod_uid: "u", container_id: None, qos: None };

fn pod() -> Arc<Pod> {
    let container = Container {
        memory_mounts: MemoryMounts::default(),
        name: "api".into(),
        kind: ContainerKind::Sidecar,
        id: Some(ID.into()),
        last_id: None,
        image: Some("api:1".into()),
        restart_count: Some(7),
        memory: MemoryBounds { limit_bytes: Some(1 << 26), ..MemoryBounds::default() },
        life: life::OfContainer::default(),
    };
    Arc::new(Pod {
        shares_pids: false,
        memory_volumes: Box::default(),
        uid: "u".into(),
        config_hash: None,
        namespace: "shop".into(),
        name: "api-0".into(),
        workload: Some(Workload { kind: "StatefulSet".into(), name: "api".into(), inferred: false }),
        qos: None,
        life: life::OfPod::default(),
        memory: MemoryBounds::default(),
        containers: [container].into(),
    })
}

fn watched(container: bool, pod_known: bool) -> Watched {
    let found =
        IndexedContainer { pod: pod(), container: 0, current: false, restart_count: Some(3), ended: None };
    Watched {
        container: container.then_some(found),
        pod: pod_known.then(pod),
        stale_seconds: None,
        reason: "the API server has not told of it".into(),
        soon: true,
        later: false,
    }
}

fn container(name: &str) -> Asked {
    let container = CriContainer {
        id: ID.into(),
        name: Some(name.into()),
        attempt: Some(4),
        image: Some("sha256:1".into()),
        pod_uid: Some("u".into()),
        namespace: Some("shop".into()),
        pod_name: Some("api-0".into()),
        sandbox_id: None,
        created_unix_ns: None,
        state: CriState::Exited,
    };
    Asked { found: Some(Listed::Container(Arc::new(container))), ..Asked::default() }
}

fn sandbox() -> Asked {
    let sandbox = CriSandbox {
        id: ID.into(),
        pod_uid: Some("u".into()),
        namespace: Some("shop".into()),
        pod_name: Some("api-0".into()),
        attempt: 0,
        ready: true,
        created_unix_ns: None,
    };
    Asked { found: Some(Listed::Sandbox(Arc::new(sandbox))), ..Asked::default() }
}

fn not_listed() -> Asked {
    Asked { found: None, reason: "the container runtime does not list it".into(), soon: false }
}

fn put(who: Who<'_>, watched: Option<Watched>, listed: Option<Asked>) -> Answer {
    Told { who, watched, listed, node: Some("n1") }.answer()
}

/// Source, namespace/pod, container, its restarts, and whether anything is missing.
fn got(answer: &Answer) -> (Option<NameSource>, String, Option<String>, Option<u32>, bool) {
    let names = answer.names.as_ref();
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    let of = names.map_or(String::new(), |names| {
        format!("{}/{}", text(names.namespace.as_ref()), text(names.pod.as_ref()))
    });
    let container = names.and_then(|names| names.container.as_ref());
    (
        names.map(|names| names.source),
        of,
        container.map(|it| it.name.clone().unwrap_or_else(|| "-".into())),
        container.and_then(|it| it.restart_count),
        answer.missing.is_some(),
    )
}

#[test]
fn each_row_of_the_table() {
    use NameSource::{Cri, Kube};
    let shop = || "shop/api-0".to_owned();
    let name = |name: &str| Some(name.to_owned());
    for (what, who, watch, list, expected) in [
        ("watched", WHO, Some(watched(true, true)), None, (Some(Kube), shop(), name("api"), Some(3), false)),
        (
            "its name from the runtime, all else from the API server",
            WHO,
            Some(watched(false, true)),
            Some(container("api")),
            (Some(Kube), shop(), name("api"), Some(4), false),
        ),
        (
            "a container that the object does not have",
            WHO,
            Some(watched(false, true)),
            Some(container("new")),
            (Some(Kube), shop(), name("new"), Some(4), false),
        ),
        (
            "a sandbox",
            WHO,
            Some(watched(false, true)),
            Some(sandbox()),
            (Some(Kube), shop(), name("-"), None, false),
        ),
        (
            "the pod only",
            WHO,
            Some(watched(false, true)),
            Some(not_listed()),
            (Some(Kube), shop(), None, None, true),
        ),
        (
            "not watched yet",
            WHO,
            Some(watched(false, false)),
            Some(container("api")),
            (Some(Cri), shop(), name("api"), Some(4), true),
        ),
        (
            "nobody knows",
            WHO,
            Some(watched(false, false)),
            Some(not_listed()),
            (None, String::new(), None, None, true),
        ),
        ("a pod", POD, Some(watched(false, true)), None, (Some(Kube), shop(), None, None, false)),
        (
            "a pod that only the runtime knows",
            POD,
            Some(watched(false, false)),
            Some(sandbox()),
            (Some(Cri), shop(), None, None, true),
        ),
        (
            "the runtime alone",
            WHO,
            None,
            Some(container("api")),
            (Some(Cri), shop(), name("api"), Some(4), false),
        ),
        ("which does not know", WHO, None, Some(not_listed()), (None, String::new(), None, None, true)),
    ] {
        assert_eq!(got(&put(who, watch, list)), expected, "{what}");
    }
}

#[test]
fn the_objects_fields_of_a_container_go_with_the_runtimes_name() {
    let names = put(WHO, Some(watched(false, true)), Some(container("api"))).names.expect("names");
    let container = names.container.expect("a container");
    assert_eq!((container.role, container.image.as_deref()), (Some(ContainerRole::Sidecar), Some("api:1")));
    assert_eq!(container.memory.limit_bytes, Some(1 << 26));
}

#[test]
fn more_may_come_only_where_a_source_may_still_answer() {
    assert!(put(WHO, Some(watched(false, false)), Some(container("api"))).soon, "the API server");
    let silent = Watched { soon: false, ..watched(false, false) };
    assert!(!put(WHO, Some(silent), Some(not_listed())).soon);
    let lists = Asked { soon: true, ..not_listed() };
    assert!(put(WHO, None, Some(lists)).soon, "the runtime");
    let away = |pod_known| Watched { soon: false, later: true, ..watched(false, pod_known) };
    for pod_known in [false, true] {
        let answer = put(WHO, Some(away(pod_known)), Some(not_listed()));
        assert_eq!((answer.soon, answer.later), (false, true), "an API server that is away");
    }
    assert!(!put(WHO, Some(watched(true, true)), None).soon, "all is known");
}

#[test]
fn the_reasons_of_both_are_given() {
    let missing = put(WHO, Some(watched(false, false)), Some(not_listed())).missing;
    let expected = "the API server has not told of it; the container runtime does not list it";
    assert_eq!(missing.as_deref(), Some(expected));
    let mut nobody = Directory { nobody: "names are off (--pods none)", ..Directory::default() };
    assert_eq!(nobody.find(WHO).missing.as_deref(), Some("names are off (--pods none)"));
}

/// For each contradiction: nothing is taken of either source, the reason says what does not fit, and there is no name.
#[test]
fn a_source_that_contradicts_the_path_gives_no_names() {
    let of_other_pod = |asked: Asked| {
        let found = match asked.found.expect("it is listed") {
            Listed::Container(it) => {
                Listed::Container(Arc::new(CriContainer { pod_uid: Some("v".into()), ..(*it).clone() }))
            }
            Listed::Sandbox(it) => {
                Listed::Sandbox(Arc::new(CriSandbox { pod_uid: Some("v".into()), ..(*it).clone() }))
            }
        };
        Some(Asked { found: Some(found), ..Asked::default() })
    };
    let other_pod = || Arc::new(Pod { uid: "v".into(), ..(*pod()).clone() });
    let elsewhere = || {
        let found = IndexedContainer {
            pod: other_pod(),
            container: 0,
            current: true,
            restart_count: None,
            ended: None,
        };
        Some(Watched { container: Some(found), pod: Some(other_pod()), ..watched(false, false) })
    };
    let renamed = || {
        Some(Watched {
            pod: Some(Arc::new(Pod { name: "other".into(), ..(*pod()).clone() })),
            ..watched(false, true)
        })
    };
    for (what, watch, list, says) in [
        (
            "the API server has the container elsewhere",
            elsewhere(),
            None,
            "the API server has the container in pod v, but the cgroup's path has it in pod u",
        ),
        (
            "the runtime does",
            None,
            of_other_pod(container("api")),
            "the container runtime has the container in pod v, but",
        ),
        (
            "it has a sandbox there",
            None,
            of_other_pod(sandbox()),
            "the container runtime has the container in pod v, but",
        ),
        (
            "the API server agrees with the path",
            Some(watched(true, true)),
            of_other_pod(container("api")),
            "the container runtime has",
        ),
        ("both", elsewhere(), of_other_pod(container("api")), "pod u; the container runtime has"),
        ("different names", renamed(), Some(container("api")), "different names"),
    ] {
        let answer = put(WHO, watch, list);
        assert_eq!((&answer.names, answer.soon), (&None, false), "{what}");
        let missing = answer.missing.expect("it is said");
        assert!(
            missing.contains(says) && !missing.contains("shop") && !missing.contains("api-0"),
            "{what}: {missing}"
        );
    }
    let guaranteed = Who { qos: Some(crate::schema::Qos::Guaranteed), ..WHO };
    let burstable = || Arc::new(Pod { qos: Some(crate::schema::Qos::Burstable), ..(*pod()).clone() });
    let answer = put(
        guaranteed,
        Some(Watched { pod: Some(burstable()), ..watched(false, true) }),
        Some(container("api")),
    );
    assert_eq!(answer.names, None);
    assert!(
        answer
            .missing
            .is_some_and(|it| it.contains("as Burstable, but the cgroup's path has it as Guaranteed"))
    );
}

/// An API server that answers each lookup with one pod.
#[derive(Debug)]
pub(crate) struct OnePod {
    pub(crate) pod: Arc<Pod>,
    pub(crate) disputed: bool,
}

impl PodWatch for OnePod {
    fn find_container(&self, _: &str) -> Option<IndexedContainer> {
        Some(IndexedContainer {
            pod: Arc::clone(&self.pod),
            container: 0,
            current: true,
            restart_count: Some(1),
            ended: None,
        })
    }

    fn find_pod(&self, _: &str) -> Option<Arc<Pod>> {
        Some(Arc::clone(&self.pod))
    }

    fn disputed(&self, _: &str) -> bool {
        self.disputed
    }

    /// One Event, which says what was asked for.
    fn events(&self, namespace: &str, uid: &str, container_id: Option<&str>) -> Events {
        let message = format!("{namespace} {uid} {}", container_id.unwrap_or("-"));
        Events { list: vec![PodEvent { message, ..PodEvent::default() }], ..Events::default() }
    }

    fn reliance(&self) -> Reliance {
        Reliance::default()
    }

    fn status(&self) -> NamesStatus {
        status(NameSource::Kube, NamesState::Synced)
    }
}

/// The runtime lists anew for an id that it does not know.
#[test]
fn the_runtime_is_a_source_where_the_api_server_has_no_answer() {
    let who = |container_id| Who { pod_uid: "11111111-2222-3333-4444-555555555555", container_id, qos: None };
    assert!(asks_runtime(who(Some(ID)), None), "it is not asked");
    for (container, pod, of_container, of_pod) in
        [(false, false, true, true), (false, true, true, false), (true, true, false, false)]
    {
        let watched = watched(container, pod);
        let asked = [Some(ID), None].map(|id| asks_runtime(who(id), Some(&watched)));
        assert_eq!(asked, [of_container, of_pod]);
    }
}

#[test]
fn the_watch_is_synced_once_it_has_a_list_and_while_it_is_heard() {
    let status = |state, problem| kube::WatchStatus {
        state,
        problem,
        pods: 30,
        containers: 41,
        refused_pods: 2,
        lists: 0,
        watches: 1,
        failures: 0,
        received_bytes: 0,
        events: 0,
        unreadable: 0,
        list_age: None,
        heard_age: Some(Duration::from_millis(7_900)),
        streams_lists: true,
        events_problem: None,
    };
    let refused = || kube::Problem::Broken("it went away".to_owned());
    let synced = watch::of_kube(&status(kube::State::Synced, None));
    let expected = NamesStatus {
        source: NameSource::Kube,
        state: NamesState::Synced,
        problem: None,
        pods: Some(30),
        containers: Some(41),
        refused_pods: Some(2),
        age_seconds: Some(7),
    };
    assert_eq!(synced, expected);
    // A trouble that has only begun.
    assert_eq!(watch::of_kube(&status(kube::State::Synced, Some(refused()))), expected);
    let lasted = Duration::from_secs(30);
    for state in [kube::State::Connecting, kube::State::Degraded { lasted, problem: refused() }] {
        let degraded = watch::of_kube(&status(state, Some(refused())));
        assert_eq!(degraded.state, NamesState::Degraded);
        assert!(degraded.problem.is_some_and(|problem| problem.contains("it went away")));
    }
    let connecting = watch::of_kube(&status(kube::State::Connecting, None));
    assert_eq!(connecting.problem.as_deref(), Some("no list of the API server yet"));
}

#[test]
fn the_runtime_is_synced_once_it_has_answered_and_while_it_does() {
    let now = Instant::now();
    let answered =
        CriStatus { tried: 2, listed: 1, problem: None, containers: 7, pods: 5, listed_at: Some(now) };
    let later = now + Duration::from_secs(70);
    let synced = of_cri(answered.clone(), later);
    assert_eq!((synced.state, synced.problem, synced.age_seconds), (NamesState::Synced, None, Some(70)));
    assert_eq!((synced.pods, synced.containers), (Some(5), Some(7)));
    let degraded = of_cri(CriStatus { problem: Some("gone".to_owned()), ..answered }, later);
    assert_eq!((degraded.state, degraded.problem.as_deref()), (NamesState::Degraded, Some("gone")));
    let new = of_cri(CriStatus::default(), later);
    assert_eq!((new.state, new.age_seconds), (NamesState::Degraded, None));
    assert!(new.problem.is_some_and(|problem| problem.contains("not answered yet")));
}

#[test]
fn events_are_asked_for_by_the_uid_that_kubernetes_has_them_by() {
    let asked = |pod: Pod, who: Who<'_>| {
        let workload = Some(Workload { kind: "Node".into(), name: "n1".into(), inferred: false });
        let pod = Arc::new(Pod { workload, ..pod });
        let kube = Some(Box::new(OnePod { pod, disputed: false }) as Box<dyn PodWatch>);
        Directory { kube, node: Some("n1".into()), ..Directory::default() }.events(who)
    };
    let message = |events: Events| events.list.first().map(|event| event.message.clone());
    assert_eq!(message(asked((*pod()).clone(), WHO)), Some(format!("shop u {ID}")));
    assert_eq!(message(asked((*pod()).clone(), POD)), Some("shop u -".to_owned()));
    // A static pod's have the hash, and the mirror's own UID has others.
    let hash = "349ec37f55eed21f6a216e957a510f10";
    let mirror = Pod { config_hash: Some(hash.into()), ..(*pod()).clone() };
    let by_hash = asked(mirror, Who { pod_uid: hash, ..WHO });
    assert_eq!(message(by_hash), Some(format!("shop {hash} {ID}")));
    // Where no name is believed there is no namespace to ask in.
    let contradicted = asked((*pod()).clone(), Who { pod_uid: "v", ..WHO });
    assert!(contradicted.missing.is_some_and(|it| it.contains("the cgroup's path has it in pod v")));
    let without = Directory::default().events(WHO);
    assert_eq!(without.missing.as_deref(), Some("the API server is not a source, and only it has Events"));
    assert!(!without.soon);
}
