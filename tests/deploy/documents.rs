//! The manifests in documents and comments: needs with their reasons, and overlays.

use std::collections::BTreeSet;
use std::path::Path;

use crashtrace::pods::cri::socket;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::json;

use crate::{container_of, given, needed, of_kind, pod_of, root};
use crashtrace_test_support::deploy::needs::{Form, JOURNAL, NEEDS, PINS, SOCKET, What};
use crashtrace_test_support::deploy::render;

/// The table in deploy/README.md says the same, in both directions.
#[test]
fn the_readme_has_each_need() {
    let readme = std::fs::read_to_string(root().join("deploy/README.md")).expect("it can be read");
    let part =
        readme.split("## Privileges").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the part");
    let rows: Vec<_> = part.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).collect();
    let word = |what: What| match what {
        What::Privileged => "root".to_owned(),
        What::Capability(name) => format!("CAP_{name}"),
        What::Verb(name, _) | What::Variable(name) => format!("`{name}`"),
        What::Mount { host, .. } | What::Writable { host, .. } | What::WritableThere { host, .. } => {
            format!("`{host}`")
        }
    };
    for need in NEEDS.iter().chain([&SOCKET, &JOURNAL, &PINS]) {
        let (word, reason) = (word(need.what), need.reason);
        let mut found = rows.iter().filter(|(what, _)| what.contains(&word));
        assert!(found.any(|(_, why)| why.starts_with(reason)), "no row has {word} for {reason}: {rows:#?}");
    }
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split([' ', ',', '|']).filter(|word| word.starts_with("CAP_"));
        words.map(str::to_owned).collect()
    };
    let needed = NEEDS.iter().map(|need| word(need.what)).filter(|word| word.starts_with("CAP_"));
    assert_eq!(rows.iter().flat_map(|(what, _)| named(what)).collect::<BTreeSet<_>>(), needed.collect());
}

/// Each privilege and mount has its reason beside it.
#[test]
fn each_privilege_has_a_comment() {
    let files = [
        "base/daemonset.yaml",
        "base/rbac.yaml",
        "capabilities/daemonset.yaml",
        "runtime-socket/containerd/daemonset.yaml",
        "journal/daemonset.yaml",
        "pin/daemonset.yaml",
        "reports/rbac.yaml",
    ];
    let texts =
        files.map(|file| std::fs::read_to_string(root().join("deploy").join(file)).expect("it can be read"));
    let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).map(str::trim).collect();
    for need in NEEDS.iter().chain([&SOCKET, &JOURNAL, &PINS]) {
        let line = match need.what {
            What::Privileged => "privileged: true".to_owned(),
            What::Capability(name) => format!("- {name}"),
            What::Verb(_, "pods") => "verbs: [list, watch]".to_owned(),
            What::Verb(verb, _) => format!("verbs: [{verb}]"),
            // The comment stands above its volume, or above `hostPath`.
            What::Mount { host, .. } | What::Writable { host, .. } | What::WritableThere { host, .. } => {
                format!("path: {host}")
            }
            What::Variable(name) => format!("- name: {name}"),
        };
        let at = lines.iter().position(|it| *it == line).unwrap_or_else(|| panic!("no line {line}"));
        let above =
            if matches!(need.what, What::Mount { .. } | What::Writable { .. } | What::WritableThere { .. }) {
                at - 3..at
            } else {
                at - 1..at
            };
        assert!(
            lines[above.clone()].iter().any(|line| line.starts_with("# ")),
            "{line} has no reason above it: {:?}",
            &lines[above]
        );
    }
}

/// The overlay that deploy/README.md describes.
#[test]
fn an_overlay_names_a_registry_the_socket_of_another_runtime_and_where_prometheus_is() {
    let readme = std::fs::read_to_string(root().join("deploy/README.md")).expect("it can be read");
    let blocks = readme.split("\n```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let objects = render::render_own(&blocks.collect::<String>()).unwrap_or_else(|error| panic!("{error}"));
    let pod = pod_of(&objects);
    let image = container_of(&pod).image.expect("an image");
    let digest = image.strip_prefix("registry.example/crashtrace@sha256:");
    assert!(
        digest.is_some_and(|it| it.len() == 64 && it.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{image}"
    );
    let socket = Path::new("/run/crio/crio.sock");
    assert!(socket::USUAL.iter().any(|usual| Path::new(usual) == socket), "it is looked for there");
    assert!(given(&objects).contains(&format!("{:?}", What::Mount { host: "/run/crio", at: "/run/crio" })));
    let policy: NetworkPolicy = of_kind(&objects, "NetworkPolicy");
    let selector = json!(policy.spec).pointer("/ingress/0/from/0/namespaceSelector/matchLabels").cloned();
    assert_eq!(selector, Some(json!({ "kubernetes.io/metadata.name": "observability" })));
}

/// The patch for nodes whose own root lacks a capability.
#[test]
fn a_patch_of_the_readme_drops_sys_resource() {
    let readme = std::fs::read_to_string(root().join("deploy/README.md")).expect("it can be read");
    let (_, rest) = readme.split_once("\n    patches:\n").expect("the patch");
    let lines = rest.lines().map_while(|line| line.strip_prefix("    "));
    let patch: String = lines.flat_map(|line| [line, "\n"]).collect();
    let overlay = format!("resources: [../deploy/capabilities]\npatches:\n{patch}");
    let objects = render::render_own(&overlay).unwrap_or_else(|error| panic!("{error}"));
    let mut expected = needed(Form::Capabilities);
    assert!(expected.remove(&format!("{:?}", What::Capability("SYS_RESOURCE"))));
    assert_eq!(given(&objects), expected);
    // The same with Helm.
    let (_, rest) = readme.split_once("--set 'capabilities={").expect("the values");
    let names: Vec<_> = rest.split_once('}').expect("their end").0.split(',').collect();
    let chart = render::chart(&json!({ "form": "capabilities", "capabilities": names }));
    assert_eq!(given(&chart.expect("Helm takes them")), expected);
}

/// README's lines for kustomize: the overlay that they write, with the line that `cargo xtask image` writes (its own test has that file).
#[test]
fn the_readme_installs_the_image_by_its_digest() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("it can be read");
    let (_, rest) = readme.split_once("printf '").expect("the overlay");
    let (overlay, _) = rest.split_once("' > mine/kustomization.yaml\n").expect("the overlay's name");
    let digest = "5a".repeat(32);
    let image = format!(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nimages: [{{ name: localhost/crashtrace, \
         newName: registry.example/crashtrace, digest: 'sha256:{digest}' }}]\n"
    );
    let objects = render::render_beside(&overlay.replace("\\n", "\n"), Some(&image))
        .unwrap_or_else(|error| panic!("{error}"));
    let image = container_of(&pod_of(&objects)).image;
    assert_eq!(image, Some(format!("registry.example/crashtrace@sha256:{digest}")));
    assert_eq!(given(&objects), needed(Form::Privileged));
}
