//! Claims in a cgroup's path, and the names that are trusted: from the path to the report's line.

use crate::classify::tests::build::{Told, told};
use crate::describe::describe;
use crate::enrich::owner_of;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::classify::tests::build::SIDE;
use crate::filter::Filter;
use crate::names::{MemoryBounds, Workload};
use crate::node::Node;
use crate::pods::directory::tests::OnePod;
use crate::pods::directory::{Directory, PodWatch};
use crate::pods::life;
use crate::pods::pod::{Container, ContainerKind, MemoryMounts, Pod};
use crate::report::Context;

use crate::schema::{Cause, Level as VerdictLevel};

const UID: &str = "1f6cbd1e-0d5a-4a4f-8f5c-2b8f0a2f6f11";
/// Part of each name of the pod that the directory has.
const MARK: &str = "zq9";
const USER: &str = "/user.slice/user-1000.slice/user@1000.service";

fn a_pod(uid: &str, qos: Option<Qos>) -> Pod {
    let bounds = MemoryBounds { limit_bytes: Some(64 * MIB), ..MemoryBounds::default() };
    let container = Container {
        memory_mounts: MemoryMounts::default(),
        name: format!("container-{MARK}").into(),
        kind: ContainerKind::App,
        id: Some(API.into()),
        last_id: None,
        image: Some(format!("image-{MARK}").into()),
        restart_count: Some(1),
        memory: bounds,
        life: life::OfContainer::default(),
    };
    Pod {
        shares_pids: false,
        memory_volumes: Box::default(),
        uid: uid.into(),
        config_hash: None,
        namespace: format!("namespace-{MARK}").into(),
        name: format!("pod-{MARK}").into(),
        workload: Some(Workload {
            kind: "Deployment".into(),
            name: format!("workload-{MARK}").into(),
            inferred: false,
        }),
        qos,
        life: life::OfPod::default(),
        memory: bounds,
        containers: [container].into(),
    }
}

fn asking(pod: Pod, root: NodeRoot) -> Node {
    let kube = Some(Box::new(OnePod { pod: Arc::new(pod), disputed: false }) as Box<dyn PodWatch>);
    let pods = Directory { kube, node: Some("n1".into()), ..Directory::default() };
    Node { pods: Box::new(pods), root, ..Node::unseen("a test") }
}

/// A kill in the cgroup of this path, at its own limit, or at that of the path's first `names_of_limit` names.
fn killed(path: &str, names_of_limit: usize, node: &mut Node) -> (Case, Told, String) {
    let limited: String = path
        .split('/')
        .filter(|name| !name.is_empty())
        .take(names_of_limit)
        .fold(String::new(), |path, name| path + "/" + name);
    let victim = lineage(path).with(&limited, 64 * MIB, 64 * MIB);
    let limit = victim.from(&limited);
    let case = enrich(an_incident(kill(&victim, Some(limit), &CHARGE)), node);
    let verdict = told(&case);
    let context = Context {
        boot_id: "b".into(),
        page_size_bytes: 4096,
        realtime_offset_ns: 0,
        memory_cgroup_v1: Some(false),
        gfp: crate::gfp::GfpNames::fallback(),
    };
    let line = serde_json::to_string(&line_of(&case, &verdict, &context)).expect("JSON");
    (case, verdict, line)
}

fn line_of(case: &Case, verdict: &Told, context: &Context) -> crate::schema::Incident {
    crate::report::incident(case, verdict, &describe(case, verdict), context)
}

fn imitation(outer: &str) -> String {
    format!("{outer}{}", api())
}

