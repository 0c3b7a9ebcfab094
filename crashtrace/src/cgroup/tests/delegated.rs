//! Delegated cgroups: their owners, and claims below them.

use proptest::prelude::*;

use super::*;

/// Only the runtime puts cgroups into its service; any other service may choose the names in it.
#[test]
fn a_misplaced_container_has_its_pod_whatever_names_it_nests() {
    let slice = format!("kubepods-burstable-pod{}.slice", A_POD.replace('-', "_"));
    let inners = [B, B_SCOPE, "/x", ""];
    for service in RUNTIMES {
        for inner in inners {
            let path = format!("/system.slice/{service}/{slice}:cri-containerd:{A_ID}{inner}");
            let is_a = (Some(A_POD.to_owned()), Some(A_ID.to_owned()), !inner.is_empty(), false);
            assert_eq!(whose(&path), is_a, "{path}");
        }
    }
    let user = "/user.slice/user-1000.slice/user@1000.service/app.slice/containerd.service";
    let others =
        ["/system.slice/x.service", user, "/system.slice/containerd.service/x", "/a/containerd.service"];
    for outer in others {
        for inner in inners {
            let path = format!("{outer}/{slice}:cri-containerd:{A_ID}{inner}");
            assert_eq!(whose(&path).0, None, "{path}");
            let claims = parse(path.as_bytes()).claims.expect("a claim");
            assert_eq!(
                (claims.pod_uid.as_deref(), claims.container_id.as_deref()),
                (Some(A_POD), Some(A_ID))
            );
        }
    }
    // A tree of pods in it is not made by the runtime: kubelet tells a runtime where to put containers.
    for inner in [B, B_SCOPE, &format!("/{B_ID}"), &format!("/cri-containerd-{B_ID}.scope")] {
        let path = format!("/system.slice/containerd.service{inner}");
        let got = parse(path.as_bytes());
        assert_eq!(
            (got.place, got.unit.as_deref()),
            (Place::HostService, Some("containerd.service")),
            "{path}"
        );
        assert!(got.claims.is_some(), "{path}");
    }
}

/// All ends further down the path.
fn moved(by: usize, mut placement: Placement) -> Placement {
    let Placement { kubepods_end, qos_end, pod_end, container_end, delegate_end, .. } = &mut placement;
    for end in [kubepods_end, qos_end, pod_end, container_end, delegate_end].into_iter().flatten() {
        *end += by;
    }
    placement.claims = placement.claims.map(|claims| Box::new(moved(by, *claims)));
    placement
}

const USER: &str = "/user.slice/user-1000.slice/user@1000.service";

/// Each with its place, unit and container.
fn delegates() -> [(String, Place, Option<String>, Option<String>); 14] {
    let id = || Some(A_ID.to_owned());
    let scope = |runtime: &str| format!("{runtime}-{A_ID}.scope");
    [
        (USER.to_owned(), Place::HostService, Some("user@1000.service".to_owned()), None),
        ("/system.slice/x.service".into(), Place::HostService, Some("x.service".into()), None),
        ("/system.slice/kubelet.service".into(), Place::HostService, Some("kubelet.service".into()), None),
        (
            "/system.slice/containerd.service".into(),
            Place::HostService,
            Some("containerd.service".into()),
            None,
        ),
        ("/init.scope".into(), Place::HostService, Some("init.scope".into()), None),
        ("/machine.slice/machine-c1.scope".into(), Place::HostService, Some("machine-c1.scope".into()), None),
        (format!("/docker/{A_ID}"), Place::Container, None, id()),
        (format!("/{A_ID}"), Place::Container, None, id()),
        (format!("/system.slice/{}", scope("docker")), Place::Container, Some(scope("docker")), id()),
        (format!("/machine.slice/{}", scope("libpod")), Place::Container, Some(scope("libpod")), id()),
        ("/lxc/c1".into(), Place::Other, None, None),
        ("/lxc.payload.c1".into(), Place::Other, None, None),
        ("/default/named".into(), Place::Other, None, None),
        ("/a/b".into(), Place::Other, None, None),
    ]
}

