//! Failed allocations: why the kernel had no memory for them.
//!
//! | what failed | what the figures say | cause | shortage |
//! |---|---|---|---|
//! | pages or vmalloc's pages, charged (`__GFP_ACCOUNT`), seen at the tracepoint; vmalloc's pages also at `warn_alloc` | the zones could have served, or they do not tell and a cgroup of the allocating task is at its limit | `cgroup_oom`, inferred | none |
//! | pages | by the table in [`crate::fragmentation::assess`]: fragmentation | `fragmentation` | `fragmentation` |
//! | pages | the same: low memory | `low_memory` | `low_memory`; `atomic_reserves` if the allocation may use the reserves |
//! | pages | the same: would succeed now, or cannot be told | `unknown` | none |
//! | vmalloc | not even a single page was allocated | `low_memory` | `low_memory` |
//! | vmalloc | else: more than the machine's memory, or than the address space, or it cannot be told | `unknown` | none |
//! | anything else | | `unknown` | none |
//!
//! At the tracepoint a page that was allocated and freed again, because its charge failed, looks like no page (`__alloc_pages`,
//! `mm/page_alloc.c`, 5.10 to 7.3): hence the first row. `warn_alloc` is not called for that, but a vmalloc whose page it was calls
//! it (`__vmalloc_area_node`, `mm/vmalloc.c`), while what it had got is still charged. A cgroup at its limit proves
//! little by itself, since page cache fills most of them up; if the zones had no free page, none was charged.
//!
//! Figures that were read late, after the failure, prove less: the cause is then inferred.

use super::zones::{self, Sight};
use super::{Facts, LimitFinding, Open, Reason, Verdict, certainty, level_of};
use crate::correlate::AllocFailures;
use crate::enrich::Case;
use crate::event::{AllocFailure, Asked, Constraint, Hook, Limit, VmallocStep};
use crate::fragmentation;
use crate::schema::{Cause, Field, Level, LimitField, Origin, Shortage, VerdictField};

/// Room between a cgroup's usage and its limit when a charge fails: the CPUs' stocks, as in `oom/limit.rs`.
const STOCK_BYTES: u64 = 1 << 20;

/// The facts behind the verdict on a failed allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocFacts {
    pub cause: AllocCause,
    /// Task or interrupt that allocated.
    pub caller: Caller,
    /// All memory of the node, if vmalloc's size was larger.
    pub beyond_node_bytes: Option<u64>,
    pub nowarn: Nowarn,
}

/// Whether the caller wants no message of the failure (`__GFP_NOWARN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nowarn {
    No,
    /// It expects the failure, and goes on without.
    Fallback,
    /// Nothing smaller can be tried: as the kernel side decides, whose reasons stand in `crashtrace-ebpf/src/probes/alloc.rs`.
    NoFallback,
}

/// Why an allocation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocCause {
    /// A charge failed, and not the allocation.
    Charge,
    Fragmentation,
    LowMemory,
    /// Memory was short, and the atomic reserves too.
    AtomicReserves,
    Unknown,
}

/// Task or interrupt that allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The current task's.
    Task,
    /// An interrupt's, which has nothing to do with the current task.
    Interrupt,
    /// An interrupt's, whose work was deferred to ksoftirqd.
    Ksoftirqd,
    /// The current task's or an interrupt's: the stack has no function names.
    TaskOrInterrupt,
}

