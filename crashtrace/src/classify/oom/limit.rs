//! The limit owner, and the level of the limit.
//!
//! A container and its pod may have the same limit, and `classify/oom/whose.rs` has whose it is: the level may be `container` where
//! `charged_at` is `pod`, and the other way round.
//!
//! # Inference
//!
//! If `oom_control` was not found the limit owner is not named, but it is one of the victim's cgroups, for the kernel seeks
//! victims below it; and if memory was charged it is one of the trigger's too (but for the few charges on the account of
//! another process), so those of both are preferred. It is full: `mem_cgroup_out_of_memory` goes on to kill only if less than
//! the charge, at most 8 pages, is left (`mem_cgroup_margin`). By the time the record is written memory may have been freed:
//! other CPUs drain their stocks, of up to 64 pages each (`MEMCG_CHARGE_BATCH`), and a process may exit. So a cgroup counts as
//! full with up to 2 MiB left, the stocks of 8 CPUs with pages of 4 KiB, or with 1/64 of its limit, since large limits occur on
//! large machines; but with no more than 1/8 of a small limit, where 2 MiB would call an idle cgroup full, and no more than 32
//! MiB, the stocks of 128 CPUs. Of several the one with the least left is taken, and among equals the innermost, which the
//! kernel tries first (`page_counter_try_charge`).

use super::cause::{OomCause, Row};
use super::scene::Scene;
use super::whose::{SharedLimit, shared_limit};
use crate::classify::{LimitFinding, Open, Reason, level_of};
use crate::enrich::Party;
use crate::event::{self, Lineage};
use crate::schema::{Field, Level, LimitField, Origin, VerdictField};

const MIB: u64 = 1 << 20;
const LIMIT: Field = Field::Limit(LimitField::Whole);
const LEVEL: Field = Field::Verdict(VerdictField::Level);

/// The result.
#[derive(Default)]
pub(super) struct Found {
    pub(super) limit: Option<LimitFinding>,
    pub(super) level: Option<Level>,
    pub(super) inferred: Vec<Field>,
    pub(super) shared_limit: Option<SharedLimit>,
    pub(super) near_limit: Vec<NearLimit>,
    pub(super) open: Vec<Open>,
}

/// A cgroup of the victim that was near its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearLimit {
    /// Its place in the victim's lineage.
    pub index: usize,
    pub left_bytes: u64,
}

pub(super) fn find(scene: &Scene<'_>, row: &Row) -> Found {
    let level_open = |reason| Found { open: vec![Open { field: LEVEL, reason }], ..Found::default() };
    let mut found = match (row.cause, row.origin) {
        (OomCause::Unknown, _) => open(Reason::CauseUnknown),
        (OomCause::Node, Some(Origin::Sysrq)) => level_open(Reason::Sysrq),
        (OomCause::Node, None) => level_open(Reason::ShortageOrSysrq),
        (OomCause::Node, Some(_)) => Found { level: Some(Level::Node), ..Found::default() },
        (OomCause::Limit, origin) => match scene.limit_cgroups {
            Some(lineage) => observed(scene, lineage),
            None if scene.request.is_some() => open(Reason::LimitCgroupsUnread),
            None => infer(scene, origin),
        },
    };
    if let Some(limit) = &found.limit {
        found.open.extend(unread(&limit.cgroups));
        if limit.party.placement.claims.is_some() {
            found.open.push(Open { field: Field::Limit(LimitField::Owner), reason: Reason::Claims });
        }
    }
    found
}

/// Neither limit nor level, for one reason.
fn open(reason: Reason) -> Found {
    Found { open: vec![Open { field: LIMIT, reason }, Open { field: LEVEL, reason }], ..Found::default() }
}

/// The limit that the kernel named.
fn observed(scene: &Scene<'_>, lineage: &Lineage) -> Found {
    let Some(owned) = scene.limit else { return open(Reason::LimitCgroupsUnread) };
    let party = match owned.nearest() {
        Ok(party) => party.clone(),
        Err(why) => return open(Reason::NoOwner(why)),
    };
    if lineage.skipped > 0 {
        // It has an owner, so the rest of the path is a container's: the limit is of a cgroup inside.
        return Found {
            level: Some(Level::Cgroup),
            open: vec![Open { field: LIMIT, reason: Reason::LimitTooDeep }],
            ..Found::default()
        };
    }
    settle(scene, lineage.clone(), party)
}

