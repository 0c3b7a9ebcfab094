//! The manifests in deploy/: that Kubernetes accepts them, that the program accepts its arguments, and that they meet its needs
//! and give nothing else. `tests/daemonset.rs` runs containers by them, and so do guests (`tests/scenario/src/deployed.rs`), where
//! `oci` gives runc the configuration that a container runtime would. Needs kubectl and Helm (`cargo xtask setup --tools`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::Parser as _;
use crashtrace::cli::{self, ApiServer, Args, Config, Environment};
use crashtrace::kernel::host::Capability;
use crashtrace::pods::cri::socket;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Container, Namespace, PodSpec, ResourceQuota, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use strum::VariantArray as _;

use crashtrace_test_support::deploy::needs::{
    CONTAINERD, Form, JOURNAL, JOURNALED, NEEDS, Need, PINNED, PINS, SOCKET, What,
};
use crashtrace_test_support::deploy::render;

mod documents;
mod helm;
mod reports;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the workspace")
}

fn rendered(form: Form) -> Vec<Value> {
    static ONCE: [OnceLock<Vec<Value>>; 2] = [OnceLock::new(), OnceLock::new()];
    ONCE[usize::from(form == Form::Capabilities)]
        .get_or_init(|| render::render(&root().join(form.folder())))
        .clone()
}

/// The only object of this kind.
fn object<T: DeserializeOwned + Serialize>(form: Form, kind: &str) -> T {
    of_kind(&rendered(form), kind)
}

fn of_kind<T: DeserializeOwned + Serialize>(objects: &[Value], kind: &str) -> T {
    let mut objects = objects.to_vec();
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
    pod_of(&rendered(form))
}

fn pod_of(objects: &[Value]) -> PodSpec {
    let set: DaemonSet = of_kind(objects, "DaemonSet");
    set.spec.expect("a spec").template.spec.expect("a spec")
}

fn container(form: Form) -> Container {
    container_of(&pod(form))
}

fn container_of(pod: &PodSpec) -> Container {
    let mut containers = pod.containers.clone();
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
            "NetworkPolicy",
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
        let labels = spec.template.metadata.expect("metadata").labels;
        assert_eq!(spec.selector.match_labels, labels);
        let policy = object::<NetworkPolicy>(form, "NetworkPolicy");
        assert_eq!(policy.metadata.namespace, namespace.name);
        let policy = policy.spec.expect("a spec");
        assert_eq!(policy.pod_selector.and_then(|pods| pods.match_labels), labels);
        assert_eq!(pod(form).service_account_name, account.metadata.name);
        // The quota admits the class of its pods.
        let selector = quota.spec.expect("a spec").scope_selector.expect("a selector");
        let classes = selector.match_expressions.unwrap_or_default().remove(0).values;
        assert_eq!(classes, Some(vec![pod(form).priority_class_name.expect("a class")]));
    }
}

/// A container of a pod, with the variables that the manifest and kubelet set.
struct InPod(Container);

impl Environment for InPod {
    fn var(&self, name: &str) -> Option<OsString> {
        let own = self.0.env.iter().flatten().find(|variable| variable.name == name);
        if let Some(value) = own.and_then(|variable| variable.value.clone()) {
            // Before kubelet's of the same name (`makeEnvironmentVariables` in its kubelet_pods.go).
            return Some(value.into());
        }
        if name == "KUBERNETES_SERVICE_HOST" {
            return Some("10.96.0.1".into());
        }
        let variable = own?;
        let field = variable.value_from.as_ref()?.field_ref.as_ref()?;
        (field.field_path == "spec.nodeName").then(|| "worker-1".into())
    }
    fn stdout_is_terminal(&self) -> bool {
        false
    }
    fn hostname(&self) -> Option<String> {
        Some("crashtrace-x7k2p".to_owned())
    }
    fn is_file(&self, _: &Path) -> bool {
        false
    }
    fn is_directory(&self, _: &Path) -> bool {
        false
    }
}

/// The program's options in a pod of these objects.
fn watch(objects: &[Value]) -> cli::Watch {
    let container = container_of(&pod_of(objects));
    let arguments = ["crashtrace"].into_iter().chain(container.args.iter().flatten().map(String::as_str));
    let args = Args::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}"));
    let config = Config::from_args(args, &InPod(container.clone())).unwrap_or_else(|error| panic!("{error}"));
    let cli::Command::Watch(watch) = config.command else { panic!("{config:?}") };
    watch
}

