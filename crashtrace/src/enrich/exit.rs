//! Ends of containers' first processes.

use super::owners::Lineages;
use super::{Found, Owners};
use crate::correlate::ContainerEnd;
use crate::names::Events;
use crate::node::Node;
use crate::schema::{Cause, Certainty, Level};

/// Facts about the end of a container that come from outside of its incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitContext {
    /// The verdict on the OOM kill that ended it.
    pub oom: Option<OomVerdict>,
    /// The pod's Events, if they were asked for.
    pub events: Option<Events>,
    /// Ends of the same container of the same pod in the hour before.
    pub ends_last_hour: u32,
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
    /// Its summary.
    pub summary: String,
}

pub(super) fn end(end: &ContainerEnd, node: &mut Node) -> Found {
    let event = &*end.event;
    let cgroups = |signal: &Option<crate::event::Signal>| signal.as_ref()?.sender.cgroups.clone();
    let (asked, killed) = (cgroups(&event.asked), cgroups(&event.killed));
    let lineages = Lineages {
        exited: event.cgroups.as_ref(),
        asked: asked.as_ref(),
        killed: killed.as_ref(),
        ..Lineages::default()
    };
    Found {
        owners: Owners::resolve(&lineages, node.root),
        exit: Some(ExitContext::default()),
        ..Found::default()
    }
}
