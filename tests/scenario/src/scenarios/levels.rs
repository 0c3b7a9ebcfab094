//! Whose limit it is: from a container's up to that of all pods, and those that are no pod's.

use anyhow::{Result, ensure};

use super::{MIB, Stage, feed, feed_as, touched};
use crate::actor::{Actor, Role};
use crate::scratch::{Names, Scratch, plain, unit};
use crashtrace_judge::cast::{Cast, Place};

/// Cgroups in a container in which the victim is: more than a record holds of the way to the root.
const DEEP: usize = 24;

pub(super) fn qos_slice(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "qos")?;
    let container = scratch.pod()?.container()?;
    let (qos, place) = scratch.qos()?;
    qos.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("class", place), &eater)
}

pub(super) fn node_allocatable(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "allocatable")?;
    let container = scratch.pod()?.container()?;
    let (kubepods, place) = scratch.kubepods()?;
    kubepods.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("kubepods", place), &eater)
}

pub(super) fn host_service(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::of_node(stage.hierarchy)?;
    let service = scratch.host("limited.service")?;
    service.set_limit(48 * MIB)?;
    let eater = feed_as(&service, &Role::eats("eater", 192).of_host())?;
    let place = unit(&service);
    let cast = scratch.cast()?.process("eater", eater.part(&place.owner)?);
    touched(cast.place("service", place), &eater)
}

pub(super) fn plain_cgroup(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "plain")?;
    let cgroup = scratch.host("batch")?;
    cgroup.set_limit(48 * MIB)?;
    let eater = feed_as(&cgroup, &Role::eats("eater", 192).of_host())?;
    let place = plain(&cgroup);
    let cast = scratch.cast()?.process("eater", eater.part(&place.owner)?);
    touched(cast.place("cgroup", place), &eater)
}

pub(super) fn systemd_names(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::named(stage.hierarchy, "systemd", Names::Systemd)?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn deep_path(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "deep")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let mut deepest = container.cgroup.clone();
    for level in 1..=DEEP {
        deepest = scratch.child(&deepest.dir, format!("level-{level}"))?;
    }
    let mut eater = Actor::start(&deepest, &Role::eats("eater", 192))?;
    ensure!(deepest.path.ends_with(b"/level-24"), "it is not that deep");
    eater.go()?;
    eater.killed()?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    // The limit's own path is short enough.
    let place = Place { path: container.cgroup.path, owner: container.place.owner };
    touched(cast.place("container", place), &eater)
}
