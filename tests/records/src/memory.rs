//! Sections about the memory of a node and of a memcg.

use crashtrace_ebpf::{
    HUGE_SIZES, HugePages, MemcgMemory, NodeMemory, RemovedCgroups, Section, memcg_stat, node_memory_flag,
    node_stat, section,
};

use super::words;

/// A section with a fixed body.
#[derive(Clone, Debug)]
pub enum Memory {
    Node(Box<NodeMemory>),
    Memcg(Box<MemcgMemory>),
    Removed(RemovedCgroups),
}

impl Memory {
    pub(super) fn bytes(&self, out: &mut Vec<u8>) {
        let mut tail = Vec::new();
        let kind = match self {
            Self::Node(body) => {
                node(body, &mut tail);
                section::NODE_MEMORY
            }
            Self::Memcg(body) => {
                memcg(body, &mut tail);
                section::MEMCG_MEMORY
            }
            Self::Removed(body) => {
                put!(tail, body, small, small_pages);
                section::REMOVED
            }
        };
        let length = (size_of::<Section>() + tail.len()) as u32;
        let section = Section { kind, length, ..Section::default() };
        put!(out, section, kind, levels, flags, skipped, length, joins, joined_at);
        out.extend_from_slice(&tail);
    }
}

fn memcg(body: &MemcgMemory, out: &mut Vec<u8>) {
    put!(out, body, cgroup_id, usage_pages, kmem_pages, tcpmem_pages);
    words(&body.lru_pages, out);
    words(&body.stats.map(i64::cast_unsigned), out);
    put!(out, body, missing_stats, missing, dying);
}

fn node(body: &NodeMemory, out: &mut Vec<u8>) {
    words(&body.stats.map(i64::cast_unsigned), out);
    put!(out, body, missing_stats);
    for size in &body.huge {
        put!(out, size, order, there, total, free, reserved);
    }
    put!(out, body, present_pages, managed_pages, flags, children_seen);
    words(&body.children.map(i64::cast_unsigned), out);
    memcg(&body.root, out);
}

/// A memcg of `pages`, a tenth of which is page cache and another slab.
pub fn memcg_memory(cgroup_id: u64, pages: u64) -> MemcgMemory {
    let tenth = pages / 10;
    let mut stats = [0; memcg_stat::COUNT];
    stats[memcg_stat::ANON] = (pages - 2 * tenth).cast_signed();
    stats[memcg_stat::FILE] = tenth.cast_signed();
    stats[memcg_stat::SLAB_UNRECLAIMABLE] = (tenth * 4096).cast_signed();
    stats[memcg_stat::KERNEL] = tenth.cast_signed();
    MemcgMemory {
        cgroup_id,
        usage_pages: pages,
        lru_pages: [pages - 2 * tenth, 0, tenth, 0, 0],
        stats,
        ..MemcgMemory::default()
    }
}

/// A node of `pages`, half of which are charged to cgroups, and a quarter of which is a pool of unused huge pages.
pub fn node_memory(pages: u64) -> NodeMemory {
    let mut stats = [0; node_stat::COUNT];
    stats[node_stat::ANON] = (pages / 2).cast_signed();
    stats[node_stat::SLAB_UNRECLAIMABLE] = (pages / 10).cast_signed();
    stats[node_stat::KERNEL_STACK] = 4096;
    stats[node_stat::SWAP_TOTAL] = pages.cast_signed();
    let mut huge = [HugePages::default(); HUGE_SIZES];
    let total = pages / 4 / 512;
    huge[0] = HugePages { order: 9, there: 1, total, free: total, reserved: 0 };
    NodeMemory {
        stats,
        huge,
        present_pages: pages + 1000,
        managed_pages: pages,
        flags: node_memory_flag::HUGE | node_memory_flag::ROOT | node_memory_flag::CHILDREN,
        children_seen: 4,
        root: MemcgMemory { lru_pages: [0; 5], ..memcg_memory(1, pages / 2) },
        ..NodeMemory::default()
    }
}
