//! Allocations that fail: free memory is fragmented, or little is free, or an atomic allocation cannot wait, or a limit is reached.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context as _, Result, bail, ensure};

use super::{MIB, Setting, Stage, fed};
use crate::actor::{Actor, Role};
use crate::scratch::{Container, Pod, Scratch, unit};
use crashtrace_judge::cast::{Cast, Place, Process, SLACK};
use crashtrace_test_support::cgroup::random_hex;

/// The largest order there is: 4 MiB on 4K pages.
const LARGEST: u32 = 10;
/// Up to this order the kernel retries until it has the memory (`PAGE_ALLOC_COSTLY_ORDER`).
const NEVER_FAILS: u32 = 3;

/// A node on which a process takes the memory.
struct Node {
    scratch: Scratch,
    _settings: Vec<Setting>,
}

impl Node {
    /// As it comes.
    fn plain(stage: &Stage<'_>) -> Result<Self> {
        Ok(Self { scratch: Scratch::of_node(stage.hierarchy)?, _settings: Vec::new() })
    }

    /// One on which it is predictable which allocation fails. `min_free_kbytes` is its reserve.
    fn new(stage: &Stage<'_>, min_free_kib: u64) -> Result<Self> {
        let settings = [
            // Locked pages are not moved. Some kernels have it so from the start.
            ("vm/compact_unevictable_allowed", "0".to_owned()),
            ("vm/min_free_kbytes", min_free_kib.to_string()),
            // Nor more than that for a while after pages of one kind were taken for another.
            ("vm/watermark_boost_factor", "0".to_owned()),
            // Nor more in one zone than in another.
            ("vm/lowmem_reserve_ratio", "0 0 0 0".to_owned()),
            // Little stays on a CPU's own lists, where it is not counted. Before 5.14 these have single pages only.
            ("vm/percpu_pagelist_high_fraction", "1000000".to_owned()),
            // The control data of messages.
            ("net/core/optmem_max", (8 * MIB).to_string()),
        ];
        let files = settings.map(|(name, value)| (Path::new("/proc/sys").join(name), value));
        let there = files.iter().filter(|(file, _)| file.exists());
        let settings = there.map(|(file, value)| Setting::new(file, value)).collect::<Result<_>>()?;
        Ok(Self { _settings: settings, ..Self::plain(stage)? })
    }

    /// The cast: a process in a pod that allocates, and one in a service that holds the memory.
    fn cast(&self, allocator: &Allocator<'_>, holder: Option<&Holder>) -> Result<Cast> {
        let Allocator { actor, pod, container } = allocator;
        let mut cast = self.scratch.cast()?.process("allocator", actor.part(&container.place.owner)?);
        cast = cast.place("pod", pod.place()).place("container", container.place.clone());
        if let Some(Holder { actor, anon, place }) = holder {
            let anon = (anon.saturating_sub(SLACK), anon + SLACK);
            let part = Process { anon, ..actor.part(&place.owner)? };
            cast = cast.process("holder", part).place("service", place.clone());
        }
        Ok(cast)
    }

    /// Has a service of the host take the memory.
    fn holder(&self, role: &Role) -> Result<Holder> {
        // Another name each time: a late kill must not pass for the next scenario's.
        let service = self.scratch.host(&format!("holder-{}.service", &random_hex()?[..8]))?;
        let actor = fed(&service, &role.clone().of_host())?;
        Ok(Holder { anon: actor.anonymous_bytes()?, actor, place: unit(&service) })
    }
}

/// A service's process that has the node's memory.
struct Holder {
    actor: Actor,
    /// Its anonymous memory, in bytes.
    anon: u64,
    place: Place,
}

/// A process in a container that makes allocations. It must be started before memory is low: starting takes memory too.
struct Allocator<'a> {
    actor: Actor,
    pod: Pod<'a>,
    container: Container,
}

impl<'a> Allocator<'a> {
    fn start(scratch: &'a Scratch, role: &Role) -> Result<Self> {
        let pod = scratch.pod()?;
        let container = pod.container()?;
        Ok(Self { actor: Actor::start(&container.cgroup, role)?, pod, container })
    }

    fn fails(&mut self, times: u64) -> Result<()> {
        let failed = self.actor.allocate()?;
        ensure!(failed == times, "{failed} allocations failed, not {times}");
        Ok(())
    }
}

/// A node with much free memory and no free block above order 3: processes that start meanwhile need no larger one.
fn fragmented(stage: &Stage<'_>, failures: u64) -> Result<Cast> {
    let node = Node::new(stage, 1024)?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates("allocator", LARGEST, failures))?;
    let holder = node.holder(&Role::fragments_node_memory("holder", 16, NEVER_FAILS))?;
    let (extfrag, unusable) = (index("extfrag_index")?, index("unusable_index")?);
    allocator.fails(failures)?;
    Ok(Cast { extfrag, unusable, ..node.cast(&allocator, Some(&holder))? })
}

/// One of the kernel's indices of each zone, by order, as it shows them itself:
///
/// ```text
/// Node 0, zone    DMA32 -1.000 -1.000 0.937
/// ```
fn index(name: &str) -> Result<BTreeMap<String, Vec<f64>>> {
    let path = Path::new("/sys/kernel/debug/extfrag").join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(3);
        let zone = words.next()?.to_owned();
        // A value just below 0, which the kernel's integers can reach, is written as `0.-23`.
        let value = |word: &str| match word.split_once(".-") {
            Some((whole, rest)) => format!("-{whole}.{rest:0>3}").parse().ok(),
            None => word.parse().ok(),
        };
        Some((zone, words.map(value).collect::<Option<_>>()?))
    });
    Ok(rows.collect())
}

