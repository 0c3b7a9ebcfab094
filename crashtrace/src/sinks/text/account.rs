//! The account of the memory: a table with bars, which is read before anything else.

use crate::phrase::{self, size};
use crate::schema::{Account, AccountEntry, AccountKind, Incident, LimitHit};
use crate::terminal::bars::{Row, draw};
use crate::terminal::{Page, Style};

/// Entries shown; the largest come first.
const SHOWN: usize = 7;

/// Of the scope, and of the victim's own cgroup where that is another.
pub(super) fn lines(page: &mut Page, incident: &Incident) {
    let Some(memory) = &incident.memory else { return };
    if let Some(account) = &memory.account {
        let of = match &incident.limit {
            Some(limit) => of_limit(limit),
            None => "the node".to_owned(),
        };
        table(page, &of, account);
    }
    // Of a pod of one container both are the same.
    let scope_bytes = memory.account.as_ref().map_or(u64::MAX, |account| account.total_bytes);
    let is_a_part = |of: &&Account| of.total_bytes < scope_bytes - scope_bytes / 8;
    if let Some(account) = memory.victim_account.as_ref().filter(is_a_part) {
        let victim =
            incident.victims.first().and_then(|victim| victim.owner.as_ref().zip(victim.cgroup.as_ref()));
        let of = victim.map(|(owner, cgroup)| phrase::owner(owner, || cgroup.as_str().to_owned()));
        table(page, of.as_deref().unwrap_or("the victim's cgroup"), account);
    }
}

fn of_limit(limit: &LimitHit) -> String {
    let cgroup = limit.cgroup.as_str();
    limit
        .owner
        .as_ref()
        .map_or_else(|| format!("cgroup {cgroup}"), |owner| phrase::owner(owner, || cgroup.to_owned()))
}

fn table(page: &mut Page, of: &str, account: &Account) {
    let total = size(account.total_bytes);
    page.end();
    page.put(Style::Heading, &format!("  Where the memory of {of} was ({total}):"));
    if account.late {
        page.put(Style::Caution, " (partly read after the kill, and may have changed since)");
    }
    page.end();
    let share = |bytes: u64| {
        let permille = u128::from(bytes).saturating_mul(1000).checked_div(account.total_bytes.into());
        permille.and_then(|permille| u32::try_from(permille).ok()).unwrap_or(u32::MAX)
    };
    let row = |style, name: String, bytes| Row { style, name, size: size(bytes), permille: share(bytes) };
    let mut rows: Vec<_> = account
        .entries
        .iter()
        .take(SHOWN)
        .map(|entry| row(style(entry.kind), name(entry), entry.bytes))
        .collect();
    let rest = account.entries.get(SHOWN..).unwrap_or_default();
    let rest_bytes = rest.iter().fold(account.others_bytes, |sum, entry| sum.saturating_add(entry.bytes));
    if rest_bytes > 0 {
        let name = match (rest.len(), account.others_bytes) {
            (0, _) => "smaller entries".to_owned(),
            (count, 0) => format!("{count} more"),
            (count, _) => format!("{count} more, and smaller entries"),
        };
        rows.push(row(Style::Plain, name, rest_bytes));
    }
    rows.push(row(Style::Caution, "unaccounted".to_owned(), account.unaccounted_bytes));
    draw(page, &rows);
    for note in notes(account) {
        page.put(Style::Faint, &format!("  {note}")).end();
    }
}

/// Free memory is no one's.
fn style(kind: AccountKind) -> Style {
    match kind {
        AccountKind::Free | AccountKind::FreeIneligible => Style::Faint,
        _ => Style::Plain,
    }
}

fn name(entry: &AccountEntry) -> String {
    let what = phrase::account_kind(entry.kind);
    match (&entry.holder, entry.kind) {
        (Some(holder), AccountKind::SmallCgroups) => format!("{what} in {}", holder.name),
        (Some(holder), AccountKind::RemovedCgroups) => format!("{} (removed)", holder.name),
        (Some(holder), _) => holder.name.clone(),
        (None, _) => match parts(entry).as_slice() {
            [] => what.to_owned(),
            parts => format!("{what} ({})", parts.join(", ")),
        },
    }
}

/// Parts of an entry that are a good part of it.
fn parts(entry: &AccountEntry) -> Vec<String> {
    let unused = entry.huge_pages.map(|pool| pool.free_bytes.saturating_sub(pool.reserved_bytes));
    let unwritten = entry.file.and_then(|file| Some(file.dirty_bytes?.saturating_add(file.writeback_bytes?)));
    let mapped = entry.file.and_then(|file| file.mapped_bytes);
    let parts = [(unused, "unused"), (unwritten, "dirty"), (mapped, "mapped")];
    let large = parts.into_iter().filter_map(|(bytes, what)| Some((bytes?, what)));
    let large = large.filter(|(bytes, _)| *bytes > entry.bytes / 8);
    large.map(|(bytes, what)| format!("{} {what}", size(bytes))).collect()
}

fn notes(account: &Account) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(kept) = &account.kept {
        let kept = [kept.min_bytes, kept.lowmem_reserve_bytes, kept.highatomic_bytes];
        let kept = kept.into_iter().fold(0, u64::saturating_add);
        notes.push(format!("{} must stay free (watermarks and reserves)", size(kept)));
    }
    let pools = account.entries.iter().filter_map(|entry| entry.huge_pages.as_ref());
    let promised = pools.fold(0_u64, |sum, pool| sum.saturating_add(pool.reserved_bytes));
    if promised > 0 {
        notes.push(format!("{} of the huge pages are free, but promised to mappings", size(promised)));
    }
    if let Some(swap) = &account.swap {
        let devices = swap.devices.iter().flatten().map(|device| device.kind.to_string());
        let mut devices: Vec<_> = devices.collect();
        devices.dedup();
        let on = if devices.is_empty() { String::new() } else { format!(" ({})", devices.join(", ")) };
        match (swap.used_bytes, swap.total_bytes) {
            (_, Some(0)) => notes.push("no swap".to_owned()),
            (Some(used), Some(total)) => {
                notes.push(format!("swap: {} of {} in use{on}", size(used), size(total)));
            }
            (Some(used @ 1..), None) => notes.push(format!("and {} in swap", size(used))),
            _ => {}
        }
    }
    notes.extend(
        account
            .held_by_killed_bytes
            .map(|bytes| format!("the killed processes held {}, page tables and swap included", size(bytes))),
    );
    if let Some(count @ 1..) = account.removed_descendants {
        notes.push(format!("removed cgroups that the kernel still has: {count}"));
    }
    if let Some(bytes) = account.ballooned_bytes {
        notes.push(format!("the host of this virtual machine has taken back {} more", size(bytes)));
    }
    if account.excess_bytes > 0 {
        notes.push(format!("the entries come to {} more than there is", size(account.excess_bytes)));
    }
    notes
}

#[cfg(test)]
mod tests;
