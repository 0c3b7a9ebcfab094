//! The holders of the node's memory, and the victim among them.

use crashtrace_ebpf::HOLDER_NS;

use super::{Oom, account, free};
use crate::classify::oom::{Rank, Requester, Scene};
use crate::describe::owner;
use crate::enrich::{Held, Memory};
use crate::event::{Constraint, Limit};
use crate::phrase::{self, size};

/// Holders that are named.
const NAMED: usize = 3;

pub(super) fn evidence(oom: &Oom<'_>) -> Vec<String> {
    let mut evidence = free::evidence(oom);
    evidence.extend(account::evidence(oom));
    evidence.extend(pods(oom));
    evidence.extend(holders(oom));
    evidence.extend(late(oom));
    evidence.extend(rank(oom));
    evidence
}

fn pods(oom: &Oom<'_>) -> Option<String> {
    let (usage, limit) = oom.scene.usage_of_pods()?;
    let used = size(usage);
    let Limit::Bytes(limit) = limit else {
        return Some(format!("all pods together used {used}, and have no node-allocatable limit"));
    };
    // An allocation that was bound to a part of the node's memory proves nothing about the rest.
    let node = oom.scene.node_memory_bytes.filter(|_| oom.verdict.constraint == Some(Constraint::None));
    let rest = node.and_then(|node| node.checked_sub(limit)).map_or_else(String::new, |rest| {
        format!(
            "; {} of the node's memory are for kubelet, the runtime, system services and the kernel",
            size(rest)
        )
    });
    let apart = phrase::apart(usage, limit, "it");
    Some(format!("all pods together used {used} of {} node-allocatable{apart}{rest}", size(limit)))
}

fn holders(oom: &Oom<'_>) -> Option<String> {
    let scene = &oom.scene;
    let memory = scene.memory.filter(|memory| memory.looked_at > 0)?;
    let named: Vec<_> =
        memory.holders.iter().take(NAMED).map(|held| holder(held, scene.share_of())).collect();
    let of = memory.total.map_or_else(String::new, |total| format!(" of {total}"));
    let looked = format!(
        "{}{of} cgroups were looked at (not those below small ones), of which {} held less than {} each",
        memory.looked_at,
        memory.small,
        size(memory.least_bytes)
    );
    let cut = match (memory.incomplete, memory.time_up) {
        (false, _) => String::new(),
        (true, false) => "; large ones may have been missed".to_owned(),
        (true, true) => format!(
            "; that took {} ms, the most that a kill may be held up, so large ones may have been missed",
            HOLDER_NS / 1_000_000
        ),
    };
    let more = match memory.holders.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(match (named.as_slice(), memory.incomplete) {
        ([], _) => {
            format!("no cgroup that was seen held as much as {}: {looked}{cut}", size(memory.least_bytes))
        }
        // Something else may hold more than any cgroup.
        ([_, ..], false) if !largest_is_first(oom, memory) => {
            format!("the largest cgroups were {}{more}; {looked}", named.join(", "))
        }
        (_, false) => format!("the largest holders of memory were {}{more}; {looked}", named.join(", ")),
        (_, true) => {
            format!("the largest holders that were seen are {}{more}; {looked}{cut}", named.join(", "))
        }
    })
}

/// What the agent found when the kernel side's time was up.
fn late(oom: &Oom<'_>) -> Option<String> {
    let found = oom.scene.holders_late?;
    let named = found.holders.iter().take(NAMED).map(|held| holder(held, oom.scene.share_of()));
    let named: Vec<_> = named.collect();
    let more = match found.holders.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let cut = if found.incomplete { "; it ended early too" } else { "" };
    let what = if named.is_empty() { "no other large one".to_owned() } else { named.join(", ") };
    Some(format!(
        "a second look at {} cgroups, just after the kill, found {what}{more}{cut}",
        found.looked_at
    ))
}

