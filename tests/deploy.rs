//! The manifests in deploy/: that they are what Kubernetes takes them for, that the program takes its arguments, and that they give
//! it what it needs and nothing else. `tests/daemonset.rs` runs containers by them, and so do guests
//! (`tests/scenario/deployed.rs`), to whose runc `oci` says what a container runtime says of such a pod. Needs kubectl (`cargo
//! xtask setup --tools`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Parser as _;
use crashtrace::cli::{self, ApiServer, Args, Config, Environment};
use crashtrace::pods::cri::socket;
use crashtrace::source::host::Capability;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use deploy::needs::{Form, NEEDS, What};
use deploy::render;

mod deploy {
    pub(crate) mod needs;
    pub(crate) mod oci;
    pub(crate) mod render;
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace")
}

fn rendered(form: Form) -> Vec<Value> {
    static ONCE: [OnceLock<Vec<Value>>; 2] = [OnceLock::new(), OnceLock::new()];
    ONCE[usize::from(form == Form::Capabilities)]
        .get_or_init(|| render::render(&root().join(form.folder())))
        .clone()
}

/// The only object of this kind, as its type has it.
fn object<T: DeserializeOwned + Serialize>(form: Form, kind: &str) -> T {
    let mut objects = rendered(form);
    objects.retain(|object| object["kind"] == kind);
    let [object] = objects.as_slice() else { panic!("{kind}: {objects:#?}") };
    let typed: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{kind}: {error}"));
    // The types pass over fields that they do not know, which the API server refuses.
    assert_eq!(
        serde_json::to_value(&typed).expect("JSON"),
        *object,
        "{kind} has something that Kubernetes does not know"
    );
    typed
}

fn pod(form: Form) -> PodSpec {
    let set: DaemonSet = object(form, "DaemonSet");
    set.spec.expect("a spec").template.spec.expect("a spec")
}

fn container(form: Form) -> Container {
    let mut containers = pod(form).containers;
    assert_eq!(containers.len(), 1);
    containers.remove(0)
}

#[test]
fn they_are_objects_of_kubernetes_and_fit_together() {
    for form in Form::ALL {
        let objects = rendered(form);
        let kinds: Vec<_> = objects.iter().map(|it| it["kind"].as_str().unwrap_or_default()).collect();
        // The namespace first, since the others are in it.
        let expected = [
            "Namespace",
            "ResourceQuota",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRoleBinding",
            "DaemonSet",
        ];
        assert_eq!(kinds, expected);
        let namespace = object::<Namespace>(form, "Namespace").metadata;
        let labels = namespace.labels.unwrap_or_default();
        assert_eq!(labels.get("pod-security.kubernetes.io/enforce").map(String::as_str), Some("privileged"));
        let account = object::<ServiceAccount>(form, "ServiceAccount");
        let set = object::<DaemonSet>(form, "DaemonSet");
        let quota = object::<ResourceQuota>(form, "ResourceQuota");
        for metadata in [&account.metadata, &set.metadata, &quota.metadata] {
            assert_eq!(metadata.namespace, namespace.name);
        }
        let binding = object::<ClusterRoleBinding>(form, "ClusterRoleBinding");
        let role = object::<ClusterRole>(form, "ClusterRole");
        assert_eq!(
            (binding.role_ref.kind.as_str(), Some(binding.role_ref.name)),
            ("ClusterRole", role.metadata.name)
        );
        let [subject] = binding.subjects.as_deref().unwrap_or_default() else { panic!("one subject") };
        assert_eq!(subject.kind, "ServiceAccount");
        assert_eq!(
            (Some(&subject.name), &subject.namespace),
            (account.metadata.name.as_ref(), &namespace.name)
        );
        let spec = set.spec.expect("a spec");
        assert_eq!(spec.selector.match_labels, spec.template.metadata.expect("metadata").labels);
        assert_eq!(pod(form).service_account_name, account.metadata.name);
        // The class of its pods is the one that the quota lets in.
        let selector = quota.spec.expect("a spec").scope_selector.expect("a selector");
        let classes = selector.match_expressions.unwrap_or_default().remove(0).values;
        assert_eq!(classes, Some(vec![pod(form).priority_class_name.expect("a class")]));
    }
}

/// A container of a pod: it has the variables that the manifest and kubelet set, and no more.
struct InPod(Container);

