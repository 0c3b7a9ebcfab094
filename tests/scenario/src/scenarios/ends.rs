//! Containers whose first process ends: by itself, by a fault, at an odd place among processes and namespaces.

use std::cell::RefCell;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{MIB, Setting, Stage, feed, feed_as, touched};
use crate::actor::{Actor, Role};
use crate::runtime::{Life, Pids, Running, Runtime};
use crate::scratch::{Container, Scratch};
use crashtrace_judge::cast::{Cast, Process};
use crashtrace_test_support::cgroup::Hierarchy;

/// A tree of cgroups as the stage's node has it: that of a node where nothing else is.
pub(super) fn tree(stage: &Stage<'_>) -> Result<Scratch> {
    if stage.guest { Scratch::of_node(stage.hierarchy) } else { Scratch::new(stage.hierarchy, "exit") }
}

/// The only container of a pod, whose first process is told to go, and ends.
fn alone(stage: &Stage<'_>, life: &Life) -> Result<Cast> {
    let scratch = tree(stage)?;
    let container = scratch.pod()?.container()?;
    let mut runtime = Runtime::start(stage, &scratch)?;
    let main = ends(&mut runtime, &container, life)?;
    Ok(scratch.cast()?.process("main", main.part()))
}

fn ends(runtime: &mut Runtime, container: &Container, life: &Life) -> Result<Running> {
    let mut main = runtime.create(container, life)?;
    main.go()?;
    runtime.wait(&mut main)?;
    Ok(main)
}

pub(super) fn exit_0(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["exit", "0"]))
}

pub(super) fn exit_1(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["exit", "1"]))
}

pub(super) fn exit_3(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["exit", "3"]))
}

pub(super) fn segv_null(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["null-pointer"]))
}

pub(super) fn sigbus_truncated(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["truncated-file"]))
}

pub(super) fn sigbus_tmpfs(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["full-tmpfs"]))
}

pub(super) fn sigbus_hugetlb(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["no-huge-page"]))
}

/// Process 1 of a pid namespace cannot abort: it ignores its own SIGABRT, and ends by what follows.
pub(super) fn abort(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["abort"]).in_pids(Pids::Host))
}

pub(super) fn abort_core(stage: &Stage<'_>) -> Result<Cast> {
    let _pattern = Setting::new("/proc/sys/kernel/core_pattern", "core")?;
    let folder = TempDir::new().context("cannot make a folder")?;
    let path = folder.path().to_string_lossy().into_owned();
    let cast = alone(stage, &Life::new(&["abort", "--core", &path]).in_pids(Pids::Host))?;
    ensure!(fs::read_dir(&folder)?.next().is_some(), "the kernel wrote no core");
    Ok(cast)
}

pub(super) fn seccomp_kill(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["forbidden-call"]))
}

/// As process 1 of a pid namespace it would ignore SIGXCPU.
pub(super) fn sigxcpu(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["cpu-time", "1", "30"]).in_pids(Pids::Host))
}

pub(super) fn cpu_limit_kill(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["cpu-time", "1", "1"]))
}

pub(super) fn threads_50(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["threads", "50", "4"]))
}

pub(super) fn tini(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["init", "6"]).named("tini"))
}

pub(super) fn nested_namespace(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["nested", "8"]))
}

pub(super) fn host_pid(stage: &Stage<'_>) -> Result<Cast> {
    alone(stage, &Life::new(&["exit", "3"]).in_pids(Pids::Host))
}

/// A pod with one pid namespace: its sandbox, whose process is process 1 for all.
fn shared(
    stage: &Stage<'_>,
    play: impl Fn(&mut Runtime, &mut Running, &Container) -> Result<Running>,
) -> Result<Cast> {
    let scratch = tree(stage)?;
    let pod = scratch.pod()?;
    let (sandbox, container) = (pod.container()?, pod.container()?);
    let mut runtime = Runtime::start(stage, &scratch)?;
    let mut pause = runtime.create(&sandbox, &Life::new(&["stays"]).named("pause"))?;
    pause.go()?;
    let main = play(&mut runtime, &mut pause, &container)?;
    let part = main.part();
    ensure!(part.container_pid > 1, "it is process {} of the pod's namespace", part.container_pid);
    Ok(scratch.cast()?.process("main", part))
}

