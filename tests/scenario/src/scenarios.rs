//! The scenarios: each causes one kind of incident, and gives its cast. The reports that must come are in
//! `scenarios.toml`, with a line about each.

mod advice;
mod clock_set;
mod elsewhere;
mod ends;
mod fragmentation;
mod group;
mod kernel_charges;
mod killed;
mod levels;
mod limits;
mod node;
mod numa;
mod runtimes;
mod start_up;
mod unusual_victims;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::actor::{Actor, Role};
use crashtrace_judge::cast::Cast;
use crashtrace_judge::catalogue::{Need, Scenario};
use crashtrace_test_support::cgroup::{Cgroup, Hierarchy, Version};

const MIB: u64 = 1 << 20;

pub use ends::Early;

/// The scenario for which a container must begin before the agents.
pub const EARLY: &str = "before_agent";

/// Brings it about.
pub type Play = fn(&Stage<'_>) -> Result<Cast>;

/// All of them.
const ALL: &[(&str, Play)] = &[
    ("own_limit", limits::own_limit),
    ("one_container", limits::one_container),
    ("parent_limit", limits::parent_limit),
    ("qos_slice", levels::qos_slice),
    ("node_allocatable", levels::node_allocatable),
    ("host_service", levels::host_service),
    ("plain_cgroup", levels::plain_cgroup),
    ("systemd_names", levels::systemd_names),
    ("deep_path", levels::deep_path),
    ("child", limits::child),
    ("oom_group", group::oom_group),
    ("oom_group_300", group::oom_group_300),
    ("bystander", limits::bystander),
    ("shallow_trigger", limits::shallow_trigger),
    ("limit_write", limits::limit_write),
    ("no_victim", limits::no_victim),
    ("no_victim_anew", limits::no_victim_anew),
    ("oom_kill_disable", limits::oom_kill_disable),
    ("system", node::system),
    ("many_pods", node::many_pods),
    ("host_victim", node::host_victim),
    ("allocating_task", node::allocating_task),
    ("sysrq", node::sysrq),
    ("cpuset_oom", numa::cpuset_oom),
    ("mempolicy_oom", numa::mempolicy_oom),
    ("tmpfs", start_up::tmpfs),
    ("swap", limits::swap),
    ("eight_at_once", group::eight_at_once),
    ("first_thread_ended", unusual_victims::first_thread_ended),
    ("hostile_names", unusual_victims::hostile_names),
    ("exits_by_itself", unusual_victims::exits_by_itself),
    ("victim_fails", node::victim_fails),
    ("page_cache", node::page_cache),
    ("storm", group::storm),
    ("clock_set", clock_set::clock_set),
    ("startup", start_up::startup),
    ("fragmentation", fragmentation::fragmentation),
    ("low_memory", fragmentation::low_memory),
    ("atomic_failure", fragmentation::atomic_failure),
    ("fragmentation_oom", fragmentation::fragmentation_oom),
    ("alloc_flood", fragmentation::alloc_flood),
    ("vmalloc_failure", fragmentation::vmalloc_failure),
    ("charge_failure", fragmentation::charge_failure),
    ("bpf_map_charge", fragmentation::bpf_map_charge),
    ("large_charge_failure", fragmentation::large_charge_failure),
    ("busy_node", fragmentation::busy_node),
    ("huge_pages", elsewhere::huge_pages),
    ("unread_datagrams", elsewhere::unread_datagrams),
    ("root_process", elsewhere::root_process),
    ("zone_movable", elsewhere::zone_movable),
    ("min_free_kbytes", elsewhere::min_free_kbytes),
    ("zram_full", elsewhere::zram_full),
    ("files_of_ended_unit", elsewhere::files_of_ended_unit),
    ("no_memory_controller", elsewhere::no_memory_controller),
    ("runtimes", runtimes::runtimes),
    ("refused_memory", elsewhere::refused_memory),
    ("limit_for_pod", advice::limit_for_pod),
    ("limit_for_unit", advice::limit_for_unit),
    ("larger_reservation", advice::larger_reservation),
    ("dentries", kernel_charges::dentries),
    ("pipe_buffers", kernel_charges::pipe_buffers),
    ("unix_sockets", kernel_charges::unix_sockets),
    ("page_tables", kernel_charges::page_tables),
    ("memory_and_swap", kernel_charges::memory_and_swap),
    ("pod_level_limit", kernel_charges::pod_level_limit),
    ("exit_1", ends::exit_1),
    ("exit_0", ends::exit_0),
    ("exit_3", ends::exit_3),
    ("segv_null", ends::segv_null),
    ("sigbus_truncated", ends::sigbus_truncated),
    ("sigbus_tmpfs", ends::sigbus_tmpfs),
    ("sigbus_hugetlb", ends::sigbus_hugetlb),
    ("abort", ends::abort),
    ("abort_core", ends::abort_core),
    ("seccomp_kill", ends::seccomp_kill),
    ("sigxcpu", ends::sigxcpu),
    ("cpu_limit_kill", ends::cpu_limit_kill),
    ("term_handled", killed::term_handled),
    ("term_ignored_then_kill", killed::term_ignored_then_kill),
    ("killed_by_sibling", killed::killed_by_sibling),
    ("killed_by_other_container", killed::killed_by_other_container),
    ("killed_by_host", killed::killed_by_host),
    ("cgroup_kill", killed::cgroup_kill),
    ("killed_by_service", killed::killed_by_service),
    ("exec_dies", killed::exec_dies),
    ("probe_fails_then_term", killed::probe_fails_then_term),
    ("oom_first_process", ends::oom_first_process),
    ("oom_child", ends::oom_child),
    ("oom_child_then_exit", ends::oom_child_then_exit),
    ("threads_50", ends::threads_50),
    ("share_process_namespace", ends::share_process_namespace),
    ("host_pid", ends::host_pid),
    ("tini", ends::tini),
    ("nested_namespace", ends::nested_namespace),
    ("pause_killed", ends::pause_killed),
    ("before_agent", ends::before_agent),
];

/// The surroundings of a scenario.
pub struct Stage<'a> {
    pub hierarchy: &'a Hierarchy,
    /// The agents.
    pub agents: &'a [u32],
    /// This is a guest.
    pub guest: bool,
    /// Containers are to be made by runc, if there is one.
    pub runc: bool,
    /// The container that began before the agents.
    pub early: &'a RefCell<Option<Early>>,
    /// Waits until each agent that can see it has so many lines about these cgroups.
    pub wait: &'a dyn Fn(&[String], usize) -> Result<()>,
    /// What the first of the agents that can see it has said about these cgroups.
    pub reports: &'a dyn Fn(&[String]) -> Vec<Value>,
    /// Waits until each agent has reported so many steps of the wall clock.
    pub wait_clock: &'a dyn Fn(usize) -> Result<()>,
}

