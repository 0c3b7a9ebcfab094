//! The memory of a node and of a memcg, as it lies in memory.

use std::mem::offset_of;

use abi::{
    HugePages as RawHuge, MemcgMemory, NodeMemory, RemovedCgroups, memcg_stat, node_memory_flag, node_stat,
};

use super::layout::Raw;
use super::*;
use crate::event::memory::{HugePages, LimitMemory, Lru};

/// Puts a section of one record's tail, and gives the offset of its body.
fn section_of(raw: &mut Raw, at: usize, kind: u16, size: usize) -> usize {
    let length = (size_of::<Section>() + size) as u32;
    raw.body(at + offset_of!(Section, kind), &kind.to_le_bytes());
    raw.body(at + offset_of!(Section, length), &length.to_le_bytes());
    at + size_of::<Section>()
}

/// A memcg whose fields all differ, from `base` on.
fn put_memcg(raw: &mut Raw, at: usize, base: u64) {
    for (field, value) in [
        (offset_of!(MemcgMemory, cgroup_id), base),
        (offset_of!(MemcgMemory, usage_pages), base + 1),
        (offset_of!(MemcgMemory, kmem_pages), base + 2),
        (offset_of!(MemcgMemory, tcpmem_pages), base + 3),
    ] {
        raw.body(at + field, &value.to_le_bytes());
    }
    for list in 0..abi::LRU_LISTS {
        let value = base + 10 + list as u64;
        raw.body(at + offset_of!(MemcgMemory, lru_pages) + 8 * list, &value.to_le_bytes());
    }
    for stat in 0..memcg_stat::COUNT {
        let value = base + 20 + stat as u64;
        raw.body(at + offset_of!(MemcgMemory, stats) + 8 * stat, &value.to_le_bytes());
    }
    let missing = 1_u64 << memcg_stat::ZSWAP;
    raw.body(at + offset_of!(MemcgMemory, missing_stats), &missing.to_le_bytes());
    raw.body(at + offset_of!(MemcgMemory, missing), &abi::memcg_memory_missing::KMEM.to_le_bytes());
    raw.body(at + offset_of!(MemcgMemory, dying), &7_u32.to_le_bytes());
}

fn assert_memcg(memory: &crate::event::MemcgMemory, base: u64) {
    assert_eq!(memory.cgroup_id, Some(base));
    assert_eq!(memory.usage_bytes, Some((base + 1) * PAGE));
    assert_eq!(memory.kmem_bytes, None);
    assert_eq!(memory.tcpmem_bytes, Some((base + 3) * PAGE));
    let list = |index: u64| (base + 10 + index) * PAGE;
    let lru = Lru {
        inactive_anon_bytes: list(0),
        active_anon_bytes: list(1),
        inactive_file_bytes: list(2),
        active_file_bytes: list(3),
        unevictable_bytes: list(4),
    };
    assert_eq!(memory.lru, Some(lru));
    let stat = |index: usize, unit: u64| Some((base + 20 + index as u64) * unit);
    let stats = &memory.stats;
    assert_eq!(stats.anon_bytes, stat(memcg_stat::ANON, PAGE));
    assert_eq!(stats.swap_cache_bytes, stat(memcg_stat::SWAPCACHE, PAGE));
    assert_eq!(stats.slab_unreclaimable_bytes, stat(memcg_stat::SLAB_UNRECLAIMABLE, 1));
    assert_eq!(stats.kernel_stack_bytes, stat(memcg_stat::KERNEL_STACK, 1024));
    assert_eq!(stats.percpu_bytes, stat(memcg_stat::PERCPU, 1));
    assert_eq!(stats.kernel_bytes, stat(memcg_stat::KERNEL, PAGE));
    assert_eq!(stats.huge_bytes, stat(memcg_stat::HUGETLB, PAGE));
    assert_eq!(stats.zswap_bytes, None);
    assert_eq!(memory.removed_descendants, Some(7));
}

