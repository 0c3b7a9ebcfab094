//! Whether a source's pod is the pod that the cgroup's path names. PURE.
//!
//! A container's id is unique by chance only, and an object's ids are only text that a client wrote. So names are taken only
//! where the pod's UID is the path's (of a static pod, the config hash), and its class too:
//!
//! | the source has | of whom | then |
//! |---|---|---|
//! | UID or hash, and class, are the path's | | the names |
//! | another UID, or none | the container of this id | no names; the reason has both UIDs |
//! | another class | the pod | no names; the reason has both classes |
//! | the mirror of a static pod of another node | the hash | no names |
//! | another name than the runtime has | the pod of the API server | no names: kubelet gave the runtime its names |

use super::cri::cache::Listed;
use super::pod::Pod;
use crate::cgroup::is_uuid;
use crate::names::Who;

/// Whether this is the pod's UID, or its hash. A UID of neither form is in a path as it is, or with `_` for each `-`.
fn is_of_path(who: Who<'_>, uid: &str) -> bool {
    let path = who.pod_uid;
    path == uid || !is_uuid(path) && path == uid.replace('-', "_")
}

/// Whether the path's pod is known to the API server by its hash and not by its UID: a static pod.
pub(super) fn is_by_hash(who: Who<'_>) -> bool {
    !is_uuid(who.pod_uid)
}

/// What contradicts the API server's pod, as a phrase. `node` is the name of this node, where it is known.
pub(super) fn against_pod(who: Who<'_>, pod: &Pod, node: Option<&str>) -> Option<String> {
    let by_hash = pod.config_hash.as_deref().is_some_and(|hash| is_by_hash(who) && is_of_path(who, hash));
    if !by_hash && !is_of_path(who, &pod.uid) {
        return Some(other_pod("the API server", Some(&pod.uid), who));
    }
    let owner = pod.workload.as_ref().filter(|owner| &*owner.kind == "Node").map(|owner| &*owner.name);
    if by_hash && node.is_some_and(|node| owner != Some(node)) {
        return Some(
            "the API server has this config hash in the mirror of a static pod that is not of this node"
                .to_owned(),
        );
    }
    let (has, path) = (pod.qos?, who.qos?);
    (has != path).then(|| {
        format!(
            "the API server has the pod with this UID as {has:?}, but the cgroup's path has it as {path:?}"
        )
    })
}

/// What contradicts the runtime's container or sandbox, as a phrase.
pub(super) fn against_listed(who: Who<'_>, listed: &Listed) -> Option<String> {
    let uid = match listed {
        Listed::Container(container) => container.pod_uid.as_deref(),
        Listed::Sandbox(sandbox) => sandbox.pod_uid.as_deref(),
    };
    (!uid.is_some_and(|uid| is_of_path(who, uid))).then(|| other_pod("the container runtime", uid, who))
}

/// What contradicts both together: the runtime has its names from kubelet.
pub(super) fn against_both(pod: &Pod, listed: &Listed) -> Option<String> {
    let (namespace, name) = match listed {
        Listed::Container(container) => (&container.namespace, &container.pod_name),
        Listed::Sandbox(sandbox) => (&sandbox.namespace, &sandbox.pod_name),
    };
    let differ = |one: &str, other: &Option<String>| other.as_deref().is_some_and(|other| one != other);
    (differ(&pod.namespace, namespace) || differ(&pod.name, name)).then(|| {
        "the API server and the container runtime have different names for the pod of this UID or config hash".to_owned()
    })
}

fn other_pod(source: &str, uid: Option<&str>, who: Who<'_>) -> String {
    let path = who.pod_uid;
    match uid {
        Some(uid) => {
            format!("{source} has the container in pod {uid}, but the cgroup's path has it in pod {path}")
        }
        None => format!(
            "{source} does not say which pod the container is in, and the cgroup's path has it in pod {path}"
        ),
    }
}

#[cfg(test)]
mod tests;
