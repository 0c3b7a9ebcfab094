//! The account of a node.

use super::*;
use crate::cgroup::NodeRoot;
use crate::enrich::account::node::{self, node};
use crate::enrich::{Memory, holders};
use crate::event::{
    ChargedLru, Holder, Hook, HugePages, Level, Limit, NodeMemory, NodeStats, OomHolders, Stamp, Watermarks,
    Zone, ZoneTypes, Zones,
};
use crate::fragmentation::Request;
use crate::gfp::{Highest, Traits};

const POD: &str = "pod8b9f2a6e-1c3d-4e5f-9a7b-2c4d6e8f0a1b";
const PAGE: u64 = 4096;

fn zone(name: &str, free_mib: u64, managed_mib: u64) -> Zone {
    Zone {
        numa_node: Some(0),
        name: Some(name.into()),
        free_pages: Some(free_mib * MIB / PAGE),
        managed_pages: Some(managed_mib * MIB / PAGE),
        watermarks: Some(Watermarks { min_pages: 512, low_pages: 640, high_pages: 768 }),
        lowmem_reserve_pages: Some(vec![0, 0, 256, 256]),
        highatomic_pages: 256,
        ..Zone::default()
    }
}

fn zones(list: Vec<Zone>) -> Zones {
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    Zones { list, types, ..Zones::default() }
}

/// For the kernel itself: not from the zone of movable memory.
fn unmovable() -> Request {
    Request { order: 0, traits: Traits { highest: Highest::Normal, ..Traits::default() }, nodes: None }
}

fn lru(anon: u64, file: u64, unevictable: u64) -> Lru {
    Lru {
        inactive_anon_bytes: anon * MIB,
        active_anon_bytes: 0,
        inactive_file_bytes: 0,
        active_file_bytes: file * MIB,
        unevictable_bytes: unevictable * MIB,
    }
}

/// A node of 1000 MiB whose cgroups are charged 600.
fn memory() -> NodeMemory {
    let root = MemcgMemory {
        usage_bytes: mib(600),
        lru: Some(lru(60, 20, 5)),
        stats: MemcgStats {
            anon_bytes: mib(340),
            file_bytes: mib(245),
            shmem_bytes: mib(65),
            slab_reclaimable_bytes: mib(10),
            slab_unreclaimable_bytes: mib(10),
            kernel_stack_bytes: mib(3),
            page_table_bytes: mib(6),
            secondary_page_table_bytes: mib(0),
            percpu_bytes: mib(2),
            vmalloc_bytes: mib(5),
            kernel_bytes: mib(40),
            zswap_bytes: mib(0),
            ..MemcgStats::default()
        },
        ..MemcgMemory::default()
    };
    NodeMemory {
        stats: NodeStats {
            anon_bytes: mib(340),
            file_bytes: mib(245),
            shmem_bytes: mib(65),
            slab_reclaimable_bytes: mib(25),
            slab_unreclaimable_bytes: mib(50),
            kernel_stack_bytes: mib(8),
            page_table_bytes: mib(16),
            secondary_page_table_bytes: mib(4),
            percpu_bytes: mib(9),
            vmalloc_bytes: mib(30),
            iommu_bytes: mib(3),
            zsmalloc_bytes: mib(7),
            tcp_bytes: mib(1),
            udp_bytes: mib(1),
            swap_total_bytes: mib(100),
            swap_free_bytes: mib(40),
            ..NodeStats::default()
        },
        huge_pages: Some(vec![HugePages {
            page_bytes: 2 * MIB,
            total_bytes: 64 * MIB,
            free_bytes: 60 * MIB,
            reserved_bytes: 8 * MIB,
        }]),
        present_bytes: 1024 * MIB,
        managed_bytes: 1000 * MIB,
        incomplete: false,
        root: Some(root),
        charged_lru: Some(ChargedLru { anon_bytes: 290 * MIB, file_bytes: 210 * MIB, shmem_bytes: 55 * MIB }),
    }
}

fn held(parent: Option<usize>, name: &str, mib: u64, removed: bool) -> Holder {
    let level = Level {
        name: Some(name.into()),
        usage_bytes: Some(mib * MIB),
        limit: Some(Limit::Unlimited),
        swap_usage_bytes: Some(mib * MIB / 2),
        removed,
        ..Level::default()
    };
    Holder { parent, level }
}

