//! The node runs out of memory, and most of it is where no walk of the cgroups finds it: huge pages, slab, processes of the root
//! cgroup, a zone that the kernel may not use, a reserve, compressed swap, files of a cgroup that is gone.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::node::{self, largest, memory_kib};
use super::{MIB, Setting, Stage, Swap, Zram, fed, feed_as, touched};
use crate::actor::{Actor, Role, STEP};
use crate::scratch::{Scratch, unit};
use crashtrace_judge::cast::Cast;
use crashtrace_test_support::cgroup;

/// Memory of huge pages, none of which is used.
const HUGE_MIB: u64 = 240;
/// Data that no process receives.
const DATAGRAMS_MIB: u64 = 160;
/// Files in the host's `/dev/shm`.
const FILES_MIB: u64 = 160;

/// Has the only pod eat until it is killed, and gives the cast.
fn pod_eats(stage: &Stage<'_>, scratch: &Scratch) -> Result<Cast> {
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let eater = feed_as(&container.cgroup, &largest()?)?;
    // What holds the memory must be there until the report has come.
    (stage.wait)(&scratch.prefixes(), 1)?;
    let cast = node::cast(scratch, &pod)?.process("largest", eater.part(&container.place.owner)?);
    touched(cast, &eater)
}

pub(super) fn huge_pages(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    fs::write("/proc/sys/vm/drop_caches", "3").context("cannot have caches dropped")?;
    fs::write("/proc/sys/vm/compact_memory", "1").context("cannot have memory compacted")?;
    let file = "/proc/sys/vm/nr_hugepages";
    let count = (HUGE_MIB / 2).to_string();
    let _huge = Setting::new(file, &count)?;
    let reserved = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    ensure!(reserved.trim() == count, "{} huge pages of {count} could be reserved", reserved.trim());
    pod_eats(stage, &scratch)
}

pub(super) fn unread_datagrams(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let _may = Setting::new("/proc/sys/net/ipv4/udp_mem", "200000 300000 400000")?;
    let root = stage.hierarchy.cgroup(stage.hierarchy.mount.clone())?;
    let receiver = fed(&root, &Role::queues_datagrams("receiver", DATAGRAMS_MIB).of_host())?;
    let cast = pod_eats(stage, &scratch)?;
    ensure!(receiver.lives(), "the process that does not receive died too");
    Ok(cast)
}

pub(super) fn root_process(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let web = fed(&container.cgroup, &Role::eats("web", 40))?;
    let root = stage.hierarchy.cgroup(stage.hierarchy.mount.clone())?;
    let daemon = feed_as(&root, &largest()?.of_host())?;
    ensure!(web.lives(), "the pod's process died too");
    // The kernel counts no kill in the root cgroup.
    let cast = Cast { kills: None, ..node::cast(&scratch, &pod)? };
    let cast = cast.process("largest", daemon.part(&serde_json::json!({ "kind": "host" }))?);
    touched(cast, &daemon)
}

/// A kill must free memory of the zones that are short: so the victim's lies there, and not in zone Movable, which is full while it
/// comes and empty afterwards.
pub(super) fn zone_movable(stage: &Stage<'_>) -> Result<Cast> {
    const WEB_MIB: u64 = 60;
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let mut filler =
        fed(&scratch.host("filler.service")?, &Role::eats("filler", zone_free_mib("Movable")?).of_host())?;
    let mut web = fed(&container.cgroup, &Role::eats("web", WEB_MIB).adj(900))?;
    filler.kill();
    filler.killed()?;
    ensure!(zone_free_mib("Movable")? > 2 * WEB_MIB, "zone Movable is not free again");
    let service = scratch.host("collector.service")?;
    let pipes = zone_free_mib("DMA32")? + WEB_MIB / 2;
    let collector = fed(&service, &Role::fills_pipes("collector", pipes).adj(-1000).of_host())?;
    web.killed()?;
    ensure!(collector.lives(), "the collector died too");
    let place = unit(&service);
    Ok(node::cast(&scratch, &pod)?
        .process("web", web.part(&container.place.owner)?)
        .process("collector", collector.part(&place.owner)?)
        .place("service", place))
}