pub(super) fn verdict(case: &Case, failures: &AllocFailures) -> Verdict {
    let failure = &*failures.event;
    let sight = zones::sight(case, failure.zones.as_ref());
    let (found, limit) = match charge(case, failure, sight.as_ref()) {
        Some(charge) => (AllocCause::Charge, charge.limit),
        None => (cause_by_zones(case, failure, sight.as_ref()), None),
    };
    let level = match found {
        AllocCause::Fragmentation | AllocCause::LowMemory | AllocCause::AtomicReserves => Some(Level::Node),
        AllocCause::Charge | AllocCause::Unknown => limit.as_ref().map(|limit| limit.charged_at),
    };
    let late = sight.as_ref().is_some_and(|sight| sight.zones.late);
    let inferred = inferred(found, late);
    Verdict {
        cause: match found {
            AllocCause::Charge => Cause::CgroupOom,
            AllocCause::Fragmentation => Cause::Fragmentation,
            AllocCause::LowMemory | AllocCause::AtomicReserves => Cause::LowMemory,
            AllocCause::Unknown => Cause::Unknown,
        },
        shortage: match found {
            AllocCause::Fragmentation => Some(Shortage::Fragmentation),
            AllocCause::LowMemory => Some(Shortage::LowMemory),
            AllocCause::AtomicReserves => Some(Shortage::AtomicReserves),
            AllocCause::Charge | AllocCause::Unknown => None,
        },
        level,
        origin: Some(if found == AllocCause::Charge { Origin::Charge } else { Origin::Allocation }),
        constraint: Some(constraint(case, failure, found)),
        kubernetes: None,
        certainty: certainty(&inferred),
        inferred,
        unresolved: open(
            found,
            level,
            limit.as_ref(),
            failure,
            sight.as_ref(),
            beyond_node_bytes(case, failure).is_some(),
        ),
        limit,
        assessment: sight.map(|sight| sight.assessment),
        facts: Facts::Alloc(AllocFacts {
            cause: found,
            caller: caller(case, failure),
            beyond_node_bytes: beyond_node_bytes(case, failure),
            nowarn: nowarn(case, failure),
        }),
    }
}

fn nowarn(case: &Case, failure: &AllocFailure) -> Nowarn {
    let smallest = match failure.asked {
        Asked::Pages { order } => order == 0,
        Asked::Vmalloc { .. } => true,
        Asked::Other => false,
    };
    match case.traits.filter(|traits| traits.nowarn) {
        None => Nowarn::No,
        Some(traits) => {
            let tries_on = traits.may_sleep && !traits.no_retry && !traits.movable && !traits.this_node;
            if smallest && tries_on { Nowarn::NoFallback } else { Nowarn::Fallback }
        }
    }
}

fn cause_by_zones(case: &Case, failure: &AllocFailure, sight: Option<&Sight<'_>>) -> AllocCause {
    let atomic = case.traits.is_some_and(|traits| traits.atomic());
    match (failure.asked, sight.map(|sight| sight.assessment.shortage)) {
        (Asked::Pages { .. }, Some(fragmentation::Shortage::Fragmentation)) => AllocCause::Fragmentation,
        (Asked::Pages { .. }, Some(fragmentation::Shortage::LowMemory)) if atomic => {
            AllocCause::AtomicReserves
        }
        (Asked::Pages { .. }, Some(fragmentation::Shortage::LowMemory)) => AllocCause::LowMemory,
        (Asked::Vmalloc { .. }, Some(_)) if sight.is_some_and(Sight::no_room) => AllocCause::LowMemory,
        _ => AllocCause::Unknown,
    }
}

fn inferred(cause: AllocCause, late: bool) -> Vec<Field> {
    const CAUSE: Field = Field::Verdict(VerdictField::Cause);
    match cause {
        AllocCause::Charge => vec![CAUSE, Field::Limit(LimitField::Whole)],
        AllocCause::Fragmentation | AllocCause::LowMemory | AllocCause::AtomicReserves if late => vec![CAUSE],
        _ => Vec::new(),
    }
}

/// Unknown fields, with their reasons.
fn open(
    cause: AllocCause,
    level: Option<Level>,
    limit: Option<&LimitFinding>,
    failure: &AllocFailure,
    sight: Option<&Sight<'_>>,
    beyond_node: bool,
) -> Vec<Open> {
    let mut open = Vec::new();
    let mut add = |field, reason| open.push(Open { field, reason });
    if cause == AllocCause::Unknown {
        let reason = match (failure.asked, sight) {
            (Asked::Other, _) => Reason::UnknownAllocation,
            (Asked::Vmalloc { .. }, _) if beyond_node => Reason::VmallocBeyondNode,
            (Asked::Vmalloc { .. }, Some(_)) if in_address_space(failure) => Reason::VmallocNotForMemory,
            (Asked::Vmalloc { .. }, Some(sight)) if sight.could_serve() => Reason::FreeNow,
            (_, None) => Reason::ZonesUnread,
            (_, Some(sight)) => sight.open(),
        };
        add(Field::Verdict(VerdictField::Cause), reason);
    }
    let no_limit = match cause {
        AllocCause::Charge => Reason::NoFullCgroup,
        _ => Reason::CauseUnknown,
    };
    if level.is_none() {
        add(Field::Verdict(VerdictField::Level), no_limit);
    }
    if limit.is_some() {
        add(Field::Limit(LimitField::ShmemBytes), Reason::NotReadForCharge);
    } else if level.is_none() {
        add(Field::Limit(LimitField::Whole), no_limit);
    }
    open
}

