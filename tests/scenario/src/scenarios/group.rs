//! Many at once: groups that die together, and cgroups that reach their limits at the same time.

use anyhow::{Result, ensure};

use super::{MIB, Stage, fed, feed, feed_as};
use crate::actor::{Actor, Role};
use crate::scenarios::touched;
use crate::scratch::Scratch;
use crashtrace_judge::cast::Cast;

/// Processes of the large group besides the one that eats.
const MANY: usize = 299;
/// Children that are killed one after the other, and after how many it is said.
const CHILDREN: usize = 250;
const AT_A_TIME: usize = 25;
/// Cgroups that are full at once.
const AT_ONCE: usize = 8;

pub(super) fn oom_group(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "group")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(64 * MIB)?;
    container.cgroup.set_oom_group()?;
    let mut holders = Vec::new();
    for name in ["holder-1", "holder-2"] {
        holders.push(fed(&container.cgroup, &Role::eats(name, 8))?);
    }
    let eater = feed(&container.cgroup)?;
    let mut cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    for holder in &mut holders {
        holder.killed()?;
        cast = cast.process("holder", holder.part(&container.place.owner)?);
    }
    // Counted anew: the eater's end came before theirs.
    cast.kills = scratch.cast()?.kills;
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn oom_group_300(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "many")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(128 * MIB)?;
    container.cgroup.set_oom_group()?;
    // In the host's pid namespace: with the first process of another the kernel ends all of that by itself.
    let mut first = Actor::start(&container.cgroup, &Role::eats("worker", 1).of_host().forks(MANY - 1))?;
    let mut workers = Vec::new();
    for pid in container.cgroup.pids()? {
        workers.push(first.fork_part(pid, &container.place.owner)?);
    }
    ensure!(workers.len() == MANY, "{} processes in place of {MANY}", workers.len());
    let eater = feed_as(&container.cgroup, &Role::eats("eater", 192).of_host())?;
    first.killed()?;
    let mut cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    for mut worker in workers {
        // Forked at some time before `first` said that it was ready, with the memory that `first` had.
        worker.anon.0 = 0;
        cast = cast.process("worker", worker);
    }
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn storm(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "storm")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(8 * MIB)?;
    let role = Role::eats("storm", 32).with("--loses", CHILDREN.to_string());
    let mut parent = Actor::start(&container.cgroup, &role.with("--tells-each", AT_A_TIME.to_string()))?;
    parent.go()?;
    for _ in 0..CHILDREN / AT_A_TIME {
        parent.event("lost")?;
    }
    parent.event("done")?;
    Ok(scratch.cast()?.place("container", container.place))
}

pub(super) fn eight_at_once(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "eight")?;
    let mut eaters = Vec::new();
    for _ in 0..AT_ONCE {
        let container = scratch.pod()?.container()?;
        container.cgroup.set_limit(16 * MIB)?;
        eaters.push((Actor::start(&container.cgroup, &Role::eats("eater", 64))?, container));
    }
    for (eater, _) in &mut eaters {
        eater.go()?;
    }
    for (eater, _) in &mut eaters {
        eater.killed()?;
    }
    let mut cast = scratch.cast()?;
    for (eater, container) in eaters {
        cast = cast.process("eater", eater.part(&container.place.owner)?).place("container", container.place);
    }
    Ok(cast)
}
