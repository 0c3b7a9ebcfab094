//! PURE: holders of memory that compaction cannot move, from `/proc/meminfo` (`fs/proc/meminfo.c`, 5.10 to 7.3).

use crate::event::Unmovable;

/// Reads the file's text.
#[must_use]
pub fn parse(meminfo: &[u8]) -> Unmovable {
    let text = String::from_utf8_lossy(meminfo);
    let number = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let bytes = |name| number(name)?.checked_mul(1024);
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
}
