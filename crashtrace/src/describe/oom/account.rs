//! The account of the scope's memory in sentences: its parts, the largest first.

use super::{Oom, free};
use crate::classify::oom::{Actor, OomCause};
use crate::describe::owner;
use crate::enrich::{Account, Detail, Held, Party};
use crate::event::Task;
use crate::phrase::{percent, process, size};
use crate::schema::AccountKind;

#[cfg(test)]
mod tests;

/// From this share on a part is worth a sentence beside the largest one.
const LARGE_PERCENT: u64 = 25;
/// From this share on the largest part is in the summary.
const SUMMARY_PERCENT: u64 = 20;
/// Parts that the evidence names.
const NAMED: usize = 4;
/// Parts that the remedy speaks of.
const ADVISED: usize = 2;

/// An entry of the account, or what no entry explains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// `None` for the unaccounted rest.
    pub(super) kind: Option<AccountKind>,
    pub(super) bytes: u64,
    pub(super) holder: Option<&'a Party>,
    pub(super) detail: Option<Detail>,
}

/// All parts, the largest first.
pub(super) fn parts(account: &Account) -> Vec<Part<'_>> {
    let entries = account.entries.iter().map(|entry| Part {
        kind: Some(entry.kind),
        bytes: entry.bytes,
        holder: entry.holder.as_ref(),
        detail: entry.detail,
    });
    let rest = Part { kind: None, bytes: account.unaccounted_bytes, holder: None, detail: None };
    let mut parts: Vec<_> = entries.chain([rest]).filter(|part| part.bytes > 0).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    parts
}

impl Part<'_> {
    /// Free memory, which nothing holds.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.kind, Some(AccountKind::Free | AccountKind::FreeIneligible))
    }

    pub(super) fn is_of(&self, party: &Party) -> bool {
        self.holder.is_some_and(|holder| holder.path == party.path)
    }
}

/// The largest part that something holds.
pub(super) fn largest(account: &Account) -> Option<Part<'_>> {
    parts(account).into_iter().find(|part| !part.is_free())
}

/// The parts that the remedy speaks of: the largest, and another large one. Free memory is one of them only if much of it is out of
/// the allocation's reach.
pub(super) fn of_weight<'a>(oom: &Oom<'a>, account: &'a Account) -> Vec<Part<'a>> {
    let free = free::of(oom);
    let counts = |part: &Part<'_>| match part.kind {
        Some(AccountKind::Free) => free.as_ref().is_some_and(free::Free::much_kept),
        Some(AccountKind::FreeIneligible) => free.as_ref().is_none_or(free::Free::much_ineligible),
        _ => true,
    };
    let mut parts: Vec<_> = parts(account).into_iter().filter(counts).collect();
    // What nothing holds and nothing may use comes first: without it there was no shortage.
    parts.sort_by_key(|part| !(part.is_free() && percent(part.bytes, account.total_bytes) >= LARGE_PERCENT));
    let large = |(at, part): &(usize, Part<'_>)| {
        *at == 0 || percent(part.bytes, account.total_bytes) >= LARGE_PERCENT
    };
    parts.into_iter().enumerate().filter(large).take(ADVISED).map(|(_, part)| part).collect()
}

/// The cgroup of a part as the walk saw it.
pub(super) fn held<'a>(oom: &Oom<'a>, part: &Part<'_>) -> Option<&'a Held> {
    oom.scene.memory?.holders.iter().find(|held| part.is_of(&held.party))
}

/// The largest part, for the summary: `280 MiB (60 %) are in pools of huge pages`.
pub(super) fn summary(oom: &Oom<'_>) -> Option<String> {
    let account = oom.scene.account?;
    let part = largest(account)?;
    (percent(part.bytes, account.total_bytes) >= SUMMARY_PERCENT).then(|| words(oom, account, &part))
}

/// Where the memory was.
pub(super) fn evidence(oom: &Oom<'_>) -> Option<String> {
    let account = oom.scene.account?;
    // A part below one percent says nothing, and which of these is the largest differs between two reads of the same moment.
    let counts = |part: &&Part<'_>| percent(part.bytes, account.total_bytes) > 0;
    let all = parts(account);
    let (first, others) = all.split_first()?;
    let others = others.iter().take(NAMED - 1).filter(counts);
    let parts: Vec<_> = std::iter::once(first).chain(others).map(|part| words(oom, account, part)).collect();
    let of = if oom.cause() == OomCause::Node { "that the node manages" } else { "in use" };
    let late = if account.late { ", by figures of which some were read afterwards" } else { "" };
    Some(format!("of the {} {of}, {}{late}", size(account.total_bytes), parts.join("; ")))
}

