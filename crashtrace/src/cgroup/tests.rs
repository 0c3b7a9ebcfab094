//! The table of real paths, the hostile ones by name, and arbitrary bytes.

use proptest::prelude::*;

use super::*;

mod delegated;

const TABLE: &str = include_str!("../../../tests/fixtures/cgroup-paths.tsv");
const A: &str = "/kubepods/burstable/pod2227d2ac-729b-4912-87f5-14f1fda3ef9f/\
                 0edac3e774496ee0cdb3f70ecd9bb84281d5767ac1a7c1a65677d66d7b15b397";
const A_POD: &str = "2227d2ac-729b-4912-87f5-14f1fda3ef9f";
const A_ID: &str = "0edac3e774496ee0cdb3f70ecd9bb84281d5767ac1a7c1a65677d66d7b15b397";
const B: &str = "/kubepods/besteffort/pod242832fb-e8e5-40d4-8e26-ed956de27eb3/\
                 0a12f8ad7041c8fdcab8c0ef3e57c178134c729a771a6065b3d1ff8c6374b947";
const B_POD: &str = "242832fb-e8e5-40d4-8e26-ed956de27eb3";
const B_ID: &str = "0a12f8ad7041c8fdcab8c0ef3e57c178134c729a771a6065b3d1ff8c6374b947";
const B_SCOPE: &str = "/kubepods.slice/kubepods-besteffort.slice/\
                       kubepods-besteffort-pod242832fb_e8e5_40d4_8e26_ed956de27eb3.slice/\
                       cri-containerd-0a12f8ad7041c8fdcab8c0ef3e57c178134c729a771a6065b3d1ff8c6374b947.scope";

/// The path without the marks `{K}`, `{Q}`, `{P}`, `{C}`, and the same path with the marks where `parse` put the ends.
fn marked(path: &str) -> (String, String) {
    let plain =
        ["{K}", "{Q}", "{P}", "{C}"].iter().fold(path.to_owned(), |text, mark| text.replace(mark, ""));
    let got = parse(plain.as_bytes());
    let ends =
        [(got.kubepods_end, "{K}"), (got.qos_end, "{Q}"), (got.pod_end, "{P}"), (got.container_end, "{C}")];
    let mut with = plain.clone();
    for (end, mark) in ends.iter().rev() {
        if let Some(end) = end {
            with.insert_str(*end, mark);
        }
    }
    (plain, with)
}

