//! What would have stopped a shortage of the node in time: kubelet's eviction, and reservations. Numbers come from the account and
//! the zones, so that who follows the advice does not end in the next OOM.

use crate::describe::oom::account::{Part, parts, words};
use crate::describe::oom::{Oom, free};
use crate::enrich::Account;
use crate::event::Limit;
use crate::phrase::{apart, percent, size};
use crate::schema::AccountKind;

/// From this share of the node's memory on, the pods matter, and an excess.
const PODS_PERCENT: u64 = 5;
/// A part outside of pods that is as large as this and as the excess is the reason of it.
const ONE_THING_PERCENT: u64 = 20;
/// kubelet's default of `memory.available`.
const EVICTION_BYTES: u64 = 100 << 20;

/// Eviction, if there are pods that it could evict.
pub(super) fn eviction(oom: &Oom<'_>) -> Option<String> {
    let (usage, _) = oom.scene.usage_of_pods()?;
    let total = oom.scene.account.map(|account| account.total_bytes).or(oom.scene.node_memory_bytes);
    total.is_none_or(|total| percent(usage, total) >= PODS_PERCENT).then_some(())?;
    // On cgroup v1 kubelet's `memory.available` counts kernel memory as available: no number of the zones compares with it.
    let Some(free) = free::of(oom).filter(|_| !oom.scene.memory_cgroup_v1) else {
        return Some(
            "Raise kubelet's --eviction-hard memory.available, so that it evicts pods in time.".to_owned(),
        );
    };
    let kept = free.low_bytes.saturating_add(free.ineligible_bytes);
    let ineligible = match free.ineligible_bytes {
        0 => String::new(),
        ineligible => format!(", and {} in zones that the allocation may not use", size(ineligible)),
    };
    let default =
        if kept >= EVICTION_BYTES { "; its default of 100Mi is below what stays free anyway" } else { "" };
    Some(format!(
        "So that kubelet evicts pods in time, raise --eviction-hard memory.available well above {}, which are free even when the \
         kernel kills (low watermarks and reserves{ineligible}){default}.",
        size(kept)
    ))
}

/// Reservations, if the account shows that what runs outside of pods exceeds them. `advised` are the parts that were spoken of.
pub(super) fn reservation(oom: &Oom<'_>, account: &Account, advised: &[Part<'_>]) -> Option<String> {
    let (usage, limit) = oom.scene.usage_of_pods()?;
    let Limit::Bytes(limit) = limit else {
        return (percent(usage, account.total_bytes) >= 25).then(|| {
            format!(
                "The pods used {} together and have no common limit: set kubelet's --enforce-node-allocatable=pods with \
                 --kube-reserved and --system-reserved.",
                size(usage)
            )
        });
    };
    (percent(usage, account.total_bytes) >= PODS_PERCENT).then_some(())?;
    // On a full node whose pods kept within their limit some excess follows; a small one is not the reason.
    let Outside { bytes: outside_bytes, reserved_bytes, excess_bytes } =
        excess(oom, account, usage, limit)
            .filter(|excess| percent(excess.excess_bytes, account.total_bytes) >= PODS_PERCENT)?;
    let lead = format!(
        "What runs outside of pods (services, what is in no cgroup, and what the kernel keeps free) takes {}, {} more than the {} \
         that is reserved for it",
        size(outside_bytes),
        size(excess_bytes),
        size(reserved_bytes)
    );
    // One thing that is in excess by itself is to be brought down, not reserved for.
    let outside = |part: &&Part<'_>| !part.is_free() && !is_pods(part);
    if let Some(part) = parts(account).iter().find(outside)
        && part.bytes >= excess_bytes
        && percent(part.bytes, account.total_bytes) >= ONE_THING_PERCENT
    {
        if advised.iter().any(|it| (it.kind, it.holder, it.bytes) == (part.kind, part.holder, part.bytes)) {
            return Some(format!(
                "{lead}: bring down the {} named before rather than raise --system-reserved, which would take it from the pods.",
                size(part.bytes)
            ));
        }
        return Some(format!(
            "{lead}, and {}: bring that down rather than raise --system-reserved, which would take it from the pods.",
            words(oom, account, part)
        ));
    }
    // With the excess alone the pods reach their limit just as the node runs out, and which comes first is chance.
    let margin = free::of(oom).map_or(0, |free| free.low_bytes).max(account.total_bytes / 64);
    // On a full node all that is taken from the pods is in their use.
    let left = limit.saturating_sub(excess_bytes.saturating_add(margin));
    Some(format!(
        "{lead}. Raise kubelet's --system-reserved or --kube-reserved by about {} (the excess and {}, so that the pods reach their \
         limit before the node reaches its watermarks), and run fewer pods here: they used {}, and could use no more than {} then{}.",
        size(excess_bytes.saturating_add(margin)),
        size(margin),
        size(usage),
        size(left),
        apart(usage, left, "that")
    ))
}

fn is_pods(part: &Part<'_>) -> bool {
    matches!(part.kind, Some(AccountKind::Pod | AccountKind::SmallCgroups))
}

/// What runs outside of pods, and by how much it exceeds what is reserved for it.
struct Outside {
    bytes: u64,
    reserved_bytes: u64,
    excess_bytes: u64,
}

/// `None` if it does not.
fn excess(oom: &Oom<'_>, account: &Account, pods: u64, limit: u64) -> Option<Outside> {
    let node = oom.scene.node_memory_bytes.unwrap_or(account.total_bytes);
    let reserved_bytes = node.checked_sub(limit)?;
    let parts = parts(account);
    let free = parts.iter().filter(|part| part.is_free());
    let free_bytes = free.map(|part| part.bytes).fold(0, u64::saturating_add);
    // Free memory that the kernel keeps is nobody's to use.
    let kept_bytes = free::of(oom).map_or(0, |free| free.min_bytes).min(free_bytes);
    let outside_bytes =
        account.total_bytes.saturating_sub(pods).saturating_sub(free_bytes).saturating_add(kept_bytes);
    let excess_bytes = outside_bytes.checked_sub(reserved_bytes).filter(|excess| *excess > 0)?;
    Some(Outside { bytes: outside_bytes, reserved_bytes, excess_bytes })
}
