//! Owners, and their Kubernetes facts.

use super::label;
use crate::phrase::{self, size};
use crate::schema::{Claims, Incident, NameSource, Owner, OwnerKind, Text};
use crate::terminal::Page;

/// An owner; its cgroup's path where it is unknown.
pub(super) fn owner_words(owner: Option<&Owner>, cgroup: Option<&str>) -> String {
    let Some(owner) = owner else { return cgroup.unwrap_or("?").to_owned() };
    let name = phrase::owner(owner, || cgroup.unwrap_or("?").to_owned());
    match &owner.claims {
        None => name,
        Some(claims) => format!("{name} (its cgroup claims to be {})", claimed(claims)),
    }
}

/// Unconfirmed claims.
fn claimed(claims: &Claims) -> String {
    let short = |id: &Text| phrase::short(id.as_str(), phrase::CONTAINER_ID_CHARS);
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

/// The Kubernetes facts of the first victim's container, of the trigger's, or of the one that ended.
pub(super) fn kubernetes_line(page: &mut Page, incident: &Incident) {
    let exited = incident.exit.as_ref().map(|exit| &exit.process);
    let process = incident.victims.first().or(incident.trigger.as_ref()).or(exited);
    let Some(owner) = process.and_then(|process| process.owner.as_ref()) else { return };
    let Some(kubernetes) = &owner.kubernetes else { return };
    let mut facts = Vec::new();
    if let Some(workload) = &kubernetes.workload {
        facts.push(format!("{} {}", workload.kind.as_str(), workload.name.as_str()));
    }
    if let Some(id) = &owner.container_id {
        facts.push(format!("container id {}", phrase::short(id.as_str(), phrase::CONTAINER_ID_CHARS)));
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
