//! The memory of a node and of cgroups, as the kernel side reads it.

use crashtrace::event::{
    ChargedLru, HugePages, Lineage, Lru, MemcgMemory, MemcgStats, NodeMemory, NodeStats,
};

use crate::parts::MIB;

/// The memory of the first cgroup of a lineage: so much anonymous memory and page cache, 20 MiB of files in memory, and some of the
/// kernel's.
pub(crate) fn of(cgroups: &Lineage, anon_mib: u64, cache_mib: u64) -> MemcgMemory {
    let level = &cgroups.levels[0];
    let shmem_mib = if level.usage_bytes > Some(100 * MIB) { 20 } else { 0 };
    let mib = |mib: u64| Some(mib * MIB);
    MemcgMemory {
        cgroup_id: level.cgroup_id,
        usage_bytes: level.usage_bytes,
        kmem_bytes: None,
        tcpmem_bytes: None,
        lru: Some(Lru {
            inactive_anon_bytes: (anon_mib + shmem_mib) / 3 * MIB,
            active_anon_bytes: ((anon_mib + shmem_mib) - (anon_mib + shmem_mib) / 3) * MIB,
            inactive_file_bytes: cache_mib * MIB,
            ..Lru::default()
        }),
        stats: MemcgStats {
            anon_bytes: mib(anon_mib),
            file_bytes: mib(cache_mib + shmem_mib),
            shmem_bytes: mib(shmem_mib),
            swap_cache_bytes: mib(0),
            file_mapped_bytes: mib(cache_mib / 2),
            file_dirty_bytes: mib(0),
            file_writeback_bytes: mib(0),
            slab_reclaimable_bytes: mib(1),
            slab_unreclaimable_bytes: mib(3),
            kernel_stack_bytes: mib(1),
            page_table_bytes: mib(2),
            secondary_page_table_bytes: mib(0),
            sock_bytes: Some(MIB / 2),
            percpu_bytes: Some(MIB / 4),
            vmalloc_bytes: mib(0),
            kernel_bytes: mib(9),
            zswap_bytes: mib(0),
            huge_bytes: None,
        },
        removed_descendants: Some(0),
    }
}

/// Of 8 GiB: nearly all is charged to cgroups, and 64 MiB are kept for huge pages that no process uses.
pub(crate) fn node() -> NodeMemory {
    let mib = |mib: u64| Some(mib * MIB);
    let root = MemcgMemory {
        usage_bytes: mib(7780),
        lru: Some(Lru { inactive_anon_bytes: 3 * MIB, active_file_bytes: 2 * MIB, ..Lru::default() }),
        stats: MemcgStats {
            anon_bytes: mib(7590),
            file_bytes: mib(80),
            shmem_bytes: mib(24),
            slab_reclaimable_bytes: mib(18),
            slab_unreclaimable_bytes: mib(40),
            kernel_stack_bytes: mib(5),
            page_table_bytes: mib(17),
            secondary_page_table_bytes: mib(0),
            percpu_bytes: mib(2),
            vmalloc_bytes: mib(1),
            kernel_bytes: mib(95),
            zswap_bytes: mib(0),
            ..MemcgStats::default()
        },
        ..MemcgMemory::default()
    };
    NodeMemory {
        stats: NodeStats {
            anon_bytes: mib(7590),
            file_bytes: mib(80),
            shmem_bytes: mib(24),
            slab_reclaimable_bytes: mib(24),
            slab_unreclaimable_bytes: mib(82),
            kernel_stack_bytes: mib(9),
            page_table_bytes: mib(21),
            secondary_page_table_bytes: mib(0),
            vmalloc_bytes: mib(22),
            percpu_bytes: mib(6),
            zsmalloc_bytes: mib(0),
            tcp_bytes: mib(1),
            udp_bytes: mib(0),
            swap_total_bytes: mib(0),
            swap_free_bytes: mib(0),
            ..NodeStats::default()
        },
        huge_pages: Some(vec![HugePages {
            page_bytes: 2 * MIB,
            total_bytes: 64 * MIB,
            free_bytes: 64 * MIB,
            reserved_bytes: 0,
        }]),
        present_bytes: 8192 * MIB,
        managed_bytes: 7936 * MIB,
        incomplete: false,
        root: Some(root),
        charged_lru: Some(ChargedLru { anon_bytes: 7587 * MIB, file_bytes: 78 * MIB, shmem_bytes: 24 * MIB }),
    }
}
