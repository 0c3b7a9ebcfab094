//! What to do about a limit that was hit, by its owner.

use crate::cgroup::Place;
use crate::classify::LimitFinding;
use crate::classify::oom::Agreement;
use crate::describe::oom::Oom;
use crate::phrase::{path, process, size};
use crate::schema::Level;

pub(super) fn limit(oom: &Oom<'_>) -> String {
    let above = oom.limit().and_then(LimitFinding::bytes);
    let above = above.map_or_else(|| "its present value".to_owned(), size);
    let file = oom.limit_file();
    if let (Some(Level::Container), Some(Agreement::Differs { spec_bytes, kernel_bytes })) =
        (oom.level(), oom.facts.kubernetes.and_then(|known| known.agreement))
    {
        return format!(
            "Find out what set {file} to {} while resources.limits.memory{} is {} (a resize, a tool, a write by hand), and \
             undo it; or find what grows in the container.",
            size(kernel_bytes),
            manifest(oom, true),
            size(spec_bytes)
        );
    }
    match oom.level() {
        Some(Level::Container) if !in_a_pod(oom) => format!(
            "Raise the container's memory limit above {above} in whatever made it (for example `docker update --memory`), or \
             find what grows in it: no pod's cgroup is above it, so changing pods does not help."
        ),
        Some(Level::Container) => format!(
            "Raise the container's resources.limits.memory{} above {above} if it needs that much, or find what grows in it.",
            manifest(oom, true)
        ),
        Some(Level::Pod) => format!(
            "Raise the pod's limit{} above {above}: spec.resources.limits.memory where the pod has that, else the containers' \
             limits, whose sum it is (sidecars included). Memory-backed emptyDir volumes count too, and outlive their \
             containers: give them a sizeLimit.",
            manifest(oom, false)
        ),
        Some(Level::Qos) => format!(
            "Spread the pods of this QoS class over more nodes, or raise the limit of the class above {above}: kubelet sets one \
             where memory is reserved for higher classes (--qos-reserved)."
        ),
        Some(Level::NodeAllocatable) => format!(
            "All pods of this node together may use {above}, and they do: their requests are lower than what they use, so the \
             scheduler puts too many here. Raise the requests to real use, limit pods that have no limit, or give the node \
             more memory. Where the node has memory to spare, lower kubelet's --kube-reserved or --system-reserved."
        ),
        Some(Level::HostService) => host_service(oom, &above),
        Some(Level::Cgroup) => {
            let whose = oom.limit_owner().unwrap_or_else(|| "the cgroup inside the container".to_owned());
            match delegate(oom) {
                Some(unit) => format!(
                    "Raise {file} above {above} for {whose}, or find what grows in it. {unit} manages that cgroup (a \
                     user's systemd, a container engine): set it there. The limit is not a pod's: changing pods does not help."
                ),
                None => format!(
                    "Raise {file} above {above} for {whose}, in whatever set it: neither kubelet nor systemd manages that \
                     cgroup. If a process inside a container made it, look there."
                ),
            }
        }
        Some(Level::Node) | None => {
            let usage = if oom.scene.memory_cgroup_v1 { "memory.usage_in_bytes" } else { "memory.current" };
            format!(
                "Compare {usage} with {file} in the victim's cgroup and each one above it, and raise the limit that is reached."
            )
        }
    }
}

/// The unit of the host that the limit owner lies in, and that may have set the limit.
fn delegate(oom: &Oom<'_>) -> Option<String> {
    let party = &oom.limit()?.party;
    let unit = party.owner.unit.as_deref().filter(|unit| unit.strip_suffix(".slice").is_none())?;
    (party.placement.place == Place::HostService && party.placement.nested).then(|| path(unit.as_bytes()))
}

/// The limit owner is in a pod.
fn in_a_pod(oom: &Oom<'_>) -> bool {
    let limit = oom.limit().map(|limit| &limit.party);
    let both = [limit, limit.and_then(|limit| oom.scene.actor_in(limit))];
    both.into_iter().flatten().any(|party| party.placement.is_in_pod())
}

/// The manifest to change, if it is known: ` (container api in Deployment shop/api)`.
fn manifest(oom: &Oom<'_>, container: bool) -> String {
    let limit = oom.limit().map(|limit| &limit.party);
    let actor = limit.and_then(|limit| oom.scene.actor_in(limit));
    // If the limit is the pod's and only one container's, the process is in that container.
    let parties = if container { [actor, limit] } else { [limit, None] };
    let mut all = parties.into_iter().flatten().filter_map(|party| party.owner.names.as_deref());
    let Some(names) = all.find(|names| names.container.is_some() || !container) else { return String::new() };
    let name = |name: &str| path(name.as_bytes());
    let namespace = names.namespace.as_deref().map_or_else(String::new, |it| format!("{}/", name(it)));
    let what = match (&names.workload, &names.pod) {
        (Some(workload), _) if &*workload.kind != "Node" => {
            format!("{} {namespace}{}", name(&workload.kind), name(&workload.name))
        }
        (_, Some(pod)) => format!("pod {namespace}{}", name(pod)),
        (_, None) => return String::new(),
    };
    match names.container.as_ref().and_then(|it| it.name.as_deref()).filter(|_| container) {
        Some(container) => format!(" (container {} in {what})", name(container)),
        None => format!(" ({what})"),
    }
}

fn host_service(oom: &Oom<'_>, above: &str) -> String {
    let unit = oom.limit().and_then(|limit| limit.party.owner.unit.as_deref());
    let unit = unit.map_or_else(|| "the unit".to_owned(), |unit| path(unit.as_bytes()));
    format!(
        "Raise MemoryMax= of {unit} above {above} (`systemctl set-property {unit} MemoryMax=...`), or find what grows in it. \
         The limit is not a pod's: changing pods does not help."
    )
}

pub(super) fn limit_write(oom: &Oom<'_>) -> String {
    let trigger = oom.scene.trigger.as_ref();
    let writer = trigger.map_or_else(|| "a process".to_owned(), |trigger| process(trigger.task));
    let used = oom.limit().and_then(LimitFinding::usage_bytes);
    let room = used.map_or_else(String::new, |used| format!(" ({} at that moment)", size(used)));
    format!(
        "Find out why {writer} lowered the limit: an in-place resize of the pod, a changed unit, or a tool that writes \
         {} (a runtime or systemd writes it on behalf of another). Set the limit above what is in use{room}, or \
         restart the workload with the smaller limit.",
        oom.limit_file()
    )
}
