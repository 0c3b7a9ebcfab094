//! Names of static pods: their mirrors, and the runtime.

use super::*;

#[test]
fn a_static_pod_is_named_where_its_mirror_is_this_nodes_and_no_other_claims_its_hash() {
    let hash = "349ec37f55eed21f6a216e957a510f10";
    let mirror = |node: &str| {
        let workload = Workload { kind: "Node".into(), name: node.into(), inferred: false };
        Arc::new(Pod { config_hash: Some(hash.into()), workload: Some(workload), ..(*pod()).clone() })
    };
    let ask = |node: &str, disputed: bool| {
        let kube = Some(Box::new(OnePod { pod: mirror(node), disputed }) as Box<dyn PodWatch>);
        let mut directory = Directory { kube, node: Some("n1".into()), ..Directory::default() };
        directory.find(Who { pod_uid: hash, ..WHO })
    };
    assert!(ask("n1", false).names.is_some());
    for (answer, says) in
        [(ask("n2", false), "not of this node"), (ask("n1", true), "none of them is believed")]
    {
        assert_eq!(answer.names, None);
        assert!(answer.missing.as_deref().is_some_and(|it| it.contains(says)), "{answer:?}");
    }
    // The runtime knows a static pod by its hash, and from kubelet.
    let listed = |name: &str| {
        let it = CriContainer {
            pod_uid: Some(hash.into()),
            pod_name: Some(name.into()),
            ..match container("api").found {
                Some(Listed::Container(it)) => (*it).clone(),
                _ => panic!("a container"),
            }
        };
        Some(Asked { found: Some(Listed::Container(Arc::new(it))), ..Asked::default() })
    };
    let who = Who { pod_uid: hash, ..WHO };
    let known = || Some(Watched { pod: Some(mirror("n1")), ..watched(false, true) });
    assert!(put(who, known(), listed("api-0")).names.is_some());
    assert_eq!(put(who, known(), listed("etcd-n1")).names, None);
    let disputed = Some(Watched { reason: "disputed".into(), ..Watched::default() });
    assert_eq!(put(who, disputed, listed("etcd-n1")).names.and_then(|it| it.pod).as_deref(), Some("etcd-n1"));
}

/// A mirror is a copy: its class is what the API server's admission makes of it, and a manifest that sets a UUID has that UUID
/// in the path and in the runtime, while the mirror has another.
#[test]
fn a_mirror_that_does_not_fit_leaves_the_names_to_the_runtime() {
    use crate::schema::Qos;
    const UUID: &str = "11111111-2222-3333-4444-555555555555";
    const HASH: &str = "349ec37f55eed21f6a216e957a510f10";
    let mirror = |hash: &str| {
        let workload = Workload { kind: "Node".into(), name: "n1".into(), inferred: false };
        let qos = Some(Qos::Burstable);
        Pod { config_hash: Some(hash.into()), workload: Some(workload), qos, ..(*pod()).clone() }
    };
    let known = |pod: &Pod| {
        let found = IndexedContainer {
            pod: Arc::new(pod.clone()),
            container: 0,
            current: true,
            restart_count: Some(1),
            ended: None,
        };
        Some(Watched { pod: Some(Arc::clone(&found.pod)), container: Some(found), ..Watched::default() })
    };
    let listed = |uid: &str| {
        let Some(Listed::Container(it)) = container("api").found else { panic!("a container") };
        let it = CriContainer { pod_uid: Some(uid.into()), ..(*it).clone() };
        Some(Asked { found: Some(Listed::Container(Arc::new(it))), ..Asked::default() })
    };
    for (what, path, qos, says) in [
        ("a UUID of the manifest's", UUID, Qos::Burstable, "has the container in pod u"),
        ("requests that admission has set", HASH, Qos::BestEffort, "as Burstable"),
    ] {
        let who = Who { pod_uid: path, qos: Some(qos), ..WHO };
        let answer = put(who, known(&mirror(path)), listed(path));
        let runtime = NameSource::Cri;
        assert_eq!(
            got(&answer),
            (Some(runtime), "shop/api-0".into(), Some("api".into()), Some(4), true),
            "{what}"
        );
        assert!(answer.missing.as_deref().is_some_and(|it| it.contains(says)), "{what}: {answer:?}");
        // Without the runtime, or with another word of it, there is nothing to rest a name on.
        for other in [None, listed("u"), Some(not_listed())] {
            assert_eq!(put(who, known(&mirror(path)), other).names, None, "{what}");
        }
        // A pod that is no mirror is the pod itself: then one of the two sources is wrong.
        let pod = Pod { config_hash: None, ..mirror(path) };
        assert_eq!(put(who, known(&pod), listed(path)).names, None, "{what}");
    }
    // So it is looked up in the runtime, although the API server has the container.
    for (path, pod, asked) in [
        (UUID, mirror(UUID), true),
        (HASH, mirror(HASH), true),
        (HASH, Pod { config_hash: None, ..mirror(HASH) }, true),
        (UUID, Pod { config_hash: None, ..mirror(UUID) }, false),
    ] {
        for container_id in [Some(ID), None] {
            let who = Who { pod_uid: path, container_id, qos: None };
            assert_eq!(asks_runtime(who, known(&pod).as_ref()), asked, "{path} {container_id:?}");
        }
    }
}
