//! The account of a node.
//!
//! The total is what the page allocator manages. Memory is free, or charged to cgroups below the root, or a page of the root cgroup's
//! own processes and files, or the kernel's own and charged to no cgroup:
//!
//! - The usage of the root memcg is what all cgroups below it are charged, removed ones too (`page_counter_charge`, 5.10 to 7.3: the
//!   root itself is charged nothing). Each CPU may have charged up to 64 pages more than it has used.
//! - The root memcg's lists have the pages of its own processes and files.
//! - Of kinds that are on no list, its statistics are what is charged: the rest of the node's is charged to no cgroup.
//! - `NR_VMALLOC` has the stacks of threads, which have an entry of their own; they are not in the memcg's (`alloc_thread_stack_node`).
//! - `NR_SECONDARY_PAGETABLE` has page tables of IOMMUs too (`drivers/iommu/iommu-pages.c`, from 6.11 on).
//! - `NR_FREE_PAGES` has unaccepted memory too (`__add_to_unaccepted`, `mm/page_alloc.c`, from 6.5 on).
//! - `pcpu_nr_populated` has the first chunk too, which is not managed: some MiB with many CPUs.

use super::{Account, Detail, Entry, Kept, Swap, Untold, lru, sum};
use crate::cgroup::Place;
use crate::enrich::{Held, Memory};
use crate::event::{MemcgStats, NodeMemory, NodeStats, Zones};
use crate::fragmentation::{Request, assess, reserve_pages};
use crate::schema::{AccountKind, OwnerKind};

/// What a node's account is made of.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub memory: &'a NodeMemory,
    pub zones: &'a Zones,
    /// The holders, if the walk is there.
    pub holders: Option<&'a Memory>,
    /// The allocation, if that decides which zones may be used.
    pub request: Option<&'a Request>,
    pub page_size_bytes: u64,
}

/// The account of a node.
#[must_use]
pub fn node(scope: &Scope<'_>) -> Account {
    let memory = scope.memory;
    let mut parts = Parts::default();
    parts.free(scope);
    let controlled = memory.root.is_some() || scope.holders.is_some_and(|found| found.looked_at > 0);
    if controlled {
        parts.cgroups(scope);
        parts.root(memory);
    } else {
        parts.uncontrolled(memory);
    }
    parts.huge_pages(memory);
    parts.kernel(memory, controlled);
    let stats = &memory.stats;
    let outside = memory.present_bytes.saturating_sub(memory.managed_bytes);
    // A balloon that is deflated under pressure is left among managed pages (`virtio_balloon`), any other is not.
    let ballooned_bytes = stats.balloon_bytes.filter(|balloon| (1..=outside).contains(balloon));
    if ballooned_bytes.is_none() {
        parts.entries.extend(stats.balloon_bytes.map(|bytes| Entry::of(AccountKind::Balloon, bytes)));
    }
    parts.take_off_stale(memory.managed_bytes);
    let (total, free) = (stats.swap_total_bytes, stats.swap_free_bytes);
    Account {
        total_bytes: memory.managed_bytes,
        present_bytes: Some(memory.present_bytes),
        ballooned_bytes,
        entries: parts.entries,
        kept: kept(scope),
        swap: (total.is_some() || free.is_some()).then(|| Swap {
            total_bytes: total,
            free_bytes: free,
            used_bytes: total.zip(free).map(|(total, free)| total.saturating_sub(free)),
            devices: None,
        }),
        network_bytes: sum(&[stats.tcp_bytes, stats.udp_bytes]),
        untold: parts.untold,
        ..Account::default()
    }
    .balanced()
}

#[derive(Default)]
struct Parts {
    entries: Vec<Entry>,
    untold: Vec<(AccountKind, Untold)>,
}

impl Parts {
    fn add(&mut self, kind: AccountKind, bytes: u64) {
        self.entries.push(Entry::of(kind, bytes));
    }