pub(super) fn fragmentation(stage: &Stage<'_>) -> Result<Cast> {
    fragmented(stage, 1)
}

pub(super) fn alloc_flood(stage: &Stage<'_>) -> Result<Cast> {
    fragmented(stage, 10_000)
}

pub(super) fn low_memory(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::new(stage, 1024)?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates("allocator", LARGEST, 1))?;
    // With the watermark of 1 MiB there would just be room for 4 MiB in 5.
    let holder = node.holder(&Role::takes_node_memory("holder", 4))?;
    allocator.fails(1)?;
    node.cast(&allocator, Some(&holder))
}

pub(super) fn fragmentation_oom(stage: &Stage<'_>) -> Result<Cast> {
    /// Another process may just have freed a block of that order.
    const ATTEMPTS: usize = 5;
    let node = Node::new(stage, 1024)?;
    for _ in 0..ATTEMPTS {
        let mut allocator = Allocator::start(&node.scratch, &Role::allocates("allocator", NEVER_FAILS, 1))?;
        // When it has ended, memory is contiguous again.
        let role = Role::fragments_node_memory("holder", 16, NEVER_FAILS - 1).adj(900).urgent();
        let mut holder = node.holder(&role)?;
        allocator.fails(0)?;
        if !holder.actor.lives() {
            holder.actor.killed()?;
            return node.cast(&allocator, Some(&holder));
        }
    }
    bail!("the kernel had a free block of order {NEVER_FAILS} each of {ATTEMPTS} times")
}

pub(super) fn atomic_failure(stage: &Stage<'_>) -> Result<Cast> {
    // Atomic allocations may use part of the reserve.
    let node = Node::new(stage, 3072)?;
    let _alone = alone_on_its_cpu()?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates_atomic("allocator", 1))?;
    let holder = node.holder(&Role::takes_node_memory("holder", 7))?;
    allocator.fails(1)?;
    node.cast(&allocator, Some(&holder))
}

/// Has a process with a real-time priority run alone. Otherwise the kernel lets others run for a part of each second, in which an agent
/// may find no page, and have a process killed for it: by a bound for all real-time tasks, and from 6.12 on by a server for the others on
/// each CPU (`fair_server`, `kernel/sched/debug.c`).
fn alone_on_its_cpu() -> Result<Vec<Setting>> {
    let mut settings = vec![Setting::new("/proc/sys/kernel/sched_rt_runtime_us", "-1")?];
    let servers = match fs::read_dir("/sys/kernel/debug/sched/fair_server") {
        Ok(servers) => servers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(settings),
        Err(error) => return Err(error).context("cannot list the servers of the CPUs"),
    };
    for server in servers {
        let server = server.context("cannot list the servers of the CPUs")?;
        settings.push(Setting::new(server.path().join("runtime"), "0")?);
    }
    Ok(settings)
}

pub(super) fn vmalloc_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let file = "/proc/sys/kernel/sem";
    let limits = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    // Semaphores in a set, in all sets, and two more numbers.
    let others: Vec<_> = limits.split_whitespace().skip(2).collect();
    let _semaphores = Setting::new(file, &format!("{0} {0} {1}", i32::MAX, others.join(" ")))?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates_virtual("allocator", 1))?;
    allocator.fails(1)?;
    node.cast(&allocator, None)
}

pub(super) fn charge_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    // Not to be killed, and alone in its cgroup.
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates_charged("allocator", 3).adj(-1000))?;
    allocator.container.cgroup.set_limit(16 * MIB)?;
    allocator.fails(3)?;
    node.cast(&allocator, None)
}

pub(super) fn bpf_map_charge(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates_bpf_maps("allocator", 1))?;
    // Room for one map, and for a part of the next.
    allocator.container.cgroup.set_limit(24 * MIB)?;
    // With cpusets the flags of a vmalloc's page look like those of a process's at the tracepoint.
    allocator.container.cgroup.add_cpuset(node.scratch.mount())?;
    allocator.fails(1)?;
    node.cast(&allocator, None)
}

pub(super) fn large_charge_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let mut allocator = Allocator::start(&node.scratch, &Role::allocates_charged_at_once("allocator", 3))?;
    let cgroup = &allocator.container.cgroup;
    cgroup.set_limit(cgroup.usage_bytes()? + MIB)?;
    allocator.fails(3)?;
    node.cast(&allocator, None)
}

pub(super) fn busy_node(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let pod = node.scratch.pod()?;
    let container = pod.container()?;
    // A minute, before all agents at once; a part of that before one alone.
    let rounds = if stage.agents.len() > 1 { 3 } else { 0 };
    for _ in 0..rounds {
        Actor::start(&container.cgroup, &Role::is_busy("busy", 18))?.eat()?;
    }
    let mut actor = Actor::start(&container.cgroup, &Role::is_busy("busy", 6))?;
    actor.eat()?;
    node.cast(&Allocator { actor, pod, container }, None)
}
