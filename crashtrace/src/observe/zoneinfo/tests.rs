//! Files of a real machine, lines that other machines add to them, and invalid ones.

use proptest::prelude::*;

use super::*;
use crate::event::{Watermarks, ZoneTypes};

const ZONEINFO: &str = include_str!("../../../../tests/fixtures/proc/zoneinfo");
const BUDDYINFO: &str = include_str!("../../../../tests/fixtures/proc/buddyinfo");

fn parsed(buddyinfo: &str, zoneinfo: &str) -> Zones {
    parse(buddyinfo.as_bytes(), zoneinfo.as_bytes()).expect("zones")
}

fn names(zones: &Zones) -> Vec<(u32, String)> {
    let name = |zone: &Zone| {
        let name = zone.name.as_ref().expect("a name");
        (zone.numa_node.expect("a node"), String::from_utf8_lossy(&name.0).into_owned())
    };
    zones.list.iter().map(name).collect()
}

#[test]
fn a_real_machine_has_the_zones_with_memory() {
    let zones = parsed(BUDDYINFO, ZONEINFO);
    let of_node_0 = ["DMA", "DMA32", "Normal"].map(|name| (0, name.to_owned()));
    assert_eq!(names(&zones), of_node_0, "Movable and Device have no memory");
    let types = ZoneTypes { dma: Some(0), dma32: Some(1), normal: Some(2), movable: Some(3) };
    assert_eq!((zones.types, zones.left_out, zones.late), (types, 0, true));
    let dma32 = Zone {
        numa_node: Some(0),
        name: Some("DMA32".into()),
        free_pages: Some(770_528),
        free_cma_pages: 0,
        highatomic_pages: 0,
        watermarks: Some(Watermarks { min_pages: 2116, low_pages: 2888, high_pages: 3660 }),
        boost_pages: 0,
        lowmem_reserve_pages: Some(vec![0, 0, 21_071, 21_071, 21_071]),
        managed_pages: Some(772_917),
        free_blocks: Some(vec![192, 108, 98, 78, 65, 48, 29, 18, 8, 5, 740]),
        block_types: None,
    };
    assert_eq!(zones.list[1], dma32);
    // The two files are of two moments, and per-CPU pages are in neither; but the blocks of a quiet zone are its free pages.
    let blocks = zones.list[1].free_blocks.as_ref().expect("blocks");
    assert_eq!(crate::fragmentation::pages(blocks), 770_528);
}

/// The boost is a part of the listed watermarks, whether it has its own line, as since 5.15, or not.
#[test]
fn the_boost_is_subtracted_from_the_watermarks_if_it_is_listed() {
    let zone = |boost: &str| {
        let text = format!(
            "Node 0, zone   Normal\n  pages free     9\n{boost}        min      900\n        low      1000\n        high     1100\n        managed  5000\n"
        );
        parsed("", &text).list.swap_remove(0)
    };
    let marks = |min_pages, low_pages, high_pages| Some(Watermarks { min_pages, low_pages, high_pages });
    let boosted = zone("        boost    300\n");
    assert_eq!((boosted.boost_pages, boosted.watermarks), (300, marks(600, 700, 800)));
    let old = zone("");
    assert_eq!((old.boost_pages, old.watermarks), (0, marks(900, 1000, 1100)));
    assert_eq!(zone("        boost    5000\n").watermarks, marks(0, 0, 0));
}

#[test]
fn each_node_has_its_own_zones() {
    let node = |node, zones: &[(&str, u64)]| {
        let zone = |(name, managed): &(&str, u64)| {
            format!(
                "Node {node}, zone {name:>8}\n  pages free     {managed}\n        managed  {managed}\n        protection: (0, 7)\n"
            )
        };
        zones.iter().map(zone).collect::<String>()
    };
    let first = node(0, &[("DMA", 10), ("Normal", 500), ("Movable", 0)]);
    let second = node(1, &[("DMA", 0), ("Normal", 600), ("Movable", 70)]);
    let buddyinfo =
        "Node 1, zone   Normal      5      6\nNode 0, zone   Normal      1      2\nNode 7, zone Normal 3\n";
    let zones = parsed(buddyinfo, &(first + &second));
    let expected = [(0, "DMA"), (0, "Normal"), (1, "Normal"), (1, "Movable")];
    assert_eq!(names(&zones), expected.map(|(node, name)| (node, name.to_owned())));
    // A kernel that is built without DMA32.
    let types = ZoneTypes { dma: Some(0), dma32: None, normal: Some(1), movable: Some(2) };
    assert_eq!(zones.types, types);
    let blocks: Vec<_> = zones.list.iter().map(|zone| zone.free_blocks.clone()).collect();
    assert_eq!(blocks, [None, Some(vec![1, 2]), Some(vec![5, 6]), None]);
}

#[test]
fn absent_figures_are_missing_and_not_zero() {
    let bare = "Node 0, zone Normal\n managed 5\n protection: (1, x)\n pages free lots\n";
    let zone = parsed("Node 0, zone Normal 1 2 x\n", bare).list.swap_remove(0);
    assert_eq!(
        (zone.free_pages, zone.watermarks, zone.lowmem_reserve_pages, zone.free_blocks),
        (None, None, None, None)
    );
}

#[test]
fn files_of_another_format_are_refused_with_a_phrase() {
    for zoneinfo in
        ["", "MemTotal: 5 kB\n", "Node 0, zone Normal\n", "Node x, zone Normal\n managed 5\n", " managed 5\n"]
    {
        let error = parse(BUDDYINFO.as_bytes(), zoneinfo.as_bytes()).expect_err(zoneinfo);
        assert_eq!(error, "/proc/zoneinfo lists no zone with memory");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_zones_or_a_phrase(buddyinfo: Vec<u8>, zoneinfo: Vec<u8>) {
        let _ = parse(&buddyinfo, &zoneinfo);
    }

    #[test]
    fn files_with_wrong_bytes_in_them_never_panic(
        changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut files = [BUDDYINFO.as_bytes().to_vec(), ZONEINFO.as_bytes().to_vec()];
        for (which, at, value) in changes {
            let file = &mut files[usize::from(which)];
            let at = at.index(file.len());
            file[at] = value;
        }
        let length = cut.index(files[1].len());
        let _ = parse(&files[0], &files[1]);
        let _ = parse(&files[0], &files[1][..length]);
    }
}
