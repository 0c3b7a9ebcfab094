use super::*;
use crate::schema::{Kind, MigrateType, Zone};

fn asked(order: Option<u32>, bytes: Option<u64>) -> Allocation {
    Allocation {
        order,
        bytes,
        migrate_type: order.map(|_| MigrateType::Unmovable),
        numa_nodes: Vec::new(),
        gfp: vec!["GFP_KERNEL".to_owned(), "__GFP_COMP".to_owned()],
        gfp_mask: 0x4_0cc0,
        scope_total_bytes: None,
        victim_points_bytes: None,
    }
}

/// 22.7 MiB in blocks of up to 64 KiB.
fn normal() -> Zone {
    Zone {
        numa_node: Some(0),
        zone: Some(Text::from("Normal")),
        eligible: Some(true),
        managed_bytes: Some(512 << 20),
        free_bytes: Some(5816 << 12),
        usable_bytes: Some(5816 << 12),
        min_bytes: Some(1 << 20),
        low_bytes: Some(5 << 18),
        high_bytes: Some(6 << 18),
        boost_bytes: 0,
        lowmem_reserve_bytes: Some(0),
        free_cma_bytes: 0,
        highatomic_bytes: 0,
        free_blocks: Some(vec![2900, 1210, 88, 12, 3, 0, 0, 0, 0, 0, 0]),
        room: Some(true),
        suitable_block: Some(false),
        fragmentation_index: Some(0.999),
        unusable_index: Some(1.0),
    }
}

fn shown(memory: &Memory, asked: Option<&Allocation>) -> String {
    let mut page = Page::new(false);
    picture(&mut page, memory, asked);
    page.into_string()
}

#[test]
fn the_allocation_is_told_in_the_words_of_its_kind() {
    let large = asked(Some(10), Some(4 << 20));
    for (kind, allocation, expected) in [
        (Kind::AllocFailure, large.clone(), "4 MiB (order 10), unmovable, GFP_KERNEL|__GFP_COMP"),
        (
            Kind::AllocFailure,
            Allocation { numa_nodes: vec![1], ..large.clone() },
            "4 MiB (order 10), unmovable, from NUMA node 1 only, GFP_KERNEL|__GFP_COMP",
        ),
        (
            Kind::AllocFailure,
            Allocation { numa_nodes: vec![0, 63], migrate_type: Some(MigrateType::Movable), ..large.clone() },
            "4 MiB (order 10), movable, from NUMA nodes 0, 63 only, GFP_KERNEL|__GFP_COMP",
        ),
        (Kind::AllocFailure, asked(Some(60), None), "order 60, unmovable, GFP_KERNEL|__GFP_COMP"),
        (
            Kind::VmallocFailure,
            asked(None, Some(13 << 30)),
            "13 GiB of the kernel's address space (vmalloc), GFP_KERNEL|__GFP_COMP",
        ),
        (
            Kind::VmallocFailure,
            asked(None, None),
            "of the kernel's address space, size unknown, GFP_KERNEL|__GFP_COMP",
        ),
        (Kind::OtherAllocFailure, asked(None, None), "size unknown, GFP_KERNEL|__GFP_COMP"),
        // A limit was hit: the free blocks do not matter.
        (Kind::ChargeFailure, large.clone(), "4 MiB (order 10), GFP_KERNEL|__GFP_COMP"),
        (Kind::OomKill, large, "4 MiB (order 10), GFP_KERNEL|__GFP_COMP"),
        // A kill by sysrq.
        (Kind::OomKill, Allocation { gfp: Vec::new(), ..asked(None, None) }, "none, no flags"),
    ] {
        assert_eq!(crate::sinks::text::alloc::words(kind, &allocation), expected);
    }
}

