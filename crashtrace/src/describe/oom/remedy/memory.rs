//! What the memory of a limit was, as far as that suggests a remedy.

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
    if share(rss.shmem_bytes) {
        advice.push(format!(
            "{} of the {all} of {name} is shared memory: look at /dev/shm and memory-backed emptyDir volumes (medium: Memory), \
             whose files count against the limit until they are deleted.",
            size(rss.shmem_bytes)
        ));
    } else if share(rss.anon_bytes) {
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
