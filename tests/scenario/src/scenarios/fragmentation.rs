//! The kernel refuses a request for memory: because what is free is in pieces, because little is free, because the
//! request could not wait, or because a limit is reached.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::{MIB, Setting, Stage, fed};
use crate::actor::{Actor, Role};
use crate::scratch::{Container, Pod, Scratch, unit};
use crashtrace_judge::cast::{Cast, Place, Process, SLACK};
use crashtrace_test_support::cgroup::random_hex;

/// The largest order there is: 4 MiB on 4K pages.
const LARGEST: u32 = 10;
/// Up to this order the kernel goes on until it has the memory (`PAGE_ALLOC_COSTLY_ORDER`).
const NEVER_REFUSED: u32 = 3;

/// A node whose memory somebody takes.
struct Node {
    scratch: Scratch,
    _settings: Vec<Setting>,
}

impl Node {
    /// As it comes.
    fn plain(stage: &Stage<'_>) -> Result<Self> {
        Ok(Self { scratch: Scratch::of_node(stage.hierarchy)?, _settings: Vec::new() })
    }

    /// One on which it can be foretold what is refused. So much is held back from requests that may wait.
    fn new(stage: &Stage<'_>, held_back_kib: u64) -> Result<Self> {
        let settings = [
            // What is locked stays where it is. Some kernels have it so from the start.
            ("vm/compact_unevictable_allowed", "0".to_owned()),
            ("vm/min_free_kbytes", held_back_kib.to_string()),
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

    /// The cast of a pod's process that asks and a service's that has the memory.
    fn cast(&self, asker: &Asker<'_>, hoarder: Option<&Hoarder>) -> Result<Cast> {
        let Asker { actor, pod, container } = asker;
        let mut cast = self.scratch.cast()?.process("asker", actor.part(&container.place.owner)?);
        cast = cast.place("pod", pod.place()).place("container", container.place.clone());
        if let Some(Hoarder { actor, anon, place }) = hoarder {
            let anon = (anon.saturating_sub(SLACK), anon + SLACK);
            let part = Process { anon, ..actor.part(&place.owner)? };
            cast = cast.process("hoarder", part).place("service", place.clone());
        }
        Ok(cast)
    }

    /// Has a service of the host's take the memory.
    fn hoarder(&self, role: &Role) -> Result<Hoarder> {
        // A name of its own each time: a kill that comes late must not pass for the next scenario's.
        let service = self.scratch.host(&format!("hoarder-{}.service", &random_hex()?[..8]))?;
        let actor = fed(&service, &role.clone().of_host())?;
        Ok(Hoarder { anon: actor.anonymous_bytes()?, actor, place: unit(&service) })
    }
}

/// A service's process that has the node's memory.
struct Hoarder {
    actor: Actor,
    /// What it has, in bytes.
    anon: u64,
    place: Place,
}

/// A container's process that asks for memory. It is to be started before there is little: that takes memory too.
struct Asker<'a> {
    actor: Actor,
    pod: Pod<'a>,
    container: Container,
}

impl<'a> Asker<'a> {
    fn start(scratch: &'a Scratch, role: &Role) -> Result<Self> {
        let pod = scratch.pod()?;
        let container = pod.container()?;
        Ok(Self { actor: Actor::start(&container.cgroup, role)?, pod, container })
    }

    fn is_refused(&mut self, times: u64) -> Result<()> {
        let refused = self.actor.ask()?;
        ensure!(refused == times, "{refused} requests were refused, and should have been {times}");
        Ok(())
    }
}

/// A node with much free memory, of which no piece is larger than 2^3 pages: what starts meanwhile needs no larger one.
fn in_pieces(stage: &Stage<'_>, refused: u64) -> Result<Cast> {
    let node = Node::new(stage, 1024)?;
    let mut asker = Asker::start(&node.scratch, &Role::asks("asker", LARGEST, refused))?;
    let hoarder = node.hoarder(&Role::fragments("hoarder", 16, NEVER_REFUSED))?;
    let (extfrag, unusable) = (index("extfrag_index")?, index("unusable_index")?);
    asker.is_refused(refused)?;
    Ok(Cast { extfrag, unusable, ..node.cast(&asker, Some(&hoarder))? })
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
        // One just below 0, which the kernel's integers can come to, stands there as `0.-23`.
        let value = |word: &str| match word.split_once(".-") {
            Some((whole, rest)) => format!("-{whole}.{rest:0>3}").parse().ok(),
            None => word.parse().ok(),
        };
        Some((zone, words.map(value).collect::<Option<_>>()?))
    });
    Ok(rows.collect())
}

