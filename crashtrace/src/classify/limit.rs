//! Whose limit was hit, and at what level.
//!
//! # One container in a pod
//!
//! Kubelet gives a pod of one container the container's limit, and the sandbox (pause) is charged to the
//! pod too: so the pod is full first, and the kernel names the pod where people mean the container. Hence:
//! where the limit's cgroup is a pod, and the container of the victim in it has the same limit **and holds
//! nearly all of what the pod uses**, the level is `container`, and `charged_at` says `pod`.
//!
//! The limits alone do not tell: in a pod with a limit of its own (`spec.resources`) kubelet gives each
//! container without a limit the pod's number. There one container is killed for what another one holds,
//! and "it hit its own limit" would be wrong. So would it be where a memory-backed emptyDir, which outlives
//! its container, has filled the pod. "Nearly all" is 7/8: a sandbox takes some 200 KiB, what ended
//! containers left behind a little more, and a second container worth the name takes its share.
//!
//! # Inference
//!
//! Where the kernel's request was not found the limit's cgroup is not named, but it is one of the victim's, for the
//! kernel seeks victims below it; and where memory was charged it is one of the trigger's too (but for the
//! few charges on somebody else's account), so those of both are preferred. It is full:
//! `mem_cgroup_out_of_memory` goes on to kill only if less than the request, at most 8 pages, is left
//! (`mem_cgroup_margin`). By the time the record is written memory may have come back: other CPUs drain
//! their stocks, of up to 64 pages each (`MEMCG_CHARGE_BATCH`), and some process may end. So a cgroup
//! counts as full with up to 2 MiB left, the stocks of 8 CPUs with pages of 4 KiB, or with 1/64 of its
//! limit, since large limits stand on large machines; but with no more than 1/8 of a small limit, where 2
//! MiB would call an idle cgroup full, and no more than 32 MiB, the stocks of 128 CPUs. Of several the one
//! with the least left is taken, and among equals the innermost, which the kernel tries first
//! (`page_counter_try_charge`).

use super::oom::Facts;
use super::scene::Scene;
use super::words::{self, bytes, path};
use super::{Cause, Level, LimitFinding, Origin};
use crate::cgroup::{Place, Placement};
use crate::enrich::gaps::{CLAIMS, DECISION_LOST, gap};
use crate::enrich::{Gap, Party, party};
use crate::event::{self, Limit, Lineage};

const MIB: u64 = 1 << 20;

/// What came out.
#[derive(Default)]
pub(super) struct Found {
    pub(super) limit: Option<LimitFinding>,
    pub(super) level: Option<Level>,
    pub(super) inferred: Vec<&'static str>,
    pub(super) evidence: Vec<String>,
    pub(super) gaps: Vec<Gap>,
}

/// Finds the limit.
pub(super) fn find(scene: &Scene<'_>, facts: &Facts) -> Found {
    let mut found = match (facts.cause, facts.origin) {
        (Cause::Unknown, _) => open("the cause is not known"),
        (Cause::SystemOom, Some(Origin::Sysrq)) => Found {
            gaps: vec![gap("verdict.level", "a kill that was requested by sysrq is due to no limit")],
            ..Found::default()
        },
        (Cause::SystemOom, None) => Found {
            gaps: vec![gap("verdict.level", "a shortage of the node and a request by sysrq look alike here")],
            ..Found::default()
        },
        // Neither cause comes of an OOM decision.
        (Cause::Fragmentation | Cause::LowMemory, _) | (Cause::SystemOom, Some(_)) => {
            Found { level: Some(Level::Node), ..Found::default() }
        }
        (Cause::CgroupOom, origin) => match scene.limit_cgroups {
            Some(lineage) => observed(scene, lineage),
            None if scene.request.is_some() => open("the cgroups of the limit could not be read"),
            None => infer(scene, origin),
        },
    };
    if let Some(limit) = &found.limit {
        found.gaps.extend(limit_gaps(&limit.cgroups));
        if limit.party.placement.claims.is_some() {
            found.gaps.push(gap("limit.owner", CLAIMS));
        }
    }
    found
}

/// Neither limit nor level, for one reason.
fn open(reason: &str) -> Found {
    Found { gaps: vec![gap("limit", reason), gap("verdict.level", reason)], ..Found::default() }
}

