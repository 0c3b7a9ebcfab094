//! Where the status in Kubernetes and the kernel contradict each other.

use super::{Row, Scene};
use crate::event::WaitStatus;
use crate::names::EndedStatus;

/// A contradiction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// The status says `OOMKilled`, and there was no OOM kill of this container. On cgroup v1 the kernel notifies each cgroup
    /// below the one that is full, and runtimes take that for a kill (`mem_cgroup_oom_notify`, `mm/memcontrol.c`; containerd's
    /// v1 shim).
    OomKilledWithoutKill,
    /// The status says `OOMKilled` because of an earlier OOM kill of another process of the container: kernel and runtime count
    /// kills for as long as a cgroup exists.
    OomKilledByEarlierKill,
    /// The status says `OOMKilled` because the OOM killer had chosen the process, which was ending already.
    OomKilledWhileEnding,
    /// The status says `OOMKilled` with an exit code that no SIGKILL gives.
    OomKilledWithCode(i32),
    /// An OOM kill ended it, and the status has another reason.
    OomNotShown,
    /// OOM kills of other processes, of which the status shows nothing.
    ChildKillNotShown,
    /// Exit code 137 without a SIGKILL: the process itself ended with it.
    Code137WithoutKill,
    /// The status says `Completed`, and a probe had failed.
    CompletedAfterProbe,
    /// The status has another exit code than the kernel.
    CodeDiffers { status: i32, kernel: i32 },
}

pub(super) fn find(scene: &Scene<'_>, row: Row) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let kernel = scene.event.status;
    if kernel == Some(WaitStatus::Exited { code: 137 }) && scene.event.killed.is_none() {
        found.push(Contradiction::Code137WithoutKill);
    }
    let Some(status) = scene.status() else { return found };
    let reason = status.reason.as_deref();
    let by_oom = matches!(row, Row::Oom | Row::OomUnseen);
    match reason {
        Some("OOMKilled") if !by_oom => found.extend(oom_killed(scene, status)),
        Some(_) if by_oom && reason != Some("OOMKilled") => found.push(Contradiction::OomNotShown),
        Some(_) if !by_oom && scene.end.oom_before_total > 0 => found.push(Contradiction::ChildKillNotShown),
        _ => {}
    }
    if reason == Some("Completed") && row == Row::HealthCheck {
        found.push(Contradiction::CompletedAfterProbe);
    }
    // A container that did not start has the runtime's code, 128, which is no process's.
    let code = kernel.map(WaitStatus::exit_code).filter(|_| reason != Some("StartError"));
    if let (Some(status), Some(kernel)) = (status.exit_code, code)
        && status != kernel
    {
        found.push(Contradiction::CodeDiffers { status, kernel });
    }
    found
}

/// The status says `OOMKilled` of an end by something else.
fn oom_killed(scene: &Scene<'_>, status: &EndedStatus) -> Vec<Contradiction> {
    let mut found = Vec::new();
    if scene.event.status.is_none() && scene.event.oom_marked {
        return found;
    }
    if scene.end.oom.is_some() || scene.event.oom_marked {
        found.push(Contradiction::OomKilledWhileEnding);
    } else if scene.end.oom_before_total > 0 {
        found.push(Contradiction::OomKilledByEarlierKill);
    } else if scene.context().is_some_and(|context| context.oom_watched) {
        found.push(Contradiction::OomKilledWithoutKill);
    }
    if let Some(code) = status.exit_code.filter(|code| *code != 137) {
        found.push(Contradiction::OomKilledWithCode(code));
    }
    found
}
