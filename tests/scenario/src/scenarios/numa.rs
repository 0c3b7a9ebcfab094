//! A part of the node runs out of memory: a NUMA node that a cpuset or a policy binds to.

use anyhow::Result;

use super::{Stage, feed_as, touched};
use crate::actor::Role;
use crate::scratch::Scratch;
use crashtrace_judge::cast::Cast;

/// The NUMA node that is filled: the kernel itself has little memory there.
const NODE: u32 = 1;
/// More than it has, and less than the machine.
const MIB: u64 = 384;

pub(super) fn cpuset_oom(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::of_node(stage.hierarchy)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    container.cgroup.bind_to_node(NODE, scratch.mount())?;
    let eater = feed_as(&container.cgroup, &Role::eats("largest", MIB).adj(900))?;
    let cast = scratch.cast()?.place("kubepods", scratch.kubepods()?.1).place("pod", pod.place());
    touched(cast.process("largest", eater.part(&container.place.owner)?), &eater)
}

pub(super) fn mempolicy_oom(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::of_node(stage.hierarchy)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let eater = feed_as(&container.cgroup, &Role::eats("largest", MIB).adj(900).bound_to(NODE))?;
    let cast = scratch.cast()?.place("kubepods", scratch.kubepods()?.1).place("pod", pod.place());
    touched(cast.process("largest", eater.part(&container.place.owner)?), &eater)
}
