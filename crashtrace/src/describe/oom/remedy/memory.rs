//! What the memory of a limit was, as far as that suggests a remedy.

use super::volumes::files_in_memory;
use crate::classify::LimitFinding;
use crate::describe::oom::Oom;
use crate::phrase::{process, size};

/// The kind of memory that the victim held, if it suggests a remedy.
pub(super) fn kinds_of_memory(oom: &Oom<'_>) -> Vec<String> {
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

/// The killed processes held only a part of the usage.
pub(super) fn held_elsewhere(oom: &Oom<'_>) -> Option<String> {
    let usage = oom.limit()?.usage_bytes()?;
    let mut held = 0_u64;
    for victim in oom.scene.victims() {
        held = held.saturating_add(victim.task.rss?.resident_bytes());
    }
    (!oom.scene.victims().is_empty() && held < usage / 2).then(|| {
        format!(
            "The killed processes held only {} of the {} in use: the rest is in other processes, files in memory (tmpfs, \
             memory-backed emptyDir), page cache or kernel memory; memory.stat of the cgroup tells.",
            size(held),
            size(usage)
        )
    })
}
