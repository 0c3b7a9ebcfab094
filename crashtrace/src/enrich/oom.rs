//! OOM kills, and OOMs without a victim.

use std::collections::BTreeMap;

use super::gaps::{self, BLIND_TIER, DECISION_LOST, MARK_TOO_LATE, UNREADABLE, lacks, process};
use super::owners::Lineages;
use super::{Found, Owned, Owners, holders, take};
use crate::correlate::{Folded, FoldedVictim, OomKill, OomNoKill};
use crate::event::{Constraint, Hook, Lineage, NoKill, Unmovable};
use crate::fragmentation::{Request, Shortage, assess};
use crate::node::{self, Node, ProcFile};
use crate::observe::meminfo;
use crate::schema::{AllocationField, Field, FoldedField, LimitField, MemoryField, ProcessField, Unresolved};

mod accounts;
mod late;

const HOLDERS_LOST: &str = "the record of who held the node's memory was lost";

pub(super) fn kill(kill: &OomKill, node: &mut Node) -> Found {
    let decision = kill.decision.as_deref();
    let limit_cgroups = decision.and_then(|decision| decision.limit_cgroups.as_ref());
    let lineages = Lineages {
        trigger: decision.and_then(|decision| decision.trigger_cgroups.as_ref()),
        victims: kill.victims.iter().map(|victim| victim.cgroups.as_ref()).collect(),
        chosen: decision.and_then(|decision| decision.victim_cgroups.as_ref()),
        limit: limit_cgroups,
        ..Lineages::default()
    };
    let owners = Owners::resolve(&lineages, node.root);
    let mut unresolved = gaps_of_kill(kill, &owners);
    let limit_shmem_bytes = take(shmem(limit_cgroups, &owners, node), LIMIT_SHMEM, &mut unresolved);
    let control = decision.and_then(|decision| decision.control);
    let traits = control.map(|control| node.gfp.traits(control.gfp));
    // The nodes that a cpuset or a policy allows are not in the decision.
    let of_pages = control.filter(|control| !control.memcg && control.constraint == Constraint::None);
    let order = of_pages.and_then(|control| control.order);
    let request = order.zip(traits).map(|(order, traits)| Request { order, traits, nodes: None });
    let unmovable =
        take(unmovable(kill, request, node), Field::Memory(MemoryField::Unmovable), &mut unresolved);
    let walk =
        kill.holders.as_deref().map(|walk| (walk.of_limit, holders::memory(walk, node.root, limit_cgroups)));
    let (of_limit, of_node) = match walk {
        Some((true, found)) => (Some(found), None),
        Some((false, found)) => (None, Some(found)),
        None => (None, None),
    };
    let found = accounts::of_kill(kill, of_node.as_ref(), request.as_ref(), node);
    unresolved.extend(found.gaps);
    Found {
        owners,
        limit_shmem_bytes,
        memory: of_node,
        limit_holders: of_limit,
        account: found.scope,
        victim_account: found.victim,
        request,
        traits,
        unmovable,
        exit: None,
        unresolved,
    }
}

pub(super) fn no_kill(no_kill: &OomNoKill, node: &mut Node) -> Found {
    let event = &*no_kill.event;
    let lineages = Lineages {
        trigger: event.trigger_cgroups.as_ref(),
        limit: event.limit_cgroups.as_ref(),
        ..Lineages::default()
    };
    let owners = Owners::resolve(&lineages, node.root);
    let mut unresolved = gaps_of_no_kill(no_kill, &owners);
    let shmem = shmem(event.limit_cgroups.as_ref(), &owners, node);
    let limit_shmem_bytes = take(shmem, LIMIT_SHMEM, &mut unresolved);
    let found = accounts::of_no_kill(event, node);
    unresolved.extend(found.gaps);
    Found {
        account: found.scope,
        limit_shmem_bytes,
        owners,
        traits: event.gfp.map(|gfp| node.gfp.traits(gfp)),
        unresolved,
        ..Found::default()
    }
}

const LIMIT_SHMEM: Field = Field::Limit(LimitField::ShmemBytes);

/// Shared memory of the limit owner, if the kernel named it.
fn shmem(cgroups: Option<&Lineage>, owners: &Owners, node: &mut Node) -> Option<Result<u64, String>> {
    let cgroups = cgroups?;
    let limit = owners.limit().and_then(|limit| limit.nearest().ok());
    let Some(limit) = limit.filter(|_| cgroups.skipped == 0) else {
        return Some(Err("the path of the cgroup could not be read whole".to_owned()));
    };
    let cgroup_id = cgroups.levels.first()?.cgroup_id;
    // Files are found from the root of the node's cgroups.
    let path = limit.path.get(node.root.bytes_in(cgroups)..).unwrap_or_default();
    Some(node.cgroups.memory_stat(path, cgroup_id).and_then(|stat| node::shmem_bytes(&stat)))
}

/// Unmovable memory, if it may be the reason.
fn unmovable(kill: &OomKill, request: Option<Request>, node: &mut Node) -> Option<Result<Unmovable, String>> {
    if assess(kill.zones.as_deref()?, &request?).shortage != Shortage::Fragmentation {
        return None;
    }
    let meminfo = node.proc.read(ProcFile::Meminfo);
    // By now the kernel has freed the victim's locked memory, which may have been the unmovable part.
    Some(meminfo.map(|meminfo| Unmovable { unevictable_bytes: None, ..meminfo::parse(&meminfo) }))
}

