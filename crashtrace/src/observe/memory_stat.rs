//! PURE: statistics of a memcg from its `memory.stat` (`memcg_stat_format`, `memcg1_stat_format`; `mm/memcontrol.c`, 5.10 to 7.3).
//!
//! On v2 all figures include descendants'; on v1 those named `total_` do, and there are fewer of them.

use crate::event::MemcgStats;

/// Reads the file's text. Figures that it does not have are `None`.
#[must_use]
pub fn parse(stat: &[u8]) -> MemcgStats {
    let text = String::from_utf8_lossy(stat);
    let value = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.trim().parse::<u64>().ok()
    };
    let v1 = value("total_rss").is_some() || value("total_cache").is_some();
    let of = |name: &str, v1_name: &str| if v1 { value(v1_name) } else { value(name) };
    let of_v2 = |name: &str| value(name).filter(|_| !v1);
    MemcgStats {
        anon_bytes: of("anon", "total_rss"),
        file_bytes: of("file", "total_cache"),
        shmem_bytes: of("shmem", "total_shmem"),
        swap_cache_bytes: of("swapcached", "total_swapcached"),
        file_mapped_bytes: of("file_mapped", "total_mapped_file"),
        file_dirty_bytes: of("file_dirty", "total_dirty"),
        file_writeback_bytes: of("file_writeback", "total_writeback"),
        slab_reclaimable_bytes: of_v2("slab_reclaimable"),
        slab_unreclaimable_bytes: of_v2("slab_unreclaimable"),
        kernel_stack_bytes: of_v2("kernel_stack"),
        page_table_bytes: of_v2("pagetables"),
        secondary_page_table_bytes: of_v2("sec_pagetables"),
        sock_bytes: of_v2("sock"),
        percpu_bytes: of_v2("percpu"),
        vmalloc_bytes: of_v2("vmalloc"),
        kernel_bytes: of_v2("kernel"),
        zswap_bytes: of_v2("zswap"),
        huge_bytes: of_v2("hugetlb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_has_the_kinds_of_kernel_memory() {
        let stat = b"anon 101\nfile 102\nkernel 103\nkernel_stack 104\npagetables 105\nsec_pagetables 106\npercpu 107\nsock 108\n\
                     vmalloc 109\nshmem 110\nzswap 111\nzswapped 112\nfile_mapped 113\nfile_dirty 114\nfile_writeback 115\nswapcached 116\n\
                     anon_thp 0\ninactive_anon 4\nslab_reclaimable 117\nslab_unreclaimable 118\nslab 119\nhugetlb 120\n";
        let expected = MemcgStats {
            anon_bytes: Some(101),
            file_bytes: Some(102),
            kernel_bytes: Some(103),
            kernel_stack_bytes: Some(104),
            page_table_bytes: Some(105),
            secondary_page_table_bytes: Some(106),
            percpu_bytes: Some(107),
            sock_bytes: Some(108),
            vmalloc_bytes: Some(109),
            shmem_bytes: Some(110),
            zswap_bytes: Some(111),
            file_mapped_bytes: Some(113),
            file_dirty_bytes: Some(114),
            file_writeback_bytes: Some(115),
            swap_cache_bytes: Some(116),
            slab_reclaimable_bytes: Some(117),
            slab_unreclaimable_bytes: Some(118),
            huge_bytes: Some(120),
        };
        assert_eq!(parse(stat), expected);
    }

    #[test]
    fn v1_has_those_of_descendants_under_other_names() {
        let stat = b"cache 1\nrss 2\nshmem 3\nmapped_file 4\ndirty 5\nwriteback 6\nswap 7\ntotal_cache 11\ntotal_rss 12\n\
                     total_shmem 13\ntotal_mapped_file 14\ntotal_dirty 15\ntotal_writeback 16\ntotal_swap 17\n";
        let expected = MemcgStats {
            file_bytes: Some(11),
            anon_bytes: Some(12),
            shmem_bytes: Some(13),
            file_mapped_bytes: Some(14),
            file_dirty_bytes: Some(15),
            file_writeback_bytes: Some(16),
            ..MemcgStats::default()
        };
        assert_eq!(parse(stat), expected);
    }

    #[test]
    fn what_is_no_figure_is_none() {
        for text in [&b""[..], b"anon\n", b"anon -1\n", b"anon 99999999999999999999999\n", b"\xff\nxanon 1\n"]
        {
            assert_eq!(parse(text), MemcgStats::default());
        }
    }
}
