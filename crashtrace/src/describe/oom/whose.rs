//! Whose a limit is that a container and its pod both have: the evidence, and the other reading where none decides.

use super::Oom;
use crate::classify::LimitFinding;
use crate::classify::oom::{SharedLimit, Whose};
use crate::phrase::size;
use crate::schema::Level;

/// What shows whose the limit is.
pub(super) fn shared(shared: SharedLimit, limit: Option<&LimitFinding>) -> String {
    let same = format!("the container has the same limit of {} as its pod", size(shared.limit_bytes));
    let held = held(shared, limit);
    match shared.whose {
        Whose::ContainersBySpec => format!("{same}{held}; by the pod's spec it is the container's"),
        Whose::PodsBySpec => format!(
            "{same}{held}; by the pod's spec it is the pod's (spec.resources): kubelet gives its number to each container that has \
             no limit"
        ),
        Whose::Both { charged_at } => format!(
            "{same}{held}; by the pod's spec each has one of its own, and the kernel hit {}",
            if charged_at == Level::Pod { "the pod's" } else { "the container's" }
        ),
        Whose::PodsByOtherContainer => format!(
            "{same}{held}; inferred: another container of the pod has it too, so it is taken for the pod's (spec.resources), whose \
             number kubelet gives to each container that has no limit. The containers may have limits of that number of their own, and \
             only the pod's spec tells"
        ),
        Whose::NeitherBySpec { charged_at } => format!(
            "{same}{held}; inferred: by the pod's spec neither has a limit, so it was set by hand, or removed from the spec since, and \
             it is taken for {}, whose cgroup the kernel named",
            if charged_at == Level::Pod { "the pod's" } else { "the container's" }
        ),
        Whose::ContainersByGuess => format!(
            "{same}{held}; inferred: it is taken for the container's, as in a pod of one container. In a pod with a limit of its own \
             (spec.resources) kubelet gives the pod's number to each container that has no limit, and only the pod's spec tells"
        ),
    }
}

/// How much of the pod's memory the container held, and where the rest may be.
fn held(shared: SharedLimit, limit: Option<&LimitFinding>) -> String {
    let Some((held, total)) = shared.held_bytes else { return String::new() };
    let rest = total.saturating_sub(held);
    let held = format!(" and held {} of the pod's {}", size(held), size(total));
    let pod_was_full = limit.is_some_and(|limit| limit.charged_at == Level::Pod);
    // A sandbox takes some 200 KiB.
    if rest > total / 8 {
        format!("{held}: {} are in other containers or charged to the pod itself", size(rest))
    } else if pod_was_full && shared.whose.level() == Level::Container {
        format!("{held}: the pod is full first because its sandbox is charged to it too")
    } else {
        held
    }
}

/// Whether the pod has a limit of its own.
pub(super) fn has_pod_its_own(oom: &Oom<'_>) -> bool {
    let names = oom.limit().and_then(|limit| oom.scene.actor_in(&limit.party)?.owner.names.as_deref());
    let by_other = oom.facts.shared_limit.is_some_and(|shared| shared.whose == Whose::PodsByOtherContainer);
    by_other || names.is_some_and(|names| names.pod_limit_is_own == Some(true))
}

/// The advice for the other reading, where none decides.
pub(super) fn other_reading(oom: &Oom<'_>) -> Option<String> {
    let shared = oom.facts.shared_limit?;
    if shared.whose == Whose::PodsByOtherContainer {
        return Some(format!(
            "If by the pod's spec the container has a limit of {} of its own (resources.limits.memory), raise that too.",
            size(shared.limit_bytes)
        ));
    }
    (shared.whose == Whose::ContainersByGuess).then_some(())?;
    Some(format!(
        "If the pod's spec has the limit (spec.resources.limits.memory) and not the container's, it is the pod's: raise it there \
         above {}, or see what its containers and memory-backed volumes hold together.",
        size(shared.limit_bytes)
    ))
}