/// A charge that failed, with the limit if a cgroup is still at it.
struct FailedCharge {
    limit: Option<LimitFinding>,
}

/// A failed charge: the allocation is charged, the hook is one that failed charges reach, and the zones could have served it, or
/// they do not tell and a cgroup is at its limit.
fn charge(case: &Case, failure: &AllocFailure, sight: Option<&Sight<'_>>) -> Option<FailedCharge> {
    let is_charged = case.traits.is_some_and(|traits| traits.account);
    let may_be_charge = failure.stamp.hook == Hook::RawTracepoint || failure.vmalloc_page();
    if !may_be_charge || !is_charged || failure.in_interrupt() {
        return None;
    }
    let limit = full(case, failure);
    let could_serve = sight.is_some_and(Sight::could_serve);
    if !could_serve && (limit.is_none() || sight.is_some_and(Sight::could_not_serve)) {
        return None;
    }
    Some(FailedCharge { limit })
}

/// The innermost cgroup of the process that is at its limit.
fn full(case: &Case, failure: &AllocFailure) -> Option<LimitFinding> {
    let (cgroups, owned) = (failure.cgroups.as_ref()?, case.owners.trigger()?);
    let index = cgroups.levels.iter().position(|level| {
        let limit = level.limit.and_then(Limit::bytes).unwrap_or_default();
        level.at_limit(STOCK_BYTES.min(limit / 8))
    })?;
    let party = owned.level(index).ok()?.clone();
    let charged_at = level_of(&party.placement);
    Some(LimitFinding { cgroups: cgroups.from_level(index), party, charged_at })
}

/// A vmalloc found no place in the kernel's address space.
fn in_address_space(failure: &AllocFailure) -> bool {
    failure.vmalloc.is_some_and(|vmalloc| vmalloc.step == VmallocStep::AddressSpace)
}

/// All memory of the node, if the allocation was larger.
fn beyond_node_bytes(case: &Case, failure: &AllocFailure) -> Option<u64> {
    let Asked::Vmalloc { bytes: Some(bytes) } = failure.asked else { return None };
    case.node_memory_bytes.filter(|node| bytes > *node)
}

/// Which NUMA nodes the allocation was bound to. An interrupt's is bound to none.
fn constraint(case: &Case, failure: &AllocFailure, found: AllocCause) -> Constraint {
    let bound = case.request.and_then(|request| request.nodes);
    let all = failure.zones.iter().flat_map(|zones| &zones.list).filter_map(|zone| zone.numa_node);
    let outside =
        |node: u32| bound.is_some_and(|nodes| nodes.checked_shr(node).is_some_and(|nodes| nodes & 1 == 0));
    match () {
        () if found == AllocCause::Charge => Constraint::Memcg,
        () if !all.clone().any(outside) => Constraint::None,
        () if failure.nodemask.is_some() => Constraint::Mempolicy,
        () => Constraint::Cpuset,
    }
}

fn caller(case: &Case, failure: &AllocFailure) -> Caller {
    // Without function names an interrupt cannot be told from a task, but an allocation of an interrupt may not sleep.
    let in_doubt = failure.stack.is_none() && case.traits.is_some_and(|traits| !traits.may_sleep);
    match () {
        () if failure.in_ksoftirqd() => Caller::Ksoftirqd,
        () if failure.in_interrupt() => Caller::Interrupt,
        () if in_doubt => Caller::TaskOrInterrupt,
        () => Caller::Task,
    }
}
