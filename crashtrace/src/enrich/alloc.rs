//! Failed allocations.

use super::gaps::{UNREADABLE, process};
use super::owners::Lineages;
use super::{Found, Owners, take};
use crate::correlate::AllocFailures;
use crate::event::{AllocFailure, Asked, Unmovable};
use crate::fragmentation::{Request, Shortage, assess};
use crate::gfp::Traits;
use crate::node::Node;
use crate::schema::{AllocationField, Field, MemoryField, ProcessField, Unresolved};

const BYTES: Field = Field::Allocation(AllocationField::Bytes);

pub(super) fn failure(failures: &AllocFailures, node: &mut Node) -> Found {
    let event = &*failures.event;
    // The current task has nothing to do with an interrupt's allocation.
    let trigger = event.cgroups.as_ref().filter(|_| !event.in_interrupt());
    let owners = Owners::resolve(&Lineages { trigger, ..Lineages::default() }, node.root);
    let mut unresolved = gaps(event, &owners);
    let traits = node.gfp.traits(event.gfp);
    let request = request(event, traits);
    let unmovable = take(unmovable(event, request), Field::Memory(MemoryField::Unmovable), &mut unresolved);
    Found { owners, request, traits: Some(traits), unmovable, unresolved, ..Found::default() }
}

/// The allocation of pages, if it was one.
fn request(event: &AllocFailure, traits: Traits) -> Option<Request> {
    let order = match event.asked {
        Asked::Pages { order } => order,
        // It is made of single pages.
        Asked::Vmalloc { .. } => 0,
        Asked::Other => return None,
    };
    Some(Request { order, traits, nodes: nodes(event, traits) })
}

/// The NUMA nodes that an allocation may use; `None` if all. A cpuset binds it only if its flags say so (`__GFP_HARDWALL`): the
/// kernel's own allocations may leave it when its nodes are empty (`cpuset_zone_allowed`, `kernel/cgroup/cpuset.c`, 5.10 to
/// 7.3).
fn nodes(event: &AllocFailure, traits: Traits) -> Option<u64> {
    let cpuset = event.mems_allowed.filter(|_| traits.hardwall && !event.in_interrupt());
    let only = traits.this_node.then(|| 1_u64.checked_shl(event.numa_node)).flatten();
    [event.nodemask, cpuset, only].into_iter().flatten().reduce(|one, other| one & other)
}

/// Unmovable memory, if it may be the reason.
fn unmovable(event: &AllocFailure, request: Option<Request>) -> Option<Result<Unmovable, String>> {
    let fragmented = assess(event.zones.as_ref()?, &request?).shortage == Shortage::Fragmentation;
    let unread = || "/proc/meminfo could not be read when it failed".to_owned();
    fragmented.then(|| event.unmovable.ok_or_else(unread))
}

fn gaps(event: &AllocFailure, owners: &Owners) -> Vec<Unresolved> {
    const TRIGGER: Field = Field::Trigger(ProcessField::Whole);
    const INTERRUPT: &str = "the allocation came from an interrupt, not from the task that it interrupted";
    let mut gaps = Vec::new();
    if event.in_ksoftirqd() {
        gaps.push(Unresolved::new(
            TRIGGER,
            "the allocation came from an interrupt, whose work was left to ksoftirqd",
        ));
    } else if event.in_interrupt() {
        gaps.push(Unresolved::new(TRIGGER, INTERRUPT));
    } else {
        gaps.extend(process(&event.task, event.cgroups.as_ref(), owners.trigger(), UNREADABLE));
    }
    if event.zones.is_none() {
        gaps.push(Unresolved::new(
            Field::Memory(MemoryField::Whole),
            "the kernel's zones could not be reached, nor read from /proc",
        ));
    }
    match event.asked {
        Asked::Vmalloc { bytes: None } if event.vmalloc_page() => gaps.push(Unresolved::new(
            BYTES,
            "the vm_struct that has the size was not found on the kernel's stack",
        )),
        Asked::Other | Asked::Vmalloc { bytes: None } => {
            gaps.push(Unresolved::new(BYTES, "the kernel's message does not have it"));
        }
        Asked::Pages { .. } | Asked::Vmalloc { .. } => {}
    }
    gaps
}