/// `280 MiB (60 %) are in pools of huge pages`
pub(super) fn words(oom: &Oom<'_>, account: &Account, part: &Part<'_>) -> String {
    format!("{} ({} %) {}", size(part.bytes), percent(part.bytes, account.total_bytes), is(oom, part))
}

fn is(oom: &Oom<'_>, part: &Part<'_>) -> String {
    use AccountKind as Kind;
    let Some(kind) = part.kind else { return "are in none of the kernel's own counts".to_owned() };
    // What is charged to no cgroup, if the account is the node's.
    let uncharged = if oom.cause() == OomCause::Node { " of no cgroup" } else { "" };
    let kernel = |what: &str| format!("are {what}{uncharged}");
    match kind {
        Kind::Free => "were free".to_owned(),
        Kind::FreeIneligible => "were free in zones that the allocation may not use".to_owned(),
        Kind::Pod | Kind::Service | Kind::Container | Kind::Cgroup => {
            match held(oom, part).map(|held| &held.party).or(part.holder) {
                Some(party) => format!("are held by {}", owner(party)),
                // The walk over them is missing.
                None => "are charged to cgroups".to_owned(),
            }
        }
        Kind::SmallCgroups => match part.holder {
            Some(party) => format!("are in small cgroups of {}", owner(party)),
            None => "are in small cgroups".to_owned(),
        },
        Kind::RemovedCgroups => match part.holder {
            Some(party) => format!("are still charged to {}, which is gone", owner(party)),
            None => "are still charged to cgroups that are gone".to_owned(),
        },
        Kind::RootProcesses => {
            let named: Vec<_> =
                in_root(oom).into_iter().map(|(name, bytes)| format!("{name} {}", size(bytes))).collect();
            let named =
                if named.is_empty() { String::new() } else { format!(", of which {}", named.join(" and ")) };
            format!("are of processes in the root cgroup{named}")
        }
        Kind::RootShmem => "are shared memory and files in memory (tmpfs) of the root cgroup".to_owned(),
        Kind::RootFiles => "are page cache of the root cgroup".to_owned(),
        Kind::Anon => "are anonymous memory (heap and stacks)".to_owned(),
        Kind::File => "are page cache".to_owned(),
        Kind::Shmem => "are shared memory and files in memory (tmpfs)".to_owned(),
        Kind::SwapCache => "are swap cache".to_owned(),
        Kind::HugePages => "are in pools of huge pages".to_owned(),
        Kind::SlabUnreclaimable => kernel("unreclaimable slab"),
        Kind::SlabReclaimable => kernel("reclaimable slab (dentries, inodes)"),
        Kind::PageTables => kernel("page tables"),
        Kind::KernelStacks => kernel("kernel stacks"),
        Kind::Percpu => kernel("per-CPU memory of the kernel"),
        Kind::Vmalloc => kernel("vmalloc memory (BPF maps among it)"),
        Kind::Sockets => kernel("buffers of sockets"),
        Kind::Zsmalloc => "are compressed swap in memory (zram, zswap)".to_owned(),
        Kind::Zswap => "are compressed swap in memory (zswap)".to_owned(),
        Kind::Balloon => "were taken back by the host of this virtual machine (balloon)".to_owned(),
        Kind::Iommu => "are page tables of IOMMUs".to_owned(),
        Kind::Gpu => "are of graphics drivers".to_owned(),
        Kind::Unaccepted => "were not accepted yet by this confidential guest".to_owned(),
        Kind::OtherKernel => "are other kernel memory (pipe buffers and the like)".to_owned(),
    }
}

/// Trigger and victim, where they are in the root cgroup and so below no limit, with their memory, swap and page tables.
pub(super) fn in_root(oom: &Oom<'_>) -> Vec<(String, u64)> {
    let scene = &oom.scene;
    let mut named: Vec<(String, u64)> = Vec::new();
    for actor in [&scene.trigger, &scene.victim].into_iter().flatten() {
        let Some(bytes) = weight_bytes(actor.task).filter(|_| is_in_root(actor)) else { continue };
        let name = process(actor.task);
        if named.iter().all(|(other, _)| *other != name) {
            named.push((name, bytes));
        }
    }
    named.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    named
}

fn is_in_root(actor: &Actor<'_>) -> bool {
    actor.cgroups.is_some_and(|cgroups| {
        !cgroups.unified && cgroups.skipped == 0 && cgroups.levels.first().is_some_and(|level| level.root)
    })
}

/// Memory of a process as the OOM killer weighs it (`oom_badness`): resident, swapped, and page tables.
pub(super) fn weight_bytes(task: &Task) -> Option<u64> {
    let rss = task.rss?;
    let tables = task.page_table_bytes.unwrap_or_default();
    Some(rss.resident_bytes().saturating_add(rss.swap_bytes).saturating_add(tables))
}