fn flags(got: &Placement) -> String {
    let all = [
        (got.nested, "nested"),
        (got.static_pod, "static"),
        (got.infra, "infra"),
        (got.claims.is_some(), "claims"),
    ];
    all.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn engine(got: &Placement) -> String {
    let user = got.user_unit.as_ref().map(|user| format!("{}:{}", user.uid, user.unit));
    let engine = got.engine.as_ref().map(|engine| format!("{:?}:{}", engine.kind, engine.name));
    [user, engine].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[test]
fn a_name_that_is_no_text_is_no_containers() {
    for path in [&b"/garden/\xff"[..], b"/lxc/\xff", b"/lxc.payload/\xff/a", b"/docker/buildkit/\xff"] {
        let found = parse(path);
        assert_eq!((found.engine, found.place), (None, Place::Other), "{}", path.escape_ascii());
    }
    assert_eq!(parse(b"/garden/?").engine.map(|it| it.name).as_deref(), Some("?"), "one may be called so");
}

#[test]
fn every_path_of_the_table_has_its_reviewed_placement() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        rows += 1;
        let cells: Vec<&str> = line.split('\t').collect();
        let [source, path, place, qos, pod_uid, container_id, runtime, unit, made, flag, note] = cells[..]
        else {
            panic!("a row has 11 cells, this one {}: {line}", cells.len());
        };
        assert!(["recorded", "documented", "constructed"].contains(&source), "source {source:?}: {line}");
        // The end of the delegated cgroup is marked "!!".
        let delegate_end = path.find("!!").map(|at| marked(&path[..at]).0.len());
        let (plain, with) = marked(&path.replace("!!", ""));
        let path = &*path.replace("!!", "");
        let got = parse(plain.as_bytes());
        let fields = [
            ("ends", path, with),
            ("place", place, format!("{:?}", got.place)),
            ("qos", qos, or_dash(got.qos.map(|qos| format!("{qos:?}")))),
            ("pod_uid", pod_uid, or_dash(got.pod_uid.clone())),
            ("container_id", container_id, or_dash(got.container_id.clone())),
            ("runtime", runtime, or_dash(got.runtime.map(|runtime| format!("{runtime:?}")))),
            ("unit", unit, or_dash(got.unit.clone())),
            ("engine", made, or_dash(Some(engine(&got)))),
            ("flags", flag, or_dash(Some(flags(&got)))),
            ("delegate", &format!("{delegate_end:?}"), format!("{:?}", got.delegate_end)),
        ];
        for (field, expected, got) in fields {
            if expected != got {
                wrong.push(format!("{plain} ({note})\n  {field}: expected {expected}, got {got}"));
            }
        }
    }
    assert!(rows > 50, "the table has only {rows} rows");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The container of the path: pod and ID, whether the path is below it, and whether it has claims.
fn whose(path: &str) -> (Option<String>, Option<String>, bool, bool) {
    let got = parse(path.as_bytes());
    (got.pod_uid, got.container_id, got.nested, got.claims.is_some())
}

fn is_a() -> (Option<String>, Option<String>, bool, bool) {
    (Some(A_POD.to_owned()), Some(A_ID.to_owned()), true, false)
}

#[test]
fn a_container_cannot_pass_for_another_pod() {
    for inner in [B, B_SCOPE, "/kubepods", "/kubelet/kubepods/burstable"] {
        let path = format!("{A}{inner}");
        assert_eq!(whose(&path), is_a(), "{path}");
        assert_eq!(parse(path.as_bytes()).container_end, Some(A.len()), "{path}");
    }
}

#[test]
fn a_container_cannot_pass_for_another_container_or_for_a_unit_of_the_host() {
    for inner in ["docker", "system.slice", "machine.slice", "x"] {
        for leaf in [B_ID, "kubelet.service", "init.scope"] {
            let path = format!("{A}/{inner}/{leaf}");
            assert_eq!(whose(&path), is_a(), "{path}");
            assert_eq!(parse(path.as_bytes()).unit, None, "{path}");
        }
    }
}

#[test]
fn a_container_of_a_runtime_for_kubernetes_outside_kubepods_cannot_pass_for_a_pod() {
    let scope = format!("cri-containerd-{A_ID}.scope");
    let colons = format!("system.slice:crio:{A_ID}");
    for outer in [format!("/k8s.io/{A_ID}"), format!("/system.slice/{scope}"), format!("/{colons}")] {
        let path = format!("{outer}{B}");
        let (pod, id, nested, _) = whose(&path);
        assert_eq!((pod, id.as_deref(), nested), (None, Some(A_ID), true), "{path}");
    }
}

#[test]
fn the_pod_of_a_slice_takes_precedence_over_the_name_of_a_container_in_it() {
    let slice = format!("kubepods-besteffort-pod{}.slice", B_POD.replace('-', "_"));
    let path = format!("/kubepods/burstable/pod{A_POD}/{slice}:cri-containerd:{A_ID}");
    assert_eq!(whose(&path), (Some(A_POD.to_owned()), Some(A_ID.to_owned()), false, false));
    assert_eq!(parse(path.as_bytes()).qos, Some(Qos::Burstable));
}

#[test]
fn only_the_systemd_of_the_host_names_its_units() {
    let names = [
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/kubelet.service",
            Some("user@1000.service"),
        ),
        ("/system.slice/x.service/system.slice/kubelet.service", Some("x.service")),
        ("/default/named/system.slice/kubelet.service", None),
        ("/lxc.payload.c1/system.slice/kubelet.service", None),
    ];
    for (path, unit) in names {
        let got = parse(path.as_bytes());
        assert_eq!(got.unit.as_deref(), unit, "{path}");
        assert_eq!(got.nested, unit.is_some(), "{path}");
    }
}

