//! A container or pod at its limit: triggers and victims.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{MIB, Stage, Swap, Zram, fed, feed, feed_as, touched};
use crate::actor::{Actor, Role};
use crate::scratch::{Container, Scratch, plain};
use crashtrace_judge::cast::{Cast, Process};
use crashtrace_test_support::cgroup::{Cgroup, remove};

/// How long the kernel may take until a process that was told to eat waits at the limit.
const HANG: Duration = Duration::from_mins(1);

pub(super) fn own_limit(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "own")?;
    let pod = scratch.pod()?;
    let (container, other) = (pod.container()?, pod.container()?);
    for cgroup in [&container.cgroup, &other.cgroup] {
        cgroup.set_limit(48 * MIB)?;
    }
    let neighbour = fed(&other.cgroup, &Role::eats("neighbour", 8))?;
    let eater = feed(&container.cgroup)?;
    ensure!(neighbour.lives(), "the other container's process died too");
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn one_container(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "single")?;
    let pod = scratch.pod()?;
    let (container, sandbox) = (pod.container()?, pod.container()?);
    for cgroup in [&pod.cgroup, &container.cgroup] {
        cgroup.set_limit(48 * MIB)?;
    }
    // The sandbox's memory fills the pod before its container is full.
    let pause = fed(&sandbox.cgroup, &Role::eats("pause", 1))?;
    let eater = feed(&container.cgroup)?;
    ensure!(pause.lives(), "the sandbox's process died too");
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("pod", pod.place()), &eater)
}

pub(super) fn parent_limit(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "parent")?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    pod.cgroup.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("pod", pod.place()), &eater)
}

pub(super) fn child(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "child")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let eater = feed_as(&container.cgroup, &Role::eats("eater", 192).through_a_child())?;
    ensure!(eater.container_pid == 2, "the child is pid {} of its container", eater.container_pid);
    ensure!(eater.lives(), "the container's first process died too");
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn bystander(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "bystander")?;
    let pod = scratch.pod()?;
    let (large, small) = (pod.container()?, pod.container()?);
    pod.cgroup.set_limit(80 * MIB)?;
    let mut holder = fed(&large.cgroup, &Role::eats("holder", 56))?;
    // It needs less than the holder has, and no more than the limit alone.
    let trigger = dies_for(&mut holder, Actor::start(&small.cgroup, &Role::eats("worker", 40))?, &small)?;
    let cast = scratch.cast()?.process("worker", trigger).process("holder", holder.part(&large.place.owner)?);
    Ok(cast.place("pod", pod.place()))
}

/// Has `worker`, in this container, run into the limit, and `holder` killed for it. Gives the worker as the trigger.
fn dies_for(holder: &mut Actor, mut worker: Actor, container: &Container) -> Result<Process> {
    worker.go()?;
    holder.killed()?;
    // It goes on, and may meet the limit again before the kernel has freed the holder's memory: then it is the only
    // process left. That is a separate kill, which the kernel counts.
    let died = worker.killed_or_done()?;
    ensure!(died || worker.lives(), "the trigger is gone, and was not killed");
    // How far it was when the holder died, only the kernel knows.
    let mut trigger = worker.part(&container.place.owner)?;
    trigger.anon.0 = 0;
    Ok(trigger)
}

/// The paths of the two triggers have different lengths, and the second victim is where the first trigger was.
pub(super) fn shallow_trigger(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "shallow")?;
    let pod = scratch.pod()?;
    let (large, small) = (pod.container()?, pod.container()?);
    let nested = scratch.child(&large.cgroup.dir, "nested")?;
    large.cgroup.set_limit(48 * MIB)?;
    // Not the container's first process, so that the container goes on. On one CPU, since each has its records in the making apart.
    let eater = feed_as(&nested, &Role::eats("eater", 192).of_host().on_one_cpu())?;
    large.cgroup.set_limit(128 * MIB)?;
    pod.cgroup.set_limit(80 * MIB)?;
    let mut holder = fed(&nested, &Role::eats("holder", 56).adj(900))?;
    let worker = Actor::start(&small.cgroup, &Role::eats("worker", 40).on_one_cpu())?;
    let trigger = dies_for(&mut holder, worker, &small)?;
    let owner = &large.place.owner;
    let cast = scratch.cast()?.process("eater", eater.part(owner)?).process("worker", trigger);
    let cast = cast.process("holder", holder.part(owner)?).place("container", large.place.clone());
    Ok(cast.place("pod", pod.place()))
}