    /// What is charged to cgroups is summed up to two seconds late, and is missing in what is subtracted from the kernel's memory: so
    /// this has twice what a cgroup has just been charged. By that much the entries come to more than there is.
    fn take_off_stale(&mut self, total_bytes: u64) {
        const UNCHARGED_KINDS: [AccountKind; 6] = [
            AccountKind::SlabUnreclaimable,
            AccountKind::SlabReclaimable,
            AccountKind::PageTables,
            AccountKind::KernelStacks,
            AccountKind::Percpu,
            AccountKind::Vmalloc,
        ];
        let sum = self.entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes));
        // Less is what CPUs keep back.
        let mut surplus = sum.saturating_sub(total_bytes);
        if surplus <= total_bytes / 64 {
            return;
        }
        let mut uncharged: Vec<_> =
            self.entries.iter_mut().filter(|entry| UNCHARGED_KINDS.contains(&entry.kind)).collect();
        uncharged.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
        for entry in uncharged {
            let part = entry.bytes.min(surplus);
            entry.bytes -= part;
            surplus -= part;
        }
    }

    /// Free memory. Without an allocation all of it is taken for eligible.
    fn free(&mut self, scope: &Scope<'_>) {
        let findings = scope.request.map(|request| assess(scope.zones, request).zones);
        let (mut eligible, mut other) = (0_u64, 0_u64);
        for (index, zone) in scope.zones.list.iter().enumerate() {
            let Some(free) = zone.free_pages else {
                self.untold.push((AccountKind::Free, Untold::NotCounted));
                continue;
            };
            let free = free.saturating_mul(scope.page_size_bytes);
            let finding = findings.as_ref().and_then(|findings| findings.get(index));
            let sum = if finding.is_none_or(|finding| finding.eligible) { &mut eligible } else { &mut other };
            *sum = sum.saturating_add(free);
        }
        let unaccepted = scope.memory.stats.unaccepted_bytes.unwrap_or(0);
        let (of_eligible, rest) = (unaccepted.min(eligible), unaccepted.saturating_sub(eligible));
        let of_other = rest.min(other);
        self.add(AccountKind::Free, eligible - of_eligible);
        self.add(AccountKind::FreeIneligible, other - of_other);
        self.add(AccountKind::Unaccepted, of_eligible + of_other);
    }

    /// What cgroups below the root are charged.
    fn cgroups(&mut self, scope: &Scope<'_>) {
        let charged = scope.memory.root.as_ref().and_then(|root| root.usage_bytes);
        let Some(found) = scope.holders else {
            // Not told apart.
            match charged {
                Some(charged) => self.add(AccountKind::Cgroup, charged),
                None => self.untold.push((AccountKind::Cgroup, Untold::NotCounted)),
            }
            return;
        };
        let mut listed = 0_u64;
        // Large ones may be among those that were not visited.
        let seen = found.looked_at > 0 && !found.incomplete;
        let with_rests = found
            .holders
            .iter()
            .map(|held| (kind_of(held), held))
            .chain(found.rests.iter().filter(|_| seen).map(|held| (AccountKind::SmallCgroups, held)));
        for (kind, held) in with_rests {
            listed = listed.saturating_add(held.usage_bytes);
            self.entries.push(Entry {
                kind,
                bytes: held.usage_bytes,
                holder: Some(held.party.clone()),
                detail: (kind != AccountKind::SmallCgroups)
                    .then_some(Detail::Holder { swap_bytes: held.swap_bytes }),
            });
        }
        let Some(charged) = charged else {
            self.untold.push((AccountKind::SmallCgroups, Untold::NotCounted));
            return;
        };
        let rest = charged.saturating_sub(listed);
        let removed = found.removed_small.map_or(0, |removed| removed.bytes).min(rest);
        self.add(AccountKind::RemovedCgroups, removed);
        self.add(if seen { AccountKind::SmallCgroups } else { AccountKind::Cgroup }, rest - removed);
    }

    /// Pages of processes and files where there is no memory controller, and so nothing is charged.
    fn uncontrolled(&mut self, memory: &NodeMemory) {
        let stats = &memory.stats;
        let not_file = sum(&[stats.shmem_bytes, stats.swap_cache_bytes]).unwrap_or(0);
        let file = stats.file_bytes.map(|bytes| bytes.saturating_sub(not_file));
        for (kind, bytes) in [
            (AccountKind::Anon, stats.anon_bytes),
            (AccountKind::Shmem, stats.shmem_bytes),
            (AccountKind::File, file),
        ] {
            match bytes {
                Some(bytes) => self.add(kind, bytes),
                None => self.untold.push((kind, Untold::NotCounted)),
            }
        }
    }

    /// Pages of the root cgroup's own processes and files.
    fn root(&mut self, memory: &NodeMemory) {
        let kinds = [AccountKind::RootProcesses, AccountKind::RootShmem, AccountKind::RootFiles];
        let root = memory.root.as_ref();
        let own = |all: Option<u64>, charged: Option<u64>| Some(all?.saturating_sub(charged?));
        let stats = root.map(|root| root.stats).unwrap_or_default();
        let charged = memory.charged_lru;
        let anon = own(stats.anon_bytes, charged.map(|charged| charged.anon_bytes));
        let shmem = own(stats.shmem_bytes, charged.map(|charged| charged.shmem_bytes));
        let file = own(stats.file_bytes, charged.map(|charged| charged.file_bytes));
        let Some(lru) = root.and_then(|root| root.lru) else {
            let file = file.zip(shmem).map(|(file, shmem)| file.saturating_sub(shmem));
            for (kind, bytes) in kinds.into_iter().zip([anon, shmem, file]) {
                match bytes {
                    Some(bytes) => self.add(kind, bytes),
                    None => self.untold.push((kind, Untold::NotCounted)),
                }
            }
            return;
        };
        if shmem.is_none() {
            self.untold.push((AccountKind::RootShmem, Untold::ChargedUnknown));
        }
        let split = lru::split(&lru, anon.unwrap_or(0), shmem.unwrap_or(0));
        for (kind, bytes) in kinds.into_iter().zip([split.anon_bytes, split.shmem_bytes, split.file_bytes]) {
            self.add(kind, bytes);
        }
    }

    /// Pools of huge pages, but for what of them is charged to cgroups' memory.
    fn huge_pages(&mut self, memory: &NodeMemory) {
        let Some(sizes) = &memory.huge_pages else {
            self.untold.push((AccountKind::HugePages, Untold::NotCounted));
            return;
        };
        let mut charged = memory.root.as_ref().and_then(|root| root.stats.huge_bytes).unwrap_or(0);
        for size in sizes {
            // Free ones are charged to nobody.
            let in_use = size.total_bytes.saturating_sub(size.free_bytes);
            let of_cgroups = charged.min(in_use);
            charged -= of_cgroups;
            self.entries.push(Entry {
                detail: Some(Detail::Huge {
                    page_bytes: size.page_bytes,
                    free_bytes: size.free_bytes,
                    reserved_bytes: size.reserved_bytes,
                }),
                ..Entry::of(AccountKind::HugePages, size.total_bytes.saturating_sub(of_cgroups))
            });
        }
    }

    /// The kernel's own memory that is charged to no cgroup.
    fn kernel(&mut self, memory: &NodeMemory, controlled: bool) {
        let stats = &memory.stats;
        let charged = match &memory.root {
            Some(root) => root.stats,
            None if controlled => MemcgStats::default(),
            None => UNCHARGED,
        };
        let iommu = iommu_bytes(stats, &charged);
        let page_tables = uncharged(stats.page_table_bytes, charged.page_table_bytes).map(|bytes| {
            let secondary =
                uncharged(stats.secondary_page_table_bytes, charged.secondary_page_table_bytes).unwrap_or(0);
            bytes.saturating_add(secondary.saturating_sub(iommu.unwrap_or(0)))
        });
        let stacks = stats.kernel_stack_bytes.unwrap_or(0);
        let vmalloc = stats.vmalloc_bytes.map(|bytes| bytes.saturating_sub(stacks));
        let kinds = [
            (
                AccountKind::SlabUnreclaimable,
                uncharged(stats.slab_unreclaimable_bytes, charged.slab_unreclaimable_bytes),
            ),
            (
                AccountKind::SlabReclaimable,
                uncharged(stats.slab_reclaimable_bytes, charged.slab_reclaimable_bytes),
            ),
            (AccountKind::PageTables, page_tables),
            (AccountKind::KernelStacks, uncharged(stats.kernel_stack_bytes, charged.kernel_stack_bytes)),
            (AccountKind::Percpu, uncharged(stats.percpu_bytes, charged.percpu_bytes)),
            (AccountKind::Vmalloc, uncharged(vmalloc, charged.vmalloc_bytes)),
        ];
        for (kind, bytes) in kinds {
            match bytes {
                Ok(bytes) => self.add(kind, bytes),
                Err(why) => self.untold.push((kind, why)),
            }
        }
        // Compressed pages of zswap are charged; on a kernel without that figure zswap is charged to nobody.
        match stats.zsmalloc_bytes {
            Some(_) if controlled && memory.root.is_none() => {
                self.untold.push((AccountKind::Zsmalloc, Untold::ChargedUnknown));
            }
            Some(bytes) => {
                self.add(AccountKind::Zsmalloc, bytes.saturating_sub(charged.zswap_bytes.unwrap_or(0)));
            }
            None => self.untold.push((AccountKind::Zsmalloc, Untold::NotCounted)),
        }
        self.add(AccountKind::Iommu, iommu.unwrap_or(0));
        self.add(AccountKind::Gpu, sum(&[stats.gpu_active_bytes, stats.gpu_reclaim_bytes]).unwrap_or(0));
    }
}

