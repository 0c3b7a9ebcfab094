//! The victim: a child of a container's first process, one of a group, the runtime's own process.

use super::scene::Actor;
use super::{OomCause, Scene};
use crate::cgroup::Place;
use crate::classify::LimitFinding;
use crate::enrich::Party;
use crate::schema::ContainerRole;

/// Maximum age of the runtime's process: it lives for milliseconds, and between the creation of a container and its start for
/// seconds on a slow node.
const START_UP_NS: u64 = 60_000_000_000;

/// A victim with the name that the runtime's process has in a container until it runs the container's program: that of a
/// container that starts, or of an `exec` (a probe, `kubectl exec`) in a running one. Any process may take that name, and
/// nothing in the record proves that this one is the runtime's: so the sentence is about the name. A process older than that is
/// not the runtime's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartUp {
    /// It was the first process of its container too.
    pub is_first: bool,
    /// Its age.
    pub age_ns: Option<u64>,
}

impl Scene<'_> {
    #[must_use]
    pub fn start_up(&self) -> Option<StartUp> {
        let victim = self.victim.as_ref()?;
        let name = victim.task.comm.as_ref().or(victim.task.thread_comm.as_ref())?;
        let age_ns = self.age_ns(victim);
        let fits = is_runtime_init(&name.0) && age_ns.is_none_or(|age| age < START_UP_NS);
        fits.then_some(StartUp { is_first: victim.task.container_pid == Some(1), age_ns })
    }

    fn age_ns(&self, actor: &Actor<'_>) -> Option<u64> {
        self.kill?.ktime_ns.checked_sub(actor.task.start_boottime_ns?)
    }

    /// The cgroup that was killed as a whole, by its place in the victim's lineage: the outermost with `memory.oom.group`
    /// between the victim's own and the limit owner (`mem_cgroup_get_oom_group`), without the root.
    #[must_use]
    pub fn oom_group(&self, cause: OomCause, limit: Option<&LimitFinding>) -> Option<usize> {
        let cgroups = self.victim.as_ref()?.cgroups?;
        let domain = match (cause, limit) {
            (OomCause::Node, _) => cgroups.levels.len(),
            (_, Some(limit)) => {
                let outside = limit.cgroups.levels.len().checked_sub(1)?;
                cgroups.levels.len().checked_sub(outside)?
            }
            // The domain is not known, but the victim's own cgroup is in it.
            (_, None) => usize::from(cgroups.skipped == 0),
        };
        let inside = cgroups.levels.get(..domain)?;
        inside.iter().rposition(|level| level.oom_group == Some(true) && !level.root)
    }
}

impl Actor<'_> {
    /// Its pid in its pid namespace, if it is of a container and that is not 1, and what it says of the container.
    #[must_use]
    pub fn not_pid_1(&self) -> Option<(u32, PidNamespace)> {
        let pid = self.task.container_pid?;
        let party = self.party()?;
        // If both numbers are equal it is no number of a container: the pod uses the host's pids.
        let in_container = party.placement.place == Place::Container && self.task.pid != Some(pid);
        (in_container && pid != 1).then(|| (pid, pid_namespace(party)))
    }
}

/// Whose a container's pid namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PidNamespace {
    /// The container's own, so its first process is pid 1.
    Own,
    /// All containers of the pod are in one (`shareProcessNamespace`), whose pid 1 is the sandbox's, or a debugging container is in
    /// another's (`kubectl debug --target`): no pid tells which is the first process.
    Shared,
    /// Either: only the pod's spec tells.
    Unknown,
}

fn pid_namespace(party: &Party) -> PidNamespace {
    if !party.placement.is_in_pod() {
        return PidNamespace::Own;
    }
    let Some(names) = party.owner.names.as_deref() else { return PidNamespace::Unknown };
    match (names.shares_pids, names.container.as_ref().and_then(|container| container.role)) {
        (Some(true), _) | (_, Some(ContainerRole::Ephemeral)) => PidNamespace::Shared,
        (Some(false), Some(_)) => PidNamespace::Own,
        _ => PidNamespace::Unknown,
    }
}

/// `runc:[2:INIT]` and its earlier stages (libcontainer, so youki's too, which puts its own name first).
fn is_runtime_init(comm: &[u8]) -> bool {
    [&b"runc:["[..], b"youki:["].iter().any(|prefix| comm.starts_with(prefix)) || comm == b"runc-dmz"
}
