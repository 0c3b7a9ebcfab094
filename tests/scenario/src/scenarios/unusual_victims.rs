//! Unusual victims: the first thread has ended, names are hostile, the process exits at that moment.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::Result;

use super::{MIB, Stage, fed, feed_as, touched};
use crate::actor::{Actor, Role};
use crate::scratch::Scratch;
use crashtrace_judge::cast::{Cast, Place};

/// The trigger's memory when the other process is killed from outside: from too early to too late to save it. The limit is
/// reached at some 23 MiB.
const ROUNDS_MIB: [u64; 6] = [18, 21, 22, 23, 24, 32];

/// A hostile name: quotes, a backslash, a newline, ESC, and a byte that is no UTF-8.
const HOSTILE_COMM: &[u8] = b"q\"'\\x41\n\x1b[2J\xff{";
/// The same for a cgroup, which may have no newline in its name.
const HOSTILE_NAMES: [&[u8]; 2] = [b"a \"b\" \\x42 '\x1b[2J", b"\xc3\x28 }{\t\xe4"];

pub(super) fn first_thread_ended(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "headless")?;
    let container = scratch.pod()?.container()?;
    container.cgroup.set_limit(48 * MIB)?;
    let eater = feed_as(&container.cgroup, &Role::eats("eater", 192).headless())?;
    let cast = scratch.cast()?.process("eater", eater.part(&container.place.owner)?);
    touched(cast.place("container", container.place), &eater)
}

pub(super) fn hostile_names(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "hostile")?;
    let container = scratch.pod()?.container()?;
    let mut inner = container.cgroup.clone();
    for name in HOSTILE_NAMES {
        inner = scratch.child(&inner.dir, OsStr::from_bytes(name))?;
    }
    inner.set_limit(48 * MIB)?;
    let eater = feed_as(&inner, &Role::eats(HOSTILE_COMM, 192))?;
    let owner = container.place.owner;
    let cast = scratch.cast()?.process("eater", eater.part(&owner)?);
    touched(cast.place("inner", Place { path: inner.path, owner }), &eater)
}

pub(super) fn exits_by_itself(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "exits")?;
    let mut parts = Vec::new();
    for mib in ROUNDS_MIB {
        let container = scratch.pod()?.container()?;
        container.cgroup.set_limit(64 * MIB)?;
        // Told to end, it must wait for the eater to leave the CPU, and is found at the limit with all of its memory.
        let mut large = fed(&container.cgroup, &Role::eats("large", 40).on_one_cpu().when_idle())?;
        let mut eater = Actor::start(&container.cgroup, &Role::eats("eater", 48).on_one_cpu())?;
        eater.go()?;
        while eater.last_touch()?.1 < mib * MIB && large.lives() && eater.lives() {
            std::thread::yield_now();
        }
        large.kill();
        large.killed()?;
        eater.killed_or_done()?;
        // How far the eater was when the large one died, only the kernel knows; and the large one may have been about
        // to give its memory back.
        let owner = container.place.owner.clone();
        let (mut eater, mut large) = (eater.part(&owner)?, large.part(&owner)?);
        eater.anon.0 = 0;
        large.anon.0 = 0;
        parts.push((eater, large, container.place));
    }
    let mut cast = scratch.cast()?;
    for (eater, large, container) in parts {
        cast = cast.process("eater", eater).process("large", large).place("container", container);
    }
    Ok(cast)
}