/// Free memory of the zone of this name.
fn zone_free_mib(zone: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/zoneinfo").context("cannot read /proc/zoneinfo")?;
    let of_zone = text.lines().skip_while(|line| line.split_whitespace().last() != Some(zone));
    let free = of_zone.skip(1).find_map(|line| line.trim().strip_prefix("pages free"));
    let pages: u64 =
        free.context("the zone has no free pages in /proc/zoneinfo")?.trim().parse().context("no number")?;
    Ok(pages * rustix::param::page_size() as u64 / MIB)
}

pub(super) fn min_free_kbytes(stage: &Stage<'_>) -> Result<Cast> {
    /// Of the free memory, what the reserve leaves.
    const LEFT_KIB: u64 = 96 << 10;
    let scratch = node::node(stage)?;
    let keep = memory_kib("MemFree")?.checked_sub(LEFT_KIB).context("too little memory is free")?;
    // What is freed must not stay on a CPU's own lists, whose length follows from the watermarks, and where it is not counted. Before 5.14
    // it does not.
    let lists = "/proc/sys/vm/percpu_pagelist_high_fraction";
    let _lists = PathBuf::from(lists).exists().then(|| Setting::new(lists, "1000000")).transpose()?;
    let _keep = Setting::new("/proc/sys/vm/min_free_kbytes", &keep.to_string())?;
    pod_eats(stage, &scratch)
}

pub(super) fn zram_full(stage: &Stage<'_>) -> Result<Cast> {
    const SWAP_MIB: u64 = 128;
    let _swap = Swap::on(Zram::new(SWAP_MIB)?)?;
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let web = fed(&container.cgroup, &Role::eats("web", 16))?;
    let service = scratch.host("pacs.service")?;
    let eater = feed_as(&service, &largest()?.incompressible().of_host())?;
    ensure!(web.lives(), "the pod's process died too");
    let place = unit(&service);
    let mut it = eater.part(&place.owner)?;
    // Swapped-out pages are not in memory.
    it.anon.0 = it.anon.0.saturating_sub(SWAP_MIB * MIB);
    (stage.wait)(&scratch.prefixes(), 1)?;
    let cast = node::cast(&scratch, &pod)?.process("largest", it).place("service", place);
    touched(cast, &eater)
}

pub(super) fn files_of_ended_unit(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let service = scratch.host("filler.service")?;
    let file = Removed(PathBuf::from("/dev/shm/filled"));
    drop(fed(&service, &Role::fills("filler", &file.0, FILES_MIB).of_host())?);
    cgroup::remove(&service.dir)?;
    pod_eats(stage, &scratch)
}

/// A file, until this is dropped.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("scenario: cannot remove {}: {error}", self.0.display());
        }
    }
}

pub(super) fn no_memory_controller(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::of_node(stage.hierarchy)?;
    pod_eats(stage, &scratch)
}

/// Failures to have memory that are no failed allocations, and a wait in which a report of one would come.
pub(super) fn refused_memory(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = node::node(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let mut actor = Actor::start(&container.cgroup, &Role::is_refused("tcpdump", 20))?;
    let refused = actor.allocate()?;
    ensure!(refused == 60, "{refused} were refused");
    node::cast(&scratch, &pod).map(|cast| cast.place("container", container.place))
}

/// Waits until the kernel has given the memory of processes that were killed back.
pub(super) fn until_available(kib: u64) -> Result<()> {
    let begun = Instant::now();
    while memory_kib("MemAvailable")? < kib {
        ensure!(begun.elapsed() < STEP, "less than {kib} KiB are available");
        // The kernel has no event for that, so this polls.
        sleep(Duration::from_millis(5));
    }
    Ok(())
}