/// The limit that the kernel named.
fn observed(scene: &Scene<'_>, lineage: &Lineage) -> Found {
    // Numbers of a cgroup whose place is unknown are still those of the limit.
    let numbers = || -> Vec<String> {
        let first = lineage.levels.first().filter(|_| lineage.skipped == 0);
        first.and_then(|level| usage_sentence("the cgroup at its limit", level)).into_iter().collect()
    };
    let party = match (scene.limit, party(lineage, scene.node_root)) {
        (Some(party), _) => party.clone(),
        (None, Ok(mut party)) => {
            scene.names.name(&mut party);
            party
        }
        (None, Err(reason)) => return Found { evidence: numbers(), ..open(reason) },
    };
    if lineage.skipped > 0 {
        // `party` vouches that what is there of the path is a container's: the limit is of a cgroup inside.
        return Found {
            level: Some(Level::Cgroup),
            gaps: vec![gap("limit", "its cgroup lies deeper inside the container than a record holds")],
            ..Found::default()
        };
    }
    settle(scene, lineage.clone(), party)
}

/// Levels and evidence of a limit.
fn settle(scene: &Scene<'_>, cgroups: Lineage, party: Party) -> Found {
    let charged_at = level_of(&party.placement);
    let mut evidence = Vec::new();
    if let Some(level) = cgroups.levels.first() {
        evidence.extend(usage_sentence(&words::cgroup(&party), level));
    }
    let mut level = charged_at;
    if charged_at == Level::Pod
        && let Some((container, pod)) = container_in_pod(scene, &cgroups, &party)
    {
        let (is_the_container, sentence) = same_limit(container, pod);
        if is_the_container {
            level = Level::Container;
        }
        evidence.extend(sentence);
    }
    Found {
        level: Some(level),
        limit: Some(LimitFinding { cgroups, party, charged_at }),
        evidence,
        ..Found::default()
    }
}

/// The level of a cgroup by its place.
pub(super) fn level_of(placement: &Placement) -> Level {
    match placement.place {
        Place::Root => Level::Node,
        Place::NodeAllocatable => Level::NodeAllocatable,
        Place::Qos => Level::Qos,
        Place::Pod => Level::Pod,
        Place::Container if !placement.nested => Level::Container,
        Place::HostService if !placement.nested => Level::HostService,
        Place::Container | Place::HostService | Place::Other => Level::Cgroup,
    }
}

/// The container of the victim (of the trigger, where there is no victim) in the pod whose limit it is, and
/// the pod.
fn container_in_pod<'a>(
    scene: &'a Scene<'_>,
    limit: &'a Lineage,
    pod: &Party,
) -> Option<(&'a event::Level, &'a event::Level)> {
    let actor = scene.victim.as_ref().or(scene.trigger.as_ref())?;
    let (cgroups, party) = (actor.cgroups?, actor.party.as_ref()?);
    let pod_end = party.placement.pod_end?;
    if party.path.get(..pod_end)? != pod.path {
        return None;
    }
    let container = cgroups.level_at(party.placement.container_end?)?;
    let pod = limit.levels.first()?;
    let in_pod = cgroups.level_at(pod_end)?;
    (in_pod.cgroup_id.is_none() || pod.cgroup_id.is_none() || in_pod.cgroup_id == pod.cgroup_id)
        .then_some((container, pod))
}

/// Whether the pod's limit is that of its container, and what to say of it.
fn same_limit(container: &event::Level, pod: &event::Level) -> (bool, Option<String>) {
    let Some(limit) = pod.limit.and_then(Limit::bytes) else { return (false, None) };
    if container.limit != pod.limit {
        return (false, None);
    }
    let limit = bytes(limit);
    let (Some(used), Some(total)) = (container.usage_bytes, pod.usage_bytes) else {
        let sentence =
            format!("the container has the same limit of {limit} as its pod, and the pod was charged");
        return (true, Some(sentence));
    };
    let (held, total_text) = (bytes(used), bytes(total));
    if used >= total - total / 8 {
        let sentence = format!(
            "the container has the same limit of {limit} as its pod and holds {held} of the pod's \
             {total_text}: the pod is full first because its sandbox is charged to it too"
        );
        (true, Some(sentence))
    } else {
        let rest = bytes(total - used);
        let sentence = format!(
            "the container has the same limit of {limit} as its pod but holds only {held} of the pod's \
             {total_text}: {rest} is in other containers or charged to the pod itself"
        );
        (false, Some(sentence))
    }
}

/// How much of a limit may be left in a cgroup that counts as full.
fn slack_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / 64).max((2 * MIB).min(limit_bytes / 8)).min(32 * MIB)
}

