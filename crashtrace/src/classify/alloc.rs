//! Failed allocations: why there was nothing to give.
//!
//! | what failed | what the figures say | cause | shortage |
//! |---|---|---|---|
//! | pages, charged (`__GFP_ACCOUNT`), seen at the tracepoint | the zones could have served, or they do not tell and a cgroup of the one who asked is at its limit | `cgroup_oom`, inferred | none |
//! | pages | by the table in [`crate::fragmentation::assess`]: fragmentation | `fragmentation` | `fragmentation` |
//! | pages | the same: low memory | `low_memory` | `low_memory`; `atomic_reserves` if the request may use the reserves |
//! | pages | the same: would be met now, or cannot be told | `unknown` | none |
//! | vmalloc | not even a single page could be had | `low_memory` | `low_memory` |
//! | vmalloc | else: more than the machine has, or than the address space | `unknown` | none |
//! | anything else | | `unknown` | none |
//!
//! At the tracepoint a page that was got and given back, because it could not be charged, looks like none
//! (`__alloc_pages`, `mm/page_alloc.c`, 5.10 to 7.3): hence the first row. `warn_alloc` is not called for that. A cgroup at its
//! limit says little by itself, since page cache fills most of them up; where the zones had no page to give, none was charged.
//!
//! What was read late, after the failure, says less: the cause is then inferred.

use super::scene::Actor;
use super::words::{self, bytes, owner, path, process};
use super::zones::{self, Sight};
use super::{Cause, Certainty, Level, LimitFinding, Origin, Shortage, Verdict};
use crate::correlate::AllocFailures;
use crate::enrich::gaps::gap;
use crate::enrich::{Case, Gap, party};
use crate::event::{AllocFailure, Asked, Constraint, Hook, Limit, Lineage};
use crate::fragmentation;
use crate::gfp::Traits;

/// What stands between a cgroup's usage and its limit when a charge fails: what CPUs keep in stock, as in
/// [`super::limit`].
const STOCK_BYTES: u64 = 1 << 20;

/// The verdict.
pub(super) fn verdict(case: &Case, failures: &AllocFailures) -> Verdict {
    let failure = &*failures.event;
    let sight = zones::sight(case, failure.zones.as_ref());
    let finding = Finding::of(case, failure, sight.as_ref());
    let late = sight.as_ref().is_some_and(|sight| sight.zones.late);
    let inferred = finding.inferred(late);
    let mut evidence = vec![finding.basis(failure)];
    evidence.extend(finding.limit.as_ref().and_then(at_limit));
    evidence.extend(sight.iter().flat_map(|sight| sight.evidence(case.unmovable.as_ref())));
    evidence.extend(beyond(case, failure));
    evidence.extend(who(case, failure));
    evidence.extend(expected(case.traits));
    let mut verdict = Verdict {
        cause: finding.cause,
        shortage: finding.shortage,
        level: finding.level(),
        origin: Some(if finding.cause == Cause::CgroupOom { Origin::Charge } else { Origin::Allocation }),
        constraint: Some(constraint(case, failure, finding.cause)),
        limit: finding.limit.clone(),
        kubernetes: None,
        certainty: if inferred.is_empty() { Certainty::Observed } else { Certainty::Inferred },
        inferred,
        summary: String::new(),
        evidence,
        remedy: String::new(),
        unresolved: finding.gaps(failure, sight.as_ref()),
        assessment: sight.as_ref().map(|sight| sight.assessment.clone()),
    };
    verdict.summary = summary(case, failure, &verdict, sight.as_ref());
    verdict.remedy = crate::remedy::alloc::of(case, failure, &verdict, sight.as_ref());
    verdict
}

/// What it comes to.
struct Finding {
    cause: Cause,
    shortage: Option<Shortage>,
    /// A charge that failed, and not the allocation.
    charge: bool,
    limit: Option<LimitFinding>,
}

impl Finding {
    fn of(case: &Case, failure: &AllocFailure, sight: Option<&Sight<'_>>) -> Self {
        if let Some(charge) = charge(case, failure, sight) {
            return charge;
        }
        let found = sight.map(|sight| sight.assessment.shortage);
        let atomic = case.traits.is_some_and(|traits| traits.atomic());
        let (why, shortage) = match (failure.asked, found) {
            (Asked::Pages { .. }, Some(fragmentation::Shortage::Fragmentation)) => {
                (Cause::Fragmentation, Some(Shortage::Fragmentation))
            }
            (Asked::Pages { .. }, Some(fragmentation::Shortage::LowMemory)) if atomic => {
                (Cause::LowMemory, Some(Shortage::AtomicReserves))
            }
            (Asked::Pages { .. }, Some(fragmentation::Shortage::LowMemory)) => {
                (Cause::LowMemory, Some(Shortage::LowMemory))
            }
            (Asked::Vmalloc { .. }, Some(_)) if sight.is_some_and(Sight::no_room) => {
                (Cause::LowMemory, Some(Shortage::LowMemory))
            }
            _ => (Cause::Unknown, None),
        };
        Self { cause: why, shortage, charge: false, limit: None }
    }

