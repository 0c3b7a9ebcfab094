//! The account of a memcg and of a node.

use proptest::prelude::*;

use super::memcg::{self, memcg};
use super::*;
use crate::event::{Lru, MemcgMemory, MemcgStats};

mod of_node;

const MIB: u64 = 1 << 20;

fn kinds(account: &Account) -> Vec<(AccountKind, u64)> {
    account.entries.iter().map(|entry| (entry.kind, entry.bytes / MIB)).collect()
}

/// What every account must be: sums come out, the largest is first, and nothing is nothing.
fn assert_balanced(account: &Account) {
    let sum: u128 = account.entries.iter().map(|entry| u128::from(entry.bytes)).sum();
    if sum < u128::from(u64::MAX) {
        assert_eq!(
            sum + u128::from(account.unaccounted_bytes),
            u128::from(account.total_bytes) + u128::from(account.excess_bytes),
            "{account:?}"
        );
    }
    assert!(account.unaccounted_bytes == 0 || account.excess_bytes == 0);
    assert!(account.entries.iter().all(|entry| entry.bytes > 0));
    assert!(account.entries.is_sorted_by(|one, other| one.bytes >= other.bytes));
}

#[expect(clippy::unnecessary_wraps, reason = "figures are optional")]
fn mib(mib: u64) -> Option<u64> {
    Some(mib * MIB)
}

/// All statistics of a recent kernel.
fn stats() -> MemcgStats {
    MemcgStats {
        anon_bytes: mib(100),
        file_bytes: mib(70),
        shmem_bytes: mib(30),
        swap_cache_bytes: mib(10),
        file_mapped_bytes: mib(7),
        file_dirty_bytes: mib(5),
        file_writeback_bytes: mib(3),
        slab_reclaimable_bytes: mib(8),
        slab_unreclaimable_bytes: mib(9),
        kernel_stack_bytes: mib(2),
        page_table_bytes: mib(4),
        secondary_page_table_bytes: mib(1),
        sock_bytes: mib(6),
        percpu_bytes: mib(3),
        vmalloc_bytes: mib(5),
        kernel_bytes: mib(60),
        zswap_bytes: mib(11),
        huge_bytes: None,
    }
}

fn account_of(memory: &MemcgMemory, usage: u64, v1: bool) -> Account {
    let account = memcg(&memcg::Scope { memory, usage_bytes: usage * MIB, swap_bytes: mib(12), v1 });
    assert_balanced(&account);
    account
}

#[test]
fn a_recent_kernel_tells_all_kinds_apart() {
    let lru = Lru {
        inactive_anon_bytes: 60 * MIB,
        active_anon_bytes: 70 * MIB,
        inactive_file_bytes: 20 * MIB,
        active_file_bytes: 15 * MIB,
        unevictable_bytes: 0,
    };
    let memory = MemcgMemory {
        lru: Some(lru),
        stats: stats(),
        removed_descendants: Some(3),
        ..MemcgMemory::default()
    };
    let account = account_of(&memory, 250, false);
    assert_eq!(
        kinds(&account),
        [
            (AccountKind::Anon, 100),
            (AccountKind::File, 30),
            (AccountKind::Shmem, 30),
            // 60 of kernel memory less 43 that have a kind.
            (AccountKind::OtherKernel, 17),
            (AccountKind::Zswap, 11),
            (AccountKind::SwapCache, 10),
            (AccountKind::SlabUnreclaimable, 9),
            (AccountKind::SlabReclaimable, 8),
            (AccountKind::Sockets, 6),
            (AccountKind::PageTables, 5),
            (AccountKind::Vmalloc, 5),
            (AccountKind::Percpu, 3),
            (AccountKind::KernelStacks, 2),
        ]
    );
    assert_eq!((account.unaccounted_bytes, account.excess_bytes), (14 * MIB, 0));
    assert!(account.untold.is_empty(), "{account:?}");
    assert_eq!(account.removed_descendants, Some(3));
    assert_eq!(account.swap.as_ref().and_then(|swap| swap.used_bytes), mib(12));
    let file = account.entries.iter().find(|entry| entry.kind == AccountKind::File).and_then(|it| it.detail);
    let expected = Detail::File {
        inactive_bytes: mib(20),
        active_bytes: mib(15),
        mapped_bytes: mib(7),
        dirty_bytes: mib(5),
        writeback_bytes: mib(3),
    };
    assert_eq!(file, Some(expected));
}

/// The lists of a pod's cgroup are not those of its containers.
#[test]
fn lists_of_a_cgroup_that_has_others_in_it_are_not_its_page_cache() {
    let memory = MemcgMemory { lru: Some(Lru::default()), stats: stats(), ..MemcgMemory::default() };
    let account = account_of(&memory, 250, false);
    let file = account.entries.iter().find(|entry| entry.kind == AccountKind::File).and_then(|it| it.detail);
    assert!(matches!(file, Some(Detail::File { inactive_bytes: None, active_bytes: None, .. })), "{file:?}");
}

