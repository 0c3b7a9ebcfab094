//! What to do about a limit that was hit, by its owner.

use super::scope;
use crate::cgroup::{self, Place};
use crate::classify::LimitFinding;
use crate::classify::oom::Agreement;
use crate::describe::oom::{Oom, whose};
use crate::describe::owner;
use crate::phrase::{path, process, size};
use crate::schema::Level;

mod outside;

pub(super) use outside::set_property;

pub(super) fn limit(oom: &Oom<'_>) -> String {
    let advice = by_level(oom);
    let outside = match oom.level() {
        Some(Level::Container) => !in_a_pod(oom),
        Some(Level::HostService | Level::Cgroup) => true,
        Some(Level::Pod | Level::Qos | Level::NodeAllocatable | Level::Node) | None => false,
    };
    let pods = outside.then(|| outside::pods(oom).or_else(|| no_pods(oom).map(str::to_owned))).flatten();
    pods.map_or_else(|| advice.clone(), |pods| format!("{advice} {pods}"))
}

/// What is certain where no pod was seen inside of the limit.
fn no_pods(oom: &Oom<'_>) -> Option<&'static str> {
    let limit = &oom.limit()?.party;
    if limit.owner.engine.is_some() || limit.owner.user_unit.is_some() {
        return None;
    }
    let unit = limit.owner.unit.as_deref();
    let may_hold_pods =
        unit.is_none_or(|unit| unit.strip_suffix(".slice").is_some() || cgroup::is_runtimes_service(unit));
    match oom.level()? {
        Level::Container => Some("It is in no pod."),
        // Cgroups below one that has processes of its own have no limits (the "no internal processes" rule).
        Level::HostService
            if !may_hold_pods && oom.scene.actor_in(limit).is_some_and(|it| it.path == limit.path) =>
        {
            Some("The limit is not a pod's: changing pods does not help.")
        }
        Level::HostService => Some("The limit is not a pod's."),
        Level::Cgroup if limit.placement.place == Place::HostService => Some("The limit is not a pod's."),
        Level::Cgroup | Level::Pod | Level::Qos | Level::NodeAllocatable | Level::Node => None,
    }
}

fn by_level(oom: &Oom<'_>) -> String {
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
        Some(Level::Container) if !in_a_pod(oom) => outside::container(oom, &above),
        Some(Level::Container) => format!(
            "Raise the container's resources.limits.memory{} above {above} if it needs that much, or find what grows in it.",
            manifest(oom, true)
        ),
        Some(Level::Pod) if whose::has_pod_its_own(oom) => format!(
            "Raise the pod's own limit{}, spec.resources.limits.memory, above {above}: all of its containers share it. Memory-backed \
             emptyDir volumes count too, and outlive their containers: give them a sizeLimit.",
            manifest(oom, false)
        ),
        Some(Level::Pod) => format!(
            "Raise the pod's limit{} above {above}: spec.resources.limits.memory where the pod has that, else the containers' \
             limits, whose sum it is (sidecars included). Memory-backed emptyDir volumes count too, and outlive their \
             containers: give them a sizeLimit.",
            manifest(oom, false)
        ),
        Some(Level::Qos) => scope::pods(oom, &above, false),
        Some(Level::NodeAllocatable) => scope::pods(oom, &above, true),
        Some(Level::HostService) => outside::engine(oom, &above).unwrap_or_else(|| host_service(oom, &above)),
        Some(Level::Cgroup) => outside::engine(oom, &above).unwrap_or_else(|| inside(oom, file, &above)),
        Some(Level::Node) | None => {
            let usage = if oom.scene.memory_cgroup_v1 { "memory.usage_in_bytes" } else { "memory.current" };
            format!(
                "Compare {usage} with {file} in the victim's cgroup and each one above it, and raise the limit that is reached."
            )
        }
    }
}

/// The limit of a cgroup that is in another's, or no one's that is known.
fn inside(oom: &Oom<'_>, file: &str, above: &str) -> String {
    let whose = oom.limit_owner().unwrap_or_else(|| "the cgroup inside the container".to_owned());
    let raise = format!("Raise {file} above {above} for {whose}");
    let Some(party) = oom.limit().map(|limit| &limit.party) else { return format!("{raise}.") };
    let unit = party.owner.unit.as_deref().filter(|unit| unit.strip_suffix(".slice").is_none());
    let unit = unit.filter(|_| party.placement.place == Place::HostService);
    match (&party.owner.engine, &party.owner.user_unit, unit) {
        (None, None, None) => format!(
            "{raise}, in whatever set it: neither kubelet nor systemd manages that cgroup. If a process inside a container \
             made it, look there."
        ),
        (None, None, Some(unit)) => format!(
            "{raise}, or find what grows in it. {} manages that cgroup (a user's systemd, a container engine): set it there.",
            path(unit.as_bytes())
        ),
        (_, Some(_), _) | (Some(_), ..) => format!(
            "{raise}, in whatever set it, or find what grows in it: what runs in {} manages that cgroup.",
            owner(party)
        ),
    }
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
    let party = oom.limit().map(|limit| &limit.party);
    let unit = party.and_then(|party| party.owner.unit.as_deref());
    let unit = unit.map_or_else(|| "the unit".to_owned(), |unit| path(unit.as_bytes()));
    let command = party.and_then(set_property).unwrap_or_else(|| "in its unit file".to_owned());
    format!("Raise MemoryMax= of {unit} above {above} ({command}), or find what grows in it.")
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
