//! Who held the node's memory, and how the victim stood to that, as sentences.

use super::Verdict;
use super::evidence::kubepods;
use super::scene::{Actor, Scene};
use super::words::{self, bytes, owner};
use crate::cgroup::Qos;
use crate::enrich::{Held, Owner};
use crate::event::{Constraint, Level, Limit};
use crate::pods::names::{ContainerRole, NameSource};

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

/// What shares are of: the memory and swap that the decision was about, if that was all of the node's, for usage is counted
/// over the whole node.
pub(crate) fn share_of(scene: &Scene<'_>) -> Option<u64> {
    let control = scene.control.filter(|control| control.constraint == Constraint::None)?;
    Some(control.total_bytes).filter(|total| *total > 0)
}

fn holders(scene: &Scene<'_>) -> Option<String> {
    let memory = scene.memory.filter(|memory| memory.looked_at > 0)?;
    let named: Vec<_> = memory.holders.iter().take(NAMED).map(|held| holder(held, share_of(scene))).collect();
    let of = memory.total.map_or_else(String::new, |total| format!(" of {total}"));
    let looked = format!(
        "{}{of} cgroups were looked at, and {} of them held less than {} each",
        memory.looked_at,
        memory.small,
        bytes(memory.least_bytes)
    );
    let cut = if memory.incomplete { "; there may be large ones that were not seen" } else { "" };
    let more = match memory.holders.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(match (named.as_slice(), memory.incomplete) {
        ([], _) => format!("none that was seen held as much as {}: {looked}{cut}", bytes(memory.least_bytes)),
        (_, false) => format!("the largest holders of memory were {}{more}; {looked}", named.join(", ")),
        (_, true) => format!("the largest that were seen are {}{more}; {looked}{cut}", named.join(", ")),
    })
}

/// `pod 1f6c… (1.2 GiB, 51 %)`
pub(crate) fn holder(held: &Held, total: Option<u64>) -> String {
    let percent = total.map_or_else(String::new, |total| {
        format!(", {} %", u128::from(held.usage_bytes) * 100 / u128::from(total))
    });
    format!("{} ({}{percent})", owner(&held.party), bytes(held.usage_bytes))
}

/// Where the victim's pod or service stands among the holders, if all that is large was seen.
fn rank(scene: &Scene<'_>) -> Option<String> {
    let memory = scene.memory.filter(|memory| !memory.incomplete && !memory.holders.is_empty())?;
    let victim = scene.victim.as_ref()?;
    let (party, cgroups) = (victim.party.as_ref()?, victim.cgroups?);
    // What has no memory controller of its own is charged to a cgroup further up.
    if cgroups.unified {
        return None;
    }
    let Some(rank) = memory.rank(party) else { return bystander(scene, victim) };
    let held = &memory.holders.get(rank)?;
    let whose = owner(&held.party);
    Some(match rank {
        0 => format!("the victim belongs to the largest holder, {whose}"),
        _ => format!(
            "the victim belongs to {whose}, which held {}, the {} most",
            bytes(held.usage_bytes),
            ordinal(rank + 1)
        ),
    })
}

/// A victim whose pod, or whose cgroup outside of pods, held little by its own figures, with what it had in swap.
fn bystander(scene: &Scene<'_>, victim: &Actor<'_>) -> Option<String> {
    let memory = scene.memory?;
    let (party, cgroups) = (victim.party.as_ref()?, victim.cgroups?);
    let (level, whose) = match party.placement.pod_end {
        Some(end) => (cgroups.level_at(end)?, words::pod(&party.owner)),
        None => (cgroups.levels.first()?, owner(party)),
    };
    let held = held_bytes(level).filter(|held| !level.root && *held < memory.least_bytes)?;
    if memory.large.contains(&party.path) {
        return None;
    }
    Some(format!("the victim is a bystander: {whose} held no more than {}, swap included", bytes(held)))
}

/// Memory and swap of a cgroup; on cgroup v1 the second figure has the first in it.
fn held_bytes(level: &Level) -> Option<u64> {
    Some(level.usage_bytes?.saturating_add(level.swap_usage_bytes?))
}

fn ordinal(number: usize) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

/// How the victim's container stood to its request, which kubelet puts into `oom_score_adj` (`GetContainerOOMScoreAdjust`,
/// `pkg/kubelet/qos/policy.go`): for a Burstable container `1000 - 1000 * request / capacity`, rounded, and kept within
/// 3 and 999; 1000 for `BestEffort`. A sidecar may get that of the container beside it, a request of the pod's own is
/// spread over its containers, and a process may set its own: so what is said is what kubelet means by the figure. Where
/// the API server has told of the request, that is said in its place.
pub(super) fn request(scene: &Scene<'_>) -> Option<String> {
    let victim = scene.victim.as_ref()?;
    let placement = &victim.party.as_ref()?.placement;
    let usage = victim.cgroups?.level_at(placement.container_end?)?.usage_bytes?;
    if let Some(sentence) = victim.party.as_ref().and_then(|party| told_request(&party.owner, usage)) {
        return Some(sentence);
    }
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
                "above that"
            } else if usage < least {
                "below that"
            } else {
                "about as much"
            };
            Some(format!(
                "kubelet gives an oom_score_adj of {adj} to a container that requests about {} (unless it is a sidecar, or \
                 its pod has a request of its own); its container used {}, {stood}",
                bytes(least),
                bytes(usage)
            ))
        }
        _ => None,
    }
}

/// The same where the API server has told of the container. What it told may be of before a resize.
fn told_request(owner: &Owner, usage: u64) -> Option<String> {
    let names = owner.names.as_deref().filter(|names| names.source == NameSource::Kube)?;
    let container =
        names.container.as_ref().filter(|container| container.role != Some(ContainerRole::Sandbox))?;
    let whose = words::container(owner);
    let used = bytes(usage);
    Some(match container.memory.request_bytes {
        Some(request) if usage > request => {
            format!("{whose} requests {}, and used {used}: {} more", bytes(request), bytes(usage - request))
        }
        Some(request) => {
            format!("{whose} requests {}, and used {used}, which is within that", bytes(request))
        }
        None => format!("{whose} requests no memory, and used {used}"),
    })
}
