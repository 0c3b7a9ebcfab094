//! The scenarios: each brings one kind of OOM about, and says what the reports of it must say.
//!
//! | scenario | the limit | who runs into it | who dies |
//! |---|---|---|---|
//! | `own_limit` | the container's | its process | the same |
//! | `parent_limit` | the pod's; the container has none | the container's process | the same |
//! | `one_container` | the pod's and the same number for its container, as kubelet sets it | the container's process | the same |
//! | `child` | the container's | a child of its first process | the child; the first process lives |
//! | `bystander` | the pod's | a small process of one container | a large one of another |
//! | `oom_group` | the container's, with `memory.oom.group` | one of three processes | all three |
//! | `limit_write` | the container's, lowered below what is in use | who lowers it, from outside | the container's process |
//! | `no_victim` | the container's | a process that must not be killed | nobody |
//! | `sysrq` | none | an administrator | the largest process |
//! | `system` | the node's memory | whoever asks for a page | the largest process |

use std::fs;

use anyhow::{Context as _, Result};

use crate::actor::{Actor, Role};
use crate::cgroup::{Cgroup, Container, Hierarchy, Scratch, Version};
use crate::expect::{Expected, Limit, Process, Tier, Trigger};

const MIB: u64 = 1 << 20;

/// A scenario.
pub struct Scenario {
    pub name: &'static str,
    /// Needs cgroup v2.
    v2: bool,
    /// Harms the machine that it runs on, so is for guests only.
    guest: bool,
    play: fn(&Stage<'_>) -> Result<Played>,
}

/// All of them, the roughest last.
pub const ALL: &[Scenario] = &[
    Scenario { name: "own_limit", v2: false, guest: false, play: own_limit },
    Scenario { name: "parent_limit", v2: false, guest: false, play: parent_limit },
    Scenario { name: "one_container", v2: false, guest: false, play: one_container },
    Scenario { name: "child", v2: false, guest: false, play: child },
    Scenario { name: "bystander", v2: false, guest: false, play: bystander },
    Scenario { name: "oom_group", v2: true, guest: false, play: oom_group },
    Scenario { name: "limit_write", v2: true, guest: false, play: limit_write },
    Scenario { name: "no_victim", v2: false, guest: true, play: no_victim },
    Scenario { name: "sysrq", v2: false, guest: true, play: sysrq },
    Scenario { name: "system", v2: false, guest: true, play: system },
];

/// What a scenario plays on.
pub struct Stage<'a> {
    pub hierarchy: &'a Hierarchy,
    /// Waits until each agent that can see it has so many lines about cgroups that begin like this.
    pub wait: &'a dyn Fn(&str, usize) -> Result<()>,
}

/// What has happened.
#[derive(Debug)]
pub struct Played {
    /// Reports are of this scenario if they name a cgroup that begins like this.
    pub prefix: String,
    /// What is to be reported, in order.
    pub expected: Vec<Expected>,
    /// When the victim touched its last page, where that is what led to the kill.
    pub last_touch_ns: Option<u64>,
}

impl Played {
    fn one(scratch: &Scratch, expected: Expected) -> Self {
        Self { prefix: scratch.prefix(), expected: vec![expected], last_touch_ns: None }
    }

    fn touched(self, actor: &Actor) -> Result<Self> {
        let (last_touch_ns, _) = actor.last_touch()?;
        Ok(Self { last_touch_ns: Some(last_touch_ns), ..self })
    }

    /// The reports that agents with these hooks must give.
    pub fn expected(&self, tier: Tier) -> impl Iterator<Item = &Expected> {
        let seen = move |expected: &&Expected| tier.sees_decision() || expected.kind == "oom_kill";
        self.expected.iter().filter(seen)
    }
}

impl Scenario {
    /// The one with this name.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = ALL.iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("there is no scenario {name}"))
    }

    /// Why it cannot be played here.
    pub fn hindrance(&self, hierarchy: &Hierarchy, guest: bool) -> Option<&'static str> {
        if self.v2 && hierarchy.version == Version::V1 {
            Some("needs cgroup v2")
        } else if self.guest && !guest {
            Some("would harm this machine: needs a guest (--guest)")
        } else {
            None
        }
    }

    /// Plays it to its end.
    pub fn play(&self, stage: &Stage<'_>) -> Result<Played> {
        (self.play)(stage)
    }
}

/// Has a process eat until it is killed.
fn feed(cgroup: &Cgroup) -> Result<Actor> {
    let mut eater = Actor::start(cgroup, &Role::eats("eater", 192))?;
    eater.go()?;
    eater.killed()?;
    Ok(eater)
}

fn own_limit(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "own")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let it = Process::of(&eater, &container)?;
    let limit = Limit::of_container(&container, 48 * MIB);
    let expected = Expected::cgroup_kill("container", limit, it.clone(), vec![it]);
    Played::one(&scratch, expected).touched(&eater)
}

fn parent_limit(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "parent")?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    pod.cgroup.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let it = Process::of(&eater, &container)?;
    let expected = Expected::cgroup_kill("pod", Limit::of_pod(&pod, 48 * MIB), it.clone(), vec![it]);
    Played::one(&scratch, expected).touched(&eater)
}

fn one_container(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "single")?;
    let pod = scratch.pod()?;
    let (container, sandbox) = (pod.container()?, pod.container()?);
    for cgroup in [&pod.cgroup, &container.cgroup] {
        cgroup.set_limit(48 * MIB)?;
    }
    // What the sandbox holds fills the pod before its container is full.
    let mut pause = Actor::start(&sandbox.cgroup, &Role::eats("pause", 1))?;
    pause.eat()?;
    let eater = feed(&container.cgroup)?;
    let it = Process::of(&eater, &container)?;
    let expected = Expected::cgroup_kill("container", Limit::of_pod(&pod, 48 * MIB), it.clone(), vec![it]);
    anyhow::ensure!(pause.lives(), "the sandbox's process died too");
    Played::one(&scratch, expected).touched(&eater)
}

