//! How the limit that was hit relates to Kubernetes' limit. PURE.
//!
//! | the kernel's limit | [`Agreement`] |
//! |---|---|
//! | the spec's | `Same` |
//! | the status's (`limit_in_force_bytes`), and the spec has another | `Resizing`: a resize is under way, or cannot be done |
//! | neither's | `Differs`: changed by hand, or a resize that Kubernetes has not reported yet |
//! | exists, and Kubernetes has none | `NoneInSpec`: the same |
//! | a container's, and Kubernetes has one for its pod alone | `PodsInSpec`: the same |
//!
//! Kubernetes' figures may be older than the kill: the kernel's number was in force, and is the only one that the summary
//! quotes.

use crate::classify::LimitFinding;
use crate::enrich::Owner;
use crate::names::{MemoryBounds, Names};
use crate::schema::{Level, NameSource};

/// Kubernetes' figures for the limit owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubernetesLimit {
    pub bounds: MemoryBounds,
    /// How the kernel's limit relates to it; `None` if the kernel's is not known.
    pub agreement: Option<Agreement>,
    /// Seconds since the API server was last reached; `None` while it is.
    pub stale_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    Same { spec_bytes: u64 },
    Resizing { spec_bytes: u64, kernel_bytes: u64 },
    Differs { spec_bytes: u64, kernel_bytes: u64 },
    NoneInSpec { kernel_bytes: u64 },
    PodsInSpec { pod_bytes: u64, kernel_bytes: u64 },
}

/// The bounds are the container's if users would call the limit the container's, the pod's if it is the pod's. `container` is
/// the owner of the process that hit it.
pub(super) fn limit(
    level: Option<Level>,
    finding: &LimitFinding,
    container: Option<&Owner>,
    page_size_bytes: u64,
) -> Option<KubernetesLimit> {
    let owner = &finding.party.owner;
    let bounds = bounds(level, owner, container)?;
    let of_pod = bounds_of_pod(owner).filter(|_| level == Some(Level::Container));
    let names = owner.names.as_deref().or_else(|| container?.names.as_deref());
    Some(KubernetesLimit {
        bounds,
        agreement: finding.bytes().map(|kernel_bytes| match of_pod.and_then(|pod| pod.limit_bytes) {
            Some(pod_bytes) if bounds.limit_bytes.is_none() => {
                Agreement::PodsInSpec { pod_bytes, kernel_bytes }
            }
            _ => agreement(bounds, kernel_bytes, page_size_bytes),
        }),
        stale_seconds: names.and_then(|names| names.stale_seconds),
    })
}

fn of_kubernetes(owner: &Owner) -> Option<&Names> {
    owner.names.as_deref().filter(|names| names.source == NameSource::Kube)
}

fn bounds_of_pod(owner: &Owner) -> Option<MemoryBounds> {
    Some(of_kubernetes(owner)?.pod_memory)
}

fn bounds(level: Option<Level>, limit: &Owner, container: Option<&Owner>) -> Option<MemoryBounds> {
    match level? {
        Level::Container => {
            let mut owners = [Some(limit), container].into_iter().flatten().filter_map(of_kubernetes);
            Some(owners.find_map(|names| names.container.as_ref())?.memory)
        }
        Level::Pod => bounds_of_pod(limit),
        _ => None,
    }
}

fn agreement(bounds: MemoryBounds, kernel_bytes: u64, page_size_bytes: u64) -> Agreement {
    // `page_counter_memparse` (`mm/page_counter.c`) cuts the written value to whole pages.
    let same = |bytes: u64| bytes / page_size_bytes.max(1) == kernel_bytes / page_size_bytes.max(1);
    match (bounds.limit_bytes, bounds.limit_in_force_bytes) {
        (Some(spec_bytes), _) if same(spec_bytes) => Agreement::Same { spec_bytes },
        (Some(spec_bytes), Some(in_force)) if same(in_force) => {
            Agreement::Resizing { spec_bytes, kernel_bytes }
        }
        (Some(spec_bytes), _) => Agreement::Differs { spec_bytes, kernel_bytes },
        (None, _) => Agreement::NoneInSpec { kernel_bytes },
    }
}