fn walk(holders: Vec<Holder>) -> Memory {
    let stamp = Stamp { ktime_ns: 2, cpu: 0, seq: 1, hook: Hook::Fentry, decision_ns: Some(1) };
    let walk = OomHolders {
        stamp,
        least_bytes: 8 * MIB,
        holders,
        left_out: 0,
        small: 9,
        small_bytes: 30 * MIB,
        looked_at: 20,
        total: Some(31),
        unfinished: false,
        time_up: false,
        of_limit: false,
        removed_small: Some((2, 5 * MIB)),
    };
    holders::memory(&walk, NodeRoot::default(), None)
}

fn owners() -> Memory {
    walk(vec![
        held(None, "kubepods", 300, false),
        held(None, "system.slice", 250, false),
        held(Some(0), POD, 260, false),
        held(Some(1), "db.service", 150, false),
        held(Some(1), "gone.service", 60, true),
        held(Some(2), "inner", 250, false),
    ])
}

fn account_of(
    memory: &NodeMemory,
    zones: &Zones,
    holders: Option<&Memory>,
    request: Option<&Request>,
) -> Account {
    let account = node(&node::Scope { memory, zones, holders, request, page_size_bytes: PAGE });
    assert_balanced(&account);
    account
}

fn of(memory: &NodeMemory) -> Account {
    account_of(memory, &zones(vec![zone("Normal", 30, 1000)]), Some(&owners()), Some(&unmovable()))
}

#[test]
fn the_sum_comes_out_on_a_recent_kernel() {
    let account = of(&memory());
    let told: Vec<_> = account
        .entries
        .iter()
        .map(|entry| {
            let holder = entry.holder.as_ref().map(|party| String::from_utf8_lossy(&party.path).into_owned());
            (entry.kind, holder.unwrap_or_default(), entry.bytes / MIB)
        })
        .collect();
    let pod = format!("/kubepods/{POD}");
    let expected = [
        (AccountKind::Pod, pod.as_str(), 260),
        (AccountKind::Service, "/system.slice/db.service", 150),
        (AccountKind::HugePages, "", 64),
        (AccountKind::RemovedCgroups, "/system.slice/gone.service", 60),
        (AccountKind::RootProcesses, "", 50),
        // What kubepods and system.slice have beyond the pod and the services.
        (AccountKind::SmallCgroups, "", 45),
        (AccountKind::SmallCgroups, "/kubepods", 40),
        (AccountKind::SmallCgroups, "/system.slice", 40),
        (AccountKind::SlabUnreclaimable, "", 40),
        (AccountKind::Free, "", 30),
        (AccountKind::RootFiles, "", 25),
        // 30 less 8 of stacks, less 5 that are charged.
        (AccountKind::Vmalloc, "", 17),
        (AccountKind::SlabReclaimable, "", 15),
        // 10 and 4, less 3 of the IOMMU.
        (AccountKind::PageTables, "", 11),
        (AccountKind::RootShmem, "", 10),
        (AccountKind::Percpu, "", 7),
        (AccountKind::Zsmalloc, "", 7),
        (AccountKind::RemovedCgroups, "", 5),
        (AccountKind::KernelStacks, "", 5),
        (AccountKind::Iommu, "", 3),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(kind, of, mib)| (kind, of.to_owned(), mib)).collect();
    assert_eq!(told, expected);
    assert_eq!((account.unaccounted_bytes, account.excess_bytes), (116 * MIB, 0));
    assert_eq!((account.present_bytes, account.network_bytes), (mib(1024), mib(2)));
    assert_eq!(
        account.swap,
        Some(Swap { total_bytes: mib(100), free_bytes: mib(40), used_bytes: mib(60), devices: None })
    );
    assert!(account.untold.is_empty(), "{:?}", account.untold);
}