#[test]
fn the_memory_of_a_node_is_read_as_it_lies_in_memory() {
    let mut raw = Raw::new(size_of::<Section>() + size_of::<NodeMemory>(), abi::kind::OOM_ZONES);
    let at = section_of(&mut raw, 0, section::NODE_MEMORY, size_of::<NodeMemory>());
    for stat in 0..node_stat::COUNT {
        let value = 1000 + stat as u64;
        raw.body(at + offset_of!(NodeMemory, stats) + 8 * stat, &value.to_le_bytes());
    }
    let missing = 1_u64 << node_stat::BALLOON;
    raw.body(at + offset_of!(NodeMemory, missing_stats), &missing.to_le_bytes());
    let huge = at + offset_of!(NodeMemory, huge) + size_of::<RawHuge>();
    raw.body(huge + offset_of!(RawHuge, order), &9_u32.to_le_bytes());
    raw.body(huge + offset_of!(RawHuge, there), &1_u32.to_le_bytes());
    raw.body(huge + offset_of!(RawHuge, total), &5_u64.to_le_bytes());
    raw.body(huge + offset_of!(RawHuge, free), &4_u64.to_le_bytes());
    raw.body(huge + offset_of!(RawHuge, reserved), &3_u64.to_le_bytes());
    raw.body(at + offset_of!(NodeMemory, present_pages), &2001_u64.to_le_bytes());
    raw.body(at + offset_of!(NodeMemory, managed_pages), &2002_u64.to_le_bytes());
    let flags = node_memory_flag::HUGE | node_memory_flag::ROOT | node_memory_flag::CHILDREN;
    raw.body(at + offset_of!(NodeMemory, flags), &flags.to_le_bytes());
    for child in 0..3 {
        let value = 2010 + child as u64;
        raw.body(at + offset_of!(NodeMemory, children) + 8 * child, &value.to_le_bytes());
    }
    put_memcg(&mut raw, at + offset_of!(NodeMemory, root), 3000);
    let Event::OomZones(_, _, Some(node)) = raw.decoded() else { panic!("no memory") };
    let stat = |index: usize, unit: u64| Some((1000 + index as u64) * unit);
    let stats = &node.stats;
    assert_eq!(stats.anon_bytes, stat(node_stat::ANON, PAGE));
    assert_eq!(stats.slab_reclaimable_bytes, stat(node_stat::SLAB_RECLAIMABLE, PAGE));
    assert_eq!(stats.kernel_stack_bytes, stat(node_stat::KERNEL_STACK, 1024));
    assert_eq!(stats.zsmalloc_bytes, stat(node_stat::ZSMALLOC, PAGE));
    assert_eq!(stats.swap_free_bytes, stat(node_stat::SWAP_FREE, PAGE));
    assert_eq!(stats.balloon_bytes, None);
    let page_bytes = 512 * PAGE;
    let pool = HugePages {
        page_bytes,
        total_bytes: 5 * page_bytes,
        free_bytes: 4 * page_bytes,
        reserved_bytes: 3 * page_bytes,
    };
    assert_eq!(node.huge_pages.as_deref(), Some(&[pool][..]));
    assert_eq!((node.present_bytes, node.managed_bytes, node.incomplete), (2001 * PAGE, 2002 * PAGE, false));
    let charged = node.charged_lru.expect("of the children");
    assert_eq!(
        (charged.anon_bytes, charged.file_bytes, charged.shmem_bytes),
        (2010 * PAGE, 2011 * PAGE, 2012 * PAGE)
    );
    assert_memcg(&node.root.expect("a root"), 3000);
}

