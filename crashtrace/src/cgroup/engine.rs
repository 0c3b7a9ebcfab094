//! Cgroups that software other than Kubernetes makes: what it calls them, by the form of the path.
//!
//! | made by | form | is |
//! |---|---|---|
//! | Podman | `machine.slice/machine-libpod_pod_<id>.slice`; `/libpod_parent/<id>` | a pod of Podman |
//! | the ECS agent | `/ecs/<task>`; `ecstasks.slice/ecstasks-<task>.slice` | a task |
//! | Nomad (`client/lib/cgroupslib`, 1.7) | `nomad.slice/share.slice/<allocation>.<task>.scope`; on cgroup v1 `/nomad/<allocation>.<task>` | a task |
//! | Nomad's executor before 1.2 | `/nomad/<UUID>`, which is no allocation's | a task |
//! | Garden (Cloud Foundry, Concourse) | `/garden/<handle>` | a container |
//! | LXC (LXD, Incus, Proxmox) | `/lxc.payload.<name>`, `/lxc.payload/<name>`, `/lxc/<name>` | a container |
//! | slurmd | `slurmstepd.scope/job_<id>`, `<node>_slurmstepd.scope/job_<id>`; on cgroup v1 `/slurm/uid_<uid>/job_<id>` | a job |
//! | systemd-nspawn | `machine.slice/systemd-nspawn@<name>.service` | a container |
//! | Kata Containers | `/kata_overhead/<sandbox>` | the sandbox's own processes (VMM, virtiofsd) |
//! | `BuildKit` in Docker | `/docker/buildkit/<step>`; `system.slice/system.slice:docker:<step>` | a build step |
//! | a user's service manager | `user.slice/user-<uid>.slice/user@<uid>.service/.../<unit>` | a unit of that user |
//!
//! The forms begin at the root or in slices of the host, so root (or a service of root) made them. Below `user@<uid>.service` the
//! names are that user's, and said to be. Nomad, slurmd and Garden make plain directories: no systemd has a unit for them, whatever
//! they are called.

use super::names::{Container, is_hex, unit, uuid};
use super::{NO_TEXT, Parts};
use crate::schema::{EngineKind, Runtime};

/// A cgroup of such software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    pub kind: EngineKind,
    /// What the software calls it: an id, or a name.
    pub name: String,
    /// Length in bytes of the prefix of the path that names it.
    pub end: usize,
}

/// A unit of a user's service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserUnit {
    pub uid: u32,
    /// The innermost slice, or the first other unit in it, as for the host's units.
    pub unit: String,
    /// Length in bytes of the prefix of the path that names it.
    pub end: usize,
}

/// What the path shows. It must not be in Kubernetes' tree.
pub(super) fn of(parts: Parts<'_>) -> (Option<Engine>, Option<UserUnit>) {
    let user = user_unit(parts.clone());
    match &user {
        Some(user) => (of_unit(user), Some(user.clone())),
        None => (engine(parts), None),
    }
}

/// Directories of the root whose own directories hold containers, and are none.
pub(super) fn groups(directory: &str) -> bool {
    matches!(directory, "ecs" | "libpod_parent" | "kata_overhead")
}

fn engine(mut parts: Parts<'_>) -> Option<Engine> {
    // Here any name is one.
    let made = |kind, name: &str, end| (name != NO_TEXT).then(|| Engine { kind, name: name.to_owned(), end });
    let (first, end) = parts.next()?;
    if let Some(name) = first.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return made(EngineKind::LxcContainer, name, end);
    }
    if first == "slurm" || first.starts_with("slurm_") {
        return slurm_job(parts);
    }
    if unit(first).is_some_and(|unit| unit.strip_suffix(".slice").is_some()) {
        return in_slices(first, end, parts);
    }
    let (name, end) = parts.next()?;
    match first {
        "ecs" if is_task(name) => made(EngineKind::EcsTask, name, end),
        "nomad" if is_nomad_task(name) || uuid(name).is_some() => made(EngineKind::NomadTask, name, end),
        "garden" => made(EngineKind::GardenContainer, name, end),
        "lxc" | "lxc.payload" => made(EngineKind::LxcContainer, name, end),
        "libpod_parent" if is_hex(name, 64) => made(EngineKind::PodmanPod, name, end),
        "kata_overhead" => made(EngineKind::KataOverhead, name, end),
        "docker" if name == "buildkit" => {
            let (step, end) = parts.next()?;
            made(EngineKind::BuildkitStep, step, end)
        }
        _ => None,
    }
}