pub(super) fn limit_write(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "write")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(128 * MIB)?;
    let mut holder = fed(&container.cgroup, &Role::eats("holder", 64))?;
    let outside = scratch.host("runtime")?;
    let writer = fed(&outside, &Role::writes("runtime", &container.cgroup, 24 * MIB))?;
    holder.killed()?;
    let cast = scratch.cast()?.process("holder", holder.part(&container.place.owner)?);
    let cast = cast.process("writer", writer.part(&plain(&outside).owner)?);
    Ok(cast.place("container", container.place))
}

pub(super) fn no_victim(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "no-victim")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(32 * MIB)?;
    let mut eater = Actor::start(&container.cgroup, &Role::eats("eater", 192).adj(-1000))?;
    eater.go()?;
    // It faults for the same page again and again. The first time is told at once, the rest once a second.
    (stage.wait)(&scratch.prefixes(), 2)?;
    ensure!(eater.lives(), "the process that must not be killed is gone");
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    Ok(cast.place("container", container.place))
}

/// How often a cgroup is made in place of another.
const ANEW: usize = 6;

pub(super) fn no_victim_anew(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "anew")?;
    let mut were = Vec::new();
    for _ in 0..ANEW {
        let pod = scratch.pod()?;
        let container = pod.container()?;
        container.cgroup.set_limit(16 * MIB)?;
        let mut eater = Actor::start(&container.cgroup, &Role::eats("eater", 64).adj(-1000))?;
        eater.go()?;
        (stage.wait)(&[String::from_utf8_lossy(&container.place.path).into_owned()], 1)?;
        were.push((eater.part(&container.place.owner)?, container.place));
        drop(eater);
        remove(&pod.cgroup.dir)?;
    }
    let cast = scratch.cast()?;
    Ok(were
        .into_iter()
        .fold(cast, |cast, (eater, place)| cast.process("eater", eater).place("container", place)))
}

pub(super) fn oom_kill_disable(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "disable")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(32 * MIB)?;
    container.cgroup.set_oom_kill_disable()?;
    let mut eaters = Vec::new();
    for name in ["first", "second", "third"] {
        eaters.push(Actor::start(&container.cgroup, &Role::eats(name, 40))?);
    }
    for eater in &mut eaters {
        eater.go()?;
        // The next one finds the limit reached at once.
        eater.hangs()?;
        ensure_under_oom(&container.cgroup)?;
    }
    // The first is reported at once; those that come in the second after it, when that is over.
    (stage.wait)(&scratch.prefixes(), 2)?;
    let mut cast = scratch.cast()?;
    for (role, eater) in ["first", "second", "third"].into_iter().zip(&eaters) {
        cast = cast.process(role, eater.part(&container.place.owner)?);
    }
    container.cgroup.set_limit(192 * MIB)?;
    for eater in &mut eaters {
        eater.event("done")?;
    }
    Ok(cast.place("container", container.place))
}

fn ensure_under_oom(cgroup: &Cgroup) -> Result<()> {
    let begun = Instant::now();
    while !cgroup.is_under_oom()? {
        ensure!(begun.elapsed() < HANG, "a process sleeps, but not because of the limit");
        // The kernel notifies by eventfd; here polling is enough.
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

pub(super) fn swap(stage: &Stage<'_>) -> Result<Cast> {
    let _swap = Swap::on(Zram::new(64)?)?;
    let scratch = Scratch::new(stage.hierarchy, "swap")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limits(32 * MIB, 24 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let mut it = eater.part(&container.place.owner)?;
    // Swapped-out pages are not in memory.
    it.anon.0 = it.anon.0.saturating_sub(24 * MIB);
    let cast = scratch.cast()?.process("eater", it);
    touched(cast.place("container", container.place), &eater)
}
