//! What the memory of a limit was, as far as that suggests a remedy.

use super::kind;
use super::volumes::files_in_memory;
use crate::classify::LimitFinding;
use crate::describe::oom::Oom;
use crate::describe::oom::account::{parts, weight_bytes};
use crate::phrase::{percent, process, size};
use crate::schema::AccountKind;

/// From this share of the usage on a kind is worth a sentence beside the largest.
const LARGE_PERCENT: u64 = 25;
/// From this share on the largest kind comes before the limit: if it is no heap, a larger limit is not the first thing to try.
const MOST_PERCENT: u64 = 50;
/// Kinds that are spoken of.
const ADVISED: usize = 2;

/// What follows from the kinds of memory that were in use: by the account, else by the victim's own figures.
pub(super) fn of_limit(oom: &Oom<'_>, advice: &mut Vec<String>) {
    let Some(account) = oom.scene.account.filter(|account| !account.entries.is_empty()) else {
        advice.extend(kinds_of_memory(oom));
        advice.extend(held_elsewhere(oom));
        return;
    };
    for (at, part) in parts(account).iter().enumerate().take(ADVISED) {
        let share = percent(part.bytes, account.total_bytes);
        let Some(sentence) =
            kind::of_limit(oom, account, part, at == 0).filter(|_| at == 0 || share >= LARGE_PERCENT)
        else {
            continue;
        };
        // What is not accounted for is a guess, and a guess does not come first.
        if at == 0 && share >= MOST_PERCENT && part.kind.is_some_and(|kind| kind != AccountKind::Anon) {
            advice.insert(0, sentence);
        } else {
            advice.push(sentence);
        }
    }
}

/// The kind of memory that the victim held, if it suggests a remedy.
fn kinds_of_memory(oom: &Oom<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    let Some(victim) = &oom.scene.victim else { return advice };
    let Some(rss) = victim.task.rss else { return advice };
    let (name, resident) = (process(victim.task), rss.resident_bytes());
    let share = |part: u64| part > 0 && part >= resident / 4;
    let all = size(resident);
    // Files in memory are charged to their cgroup, and mostly not mapped by any process: a small heap is then not what filled it.
    let used = oom.limit().and_then(LimitFinding::usage_bytes);
    let in_files =
        oom.scene.limit_shmem_bytes.zip(used).filter(|(shmem, used)| *shmem > 0 && *shmem >= used / 2);
    if let Some((shmem, used)) = in_files {
        advice.push(format!(
            "{} of the {} in use is shared memory and files in memory. {}",
            size(shmem),
            size(used),
            files_in_memory(oom)
        ));
    } else if share(rss.shmem_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is shared memory. {}",
            size(rss.shmem_bytes),
            files_in_memory(oom)
        ));
    } else if share(rss.anon_bytes) && used.is_none_or(|used| rss.anon_bytes >= used / 4) {
        advice.push(format!(
            "{} of the {all} of {name} is anonymous memory (heap and stacks): compare the limits that its runtime has (-Xmx, \
             GOMEMLIMIT, --max-old-space-size) with the cgroup's.",
            size(rss.anon_bytes)
        ));
    }
    let tables = victim.task.page_table_bytes.unwrap_or_default();
    if share(tables) {
        advice.push(format!(
            "Its page tables take {}: it maps far more address space than it holds; huge pages or fewer processes sharing \
             large mappings help.",
            size(tables)
        ));
    }
    advice
}

/// The killed processes held only a part of what was in use. Page tables and swap count as the OOM killer counts them.
fn held_elsewhere(oom: &Oom<'_>) -> Option<String> {
    let level = oom.limit()?.cgroups.levels.first()?;
    let usage = level.usage_bytes?;
    let swap = level.swap_usage_bytes.unwrap_or_default();
    // Of cgroup v1 the second figure includes the first.
    let used = if oom.scene.memory_cgroup_v1 { usage.max(swap) } else { usage.saturating_add(swap) };
    let mut held = 0_u64;
    for victim in oom.scene.victims() {
        held = held.saturating_add(weight_bytes(&victim.task)?);
    }
    (!oom.scene.victims().is_empty() && held < used / 2).then(|| {
        format!(
            "The killed processes held only {} of the {} in use (page tables and swap included): the rest is in other processes, \
             files in memory (tmpfs, memory-backed emptyDir), page cache or kernel memory; memory.stat of the cgroup tells.",
            size(held),
            size(used)
        )
    })
}