/// `pod 1f6c… (1.2 GiB, 51 %)`
pub(super) fn holder(held: &Held, total: Option<u64>) -> String {
    let percent = total.map_or_else(String::new, |total| {
        format!(", {} % of the total", u128::from(held.usage_bytes) * 100 / u128::from(total))
    });
    let swap = held.swap_bytes.filter(|bytes| *bytes > 0);
    let swap = swap.map_or_else(String::new, |bytes| format!(", and {} of swap", size(bytes)));
    let gone = if held.removed { ", which is gone" } else { "" };
    format!("{}{gone} ({}{percent}{swap})", owner(&held.party), size(held.usage_bytes))
}

/// The first holder has the largest part of the account; without an account, more than half of the total.
fn largest_is_first(oom: &Oom<'_>, memory: &Memory) -> bool {
    let Some(first) = memory.holders.first() else { return false };
    match oom.scene.account {
        Some(account) => account::largest(account).is_some_and(|part| part.is_of(&first.party)),
        None => oom.scene.is_most(first),
    }
}

fn rank(oom: &Oom<'_>) -> Option<String> {
    let scene = &oom.scene;
    match scene.rank()? {
        Rank::Holder(rank) => {
            let memory = scene.memory?;
            let held = memory.holders.get(rank)?;
            let whose = owner(&held.party);
            let used = size(held.usage_bytes);
            let of_root = account::in_root(oom).into_iter().find(|(_, bytes)| *bytes > held.usage_bytes);
            Some(match (rank, of_root) {
                (_, Some((name, bytes))) => format!(
                    "{name} holds {} and is in no cgroup below the root; the victim belongs to {whose} with {used}",
                    size(bytes)
                ),
                (0, None) if largest_is_first(oom, memory) => {
                    format!("the victim belongs to the largest holder, {whose}")
                }
                (0, None) => format!("the victim belongs to {whose}, the largest cgroup with {used}"),
                (_, None) => format!(
                    "the victim belongs to {whose}, the {} largest {} with {used}",
                    ordinal(rank + 1),
                    if largest_is_first(oom, memory) { "holder" } else { "cgroup" },
                ),
            })
        }
        Rank::Bystander { of_pod, held_bytes } => {
            let party = scene.victim.as_ref()?.party()?;
            let whose = if of_pod { phrase::pod(party.owner.in_schema()) } else { owner(party) };
            Some(format!(
                "the victim is a bystander: {whose} held no more than {}, swap included",
                size(held_bytes)
            ))
        }
    }
}

fn ordinal(number: usize) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        _ => format!("{number}th"),
    }
}

/// How the usage of the victim's container relates to its resource request.
pub(super) fn requested(scene: &Scene<'_>) -> Option<String> {
    let requested = scene.requested()?;
    let used = requested.used_bytes;
    Some(match requested.by {
        Requester::Kubernetes(request) => {
            let whose = phrase::container(scene.victim.as_ref()?.party()?.owner.in_schema());
            match request {
                Some(request) if used > request => format!(
                    "{whose} requests {} and used {}: {} more",
                    size(request),
                    size(used),
                    size(used - request)
                ),
                Some(request) => format!(
                    "{whose} requests {} and used {}, which is within its request",
                    size(request),
                    size(used)
                ),
                None => format!("{whose} has no memory request of its own and used {}", size(used)),
            }
        }
        Requester::BestEffort => {
            format!("the victim's container is BestEffort: it requests no memory and used {}", size(used))
        }
        Requester::Score { adj, least_bytes, most_bytes } => {
            let stood = match used {
                used if used > most_bytes => "more than that",
                used if used < least_bytes => "less than that",
                _ => "about as much",
            };
            format!(
                "kubelet gives an oom_score_adj of {adj} to a container that requests about {} (unless it is a sidecar, or its \
                 pod has a request of its own); the victim's container used {}, {stood}",
                size(least_bytes),
                size(used)
            )
        }
    })
}