    fn level(&self) -> Option<Level> {
        match self.cause {
            Cause::Fragmentation | Cause::LowMemory => Some(Level::Node),
            _ => self.limit.as_ref().map(|limit| limit.charged_at),
        }
    }

    fn inferred(&self, late: bool) -> Vec<&'static str> {
        match self.cause {
            Cause::CgroupOom => vec!["verdict.cause", "limit"],
            Cause::Fragmentation | Cause::LowMemory if late => vec!["verdict.cause"],
            _ => Vec::new(),
        }
    }

    fn basis(&self, failure: &AllocFailure) -> String {
        let named = failure.format.as_ref().map(|format| path(format.0.trim_ascii_end()));
        match (failure.asked, failure.stamp.hook) {
            (_, Hook::RawTracepoint) if self.charge => {
                "the kernel gave no page (kmem:mm_page_alloc) for a request that is charged to a memory cgroup \
                 (__GFP_ACCOUNT), which is what a charge that fails looks like"
                    .to_owned()
            }
            (_, Hook::RawTracepoint) => "the kernel gave no page (kmem:mm_page_alloc)".to_owned(),
            (Asked::Pages { .. }, _) => "the kernel gave the request up (warn_alloc)".to_owned(),
            (Asked::Vmalloc { .. } | Asked::Other, _) => format!(
                "the kernel gave a request up (warn_alloc, to be logged as \"{}\")",
                named.unwrap_or_default()
            ),
        }
    }

    fn gaps(&self, failure: &AllocFailure, sight: Option<&Sight<'_>>) -> Vec<Gap> {
        let mut gaps = Vec::new();
        if self.cause == Cause::Unknown {
            let reason = match (failure.asked, sight) {
                (Asked::Other, _) => "what was asked for is not known to this version",
                (Asked::Vmalloc { .. }, Some(_)) => {
                    "memory was there: it asked for more than the machine has, or for more than is left of the kernel's \
                     address space"
                }
                (_, None) => zones::UNREAD,
                (_, Some(sight)) if sight.assessment.shortage == fragmentation::Shortage::None => {
                    zones::FREE_NOW
                }
                (_, Some(_)) => zones::NOT_ALL,
            };
            gaps.push(gap("verdict.cause", reason));
        }
        if self.level().is_none() {
            gaps.push(gap("verdict.level", if self.charge { NO_LIMIT } else { "the cause is not known" }));
        }
        if self.limit.is_some() {
            gaps.push(gap("limit.shmem_bytes", "it is not read for a charge that failed"));
        }
        if self.limit.is_none() && self.level().is_none() {
            gaps.push(gap("limit", if self.charge { NO_LIMIT } else { "the cause is not known" }));
        }
        gaps
    }
}

const NO_LIMIT: &str = "none of the cgroups of the process is at its limit any more";

/// A charge that failed: the request was for memory that is charged, only the tracepoint saw it, and nothing else stands in
/// its way; a limit does where it cannot be told what else might.
fn charge(case: &Case, failure: &AllocFailure, sight: Option<&Sight<'_>>) -> Option<Finding> {
    let is_charged = case.traits.is_some_and(|traits| traits.account);
    if failure.stamp.hook != Hook::RawTracepoint || !is_charged || failure.in_interrupt() {
        return None;
    }
    let limit = failure.cgroups.as_ref().and_then(|cgroups| full(cgroups, case));
    let could_serve = sight.is_some_and(Sight::could_serve);
    if !could_serve && (limit.is_none() || sight.is_some_and(Sight::could_not_serve)) {
        return None;
    }
    Some(Finding { cause: Cause::CgroupOom, shortage: None, charge: true, limit })
}

/// The innermost cgroup that has no room for what was asked.
fn full(cgroups: &Lineage, case: &Case) -> Option<LimitFinding> {
    let index = cgroups.levels.iter().position(|level| {
        let limit = level.limit.and_then(Limit::bytes).unwrap_or_default();
        level.at_limit(STOCK_BYTES.min(limit / 8))
    })?;
    let levels = cgroups.levels.get(index..)?.to_vec();
    let cgroups =
        Lineage { levels, skipped: if index == 0 { cgroups.skipped } else { 0 }, ..cgroups.clone() };
    let mut party = party(&cgroups, case.node_root).ok()?;
    case.names.name(&mut party);
    let charged_at = super::limit::level_of(&party.placement);
    Some(LimitFinding { cgroups, party, charged_at })
}

