//! The Helm chart against the kustomizations: Helm and kubectl each render, and the objects are the same.
//!
//! One object differs on purpose, the Namespace. `helm install --create-namespace` makes it before the chart's objects, since the
//! release is stored in it, and Helm does not take over an object that it did not make: a chart that had it too could not be installed.
//! So the chart has it only if told (`namespace.create`), and its label for Pod Security Admission is set by hand (NOTES.txt).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{container_of, pod_of, rendered, root, watch, with};
use crashtrace_test_support::deploy::needs::{CONTAINERD, Form, JOURNALED, PINNED};
use crashtrace_test_support::deploy::render::{self, CHART};

/// By kind and name: kustomize and Helm each have an order of their own.
fn by_name(objects: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    let count = objects.len();
    let all: BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| ((word(&object["kind"]), word(&object["metadata"]["name"])), object))
        .collect();
    assert_eq!(all.len(), count, "each is there once");
    all
}

fn chart(values: &Value) -> Vec<Value> {
    render::chart(values).unwrap_or_else(|error| panic!("{values}: {error}"))
}

/// Nothing is left out of the comparison but the Namespace: no label or annotation of Helm's is in the objects.
#[track_caller]
fn same(values: &Value, kustomized: Vec<Value>) {
    let mut kustomized = by_name(kustomized);
    let namespace = ("Namespace".to_owned(), "crashtrace".to_owned());
    let mut values = values.clone();
    values["namespace"] = json!({ "create": true });
    assert_eq!(by_name(chart(&values)), kustomized, "{values}");
    values["namespace"] = json!({ "create": false });
    kustomized.remove(&namespace).expect("kustomize makes it");
    assert_eq!(by_name(chart(&values)), kustomized, "{values}");
}

#[test]
fn the_default_is_what_kustomize_makes() {
    same(&json!({}), rendered(Form::Privileged));
    assert_eq!(chart(&json!({})).len(), 6, "without the Namespace, and without a PodMonitor");
}

#[test]
fn each_value_makes_what_its_component_makes_in_either_form() {
    let mut cases: Vec<(Value, Vec<&str>)> = vec![
        (json!({}), vec![]),
        (json!({ "runtimeSocket": "containerd" }), vec![CONTAINERD]),
        (json!({ "runtimeSocket": "crio" }), vec!["runtime-socket/crio"]),
        (json!({ "journal": true }), vec![JOURNALED]),
        (json!({ "pin": true }), vec![PINNED]),
        (json!({ "journal": true, "pin": true }), vec![JOURNALED, PINNED]),
        (json!({ "reports": true }), vec!["reports"]),
        (json!({ "journal": true, "pin": true, "reports": true }), vec![JOURNALED, PINNED, "reports"]),
        (json!({ "api": false }), vec!["without-api"]),
    ];
    cases.push((
        json!({ "api": false, "runtimeSocket": "crio", "journal": true, "pin": true }),
        vec!["without-api", "runtime-socket/crio", JOURNALED, PINNED],
    ));
    for (form, word) in [(Form::Privileged, "privileged"), (Form::Capabilities, "capabilities")] {
        for (values, components) in &cases {
            let mut values = values.clone();
            values["form"] = word.into();
            same(&values, with(form, components).expect("they fit together"));
        }
    }
}

/// The folders that the comment in `deploy/runtime-socket/crio` names.
#[test]
fn k3s_and_k0s_have_their_own_folders() {
    let comment = std::fs::read_to_string(root().join("deploy/runtime-socket/crio/kustomization.yaml"));
    let comment = comment.expect("it can be read");
    for (runtime, folder) in [("k3s", "/run/k3s/containerd"), ("k0s", "/run/k0s")] {
        assert!(
            comment.contains(&format!("For {runtime} use {folder}"))
                || comment.contains(&format!("for {runtime} {folder}"))
        );
        let containerd = with(Form::Privileged, &[CONTAINERD]).expect("they fit together");
        let text = json!(containerd).to_string().replace("/run/containerd", folder);
        let expected: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        same(&json!({ "runtimeSocket": runtime }), expected);
    }
}