/// The attack: the pod exists, and the path claims its UID and container.
#[test]
fn a_cgroup_that_imitates_a_pod_below_a_delegation_does_not_get_its_names() {
    let docker = format!("/system.slice/docker-{SIDE}.scope");
    for (outer, whose, kind, level) in [
        (USER, "host unit user@1000.service", OwnerKind::HostService, VerdictLevel::Cgroup),
        ("/system.slice/x.service", "host unit x.service", OwnerKind::HostService, VerdictLevel::Cgroup),
        (&docker, "Docker container 77aa00000000…", OwnerKind::Container, VerdictLevel::Cgroup),
        ("/lxc.payload.c1", "LXC container c1", OwnerKind::Cgroup, VerdictLevel::Cgroup),
    ] {
        let path = imitation(outer);
        for names in 1..=path.matches('/').count() {
            let (case, verdict, line) =
                killed(&path, names, &mut asking(a_pod(UID, Some(Qos::Burstable)), NodeRoot::default()));
            let victim = case.victim(0).expect("an owner");
            assert_eq!(
                (victim.owner.kind, &victim.owner.pod_uid, &victim.owner.names),
                (kind, &None, &None),
                "{path}"
            );
            let claims = victim.owner.claims.as_ref().expect("a claim");
            assert_eq!(
                (claims.kind, claims.pod_uid.as_deref(), claims.container_id.as_deref()),
                (OwnerKind::Container, Some(UID), Some(API))
            );
            assert!(reason(&case, "victims[0].owner").is_some_and(|reason| reason.contains("not confirmed")));
            if names == path.matches('/').count() {
                assert_eq!(verdict.level, Some(level), "{path}");
                let starts = format!("a cgroup inside {whose} hit its limit of 64 MiB");
                assert!(verdict.summary.starts_with(&starts), "{}", verdict.summary);
                assert!(verdict.gap("limit.owner").is_some_and(|reason| reason.contains("not confirmed")));
            }
            let pods = [VerdictLevel::Pod, VerdictLevel::Qos, VerdictLevel::NodeAllocatable];
            assert!(verdict.level.is_some_and(|level| !pods.contains(&level)), "{verdict:?}");
            nothing_rests_on(&case, &verdict, &line);
            for text in texts(&verdict) {
                assert!(!text.contains(&UID[..8]) && !text.contains("4f2a0000"), "{text}");
                assert!(
                    !text.contains("emptyDir volumes count") && !text.contains("resources.limits"),
                    "{text}"
                );
            }
        }
    }
}

fn texts(verdict: &Told) -> Vec<String> {
    let mut all = verdict.evidence.clone();
    all.extend([verdict.summary.clone(), verdict.remedy.clone()]);
    all
}

/// No name in the line, no figure of Kubernetes', and not reported for that namespace.
fn nothing_rests_on(case: &Case, verdict: &Told, line: &str) {
    assert!(!line.contains(MARK), "{line}");
    assert!(!line.contains("Kubernetes has"), "{line}");
    assert_eq!(verdict.kubernetes, None);
    let filter = Filter { namespaces: vec![format!("namespace-{MARK}")], ..Filter::default() };
    // A pod without a name passes, as trigger, victim or limit owner; a claim of a pod does not.
    let in_a_pod = case.owners.parties().any(|party| party.placement.is_in_pod());
    assert_eq!(filter.lets_through(case, verdict), in_a_pod);
}

#[test]
fn the_same_path_is_a_pods_to_an_agent_in_that_container() {
    let outer = format!("/system.slice/docker-{SIDE}.scope");
    let path = imitation(&outer);
    let id = lineage(&outer).levels[0].cgroup_id;
    let pod = || a_pod(UID, Some(Qos::Burstable));
    let all = path.matches('/').count();
    let (case, verdict, line) =
        killed(&path, all, &mut asking(pod(), NodeRoot { cgroup_id: id, v1: false, ..NodeRoot::default() }));
    assert_eq!(verdict.level, Some(VerdictLevel::Container));
    let summary = format!("container container-{MARK} of pod namespace-{MARK}/pod-{MARK} hit its own limit");
    assert!(verdict.summary.starts_with(&summary), "{}", verdict.summary);
    assert!(line.contains("Kubernetes has the same limit of 64 MiB"));
    assert_eq!(reason(&case, "victims[0].owner"), None);
    // In another container, or if the root is another hierarchy's.
    for root in [
        NodeRoot { cgroup_id: Some(3), v1: false, ..NodeRoot::default() },
        NodeRoot { cgroup_id: None, v1: false, ..NodeRoot::default() },
    ] {
        let (case, verdict, line) = killed(&path, all, &mut asking(pod(), root));
        nothing_rests_on(&case, &verdict, &line);
    }
    let v1 = NodeRoot { cgroup_id: id, v1: true, ..NodeRoot::default() };
    assert!(v1.bytes_in(&lineage(&path)) > 0);
    assert_eq!(
        v1.bytes_in(&Lineage { unified: true, ..lineage(&path) }),
        0,
        "its ids are of another hierarchy"
    );
    // The container that is the node: the machine's.
    let (case, verdict, line) =
        killed(&outer, 2, &mut asking(pod(), NodeRoot { cgroup_id: id, v1: false, ..NodeRoot::default() }));
    assert_eq!(
        (verdict.level, case.victim(0).map(|it| it.owner.kind)),
        (Some(VerdictLevel::Container), Some(OwnerKind::Container))
    );
    nothing_rests_on(&case, &verdict, &line);
}

