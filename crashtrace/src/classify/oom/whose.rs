//! Whose a limit is that a container and its pod both have. PURE.
//!
//! Kubelet writes one number to both cgroups in two cases that look alike in the kernel:
//!
//! - **a pod of one container**, which has the limit: the pod's is the sum of its containers'. The sandbox (pause) is charged to the
//!   pod too, so the pod is full first, and the kernel names the pod where users mean the container.
//! - **a pod with a limit of its own** (`spec.resources`, Kubernetes 1.32 and later): each container without a limit is given the
//!   pod's number, however many there are.
//!
//! The pod's spec tells them apart. How much of the pod's memory the container held does not: that changes with each kill, and with
//! what other containers and memory-backed volumes hold.
//!
//! | known | the limit is |
//! |---|---|
//! | by the spec only the pod has a limit | the pod's |
//! | by the spec both have one, and they are equal | of the one whose cgroup the kernel named |
//! | by the spec the container has it, or the pod's follows from its containers' | the container's |
//! | by the spec neither has one (set by hand, or removed from the spec since) | of the one whose cgroup the kernel named: inferred |
//! | no spec; another container of the pod has the pod's number too | taken for the pod's, since a sum would be more than either: inferred, and both readings are told |
//! | no spec, and nothing else | taken for the container's, which it is in most pods: inferred, and both readings are told |
//!
//! That another container has the number too shows where the trigger is in one and the victim in another. A list of the limits below
//! the pod would show it for every kill ([`whose`] takes the answer as an argument): two of the pod's number show that the pod
//! has a limit of its own, while a single one does not. Whether each container has one of its own too the spec alone tells, so that the
//! certainty of a pod's kills does not depend on which of its containers triggered them.

use super::scene::Scene;
use crate::enrich::Party;
use crate::event::{self, Limit};
use crate::schema::{ContainerRole, Level, NameSource};

/// A limit that a container and its pod both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLimit {
    pub limit_bytes: u64,
    /// Usage of the container, and of the pod; `None` if that is not known.
    pub held_bytes: Option<(u64, u64)>,
    pub whose: Whose,
}

/// Whose it is, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// By the spec the container's.
    ContainersBySpec,
    /// By the spec only the pod has a limit.
    PodsBySpec,
    /// By the spec each has one of its own; it is the one whose cgroup the kernel named.
    Both { charged_at: Level },
    /// By the spec neither has one.
    NeitherBySpec { charged_at: Level },
    /// Taken for the pod's: another container of the pod has the pod's number.
    PodsByOtherContainer,
    /// Taken for the container's.
    ContainersByGuess,
}

impl Whose {
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::ContainersBySpec | Self::ContainersByGuess => Level::Container,
            Self::PodsBySpec | Self::PodsByOtherContainer => Level::Pod,
            Self::Both { charged_at } | Self::NeitherBySpec { charged_at } => charged_at,
        }
    }

    /// The spec does not tell.
    #[must_use]
    pub fn is_inferred(self) -> bool {
        match self {
            Self::ContainersBySpec | Self::PodsBySpec | Self::Both { .. } => false,
            Self::NeitherBySpec { .. } | Self::PodsByOtherContainer | Self::ContainersByGuess => true,
        }
    }
}

/// What the pod's spec has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InSpec {
    /// The pod has a limit of its own.
    pod: bool,
    /// The container has one; `None` if the spec does not have the container (yet).
    container: Option<bool>,
}

/// The rows of the table.
fn whose(charged_at: Level, spec: Option<InSpec>, another_container_has_it: bool) -> Whose {
    match spec {
        Some(InSpec { pod: true, container: Some(true) }) => Whose::Both { charged_at },
        Some(InSpec { pod: true, container: _ }) => Whose::PodsBySpec,
        Some(InSpec { pod: false, container: Some(true) | None }) => Whose::ContainersBySpec,
        Some(InSpec { pod: false, container: Some(false) }) => Whose::NeitherBySpec { charged_at },
        None if another_container_has_it => Whose::PodsByOtherContainer,
        None => Whose::ContainersByGuess,
    }
}

