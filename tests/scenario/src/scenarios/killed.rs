//! Containers whose first process is ended by a signal of another process.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::Stage;
use super::ends::{harness, tree};
use crate::actor::{Actor, Role, number};
use crate::runtime::{Life, Pids, Running, Runtime};
use crate::scratch::{Container, Scratch};
use crashtrace_judge::cast::{Cast, Process};
use crashtrace_test_support::cgroup::Cgroup;
use crashtrace_test_support::clock::boottime_ns;

/// The period of a probe.
const PERIOD_NS: u64 = 2_000_000_000;
/// The time from the first probe's start to its end: longer than the runtime's command takes on a busy machine.
const START_NS: u64 = 3_000_000_000;
/// The failures that a probe may have.
const FAILURES: u64 = 3;

/// A container whose first process lives until this has ended it.
fn ended_by(
    stage: &Stage<'_>,
    life: &Life,
    end: impl FnOnce(&Scratch, &mut Runtime, &mut Running, &Container) -> Result<Option<(&'static str, Process)>>,
) -> Result<Cast> {
    let scratch = tree(stage)?;
    let pod = scratch.pod()?;
    let container = pod.container()?;
    let mut runtime = Runtime::start(stage, &scratch)?;
    let mut main = runtime.create(&container, life)?;
    main.go()?;
    main.may_end();
    let other = end(&scratch, &mut runtime, &mut main, &container)?;
    runtime.wait(&mut main)?;
    let cast = scratch.cast()?.process("main", main.part());
    Ok(match other {
        Some((role, process)) => cast.process(role, process),
        None => cast,
    })
}

fn stays() -> Life {
    Life::new(&["stays"])
}

/// A process in this cgroup kills the container's.
fn kills(cgroup: &Cgroup, comm: &str, main: &Running, owner: &serde_json::Value) -> Result<Process> {
    let mut killer = Actor::start(cgroup, &Role::kills(comm, main.pid))?;
    killer.go()?;
    killer.event("done")?;
    killer.part(owner)
}

pub(super) fn term_handled(stage: &Stage<'_>) -> Result<Cast> {
    ended_by(stage, &Life::new(&["on-term", "143"]), |_, runtime, main, _| {
        Ok(Some(("asks", runtime.signal(main, Signal::TERM)?)))
    })
}

pub(super) fn term_ignored_then_kill(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = tree(stage)?;
    let container = scratch.pod()?.container()?;
    let mut runtime = Runtime::start(stage, &scratch)?;
    let mut main = runtime.create(&container, &stays())?;
    main.go()?;
    let asks = runtime.signal(&main, Signal::TERM)?;
    main.may_end();
    let kills = runtime.signal(&main, Signal::KILL)?;
    runtime.wait(&mut main)?;
    Ok(scratch.cast()?.process("main", main.part()).process("asks", asks).process("kills", kills))
}

pub(super) fn killed_by_host(stage: &Stage<'_>) -> Result<Cast> {
    ended_by(stage, &stays(), |_, _, main, _| {
        main.kill()?;
        Ok(Some(("harness", harness())))
    })
}

pub(super) fn cgroup_kill(stage: &Stage<'_>) -> Result<Cast> {
    ended_by(stage, &stays(), |_, _, main, container| {
        let file = container.cgroup.dir.join("cgroup.kill");
        // Kernels before 5.14 have no such file; there its users send the signals one by one.
        if file.exists() {
            std::fs::write(file, "1")?;
        } else {
            main.kill()?;
        }
        Ok(Some(("harness", harness())))
    })
}

/// In the host's pid namespace: a child cannot kill the first process of its own.
pub(super) fn killed_by_sibling(stage: &Stage<'_>) -> Result<Cast> {
    let life = Life::new(&["by-child"]).named("app").in_pids(Pids::Host);
    ended_by(stage, &life, |_, runtime, main, _| {
        let pid = number(&runtime.event("child")?, "pid")?;
        let child = Process {
            pid,
            tid: Some(pid),
            comm: b"worker".to_vec(),
            is_first: false,
            end: None,
            ..main.part()
        };
        // It was forked some time after `go`.
        let started_ns = (child.started_ns.0, boottime_ns());
        Ok(Some(("child", Process { started_ns, ..child })))
    })
}

pub(super) fn killed_by_service(stage: &Stage<'_>) -> Result<Cast> {
    ended_by(stage, &stays(), |scratch, _, main, _| {
        let service = scratch.host("systemd-oomd.service")?;
        let place = scratch.service_place(&service);
        Ok(Some(("daemon", kills(&service, "systemd-oomd", main, &place.owner)?)))
    })
}

pub(super) fn killed_by_other_container(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = tree(stage)?;
    let pod = scratch.pod()?;
    let (container, other) = (pod.container()?, pod.container()?);
    let mut runtime = Runtime::start(stage, &scratch)?;
    let mut main = runtime.create(&container, &stays())?;
    main.go()?;
    main.may_end();
    let killer = kills(&other.cgroup, "agent", &main, &other.place.owner)?;
    runtime.wait(&mut main)?;
    Ok(scratch.cast()?.process("main", main.part()).process("other", killer))
}

pub(super) fn exec_dies(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = tree(stage)?;
    let container = scratch.pod()?.container()?;
    let mut runtime = Runtime::start(stage, &scratch)?;
    let mut main = runtime.create(&container, &Life::new(&["exit", "3"]))?;
    let mut command = runtime.exec(&main, &Life::new(&["null-pointer"]).named("command"))?;
    runtime.wait(&mut command)?;
    let end = command.part().end;
    ensure!(end.is_some_and(|end| end.signal == Some(11)), "the command did not die: {end:?}");
    main.go()?;
    runtime.wait(&mut main)?;
    Ok(scratch.cast()?.process("main", main.part()).process("command", command.part()))
}

pub(super) fn probe_fails_then_term(stage: &Stage<'_>) -> Result<Cast> {
    ended_by(stage, &Life::new(&["on-term", "143"]), |_, runtime, main, _| {
        // One that succeeds counts for nothing.
        let mut probe = runtime.exec(main, &Life::new(&["exit", "0"]).named("probe"))?;
        runtime.wait(&mut probe)?;
        // The interval is what tells a probe from a command of a user, so it is held to whatever the runtime takes: all are there
        // before the first ends.
        let first_ns = boottime_ns() + START_NS;
        let probes = (0..FAILURES).map(|round| {
            let at_ns = (first_ns + round * PERIOD_NS).to_string();
            runtime.exec(main, &Life::new(&["exit", "1", "--at-ns", &at_ns]).named("probe"))
        });
        for mut probe in probes.collect::<Result<Vec<_>>>()? {
            runtime.wait(&mut probe)?;
        }
        main.may_end();
        Ok(Some(("asks", runtime.signal(main, Signal::TERM)?)))
    })
}