/// A user's service manager, a service, a container of another runtime: the names below belong to it, and are only claims.
#[test]
fn below_a_delegation_the_owner_is_the_delegate() {
    for (outer, place, unit, id) in delegates() {
        for between in ["", "/kubelet", "/x.slice", "/a/b/c"] {
            for inner in [A, B, B_SCOPE, "/kubepods", "/kubepods.slice/kubepods-burstable.slice"] {
                let path = format!("{outer}{between}{inner}");
                let got = parse(path.as_bytes());
                assert_eq!((got.place, &got.unit, &got.container_id), (place, &unit, &id), "{path}");
                assert_eq!(
                    (&got.pod_uid, got.qos, got.pod_end, got.kubepods_end),
                    (&None, None, None, None),
                    "{path}"
                );
                assert_eq!(got.nested, place != Place::Other, "{path}");
                assert_eq!(got.delegate_end, Some(outer.len()), "{path}");
                let claimed = moved(outer.len() + between.len(), parse(inner.as_bytes()));
                assert_eq!(got.claims.as_deref(), Some(&claimed), "{path}");
            }
        }
        // By itself, and with names of no known form, it has no claims.
        for inner in ["", "/x", "/app.slice/x.service", "/kubepodsx/burstable"] {
            let path = format!("{outer}{inner}");
            let got = parse(path.as_bytes());
            assert_eq!(
                (got.place, &got.unit, &got.container_id, &got.claims),
                (place, &unit, &id, &None),
                "{path}"
            );
        }
    }
}

#[test]
fn a_container_below_a_service_or_in_a_directory_of_unknown_origin_is_a_claim_too() {
    for (outer, place, unit, _) in delegates().into_iter().filter(|(_, place, ..)| *place != Place::Container)
    {
        for inner in [
            &format!("/{B_ID}"),
            &format!("/docker/{B_ID}"),
            &format!("/user.slice/libpod-{B_ID}.scope/container"),
        ] {
            let path = format!("{outer}{inner}");
            let got = parse(path.as_bytes());
            assert_eq!((got.place, &got.unit, &got.container_id), (place, &unit, &None), "{path}");
            let claims = got.claims.expect("a claim");
            assert_eq!(
                (claims.place, claims.container_id.as_deref()),
                (Place::Container, Some(B_ID)),
                "{path}"
            );
        }
    }
}

/// In kind the node is a container: to an agent in it, the same path is its kubelet's.
#[test]
fn below_the_root_of_the_agents_node_names_are_trusted_as_on_a_machine() {
    for (outer, ..) in delegates() {
        for inner in [
            A,
            B_SCOPE,
            "/kubelet/kubepods/besteffort",
            "/system.slice/sshd.service",
            "/kubelet.slice",
            &format!("{USER}{B}"),
        ] {
            let path = format!("{outer}{inner}");
            let got = parse_below(path.as_bytes(), outer.len());
            assert_eq!(got, moved(outer.len(), parse(inner.as_bytes())), "{path}");
        }
        // The node's container itself belongs to the machine.
        for itself in [outer.clone(), format!("{outer}/")] {
            assert_eq!(parse_below(itself.as_bytes(), outer.len()), parse(itself.as_bytes()), "{itself}");
        }
        // A root that ends within a component is no root.
        let path = format!("{outer}x{B}");
        assert_eq!(parse_below(path.as_bytes(), outer.len()), parse(path.as_bytes()), "{path}");
    }
    assert_eq!(parse_below(A.as_bytes(), 9999), parse(A.as_bytes()));
}

proptest! {
    #[test]
    fn nothing_below_a_delegation_is_placed_in_a_pod(which in 0_usize..14, below in words()) {
        let (outer, place, unit, id) = delegates()[which].clone();
        let path = [outer.as_bytes(), b"/", &below].concat();
        let got = parse(&path);
        // A runtime's service may have a container of the runtime's in it.
        if !outer.ends_with("containerd.service") {
            prop_assert_eq!((got.place, got.unit, got.container_id), (place, unit, id));
            prop_assert_eq!((got.pod_uid, got.qos, got.odd_uid, got.pod_end, got.kubepods_end), (None, None, None, None, None));
        }
    }
}
