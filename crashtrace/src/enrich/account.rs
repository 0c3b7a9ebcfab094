//! The account of a scope's memory: where it was at the decision, kind by kind. PURE.
//!
//! An account is of a node (`account/node.rs`) or of a memcg (`account/memcg.rs`). Its entries do not overlap. A kind that the kernel
//! does not tell apart has no entry: it is in [`Account::untold`], with the reason, and its memory is in what is unaccounted.

use super::Party;
use crate::event::SwapDevice;
use crate::schema::AccountKind;

pub(super) mod lru;
pub mod memcg;
pub mod node;
#[cfg(test)]
mod tests;

/// Where the memory of a node, or of a memcg, was. Entries do not overlap, and come with the largest first; with `unaccounted_bytes`
/// they add up to `total_bytes` plus `excess_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The memory that the page allocator manages, or the usage of the memcg.
    pub total_bytes: u64,
    /// Of a node: memory that its zones have, the kernel's image and tables included.
    pub present_bytes: Option<u64>,
    /// Of a node: taken back by the host of this virtual machine, of what is present and not managed; so it is in no entry.
    pub ballooned_bytes: Option<u64>,
    pub entries: Vec<Entry>,
    /// What none of the entries explains.
    pub unaccounted_bytes: u64,
    /// By how much the entries come to more than the total: counters of CPUs are added to the kernel's with a delay.
    pub excess_bytes: u64,
    /// Some of it was read by the user side after the decision.
    pub late: bool,
    /// Of a node: what must stay free.
    pub kept: Option<Kept>,
    pub swap: Option<Swap>,
    /// Of a node: buffers of TCP and UDP, which are in other entries (slab) or unaccounted.
    pub network_bytes: Option<u64>,
    /// Memory of the killed processes by the figures that the OOM killer weighs: resident, swapped, and page tables.
    pub held_by_killed_bytes: Option<u64>,
    /// Descendants of the memcg that have been removed and still have memory charged to them.
    pub removed_descendants: Option<u32>,
    /// Kinds without an entry, and why.
    pub untold: Vec<(AccountKind, Untold)>,
}

/// An entry of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: AccountKind,
    pub bytes: u64,
    /// The owner, if it is one owner's. Of [`AccountKind::SmallCgroups`]: the cgroup that they are in.
    pub holder: Option<Party>,
    /// What is known of it beside its size.
    pub detail: Option<Detail>,
}

/// What is known of an entry beside its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Of a holder.
    Holder {
        /// Its swap, which is not in the entry's size.
        swap_bytes: Option<u64>,
    },
    /// Of page cache.
    File {
        inactive_bytes: Option<u64>,
        active_bytes: Option<u64>,
        mapped_bytes: Option<u64>,
        dirty_bytes: Option<u64>,
        writeback_bytes: Option<u64>,
    },
    /// Of huge pages of one size, in the pool.
    Huge {
        page_bytes: u64,
        /// In no use.
        free_bytes: u64,
        /// Of the free ones, promised to a mapping.
        reserved_bytes: u64,
    },
}

/// What must stay free in the zones that the allocation may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The `min` watermarks with their boost.
    pub min_bytes: u64,
    /// The lowmem reserves against this allocation.
    pub lowmem_reserve_bytes: u64,
    /// The highatomic reserves, if the allocation may not use them.
    pub highatomic_bytes: u64,
}

/// Swap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// Of a node: all of it.
    pub total_bytes: Option<u64>,
    pub free_bytes: Option<u64>,
    /// In use, by the node or by the memcg.
    pub used_bytes: Option<u64>,
    /// Of a node: the devices, read afterwards; `None` if that failed.
    pub devices: Option<Vec<SwapDevice>>,
}

/// Why a kind of memory has no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Untold {
    /// The kernel keeps no such figure, or it is out of reach.
    NotCounted,
    /// It is known how much there is, and not how much of that is charged to cgroups.
    ChargedUnknown,
}

impl Untold {
    /// The reason, as a report gives it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotCounted => "this kernel does not tell it apart, or it could not be read",
            Self::ChargedUnknown => "it is not known how much of it is charged to cgroups",
        }
    }
}

impl Entry {
    fn of(kind: AccountKind, bytes: u64) -> Self {
        Self { kind, bytes, holder: None, detail: None }
    }
}

impl Account {
    /// Puts the entries in order and states what is missing, and what is too much, to the total.
    fn balanced(self) -> Self {
        let mut entries = self.entries;
        entries.retain(|entry| entry.bytes > 0);
        entries.sort_by(|one, other| {
            let path = |entry: &Entry| entry.holder.as_ref().map(|party| party.path.clone());
            other
                .bytes
                .cmp(&one.bytes)
                .then_with(|| one.kind.cmp(&other.kind))
                .then_with(|| path(one).cmp(&path(other)))
        });
        let sum = entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes));
        Self {
            entries,
            unaccounted_bytes: self.total_bytes.saturating_sub(sum),
            excess_bytes: sum.saturating_sub(self.total_bytes),
            ..self
        }
    }

    /// All owners in it.
    pub(super) fn parties_mut(&mut self) -> impl Iterator<Item = &mut Party> {
        self.entries.iter_mut().filter_map(|entry| entry.holder.as_mut())
    }

    /// The sum of the entries of a kind.
    #[must_use]
    pub fn bytes_of(&self, kind: AccountKind) -> u64 {
        let of_it = self.entries.iter().filter(|entry| entry.kind == kind);
        of_it.fold(0, |sum, entry| sum.saturating_add(entry.bytes))
    }
}

/// Adds figures that are known; `None` if none is.
fn sum(figures: &[Option<u64>]) -> Option<u64> {
    figures.iter().flatten().copied().reduce(u64::saturating_add)
}
