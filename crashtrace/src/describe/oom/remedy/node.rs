//! What to do about a node that ran out of memory.

use super::holder::{self, Holder};
use super::{entry, reserve};
use crate::describe::alloc::remedy::fragmentation;
use crate::describe::oom::{Oom, account, memory};
use crate::event::Constraint;
use crate::fragmentation::block_pages;

/// Without an account: where to look first, if that holder has more than half and so more than anything else.
fn largest(oom: &Oom<'_>) -> Option<String> {
    let memory = oom.scene.memory.filter(|memory| !memory.incomplete)?;
    let held = memory.holders.first().filter(|held| oom.scene.is_most(held))?;
    let advice =
        holder::advice(oom, &Holder { party: &held.party, usage_bytes: held.usage_bytes, limit: held.limit });
    Some(format!(
        "Look first at the largest holder, {}: {advice}.",
        memory::holder(held, oom.scene.share_of())
    ))
}

pub(super) fn system(oom: &Oom<'_>, advice: &mut Vec<String>) {
    match oom.verdict.constraint {
        Some(Constraint::Cpuset) => {
            advice.push(
                "The node as a whole may have memory left. Allow the workload more NUMA nodes (cpuset.mems; in Kubernetes the \
                 Memory Manager and Topology Manager policies set it), or move other users of those NUMA nodes away: \
                 `numactl --hardware` and `numastat -m` show what each has free."
                    .to_owned(),
            );
            return;
        }
        Some(Constraint::Mempolicy) => {
            advice.push(
                "The node as a whole may have memory left. The allocating process has bound itself to some NUMA nodes \
                 (numactl --membind, mbind): let it prefer them instead (numactl --preferred), or bind it to more. \
                 `numastat -m` shows what each has free."
                    .to_owned(),
            );
            return;
        }
        _ => {}
    }
    let order = oom.scene.request.and_then(|request| request.order).unwrap_or_default();
    if oom.is_fragmentation() {
        advice.push(
            "Memory was left, in blocks too small for the allocation: a kill frees memory, but not contiguous blocks."
                .to_owned(),
        );
        advice.extend(fragmentation(oom.scene.unmovable));
        return;
    }
    if order > 0 && oom.verdict.shortage.is_none() {
        advice.push(format!(
            "The allocation was order-{order} ({} contiguous pages): if memory was free, it was fragmented (/proc/buddyinfo \
             shows the free blocks).",
            block_pages(order).unwrap_or(u64::MAX)
        ));
    }
    let Some(account) = oom.scene.account else {
        advice.extend(largest(oom));
        advice.push(
            "Compare what runs outside of pods (`systemd-cgtop -m`, /proc/meminfo) with what is reserved for it (kubelet's \
             --kube-reserved and --system-reserved)."
                .to_owned(),
        );
        advice.extend(reserve::eviction(oom));
        return;
    };
    let parts = account::of_weight(oom, account);
    advice.extend(parts.iter().map(|part| entry::of_node(oom, account, part)));
    advice.extend(reserve::eviction(oom));
    // What the allocation could not use is no question of reservations.
    if !parts.iter().any(account::Part::is_free) {
        advice.extend(reserve::reservation(oom, account, &parts));
    }
}
