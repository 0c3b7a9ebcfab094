use super::*;
use crate::schema::{AccountHolder, FilePages, HugePages, Kept, Swap, SwapDevice, SwapKind, Text};

const MIB: u64 = 1 << 20;

fn entry(kind: AccountKind, mib: u64, holder: Option<&str>) -> AccountEntry {
    AccountEntry {
        kind,
        bytes: mib * MIB,
        share_permille: u32::try_from(mib).expect("a small number"),
        holder: holder.map(|name| AccountHolder {
            cgroup: Text::from("/x"),
            name: name.to_owned(),
            swap_bytes: None,
        }),
        file: None,
        huge_pages: None,
    }
}

fn account(entries: Vec<AccountEntry>) -> Account {
    let sum: u64 = entries.iter().map(|entry| entry.bytes).sum();
    Account { total_bytes: 1000 * MIB, unaccounted_bytes: 1000 * MIB - sum, entries, ..Account::default() }
}

fn shown(account: &Account) -> String {
    let mut page = Page::new(false);
    table(&mut page, "the node", account);
    page.into_string()
}

#[test]
fn the_largest_entries_come_first_and_what_is_unaccounted_last() {
    let pool = HugePages { page_bytes: 2 * MIB, free_bytes: 300 * MIB, reserved_bytes: 0 };
    let huge = AccountEntry { huge_pages: Some(pool), ..entry(AccountKind::HugePages, 300, None) };
    let account = account(vec![
        entry(AccountKind::Service, 400, Some("host unit batch.service")),
        huge,
        entry(AccountKind::RemovedCgroups, 60, Some("host unit gone.service")),
        entry(AccountKind::SmallCgroups, 40, Some("host unit system.slice")),
        entry(AccountKind::Free, 30, None),
    ]);
    assert_eq!(
        shown(&account),
        "\n  Where the memory of the node was (1000 MiB):\n  \
         host unit batch.service               400 MiB   40 %  █████████▋\n  \
         huge pages (300 MiB unused)           300 MiB   30 %  ███████▎\n  \
         host unit gone.service (removed)       60 MiB    6 %  █▌\n  \
         small cgroups in host unit system…     40 MiB    4 %  █\n  \
         free                                   30 MiB    3 %  ▊\n  \
         unaccounted                           170 MiB   17 %  ████▏\n"
    );
}

#[test]
fn entries_beyond_the_eighth_row_are_summed() {
    let kinds = [
        AccountKind::Anon,
        AccountKind::File,
        AccountKind::Shmem,
        AccountKind::SlabReclaimable,
        AccountKind::SlabUnreclaimable,
        AccountKind::PageTables,
        AccountKind::Sockets,
        AccountKind::Percpu,
        AccountKind::Vmalloc,
    ];
    let many = account(kinds.map(|kind| entry(kind, 100, None)).into());
    let text = shown(&Account { others_bytes: 7 * MIB, unaccounted_bytes: 93 * MIB, ..many });
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.contains("2 more, and smaller entries    207 MiB"), "{text}");
}

#[test]
fn what_is_beside_the_total_is_said_below() {
    let devices = Some(vec![SwapDevice { kind: SwapKind::Zram, bytes: 420 * MIB }]);
    let text = shown(&Account {
        late: true,
        kept: Some(Kept { min_bytes: 200 * MIB, lowmem_reserve_bytes: 40 * MIB, highatomic_bytes: 4 * MIB }),
        swap: Some(Swap {
            total_bytes: Some(420 * MIB),
            free_bytes: Some(0),
            used_bytes: Some(420 * MIB),
            devices,
        }),
        held_by_killed_bytes: Some(358 * MIB),
        removed_descendants: Some(3),
        ballooned_bytes: Some(64 * MIB),
        excess_bytes: 2 * MIB,
        ..account(Vec::new())
    });
    for words in [
        "(partly read after the kill, and may have changed since)",
        "244 MiB must stay free (watermarks and reserves)",
        "swap: 420 MiB of 420 MiB in use (zram)",
        "the killed processes held 358 MiB, page tables and swap included",
        "removed cgroups that the kernel still has: 3",
        "the host of this virtual machine has taken back 64 MiB more",
        "the entries come to 2 MiB more than there is",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let swap = Swap { total_bytes: Some(0), free_bytes: Some(0), used_bytes: Some(0), devices: None };
    assert!(shown(&Account { swap: Some(swap), ..account(Vec::new()) }).contains("no swap"));
}

#[test]
fn huge_pages_that_are_promised_are_not_said_to_be_unused() {
    let pool = HugePages { page_bytes: 2 * MIB, free_bytes: 280 * MIB, reserved_bytes: 200 * MIB };
    let entry = AccountEntry { huge_pages: Some(pool), ..entry(AccountKind::HugePages, 280, None) };
    let text = shown(&account(vec![entry]));
    assert!(text.contains("huge pages (80 MiB unused)"), "{text}");
    assert!(text.contains("200 MiB of the huge pages are free, but promised to mappings"), "{text}");
    let swap = Swap { total_bytes: None, free_bytes: None, used_bytes: Some(3 * MIB), devices: None };
    assert!(shown(&Account { swap: Some(swap), ..account(Vec::new()) }).contains("and 3 MiB in swap"));
}

#[test]
fn parts_of_page_cache_are_told_where_they_are_a_good_part() {
    let parts = FilePages {
        inactive_bytes: Some(MIB),
        active_bytes: Some(MIB),
        mapped_bytes: Some(20 * MIB),
        dirty_bytes: Some(60 * MIB),
        writeback_bytes: Some(140 * MIB),
    };
    let file = AccountEntry { file: Some(parts), ..entry(AccountKind::File, 500, None) };
    assert!(shown(&account(vec![file])).contains("page cache (200 MiB dirty)  "));
}
