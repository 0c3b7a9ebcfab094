//! Objects that the agent writes, kept as an API server keeps them: `CrashReport` by server-side apply, core/v1 Events by POST and PATCH.
//! What refuses them can be switched.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Wrote};

/// The objects, and every write that came.
#[derive(Debug, Default)]
pub struct Objects {
    /// The CRD is there.
    pub crd: bool,
    /// The agent has the right to write reports.
    pub allowed: bool,
    /// Namespaces that are there.
    pub namespaces: BTreeSet<String>,
    /// Namespaces that are being deleted.
    pub terminating: BTreeSet<String>,
    /// Names of reports that a policy refuses.
    pub denied: BTreeSet<String>,
    /// So many applies find that the object has just been changed.
    pub conflicts: usize,
    /// By namespace and name.
    pub reports: BTreeMap<(String, String), Value>,
    pub events: BTreeMap<(String, String), Value>,
    pub wrote: Vec<Wrote>,
}

impl Objects {
    /// A server on which all is well.
    #[must_use]
    pub fn well(namespaces: &[&str]) -> Self {
        let namespaces = namespaces.iter().map(ToString::to_string).collect();
        Self { crd: true, allowed: true, namespaces, ..Self::default() }
    }

    /// Answers a write.
    ///
    /// # Panics
    /// The write is none that the agent may send.
    pub fn answer(&mut self, wrote: &Wrote) -> Answer {
        let parts: Vec<_> = wrote.path.split('/').skip(1).collect();
        match parts[..] {
            ["apis", "crashtrace.dev", "v1alpha1"] if wrote.method == "GET" => {
                return if self.crd {
                    ok(200, &json!({ "kind": "APIResourceList" }))
                } else {
                    unknown_path()
                };
            }
            ["apis", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"] => {
                let asked = &wrote.body["spec"]["resourceAttributes"];
                assert!(asked["verb"] == "create" || asked["verb"] == "patch", "{asked}");
                let allowed = self.allowed || asked["resource"] != "crashreports";
                return ok(201, &json!({ "status": { "allowed": allowed } }));
            }
            _ => self.wrote.push(wrote.clone()),
        }
        match parts[..] {
            ["apis", "crashtrace.dev", "v1alpha1", "namespaces", namespace, "crashreports", name] => {
                self.report(wrote, namespace, name)
            }
            ["api", "v1", "namespaces", namespace, "events"] => self.new_event(wrote, namespace),
            ["api", "v1", "namespaces", namespace, "events", name] => {
                assert_eq!((&*wrote.method, &*wrote.content), ("PATCH", "application/merge-patch+json"));
                let Some(event) = self.events.get_mut(&(namespace.to_owned(), name.to_owned())) else {
                    return not_found("events", name);
                };
                merge(event, &wrote.body);
                ok(200, event)
            }
            _ => panic!("no right to write there: {wrote:?}"),
        }
    }

    /// Applies and empty patches that were answered with the object.
    #[must_use]
    pub fn applies(&self) -> usize {
        self.wrote.iter().filter(|wrote| wrote.content == "application/apply-patch+yaml").count()
    }