/// How to bring this one about.
pub fn play(name: &str) -> Result<Play> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, play)| *play).with_context(|| format!("nothing brings {name} about"))
}

/// Whether there is a scenario here for each in the file, and the other way round.
pub fn fit(names: &[&str]) -> Result<()> {
    for name in names {
        play(name)?;
    }
    let strange: Vec<_> = ALL.iter().map(|(name, _)| *name).filter(|name| !names.contains(name)).collect();
    ensure!(strange.is_empty(), "scenarios.toml says nothing of {strange:?}");
    Ok(())
}

/// Why it cannot be played here.
pub fn hindrance(scenario: &Scenario, hierarchy: &Hierarchy, guest: bool) -> Option<&'static str> {
    let numa =
        || fs::read_to_string("/sys/devices/system/node/online").is_ok_and(|nodes| nodes.trim() != "0");
    // A cgroup without that controller has neither a limit nor counters.
    if !hierarchy.memory && !scenario.needs.contains(&Need::NoMemoryController) {
        return Some("needs the memory controller");
    }
    scenario.needs.iter().find_map(|need| match need {
        Need::V1 if hierarchy.version != Version::V1 => Some("needs cgroup v1"),
        Need::V2 if hierarchy.version != Version::V2 => Some("needs cgroup v2"),
        Need::Guest if !guest => Some("would harm this machine: needs a guest (--guest)"),
        Need::Numa if !numa() => Some("needs two NUMA nodes"),
        Need::OneNode if numa() => Some("needs a single NUMA node"),
        Need::Movable if !has_zone_movable() => Some("needs zone Movable"),
        Need::NoMemoryController if hierarchy.memory => Some("needs a kernel without the memory controller"),
        Need::ChargedMaps if crate::run::kernel().is_none_or(|it| it < (5, 11)) => {
            Some("needs a kernel that charges BPF maps to the cgroup")
        }
        Need::Zram if !PathBuf::from("/sys/block/zram0").exists() => Some("needs the zram module"),
        _ => None,
    })
}

