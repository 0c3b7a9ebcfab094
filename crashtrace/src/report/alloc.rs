//! Failed allocations.

use super::parts::{allocation, frame, process, unresolved};
use super::{Context, Told, memory};
use crate::correlate::AllocFailures;
use crate::enrich::Case;
use crate::event::{self, Asked};
use crate::schema::{self, Cause, Kind};

pub(super) fn failure(
    case: &Case,
    failures: &AllocFailures,
    told: Told<'_>,
    context: &Context,
) -> schema::Incident {
    let event = &*failures.event;
    let (kind, order) = match event.asked {
        Asked::Vmalloc { .. } if told.verdict.cause == Cause::CgroupOom => (Kind::ChargeFailure, None),
        _ if told.verdict.cause == Cause::CgroupOom => {
            (Kind::ChargeFailure, case.request.map(|request| request.order))
        }
        Asked::Pages { order } => (Kind::AllocFailure, Some(order)),
        Asked::Vmalloc { .. } => (Kind::VmallocFailure, None),
        Asked::Other => (Kind::OtherAllocFailure, None),
    };
    let function = match event.stamp.hook {
        event::Hook::RawTracepoint => "mm_page_alloc",
        event::Hook::Fentry | event::Hook::Kprobe => "warn_alloc",
    };
    let mut asked = allocation(event.gfp, order, context);
    if let Asked::Vmalloc { bytes } = event.asked {
        asked.bytes = bytes;
    }
    // A cpuset that allows all existing nodes does not bind the allocation.
    let bound = case.request.and_then(|request| request.nodes);
    let binds =
        matches!(told.verdict.constraint, Some(event::Constraint::Cpuset | event::Constraint::Mempolicy));
    let bound = bound.filter(|_| binds);
    asked.numa_nodes = (0..64).filter(|node| bound.is_some_and(|nodes| nodes >> node & 1 == 1)).collect();
    schema::Incident {
        revision: failures.revision,
        hooks: vec![format!("{}:{function}", event.stamp.hook)],
        complete: true,
        repeats: failures.repeats,
        trigger: (!event.in_interrupt())
            .then(|| process(&event.task, event.cgroups.as_ref(), case.trigger())),
        allocation: Some(asked),
        memory: memory::of(case, event.zones.as_ref(), None, told.verdict, context),
        unresolved: unresolved(case, told, &[]),
        ..frame(kind, (event.stamp.ktime_ns, event.stamp.cpu), case, told, context)
    }
}
