//! deploy/reports: the CRD is the type's, the rights are two verbs on two kinds, and the policy lets an agent speak for its own node.

use std::path::Path;

use crashtrace::crash_report::CrashReport;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::{Form, of_kind, rendered, root, watch, with};
use crashtrace::cli::KubeWrites;

/// Helm reads no file outside of its chart.
const COPIES: [&str; 2] = ["deploy/reports/crd.yaml", "deploy/helm/crashtrace/files/crd.yaml"];
const HEAD: &str = "# Made of the type in crashtrace/src/crash_report.rs: `CRASHTRACE_BLESS=1 cargo test -p crashtrace --test deploy crd`.\n";

#[test]
fn the_crd_is_the_types() {
    let made = whole(serde_json::to_value(CrashReport::crd()).expect("JSON"));
    if std::env::var_os("CRASHTRACE_BLESS").is_some() {
        let yaml = serde_saphyr::to_string(&made).expect("YAML");
        for path in COPIES {
            std::fs::write(root().join(path), format!("{HEAD}{yaml}")).expect("it can be written");
        }
    }
    for path in COPIES {
        let kept = std::fs::read_to_string(root().join(path)).expect("it can be read");
        let kept: Value = serde_saphyr::from_str(&kept).expect("YAML");
        assert_eq!(kept, made, "{path} is not the type's: see its first line");
    }
}

/// With whole numbers as such: Kubernetes' types have bounds as floats, and kustomize prints `0.0` as `0`, which Helm does not.
fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 => json!(float as i64),
            _ => Value::Number(number),
        },
        Value::Array(items) => items.into_iter().map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        other => other,
    }
}