/// The end of the path is missing: it may be in a pod of the node that is this container.
#[test]
fn cgroups_deep_in_a_node_that_is_a_container_are_not_taken_for_that_containers() {
    let outer = format!("/system.slice/docker-{SIDE}.scope");
    let deep = Lineage { skipped: 3, ..lineage(&outer) };
    let inside = NodeRoot { cgroup_id: deep.levels[0].cgroup_id, v1: false, ..NodeRoot::default() };
    owner_of(&deep, inside).expect_err("it may be in a pod");
    assert_eq!(party(&deep).map(|party| party.owner.kind), Ok(OwnerKind::Container));
}

/// The agent runs in that pod: to it the victim's path begins below, but the limit is still a pod's, and of no known namespace.
#[test]
fn a_pod_that_is_the_nodes_own_root_goes_through_the_filter_by_its_limit() {
    let path = format!("/kubepods/pod{UID}/{API}");
    let cgroup_id = lineage(&format!("/kubepods/pod{UID}")).levels[0].cgroup_id;
    let other = a_pod("242832fb-e8e5-40d4-8e26-ed956de27eb3", None);
    let (case, verdict, line) =
        killed(&path, 2, &mut asking(other, NodeRoot { cgroup_id, ..NodeRoot::default() }));
    assert!(case.victim(0).is_some_and(|party| !party.placement.is_in_pod()));
    assert!(verdict.limit.as_ref().is_some_and(|limit| limit.party.placement.is_in_pod()));
    nothing_rests_on(&case, &verdict, &line);
}

/// The path is kubelet's, and the API server's facts do not fit it.
#[test]
fn names_are_taken_only_if_uid_and_class_are_the_paths() {
    let of = |pod: Pod| killed(&api(), 4, &mut asking(pod, NodeRoot::default()));
    let (_, verdict, _) = of(a_pod(UID, Some(Qos::Burstable)));
    assert!(verdict.summary.contains(MARK));
    for (pod, says) in [
        (
            a_pod("242832fb-e8e5-40d4-8e26-ed956de27eb3", Some(Qos::Burstable)),
            "242832fb-e8e5-40d4-8e26-ed956de27eb3",
        ),
        (a_pod(UID, Some(Qos::Guaranteed)), "Guaranteed"),
    ] {
        let (case, verdict, line) = of(pod);
        assert_eq!(verdict.level, Some(VerdictLevel::Container), "the place is kubelet's word");
        let gap = case
            .nameless
            .iter()
            .find(|gap| gap.field.to_string() == "victims[0].owner.pod")
            .expect("a reason");
        assert!(gap.reason.contains(says), "{}", gap.reason);
        nothing_rests_on(&case, &verdict, &line);
    }
}