#[test]
fn the_picture_says_that_it_was_taken_late_and_what_it_leaves_out() {
    let memory = Memory { zones: vec![normal()], zones_total: 1, ..Memory::default() };
    let large = asked(Some(10), Some(4 << 20));
    let text = shown(&memory, Some(&large));
    assert!(text.starts_with("\n  Free blocks of memory:\n"), "{text}");
    assert!(text.contains("too small│large enough\n") && !text.contains("more zones"), "{text}");
    let memory = Memory { late: true, zones_total: 19, ..memory };
    let text = shown(&memory, Some(&large));
    assert!(
        text.starts_with("\n  Free blocks of memory: (read after the failure, and may have changed"),
        "{text}"
    );
    assert!(text.ends_with("\n  and 18 more zones\n"), "{text}");
    assert_eq!(shown(&Memory::default(), Some(&large)), "");
}

/// The kept memory is the watermark, the lowmem reserve, and free memory for other allocations.
#[test]
fn kept_memory_includes_what_only_other_allocations_may_use() {
    let dma = Zone {
        zone: Some(Text::from("DMA")),
        lowmem_reserve_bytes: Some(2 << 20),
        usable_bytes: Some(2816 << 12),
        room: Some(false),
        free_blocks: Some(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]),
        fragmentation_index: Some(-1.0),
        ..normal()
    };
    let movable = Zone { zone: Some(Text::from("Movable")), eligible: Some(false), ..normal() };
    let memory = Memory { zones: vec![dma, normal(), movable], zones_total: 3, ..Memory::default() };
    let text = shown(&memory, Some(&asked(Some(10), Some(4 << 20))));
    // 1 MiB, 2 MiB, and 3000 pages.
    assert!(text.contains("\n   22.7M free, 14.7M kept"), "{text}");
    for row in ["NUMA 0 DMA         kept", "NUMA 0 Normal     0.999", "NUMA 0 Movable      n/a"] {
        assert!(text.contains(&format!("\n  {row} ")), "{row}: {text}");
    }
}

/// An allocation of a single page has no rule, but its columns have sizes.
#[test]
fn the_page_size_is_found_without_the_allocation() {
    let on = |page: u64| Zone { free_bytes: Some((5816 + 7) * page), ..normal() };
    for (page, heads) in [(4 << 10, "   4K   8K"), (16 << 10, "  16K  32K"), (64 << 10, "  64K 128K")] {
        let memory = Memory { zones: vec![on(page)], zones_total: 1, ..Memory::default() };
        let single = asked(Some(0), Some(page));
        for asked in [None, Some(asked(None, Some(13 << 30))), Some(asked(None, None)), Some(single)] {
            let text = shown(&memory, asked.as_ref());
            let head = text.lines().nth(2).unwrap_or_default();
            assert!(head.contains(heads) && !text.contains('│') && !text.contains("index"), "{text}");
        }
    }
    let empty = Zone { free_bytes: Some(0), ..normal() };
    assert!(shown(&Memory { zones: vec![empty], ..Memory::default() }, None).contains(" 2^0 "));
}

#[test]
fn unmovable_memory_is_listed() {
    let held = Unmovable {
        unevictable_bytes: Some(400 << 20),
        slab_unreclaimable_bytes: Some(30 << 20),
        slab_reclaimable_bytes: None,
        page_table_bytes: Some(3 << 20),
        kernel_stack_bytes: Some(0),
        huge_page_bytes: Some(0),
        huge_page_free_bytes: Some(0),
    };
    let memory = |unmovable| Memory { unmovable: Some(unmovable), ..Memory::default() };
    let text = shown(&memory(held), None);
    assert_eq!(
        text,
        "  unmovable 400 MiB unevictable; 30 MiB unreclaimable slab; 3 MiB page tables; 0 B kernel stacks\n"
    );
    let huge = Unmovable { huge_page_bytes: Some(64 << 20), huge_page_free_bytes: Some(2 << 20), ..held };
    assert!(shown(&memory(huge), None).ends_with("; 64 MiB huge pages (2 MiB of them unused)\n"));
}