    fn report(&mut self, wrote: &Wrote, namespace: &str, name: &str) -> Answer {
        assert_eq!(wrote.method, "PATCH");
        if !self.crd {
            return unknown_path();
        }
        if !self.allowed {
            let message = format!(
                "crashreports.crashtrace.dev \"{name}\" is forbidden: User \"system:serviceaccount:crashtrace:crashtrace\" cannot patch resource \"crashreports\" in API group \"crashtrace.dev\" in the namespace \"{namespace}\""
            );
            return status(403, "Forbidden", &message, &json!({ "name": name, "kind": "crashreports" }));
        }
        let key = (namespace.to_owned(), name.to_owned());
        if wrote.content == "application/merge-patch+json" {
            assert_eq!(wrote.body, json!({}), "the agent's only use of it");
            return self
                .reports
                .get(&key)
                .map_or_else(|| not_found("crashreports", name), |object| ok(200, object));
        }
        assert_eq!(wrote.content, "application/apply-patch+yaml");
        assert!(wrote.query["fieldManager"].starts_with("crashtrace-") && wrote.query["force"] == "true");
        if self.conflicts > 0 {
            self.conflicts -= 1;
            let message = "Operation cannot be fulfilled: the object has been modified";
            return status(409, "Conflict", message, &json!({ "name": name, "kind": "crashreports" }));
        }
        if self.denied.contains(name) {
            let message = "ValidatingAdmissionPolicy 'crashtrace' with binding 'crashtrace' denied request: not this node's pod";
            return status(422, "Invalid", message, &json!({ "name": name, "kind": "crashreports" }));
        }
        if let Some(refused) = self.refused_by_namespace(namespace) {
            return refused;
        }
        let mut object = wrote.body.clone();
        let metadata = &object["metadata"];
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!(name), &json!(namespace)));
        let owner = &metadata["ownerReferences"][0];
        assert_eq!(
            (&owner["kind"], &owner["name"]),
            (&json!("Pod"), &json!(name)),
            "nobody would collect it"
        );
        let version = self.wrote.len();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["managedFields"] =
            json!([{ "manager": wrote.query["fieldManager"], "operation": "Apply" }]);
        let is_new = self.reports.insert(key, object.clone()).is_none();
        ok(if is_new { 201 } else { 200 }, &object)
    }

    fn new_event(&mut self, wrote: &Wrote, namespace: &str) -> Answer {
        assert_eq!((&*wrote.method, &*wrote.content), ("POST", "application/json"));
        if let Some(refused) = self.refused_by_namespace(namespace) {
            return refused;
        }
        let name = wrote.body["metadata"]["name"].as_str().expect("a name").to_owned();
        let message = wrote.body["message"].as_str().expect("a message");
        assert!(
            name.len() <= 253 && message.len() <= 4096 && message.chars().count() <= 1024,
            "{name}: {message}"
        );
        assert_eq!(wrote.body["involvedObject"]["namespace"].as_str().unwrap_or("default"), namespace);
        let key = (namespace.to_owned(), name.clone());
        if self.events.contains_key(&key) {
            return status(409, "AlreadyExists", "it exists", &json!({ "name": name, "kind": "events" }));
        }
        self.events.insert(key, wrote.body.clone());
        ok(201, &wrote.body)
    }

    fn refused_by_namespace(&self, namespace: &str) -> Option<Answer> {
        if self.terminating.contains(namespace) {
            let message = format!(
                "unable to create new content in namespace {namespace} because it is being terminated"
            );
            let cause = json!({ "reason": "NamespaceTerminating", "message": "it is being terminated" });
            return Some(status(403, "Forbidden", &message, &json!({ "causes": [cause] })));
        }
        let is_there = namespace == "default" || self.namespaces.contains(namespace);
        (!is_there).then(|| not_found("namespaces", namespace))
    }
}

fn merge(object: &mut Value, patch: &Value) {
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else { panic!("objects") };
    for (name, value) in patch {
        object.insert(name.clone(), value.clone());
    }
}

fn unknown_path() -> Answer {
    Answer::Whole(404, "text/plain; charset=utf-8", None, Bytes::from_static(b"404 page not found\n"))
}

fn not_found(resource: &str, name: &str) -> Answer {
    let message = format!("{resource} \"{name}\" not found");
    status(404, "NotFound", &message, &json!({ "name": name, "kind": resource }))
}

fn status(code: u16, reason: &str, message: &str, details: &Value) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        "details": details, "code": code,
    });
    Answer::Whole(code, "application/json", None, status.to_string().into())
}

fn ok(code: u16, object: &Value) -> Answer {
    Answer::Whole(code, "application/json", None, object.to_string().into())
}