/// Whether zone Movable has memory.
fn has_zone_movable() -> bool {
    let zones = fs::read_to_string("/proc/zoneinfo").unwrap_or_default();
    let mut lines = zones.lines().skip_while(|line| !line.ends_with("Movable"));
    lines.find_map(|line| line.trim().strip_prefix("managed")).is_some_and(|pages| pages.trim() != "0")
}

/// Has a process eat until it is killed.
fn feed(cgroup: &Cgroup) -> Result<Actor> {
    feed_as(cgroup, &Role::eats("eater", 192))
}

/// Has a process of this kind eat until it is killed.
fn feed_as(cgroup: &Cgroup, role: &Role) -> Result<Actor> {
    let mut eater = Actor::start(cgroup, role)?;
    eater.go()?;
    eater.killed()?;
    Ok(eater)
}

/// Has a process eat all that it is to, and live on.
fn fed(cgroup: &Cgroup, role: &Role) -> Result<Actor> {
    let mut actor = Actor::start(cgroup, role)?;
    actor.eat()?;
    Ok(actor)
}

/// The cast with the time of this process's last touch, which led to the kill.
fn touched(cast: Cast, actor: &Actor) -> Result<Cast> {
    let (last_touch_ns, _) = actor.last_touch()?;
    Ok(Cast { last_touch_ns: Some(last_touch_ns), ..cast })
}

/// Runs a command of the guest's.
fn command(program: &str, args: &[&str]) -> Result<()> {
    let output =
        Command::new(program).args(args).output().with_context(|| format!("cannot start {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {}", args.join(" "), said.trim_end());
    Ok(())
}

/// A file of the kernel's with another value, until it is dropped.
pub struct Setting {
    file: PathBuf,
    before: String,
}

impl Setting {
    pub fn new(file: impl Into<PathBuf>, value: &str) -> Result<Self> {
        let file = file.into();
        let before = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::write(&file, value).with_context(|| format!("cannot write {value} to {}", file.display()))?;
        Ok(Self { file, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.file, self.before.trim()) {
            eprintln!("scenario: cannot set {} back: {error}", self.file.display());
        }
    }
}

/// A block device in compressed memory, until it is dropped.
struct Zram;

impl Zram {
    const DEVICE: &'static str = "/dev/zram0";
    const FILES: &'static str = "/sys/block/zram0";

    fn new(mib: u64) -> Result<Self> {
        let size = format!("{}/disksize", Self::FILES);
        fs::write(&size, (mib * MIB).to_string()).with_context(|| format!("cannot write {size}"))?;
        Ok(Self)
    }
}

impl Drop for Zram {
    fn drop(&mut self) {
        if let Err(error) = fs::write(format!("{}/reset", Self::FILES), "1") {
            eprintln!("scenario: cannot reset {}: {error}", Self::DEVICE);
        }
    }
}

/// Swap on a device, until it is dropped.
struct Swap {
    /// Given back after the swap has been taken off it.
    _device: Zram,
}

impl Swap {
    fn on(device: Zram) -> Result<Self> {
        command("mkswap", &[Zram::DEVICE])?;
        command("swapon", &[Zram::DEVICE])?;
        Ok(Self { _device: device })
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if let Err(error) = command("swapoff", &[Zram::DEVICE]) {
            eprintln!("scenario: {error:#}");
        }
    }
}