/// A page of the swap cache that is mapped is anonymous memory as well.
#[test]
fn the_swap_cache_has_only_what_the_rest_leaves() {
    let memory = MemcgMemory { stats: stats(), ..MemcgMemory::default() };
    let account = account_of(&memory, 230, false);
    assert_eq!((account.bytes_of(AccountKind::SwapCache), account.unaccounted_bytes), (4 * MIB, 0));
    let account = account_of(&memory, 200, false);
    assert_eq!((account.bytes_of(AccountKind::SwapCache), account.excess_bytes), (0, 26 * MIB));
}

/// 5.10 on v2 counts neither page tables nor all of kernel memory.
#[test]
fn what_a_kernel_does_not_tell_apart_is_unaccounted_and_said() {
    let old = MemcgStats {
        page_table_bytes: None,
        secondary_page_table_bytes: None,
        vmalloc_bytes: None,
        kernel_bytes: None,
        zswap_bytes: None,
        swap_cache_bytes: None,
        ..stats()
    };
    let memory = MemcgMemory { stats: old, kmem_bytes: mib(60), ..MemcgMemory::default() };
    let account = account_of(&memory, 250, false);
    assert_eq!(account.bytes_of(AccountKind::OtherKernel), 0);
    assert_eq!(account.unaccounted_bytes, 52 * MIB);
    let untold: Vec<_> = account.untold.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(untold, [AccountKind::PageTables, AccountKind::Vmalloc, AccountKind::OtherKernel]);
    // v1 has a counter of kernel memory, and one of TCP's that is no part of the usage.
    let account = account_of(&memory, 250, true);
    assert_eq!(account.bytes_of(AccountKind::OtherKernel), 38 * MIB);
    assert_eq!(account.bytes_of(AccountKind::Sockets), 0);
    let untold: Vec<_> = account.untold.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(untold, [AccountKind::PageTables, AccountKind::Vmalloc]);
}

/// A container full of dentries: the account says so, whatever its anonymous memory is.
#[test]
fn kernel_memory_is_the_largest_entry_where_it_is() {
    let stats = MemcgStats {
        anon_bytes: Some(4096),
        file_bytes: Some(0),
        shmem_bytes: Some(0),
        slab_reclaimable_bytes: mib(47),
        kernel_bytes: mib(48),
        ..MemcgStats::default()
    };
    let account = account_of(&MemcgMemory { stats, ..MemcgMemory::default() }, 48, false);
    assert_eq!(kinds(&account)[0], (AccountKind::SlabReclaimable, 47));
}

fn figure() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(prop_oneof![0..1_u64 << 40, Just(u64::MAX), Just(0)])
}

prop_compose! {
    fn any_stats()(figures in prop::collection::vec(figure(), 18)) -> MemcgStats {
        MemcgStats {
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
            sock_bytes: figures[12],
            percpu_bytes: figures[13],
            vmalloc_bytes: figures[14],
            kernel_bytes: figures[15],
            zswap_bytes: figures[16],
            huge_bytes: figures[17],
        }
    }
}

prop_compose! {
    fn any_memcg()(
        stats in any_stats(),
        lru in prop::option::of(prop::array::uniform5(0..1_u64 << 40)),
        own in prop::array::uniform3(figure()),
    ) -> MemcgMemory {
        MemcgMemory {
            cgroup_id: Some(1),
            usage_bytes: own[0],
            kmem_bytes: own[1],
            tcpmem_bytes: own[2],
            lru: lru.map(|lists| Lru {
                inactive_anon_bytes: lists[0],
                active_anon_bytes: lists[1],
                inactive_file_bytes: lists[2],
                active_file_bytes: lists[3],
                unevictable_bytes: lists[4],
            }),
            stats,
            removed_descendants: None,
        }
    }
}

proptest! {
    #[test]
    fn the_account_of_any_memcg_comes_out(memory in any_memcg(), usage in 0..1_u64 << 42, v1: bool) {
        let account = memcg(&memcg::Scope { memory: &memory, usage_bytes: usage, swap_bytes: None, v1 });
        assert_balanced(&account);
        // Each kind once, as an entry or as one that is not told apart.
        let mut seen: Vec<_> = account.entries.iter().map(|entry| entry.kind).collect();
        seen.extend(account.untold.iter().map(|(kind, _)| *kind));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), count);
    }

    /// No page of the lists is lost, and none counts twice.
    #[test]
    fn lists_are_divided_without_a_rest(
        lists in prop::array::uniform5(0..1_u64 << 40),
        anon in 0..1_u64 << 42,
        shmem in 0..1_u64 << 42,
    ) {
        let lru = Lru {
            inactive_anon_bytes: lists[0],
            active_anon_bytes: lists[1],
            inactive_file_bytes: lists[2],
            active_file_bytes: lists[3],
            unevictable_bytes: lists[4],
        };
        let lru::Split { anon_bytes, shmem_bytes, file_bytes } = lru::split(&lru, anon, shmem);
        prop_assert_eq!(anon_bytes + shmem_bytes + file_bytes, lru::total_bytes(&lru));
        prop_assert!(shmem_bytes <= shmem);
        prop_assert!(file_bytes >= lists[2] + lists[3]);
    }
}
