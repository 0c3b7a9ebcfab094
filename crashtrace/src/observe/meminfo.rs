//! PURE: holders of memory that compaction cannot move, and figures that the kernel side could not read, from `/proc/meminfo` (`fs/proc/meminfo.c`, 5.10 to 7.3).

use crate::event::{HugePages, NodeMemory, Unmovable};

/// Reads the file's text.
#[must_use]
pub fn parse(meminfo: &[u8]) -> Unmovable {
    let text = String::from_utf8_lossy(meminfo);
    let number = |name: &str| number(&text, name);
    let bytes = |name: &str| number(name)?.checked_mul(1024);
    let of_huge_pages = |name| number(name)?.checked_mul(bytes("Hugepagesize")?);
    Unmovable {
        slab_unreclaimable_bytes: bytes("SUnreclaim"),
        slab_reclaimable_bytes: bytes("SReclaimable"),
        page_table_bytes: bytes("PageTables"),
        kernel_stack_bytes: bytes("KernelStack"),
        unevictable_bytes: bytes("Unevictable"),
        huge_page_bytes: of_huge_pages("HugePages_Total"),
        huge_page_free_bytes: of_huge_pages("HugePages_Free"),
    }
}

/// Fills in figures that the kernel side could not read. True if there are any.
pub fn fill(memory: &mut NodeMemory, meminfo: &[u8]) -> bool {
    let text = String::from_utf8_lossy(meminfo);
    let number = |name: &str| number(&text, name);
    let bytes = |name: &str| number(name)?.checked_mul(1024);
    let mut filled = false;
    let stats = &mut memory.stats;
    for (stat, name) in [
        (&mut stats.percpu_bytes, "Percpu"),
        (&mut stats.vmalloc_bytes, "VmallocUsed"),
        (&mut stats.swap_total_bytes, "SwapTotal"),
    ] {
        if stat.is_none() {
            *stat = bytes(name);
            filled |= stat.is_some();
        }
    }
    if memory.huge_pages.is_none() {
        // Of one size. All pools together (`Hugetlb`) do not tell what of them is free.
        let size = || {
            let page_bytes = bytes("Hugepagesize")?;
            let of = |name: &str| number(name)?.checked_mul(page_bytes);
            Some(HugePages {
                page_bytes,
                total_bytes: of("HugePages_Total")?,
                free_bytes: of("HugePages_Free")?,
                reserved_bytes: of("HugePages_Rsvd")?,
            })
        };
        memory.huge_pages = size().map(|size| vec![size]);
        filled |= memory.huge_pages.is_some();
    }
    filled
}

/// A figure by its name, in the unit of the file.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse::<u64>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_the_fields_that_the_file_has() {
        let text =
            b"MemTotal:  1 kB\nUnevictable:        12168 kB\nSlab: 5 kB\nSReclaimable:     293512 kB\n\
                     SUnreclaim:        34348 kB\nKernelStack:      1352 kB\nPageTables:  x kB\n\
                     HugePages_Total:       3\nHugePages_Free:        1\nHugepagesize:       2048 kB\n";
        let expected = Unmovable {
            slab_unreclaimable_bytes: Some(34348 << 10),
            slab_reclaimable_bytes: Some(293_512 << 10),
            page_table_bytes: None,
            kernel_stack_bytes: Some(1352 << 10),
            unevictable_bytes: Some(12168 << 10),
            huge_page_bytes: Some(6 << 20),
            huge_page_free_bytes: Some(2 << 20),
        };
        assert_eq!(parse(text), expected);
        assert_eq!(parse(b"SUnreclaim: 18446744073709551615 kB\n\xff"), Unmovable::default());
    }

    #[test]
    fn only_what_is_missing_is_filled_in() {
        let text =
            b"Percpu: 8 kB\nVmallocUsed: 16 kB\nSwapTotal: 32 kB\nHugePages_Total: 3\nHugePages_Free: 2\n\
                     HugePages_Rsvd: 1\nHugepagesize: 2048 kB\nHugetlb: 8192 kB\n";
        let mut memory = NodeMemory::default();
        memory.stats.percpu_bytes = Some(1);
        assert!(fill(&mut memory, text));
        let stats = memory.stats;
        assert_eq!(
            (stats.percpu_bytes, stats.vmalloc_bytes, stats.swap_total_bytes, stats.swap_free_bytes),
            (Some(1), Some(16 << 10), Some(32 << 10), None)
        );
        let page_bytes = 2 << 20;
        let pool = HugePages {
            page_bytes,
            total_bytes: 3 * page_bytes,
            free_bytes: 2 * page_bytes,
            reserved_bytes: page_bytes,
        };
        assert_eq!(memory.huge_pages.as_deref(), Some(&[pool][..]));
        assert!(!fill(&mut memory.clone(), text), "nothing is missing now");
        assert!(!fill(&mut NodeMemory::default(), b"x"));
    }
}