#[test]
fn values_reach_the_fields_that_they_name() {
    let digest = format!("sha256:{}", "5a".repeat(32));
    let values = json!({
        "name": "crashtrace-crio",
        "image": { "repository": "registry.example/crashtrace", "tag": "9", "digest": digest,
            "pullPolicy": "IfNotPresent", "pullSecrets": [{ "name": "registry" }] },
        "form": "capabilities",
        "capabilities": ["BPF", "PERFMON", "SYSLOG", "SYS_ADMIN"],
        "seccompProfile": "Unconfined",
        "metrics": { "address": "[::]", "port": 9999, "allowFrom": "observability" },
        "extraArgs": ["--exits=all", "--log", "info"],
        "resources": { "requests": { "memory": "48Mi" } },
        "priorityClassName": "mine",
        "tolerations": [{ "key": "gpu", "operator": "Exists" }],
        "nodeSelector": { "pool": "crio" },
    });
    let objects = chart(&values);
    let pod = pod_of(&objects);
    let container = container_of(&pod);
    assert_eq!(container.image.as_deref(), Some(&*format!("registry.example/crashtrace@{digest}")));
    assert_eq!(container.image_pull_policy.as_deref(), Some("IfNotPresent"));
    assert_eq!(json!(pod.image_pull_secrets), json!([{ "name": "registry" }]));
    let security = json!(container.security_context);
    assert_eq!(security["capabilities"]["add"], values["capabilities"]);
    assert_eq!(security["seccompProfile"]["type"], "Unconfined");
    assert_eq!(json!(container.ports), json!([{ "name": "metrics", "containerPort": 9999 }]));
    let resources = json!({ "requests": { "cpu": "10m", "memory": "48Mi" }, "limits": { "memory": "96Mi" } });
    assert_eq!(json!(container.resources), resources);
    assert_eq!(json!(pod.tolerations), values["tolerations"]);
    assert_eq!(json!(pod.node_selector), json!({ "kubernetes.io/os": "linux", "pool": "crio" }));
    assert_eq!(pod.priority_class_name.as_deref(), Some("mine"));
    // The program takes them.
    let watch = watch(&objects);
    assert_eq!(watch.metrics.map(|address| address.to_string()).as_deref(), Some("[::]:9999"));
    let of =
        |kind| objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
    let quota = of("ResourceQuota").pointer("/spec/scopeSelector/matchExpressions/0/values");
    assert_eq!(quota, Some(&json!(["mine"])), "it admits the class of its pods");
    let from = of("NetworkPolicy").pointer("/spec/ingress/0/from/0/namespaceSelector/matchLabels");
    assert_eq!(from, Some(&json!({ "kubernetes.io/metadata.name": "observability" })));
    for object in &objects {
        assert_eq!(object["metadata"]["name"], "crashtrace-crio", "two releases share no object");
    }
    let set = of("DaemonSet");
    let labels = json!({ "app.kubernetes.io/name": "crashtrace-crio" });
    assert_eq!(
        (&set["spec"]["selector"]["matchLabels"], &set["spec"]["template"]["metadata"]["labels"]),
        (&labels, &labels)
    );

    let tagged = chart(&json!({ "image": { "tag": "9" }, "priorityClassName": "" }));
    assert_eq!(container_of(&pod_of(&tagged)).image.as_deref(), Some("localhost/crashtrace:9"));
    assert_eq!(pod_of(&tagged).priority_class_name, None);
    assert!(!tagged.iter().any(|object| object["kind"] == "ResourceQuota"), "no class, no quota for it");
}

/// The Prometheus Operator's object makes the same targets as the scrape job.
#[test]
fn a_pod_monitor_is_made_if_told_and_has_the_labels_of_the_scrape_job() {
    let scrape =
        std::fs::read_to_string(root().join("deploy/monitoring/scrape.yaml")).expect("it can be read");
    let scrape: Value = serde_saphyr::from_str(&scrape).expect("YAML");
    let job = &scrape["scrape_configs"][0];
    let node =
        job["relabel_configs"].as_array().and_then(|all| all.iter().find(|it| it["target_label"] == "node"));
    let monitor = json!({ "enabled": true, "labels": { "release": "prometheus" }, "interval": "30s" });
    let objects = chart(&json!({ "metrics": { "podMonitor": monitor } }));
    let found: Vec<_> = objects.iter().filter(|object| object["kind"] == "PodMonitor").collect();
    let [monitor] = found.as_slice() else { panic!("{found:#?}") };
    let set = objects.iter().find(|object| object["kind"] == "DaemonSet").expect("a DaemonSet");
    assert_eq!(monitor["spec"]["selector"], set["spec"]["selector"]);
    assert_eq!(monitor["metadata"]["labels"], json!({ "release": "prometheus" }));
    let expected = json!([{
        "port": "metrics",
        "interval": "30s",
        "relabelings": [
            { "targetLabel": "job", "replacement": job["job_name"] },
            { "sourceLabels": node.expect("it has one")["source_labels"], "targetLabel": "node" },
        ],
    }]);
    assert_eq!(monitor["spec"]["podMetricsEndpoints"], expected);
}

