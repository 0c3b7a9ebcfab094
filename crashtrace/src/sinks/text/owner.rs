//! Whose it is: names where Kubernetes has told them, ids where not.

use super::label;
use crate::phrase::size;
use crate::schema::{Claims, ContainerRole, Incident, NameSource, Owner, OwnerKind, Text};
use crate::terminal::Page;

/// Whose it is, with the cgroup's path where there is no better name.
pub(super) fn owner_words(owner: Option<&Owner>, cgroup: Option<&str>) -> String {
    let Some(owner) = owner else { return cgroup.unwrap_or("?").to_owned() };
    match &owner.claims {
        None => itself(owner, cgroup),
        Some(claims) => format!("{} (its cgroup claims to be {})", itself(owner, cgroup), claimed(claims)),
    }
}

/// What nobody has confirmed.
fn claimed(claims: &Claims) -> String {
    let short = |id: &Text| id.as_str().chars().take(12).collect::<String>();
    let pod = claims.pod_uid.as_ref().map(|uid| format!("pod {}", uid.as_str()));
    match (claims.kind, &claims.container_id) {
        (OwnerKind::Container, Some(id)) => {
            let of = pod.map_or_else(String::new, |pod| format!(" of {pod}"));
            format!("container {}{of}", short(id))
        }
        (OwnerKind::Container | OwnerKind::Pod, _) => pod.unwrap_or_else(|| "a pod".to_owned()),
        (OwnerKind::Qos, _) => "all pods of a QoS class".to_owned(),
        (OwnerKind::Kubepods, _) => "all pods of a node".to_owned(),
        (OwnerKind::HostService | OwnerKind::Cgroup | OwnerKind::Host, _) => "something else".to_owned(),
    }
}

fn itself(owner: &Owner, cgroup: Option<&str>) -> String {
    let path = || cgroup.unwrap_or("?").to_owned();
    match owner.kind {
        OwnerKind::Container => {
            let container = container(owner);
            match pod(owner) {
                Some(pod) => format!("{container} of {pod}"),
                None => container,
            }
        }
        OwnerKind::Pod => pod(owner).unwrap_or_else(path),
        OwnerKind::Qos => format!("all pods of a QoS class ({})", path()),
        OwnerKind::Kubepods => "all pods of the node".to_owned(),
        OwnerKind::HostService => text(owner.unit.as_ref()).unwrap_or_else(path),
        OwnerKind::Cgroup => path(),
        OwnerKind::Host => "the host".to_owned(),
    }
}

fn text(text: Option<&Text>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

fn pod(owner: &Owner) -> Option<String> {
    let name = match (&owner.namespace, &owner.pod) {
        (Some(namespace), Some(pod)) => format!("{}/{}", namespace.as_str(), pod.as_str()),
        (None, Some(pod)) => pod.as_str().to_owned(),
        (_, None) => text(owner.pod_uid.as_ref())?,
    };
    Some(if owner.static_pod { format!("static pod {name}") } else { format!("pod {name}") })
}

fn container(owner: &Owner) -> String {
    let role = owner.kubernetes.as_ref().and_then(|kubernetes| kubernetes.role);
    match (&owner.container, role) {
        (_, Some(ContainerRole::Sandbox)) => "the sandbox (pause)".to_owned(),
        (Some(name), Some(ContainerRole::Init)) => format!("init container {}", name.as_str()),
        (Some(name), Some(ContainerRole::Ephemeral)) => format!("ephemeral container {}", name.as_str()),
        (Some(name), _) => format!("container {}", name.as_str()),
        (None, _) => format!("container {}", short_id(owner)),
    }
}

/// The length that crictl and docker show and take.
fn short_id(owner: &Owner) -> String {
    text(owner.container_id.as_ref()).unwrap_or("?".to_owned()).chars().take(12).collect()
}

/// What Kubernetes says of the one that it is about: the first victim's container, or that of the one who asked.
pub(super) fn kubernetes_line(page: &mut Page, incident: &Incident) {
    let process = incident.victims.first().or(incident.trigger.as_ref());
    let Some(owner) = process.and_then(|process| process.owner.as_ref()) else { return };
    let Some(kubernetes) = &owner.kubernetes else { return };
    let mut facts = Vec::new();
    if let Some(workload) = &kubernetes.workload {
        facts.push(format!("{} {}", workload.kind.as_str(), workload.name.as_str()));
    }
    if owner.container_id.is_some() {
        facts.push(format!("container id {}", short_id(owner)));
    }
    if let Some(image) = &kubernetes.image {
        facts.push(format!("image {}", image.as_str()));
    }
    facts.extend(kubernetes.restart_count.map(|count| match count {
        0 => "never restarted".to_owned(),
        1 => "restarted once".to_owned(),
        count => format!("restarted {count} times"),
    }));
    facts.extend(kubernetes.memory_request_bytes.map(|bytes| format!("requests {}", size(bytes))));
    facts.extend(match (kubernetes.memory_limit_bytes, kubernetes.source) {
        (Some(bytes), _) => Some(format!("limit {}", size(bytes))),
        (None, NameSource::Kube) => Some("no limit".to_owned()),
        (None, NameSource::Cri) => None,
    });
    if let Some(seconds) = kubernetes.stale_seconds {
        facts.push(format!("as last heard {seconds} s ago"));
    }
    label(page, "pod", &facts.join("; "));
}
