//! Failed allocations.

use super::{Description, cgroup, owner, usage, zones};
use crate::classify::alloc::{AllocCause, Caller, Nowarn};
use crate::classify::zones::{Sight, sight};
use crate::classify::{AllocFacts, LimitFinding, Verdict};
use crate::enrich::Case;
use crate::event::{AllocFailure, Asked, Hook};
use crate::fragmentation::block_pages;
use crate::phrase::{self, size};

pub(super) mod remedy;

pub(super) fn failure(
    case: &Case,
    failure: &AllocFailure,
    verdict: &Verdict,
    facts: &AllocFacts,
) -> Description {
    let sight = sight(case, failure.zones.as_ref());
    let mut evidence = vec![basis(failure, facts)];
    evidence.extend(verdict.limit.as_ref().and_then(at_limit));
    evidence.extend(got(failure));
    let held = case.unmovable.as_ref();
    let then = match facts.cause {
        AllocCause::LowMemory | AllocCause::AtomicReserves => zones::Then::Failed,
        AllocCause::Charge | AllocCause::Fragmentation | AllocCause::Unknown => zones::Then::NotShort,
    };
    let quoted = |sight| zones::evidence(sight, held, then);
    evidence.extend(sight.iter().flat_map(quoted));
    evidence.extend(beyond(failure, facts));
    evidence.extend(caller(failure, facts.caller));
    match facts.nowarn {
        Nowarn::No => {}
        Nowarn::Fallback => evidence
            .push("the caller expects that this may fail (__GFP_NOWARN) and has a fallback".to_owned()),
        Nowarn::NoFallback => evidence.push(
            "the caller wants no message about it (__GFP_NOWARN): the kernel log does not show this failure"
                .to_owned(),
        ),
    }
    Description {
        summary: summary(case, failure, verdict, facts, sight.as_ref()),
        evidence,
        remedy: remedy::of(case, failure, verdict, facts, sight.as_ref()),
        ..Description::default()
    }
}

fn basis(failure: &AllocFailure, facts: &AllocFacts) -> String {
    let message = failure.format.as_ref().map(|format| phrase::path(format.0.trim_ascii_end()));
    match (failure.asked, failure.stamp.hook) {
        (_, Hook::RawTracepoint) if facts.cause == AllocCause::Charge => {
            "kmem:mm_page_alloc returned no page for an allocation that is charged to a memory cgroup (__GFP_ACCOUNT), as it \
             does when the charge fails"
                .to_owned()
        }
        (Asked::Vmalloc { .. }, Hook::RawTracepoint) => {
            "kmem:mm_page_alloc returned no page for a vmalloc".to_owned()
        }
        (_, Hook::RawTracepoint) => "kmem:mm_page_alloc returned no page".to_owned(),
        (Asked::Pages { .. }, _) => "the kernel called warn_alloc for the failed allocation".to_owned(),
        (Asked::Vmalloc { .. } | Asked::Other, _) => format!(
            "the kernel called warn_alloc for a failed allocation, with the message \"{}\"",
            message.unwrap_or_default()
        ),
    }
}

/// How much of a vmalloc had been allocated.
fn got(failure: &AllocFailure) -> Option<String> {
    let Asked::Vmalloc { bytes: Some(asked) } = failure.asked else { return None };
    let got = failure.vmalloc?.got_bytes?;
    Some(format!("{} of its {} had been allocated when a page failed", size(got), size(asked)))
}

fn at_limit(finding: &LimitFinding) -> Option<String> {
    usage(&cgroup(&finding.party), finding.cgroups.levels.first()?)
}

/// The allocation was larger than the machine's memory.
fn beyond(failure: &AllocFailure, facts: &AllocFacts) -> Option<String> {
    let Asked::Vmalloc { bytes: Some(bytes) } = failure.asked else { return None };
    let node = facts.beyond_node_bytes?;
    Some(format!("the allocation was {}, and the node has {} of memory in all", size(bytes), size(node)))
}

/// The task or interrupt that allocated, if it was not the current task.
fn caller(failure: &AllocFailure, caller: Caller) -> Option<String> {
    let task = phrase::process(&failure.task);
    Some(match caller {
        Caller::Task => return None,
        Caller::Ksoftirqd => format!("the allocation came from an interrupt, whose work was left to {task}"),
        Caller::Interrupt => {
            format!("the allocation came from an interrupt, not from {task}, the task that it interrupted")
        }
        Caller::TaskOrInterrupt => format!(
            "the allocation came from {task} or from an interrupt on its CPU: the kernel's stack, which would tell, has no \
             names"
        ),
    })
}

/// The allocating task, for a sentence.
fn subject(case: &Case, failure: &AllocFailure, caller: Caller) -> String {
    if matches!(caller, Caller::Interrupt | Caller::Ksoftirqd) {
        return "an interrupt".to_owned();
    }
    let task = phrase::process(&failure.task);
    match case.trigger() {
        Some(party) => format!("{task} of {}", owner(party)),
        None => task,
    }
}

/// `order-2 (16 KiB) atomic allocation of java (pid 7) of pod shop/api failed: ...`
fn summary(
    case: &Case,
    failure: &AllocFailure,
    verdict: &Verdict,
    facts: &AllocFacts,
    sight: Option<&Sight<'_>>,
) -> String {
    let atomic = if case.traits.is_some_and(|traits| traits.atomic()) { "atomic " } else { "" };
    let allocation = match failure.asked {
        Asked::Pages { order } => {
            let bytes = block_pages(order).and_then(|pages| pages.checked_mul(case.page_size_bytes));
            let bytes = bytes.map_or_else(String::new, |bytes| format!(" ({})", size(bytes)));
            format!("order-{order}{bytes} {atomic}allocation")
        }
        Asked::Vmalloc { bytes: Some(bytes) } => format!("vmalloc of {}", size(bytes)),
        Asked::Vmalloc { bytes: None } => "vmalloc of unknown size".to_owned(),
        Asked::Other => "allocation of unknown size".to_owned(),
    };
    let outcome = match facts.cause {
        AllocCause::Charge => match &verdict.limit {
            Some(limit) => format!(
                "its charge to {} was refused at the limit, and no process was killed",
                owner(&limit.party)
            ),
            None => "its charge to the cgroup was refused, and no process was killed".to_owned(),
        },
        AllocCause::Fragmentation => {
            let free = sight.map(zones::fragmented).unwrap_or_default();
            format!("memory was fragmented: {free}")
        }
        AllocCause::AtomicReserves => "the atomic reserves were exhausted".to_owned(),
        AllocCause::LowMemory => sight.map(zones::short).unwrap_or_default(),
        AllocCause::Unknown if facts.beyond_node_bytes.is_some() => {
            "the node does not have so much memory".to_owned()
        }
        AllocCause::Unknown => "cause unknown".to_owned(),
    };
    format!("{allocation} by {} failed: {outcome}", subject(case, failure, facts.caller))
}