/// A process of another container lowers a limit: its container is not the limit owner.
#[test]
fn the_limit_owner_does_not_get_the_names_of_the_writer_of_the_limit() {
    let limit = "/kubepods/burstable/pod242832fb-e8e5-40d4-8e26-ed956de27eb3/77aa00000000000000000000000000000000000000000000000000000000cafe";
    let limited = lineage(limit).with(limit, 64 * MIB, 64 * MIB);
    let nobody = no_kill(lineage(&api()), Some(limited), &["mem_cgroup_out_of_memory", "memory_max_write"]);
    let mut node = asking(a_pod(UID, Some(Qos::Burstable)), NodeRoot::default());
    let verdict = told(&enrich(Incident::OomNoKill(Box::new(nobody)), &mut node));
    assert_eq!((verdict.cause, verdict.level), (Cause::CgroupOom, Some(VerdictLevel::Container)));
    assert_eq!(verdict.kubernetes, None, "{verdict:?}");
    assert!(!verdict.shows(&["Kubernetes has"]), "{verdict:?}");
}

fn some_path() -> impl Strategy<Value = String> {
    let outer = proptest::sample::select(vec![
        String::new(),
        "/kubelet".to_owned(),
        USER.to_owned(),
        "/system.slice/containerd.service".to_owned(),
        "/system.slice/x.service".to_owned(),
        "/machine.slice/machine-c1.scope".to_owned(),
        format!("/docker/{SIDE}"),
        format!("/system.slice/docker-{SIDE}.scope"),
        "/lxc/c1".to_owned(),
        "/a/b".to_owned(),
    ]);
    let other = "242832fb-e8e5-40d4-8e26-ed956de27eb3";
    let slice = |uid: &str| format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
    let inner = proptest::sample::select(vec![
        api(),
        side(),
        POD.to_owned(),
        KUBEPODS.to_owned(),
        format!("/kubepods/pod{UID}/{API}"),
        format!("/kubepods/besteffort/pod{UID}/{API}"),
        format!("/kubepods/burstable/pod{other}/{API}"),
        format!("/kubepods/burstable/pod{other}/{API}{}", api()),
        format!("/kubepods.slice/kubepods-burstable.slice/{}/cri-containerd-{API}.scope", slice(UID)),
        format!("/kubepods/burstable/podmine/{API}"),
        format!("/{}:cri-containerd:{API}", slice(UID)),
        format!("/{}:cri-containerd:{API}", slice(other)),
        format!("/{API}"),
    ]);
    (outer, proptest::sample::select(vec!["", "/x", "/kubelet.slice"]), inner)
        .prop_map(|(outer, between, inner)| outer + between + &inner)
}

proptest! {
    /// For any paths and any pods of the API server: a name is in a line only if the UID that kubelet or the runtime gave a
    /// cgroup is the pod's, and its class.
    #[test]
    fn no_unconfirmed_name_is_reported(
        path in some_path(),
        names in 1_usize..9,
        uid in proptest::sample::select(vec![UID, "242832fb-e8e5-40d4-8e26-ed956de27eb3", "x", ""]),
        qos in proptest::option::of(proptest::sample::select(vec![Qos::Guaranteed, Qos::Burstable, Qos::BestEffort])),
        root in 0_usize..3,
    ) {
        let at = lineage(&path).levels.iter().rev().nth(root).and_then(|level| level.cgroup_id);
        let root = NodeRoot { cgroup_id: at.filter(|_| root > 0), v1: false, ..NodeRoot::default() };
        let names = names.min(path.matches('/').count());
        let (case, verdict, line) = killed(&path, names, &mut asking(a_pod(uid, qos), root));
        let parties = case.owners.parties();
        let confirmed = |party: &Party| {
            party.placement.claims.is_none()
                && party.owner.pod_uid.as_deref() == Some(uid)
                && qos.is_none_or(|qos| party.owner.qos_class == Some(qos))
        };
        if !parties.clone().any(confirmed) {
            nothing_rests_on(&case, &verdict, &line);
        }
        for party in parties {
            prop_assert!(party.owner.names.is_none() || confirmed(party), "{party:?}");
            let delegated = party.placement.claims.is_some();
            prop_assert!(!delegated || !party.placement.is_in_pod() && party.owner.qos_class.is_none());
        }
        // The label of the metric is the level.
        if let Some(limit) = verdict.limit.as_ref().filter(|limit| limit.party.placement.claims.is_some()) {
            prop_assert_eq!((limit.charged_at, verdict.level), (VerdictLevel::Cgroup, Some(VerdictLevel::Cgroup)));
        }
    }
}
