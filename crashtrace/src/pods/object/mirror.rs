//! Mirror pods: how the API server shows a static pod, which kubelet has from a file of the node. PURE.
//!
//! A static pod's cgroups have its config hash in place of a UID, and only the annotation `kubernetes.io/config.mirror` ties the
//! hash to the pod in the API. Any client that may create pods may write that annotation. So it counts only where all else is as
//! kubelet makes it (`pkg/kubelet/pod/mirror_client.go`, `pkg/kubelet/config/common.go`, 1.20 to 1.36):
//!
//! - the owner that controls it is a `Node` of `v1`,
//! - whose name is that of `spec.nodeName`,
//! - and the pod's name ends in `-` and that name, in lower case.
//!
//! A client that makes a pod by hand can imitate all of this. So [`crate::pods::index`] believes neither where two claim one hash,
//! and [`crate::pods::directory`] wants the node to be this one, and the runtime to agree if it is a source.

use super::{Meta, Spec, name};

/// The config hash, of a pod that is a mirror pod in each respect.
pub(super) fn config_hash(metadata: &Meta, spec: &Spec) -> Option<Box<str>> {
    let hash = name(metadata.annotations.config_mirror.as_ref())?;
    let node = spec.node_name.as_deref().filter(|node| !node.is_empty())?;
    let owner = metadata.owner_references.iter().find(|owner| owner.controller == Some(true))?;
    let of_node = (owner.kind.as_deref(), owner.api_version.as_deref(), owner.name.as_deref());
    let pod = metadata.name.as_deref()?.strip_suffix(&node.to_lowercase())?.strip_suffix('-')?;
    (of_node == (Some("Node"), Some("v1"), Some(node)) && !pod.is_empty()).then_some(hash)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::pods::object::{PodObject, pod};

    type Change = Box<dyn FnOnce(&mut Value)>;

    const HASH: &str = "349ec37f55eed21f6a216e957a510f10";

    /// As kubelet makes one on a node of this name, and with this change.
    fn config_hash(node: &str, change: impl FnOnce(&mut Value)) -> Option<String> {
        let owner =
            json!({ "apiVersion": "v1", "kind": "Node", "name": node, "uid": "n", "controller": true });
        let mut object = json!({
            "metadata": {
                "uid": "u", "namespace": "kube-system", "name": format!("etcd-{}", node.to_lowercase()),
                "annotations": { "kubernetes.io/config.mirror": HASH, "kubernetes.io/config.hash": HASH },
                "ownerReferences": [owner],
            },
            "spec": { "nodeName": node },
        });
        change(&mut object);
        let object: PodObject = serde_json::from_str(&object.to_string()).expect("JSON");
        pod(&object).expect("a pod").config_hash.map(Into::into)
    }

    #[test]
    fn a_mirror_pod_has_its_node_in_its_owner_its_name_and_its_spec() {
        assert_eq!(config_hash("node1", |_| ()).as_deref(), Some(HASH));
        assert_eq!(
            config_hash("IP-10-0-0-1.local", |_| ()).as_deref(),
            Some(HASH),
            "the name is in lower case"
        );
        let owner = |field: &'static str, value: Value| {
            move |object: &mut Value| object["metadata"]["ownerReferences"][0][field] = value
        };
        let field = |pointer: &'static str, value: Value| {
            move |object: &mut Value| *object.pointer_mut(pointer).expect("it is there") = value
        };
        let changes: [(&str, Change); 13] = [
            ("a Deployment's", Box::new(owner("kind", json!("ReplicaSet")))),
            ("somebody else's kind", Box::new(owner("apiVersion", json!("example.com/v1")))),
            ("another node", Box::new(owner("name", json!("node2")))),
            ("it controls nothing", Box::new(owner("controller", json!(false)))),
            ("nobody's", Box::new(field("/metadata/ownerReferences", json!([])))),
            ("a name without the node", Box::new(field("/metadata/name", json!("etcd")))),
            ("with another", Box::new(field("/metadata/name", json!("etcd-node2")))),
            ("without what comes before", Box::new(field("/metadata/name", json!("-node1")))),
            ("without the dash", Box::new(field("/metadata/name", json!("etcdnode1")))),
            ("on no node yet", Box::new(field("/spec/nodeName", Value::Null))),
            ("on a node of no name", Box::new(field("/spec/nodeName", json!("")))),
            ("on another node", Box::new(field("/spec/nodeName", json!("node2")))),
            ("without the annotation", Box::new(field("/metadata/annotations", json!({})))),
        ];
        for (what, change) in changes {
            assert_eq!(config_hash("node1", change), None, "{what}");
        }
    }
}