/// Without a memory controller nothing is charged.
const UNCHARGED: MemcgStats = MemcgStats {
    anon_bytes: Some(0),
    file_bytes: Some(0),
    shmem_bytes: Some(0),
    swap_cache_bytes: Some(0),
    file_mapped_bytes: Some(0),
    file_dirty_bytes: Some(0),
    file_writeback_bytes: Some(0),
    slab_reclaimable_bytes: Some(0),
    slab_unreclaimable_bytes: Some(0),
    kernel_stack_bytes: Some(0),
    page_table_bytes: Some(0),
    secondary_page_table_bytes: Some(0),
    sock_bytes: Some(0),
    percpu_bytes: Some(0),
    vmalloc_bytes: Some(0),
    kernel_bytes: Some(0),
    zswap_bytes: Some(0),
    huge_bytes: Some(0),
};

fn uncharged(all: Option<u64>, charged: Option<u64>) -> Result<u64, Untold> {
    let all = all.ok_or(Untold::NotCounted)?;
    Ok(all.saturating_sub(charged.ok_or(Untold::ChargedUnknown)?))
}

/// Page tables of IOMMUs that are charged to no cgroup.
fn iommu_bytes(stats: &NodeStats, charged: &MemcgStats) -> Option<u64> {
    let secondary = uncharged(stats.secondary_page_table_bytes, charged.secondary_page_table_bytes).ok()?;
    Some(stats.iommu_bytes?.min(secondary))
}

