//! The node runs out of memory.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{MIB, Setting, Stage, Zram, fed, feed_as, touched};
use crate::actor::{Actor, Role};
use crate::scratch::{Container, Pod, Scratch, unit};
use crashtrace_judge::cast::Cast;

/// kubelet's limit for all pods: more than the node has, so that it is never hit.
const ALLOCATABLE: u64 = 2048 * MIB;

/// The tree of a node, with the limit that kubelet sets to all pods.
pub(super) fn node(stage: &Stage<'_>) -> Result<Scratch> {
    let scratch = Scratch::of_node(stage.hierarchy)?;
    scratch.kubepods()?.0.set_limit(ALLOCATABLE)?;
    Ok(scratch)
}

/// The cast with the cgroups that a report on the node's memory names.
pub(super) fn cast(scratch: &Scratch, pod: &Pod<'_>) -> Result<Cast> {
    Ok(scratch.cast()?.place("kubepods", scratch.kubepods()?.1).place("pod", pod.place()))
}

/// One that eats more memory than the node has, and is killed first.
pub(super) fn largest() -> Result<Role> {
    // All of the node's memory, of which a part is in use: more the kernel would not even promise.
    Ok(Role::eats("largest", memory_mib()?).adj(900))
}

pub(super) fn system(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let eater = feed_as(&container.cgroup, &largest()?)?;
    let cast = cast(&scratch, &pod)?.process("largest", eater.part(&container.place.owner)?);
    touched(cast, &eater)
}

/// So many that a walk with a bound on its steps would not come to the last of them, and few enough for the memory of a guest.
const MANY_PODS: usize = 3000;

pub(super) fn many_pods(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    for _ in 1..MANY_PODS {
        scratch.pod()?;
    }
    // The newest is the largest.
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let eater = feed_as(&container.cgroup, &largest()?)?;
    let cast = cast(&scratch, &pod)?.process("largest", eater.part(&container.place.owner)?);
    touched(cast, &eater)
}

pub(super) fn host_victim(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let innocent = fed(&container.cgroup, &Role::eats("innocent", 16))?;
    let service = scratch.host("hog.service")?;
    let eater = feed_as(&service, &largest()?.of_host())?;
    ensure!(innocent.lives(), "the pod's process died too");
    let place = unit(&service);
    let cast = cast(&scratch, &pod)?.process("largest", eater.part(&place.owner)?).place("service", place);
    touched(cast, &eater)
}

pub(super) fn allocating_task(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let (container, other) = (pod.container()?, pod.container()?);
    // The kernel would kill this one first.
    let holder = fed(&other.cgroup, &Role::eats("holder", 64).adj(1000))?;
    let mut allocator = Actor::start(&container.cgroup, &Role::eats("allocator", memory_mib()?))?;
    // The trigger dies: not the agents, and not this program.
    let exempt = stage.agents.iter().copied().chain([std::process::id()]);
    let _exempt: Vec<Setting> = exempt
        .map(|pid| Setting::new(format!("/proc/{pid}/oom_score_adj"), "-1000"))
        .collect::<Result<_>>()?;
    let _allocating = Setting::new("/proc/sys/vm/oom_kill_allocating_task", "1")?;
    allocator.go()?;
    allocator.killed()?;
    ensure!(holder.lives(), "the process that would be killed first died too");
    let cast = cast(&scratch, &pod)?.process("allocator", allocator.part(&container.place.owner)?);
    touched(cast, &allocator)
}

pub(super) fn sysrq(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let mut holder = fed(&container.cgroup, &Role::eats("largest", 96).adj(900))?;
    fs::write("/proc/sysrq-trigger", "f").context("cannot write to /proc/sysrq-trigger")?;
    holder.killed()?;
    Ok(cast(&scratch, &pod)?.process("largest", holder.part(&container.place.owner)?))
}

pub(super) fn victim_fails(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    // While one thread causes the OOM, three more allocate memory, and go on to when the process has been killed.
    let eater = feed_as(&container.cgroup, &largest()?.threads(3))?;
    let cast = cast(&scratch, &pod)?.process("largest", eater.part(&container.place.owner)?);
    touched(cast, &eater)
}

pub(super) fn page_cache(stage: &Stage<'_>) -> Result<Cast> {
    let _device = Zram::new(64)?;
    let scratch = node(stage)?;
    let pod = scratch.pod()?;
    let Container { cgroup, .. } = pod.container()?;
    cgroup.set_limit(24 * MIB)?;
    let reader = fed(&cgroup, &Role::reads("reader", Zram::DEVICE.as_ref(), 48))?;
    let cached = cgroup.usage_bytes()?;
    ensure!(cached > 22 * MIB, "the container's limit is not reached: {cached} bytes");
    let other = scratch.pod()?;
    let container = other.container()?;
    let eater = feed_as(&container.cgroup, &largest()?)?;
    ensure!(reader.lives(), "the process of the container that is full of page cache died too");
    let cast = cast(&scratch, &other)?.process("largest", eater.part(&container.place.owner)?);
    touched(cast, &eater)
}

/// The machine's memory.
fn memory_mib() -> Result<u64> {
    Ok(memory_kib("MemTotal")? / 1024)
}

/// This row of `/proc/meminfo`.
pub(super) fn memory_kib(row: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(row)?.strip_prefix(':'));
    let number = lines.next().and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("/proc/meminfo has no number {row}"))
}