impl Environment for InPod {
    fn var(&self, name: &str) -> Option<OsString> {
        if name == "KUBERNETES_SERVICE_HOST" {
            return Some("10.96.0.1".into());
        }
        let variable = self.0.env.iter().flatten().find(|variable| variable.name == name)?;
        let field = variable.value_from.as_ref()?.field_ref.as_ref()?;
        (field.field_path == "spec.nodeName").then(|| "worker-1".into())
    }
    fn stdout_is_terminal(&self) -> bool {
        false
    }
    fn hostname(&self) -> Option<String> {
        Some("crashtrace-x7k2p".to_owned())
    }
    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

#[test]
fn the_program_takes_its_arguments_and_does_what_is_meant() {
    for form in Form::ALL {
        let container = container(form);
        assert_eq!(container.command, None, "the image's entry point is the program");
        let arguments = ["crashtrace"].into_iter().chain(container.args.iter().flatten().map(String::as_str));
        let args = Args::try_parse_from(arguments).unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let config =
            Config::from_args(args, &InPod(container.clone())).unwrap_or_else(|error| panic!("{error}"));
        let cli::Command::Watch(watch) = config.command else { panic!("{config:?}") };
        assert_eq!(watch.output, cli::Output::Json);
        assert_eq!(watch.node_name, "worker-1", "not the pod's own name");
        assert_eq!(watch.allocations, cli::Allocations::Unexpected);
        // Probes and scrapes come to where it listens.
        let metrics = watch.metrics.expect("it serves metrics");
        assert!(metrics.ip().is_unspecified(), "the pod's address is not known here");
        let ports = json!(container.ports);
        assert_eq!(ports, json!([{ "name": "metrics", "containerPort": metrics.port() }]));
        let probes = [(&container.liveness_probe, "/healthz"), (&container.readiness_probe, "/readyz")];
        for (probe, path) in probes {
            let get = probe.as_ref().and_then(|probe| probe.http_get.clone()).expect("a probe by HTTP");
            assert_eq!((get.path.as_deref(), json!(get.port)), (Some(path), json!("metrics")));
        }
        let cri = (form == Form::Privileged).then_some(None);
        assert_eq!(watch.pods, cli::Pods { kube: Some(ApiServer::InCluster), cri }, "{form:?}");
    }
}

/// Whatever is given, in the words of the table.
fn given(form: Form) -> BTreeSet<String> {
    let (pod, container) = (pod(form), container(form));
    let mut given = Vec::new();
    let security = container.security_context.clone().expect("a security context");
    if security.privileged == Some(true) {
        given.push(What::Privileged);
    }
    let capabilities = security.capabilities.unwrap_or_default().add.unwrap_or_default();
    given.extend(capabilities.into_iter().map(|name| What::Capability(name.leak())));
    let role: ClusterRole = object(form, "ClusterRole");
    for rule in role.rules.unwrap_or_default() {
        assert_eq!(
            (rule.api_groups, rule.resources),
            (Some(vec![String::new()]), Some(vec!["pods".to_owned()]))
        );
        given.extend(rule.verbs.into_iter().map(|verb| What::Verb(verb.leak())));
    }
    let volumes = pod.volumes.unwrap_or_default();
    let mounts = container.volume_mounts.unwrap_or_default();
    assert_eq!(volumes.len(), mounts.len(), "each is mounted once");
    for mount in mounts {
        assert_eq!(mount.read_only, Some(true), "{}", mount.mount_path);
        let volume = volumes.iter().find(|volume| volume.name == mount.name).expect("its volume");
        let host = volume.host_path.clone().expect("a path of the host").path;
        given.push(What::Mount { host: host.leak(), at: mount.mount_path.leak() });
    }
    given.extend(container.env.into_iter().flatten().map(|variable| What::Variable(variable.name.leak())));
    given.iter().map(|what| format!("{what:?}")).collect()
}

#[test]
fn they_give_what_is_needed_and_no_more() {
    for form in Form::ALL {
        let needed = NEEDS.iter().filter(|need| need.only.is_none_or(|only| only == form));
        let needed: BTreeSet<_> = needed.map(|need| format!("{:?}", need.what)).collect();
        assert_eq!(given(form), needed, "{form:?}");
        let pod = pod(form);
        assert_eq!((pod.host_pid, pod.host_network, pod.host_ipc, pod.host_users), (None, None, None, None));
        assert_eq!((pod.init_containers, pod.security_context), (None, None));
        let security = container(form).security_context.expect("a security context");
        assert_eq!(security.read_only_root_filesystem, Some(true));
        if form == Form::Capabilities {
            let capabilities = security.capabilities.expect("capabilities");
            assert_eq!(capabilities.drop, Some(vec!["ALL".to_owned()]));
            assert_eq!(
                security.seccomp_profile.map(|profile| profile.type_).as_deref(),
                Some("RuntimeDefault")
            );
            assert_eq!((security.allow_privilege_escalation, security.run_as_user), (Some(false), Some(0)));
        }
    }
}

/// The table against what the program itself looks for.
#[test]
fn the_table_of_needs_is_the_programs() {
    let known = Capability::ALL.iter().filter(|capability| **capability != Capability::SysAdmin);
    let known: BTreeSet<_> = known.map(ToString::to_string).collect();
    let needed = NEEDS.iter().filter_map(|need| match need.what {
        What::Capability(name) => Some(format!("CAP_{name}")),
        _ => None,
    });
    assert_eq!(needed.collect::<BTreeSet<_>>(), known);
    let sockets: Vec<_> = socket::USUAL.iter().map(PathBuf::from).collect();
    let within = NEEDS.iter().filter(|need| match need.what {
        What::Mount { host, at } => {
            host == at && sockets.iter().any(|socket| socket.parent() == Some(Path::new(at)))
        }
        _ => false,
    });
    assert_eq!(within.count(), 1, "the folder of a socket that is looked for without being told");
}

/// README's table of privileges says the same, in both directions.
#[test]
fn the_readme_has_each_need() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("it can be read");
    let part =
        readme.split("## Privileges").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the part");
    let rows: Vec<_> = part.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ")).collect();
    let word = |what: What| match what {
        What::Privileged => "root".to_owned(),
        What::Capability(name) => format!("CAP_{name}"),
        What::Verb(name) | What::Variable(name) => format!("`{name}`"),
        What::Mount { host, .. } => format!("`{host}`"),
    };
    for need in &NEEDS {
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
    let files = ["base/daemonset.yaml", "base/rbac.yaml", "capabilities/daemonset.yaml"];
    let texts =
        files.map(|file| std::fs::read_to_string(root().join("deploy").join(file)).expect("it can be read"));
    let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).map(str::trim).collect();
    for need in &NEEDS {
        let line = match need.what {
            What::Privileged => "privileged: true".to_owned(),
            What::Capability(name) => format!("- {name}"),
            What::Verb(_) => "verbs: [list, watch]".to_owned(),
            // Its volume begins two lines above.
            What::Mount { host, .. } => format!("path: {host}"),
            What::Variable(name) => format!("- name: {name}"),
        };
        let at = lines.iter().position(|it| *it == line).unwrap_or_else(|| panic!("no line {line}"));
        let above = if matches!(need.what, What::Mount { .. }) { at - 3 } else { at - 1 };
        assert!(lines[above].starts_with("# "), "{line} has no reason above it: {}", lines[above]);
    }
}