fn gaps_of_kill(kill: &OomKill, owners: &Owners) -> Vec<Unresolved> {
    const ALLOCATION: Field = Field::Allocation(AllocationField::Whole);
    let mut gaps = Vec::new();
    match &kill.decision {
        None => {
            gaps.push(Unresolved::new(Field::Trigger(ProcessField::Whole), DECISION_LOST));
            gaps.push(Unresolved::new(ALLOCATION, DECISION_LOST));
            gaps.push(Unresolved::new(Field::Memory(MemoryField::Whole), DECISION_LOST));
        }
        Some(decision) => {
            if decision.control.is_none() {
                gaps.push(Unresolved::new(ALLOCATION, BLIND_TIER));
            }
            let late = if decision.stamp.hook == Hook::RawTracepoint { MARK_TOO_LATE } else { UNREADABLE };
            gaps.extend(process(
                &decision.trigger,
                decision.trigger_cgroups.as_ref(),
                owners.trigger(),
                late,
            ));
            if decision.control.is_some_and(|control| control.points_bytes == 0) {
                gaps.push(Unresolved::new(
                    Field::Allocation(AllocationField::VictimPointsBytes),
                    "the kernel weighed no process: it killed the allocating task (vm.oom_kill_allocating_task)",
                ));
            }
            if kill.holders.is_none() && decision.control.is_none_or(|control| !control.memcg) {
                let reason = if decision.control.is_none() { BLIND_TIER } else { HOLDERS_LOST };
                // The zones are the other part of memory.
                let field = if kill.zones.is_some() { MemoryField::Holders } else { MemoryField::Whole };
                gaps.push(Unresolved::new(Field::Memory(field), reason));
            }
        }
    }
    victims(kill, owners, &mut gaps);
    gaps.extend(kill.folded.as_deref().into_iter().flat_map(folded));
    gaps
}

fn gaps_of_no_kill(no_kill: &OomNoKill, owners: &Owners) -> Vec<Unresolved> {
    let event = &no_kill.event;
    let mut gaps: Vec<Unresolved> =
        process(&event.trigger, event.trigger_cgroups.as_ref(), owners.trigger(), UNREADABLE).collect();
    if event.gfp.is_none() {
        gaps.push(Unresolved::new(
            Field::Allocation(AllocationField::Whole),
            "this kernel does not keep the allocation of a waiting task",
        ));
        return gaps;
    }
    for field in [AllocationField::ScopeTotalBytes, AllocationField::VictimPointsBytes] {
        let reason = match event.why {
            NoKill::NobodyFound => "the kernel keeps it only while it weighs victims, and there were none",
            NoKill::SwitchedOff => "the kernel seeks no victim",
        };
        gaps.push(Unresolved::new(Field::Allocation(field), reason));
    }
    gaps
}

/// The victims. The report sorts them, so with several of them a gap counts processes instead of naming one.
fn victims(kill: &OomKill, owners: &Owners, gaps: &mut Vec<Unresolved>) {
    if kill.victims.is_empty() {
        let reason = if kill.complete {
            "no process was marked: the chosen one had already freed its memory"
        } else {
            "no mark of a victim was seen"
        };
        gaps.push(Unresolved::new(Field::Victims, reason));
        return;
    }
    let mut found: BTreeMap<(ProcessField, String), usize> = BTreeMap::new();
    for (place, victim) in kill.victims.iter().enumerate() {
        let owned: Option<Owned<'_>> = owners.victim(place);
        for lack in lacks(&victim.task, victim.cgroups.as_ref(), owned, MARK_TOO_LATE) {
            *found.entry(lack).or_default() += 1;
        }
    }
    if kill.unlisted > 0 {
        // The report's own list is cut far below this.
        let reason = format!("{} more, smaller processes were killed and only counted", kill.unlisted);
        gaps.push(Unresolved { field: Field::Victims, reason });
    }
    let total = kill.victims.len();
    for ((field, reason), count) in found {
        gaps.push(match total {
            1 => Unresolved { field: Field::Victim(0, field), reason },
            _ => Unresolved::new(Field::EachVictim(field), gaps::counted(count, total, &reason)),
        });
    }
}

/// Unknown fields of folded kills.
fn folded(folded: &Folded) -> Vec<Unresolved> {
    let listed =
        |missing: fn(&FoldedVictim) -> bool| folded.victims.iter().filter(|it| missing(it)).count() as u64;
    let unknown = [
        (FoldedField::ResidentBytes, folded.unread, folded.victims_total),
        (FoldedField::VictimsPid, listed(|it| it.pid.is_none()), folded.victims.len() as u64),
        (FoldedField::VictimsComm, listed(|it| it.comm.is_none()), folded.victims.len() as u64),
    ];
    let unknown = unknown.into_iter().filter(|(_, count, _)| *count > 0);
    unknown
        .map(|(field, count, total)| {
            Unresolved::new(Field::Folded(field), gaps::counted(count, total, UNREADABLE))
        })
        .collect()
}
