//! What Kubernetes says of the limit that was hit, beside what the kernel had in force. PURE.
//!
//! | the kernel's limit | is said |
//! |---|---|
//! | the spec's | that they agree |
//! | the status's (`limit_in_force_bytes`), and the spec has another | that a resize is under way, or cannot be done |
//! | neither's | that they differ: changed by hand, or a resize that Kubernetes has not told of yet |
//! | there, and Kubernetes has none | the same |
//!
//! What Kubernetes says may be older than the kill: the kernel's number is the one that was in force, and the only one that
//! the summary quotes.

use super::words::{self, bytes};
use super::{Level, LimitFinding};
use crate::enrich::Owner;
use crate::event::Limit;
use crate::pods::names::NameSource;
use crate::pods::pod::MemoryBounds;

/// What Kubernetes has as the bounds of whose limit it was: of the container where people would call it the container's,
/// of the pod where it is the pod's. `container` is the owner of the process that ran into it.
#[must_use]
pub(super) fn bounds(level: Option<Level>, limit: &Owner, container: Option<&Owner>) -> Option<MemoryBounds> {
    fn of(owner: &Owner) -> Option<&crate::pods::names::Names> {
        owner.names.as_deref().filter(|names| names.source == NameSource::Kube)
    }
    match level? {
        Level::Container => {
            let mut owners = [Some(limit), container].into_iter().flatten().filter_map(of);
            Some(owners.find_map(|names| names.container.as_ref())?.memory)
        }
        Level::Pod => Some(of(limit)?.pod_memory),
        _ => None,
    }
}

/// What that says about the limit.
pub(super) fn evidence(
    level: Option<Level>,
    finding: &LimitFinding,
    container: Option<&Owner>,
    page_size_bytes: u64,
) -> Option<String> {
    let owner = &finding.party.owner;
    let bounds = bounds(level, owner, container)?;
    let kernel = finding.cgroups.levels.first()?.limit.and_then(Limit::bytes)?;
    let whose = match level? {
        Level::Container => {
            words::container(container.filter(|_| owner.container_id.is_none()).unwrap_or(owner))
        }
        _ => words::pod(owner),
    };
    // `page_counter_memparse` (`mm/page_counter.c`) cuts what is written to whole pages.
    let same = |bytes: u64| bytes / page_size_bytes.max(1) == kernel / page_size_bytes.max(1);
    let names = owner.names.as_deref().or_else(|| container?.names.as_deref());
    let heard = match names.and_then(|names| names.stale_seconds) {
        Some(seconds) => format!(", as last heard {seconds} s ago"),
        None => String::new(),
    };
    let (kernel_text, spec) = (bytes(kernel), bounds.limit_bytes);
    Some(match (spec, bounds.limit_in_force_bytes) {
        (Some(spec), _) if same(spec) => {
            format!("Kubernetes has the same limit of {} for {whose}{heard}", bytes(spec))
        }
        (Some(spec), Some(in_force)) if same(in_force) => format!(
            "the pod's spec has a limit of {} for {whose}, but {kernel_text} is in force by the pod's status{heard}: a resize \
             is under way, or cannot be done",
            bytes(spec)
        ),
        (Some(spec), _) => format!(
            "Kubernetes has a limit of {} for {whose}{heard}, but {kernel_text} was in force: it was changed by hand, or by \
             a resize that Kubernetes has not told of",
            bytes(spec)
        ),
        (None, _) => format!(
            "Kubernetes has no limit for {whose}{heard}, but {kernel_text} was in force: it was set by hand, or by a change \
             that Kubernetes has not told of"
        ),
    })
}
