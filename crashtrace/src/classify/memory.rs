//! Who held the node's memory, and how the victim stood to that, as sentences.

use super::Verdict;
use super::evidence::kubepods;
use super::scene::Scene;
use super::words::{bytes, owner, pod};
use crate::cgroup::Qos;
use crate::enrich::Held;
use crate::event::{Constraint, Limit};

/// Holders that are named.
const NAMED: usize = 3;

/// What the evidence says of the node's memory.
pub(super) fn of(scene: &Scene<'_>, verdict: &Verdict) -> Vec<String> {
    let mut evidence = Vec::new();
    evidence.extend(pods(scene, verdict));
    evidence.extend(holders(scene));
    evidence.extend(rank(scene));
    evidence
}

/// What all pods used, of what: by the walk, else by the way from victim or trigger to the root.
pub(crate) fn usage_of_pods(scene: &Scene<'_>) -> Option<(u64, Limit)> {
    let walked = scene.memory.and_then(|memory| memory.pods.as_ref());
    let walked = walked.and_then(|pods| Some((pods.usage_bytes, pods.limit?)));
    walked.or_else(|| kubepods(scene).and_then(|level| Some((level.usage_bytes?, level.limit?))))
}

fn pods(scene: &Scene<'_>, verdict: &Verdict) -> Option<String> {
    let (usage, limit) = usage_of_pods(scene)?;
    let usage = bytes(usage);
    let Limit::Bytes(limit) = limit else {
        return Some(format!("all pods together used {usage}, and the node sets them no limit"));
    };
    // Bound to a part of the node's memory, the request says nothing about the rest.
    let node = scene.node_memory_bytes.filter(|_| verdict.constraint == Some(Constraint::None));
    let rest = node.and_then(|node| node.checked_sub(limit)).map_or_else(String::new, |rest| {
        format!(
            ", which leaves {} of the node's memory to kubelet, the runtime, system services and the kernel",
            bytes(rest)
        )
    });
    Some(format!("all pods together used {usage} of the {} that the node allows them{rest}", bytes(limit)))
}

fn holders(scene: &Scene<'_>) -> Option<String> {
    let memory = scene.memory?;
    let total = scene.control.map(|control| control.total_bytes).filter(|total| *total > 0);
    let named: Vec<_> = memory.holders.iter().take(NAMED).map(|held| holder(held, total)).collect();
    let looked = match memory.total {
        Some(total) => format!("{} of {total} cgroups", memory.looked_at),
        None => format!("{} cgroups", memory.looked_at),
    };
    let small = format!(
        "{} that held less than {} came to {}",
        if memory.small == 1 { "1 cgroup".to_owned() } else { format!("{} cgroups", memory.small) },
        bytes(memory.least_bytes),
        bytes(memory.small_bytes)
    );
    let cut = if memory.incomplete { "; there may be large ones that were not seen" } else { "" };
    Some(if named.is_empty() {
        format!("no cgroup held as much as {} ({looked} looked at){cut}", bytes(memory.least_bytes))
    } else {
        let more = match memory.holders.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        format!("most memory was held by {}{more}; {small} ({looked} looked at){cut}", named.join(", "))
    })
}

/// `pod 1f6c… (1.2 GiB, 51 %)`
pub(crate) fn holder(held: &Held, total: Option<u64>) -> String {
    let percent = total.map_or_else(String::new, |total| {
        format!(", {} %", u128::from(held.usage_bytes) * 100 / u128::from(total))
    });
    format!("{} ({}{percent})", owner(&held.party.owner, &held.party.path), bytes(held.usage_bytes))
}

/// Where the victim's pod or service stands among the holders. One that is not among them is a bystander.
fn rank(scene: &Scene<'_>) -> Option<String> {
    let memory = scene.memory?;
    let party = scene.victim.as_ref()?.party.as_ref()?;
    let whose = match &party.owner.pod_uid {
        Some(_) => pod(&party.owner),
        None => owner(&party.owner, &party.path),
    };
    match memory.rank(party) {
        Some(0) => Some(format!("the victim belongs to the largest holder, {whose}")),
        Some(rank) => {
            let held = memory.holders.get(rank)?;
            Some(format!(
                "the victim belongs to {whose}, which held {}, the {} most",
                bytes(held.usage_bytes),
                ordinal(rank + 1)
            ))
        }
        // The root has no figure of its own, so what is in it cannot be compared.
        None if memory.incomplete || memory.holders.is_empty() || party.path == b"/" => None,
        None => Some(format!(
            "the victim's {whose} held less than {}: a bystander, chosen for its size and its oom_score_adj",
            bytes(memory.least_bytes)
        )),
    }
}

fn ordinal(number: usize) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

/// How the victim's container stood to its request, which kubelet puts into `oom_score_adj` and nowhere else on the
/// node (`GetContainerOOMScoreAdjust`, `pkg/kubelet/qos/policy.go`): for a Burstable container
/// `1000 - 1000 * request / capacity`, rounded, and kept within 3 and 999; 1000 for `BestEffort`.
pub(super) fn request(scene: &Scene<'_>) -> Option<String> {
    let victim = scene.victim.as_ref()?;
    let placement = &victim.party.as_ref()?.placement;
    let usage = victim.cgroups?.level_at(placement.container_end?)?.usage_bytes?;
    let adj = victim.task.oom_score_adj?;
    match placement.qos? {
        Qos::BestEffort if adj == 1000 => {
            Some(format!("its container is BestEffort: it requested no memory, and used {}", bytes(usage)))
        }
        Qos::Burstable if (4..=998).contains(&adj) => {
            let thousandths = 1000 - u64::from(adj.unsigned_abs());
            let capacity = scene.node_memory_bytes?;
            let least = capacity / 1000 * thousandths;
            let most = capacity / 1000 * (thousandths + 1);
            let stood = if usage > most {
                "above it"
            } else if usage < least {
                "below it"
            } else {
                "about as much"
            };
            Some(format!(
                "an oom_score_adj of {adj} is what kubelet gives for a memory request of about {}; its container used \
                 {}, {stood}",
                bytes(least),
                bytes(usage)
            ))
        }
        _ => None,
    }
}
