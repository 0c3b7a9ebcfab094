//! The pages on the lists of one cgroup, told apart by what they are.
//!
//! Lists are exact, and a page is on one list. What is on the lists for anonymous memory is anonymous or shared memory, and the list of
//! unevictable pages may have any. Statistics of a cgroup are summed with a delay, so they only say how to divide the lists.

use crate::event::Lru;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
pub(in crate::enrich) struct Split {
    pub(in crate::enrich) anon_bytes: u64,
    pub(in crate::enrich) shmem_bytes: u64,
    pub(in crate::enrich) file_bytes: u64,
}

/// Divides the lists; `anon_bytes` and `shmem_bytes` are by the statistics.
pub(in crate::enrich) fn split(lru: &Lru, anon_bytes: u64, shmem_bytes: u64) -> Split {
    let anon_lists = lru.inactive_anon_bytes.saturating_add(lru.active_anon_bytes);
    let file_lists = lru.inactive_file_bytes.saturating_add(lru.active_file_bytes);
    let shmem = shmem_bytes.min(anon_lists.saturating_add(lru.unevictable_bytes));
    let shmem_locked = shmem.saturating_sub(anon_lists);
    let anon_listed = anon_lists.saturating_sub(shmem);
    let unevictable = lru.unevictable_bytes.saturating_sub(shmem_locked);
    let anon_locked = anon_bytes.saturating_sub(anon_listed).min(unevictable);
    Split {
        anon_bytes: anon_listed.saturating_add(anon_locked),
        shmem_bytes: shmem,
        file_bytes: file_lists.saturating_add(unevictable.saturating_sub(anon_locked)),
    }
}

/// All pages on the lists.
pub(in crate::enrich) fn total_bytes(lru: &Lru) -> u64 {
    let Lru {
        inactive_anon_bytes,
        active_anon_bytes,
        inactive_file_bytes,
        active_file_bytes,
        unevictable_bytes,
    } = *lru;
    let lists =
        [inactive_anon_bytes, active_anon_bytes, inactive_file_bytes, active_file_bytes, unevictable_bytes];
    lists.into_iter().fold(0, u64::saturating_add)
}