/// What the API server refuses in a schema of a CRD (`structural schemas`), as far as a derived one could have it.
#[test]
fn the_schema_is_structural_and_says_what_each_field_is() {
    let crd = serde_json::to_value(CrashReport::crd()).expect("JSON");
    let [version] = &crd["spec"]["versions"].as_array().expect("versions")[..] else { panic!("{crd}") };
    let mut fields = 0;
    walk(&version["schema"]["openAPIV3Schema"], "", &mut fields);
    assert!(fields > 40, "{fields}");
    let columns = version["additionalPrinterColumns"].as_array().expect("columns");
    let names: Vec<_> = columns.iter().map(|column| column["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["Pod", "Container", "Cause", "Times", "Last", "Node", "Summary"]);
    for column in columns {
        let path = column["jsonPath"].as_str().expect("a path");
        let schema = path
            .split('.')
            .skip(1)
            .fold(&version["schema"]["openAPIV3Schema"], |at, part| &at["properties"][part]);
        let is_of_metadata = path.starts_with(".metadata.");
        assert!(is_of_metadata || schema["type"].is_string(), "{path} is no field");
    }
}

fn walk(schema: &Value, path: &str, fields: &mut usize) {
    let Value::Object(of) = schema else { panic!("{path}: {schema}") };
    for forbidden in ["$ref", "oneOf", "anyOf", "allOf", "definitions", "$schema"] {
        assert!(!of.contains_key(forbidden), "{path} has {forbidden}");
    }
    assert!(of.get("type").is_some_and(Value::is_string), "{path} has no type: {schema}");
    if path.starts_with(".spec.") {
        *fields += 1;
    }
    for (name, field) in of.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = format!("{path}.{name}");
        if path != ".metadata" && path != ".spec" && path.starts_with(".spec") {
            assert!(field["description"].is_string(), "{path} is not described");
        }
        walk(field, &path, fields);
    }
    for of_items in ["items", "additionalProperties"] {
        if let Some(items) = of.get(of_items) {
            walk(items, &format!("{path}[]"), fields);
        }
    }
}

#[test]
fn reports_are_a_component_for_either_form() {
    for form in Form::ALL {
        let plain = rendered(form);
        let objects = with(form, &["reports"]).expect("it is valid");
        let writes = KubeWrites { reports: true, events: true };
        assert_eq!(watch(&objects).pods.writes, writes);
        assert_eq!(watch(&plain).pods.writes, KubeWrites::default(), "off by default");
        let added = objects.iter().filter(|object| !plain.iter().any(|it| names(it) == names(object)));
        let added: Vec<_> = added.map(names).collect();
        let named = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        let mut expected = [
            named("ClusterRole", "crashtrace-reports"),
            named("ClusterRole", "crashtrace-reports-view"),
            named("ClusterRoleBinding", "crashtrace-reports"),
            named("CustomResourceDefinition", "crashreports.crashtrace.dev"),
            named("ValidatingAdmissionPolicy", "crashtrace-reports"),
            named("ValidatingAdmissionPolicy", "crashtrace-events"),
            named("ValidatingAdmissionPolicyBinding", "crashtrace-reports"),
            named("ValidatingAdmissionPolicyBinding", "crashtrace-events"),
        ];
        expected.sort();
        let mut added = added;
        added.sort();
        assert_eq!(added, expected);
        let role = objects.iter().find(|object| names(object) == expected[0]).cloned();
        let role: ClusterRole = of_kind(&[role.expect("the role")], "ClusterRole");
        let rules = serde_json::to_value(role.rules).expect("JSON");
        let verbs = ["create", "patch"];
        assert_eq!(
            rules,
            json!([
                { "apiGroups": ["crashtrace.dev"], "resources": ["crashreports"], "verbs": verbs },
                { "apiGroups": [""], "resources": ["events"], "verbs": verbs },
            ])
        );
    }
    // With no API server there is nothing to write to.
    let both = with(Form::Privileged, &["reports", "without-api"]).expect("it is valid");
    assert!(std::panic::catch_unwind(|| watch(&both)).is_err(), "the program refuses it");
}

fn names(object: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// A policy's expressions, tried on what an agent writes.
#[test]
fn an_agent_speaks_for_its_own_node_only() {
    let report = |node: &str, pod_uid: &str, owner: &str| {
        json!({
            "metadata": { "name": "api", "ownerReferences": [{ "kind": "Pod", "name": owner }] },
            "spec": { "node": node, "podUid": pod_uid },
        })
    };
    let agent = |node: Option<&str>| {
        let extra = node
            .map_or_else(|| json!({}), |node| json!({ "authentication.kubernetes.io/node-name": [node] }));
        json!({ "userInfo": { "username": "system:serviceaccount:crashtrace:crashtrace", "extra": extra } })
    };
    let denied =
        |name: &str, request: &Value, object: &Value, old: &Value| policy::denied(name, request, object, old);
    let own = report("n1", "u1", "api");
    for (what, request, object, old, is) in [
        ("a new report", agent(Some("n1")), own.clone(), Value::Null, None),
        ("the same again", agent(Some("n1")), own.clone(), own.clone(), None),
        (
            "as another node",
            agent(Some("n2")),
            own.clone(),
            Value::Null,
            Some("an agent reports in the name of its own node only"),
        ),
        (
            "another node's",
            agent(Some("n2")),
            report("n2", "u1", "api"),
            own.clone(),
            Some("this report is another node's"),
        ),
        ("a pod that has moved", agent(Some("n2")), report("n2", "u2", "api"), own.clone(), None),
        (
            "without a node",
            agent(None),
            own.clone(),
            Value::Null,
            Some("an agent reports in the name of its own node only"),
        ),
        (
            "of another pod",
            agent(Some("n1")),
            report("n1", "u1", "web"),
            Value::Null,
            Some("a report is owned by the pod of its name"),
        ),
        (
            "of none",
            agent(Some("n1")),
            json!({ "metadata": { "name": "api" }, "spec": { "node": "n1", "podUid": "u" } }),
            Value::Null,
            Some("a report is owned by the pod of its name"),
        ),
    ] {
        assert_eq!(denied("crashtrace-reports", &request, &object, &old).as_deref(), is, "{what}");
    }
    let event = |component: &str, node: &str| json!({ "reportingComponent": component, "reportingInstance": node, "source": { "host": node } });
    for (what, request, object, old, is) in [
        ("a new Event", agent(Some("n1")), event("crashtrace", "n1"), Value::Null, None),
        ("counted up", agent(Some("n1")), event("crashtrace", "n1"), event("crashtrace", "n1"), None),
        (
            "as kubelet",
            agent(Some("n1")),
            event("kubelet", "n1"),
            Value::Null,
            Some("an agent writes Events in its own name and that of its node only"),
        ),
        (
            "kubelet's",
            agent(Some("n1")),
            event("crashtrace", "n1"),
            event("kubelet", "n1"),
            Some("this Event is another writer's"),
        ),
        (
            "another node's",
            agent(Some("n1")),
            event("crashtrace", "n1"),
            event("crashtrace", "n2"),
            Some("this Event is another writer's"),
        ),
    ] {
        assert_eq!(denied("crashtrace-events", &request, &object, &old).as_deref(), is, "{what}");
    }
}

mod policy {
    use std::collections::HashMap;

    use cel::{Context, Program, Value as Cel};

    use super::*;

    /// The message of the first validation that denies it.
    pub(super) fn denied(name: &str, request: &Value, object: &Value, old: &Value) -> Option<String> {
        let text =
            std::fs::read_to_string(root().join("deploy/reports/policy.yaml")).expect("it can be read");
        let all: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
        let policy = all
            .into_iter()
            .find(|it| it["kind"] == "ValidatingAdmissionPolicy" && it["metadata"]["name"] == name);
        let spec = policy.expect("the policy")["spec"].clone();
        let mut context = Context::default();
        for (name, value) in [("request", request), ("object", object), ("oldObject", old)] {
            context.add_variable(name, value).expect("a value");
        }
        let run = |expression: &Value, context: &Context<'_, '_>| {
            let expression = expression.as_str().expect("an expression");
            let program =
                Program::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
            program.execute(context).unwrap_or_else(|error| panic!("{expression}: {error}"))
        };
        let variables: HashMap<String, Cel> = spec["variables"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|it| (it["name"].as_str().expect("a name").to_owned(), run(&it["expression"], &context)))
            .collect();
        context.add_variable_from_value("variables", variables);
        let conditions = spec["matchConditions"].as_array().expect("conditions");
        assert!(conditions.iter().all(|it| run(&it["expression"], &context) == Cel::Bool(true)));
        let validations = spec["validations"].as_array().expect("validations");
        let against = validations.iter().find(|it| run(&it["expression"], &context) != Cel::Bool(true));
        against.map(|it| it["message"].as_str().expect("a message").to_owned())
    }
}

#[test]
fn the_folder_has_nothing_else() {
    let files = std::fs::read_dir(Path::new(&root().join("deploy/reports"))).expect("a folder");
    let mut files: Vec<_> =
        files.map(|file| file.expect("a file").file_name().into_string().expect("a name")).collect();
    files.sort();
    assert_eq!(files, ["crd.yaml", "daemonset.yaml", "kustomization.yaml", "policy.yaml", "rbac.yaml"]);
}
