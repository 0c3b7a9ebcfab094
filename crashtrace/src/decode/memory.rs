//! The memory of a node and of a memcg, in a record.

use crashtrace_ebpf::{
    HUGE_SIZES, LRU_LISTS, memcg_memory_missing as missing, memcg_stat, node_memory_flag, node_stat,
};

use super::{DecodeError, Machine, Reader};
use crate::event::memory::{ChargedLru, HugePages, Lru, MemcgMemory, MemcgStats, NodeMemory, NodeStats};

const KIB: u64 = 1 << 10;

/// No machine has pages of this order.
const ORDERS: u32 = 40;

/// Statistics with the bits of the missing ones. A sum to which CPUs add later may be below zero for a moment.
fn stats<const COUNT: usize>(reader: &mut Reader) -> Result<([i64; COUNT], u64), DecodeError> {
    let mut stats = [0; COUNT];
    for stat in &mut stats {
        *stat = reader.i64()?;
    }
    Ok((stats, reader.u64()?))
}

fn known(stats: &[i64], missing: u64, index: usize, unit_bytes: u64) -> Option<u64> {
    let stat = stats.get(index).filter(|_| missing >> index & 1 == 0)?;
    Some(u64::try_from(*stat).unwrap_or(0).saturating_mul(unit_bytes))
}

/// Reads a memcg.
pub(super) fn memcg(reader: &mut Reader, machine: &Machine) -> Result<MemcgMemory, DecodeError> {
    let page = machine.page_size_bytes;
    let bytes = |pages: u64| pages.saturating_mul(page);
    let [cgroup_id, usage, kmem, tcpmem] = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
    let mut lru = [0; LRU_LISTS];
    for list in &mut lru {
        *list = bytes(reader.u64()?);
    }
    let (stats, missing_stats) = stats::<{ memcg_stat::COUNT }>(reader)?;
    let (lacks, dying) = (reader.u32()?, reader.u32()?);
    let has = |bit: u32| lacks & bit == 0;
    let get = |index, unit| known(&stats, missing_stats, index, unit);
    let [inactive_anon_bytes, active_anon_bytes, inactive_file_bytes, active_file_bytes, unevictable_bytes] =
        lru;
    let lru = Lru {
        inactive_anon_bytes,
        active_anon_bytes,
        inactive_file_bytes,
        active_file_bytes,
        unevictable_bytes,
    };
    Ok(MemcgMemory {
        cgroup_id: has(missing::ID).then_some(cgroup_id),
        usage_bytes: has(missing::USAGE).then(|| bytes(usage)),
        kmem_bytes: has(missing::KMEM).then(|| bytes(kmem)),
        tcpmem_bytes: has(missing::TCPMEM).then(|| bytes(tcpmem)),
        lru: has(missing::LRU).then_some(lru),
        stats: MemcgStats {
            anon_bytes: get(memcg_stat::ANON, page),
            file_bytes: get(memcg_stat::FILE, page),
            shmem_bytes: get(memcg_stat::SHMEM, page),
            swap_cache_bytes: get(memcg_stat::SWAPCACHE, page),
            file_mapped_bytes: get(memcg_stat::FILE_MAPPED, page),
            file_dirty_bytes: get(memcg_stat::FILE_DIRTY, page),
            file_writeback_bytes: get(memcg_stat::FILE_WRITEBACK, page),
            slab_reclaimable_bytes: get(memcg_stat::SLAB_RECLAIMABLE, 1),
            slab_unreclaimable_bytes: get(memcg_stat::SLAB_UNRECLAIMABLE, 1),
            kernel_stack_bytes: get(memcg_stat::KERNEL_STACK, KIB),
            page_table_bytes: get(memcg_stat::PAGE_TABLES, page),
            secondary_page_table_bytes: get(memcg_stat::SECONDARY_PAGE_TABLES, page),
            sock_bytes: get(memcg_stat::SOCK, page),
            percpu_bytes: get(memcg_stat::PERCPU, 1),
            vmalloc_bytes: get(memcg_stat::VMALLOC, page),
            kernel_bytes: get(memcg_stat::KERNEL, page),
            zswap_bytes: get(memcg_stat::ZSWAP, 1),
            huge_bytes: get(memcg_stat::HUGETLB, page),
        },
        removed_descendants: has(missing::DYING).then_some(dying),
    })
}