#[test]
fn unused_huge_pages_and_a_holders_swap_are_told() {
    let account = of(&memory());
    let detail =
        |kind| account.entries.iter().find(|entry| entry.kind == kind).and_then(|entry| entry.detail);
    let pool = Detail::Huge { page_bytes: 2 * MIB, free_bytes: 60 * MIB, reserved_bytes: 8 * MIB };
    assert_eq!(detail(AccountKind::HugePages), Some(pool));
    assert_eq!(detail(AccountKind::Pod), Some(Detail::Holder { swap_bytes: mib(130) }));
}

/// Where huge pages are charged, those in use are in the figures of cgroups.
#[test]
fn charged_huge_pages_count_once() {
    let mut memory = memory();
    memory.root.as_mut().expect("a root").stats.huge_bytes = mib(4);
    assert_eq!(of(&memory).bytes_of(AccountKind::HugePages), 60 * MIB);
    memory.root.as_mut().expect("a root").stats.huge_bytes = mib(400);
    assert_eq!(of(&memory).bytes_of(AccountKind::HugePages), 60 * MIB, "free ones are charged to nobody");
}

/// Zone Movable has free memory that the kernel may not use for itself.
#[test]
fn free_memory_is_split_by_what_the_allocation_may_use() {
    let all = zones(vec![zone("Normal", 4, 800), zone("Movable", 181, 200)]);
    let account = account_of(&memory(), &all, Some(&owners()), Some(&unmovable()));
    assert_eq!(account.bytes_of(AccountKind::Free), 4 * MIB);
    assert_eq!(account.bytes_of(AccountKind::FreeIneligible), 181 * MIB);
    assert_eq!(
        account.kept,
        Some(Kept { min_bytes: 2 * MIB, lowmem_reserve_bytes: MIB, highatomic_bytes: MIB }),
        "of the eligible zone alone"
    );
    let unknown = account_of(&memory(), &all, Some(&owners()), None);
    assert_eq!(unknown.bytes_of(AccountKind::Free), 185 * MIB);
    assert_eq!(unknown.bytes_of(AccountKind::FreeIneligible), 0);
}

#[test]
fn unaccepted_memory_is_not_free_as_well() {
    let mut memory = memory();
    memory.stats.unaccepted_bytes = mib(12);
    let account = of(&memory);
    assert_eq!(account.bytes_of(AccountKind::Free), 18 * MIB);
    assert_eq!(account.bytes_of(AccountKind::Unaccepted), 12 * MIB);
    memory.stats.unaccepted_bytes = mib(50);
    assert_eq!(of(&memory).bytes_of(AccountKind::Unaccepted), 30 * MIB, "no more than is free");
}

/// A balloon whose pages are no longer managed is not in the total.
#[test]
fn a_balloon_is_an_entry_only_within_the_total() {
    let mut memory = memory();
    memory.stats.balloon_bytes = mib(20);
    let outside = of(&memory);
    assert_eq!((outside.bytes_of(AccountKind::Balloon), outside.ballooned_bytes), (0, mib(20)));
    memory.stats.balloon_bytes = mib(90);
    let inside = of(&memory);
    assert_eq!((inside.bytes_of(AccountKind::Balloon), inside.ballooned_bytes), (90 * MIB, None));
    memory.stats.balloon_bytes = mib(0);
    assert_eq!(of(&memory).ballooned_bytes, None);
}

/// 5.10 counts page tables of zones, and not what of them is charged.
#[test]
fn a_kind_of_which_the_charged_part_is_unknown_has_no_entry() {
    let mut memory = memory();
    let root = memory.root.as_mut().expect("a root");
    root.stats.page_table_bytes = None;
    root.stats.vmalloc_bytes = None;
    memory.stats.percpu_bytes = None;
    let account = of(&memory);
    assert_eq!(account.bytes_of(AccountKind::PageTables), 0);
    assert_eq!(
        account.untold,
        [
            (AccountKind::PageTables, Untold::ChargedUnknown),
            (AccountKind::Percpu, Untold::NotCounted),
            (AccountKind::Vmalloc, Untold::ChargedUnknown),
        ]
    );
}

