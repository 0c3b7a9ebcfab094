//! A limit is reached by memory that is no process's own: what the kernel has for a container, and swap.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::start_up::Volume;
use super::{MIB, Stage, Swap, Zram, fed, feed_as, touched};
use crate::actor::Role;
use crate::scratch::Scratch;
use crashtrace_judge::cast::Cast;

const LIMIT_MIB: u64 = 48;

/// A container in which such a process reaches the limit.
fn fills(stage: &Stage<'_>, name: &str, mib: u64, role: &Role) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, name)?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(mib * MIB)?;
    let eater = feed_as(&container.cgroup, role)?;
    // What is charged to the cgroup must be there until the report has come.
    (stage.wait)(&scratch.prefixes(), 1)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    Ok(cast.place("container", container.place))
}

pub(super) fn dentries(stage: &Stage<'_>) -> Result<Cast> {
    let volume = Volume::new("size=128m,nr_inodes=1000000")?;
    fills(stage, "dentries", LIMIT_MIB, &Role::makes_files("ipmi_exporter", &volume.dir, 500_000))
}

pub(super) fn pipe_buffers(stage: &Stage<'_>) -> Result<Cast> {
    fills(stage, "pipes", LIMIT_MIB, &Role::fills_pipes("proxy", 2 * LIMIT_MIB))
}

pub(super) fn unix_sockets(stage: &Stage<'_>) -> Result<Cast> {
    fills(stage, "sockets", LIMIT_MIB, &Role::fills_unix_sockets("proxy", 2 * LIMIT_MIB))
}

pub(super) fn page_tables(stage: &Stage<'_>) -> Result<Cast> {
    fills(stage, "tables", LIMIT_MIB, &Role::has_page_tables("postgres", 2 * LIMIT_MIB))
}

pub(super) fn memory_and_swap(stage: &Stage<'_>) -> Result<Cast> {
    const BOTH_MIB: u64 = 64;
    /// Of the first process's memory: the rest is in swap.
    const STAYS_MIB: u64 = 12;
    const FIRST_MIB: u64 = 40;
    let _swap = Swap::on(Zram::new(64)?)?;
    let scratch = Scratch::new(stage.hierarchy, "memsw")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(BOTH_MIB * MIB)?;
    let first = fed(&container.cgroup, &Role::eats("cache", FIRST_MIB).adj(-500))?;
    let limit = container.cgroup.limit_file();
    for mib in [STAYS_MIB, BOTH_MIB] {
        fs::write(&limit, (mib * MIB).to_string())
            .with_context(|| format!("cannot write to {}", limit.display()))?;
    }
    let usage = container.cgroup.usage_bytes()?;
    ensure!(usage <= STAYS_MIB * MIB, "{usage} bytes are in memory, and not in swap");
    let eater = feed_as(&container.cgroup, &Role::eats("eater", BOTH_MIB))?;
    ensure!(first.lives(), "the process in swap died too");
    (stage.wait)(&scratch.prefixes(), 1)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn pod_level_limit(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "pod-level")?;
    let pod = scratch.pod()?;
    let (innocent, hog) = (pod.container()?, pod.container()?);
    // kubelet gives each container without a limit the pod's.
    for cgroup in [&pod.cgroup, &innocent.cgroup, &hog.cgroup] {
        cgroup.set_limit(LIMIT_MIB * MIB)?;
    }
    let sibling = fed(&innocent.cgroup, &Role::eats("sibling", 4))?;
    let eater = feed_as(&hog.cgroup, &Role::eats("eater", 2 * LIMIT_MIB))?;
    ensure!(sibling.lives(), "the other container's process died too");
    let cast = scratch.cast()?.process("eater", eater.part(&hog.place.owner)?);
    touched(cast.place("pod", pod.place()), &eater)
}
