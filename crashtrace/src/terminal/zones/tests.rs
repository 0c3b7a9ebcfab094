use unicode_width::UnicodeWidthStr as _;

use super::*;

const SIDES: [(Style, &str); 2] = [(Style::Caution, "too small"), (Style::Heading, "enough")];

/// 5816 pages in 4213 blocks, none above 64 KiB: (1000 + 5816 * 1000 / 1024) / 4213 is 1, of 1000.
const FRAGMENTED: [u64; 11] = [2900, 1210, 88, 12, 3, 0, 0, 0, 0, 0, 0];

fn normal(free_blocks: &[u64]) -> Row<'_> {
    Row {
        numa_node: Some(0),
        name: Some("Normal"),
        free_bytes: Some(5816 << 12),
        kept_bytes: Some(1200 << 10),
        room: Some(true),
        index: Some(0.999),
        free_blocks: Some(free_blocks),
        ..Row::default()
    }
}

fn drawn(picture: &Picture<'_>, color: bool) -> String {
    let mut page = Page::new(color);
    draw(&mut page, picture);
    page.into_string()
}

fn picture<'a>(zones: &[Row<'a>], order: Option<u32>) -> Picture<'a> {
    Picture { zones: zones.to_vec(), page_size_bytes: Some(4096), order, sides: SIDES }
}

/// Bars are eighths of the fullest order, rounded up: 2900, 2420, 352, 96 and 48 pages are 8, 6.7, 1, 0.3 and 0.1 of 8.
#[test]
fn all_free_memory_stands_left_of_the_rule() {
    let dma = Row {
        name: Some("DMA"),
        free_bytes: Some(15 << 20),
        kept_bytes: Some(16 << 20),
        room: Some(false),
        index: Some(-1.0),
        free_blocks: Some(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 3]),
        ..normal(&[])
    };
    let movable = Row { name: Some("Movable"), ineligible: true, ..normal(&FRAGMENTED) };
    let expected = "                                                                  too small│enough
  zone              index   4K   8K  16K  32K  64K 128K 256K 512K   1M   2M│  4M
  NUMA 0 DMA         kept    0    0    0    0    0    0    0    0    1    1│   3
     15M free, 16M kept                                           ▁▁▁▁ ▂▂▂▂│████
  NUMA 0 Normal     0.999 2900 1210   88   12    3    0    0    0    0    0│   0
   22.7M free, 1.2M kept  ████ ▇▇▇▇ ▁▁▁▁ ▁▁▁▁ ▁▁▁▁                         │
  NUMA 0 Movable      n/a 2900 1210   88   12    3    0    0    0    0    0│   0
   22.7M free, 1.2M kept  ████ ▇▇▇▇ ▁▁▁▁ ▁▁▁▁ ▁▁▁▁                         │
  bars: the share of the zone's free memory in blocks of each size
  kept: min watermark, lowmem reserve, and what is not for such an allocation
  index (for 4M): 0 memory is short, 1 it is fragmented, -1 a block is free
  \"kept\" for an index: such a block is free, but within the reserve
  n/a: the zone is not eligible for such an allocation
";
    assert_eq!(drawn(&picture(&[dma, normal(&FRAGMENTED), movable], Some(10)), false), expected);
}

#[test]
fn without_an_order_above_0_there_is_no_rule() {
    for order in [None, Some(0)] {
        let text = drawn(&picture(&[normal(&FRAGMENTED)], order), false);
        assert!(!text.contains('│') && !text.contains("too small│"), "{text}");
    }
    // Larger than all orders: no block is large enough.
    let text = drawn(&picture(&[normal(&FRAGMENTED)], Some(11)), false);
    assert!(text.lines().nth(1).is_some_and(|head| head.ends_with("  4M│")), "{text}");
}

