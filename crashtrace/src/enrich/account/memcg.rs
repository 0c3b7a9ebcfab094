//! The account of a memcg: of the limit owner, and of the victim's own memcg.
//!
//! The total is what is charged to it and to its descendants. The statistics are those of `memory.stat`, and some of them overlap
//! (`mm/memcontrol.c`, `mm/swap_state.c`, 5.10 to 7.3):
//!
//! - `NR_FILE_PAGES` has shared memory and the swap cache too.
//! - A page in the swap cache that is mapped is in `NR_ANON_MAPPED` as well, so the swap cache has only what the other entries leave.
//! - `MEMCG_KMEM` has all kernel memory but sockets' buffers, zswap's too.
//! - Sockets' buffers are charged to v2's usage; v1 has a counter of its own for them.

use super::{Account, Detail, Entry, Swap, Untold, sum};
use crate::event::{MemcgMemory, MemcgStats};
use crate::schema::AccountKind;

/// What a memcg's account is made of.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub memory: &'a MemcgMemory,
    /// All that is charged to it.
    pub usage_bytes: u64,
    /// Its swap in use.
    pub swap_bytes: Option<u64>,
    /// The memory controller is on cgroup v1.
    pub v1: bool,
}

/// The account of a memcg.
#[must_use]
pub fn memcg(scope: &Scope<'_>) -> Account {
    let Scope { memory, usage_bytes, swap_bytes, v1 } = *scope;
    let stats = &memory.stats;
    let mut entries = Vec::new();
    let mut untold = Vec::new();
    let mut add = |kind: AccountKind, bytes: Option<u64>| match bytes {
        Some(bytes) => entries.push(Entry::of(kind, bytes)),
        None => untold.push((kind, Untold::NotCounted)),
    };
    add(AccountKind::Anon, stats.anon_bytes);
    add(AccountKind::Shmem, stats.shmem_bytes);
    let not_file = sum(&[stats.shmem_bytes, stats.swap_cache_bytes]).unwrap_or(0);
    let file = stats.file_bytes.map(|bytes| bytes.saturating_sub(not_file));
    add(AccountKind::File, file);
    add(AccountKind::SlabUnreclaimable, stats.slab_unreclaimable_bytes);
    add(AccountKind::SlabReclaimable, stats.slab_reclaimable_bytes);
    add(AccountKind::PageTables, sum(&[stats.page_table_bytes, stats.secondary_page_table_bytes]));
    add(AccountKind::KernelStacks, stats.kernel_stack_bytes);
    add(AccountKind::Percpu, stats.percpu_bytes);
    add(AccountKind::Vmalloc, stats.vmalloc_bytes);
    if !v1 {
        add(AccountKind::Sockets, stats.sock_bytes);
    }
    // A kernel without these has no such memory, or does not charge it.
    for (kind, bytes) in [(AccountKind::Zswap, stats.zswap_bytes), (AccountKind::HugePages, stats.huge_bytes)]
    {
        entries.extend(bytes.map(|bytes| Entry::of(kind, bytes)));
    }
    let kernel = stats.kernel_bytes.or(memory.kmem_bytes.filter(|_| v1));
    match kernel {
        Some(kernel) => {
            let other = kernel.saturating_sub(told_kernel(stats));
            entries.push(Entry::of(AccountKind::OtherKernel, other));
        }
        None => untold.push((AccountKind::OtherKernel, Untold::NotCounted)),
    }
    if let Some(swap_cache) = stats.swap_cache_bytes {
        let told = entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes));
        let left = usage_bytes.saturating_sub(told);
        entries.push(Entry::of(AccountKind::SwapCache, swap_cache.min(left)));
    }
    for entry in entries.iter_mut().filter(|entry| entry.kind == AccountKind::File) {
        entry.detail = Some(file_detail(memory));
    }
    Account {
        total_bytes: usage_bytes,
        entries,
        swap: swap_bytes.map(|used| Swap { used_bytes: Some(used), ..Swap::default() }),
        removed_descendants: memory.removed_descendants,
        untold,
        ..Account::default()
    }
    .balanced()
}

/// Kernel memory of the kinds that have entries.
fn told_kernel(stats: &MemcgStats) -> u64 {
    let kinds = [
        stats.slab_unreclaimable_bytes,
        stats.slab_reclaimable_bytes,
        stats.page_table_bytes,
        stats.secondary_page_table_bytes,
        stats.kernel_stack_bytes,
        stats.percpu_bytes,
        stats.vmalloc_bytes,
        stats.zswap_bytes,
    ];
    sum(&kinds).unwrap_or(0)
}

/// The lists are of the memcg's own pages alone, so they are told only where these are all of its page cache.
fn file_detail(memory: &MemcgMemory) -> Detail {
    let stats = &memory.stats;
    let lru = memory.lru.filter(|lru| {
        let own = super::lru::total_bytes(lru);
        let pages = sum(&[stats.anon_bytes, stats.file_bytes]).unwrap_or(0);
        // Within what a few CPUs have not yet added.
        own >= pages - pages / 16
    });
    Detail::File {
        inactive_bytes: lru.map(|lru| lru.inactive_file_bytes),
        active_bytes: lru.map(|lru| lru.active_file_bytes),
        mapped_bytes: stats.file_mapped_bytes,
        dirty_bytes: stats.file_dirty_bytes,
        writeback_bytes: stats.file_writeback_bytes,
    }
}