#[test]
fn it_runs_on_every_node_and_lasts() {
    for form in Form::ALL {
        let pod = pod(form);
        let tolerations = json!(pod.tolerations);
        assert_eq!(tolerations, json!([{ "operator": "Exists" }]), "every taint");
        assert_eq!(pod.priority_class_name.as_deref(), Some("system-node-critical"));
        assert!(pod.termination_grace_period_seconds.is_some_and(|seconds| seconds >= 5));
        let resources = container(form).resources.expect("resources");
        for of in [resources.requests, resources.limits] {
            let of = of.expect("both are set");
            assert_eq!(of.keys().map(String::as_str).collect::<Vec<_>>(), ["cpu", "memory"]);
        }
        let version = concat!(":", env!("CARGO_PKG_VERSION"));
        assert!(container(form).image.is_some_and(|image| image.ends_with(version)));
    }
}

/// What README has one put into a folder of one's own, above these.
#[test]
fn an_overlay_names_a_registry_and_the_socket_of_another_runtime() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("it can be read");
    let blocks = readme.split("\n```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mine = dir.path().join("mine");
    std::os::unix::fs::symlink(root().join("deploy"), dir.path().join("deploy")).expect("a link");
    std::fs::create_dir(&mine).expect("a folder");
    std::fs::write(mine.join("kustomization.yaml"), blocks.collect::<String>()).expect("a file");
    let set = render::render(&mine).into_iter().find(|it| it["kind"] == "DaemonSet").expect("a DaemonSet");
    let pod = &set["spec"]["template"]["spec"];
    let image = concat!("registry.example/crashtrace:", env!("CARGO_PKG_VERSION"));
    assert_eq!(pod["containers"][0]["image"], image);
    let socket = Path::new("/run/crio/crio.sock");
    assert!(socket::USUAL.iter().any(|usual| Path::new(usual) == socket), "it is looked for there");
    let mount = &pod["containers"][0]["volumeMounts"][1];
    let volume = &pod["volumes"][1];
    assert_eq!((&mount["name"], &mount["mountPath"]), (&volume["name"], &json!("/run/crio")));
    assert_eq!(volume["hostPath"]["path"], "/run/crio");
}