/// What is left in a cgroup that counts as full.
fn left_of_full(level: &event::Level) -> Option<u64> {
    let limit = level.limit?.bytes()?;
    level.at_limit(slack_bytes(limit)).then(|| limit.saturating_sub(level.usage_bytes.unwrap_or_default()))
}

/// The limit that fits best among the victim's cgroups.
fn infer(scene: &Scene<'_>, origin: Option<Origin>) -> Found {
    let Some(victim) = &scene.victim else { return open(DECISION_LOST) };
    let Some(lineage) = victim.cgroups else {
        return open("it was to be sought among the victim's cgroups, which could not be read");
    };
    let full: Vec<(u64, usize)> = (0..lineage.levels.len())
        .filter_map(|index| Some((left_of_full(lineage.levels.get(index)?)?, index)))
        .collect();
    let trigger = scene.trigger.as_ref().filter(|_| origin == Some(Origin::Charge));
    let shared = |index: usize| {
        let id = lineage.levels.get(index).and_then(|level| level.cgroup_id);
        let cgroups = trigger.and_then(|trigger| trigger.cgroups);
        id.is_some()
            && cgroups.is_some_and(|cgroups| cgroups.levels.iter().any(|level| level.cgroup_id == id))
    };
    let best = full.iter().filter(|(_, index)| shared(*index)).min().or_else(|| full.iter().min());
    let Some(&(left, index)) = best else {
        return open(
            "it is one of the victim's cgroups, but none of them was near its limit when it was read (on \
             cgroup v1 the limit of memory and swap together may have been the one)",
        );
    };
    let cgroups = Lineage {
        levels: lineage.levels.get(index..).unwrap_or_default().to_vec(),
        skipped: 0,
        incomplete: lineage.incomplete,
        unified: lineage.unified,
    };
    let party = match party(&cgroups, scene.node_root) {
        Ok(mut party) => {
            scene.names.name(&mut party);
            party
        }
        Err(reason) => return open(reason),
    };
    let mut found = settle(scene, cgroups, party);
    found.inferred = vec!["limit", "verdict.level"];
    found.gaps.push(gap("limit.shmem_bytes", "it is read only for a limit that the kernel named"));
    found.evidence.push(format!(
        "inferred: among the victim's cgroups this one was nearest to its limit, with {} left",
        bytes(left)
    ));
    for &(left, other) in full.iter().filter(|(_, other)| *other != index) {
        found.evidence.push(format!(
            "{} was near its limit too, with {} left",
            cgroup_at(scene, lineage, other),
            bytes(left)
        ));
    }
    found
}

/// The cgroup of `lineage.levels[index]`, for a sentence.
pub(super) fn cgroup_at(scene: &Scene<'_>, lineage: &Lineage, index: usize) -> String {
    let levels = lineage.levels.get(index..).unwrap_or_default().to_vec();
    match party(&Lineage { levels, skipped: 0, ..*lineage }, scene.node_root) {
        Ok(party) => words::cgroup(&party),
        Err(_) => format!("cgroup {}", path(&lineage.path_of(index))),
    }
}

pub(super) fn usage_sentence(name: &str, level: &event::Level) -> Option<String> {
    match (level.usage_bytes, level.limit?) {
        (Some(usage), Limit::Bytes(limit)) => {
            Some(format!("{name} used {} of its limit of {}", bytes(usage), bytes(limit)))
        }
        (None, Limit::Bytes(limit)) => Some(format!("{name} has a limit of {}", bytes(limit))),
        (_, Limit::Unlimited) => Some(format!("{name} had no limit any more when it was read")),
    }
}

/// What the report cannot say of a limit.
fn limit_gaps(cgroups: &Lineage) -> Vec<Gap> {
    let Some(level) = cgroups.levels.first() else { return Vec::new() };
    let unreadable = "could not be read from the kernel";
    let mut gaps = Vec::new();
    for (field, missing, reason) in [
        ("limit.limit_bytes", level.limit.is_none(), unreadable),
        ("limit.usage_bytes", level.usage_bytes.is_none(), unreadable),
        ("limit.swap_usage_bytes", level.swap_usage_bytes.is_none(), unreadable),
        ("limit.swap_limit_bytes", level.swap_limit.is_none(), unreadable),
        (
            "limit.oom_group",
            level.oom_group.is_none(),
            "this kernel has no memory.oom.group, or it could not be read",
        ),
    ] {
        if missing {
            gaps.push(gap(field, reason));
        }
    }
    gaps
}
