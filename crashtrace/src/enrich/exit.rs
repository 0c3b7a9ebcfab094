//! Ends of containers' first processes.

use super::gaps::{UNREADABLE, lacks};
use super::owners::Lineages;
use super::{Found, Owned, Owners};
use crate::correlate::ContainerEnd;
use crate::event::{ContainerExit, Lineage, Signal};
use crate::names::Events;
use crate::node::Node;
use crate::schema::{Cause, Certainty, ExitField, Field, Level, ProcessField, Unresolved};

/// Facts about the end of a container that come from outside of its incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitContext {
    /// The verdict on the OOM kill that ended it.
    pub oom: Option<OomVerdict>,
    /// The pod's Events, if they were asked for.
    pub events: Option<Events>,
    /// Ends of the same container of the same pod in the hour before.
    pub ends_last_hour: u32,
    /// OOM kills were watched for as long as the process ran, and no record was lost meanwhile: so an OOM kill that is not known
    /// did not happen.
    pub oom_watched: bool,
    /// When the end was first looked at, the API server was reachable and knew of no end of the pod.
    pub pod_went_on: bool,
    /// The memory controller is in cgroup v1; `None` if that is not known.
    pub memory_cgroup_v1: Option<bool>,
    /// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`: Kubernetes has times of the first, the kernel of the second.
    pub realtime_offset_ns: i64,
}

/// The verdict on an OOM kill that was reported before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomVerdict {
    /// Time and CPU that name the incident of its line, which may be one that it was folded into.
    pub ktime_ns: u64,
    /// See `ktime_ns`.
    pub cpu: u32,
    pub cause: Cause,
    pub level: Option<Level>,
    pub certainty: Certainty,
    /// Its level alone is inferred.
    pub level_is_inferred: bool,
    /// Its summary and remedy.
    pub summary: String,
    /// See `summary`.
    pub remedy: String,
}

pub(super) fn end(end: &ContainerEnd, node: &mut Node) -> Found {
    let event = &*end.event;
    let lineages = Lineages {
        exited: event.cgroups.as_ref(),
        asked: cgroups(event.asked.as_ref()),
        killed: cgroups(event.killed.as_ref()),
        ..Lineages::default()
    };
    let owners = Owners::resolve(&lineages, node.root);
    let unresolved = gaps(event, &owners);
    Found { owners, exit: Some(ExitContext::default()), unresolved, ..Found::default() }
}

fn cgroups(signal: Option<&Signal>) -> Option<&Lineage> {
    signal?.sender.cgroups.as_ref()
}

/// The process has freed its memory before it ends, so that its sizes are null is no gap.
fn gaps(event: &ContainerExit, owners: &Owners) -> Vec<Unresolved> {
    let is_memory = |field: ProcessField| {
        matches!(
            field,
            ProcessField::AnonBytes
                | ProcessField::FileBytes
                | ProcessField::ShmemBytes
                | ProcessField::SwapBytes
                | ProcessField::PageTableBytes
                | ProcessField::TotalVmBytes
        )
    };
    let lacks = lacks(&event.task, event.cgroups.as_ref(), owners.exited(), UNREADABLE);
    let lacks = lacks.into_iter().filter(|(field, _)| !is_memory(*field));
    let mut gaps: Vec<_> =
        lacks.map(|(field, reason)| Unresolved { field: Field::Exited(field), reason }).collect();
    if event.status.is_none() {
        gaps.push(Unresolved::new(Field::Exit(ExitField::ExitCode), UNREADABLE));
    }
    let senders = [(event.asked.as_ref(), owners.asked()), (event.killed.as_ref(), owners.killed())];
    for (signal, owned) in senders {
        if signal.is_none_or(Signal::is_kernels) {
            continue;
        }
        let reason = match owned.map(Owned::nearest) {
            None => "its cgroups could not be read".to_owned(),
            Some(Err(why)) => why.to_string(),
            Some(Ok(_)) => continue,
        };
        gaps.push(Unresolved { field: Field::Exit(ExitField::Sender), reason });
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::exit::{NAMELESS, an_end, by, container_end};
    use crate::enrich::enrich;
    use crate::event::Lineage;

    fn gaps(change: impl FnOnce(&mut ContainerExit)) -> Vec<String> {
        let mut end = an_end();
        change(&mut end);
        let case = enrich(container_end(end), &mut Node::unseen(NAMELESS));
        case.unresolved.iter().map(|gap| gap.field.to_string()).collect()
    }

    #[test]
    fn memory_that_is_gone_is_no_gap_and_what_could_not_be_read_is() {
        assert_eq!(gaps(|_| {}), [""; 0]);
        assert_eq!(gaps(|event| event.task.uid = None), ["exit.process.uid"]);
        assert_eq!(gaps(|event| event.status = None), ["exit.exit_code"]);
        assert_eq!(gaps(|event| event.cgroups = None), ["exit.process.cgroup", "exit.process.owner"]);
    }

    #[test]
    fn a_sender_without_cgroups_is_a_gap_and_the_kernel_is_none() {
        let mut sent = by("bash", 812, "/user.slice/user-1000.slice/session-3.scope");
        sent.sender.cgroups = None;
        assert_eq!(gaps(|event| event.killed = Some(sent.clone())), ["exit.signals[*].sender"]);
        sent.code = crate::event::SI_KERNEL;
        assert_eq!(gaps(|event| event.killed = Some(sent)), [""; 0]);
        let mut cut = by("bash", 812, "/a");
        cut.sender.cgroups =
            Some(Lineage { levels: Vec::new(), skipped: 0, incomplete: true, unified: false });
        assert_eq!(gaps(|event| event.asked = Some(cut)), ["exit.signals[*].sender"]);
    }
}
