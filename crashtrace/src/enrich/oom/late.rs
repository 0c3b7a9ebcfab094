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

/// Statistics that the kernel had not summed for a while have less memory of processes and files than the lists, which are exact. Lists of
/// more than the usage are not of this cgroup alone.
pub(super) fn brought_up(stats: &MemcgStats, lists: &[Lru], usage_bytes: u64) -> MemcgStats {
    let listed = lists.iter().map(lru::total_bytes).fold(0, u64::saturating_add);
    let summed = [stats.anon_bytes, stats.file_bytes].into_iter().flatten().fold(0, u64::saturating_add);
    let is_behind = listed.saturating_sub(summed) > BATCHES_BYTES.max(listed / 16)
        && listed <= usage_bytes.saturating_add(BATCHES_BYTES);
    if *stats != MemcgStats::default() && is_behind { with_lists(*stats, lists) } else { *stats }
}

/// What CPUs may keep back: 64 pages each (`MEMCG_CHARGE_BATCH`) of a few.
const BATCHES_BYTES: u64 = 2 << 20;

/// What the lists alone tell.
pub(super) fn of_lists(lists: &[Lru]) -> MemcgStats {
    with_lists(MemcgStats::default(), lists)
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// 7.2, a container that had grown within the two seconds in which the kernel sums nothing.
    #[test]
    fn statistics_that_are_behind_the_lists_are_brought_up() {
        let lists = |anon: u64, file: u64| {
            [Lru { inactive_anon_bytes: anon * MIB, active_file_bytes: file * MIB, ..Lru::default() }]
        };
        let stats = |anon: u64, file: u64, shmem: u64| MemcgStats {
            anon_bytes: Some(anon * MIB),
            file_bytes: Some(file * MIB),
            shmem_bytes: Some(shmem * MIB),
            ..MemcgStats::default()
        };
        let of = |stats, anon, file, usage| brought_up(&stats, &lists(anon, file), usage * MIB);
        assert_eq!(of(stats(0, 0, 0), 48, 0, 48), stats(48, 0, 0));
        assert_eq!(of(stats(5, 12, 10), 48, 9, 64), stats(38, 19, 10), "shmem is on the anon lists");
        assert_eq!(of(stats(5, 0, 0), 48, 0, 20), stats(5, 0, 0), "lists of more");
        for same in [stats(47, 0, 0), stats(60, 20, 0)] {
            assert_eq!(of(same, 48, 0, 80), same, "within what CPUs keep back, or of descendants too");
        }
        assert_eq!(of(MemcgStats::default(), 48, 0, 48), MemcgStats::default(), "not read at all");
    }
}