/// The first of these among the units in slices of the host.
fn in_slices(slice: &str, end: usize, mut parts: Parts<'_>) -> Option<Engine> {
    let made = |kind, name: &str, end| Some(Engine { kind, name: name.to_owned(), end });
    let (mut name, mut end) = (slice, end);
    loop {
        if let Some(stem) = name.strip_suffix(".slice") {
            if let Some((_, id)) = stem.rsplit_once("-libpod_pod_").filter(|(_, id)| is_hex(id, 64)) {
                return made(EngineKind::PodmanPod, id, end);
            }
            if let Some(task) = stem.strip_prefix("ecstasks-").filter(|task| is_task(task)) {
                return made(EngineKind::EcsTask, task, end);
            }
        } else if let Some(container) =
            name.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"))
        {
            return made(EngineKind::NspawnContainer, container, end);
        } else if name == "slurmstepd.scope" || name.ends_with("_slurmstepd.scope") {
            return slurm_job(parts);
        } else if let Some(step) = name.strip_prefix("system.slice:docker:") {
            return Container::named(name).is_none().then(|| made(EngineKind::BuildkitStep, step, end))?;
        } else {
            let task =
                name.strip_suffix(".scope").filter(|task| slice == "nomad.slice" && is_nomad_task(task))?;
            return made(EngineKind::NomadTask, task, end);
        }
        (name, end) = parts.next()?;
    }
}

fn slurm_job(mut parts: Parts<'_>) -> Option<Engine> {
    let job = parts.find_map(|(name, end)| Some((name.strip_prefix("job_")?, end)));
    let (job, end) =
        job.filter(|(job, _)| !job.is_empty() && job.bytes().all(|digit| digit.is_ascii_digit()))?;
    Some(Engine { kind: EngineKind::SlurmJob, name: job.to_owned(), end })
}

/// ECS: 32 hex digits, and before 2018 a UUID.
fn is_task(name: &str) -> bool {
    is_hex(name, 32) || uuid(name).as_deref() == Some(name)
}

/// `<allocation>.<task>`
fn is_nomad_task(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(allocation, task)| uuid(allocation).as_deref() == Some(allocation) && !task.is_empty())
}

/// A unit of the service manager of a user. The host's systemd names that service, so the uid is true.
fn user_unit(mut parts: Parts<'_>) -> Option<UserUnit> {
    let slice = parts.next().filter(|(name, _)| *name == "user.slice").and_then(|_| parts.next())?.0;
    let uid = slice.strip_prefix("user-")?.strip_suffix(".slice")?;
    let service = parts.next()?.0;
    let manager = service.strip_prefix("user@")?.strip_suffix(".service")?;
    let uid: u32 = manager.parse().ok().filter(|_| manager == uid)?;
    let mut found: Option<UserUnit> = None;
    for (name, end) in parts {
        let Some(unit) = unit(name) else { break };
        found = Some(UserUnit { uid, unit: unit.to_owned(), end });
        if unit.strip_suffix(".slice").is_none() {
            break;
        }
    }
    found
}

/// A container or pod that a user's engine had made a unit.
fn of_unit(user: &UserUnit) -> Option<Engine> {
    let made = |kind, name: &str| Some(Engine { kind, name: name.to_owned(), end: user.end });
    if let Some((_, id)) = user.unit.strip_suffix(".slice").and_then(|stem| stem.rsplit_once("libpod_pod_")) {
        return is_hex(id, 64).then(|| made(EngineKind::PodmanPod, id))?;
    }
    let container = Container::named(&user.unit).filter(|it| !it.monitor)?;
    match container.runtime? {
        Runtime::Podman => made(EngineKind::PodmanContainer, container.id),
        Runtime::Docker => made(EngineKind::DockerContainer, container.id),
        Runtime::Containerd | Runtime::Crio => None,
    }
}
