//! The zones and the request, put together for the one who decides whether memory or large blocks were lacking.

use super::node::{Node, ProcFile, ProcFiles};
use crate::correlate::Incident;
use crate::event::{AllocFailure, Asked, Constraint, Event, Unmovable, Zones};
use crate::fragmentation::{Request, Shortage, assess};
use crate::gfp::Traits;
use crate::kernel::{meminfo, zoneinfo};

/// Looks at the node's memory for a failed allocation: at what cannot be moved, and at the zones where the kernel side could
/// not. At once, for both are changing; an incident may go out a second later.
pub fn look_at_memory(event: &mut Event, node: &mut Node) {
    let Event::AllocFailure(failure) = event else { return };
    if failure.zones.is_none() {
        // The report says that they are unknown.
        failure.zones =
            zones_now(node.proc.as_mut()).map_err(|reason| tracing::debug!(reason, "no zones")).ok();
    }
    failure.unmovable = node.proc.read(ProcFile::Meminfo).ok().map(|meminfo| meminfo::parse(&meminfo));
}

/// The zones as `/proc` has them.
///
/// # Errors
/// They cannot be read, as a phrase.
pub fn zones_now(proc: &mut dyn ProcFiles) -> Result<Zones, String> {
    let buddyinfo = proc.read(ProcFile::Buddyinfo)?;
    let zoneinfo = proc.read(ProcFile::Zoneinfo)?;
    let pagetypeinfo = proc.read(ProcFile::Pagetypeinfo);
    let mut zones = zoneinfo::parse(&buddyinfo, &zoneinfo)?;
    // Not for everybody, and the rest is of use without.
    if let Ok(pagetypeinfo) = pagetypeinfo {
        zoneinfo::add_types(&mut zones, &pagetypeinfo);
    }
    Ok(zones)
}

/// The request, if it was for pages of the node, and its traits.
pub(super) fn request(incident: &Incident, node: &Node) -> (Option<Request>, Option<Traits>) {
    match incident {
        Incident::OomKill(kill) => {
            let control = kill.decision.as_ref().and_then(|decision| decision.control);
            let traits = control.map(|control| node.gfp.traits(control.gfp));
            // Which nodes a cpuset or a policy allows is not in the decision.
            let of_pages = control.filter(|control| !control.memcg && control.constraint == Constraint::None);
            let order = of_pages.and_then(|control| control.order);
            let request = order.zip(traits).map(|(order, traits)| Request { order, traits, nodes: None });
            (request, traits)
        }
        Incident::OomNoKill(no_kill) => (None, no_kill.event.gfp.map(|gfp| node.gfp.traits(gfp))),
        Incident::AllocFailure(failures) => {
            let event = &failures.event;
            let traits = node.gfp.traits(event.gfp);
            let order = match event.asked {
                Asked::Pages { order } => order,
                // It is put together from single pages.
                Asked::Vmalloc { .. } => 0,
                Asked::Other => return (None, Some(traits)),
            };
            (Some(Request { order, traits, nodes: nodes(event, traits) }), Some(traits))
        }
    }
}

/// The NUMA nodes that a request may use; `None` if all. A cpuset binds it only if its flags say so
/// (`__GFP_HARDWALL`): the kernel's own requests may leave it when its nodes are empty (`cpuset_zone_allowed`,
/// `kernel/cgroup/cpuset.c`, 5.10 to 7.3).
fn nodes(event: &AllocFailure, traits: Traits) -> Option<u64> {
    let cpuset = event.mems_allowed.filter(|_| traits.hardwall && !event.in_interrupt());
    let only = traits.this_node.then(|| 1_u64.checked_shl(event.numa_node)).flatten();
    [event.nodemask, cpuset, only].into_iter().flatten().reduce(|one, other| one & other)
}

/// What cannot be moved, where that may be the point.
pub(super) fn unmovable(
    incident: &Incident,
    request: Option<Request>,
    node: &mut Node,
) -> Option<Result<Unmovable, String>> {
    let (zones, found) = match incident {
        Incident::OomKill(kill) => (kill.zones.as_deref()?, None),
        Incident::OomNoKill(_) => return None,
        Incident::AllocFailure(failures) => (failures.event.zones.as_ref()?, Some(failures.event.unmovable)),
    };
    if assess(zones, &request?).shortage != Shortage::Fragmentation {
        return None;
    }
    if let Some(found) = found {
        return Some(found.ok_or_else(|| "/proc/meminfo could not be read when it failed".to_owned()));
    }
    let meminfo = node.proc.read(ProcFile::Meminfo);
    // By now a victim has given back what it had locked, which may have been what was in the way.
    Some(meminfo.map(|meminfo| Unmovable { unevictable_bytes: None, ..meminfo::parse(&meminfo) }))
}