#[test]
fn the_program_takes_its_arguments_as_they_are_meant() {
    for form in Form::ALL {
        let container = container(form);
        assert_eq!(container.command, None, "the image's entry point is the program");
        let watch = watch(&rendered(form));
        assert_eq!(watch.output, cli::Output::Json);
        assert_eq!(watch.node_name, "worker-1", "not the pod's own name");
        assert_eq!(watch.allocations, cli::Allocations::Unexpected);
        // Probes and scrapes reach the address where it listens.
        let metrics = watch.metrics.expect("it serves metrics");
        assert!(metrics.ip().is_unspecified(), "the pod's address is not known here");
        let ports = json!(container.ports);
        assert_eq!(ports, json!([{ "name": "metrics", "containerPort": metrics.port() }]));
        let probes = [(&container.liveness_probe, "/healthz"), (&container.readiness_probe, "/readyz")];
        for (probe, path) in probes {
            let get = probe.as_ref().and_then(|probe| probe.http_get.clone()).expect("a probe by HTTP");
            assert_eq!((get.path.as_deref(), json!(get.port)), (Some(path), json!("metrics")));
        }
        assert_eq!(
            watch.pods,
            cli::Pods { kube: Some(ApiServer::InCluster), cri: None, ..cli::Pods::default() },
            "{form:?}"
        );
    }
}

/// All that the manifests give, in the words of the table.
fn given(objects: &[Value]) -> BTreeSet<String> {
    let pod = pod_of(objects);
    let container = container_of(&pod);
    let mut given = Vec::new();
    let security = container.security_context.clone().expect("a security context");
    if security.privileged == Some(true) {
        given.push(What::Privileged);
    }
    let capabilities = security.capabilities.unwrap_or_default().add.unwrap_or_default();
    given.extend(capabilities.into_iter().map(|name| What::Capability(name.leak())));
    let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole");
    let roles = roles.map(|role| serde_json::from_value::<ClusterRole>(role.clone()).expect("a role"));
    for rule in roles.flat_map(|role| role.rules.unwrap_or_default()) {
        assert_eq!((rule.api_groups, rule.resource_names), (Some(vec![String::new()]), None));
        for resource in rule.resources.into_iter().flatten() {
            let resource: &str = resource.leak();
            given.extend(rule.verbs.iter().map(|verb| What::Verb(verb.clone().leak(), resource)));
        }
    }
    let volumes = pod.volumes.unwrap_or_default();
    let mounts = container.volume_mounts.unwrap_or_default();
    assert_eq!(volumes.len(), mounts.len(), "each is mounted once");
    for mount in mounts {
        let volume = volumes.iter().find(|volume| volume.name == mount.name).expect("its volume");
        let host = volume.host_path.clone().expect("a path of the host");
        let (path, at): (&str, &str) = (host.path.leak(), mount.mount_path.leak());
        match (mount.read_only, host.type_.as_deref()) {
            (Some(true), Some("Directory")) => given.push(What::Mount { host: path, at }),
            // Nothing else is made on a node.
            (None, Some("DirectoryOrCreate")) => given.push(What::Writable { host: path, at }),
            (None, Some("Directory")) => given.push(What::WritableThere { host: path, at }),
            other => panic!("{at}: {other:?}"),
        }
    }
    given.extend(container.env.into_iter().flatten().map(|variable| What::Variable(variable.name.leak())));
    given.iter().map(|what| format!("{what:?}")).collect()
}

/// The needs of this form, by the table.
fn needed(form: Form) -> BTreeSet<String> {
    let needed = NEEDS.iter().filter(|need| need.only.is_none_or(|only| only == form));
    needed.map(named).collect()
}

fn named(need: &Need) -> String {
    format!("{:?}", need.what)
}

