//! The account of a scope's memory.

use crate::enrich::{self, Detail};
use crate::event;
use crate::phrase;
use crate::schema::{
    Account, AccountEntry, AccountHolder, FilePages, HugePages, Kept, Swap, SwapDevice, SwapKind, Text,
};

/// Entries below this share are told together.
const LEAST_PERMILLE: u32 = 5;

pub(super) fn of(account: &enrich::Account) -> Account {
    let (shown, others): (Vec<_>, Vec<_>) = account
        .entries
        .iter()
        .map(|it| entry(it, account.total_bytes))
        .partition(|entry| entry.share_permille >= LEAST_PERMILLE);
    Account {
        total_bytes: account.total_bytes,
        present_bytes: account.present_bytes,
        ballooned_bytes: account.ballooned_bytes,
        entries: shown,
        others_bytes: others.iter().fold(0, |sum, entry| sum.saturating_add(entry.bytes)),
        unaccounted_bytes: account.unaccounted_bytes,
        excess_bytes: account.excess_bytes,
        late: account.late,
        kept: account.kept.map(|kept| Kept {
            min_bytes: kept.min_bytes,
            lowmem_reserve_bytes: kept.lowmem_reserve_bytes,
            highatomic_bytes: kept.highatomic_bytes,
        }),
        swap: account.swap.as_ref().map(swap),
        network_bytes: account.network_bytes,
        held_by_killed_bytes: account.held_by_killed_bytes,
        removed_descendants: account.removed_descendants,
    }
}

fn entry(entry: &enrich::Entry, total_bytes: u64) -> AccountEntry {
    let share = u128::from(entry.bytes).saturating_mul(1000).checked_div(total_bytes.into());
    let holder = entry.holder.as_ref().map(|party| AccountHolder {
        cgroup: Text::new(&party.path),
        name: phrase::owner(party.owner.in_schema(), || phrase::path(&party.path)),
        swap_bytes: match entry.detail {
            Some(Detail::Holder { swap_bytes }) => swap_bytes,
            _ => None,
        },
    });
    let file = match entry.detail {
        Some(Detail::File { inactive_bytes, active_bytes, mapped_bytes, dirty_bytes, writeback_bytes }) => {
            Some(FilePages { inactive_bytes, active_bytes, mapped_bytes, dirty_bytes, writeback_bytes })
        }
        _ => None,
    };
    let huge_pages = match entry.detail {
        Some(Detail::Huge { page_bytes, free_bytes, reserved_bytes }) => {
            Some(HugePages { page_bytes, free_bytes, reserved_bytes })
        }
        _ => None,
    };
    AccountEntry {
        kind: entry.kind,
        bytes: entry.bytes,
        share_permille: share.and_then(|share| u32::try_from(share).ok()).unwrap_or(u32::MAX),
        holder,
        file,
        huge_pages,
    }
}

fn swap(swap: &enrich::Swap) -> Swap {
    let device = |it: &event::SwapDevice| SwapDevice {
        kind: match it.kind {
            event::SwapKind::Partition => SwapKind::Partition,
            event::SwapKind::File => SwapKind::File,
            event::SwapKind::Zram => SwapKind::Zram,
        },
        bytes: it.bytes,
    };
    Swap {
        total_bytes: swap.total_bytes,
        free_bytes: swap.free_bytes,
        used_bytes: swap.used_bytes,
        devices: swap.devices.as_ref().map(|devices| devices.iter().map(device).collect()),
    }
}

/// Makes an account shorter: of its entries so many stay, and first those of owners go, from the smallest.
pub(super) fn cut(entries: &mut Vec<serde_json::Value>, most: usize) -> u64 {
    let mut cut_bytes = 0_u64;
    while entries.len() > most {
        let of_owner = entries.iter().skip(1).rposition(|entry| !entry["holder"].is_null());
        let at = of_owner.map_or(entries.len() - 1, |at| at + 1);
        let bytes = entries.remove(at)["bytes"].as_u64().unwrap_or_default();
        cut_bytes = cut_bytes.saturating_add(bytes);
    }
    cut_bytes
}