/// Booted with `cgroup_disable=memory`: nothing is charged, so all of a kind is in its entry.
#[test]
fn without_a_memory_controller_memory_is_told_by_kind() {
    let memory = NodeMemory { root: None, charged_lru: None, ..memory() };
    let zones = zones(vec![zone("Normal", 30, 1000)]);
    let account = node(&node::Scope {
        memory: &memory,
        zones: &zones,
        holders: None,
        request: None,
        page_size_bytes: PAGE,
    });
    assert_balanced(&account);
    for (kind, mib) in [
        (AccountKind::Anon, 340),
        (AccountKind::File, 180),
        (AccountKind::Shmem, 65),
        (AccountKind::SlabUnreclaimable, 50),
        (AccountKind::PageTables, 17),
        (AccountKind::Vmalloc, 22),
        (AccountKind::Zsmalloc, 7),
    ] {
        assert_eq!(account.bytes_of(kind), mib * MIB, "{kind}: {account:?}");
    }
    assert!(account.untold.is_empty(), "{:?}", account.untold);
}

/// Without the root memcg only what cannot overlap has an entry.
#[test]
fn without_the_root_memcg_holders_are_left() {
    let account = of(&NodeMemory { root: None, charged_lru: None, ..memory() });
    assert_eq!(account.bytes_of(AccountKind::Pod), 260 * MIB);
    assert_eq!(account.bytes_of(AccountKind::HugePages), 64 * MIB);
    for kind in [AccountKind::SlabUnreclaimable, AccountKind::RootProcesses, AccountKind::Zsmalloc] {
        assert_eq!(account.bytes_of(kind), 0, "{kind}");
        assert!(account.untold.iter().any(|(untold, _)| *untold == kind), "{kind}");
    }
    assert!(account.untold.contains(&(AccountKind::SmallCgroups, Untold::NotCounted)));
}

#[test]
fn without_a_walk_all_cgroups_are_one_entry() {
    let account = account_of(&memory(), &zones(Vec::new()), None, None);
    assert_eq!(kinds(&account)[0], (AccountKind::Cgroup, 600));
    assert_eq!(account.entries[0].holder, None);
}

/// What a walk that ended early has not told apart is not called small.
#[test]
fn of_an_incomplete_walk_no_rest_is_small() {
    let cut = Memory { incomplete: true, ..owners() };
    assert!(!cut.rests.is_empty());
    let account = account_of(&memory(), &zones(Vec::new()), Some(&cut), None);
    assert_eq!(account.bytes_of(AccountKind::SmallCgroups), 0);
    let apart = account.entries.iter().filter(|entry| entry.kind == AccountKind::Cgroup);
    let apart: Vec<_> = apart.map(|entry| (entry.holder.is_none(), entry.bytes / MIB)).collect();
    // What kubepods and system.slice have beyond their large ones, with all the rest.
    assert_eq!(apart, [(true, 45 + 40 + 40)]);
}

/// Statistics are summed with a delay: more may be charged by them than there is.
#[test]
fn stale_statistics_make_nothing_negative() {
    let mut memory = memory();
    memory.root.as_mut().expect("a root").stats.slab_unreclaimable_bytes = mib(90);
    memory.charged_lru =
        Some(ChargedLru { anon_bytes: 999 * MIB, file_bytes: 999 * MIB, shmem_bytes: 999 * MIB });
    let account = of(&memory);
    assert_eq!(account.bytes_of(AccountKind::SlabUnreclaimable), 0);
    // The lists are exact all the same.
    assert_eq!(account.bytes_of(AccountKind::RootProcesses), 60 * MIB);
    assert_eq!(account.bytes_of(AccountKind::RootFiles), 25 * MIB);
}

/// A pod has just been charged 300 MiB of page tables, which the root's statistics do not have yet.
#[test]
fn what_was_charged_a_moment_ago_is_not_told_as_of_no_cgroup() {
    let mut memory = memory();
    memory.stats.page_table_bytes = mib(316);
    memory.managed_bytes += 300 * MIB;
    memory.root.as_mut().expect("a root").usage_bytes = mib(900);
    let account = of(&memory);
    // What is unaccounted otherwise hides a part of it.
    assert!(account.bytes_of(AccountKind::PageTables) < 200 * MIB, "{account:?}");
    assert!(account.excess_bytes <= account.total_bytes / 64, "{account:?}");
}