/// The limit, if the limit owner is a pod or a container, and the container of the victim (of the trigger, where there is no victim)
/// has the same limit as its pod.
pub(super) fn shared_limit(
    scene: &Scene<'_>,
    cgroups: &event::Lineage,
    party: &Party,
    charged_at: Level,
) -> Option<SharedLimit> {
    let (container, pod) = match charged_at {
        Level::Pod => container_in_pod(scene, cgroups, party)?,
        Level::Container => (cgroups.levels.first()?, cgroups.level_at(party.placement.pod_end?)?),
        _ => return None,
    };
    let limit_bytes = pod.limit.and_then(Limit::bytes).filter(|_| container.limit == pod.limit)?;
    Some(SharedLimit {
        limit_bytes,
        held_bytes: container.usage_bytes.zip(pod.usage_bytes),
        whose: whose(charged_at, in_spec(scene, party), another_container_has(scene, pod)),
    })
}

fn in_spec(scene: &Scene<'_>, limit: &Party) -> Option<InSpec> {
    let names = scene.actor_in(limit)?.owner.names.as_deref()?;
    let pod = names.pod_limit_is_own.filter(|_| names.source == NameSource::Kube)?;
    // A container that only the runtime knows has no role.
    let container =
        names.container.as_ref().filter(|it| it.role.is_some_and(|role| role != ContainerRole::Sandbox));
    let container = container.map(|container| container.memory.limit_bytes.is_some());
    (pod || names.pod_memory.limit_bytes.is_some() || container.is_some())
        .then_some(InSpec { pod, container })
}

/// Whether trigger and victim are in two containers of this pod that both have its limit.
fn another_container_has(scene: &Scene<'_>, pod: &event::Level) -> bool {
    let container = |actor: Option<&super::Actor<'_>>| {
        let (cgroups, party) = (actor?.cgroups?, actor?.party()?);
        let in_pod = cgroups.level_at(party.placement.pod_end?)?;
        let container = cgroups.level_at(party.placement.container_end?)?;
        let same =
            pod.cgroup_id.is_some() && in_pod.cgroup_id == pod.cgroup_id && container.limit == pod.limit;
        container.cgroup_id.filter(|_| same)
    };
    let both = container(scene.victim.as_ref()).zip(container(scene.trigger.as_ref()));
    both.is_some_and(|(one, other)| one != other)
}

/// The container of the victim (of the trigger, where there is no victim) in the pod that is the limit owner, and
/// the pod.
fn container_in_pod<'a>(
    scene: &'a Scene<'_>,
    limit: &'a event::Lineage,
    pod: &Party,
) -> Option<(&'a event::Level, &'a event::Level)> {
    let actor = scene.victim.as_ref().or(scene.trigger.as_ref())?;
    let (cgroups, party) = (actor.cgroups?, actor.party()?);
    let pod_end = party.placement.pod_end?;
    if party.path.get(..pod_end)? != pod.path {
        return None;
    }
    let container = cgroups.level_at(party.placement.container_end?)?;
    let pod = limit.levels.first()?;
    let in_pod = cgroups.level_at(pod_end)?;
    (in_pod.cgroup_id.is_none() || pod.cgroup_id.is_none() || in_pod.cgroup_id == pod.cgroup_id)
        .then_some((container, pod))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spec_decides_and_without_it_a_second_container_of_the_pods_number() {
        let spec = |pod, container| Some(InSpec { pod, container });
        let both = Whose::Both { charged_at: Level::Pod };
        let neither = Whose::NeitherBySpec { charged_at: Level::Pod };
        for (spec, another, expected, level) in [
            (spec(true, Some(false)), false, Whose::PodsBySpec, Level::Pod),
            (spec(true, None), false, Whose::PodsBySpec, Level::Pod),
            (spec(true, Some(true)), false, both, Level::Pod),
            (spec(false, Some(true)), true, Whose::ContainersBySpec, Level::Container),
            (spec(false, None), false, Whose::ContainersBySpec, Level::Container),
            (spec(false, Some(false)), false, neither, Level::Pod),
            (spec(false, Some(false)), true, neither, Level::Pod),
            (None, false, Whose::ContainersByGuess, Level::Container),
            (None, true, Whose::PodsByOtherContainer, Level::Pod),
        ] {
            let found = whose(Level::Pod, spec, another);
            assert_eq!((found, found.level()), (expected, level), "{spec:?} {another}");
        }
        assert_eq!(whose(Level::Container, spec(true, Some(true)), false).level(), Level::Container);
        assert_eq!(whose(Level::Container, spec(false, Some(false)), true).level(), Level::Container);
        assert_eq!(whose(Level::Container, spec(true, Some(false)), false).level(), Level::Pod);
    }
}