fn at_limit(finding: &LimitFinding) -> Option<String> {
    let level = finding.cgroups.levels.first()?;
    super::limit::usage_sentence(&words::cgroup(&finding.party), level)
}

/// More was asked for than there can be.
fn beyond(case: &Case, failure: &AllocFailure) -> Option<String> {
    let Asked::Vmalloc { bytes: Some(size) } = failure.asked else { return None };
    let node = case.node_memory_bytes.filter(|node| size > *node)?;
    Some(format!("it asked for {}, and the node has {} of memory in all", bytes(size), bytes(node)))
}

/// Which nodes it was bound to. A request of an interrupt is bound to none.
fn constraint(case: &Case, failure: &AllocFailure, why: Cause) -> Constraint {
    let bound = case.request.and_then(|request| request.nodes);
    let all = failure.zones.iter().flat_map(|zones| &zones.list).filter_map(|zone| zone.numa_node);
    let outside =
        |node: u32| bound.is_some_and(|nodes| nodes.checked_shr(node).is_some_and(|nodes| nodes & 1 == 0));
    match () {
        () if why == Cause::CgroupOom => Constraint::Memcg,
        () if !all.clone().any(outside) => Constraint::None,
        () if failure.nodemask.is_some() => Constraint::Mempolicy,
        () => Constraint::Cpuset,
    }
}

/// Who asked, where that is not the current task.
fn who(case: &Case, failure: &AllocFailure) -> Option<String> {
    if failure.in_ksoftirqd() {
        return Some(format!(
            "the request came from an interrupt, whose work was left to {}",
            process(&failure.task)
        ));
    }
    if failure.in_interrupt() {
        return Some(format!(
            "the request came from an interrupt, which has nothing to do with {}, the task that it interrupted",
            process(&failure.task)
        ));
    }
    // Without names for the stack an interrupt does not show, but one may not sleep.
    let in_doubt = failure.stack.is_none() && case.traits.is_some_and(|traits| !traits.may_sleep);
    in_doubt.then(|| {
        format!(
            "whether {} asked or an interrupt on its CPU cannot be told, for the kernel's stack could not be named",
            process(&failure.task)
        )
    })
}

fn expected(traits: Option<Traits>) -> Option<String> {
    let sentence = "the one who asked expects that this may fail (__GFP_NOWARN) and has another way";
    traits.filter(|traits| traits.nowarn).map(|_| sentence.to_owned())
}

/// Who asked, for a sentence.
fn asker(case: &Case, failure: &AllocFailure) -> String {
    if failure.in_interrupt() {
        return "an interrupt".to_owned();
    }
    let actor = Actor { task: &failure.task, cgroups: failure.cgroups.as_ref(), party: case.trigger.clone() };
    match &actor.party {
        Some(party) => format!("{} of {}", process(actor.task), owner(party)),
        None => process(actor.task),
    }
}

fn summary(case: &Case, failure: &AllocFailure, verdict: &Verdict, sight: Option<&Sight<'_>>) -> String {
    let who = asker(case, failure);
    let asked = match failure.asked {
        Asked::Pages { order: 0 } => "a page (order 0)".to_owned(),
        Asked::Pages { order } => {
            match sight.and_then(|sight| sight.bytes_of(fragmentation::block_pages(order)?)) {
                Some(size) => format!("{} in one piece (order {order})", bytes(size)),
                None => format!("2^{order} pages in one piece (order {order})"),
            }
        }
        Asked::Vmalloc { bytes: Some(size) } => {
            format!("{} of the kernel's address space (vmalloc)", bytes(size))
        }
        Asked::Vmalloc { bytes: None } => "a piece of the kernel's address space (vmalloc)".to_owned(),
        Asked::Other => "memory".to_owned(),
    };
    let outcome = match (verdict.cause, verdict.shortage) {
        (Cause::CgroupOom, _) => match &verdict.limit {
            Some(limit) => format!(
                "it could not be charged to {}, which is at its limit, and nobody was killed for it",
                owner(&limit.party)
            ),
            None => "it could not be charged to its cgroup, and nobody was killed for it".to_owned(),
        },
        (Cause::Fragmentation, _) => sight.map_or_else(String::new, Sight::fragmented),
        (_, Some(Shortage::AtomicReserves)) => {
            "the request could not wait, and the reserves for such were used up".to_owned()
        }
        (Cause::LowMemory, _) => sight.map_or_else(String::new, Sight::short),
        _ if beyond(case, failure).is_some() => "the node does not have so much memory".to_owned(),
        _ => "why could not be told".to_owned(),
    };
    format!("{who} asked for {asked} and did not get it: {outcome}")
}