#[test]
fn they_meet_the_needs_and_give_no_more() {
    for form in Form::ALL {
        assert_eq!(given(&rendered(form)), needed(form), "{form:?}");
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

fn with(form: Form, components: &[&str]) -> Result<Vec<Value>, String> {
    render::render_with(form.folder(), components)
}

/// The runtime's socket equals root on the node: only its component mounts it, in either form, and the component changes nothing
/// else.
#[test]
fn the_runtimes_socket_is_a_component_for_either_form() {
    for form in Form::ALL {
        let objects = with(form, &[CONTAINERD]).expect("they fit together");
        let mut expected = needed(form);
        expected.insert(named(&SOCKET));
        assert_eq!(given(&objects), expected, "{form:?}");
        assert_eq!(
            watch(&objects).pods,
            cli::Pods { kube: Some(ApiServer::InCluster), cri: Some(None), ..cli::Pods::default() }
        );
        let others = |objects: &[Value]| -> Vec<Value> {
            objects.iter().filter(|object| object["kind"] != "DaemonSet").cloned().collect()
        };
        assert_eq!(others(&objects), others(&rendered(form)));

        let crio = with(form, &["runtime-socket/crio"]).expect("they fit together");
        let mount = What::Mount { host: "/run/crio", at: "/run/crio" };
        let given = given(&crio);
        assert!(given.contains(&format!("{mount:?}")) && !given.contains(&named(&SOCKET)), "{given:?}");
        assert_eq!(watch(&crio).pods, watch(&objects).pods);
    }
}

/// The one folder that the agent writes to: only its component mounts it, in either form, and the component changes nothing else. In
/// any order with the others.
#[test]
fn the_journal_is_a_component_for_either_form() {
    for form in Form::ALL {
        let plain = rendered(form);
        let objects = with(form, &[JOURNALED]).expect("they fit together");
        let mut expected = needed(form);
        expected.insert(named(&JOURNAL));
        assert_eq!(given(&objects), expected, "{form:?}");
        let journal = watch(&objects).journal.expect("a journal");
        assert_eq!(journal.directory, Path::new("/var/lib/crashtrace"));
        assert_eq!(watch(&objects), cli::Watch { journal: Some(journal.clone()), ..watch(&plain) });
        for components in [[JOURNALED, CONTAINERD], [CONTAINERD, JOURNALED]] {
            let both = with(form, &components).expect("they fit together");
            let mut expected = expected.clone();
            expected.insert(named(&SOCKET));
            assert_eq!(given(&both), expected, "{components:?}");
            assert_eq!(watch(&both).journal.as_ref(), Some(&journal));
        }
    }
}

/// Only its component mounts the node's BPF file system, in either form, and it changes nothing else.
#[test]
fn pins_are_a_component_for_either_form() {
    for form in Form::ALL {
        let plain = rendered(form);
        let mut expected = needed(form);
        expected.insert(named(&PINS));
        let pin = Some(Path::new("/host/sys/fs/bpf/crashtrace").to_owned());
        let objects = with(form, &[PINNED]).expect("they fit together");
        assert_eq!(given(&objects), expected, "{form:?}");
        assert_eq!(watch(&objects), cli::Watch { pin: pin.clone(), ..watch(&plain) });
        for components in [[JOURNALED, PINNED], [PINNED, JOURNALED]] {
            let both = with(form, &components).expect("they fit together");
            let mut expected = expected.clone();
            expected.insert(named(&JOURNAL));
            assert_eq!(given(&both), expected, "{components:?}");
            assert_eq!(watch(&both).pin, pin);
        }
    }
}

/// Without the right to read every pod of the cluster.
#[test]
fn the_api_server_can_be_left_out() {
    for form in Form::ALL {
        let alone = with(form, &["without-api"]).expect("they fit together");
        let mut expected = needed(form);
        expected.retain(|what| !what.starts_with("Verb"));
        expected.insert(format!("{:?}", What::Variable("KUBERNETES_SERVICE_HOST")));
        assert_eq!(given(&alone), expected, "{form:?}");
        assert_eq!(watch(&alone).pods, cli::Pods::default());
        let both = with(form, &["without-api", CONTAINERD]).expect("they fit together");
        assert_eq!(watch(&both).pods, cli::Pods { kube: None, cri: Some(None), ..cli::Pods::default() });
        for objects in [&alone, &both] {
            let kinds: Vec<_> = objects.iter().filter_map(|object| object["kind"].as_str()).collect();
            assert!(!kinds.iter().any(|kind| kind.contains("Role")), "{kinds:?}");
            assert_eq!(pod_of(objects).automount_service_account_token, Some(false), "no token");
        }
        // In the other order the socket's component would have the last word.
        let error = with(form, &[CONTAINERD, "without-api"]).expect_err("the order matters, and is checked");
        assert!(error.contains("testing value /spec/template/spec/containers/0/args/6 failed"), "{error}");
    }
}

#[test]
fn only_prometheus_reaches_the_metrics() {
    let policy: NetworkPolicy = object(Form::Privileged, "NetworkPolicy");
    let spec = policy.spec.expect("a spec");
    assert_eq!(spec.policy_types, Some(vec!["Ingress".to_owned()]));
    let rules = spec.ingress.unwrap_or_default();
    let [rule] = rules.as_slice() else { panic!("{rules:#?}") };
    assert_eq!(json!(rule.ports), json!([{ "port": "metrics" }]));
    let from =
        json!([{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "monitoring" } } }]);
    assert_eq!(json!(rule.from), from);
}

/// The table against the program's own needs.
#[test]
fn the_table_of_needs_is_the_programs() {
    let known = Capability::VARIANTS.iter().filter(|capability| **capability != Capability::SysAdmin);
    let known: BTreeSet<_> = known.map(ToString::to_string).collect();
    let needed = NEEDS.iter().filter_map(|need| match need.what {
        What::Capability(name) => Some(format!("CAP_{name}")),
        _ => None,
    });
    assert_eq!(needed.collect::<BTreeSet<_>>(), known);
    let sockets: Vec<_> = socket::USUAL.iter().map(PathBuf::from).collect();
    let What::Mount { host, at } = SOCKET.what else { panic!("a folder") };
    let found = sockets.iter().any(|socket| socket.parent() == Some(Path::new(at)));
    assert!(host == at && found, "the folder of a socket that is looked for without being told");
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
        // A CPU limit throttles the agent just when the node is out of memory: reclaim in its page faults counts as its CPU time.
        for (of, has) in [(resources.requests, &["cpu", "memory"][..]), (resources.limits, &["memory"])] {
            let of = of.expect("both are set");
            assert_eq!(of.keys().map(String::as_str).collect::<Vec<_>>(), has);
        }
        let version = concat!(":", env!("CARGO_PKG_VERSION"));
        assert!(container(form).image.is_some_and(|image| image.ends_with(version)));
    }
}