/// A walk that took a while saw more than the root had been charged.
#[test]
fn holders_may_come_to_more_than_is_charged() {
    let mut memory = memory();
    memory.root.as_mut().expect("a root").usage_bytes = mib(500);
    let account = of(&memory);
    let without_holder = account.entries.iter().filter(|entry| entry.holder.is_none());
    assert_eq!(without_holder.filter(|entry| entry.kind == AccountKind::SmallCgroups).count(), 0);
}

prop_compose! {
    fn any_node()(
        figures in prop::collection::vec(figure(), 26),
        root in prop::option::of(any_memcg()),
        charged in prop::option::of(prop::array::uniform3(0..1_u64 << 40)),
        managed in 0..1_u64 << 42,
        present in 0..1_u64 << 42,
        huge in prop::option::of(prop::collection::vec(prop::array::uniform3(0..1_u64 << 40), 0..4)),
    ) -> NodeMemory {
        NodeMemory {
            stats: NodeStats {
                anon_bytes: figures[0],
                file_bytes: figures[1],
                shmem_bytes: figures[2],
                swap_cache_bytes: figures[3],
                file_mapped_bytes: figures[4],
                file_dirty_bytes: figures[5],
                file_writeback_bytes: figures[6],
                slab_reclaimable_bytes: figures[7],
                slab_unreclaimable_bytes: figures[8],
                kernel_stack_bytes: figures[9],
                page_table_bytes: figures[10],
                secondary_page_table_bytes: figures[11],
                unevictable_bytes: figures[12],
                vmalloc_bytes: figures[13],
                huge_bytes: figures[14],
                balloon_bytes: figures[15],
                iommu_bytes: figures[16],
                gpu_active_bytes: figures[17],
                gpu_reclaim_bytes: figures[18],
                zsmalloc_bytes: figures[19],
                unaccepted_bytes: figures[20],
                percpu_bytes: figures[21],
                tcp_bytes: figures[22],
                udp_bytes: figures[23],
                swap_total_bytes: figures[24],
                swap_free_bytes: figures[25],
            },
            huge_pages: huge.map(|sizes| {
                let size = |[total, free, reserved]: [u64; 3]| HugePages {
                    page_bytes: 2 * MIB,
                    total_bytes: total,
                    free_bytes: free,
                    reserved_bytes: reserved,
                };
                sizes.into_iter().map(size).collect()
            }),
            present_bytes: present,
            managed_bytes: managed,
            incomplete: false,
            root,
            charged_lru: charged.map(|[anon_bytes, file_bytes, shmem_bytes]| ChargedLru {
                anon_bytes,
                file_bytes,
                shmem_bytes,
            }),
        }
    }
}

proptest! {
    #[test]
    fn the_account_of_any_node_comes_out(
        memory in any_node(),
        free in prop::collection::vec(prop::option::of(0..1_u64 << 30), 0..4),
        walked: bool,
        asked: bool,
    ) {
        let names = ["DMA", "DMA32", "Normal", "Movable"];
        let list = free.into_iter().zip(names).map(|(free, name)| Zone { free_pages: free, ..zone(name, 0, 1) });
        let (owners, request) = (owners(), unmovable());
        let account = node(&node::Scope {
            memory: &memory,
            zones: &zones(list.collect()),
            holders: walked.then_some(&owners),
            request: asked.then_some(&request),
            page_size_bytes: PAGE,
        });
        assert_balanced(&account);
    }

    /// What all cgroups are charged is in the account once, however it is divided among them.
    #[test]
    fn cgroups_come_to_what_the_root_is_charged(charged in 550..5000_u64) {
        let mut memory = memory();
        memory.root.as_mut().expect("a root").usage_bytes = mib(charged);
        let account = of(&memory);
        let of_cgroups = [
            AccountKind::Pod,
            AccountKind::Service,
            AccountKind::Container,
            AccountKind::Cgroup,
            AccountKind::SmallCgroups,
            AccountKind::RemovedCgroups,
        ];
        let sum: u64 = of_cgroups.into_iter().map(|kind| account.bytes_of(kind)).sum();
        prop_assert_eq!(sum, charged * MIB);
    }
}