fn child(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "child")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let mut eater = Actor::start(&container.cgroup, &Role::eats("eater", 192).through_a_child())?;
    anyhow::ensure!(eater.container_pid == 2, "the child is pid {} of its container", eater.container_pid);
    eater.go()?;
    eater.killed()?;
    anyhow::ensure!(eater.lives(), "the container's first process died too");
    let it = Process::of(&eater, &container)?;
    let limit = Limit::of_container(&container, 48 * MIB);
    let expected = Expected::cgroup_kill("container", limit, it.clone(), vec![it]);
    Played::one(&scratch, expected).touched(&eater)
}

fn bystander(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "bystander")?;
    let pod = scratch.pod()?;
    let (large, small) = (pod.container()?, pod.container()?);
    pod.cgroup.set_limit(80 * MIB)?;
    let mut holder = Actor::start(&large.cgroup, &Role::eats("holder", 56))?;
    holder.eat()?;
    // It needs less than the holder has, and no more than the limit alone.
    let mut worker = Actor::start(&small.cgroup, &Role::eats("worker", 40))?;
    worker.go()?;
    holder.killed()?;
    worker.event("done")?;
    anyhow::ensure!(worker.lives(), "the process that ran into the limit died too");
    // How far it was when the holder died, only the kernel knows.
    let trigger = Process::of(&worker, &small)?.on_its_way();
    let victim = Process::of(&holder, &large)?;
    let expected = Expected::cgroup_kill("pod", Limit::of_pod(&pod, 80 * MIB), trigger, vec![victim]);
    Ok(Played::one(&scratch, expected))
}

fn oom_group(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "group")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(64 * MIB)?;
    container.cgroup.set_oom_group()?;
    let mut holders = Vec::new();
    for name in ["holder-1", "holder-2"] {
        let mut holder = Actor::start(&container.cgroup, &Role::eats(name, 8))?;
        holder.eat()?;
        holders.push(holder);
    }
    let eater = feed(&container.cgroup)?;
    let it = Process::of(&eater, &container)?;
    let mut victims = vec![it.clone()];
    for holder in &mut holders {
        holder.killed()?;
        victims.push(Process::of(holder, &container)?);
    }
    let limit = Limit::of_container(&container, 64 * MIB).with_group();
    let expected = Expected { group: true, ..Expected::cgroup_kill("container", limit, it, victims) };
    Played::one(&scratch, expected).touched(&eater)
}

fn limit_write(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "write")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(128 * MIB)?;
    let mut holder = Actor::start(&container.cgroup, &Role::eats("holder", 64))?;
    holder.eat()?;
    let outside = scratch.host("runtime")?;
    let mut writer = Actor::start(&outside, &Role::writes("runtime", &container.cgroup, 24 * MIB))?;
    writer.eat()?;
    holder.killed()?;
    let limit = Limit::of_container(&container, 24 * MIB).with_usage(64 * MIB);
    let (trigger, victim) = (Process::of_host(&writer)?, Process::of(&holder, &container)?);
    let expected = Expected {
        origin: "limit_write",
        ..Expected::cgroup_kill("container", limit, trigger, vec![victim])
    };
    Ok(Played::one(&scratch, expected))
}

fn no_victim(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "nobody")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(32 * MIB)?;
    let mut eater = Actor::start(&container.cgroup, &Role::eats("eater", 192).adj(-1000))?;
    eater.go()?;
    // It faults for the same page again and again. The first time is told at once, the rest once a second.
    (stage.wait)(&scratch.prefix(), 2)?;
    anyhow::ensure!(eater.lives(), "the process that must not be killed is gone");
    let limit = Limit::of_container(&container, 32 * MIB);
    let it = Process::of(&eater, &container)?;
    let first = Expected { kind: "oom_no_kill", ..Expected::cgroup_kill("container", limit, it, Vec::new()) };
    let folded = Expected { repeats: 1, ..first.clone() };
    Ok(Played { prefix: scratch.prefix(), expected: vec![first, folded], last_touch_ns: None })
}

fn sysrq(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "sysrq")?;
    let container = scratch.pod()?.container()?;
    let mut holder = largest(&container, 96)?;
    holder.eat()?;
    fs::write("/proc/sysrq-trigger", "f").context("cannot write to /proc/sysrq-trigger")?;
    holder.killed()?;
    let victim = Process::of(&holder, &container)?;
    let expected =
        Expected { order: None, ..Expected::node_kill("sysrq", None, Trigger::Comm("kworker/"), victim) };
    Ok(Played::one(&scratch, expected))
}

fn system(stage: &Stage<'_>) -> Result<Played> {
    let scratch = Scratch::new(stage.hierarchy, "system")?;
    let container = scratch.pod()?.container()?;
    // All of the node's memory, of which a part is in use: more the kernel would not even promise.
    let mut eater = largest(&container, memory_mib()?)?;
    eater.go()?;
    eater.killed()?;
    let victim = Process::of(&eater, &container)?;
    let expected = Expected::node_kill("allocation", Some("node"), Trigger::Comm(""), victim);
    Played::one(&scratch, expected).touched(&eater)
}

/// A process that the kernel kills first.
fn largest(container: &Container, mib: u64) -> Result<Actor> {
    Actor::start(&container.cgroup, &Role::eats("largest", mib).adj(900))
}

/// The machine's memory.
fn memory_mib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let kib: u64 =
        total.context("/proc/meminfo has no MemTotal")?.parse().context("MemTotal is no number")?;
    Ok(kib / 1024)
}
