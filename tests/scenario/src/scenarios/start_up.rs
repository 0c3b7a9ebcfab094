//! Containers that fail to start: the runtime's own process is killed in them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::{MIB, Stage, command, fed, feed_as};
use crate::actor::{Actor, Role};
use crate::scenarios::touched;
use crate::scratch::Scratch;
use crashtrace_judge::cast::Cast;
use crashtrace_test_support::cgroup;

/// runc's name for the process that sets a container up from inside, until the container's own program takes its place.
const RUNTIME_INIT: &str = "runc:[2:INIT]";

/// It is told nothing, for it is dead before it could listen.
fn doomed(cgroup: &cgroup::Cgroup) -> Result<Actor> {
    let mut init = Actor::start(cgroup, &Role::eats(RUNTIME_INIT, 64).at_once())?;
    init.killed()?;
    Ok(init)
}

pub(super) fn startup(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "startup")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(MIB)?;
    let init = doomed(&container.cgroup)?;
    let cast = scratch.cast()?.process("init", init.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &init)
}

pub(super) fn tmpfs(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "tmpfs")?;
    let pod = scratch.pod()?;
    let (sandbox, container) = (pod.container()?, pod.container()?);
    for cgroup in [&pod.cgroup, &container.cgroup] {
        cgroup.set_limit(64 * MIB)?;
    }
    // As kubelet has it: the sandbox is the last to go.
    let pause = fed(&sandbox.cgroup, &Role::eats("pause", 1).adj(-998))?;
    let volume = Volume::new("size=128m")?;
    let filler = feed_as(&container.cgroup, &Role::fills("filler", &volume.dir.join("file"), 96))?;
    let filler = filler.part(&container.place.owner)?;
    // The runtime removes the container's remains and makes a new one, while the volume stays as it is.
    cgroup::remove(&container.cgroup.dir)?;
    let next = pod.container()?;
    next.cgroup.set_limit(64 * MIB)?;
    let init = doomed(&next.cgroup)?;
    ensure!(pause.lives(), "the sandbox's process died too");
    // The second report names the volume's memory too, so the volume must not go before that.
    (stage.wait)(&scratch.prefixes(), 2)?;
    let cast = scratch.cast()?.process("filler", filler).process("init", init.part(&next.place.owner)?);
    Ok(cast.place("pod", pod.place()))
}

/// A memory-backed emptyDir, until it is dropped.
pub(super) struct Volume {
    pub(super) dir: PathBuf,
}

impl Volume {
    pub(super) fn new(options: &str) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("volume-{}", std::process::id()));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        command("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &dir.to_string_lossy()])?;
        Ok(Self { dir })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = command("umount", &[&self.dir.to_string_lossy()]) {
            eprintln!("scenario: {error:#}");
        }
        if let Err(error) = fs::remove_dir(&self.dir) {
            eprintln!("scenario: cannot remove {}: {error}", self.dir.display());
        }
    }
}