/// Reads a node.
pub(super) fn node(reader: &mut Reader, machine: &Machine) -> Result<NodeMemory, DecodeError> {
    let page = machine.page_size_bytes;
    let (stats, missing_stats) = stats::<{ node_stat::COUNT }>(reader)?;
    let get = |index, unit| known(&stats, missing_stats, index, unit);
    let mut huge_pages = Vec::new();
    for _ in 0..HUGE_SIZES {
        let (order, there) = (reader.u32()?, reader.u32()?);
        let [total, free, reserved] = [reader.u64()?, reader.u64()?, reader.u64()?];
        if there == 0 {
            continue;
        }
        if order > ORDERS {
            return Err(DecodeError::Impossible { what: "order of a huge page", value: order.into() });
        }
        let page_bytes = page.saturating_mul(1 << order);
        let bytes = |count: u64| count.saturating_mul(page_bytes);
        huge_pages.push(HugePages {
            page_bytes,
            total_bytes: bytes(total),
            free_bytes: bytes(free),
            reserved_bytes: bytes(reserved),
        });
    }
    let (present, managed) = (reader.u64()?, reader.u64()?);
    let (flags, _) = (reader.u32()?, reader.u32()?);
    let lru = |pages: i64| u64::try_from(pages).unwrap_or(0).saturating_mul(page);
    let [anon, file, shmem] = [reader.i64()?, reader.i64()?, reader.i64()?].map(lru);
    let root = memcg(reader, machine)?;
    let has = |bit: u32| flags & bit != 0;
    Ok(NodeMemory {
        stats: NodeStats {
            anon_bytes: get(node_stat::ANON, page),
            file_bytes: get(node_stat::FILE, page),
            shmem_bytes: get(node_stat::SHMEM, page),
            swap_cache_bytes: get(node_stat::SWAPCACHE, page),
            file_mapped_bytes: get(node_stat::FILE_MAPPED, page),
            file_dirty_bytes: get(node_stat::FILE_DIRTY, page),
            file_writeback_bytes: get(node_stat::FILE_WRITEBACK, page),
            slab_reclaimable_bytes: get(node_stat::SLAB_RECLAIMABLE, page),
            slab_unreclaimable_bytes: get(node_stat::SLAB_UNRECLAIMABLE, page),
            kernel_stack_bytes: get(node_stat::KERNEL_STACK, KIB),
            page_table_bytes: get(node_stat::PAGE_TABLES, page),
            secondary_page_table_bytes: get(node_stat::SECONDARY_PAGE_TABLES, page),
            unevictable_bytes: get(node_stat::UNEVICTABLE, page),
            vmalloc_bytes: get(node_stat::VMALLOC, page),
            huge_bytes: get(node_stat::HUGETLB, page),
            balloon_bytes: get(node_stat::BALLOON, page),
            iommu_bytes: get(node_stat::IOMMU, page),
            gpu_active_bytes: get(node_stat::GPU_ACTIVE, page),
            gpu_reclaim_bytes: get(node_stat::GPU_RECLAIM, page),
            zsmalloc_bytes: get(node_stat::ZSMALLOC, page),
            unaccepted_bytes: get(node_stat::UNACCEPTED, page),
            percpu_bytes: get(node_stat::PERCPU, page),
            tcp_bytes: get(node_stat::TCP, page),
            udp_bytes: get(node_stat::UDP, page),
            swap_total_bytes: get(node_stat::SWAP_TOTAL, page),
            swap_free_bytes: get(node_stat::SWAP_FREE, page),
        },
        huge_pages: has(node_memory_flag::HUGE).then_some(huge_pages),
        present_bytes: present.saturating_mul(page),
        managed_bytes: managed.saturating_mul(page),
        incomplete: has(node_memory_flag::INCOMPLETE),
        root: has(node_memory_flag::ROOT).then_some(root),
        charged_lru: has(node_memory_flag::CHILDREN).then_some(ChargedLru {
            anon_bytes: anon,
            file_bytes: file,
            shmem_bytes: shmem,
        }),
    })
}