/// The level of a limit.
fn settle(scene: &Scene<'_>, cgroups: Lineage, party: Party) -> Found {
    let charged_at = level_of(&party.placement);
    let shared_limit = shared_limit(scene, &cgroups, &party, charged_at);
    let inferred = shared_limit.is_some_and(|shared| shared.whose.is_inferred());
    Found {
        level: Some(shared_limit.map_or(charged_at, |shared| shared.whose.level())),
        limit: Some(LimitFinding { cgroups, party, charged_at }),
        inferred: if inferred { vec![LEVEL] } else { Vec::new() },
        shared_limit,
        ..Found::default()
    }
}

/// How much of its limit a cgroup that counts as full may have left.
pub(super) fn slack_bytes(limit_bytes: u64) -> u64 {
    (limit_bytes / 64).max((2 * MIB).min(limit_bytes / 8)).min(32 * MIB)
}

/// Bytes left in a cgroup that counts as full.
fn left_of_full(level: &event::Level) -> Option<u64> {
    let limit = level.limit?.bytes()?;
    level.at_limit(slack_bytes(limit)).then(|| limit.saturating_sub(level.usage_bytes.unwrap_or_default()))
}

/// The limit that fits best among the victim's cgroups.
fn infer(scene: &Scene<'_>, origin: Option<Origin>) -> Found {
    let Some(victim) = &scene.victim else { return open(Reason::DecisionLost) };
    let Some((lineage, owned)) = victim.cgroups.zip(victim.owned) else {
        return open(Reason::VictimCgroupsUnread);
    };
    let full: Vec<NearLimit> = (0..lineage.levels.len())
        .filter_map(|index| Some(NearLimit { index, left_bytes: left_of_full(lineage.levels.get(index)?)? }))
        .collect();
    let trigger = scene.trigger.as_ref().filter(|_| origin == Some(Origin::Charge));
    let shared = |index: usize| {
        let id = lineage.levels.get(index).and_then(|level| level.cgroup_id);
        let cgroups = trigger.and_then(|trigger| trigger.cgroups);
        id.is_some()
            && cgroups.is_some_and(|cgroups| cgroups.levels.iter().any(|level| level.cgroup_id == id))
    };
    let by_fit = |near: &&NearLimit| (near.left_bytes, near.index);
    let best = full
        .iter()
        .filter(|near| shared(near.index))
        .min_by_key(by_fit)
        .or_else(|| full.iter().min_by_key(by_fit));
    let Some(&best) = best else { return open(Reason::NoneNearLimit) };
    let party = match owned.level(best.index) {
        Ok(party) => party.clone(),
        Err(why) => return open(Reason::NoOwner(why)),
    };
    let mut found = settle(scene, lineage.from_level(best.index), party);
    found.inferred = vec![LIMIT, LEVEL];
    found.open.push(Open { field: Field::Limit(LimitField::ShmemBytes), reason: Reason::LimitInferred });
    let others = full.into_iter().filter(|near| near.index != best.index);
    found.near_limit = [best].into_iter().chain(others).collect();
    found
}

/// Figures of a limit that were not read.
fn unread(cgroups: &Lineage) -> Vec<Open> {
    let Some(level) = cgroups.levels.first() else { return Vec::new() };
    let fields = [
        (LimitField::LimitBytes, level.limit.is_none(), Reason::Unreadable),
        (LimitField::UsageBytes, level.usage_bytes.is_none(), Reason::Unreadable),
        (LimitField::SwapUsageBytes, level.swap_usage_bytes.is_none(), Reason::Unreadable),
        (LimitField::SwapLimitBytes, level.swap_limit.is_none(), Reason::Unreadable),
        (LimitField::OomGroup, level.oom_group.is_none(), Reason::NoOomGroup),
    ];
    let missing = fields.into_iter().filter(|(_, missing, _)| *missing);
    missing.map(|(field, _, reason)| Open { field: Field::Limit(field), reason }).collect()
}