/// 16 zones on as many nodes, 14 orders of pages of 64 KiB, and numbers that no machine has.
#[test]
fn the_largest_picture_is_aligned_and_within_100_columns() {
    let most = [u64::MAX; 14];
    let row = |node| Row {
        numa_node: Some(node),
        name: Some("Movable"),
        free_bytes: Some(1023 << 40),
        kept_bytes: Some(1023 << 40),
        ..normal(&most)
    };
    let zones: Vec<_> = (0..16).map(row).collect();
    let text = drawn(&Picture { page_size_bytes: Some(65536), ..picture(&zones, Some(13)) }, false);
    let rules: Vec<_> = text.lines().filter_map(|line| Some(line.split_once('│')?.0.width())).collect();
    assert_eq!(rules, [rules[0]; 2 + 2 * 16], "{text}");
    for line in text.lines() {
        assert!(line.width() <= 100 && line == line.trim_end(), "{}: {line}", line.width());
    }
    assert!(text.lines().nth(1).is_some_and(|head| head.contains("  64K 128K") && head.ends_with("│512M")));
    let few = drawn(&picture(&[normal(&FRAGMENTED)], Some(5)), false);
    assert!(few.lines().all(|line| line.width() <= 80), "{few}");
}

#[test]
fn more_orders_than_a_record_has_are_counted() {
    let text = drawn(&picture(&[normal(&[1; 20])], None), false);
    assert!(text.contains("\n  4 larger sizes are not shown\n"), "{text}");
    assert!(drawn(&picture(&[normal(&[1; 70])], Some(69)), true).contains("54 larger"));
}

/// A zone's name consists of bytes from the kernel.
#[test]
fn a_name_cannot_move_the_cursor_or_the_columns() {
    for name in ["\x1b[2J\n\u{202e}", "a_name_as_long_as_none_of_the_kernel", "数据库数据库数据库", ""]
    {
        let text = drawn(&picture(&[Row { name: Some(name), ..normal(&FRAGMENTED) }], Some(10)), false);
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        let numbers = lines[2].find(" 0.999 2900").map(|at| lines[2][..at].width());
        assert_eq!(numbers, Some("  NUMA 0 Normal    ".width()), "{text}");
    }
}

#[test]
fn an_unknown_value_is_no_zero() {
    let unknown =
        Row { numa_node: None, name: None, free_bytes: None, kept_bytes: None, index: None, ..normal(&[7]) };
    let short = drawn(&picture(&[unknown, normal(&FRAGMENTED)], Some(10)), false);
    assert!(short.contains("  NUMA ? ?                   7    ?    ?"), "{short}");
    assert!(short.contains("       ? free, ? kept     ████"), "{short}");
    assert_eq!(drawn(&picture(&[Row { free_blocks: None, ..unknown }], Some(10)), false), "");
    let heads = drawn(&Picture { page_size_bytes: None, ..picture(&[normal(&FRAGMENTED)], None) }, false);
    assert!(heads.contains("  2^0  2^1 "), "{heads}");
}

#[test]
fn a_zone_that_is_ineligible_is_faint_and_the_others_are_not() {
    let ineligible = drawn(&picture(&[Row { ineligible: true, ..normal(&FRAGMENTED) }], Some(10)), true);
    assert!(
        ineligible.contains("\x1b[2m2900\x1b[0m") && ineligible.contains("\x1b[2m████\x1b[0m"),
        "{ineligible}"
    );
    let used = drawn(&picture(&[normal(&FRAGMENTED)], Some(10)), true);
    assert!(used.contains("2900 1210") && used.contains("\x1b[33m████\x1b[0m"), "{used}");
    let plain: String =
        used.split('\x1b').map(|part| part.split_once('m').map_or(part, |(_, text)| text)).collect();
    assert_eq!(
        plain.lines().count(),
        drawn(&picture(&[normal(&FRAGMENTED)], Some(10)), false).lines().count()
    );
}

#[test]
fn sizes_and_counts_fit_their_columns() {
    for (bytes, shown) in [
        (0, "0"),
        (4096, "4K"),
        (1 << 20, "1M"),
        ((1 << 20) - 1, "1M"),
        (1_572_864, "1.5M"),
        (1023 << 20, "1023M"),
        (102_300 << 10, "99.9M"),
        (u64::MAX, "16E"),
    ] {
        assert_eq!(short_size(bytes), shown);
        assert!(shown.len() <= 5);
    }
    for (blocks, shown) in [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10k"),
        (999_999, "999k"),
        (1_000_000, "1.0M"),
        (9_999_999, "9.9M"),
        (10_000_000, "10M"),
        (u64::MAX, "18E"),
    ] {
        assert_eq!(count(blocks), shown);
    }
}