pub(super) fn fragmentation(stage: &Stage<'_>) -> Result<Cast> {
    in_pieces(stage, 1)
}

pub(super) fn alloc_flood(stage: &Stage<'_>) -> Result<Cast> {
    in_pieces(stage, 10_000)
}

pub(super) fn low_memory(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::new(stage, 1024)?;
    let mut asker = Asker::start(&node.scratch, &Role::asks("asker", LARGEST, 1))?;
    // With the watermark of 1 MiB there would just be room for 4 MiB in 5.
    let hoarder = node.hoarder(&Role::hoards("hoarder", 4))?;
    asker.is_refused(1)?;
    node.cast(&asker, Some(&hoarder))
}

pub(super) fn fragmentation_oom(stage: &Stage<'_>) -> Result<Cast> {
    /// Another process may just have given a piece back, which then is what was asked for.
    const ATTEMPTS: usize = 5;
    let node = Node::new(stage, 1024)?;
    for _ in 0..ATTEMPTS {
        let mut asker = Asker::start(&node.scratch, &Role::asks("asker", NEVER_REFUSED, 1))?;
        // With its end all is in one piece again.
        let role = Role::fragments("hoarder", 16, NEVER_REFUSED - 1).adj(900).urgent();
        let mut hoarder = node.hoarder(&role)?;
        asker.is_refused(0)?;
        if !hoarder.actor.lives() {
            hoarder.actor.killed()?;
            return node.cast(&asker, Some(&hoarder));
        }
    }
    bail!("the kernel had a piece of order {NEVER_REFUSED} each of {ATTEMPTS} times")
}

pub(super) fn atomic_failure(stage: &Stage<'_>) -> Result<Cast> {
    // Requests that may not wait may have some of what is held back from others.
    let node = Node::new(stage, 3072)?;
    // Otherwise the kernel lets others run for a part of each second.
    let _no_throttle = Setting::new("/proc/sys/kernel/sched_rt_runtime_us", "-1")?;
    let mut asker = Asker::start(&node.scratch, &Role::asks_atomic("asker", 1))?;
    let hoarder = node.hoarder(&Role::hoards("hoarder", 7))?;
    asker.is_refused(1)?;
    node.cast(&asker, Some(&hoarder))
}

pub(super) fn vmalloc_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let file = "/proc/sys/kernel/sem";
    let limits = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    // Semaphores in a set, in all sets, and two more numbers.
    let others: Vec<_> = limits.split_whitespace().skip(2).collect();
    let _semaphores = Setting::new(file, &format!("{0} {0} {1}", i32::MAX, others.join(" ")))?;
    let mut asker = Asker::start(&node.scratch, &Role::asks_virtual("asker", 1))?;
    asker.is_refused(1)?;
    node.cast(&asker, None)
}

pub(super) fn charge_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    // Not to be killed, and alone in its cgroup.
    let mut asker = Asker::start(&node.scratch, &Role::asks_charged("asker", 3).adj(-1000))?;
    asker.container.cgroup.set_limit(16 * MIB)?;
    asker.is_refused(3)?;
    node.cast(&asker, None)
}

pub(super) fn large_charge_failure(stage: &Stage<'_>) -> Result<Cast> {
    let node = Node::plain(stage)?;
    let mut asker = Asker::start(&node.scratch, &Role::asks_charged_at_once("asker", 3))?;
    let cgroup = &asker.container.cgroup;
    cgroup.set_limit(cgroup.usage_bytes()? + MIB)?;
    asker.is_refused(3)?;
    node.cast(&asker, None)
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
    node.cast(&Asker { actor, pod, container }, None)
}
