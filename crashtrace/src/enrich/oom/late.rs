//! Statistics that the kernel side could not read, read just afterwards: from `memory.stat`, `/proc/meminfo` and `/proc/swaps`.

use crate::enrich::account::{Account, Swap, lru};
use crate::event::{Lineage, Lru, MemcgMemory, MemcgStats, NodeMemory};
use crate::node::{Node, ProcFile};
use crate::observe::{meminfo, memory_stat, swaps};
use crate::schema::{Field, MemoryField, Unresolved};

/// A memcg whose statistics the kernel side cannot find has them from `memory.stat`. The killed processes may have freed their memory
/// by then, so anonymous memory and page cache are those of the lists, which were read at the decision: `lists` are of all cgroups in
/// it that are known.
pub(super) fn of_memcg(
    memory: &MemcgMemory,
    lists: &[Lru],
    cgroups: &Lineage,
    node: &mut Node,
) -> (MemcgMemory, Result<(), String>) {
    let path = cgroups.path();
    // Files are found from the root of the node's cgroups.
    let path = path.get(node.root.bytes_in(cgroups)..).unwrap_or_default();
    let read = node.cgroups.memory_stat(path, memory.cgroup_id);
    let (late, result) = match read {
        Ok(stat) => (memory_stat::parse(&stat), Ok(())),
        Err(reason) => (MemcgStats::default(), Err(reason)),
    };
    (MemcgMemory { stats: with_lists(late, lists), ..*memory }, result)
}

fn with_lists(mut stats: MemcgStats, lists: &[Lru]) -> MemcgStats {
    if lists.is_empty() {
        return stats;
    }
    let all = lists.iter().fold(Lru::default(), |sum, of| Lru {
        inactive_anon_bytes: sum.inactive_anon_bytes.saturating_add(of.inactive_anon_bytes),
        active_anon_bytes: sum.active_anon_bytes.saturating_add(of.active_anon_bytes),
        inactive_file_bytes: sum.inactive_file_bytes.saturating_add(of.inactive_file_bytes),
        active_file_bytes: sum.active_file_bytes.saturating_add(of.active_file_bytes),
        unevictable_bytes: sum.unevictable_bytes.saturating_add(of.unevictable_bytes),
    });
    let shmem = stats.shmem_bytes.unwrap_or(0);
    // What cannot be reclaimed is locked memory of processes, above all.
    let split = lru::split(&all, u64::MAX, shmem);
    let larger = |stat: Option<u64>, listed: u64| Some(stat.unwrap_or(0).max(listed));
    stats.anon_bytes = larger(stats.anon_bytes, split.anon_bytes);
    let not_cache = shmem.saturating_add(stats.swap_cache_bytes.unwrap_or(0));
    stats.file_bytes = larger(stats.file_bytes, split.file_bytes.saturating_add(not_cache));
    stats
}

/// Figures of the node that do not change with the victim's end, where the kernel side has none. True if there are any.
pub(super) fn fill_node(memory: &mut NodeMemory, node: &mut Node) -> bool {
    let stats = &memory.stats;
    let lacks = memory.huge_pages.is_none()
        || stats.percpu_bytes.is_none()
        || stats.vmalloc_bytes.is_none()
        || stats.swap_total_bytes.is_none();
    let Some(text) = lacks.then(|| node.proc.read(ProcFile::Meminfo).ok()).flatten() else { return false };
    meminfo::fill(memory, &text)
}

/// The kinds of swap, if the node has any.
pub(super) fn swap_devices(account: &mut Account, node: &mut Node) -> Option<Unresolved> {
    let swap: &mut Swap =
        account.swap.as_mut().filter(|swap| swap.total_bytes.is_some_and(|total| total > 0))?;
    match node.proc.read(ProcFile::Swaps) {
        Ok(text) => swap.devices = Some(swaps::parse(&text)),
        Err(reason) => {
            return Some(Unresolved { field: Field::Memory(MemoryField::AccountSwapDevices), reason });
        }
    }
    None
}