/// The limit owner's is first, then that of the victim's own memcg.
#[test]
fn the_memory_of_memcgs_is_read_as_it_lies_in_memory() {
    let part = size_of::<Section>() + size_of::<MemcgMemory>();
    let body = size_of::<OomDecision>();
    let mut raw = Raw::new(body + 2 * part, abi::kind::OOM_DECISION);
    raw.body(offset_of!(OomDecision, totalpages), &21_u64.to_le_bytes());
    raw.task(offset_of!(OomDecision, trigger), 1);
    raw.task(offset_of!(OomDecision, victim), 2);
    for (index, base) in [(0, 100), (1, 500)] {
        let at = section_of(&mut raw, body + index * part, section::MEMCG_MEMORY, size_of::<MemcgMemory>());
        put_memcg(&mut raw, at, base);
    }
    let Event::OomDecision(decision) = raw.decoded() else { panic!("no decision") };
    assert_memcg(&decision.limit_memory.expect("of the limit owner"), 100);
    assert_memcg(&decision.victim_memory.expect("of the victim"), 500);
}

/// With a probe on the decision they have a record of their own.
#[test]
fn the_memory_of_memcgs_at_a_mark_is_read_in_the_same_order() {
    let of = |id| Memory::Memcg(Box::new(memcg_memory(id, 1000)));
    let bytes =
        Record { memory: vec![of(7), of(8)], ..record(Body::Memory, 1, 0, hook::RAW_TRACEPOINT) }.bytes();
    let Ok(Event::OomMemory(_, memory)) = decode(&Bytes::from(bytes), &machine()) else {
        panic!("no memory")
    };
    let ids = [memory.limit, memory.victim].map(|memory| memory.and_then(|memory| memory.cgroup_id));
    assert_eq!(ids, [Some(7), Some(8)]);
    let bytes = record(Body::Memory, 1, 0, hook::RAW_TRACEPOINT).bytes();
    let Ok(Event::OomMemory(_, memory)) = decode(&Bytes::from(bytes), &machine()) else {
        panic!("no memory")
    };
    assert_eq!(memory, LimitMemory::default());
}

#[test]
fn removed_cgroups_are_read_as_they_lie_in_memory() {
    let body = size_of::<abi::OomHolders>();
    let mut raw = Raw::new(body + size_of::<Section>() + size_of::<RemovedCgroups>(), abi::kind::OOM_HOLDERS);
    let at = section_of(&mut raw, body, section::REMOVED, size_of::<RemovedCgroups>());
    raw.body(at + offset_of!(RemovedCgroups, small), &4_u64.to_le_bytes());
    raw.body(at + offset_of!(RemovedCgroups, small_pages), &5_u64.to_le_bytes());
    let Event::OomHolders(holders) = raw.decoded() else { panic!("no holders") };
    assert_eq!(holders.removed_small, Some((4, 5 * PAGE)));
}

#[test]
fn sections_of_the_tests_have_the_size_of_the_types() {
    let size = |memory| {
        let record = Record { memory: vec![memory], ..record(Body::End, 1, 0, hook::FENTRY) };
        record.bytes().len() - size_of::<Header>() - size_of::<Section>()
    };
    assert_eq!(size(Memory::Node(Box::default())), size_of::<NodeMemory>());
    assert_eq!(size(Memory::Memcg(Box::default())), size_of::<MemcgMemory>());
    assert_eq!(size(Memory::Removed(RemovedCgroups::default())), size_of::<RemovedCgroups>());
}

/// Of huge pages an order that no machine has, and a section that is longer than its body.
#[test]
fn impossible_memory_is_refused() {
    let of = |memory| decode(&Bytes::from(zones_with(memory)), &machine());
    let mut node = node_memory(1 << 20);
    node.huge[0].order = 41;
    let error = of(Memory::Node(Box::new(node))).expect_err("no such order");
    assert_eq!(error, DecodeError::Impossible { what: "order of a huge page", value: 41 });
    assert!(of(Memory::Node(Box::new(node_memory(1 << 20)))).is_ok());
}

fn zones_with(memory: Memory) -> Vec<u8> {
    Record { memory: vec![memory], ..record(Body::Zones, 1, 0, hook::FENTRY) }.bytes()
}