#[test]
fn text_that_only_resembles_an_id_is_no_id() {
    let long = format!("{A_ID}0");
    let upper = A_ID.to_uppercase();
    for name in
        [&A_ID[1..], &long, &upper, "cri-containerd-.scope", "crio-", "-", ":", ".slice:crio:", "x.slice::"]
    {
        let in_pod = format!("/kubepods/burstable/pod{A_POD}/{name}");
        let got = parse(in_pod.as_bytes());
        assert_eq!((got.place, got.container_id.as_deref()), (Place::Other, None), "{in_pod}");
        assert_eq!(got.pod_uid.as_deref(), Some(A_POD), "{in_pod}");
        let outside = format!("/docker/{name}");
        assert_eq!(parse(outside.as_bytes()), Placement { place: Place::Other, ..Placement::default() });
    }
    for name in [format!("-{A_ID}"), format!("x-{A_ID}.scope"), format!("docker-{A_ID}.mount")] {
        assert_eq!(parse(format!("/docker/{name}").as_bytes()).container_id, None, "{name}");
    }
}

#[test]
fn a_pod_whose_uid_has_no_known_form_is_a_pod_without_a_uid() {
    let mixed = A_POD.replacen('-', "_", 1);
    for uid in ["my-static-pod", &mixed, &A_POD[1..], &A_POD.to_uppercase(), "\u{e9}"] {
        let path = format!("/kubepods/pod{uid}/{A_ID}");
        let got = parse(path.as_bytes());
        assert_eq!((got.place, got.qos), (Place::Container, Some(Qos::Guaranteed)), "{path}");
        assert_eq!((got.pod_uid, got.static_pod), (None, false), "{path}");
        assert_eq!(got.odd_uid.as_deref(), Some(if uid.is_ascii() { uid } else { "\u{e9}" }), "{path}");
    }
}

#[test]
fn nul_and_invalid_utf8_name_no_owner() {
    for bad in [&b"\0"[..], b"\xff", b"kubepods\0", b"\xffkubepods.slice", b"kubelet\xff.service"] {
        let path = [b"/system.slice/", bad].concat();
        let got = parse(&path);
        assert_eq!(
            (got.place, got.unit.as_deref(), got.nested),
            (Place::HostService, Some("system.slice"), true),
            "{path:?}"
        );
        let below = [A.as_bytes(), b"/", bad].concat();
        let got = parse(&below);
        assert_eq!(
            (got.pod_uid.as_deref(), got.container_id.as_deref(), got.nested),
            (Some(A_POD), Some(A_ID), true)
        );
        let pod = [b"/kubepods/", bad, b"/pod242832fb-e8e5-40d4-8e26-ed956de27eb3"].concat();
        assert_eq!((parse(&pod).place, parse(&pod).pod_uid), (Place::Other, None), "{pod:?}");
    }
}

#[test]
fn empty_components_are_skipped_and_the_ends_stay_those_of_the_path() {
    let got = parse(b"//kubepods///burstable//");
    assert_eq!(got.place, Place::Qos);
    assert_eq!((got.kubepods_end, got.qos_end), (Some(10), Some(22)));
    assert_eq!(parse(b"kubepods/burstable").qos_end, Some(18));
    for root in ["", "/", "///"] {
        assert_eq!(parse(root.as_bytes()), Placement::default(), "{root}");
    }
}

#[test]
fn a_removed_cgroup_is_placed_as_it_was() {
    assert_eq!(parse(format!("{A} (deleted)").as_bytes()), parse(A.as_bytes()));
    assert_eq!(parse(b"/system.slice/x.service (deleted)").unit.as_deref(), Some("x.service"));
    // Not a suffix: a name by itself, or one in the middle.
    assert_eq!(parse(b"/ (deleted)").place, Place::Other);
    assert_eq!(parse(b"/kubepods (deleted)/burstable").place, Place::Other);
}

#[test]
fn a_path_of_ten_kilobytes_is_read_like_any_other() {
    let deep = "/x".repeat(5000);
    let path = format!("{A}{deep}");
    assert_eq!(whose(&path), is_a());
    let path = format!("{deep}{A}");
    let claims = parse(path.as_bytes()).claims.expect("far below a directory of unknown origin");
    assert_eq!(claims.container_end, Some(path.len()));
    let one = format!("/{}.service", "x".repeat(10_000));
    assert_eq!(parse(one.as_bytes()).place, Place::Other);
    let names = format!("/{}.slice", "-kubepods-".repeat(1000));
    assert_eq!(parse(names.as_bytes()).kubepods_end, None);
}