#[test]
fn the_schema_refuses_wrong_values_before_anything_is_installed() {
    for (values, says) in [
        (json!({ "form": "root" }), "at '/form': value must be one of 'privileged', 'capabilities'"),
        (json!({ "runtimeSocket": "docker" }), "at '/runtimeSocket': value must be one of"),
        (json!({ "api": "no" }), "at '/api': got string, want boolean"),
        (json!({ "image": { "digest": "latest" } }), "at '/image/digest': 'latest' does not match pattern"),
        (json!({ "image": { "repository": "a@b" } }), "at '/image/repository'"),
        (json!({ "image": { "pullPolicy": "Sometimes" } }), "at '/image/pullPolicy'"),
        (json!({ "capabilities": ["SYS_PTRACE", "BPF", "PERFMON"] }), "at '/capabilities/0'"),
        (json!({ "capabilities": ["SYSLOG"] }), "at '/capabilities'"),
        (json!({ "metrics": { "port": 0 } }), "at '/metrics/port'"),
        (
            json!({ "metrics": { "podMonitor": { "enable": true } } }),
            "additional properties 'enable' not allowed",
        ),
        // A second one of these ends the program with exit code 2.
        (json!({ "extraArgs": ["--pods=none"] }), "at '/extraArgs/0'"),
        (json!({ "extraArgs": ["--metrics"] }), "at '/extraArgs/0'"),
        (json!({ "journals": true }), "additional properties 'journals' not allowed"),
    ] {
        let error = render::chart(&values).expect_err("it is refused");
        assert!(error.contains("values don't meet the specifications of the schema"), "{values}: {error}");
        assert!(error.contains(says), "{values}: {error}");
    }
}

/// Each key of values.yaml is in the schema, and the other way round.
#[test]
fn the_schema_and_the_defaults_have_the_same_keys() {
    let read = |name: &str| std::fs::read_to_string(root().join(CHART).join(name)).expect("it can be read");
    let defaults: Value = serde_saphyr::from_str(&read("values.yaml")).expect("YAML");
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<_> = value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.sort_unstable();
        keys
    };
    let mut known = keys(&schema["properties"]);
    known.retain(|key| key != "global");
    assert_eq!(keys(&defaults), known);
    for path in ["image", "namespace", "metrics"] {
        assert_eq!(keys(&defaults[path]), keys(&schema["properties"][path]["properties"]), "{path}");
    }
    let monitor = &schema["properties"]["metrics"]["properties"]["podMonitor"]["properties"];
    assert_eq!(keys(&defaults["metrics"]["podMonitor"]), keys(monitor));
}

#[test]
fn the_chart_has_the_programs_version_and_helm_has_nothing_against_it() {
    let text = std::fs::read_to_string(root().join(CHART).join("Chart.yaml")).expect("it can be read");
    let about: Value = serde_saphyr::from_str(&text).expect("YAML");
    for field in ["version", "appVersion"] {
        assert_eq!(about[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
    render::helm(&["lint", "--strict"], &json!({})).unwrap_or_else(|error| panic!("{error}"));
}

/// What `helm install` prints, without a cluster.
#[test]
fn the_notes_say_how_to_label_the_namespace_and_what_stays_on_a_node() {
    let notes = |values: Value| {
        let install = ["install", "crashtrace", "--namespace", "crashtrace", "--dry-run=client"];
        let said = render::helm(&install, &values).unwrap_or_else(|error| panic!("{error}"));
        let said = String::from_utf8(said).expect("text");
        said.split_once("\nNOTES:\n").expect("notes").1.to_owned()
    };
    let label = "kubectl label namespace crashtrace pod-security.kubernetes.io/enforce=privileged";
    let plain = notes(json!({}));
    assert!(plain.contains(label) && plain.contains("--tail=-1"), "{plain}");
    assert!(!plain.contains("stays on a node") && !plain.contains("no names"), "{plain}");
    let all = notes(json!({ "namespace": { "create": true }, "api": false, "journal": true, "pin": true }));
    assert!(!all.contains(label), "{all}");
    for says in ["no names of pods", "/var/lib/crashtrace and the hooks", "/sys/fs/bpf/crashtrace"] {
        assert!(all.contains(says), "{says}: {all}");
    }
}
