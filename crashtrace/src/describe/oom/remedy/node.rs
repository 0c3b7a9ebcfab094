//! What to do about a node that ran out of memory.

use crate::describe::alloc::remedy::fragmentation;
use crate::describe::oom::{Oom, memory};
use crate::event::{Constraint, Limit};
use crate::fragmentation::block_pages;
use crate::phrase::size;

/// Where to look first: the largest holder, if it has a name.
fn largest(oom: &Oom<'_>) -> Option<String> {
    let memory = oom.scene.memory.filter(|memory| !memory.incomplete)?;
    let held = memory.holders.first()?;
    Some(format!("Look first at the largest holder: {}.", memory::holder(held, oom.scene.share_of())))
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
    advice.extend(largest(oom));
    advice.push(match oom.scene.usage_of_pods() {
        // The rest follows only if the whole node is full.
        Some((usage, Limit::Bytes(limit)))
            if usage <= limit && order == 0 && oom.verdict.constraint == Some(Constraint::None) =>
        {
            format!(
                "The pods kept within node-allocatable ({} of {}), so what runs outside of pods (kubelet, the runtime, system \
                 services, the kernel) takes more than is reserved for it: raise kubelet's --system-reserved or \
                 --kube-reserved by about {}, or find what grows there (`systemd-cgtop -m`).",
                size(usage),
                size(limit),
                size(limit - usage),
            )
        }
        Some((_, Limit::Bytes(_))) | None => {
            "Reserve memory for what runs outside of pods (kubelet's --kube-reserved and --system-reserved), and look at what \
             it uses (`systemd-cgtop -m`)."
                .to_owned()
        }
        Some((usage, Limit::Unlimited)) => format!(
            "The pods used {} together and have no common limit: set kubelet's --enforce-node-allocatable=pods with \
             --kube-reserved and --system-reserved.",
            size(usage)
        ),
    });
    advice.push(
        "Raise --eviction-hard memory.available so that kubelet evicts pods in time, and set requests to real use so that the \
         scheduler does not overfill the node."
            .to_owned(),
    );
}