pub(super) fn share_process_namespace(stage: &Stage<'_>) -> Result<Cast> {
    shared(stage, |runtime, pause, container| {
        ends(runtime, container, &Life::new(&["exit", "5"]).in_pids(Pids::Of(pause.pid)))
    })
}

pub(super) fn pause_killed(stage: &Stage<'_>) -> Result<Cast> {
    shared(stage, |runtime, pause, container| {
        let mut main = runtime.create(container, &Life::new(&["stays"]).in_pids(Pids::Of(pause.pid)))?;
        main.go()?;
        main.may_end();
        pause.kill()?;
        runtime.wait(&mut main)?;
        runtime.wait(pause)?;
        Ok(main)
    })
}

/// A container that began before the agents.
pub struct Early {
    runtime: Runtime,
    main: Running,
    scratch: Scratch,
}

impl Early {
    pub fn start(hierarchy: &Hierarchy) -> Result<Self> {
        let early = RefCell::new(None);
        let wait = |_: &[String], _| Ok(());
        let stage = Stage {
            hierarchy,
            agents: &[],
            guest: false,
            runc: false,
            early: &early,
            reports: &|_| Vec::new(),
            wait: &wait,
            wait_clock: &|_| Ok(()),
        };
        let scratch = Scratch::new(hierarchy, "early")?;
        let container = scratch.pod()?.container()?;
        let mut runtime = Runtime::start(&stage, &scratch)?;
        let main = runtime.create(&container, &Life::new(&["exit", "9"]).in_pids(Pids::Host))?;
        Ok(Self { runtime, main, scratch })
    }
}

pub(super) fn before_agent(stage: &Stage<'_>) -> Result<Cast> {
    let mut early = stage.early.borrow_mut().take().context("no container began before the agents")?;
    early.main.go()?;
    early.runtime.wait(&mut early.main)?;
    Ok(early.scratch.cast()?.process("main", early.main.part()))
}

pub(super) fn oom_first_process(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = tree(stage)?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let eater = feed(&container.cgroup)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn oom_child(stage: &Stage<'_>) -> Result<Cast> {
    let (scratch, container, eater) = child_killed(stage)?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    let cast = cast.process("first", eater.first_part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn oom_child_then_exit(stage: &Stage<'_>) -> Result<Cast> {
    let (scratch, container, mut eater) = child_killed(stage)?;
    // Only when the agents have told the kill, so that the one is not taken for the other's line.
    (stage.wait)(&scratch.prefixes(), 1)?;
    eater.go()?;
    eater.first_ended()?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    let cast = cast.process("first", eater.first_part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

/// A container whose first process lives on without the child that the kernel has killed.
fn child_killed(stage: &Stage<'_>) -> Result<(Scratch, Container, Actor)> {
    let scratch = tree(stage)?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let role = Role::eats("eater", 192).through_a_child().with("--then-exit", "7");
    let eater = feed_as(&container.cgroup, &role)?;
    ensure!(eater.lives(), "the container's first process died too");
    Ok((scratch, container, eater))
}

/// This program, as the sender of a signal.
pub(super) fn harness() -> Process {
    let pid = std::process::id();
    Process {
        pid,
        tid: None,
        container_pid: pid,
        comm: fs::read("/proc/self/comm").unwrap_or_default().trim_ascii_end().to_owned(),
        thread_comm: None,
        adj: 0,
        started_ns: (0, crashtrace_test_support::clock::boottime_ns()),
        anon: (0, u64::MAX),
        // Whatever it is: in guests the root.
        path: Vec::new(),
        owner: serde_json::Value::Null,
        is_first: false,
        end: None,
    }
}