#[test]
fn names_are_serialised_as_their_owners_spell_them() {
    let json = serde_json::to_string(&(Qos::BestEffort, Runtime::Crio)).expect("plain enums");
    assert_eq!(json, r#"["BestEffort","crio"]"#);
}

/// Paths out of the words that the parser knows, so that arbitrary ones get deep into it.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![
        A,
        B,
        B_SCOPE,
        B_ID,
        A_POD,
        "/",
        "//",
        "/kubepods",
        ".slice",
        "kubepods",
        "-",
        "pod",
        "burstable",
        ":",
        "/docker/",
        "crio-",
        "crio-conmon-",
        ".scope",
        "/system.slice",
        "/user@1.service",
        " (deleted)",
        "_",
        "\u{e9}",
    ]);
    let any = proptest::collection::vec(any::<u8>(), 0..4);
    let word = prop_oneof![4 => known.prop_map(|word| word.as_bytes().to_vec()), 1 => any];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

fn holds_together(path: &[u8]) {
    let got = parse(path);
    let ends = [got.kubepods_end, got.qos_end, got.pod_end, got.container_end];
    let mut last = 0;
    for end in ends.into_iter().flatten() {
        // Ancestors in order, and each a whole number of components.
        assert!(last < end && end <= path.len(), "{ends:?}");
        assert!(path[end - 1] != b'/', "{ends:?}");
        assert!(matches!(path.get(end), None | Some(b'/')) || &path[end..] == b" (deleted)", "{ends:?}");
        last = end;
    }
    // The prefix up to an end, parsed by itself, is the place of that end: the prefix of a removed one, since it may itself end
    // in the suffix that `/proc` appends to those.
    let places = [Place::NodeAllocatable, Place::Qos, Place::Pod, Place::Container];
    for (end, place) in ends.into_iter().zip(places).filter_map(|(end, place)| Some((end?, place))) {
        let ancestor = parse(&[&path[..end], b" (deleted)"].concat());
        assert_eq!((ancestor.place, ancestor.nested), (place, false), "{:?}", &path[..end]);
    }
    assert_eq!(got.container_end.is_some(), got.place == Place::Container);
    assert_eq!(
        got.unit.is_some() && got.container_id.is_none(),
        got.place == Place::HostService && !got.infra
    );
    assert!(!got.static_pod || got.pod_uid.is_some());
    // No fact is taken from claims.
    assert_eq!(got.claims.is_some(), got.delegate_end.is_some());
    if let (Some(claims), Some(end)) = (&got.claims, got.delegate_end) {
        assert!(claims.claims.is_none());
        let delegate = parse(&[&path[..end], b" (deleted)"].concat());
        assert_eq!(
            (delegate.place, &delegate.container_id, &delegate.unit),
            (got.place, &got.container_id, &got.unit)
        );
        assert!(ends.into_iter().flatten().all(|of| of <= end) && got.pod_uid.is_none() && got.qos.is_none());
        assert!(claims.container_end.or(claims.kubepods_end).is_some_and(|of| of > end) || claims.infra);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_the_ends_name_the_ancestors(path in proptest::collection::vec(any::<u8>(), 0..200)) {
        holds_together(&path);
    }

    #[test]
    fn arbitrary_arrangements_of_known_names_have_consistent_placements(path in words()) {
        holds_together(&path);
    }

    #[test]
    fn any_root_of_the_node_is_read_without_a_panic(path in words(), root in 0_usize..400) {
        let got = parse_below(&path, root);
        prop_assert!(got.container_end.is_none_or(|end| end <= path.len()));
    }

    #[test]
    fn no_nested_name_changes_the_owner_of_a_container(below in words()) {
        let path = [A.as_bytes(), b"/", &below].concat();
        let got = parse(&path);
        prop_assert_eq!(got.pod_uid.as_deref(), Some(A_POD));
        prop_assert_eq!(got.container_id.as_deref(), Some(A_ID));
        prop_assert_eq!((got.place, got.container_end), (Place::Container, Some(A.len())));
    }
}