fn kind_of(held: &Held) -> AccountKind {
    if held.removed {
        return AccountKind::RemovedCgroups;
    }
    match (held.party.placement.place, held.party.owner.kind) {
        (Place::Pod, _) | (_, OwnerKind::Pod) => AccountKind::Pod,
        (_, OwnerKind::Container) => AccountKind::Container,
        (_, OwnerKind::HostService) => AccountKind::Service,
        _ => AccountKind::Cgroup,
    }
}

/// What must stay free in the eligible zones; `None` if no zone has its watermarks.
fn kept(scope: &Scope<'_>) -> Option<Kept> {
    let bytes = |pages: u64| pages.saturating_mul(scope.page_size_bytes);
    let findings = scope.request.map(|request| assess(scope.zones, request).zones);
    let mut kept = None::<Kept>;
    for (index, zone) in scope.zones.list.iter().enumerate() {
        let finding = findings.as_ref().and_then(|findings| findings.get(index));
        let Some(marks) = zone.watermarks.filter(|_| finding.is_none_or(|finding| finding.eligible)) else {
            continue;
        };
        let sum = kept.get_or_insert_default();
        // A reserve may be larger than its zone.
        let mut left = zone.managed_pages.unwrap_or(u64::MAX);
        let mut add = |to: &mut u64, pages: u64| {
            let pages = pages.min(left);
            left -= pages;
            *to = to.saturating_add(bytes(pages));
        };
        add(&mut sum.min_bytes, marks.min_pages.saturating_add(zone.boost_pages));
        let reserve = scope.request.and_then(|request| reserve_pages(scope.zones, zone, request.traits));
        add(&mut sum.lowmem_reserve_bytes, reserve.unwrap_or(0));
        let takes = scope.request.is_some_and(|request| request.traits.atomic() && request.order > 0);
        add(&mut sum.highatomic_bytes, if takes { 0 } else { zone.highatomic_pages });
    }
    kept
}
