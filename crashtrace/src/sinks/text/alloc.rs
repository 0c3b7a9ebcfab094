//! Failed allocations, and the allocation of any incident.

use crate::phrase::size;
use crate::schema::{Allocation, Cause, Incident, Kind, MigrateType, Shortage};

/// Kind of incident, and its cause.
pub(super) fn headline(incident: &Incident) -> (&'static str, &'static str) {
    let kind = match incident.kind {
        Kind::VmallocFailure => "VMALLOC FAILED",
        Kind::ChargeFailure => "CHARGE FAILED",
        _ => "ALLOCATION FAILED",
    };
    let cause = match (incident.verdict.cause, incident.verdict.shortage) {
        (Cause::CgroupOom, _) => super::oom::limit(incident.verdict.level),
        (Cause::Fragmentation, _) => "memory is fragmented",
        (Cause::LowMemory, Some(Shortage::AtomicReserves)) => "atomic reserves exhausted",
        (Cause::LowMemory, _) => "the node is short of memory",
        _ => "cause unknown",
    };
    (kind, cause)
}

/// The allocation: its size, kind, origin and flags.
pub(super) fn words(kind: Kind, allocation: &Allocation) -> String {
    let mut facts = vec![match (allocation.bytes, allocation.order) {
        (Some(bytes), Some(order)) => format!("{} (order {order})", size(bytes)),
        (None, Some(order)) => format!("order {order}"),
        (Some(bytes), None) => format!("{} of the kernel's address space (vmalloc)", size(bytes)),
        (None, None) if kind == Kind::VmallocFailure => {
            "of the kernel's address space, size unknown".to_owned()
        }
        (None, None) if kind == Kind::OtherAllocFailure => "size unknown".to_owned(),
        (None, None) => "none".to_owned(),
    }];
    // Which blocks could serve it matters where no block was free, and not where a limit was hit.
    if matches!(kind, Kind::AllocFailure) {
        facts.extend(allocation.migrate_type.map(|of| {
            match of {
                MigrateType::Unmovable => "unmovable",
                MigrateType::Movable => "movable",
                MigrateType::Reclaimable => "reclaimable",
            }
            .to_owned()
        }));
    }
    match allocation.numa_nodes.as_slice() {
        [] => {}
        [node] => facts.push(format!("from NUMA node {node} only")),
        nodes => {
            let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            facts.push(format!("from NUMA nodes {} only", nodes.join(", ")));
        }
    }
    facts.push(if allocation.gfp.is_empty() { "no flags".to_owned() } else { allocation.gfp.join("|") });
    facts.join(", ")
}
