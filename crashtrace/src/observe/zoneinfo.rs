//! PURE: the zones of the page allocator from `/proc/buddyinfo`, `/proc/zoneinfo` and `/proc/pagetypeinfo` (`mm/vmstat.c`,
//! 5.10 to 7.3).
//!
//! The last one, which is for root alone, has the types of the free blocks: without it a large block that only movable memory
//! may use looks usable for all allocations. For the atomic reserves no kernel shows there how much is free.

use crate::event::{BlockTypes, Name, Zone, Zones};

/// The zones, marked as read late.
///
/// # Errors
/// The files have another format, as a phrase.
pub fn parse(buddyinfo: &[u8], zoneinfo: &[u8]) -> Result<Zones, String> {
    let mut zones = Zones { late: true, ..Zones::default() };
    let (mut node, mut place) = (None, 0_usize);
    let mut current: Option<Zone> = None;
    for line in String::from_utf8_lossy(zoneinfo).lines() {
        if let Some((numa_node, name)) = heading(line) {
            zones.list.extend(current.take().filter(is_populated));
            // All zones of a node are listed, populated or not, in the order of their types.
            place = if node == Some(numa_node) { place + 1 } else { 0 };
            node = Some(numa_node);
            let types = &mut zones.types;
            match name {
                "DMA" => types.dma = Some(place),
                "DMA32" => types.dma32 = Some(place),
                "Normal" => types.normal = Some(place),
                "Movable" => types.movable = Some(place),
                _ => {}
            }
            current =
                Some(Zone { numa_node: Some(numa_node), name: Some(Name::from(name)), ..Zone::default() });
        } else if let Some(zone) = &mut current {
            figure(zone, line);
        }
    }
    zones.list.extend(current.filter(is_populated));
    for line in String::from_utf8_lossy(buddyinfo).lines() {
        let Some((numa_node, rest)) = heading(line) else { continue };
        let mut words = rest.split_whitespace();
        let name = words.next().unwrap_or_default();
        let blocks: Option<Vec<u64>> = words.map(|word| word.parse().ok()).collect();
        if let Some(zone) = zone_mut(&mut zones, numa_node, name) {
            zone.free_blocks = blocks.filter(|blocks| !blocks.is_empty());
        }
    }
    for zone in &mut zones.list {
        // Watermarks are listed with the boost.
        if let Some(watermarks) = &mut zone.watermarks {
            for pages in [&mut watermarks.min_pages, &mut watermarks.low_pages, &mut watermarks.high_pages] {
                *pages = pages.saturating_sub(zone.boost_pages);
            }
        }
    }
    if zones.list.is_empty() {
        return Err("/proc/zoneinfo lists no zone with memory".to_owned());
    }
    Ok(zones)
}

/// Adds the types of blocks, from the table of free blocks in `/proc/pagetypeinfo`:
///
/// ```text
/// Free pages count per migrate type at order       0      1      2
/// Node    0, zone      DMA, type    Unmovable      3      0     >100000
/// ```
///
/// The other table of that file has lines with the same beginning, but no type.
pub fn add_types(zones: &mut Zones, pagetypeinfo: &[u8]) {
    for line in String::from_utf8_lossy(pagetypeinfo).lines() {
        let Some((numa_node, rest)) = heading(line) else { continue };
        let Some((name, rest)) = rest.split_once(',') else { continue };
        let mut words = rest.split_whitespace();
        if words.next() != Some("type") {
            continue;
        }
        let (kind, counts) = (words.next().unwrap_or_default(), words);
        let Some(zone) = zone_mut(zones, numa_node, name.trim()) else { continue };
        let types = zone.block_types.get_or_insert_default();
        for (order, count) in counts.enumerate() {
            if order == types.len() {
                types.push(BlockTypes::default());
            }
            // Large counts are printed as `>100000`.
            let Some(types) = types.get_mut(order).filter(|_| count != "0") else { continue };
            match kind {
                "Unmovable" | "Movable" | "Reclaimable" => types.any = true,
                "HighAtomic" => types.highatomic = true,
                "CMA" => types.cma = true,
                _ => types.other = true,
            }
        }
    }
}

fn zone_mut<'a>(zones: &'a mut Zones, numa_node: u32, name: &str) -> Option<&'a mut Zone> {
    zones.list.iter_mut().find(|zone| {
        zone.numa_node == Some(numa_node) && zone.name.as_ref().is_some_and(|of| of.0 == name.as_bytes())
    })
}

/// `Node 0, zone   Normal` and what follows.
fn heading(line: &str) -> Option<(u32, &str)> {
    let (node, rest) = line.strip_prefix("Node ")?.split_once(',')?;
    Some((node.trim().parse().ok()?, rest.trim_start().strip_prefix("zone")?.trim()))
}

fn is_populated(zone: &Zone) -> bool {
    zone.managed_pages.is_some_and(|pages| pages > 0)
}

fn figure(zone: &mut Zone, line: &str) {
    let mut words = line.split_whitespace();
    let (Some(name), Some(value)) = (words.next(), words.next()) else { return };
    if name == "protection:" {
        let list = line.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(list, _)| list);
        let reserves = list.map(|list| list.split(',').map(|pages| pages.trim().parse().ok()).collect());
        zone.lowmem_reserve_pages = reserves.flatten();
        return;
    }
    // `pages free     3977`
    let value = if name == "pages" { words.next().unwrap_or_default() } else { value };
    let Ok(value) = value.parse::<u64>() else { return };
    let mut watermarks = zone.watermarks.unwrap_or_default();
    match name {
        "pages" => zone.free_pages = Some(value),
        "boost" => zone.boost_pages = value,
        "managed" => zone.managed_pages = Some(value),
        "nr_free_cma" => zone.free_cma_pages = value,
        "min" => watermarks.min_pages = value,
        "low" => watermarks.low_pages = value,
        // A per-CPU list has one as well, with a colon.
        "high" => watermarks.high_pages = value,
        _ => return,
    }
    if matches!(name, "min" | "low" | "high") {
        zone.watermarks = Some(watermarks);
    }
}

#[cfg(test)]
mod tests;
