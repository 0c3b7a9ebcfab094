//! What the kernel counts of the node, beside its zones: statistics of NUMA nodes and zones, pools of huge pages, and what is counted
//! outside of both; and of the root memcg and its children, whose pages are not charged.

use core::mem::offset_of;

use crashtrace_ebpf::{
    HUGE_SIZES, HugePages, MAX_ZONES, NodeMemory, address, fields, node_memory_flag, node_stat, section,
};

use super::{memcg_facts, memcg_of, open, place_of, state};
use crate::emit::{Record, at, scratch_of};
use crate::kernel::{copy, copy_member, data, field, is_zero, member, memory_css, offset, read};
use crate::lineage;
use crate::probes::zones;

/// Children of the root memcg that are looked at. systemd makes five; a container engine that makes one for each container has
/// fewer than this on any node.
const CHILDREN: usize = 128;
const CHILDREN_AT_ONCE: usize = 16;

/// Appends the memory of the node, if its zones were noted in the record's scratch. `task` is any task of the machine, for the way
/// to the root memcg.
#[inline(always)]
pub(crate) fn of_node(record: &Record, task: u64) {
    let slot = record.slot();
    let place = node_memory(slot);
    if place == 0 {
        return;
    }
    let root = lineage::hierarchy_root(memory_css(task));
    let memcg = memcg_of(root);
    if memcg != 0 {
        // From here and not within `node_memory`: the stacks of functions that call each other add up, and may have 512 bytes.
        memcg_facts(slot, place + offset_of!(NodeMemory, root) as u64, memcg);
        let children = children(slot, place, root);
        // SAFETY: `Record::begin` took the scratch from its map, and the place is masked to lie in it.
        unsafe {
            let flags = &raw mut (*at(record.scratch(), place).cast::<NodeMemory>()).flags;
            let more = u64::from(node_memory_flag::ROOT) | u64::from(node_memory_flag::CHILDREN) * children;
            flags.write_volatile(flags.read_volatile() | more as u32);
        }
    }
}

/// Appends the section of the node, without the root memcg. Gives its place in the record, 0 if no zones were noted.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn node_memory(slot: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map, and the place is masked to lie in it.
    unsafe {
        let found = (&raw const (*scratch).candidates).read_volatile();
        if found == 0 {
            return 0;
        }
        let place = open::<NodeMemory>(scratch, section::NODE_MEMORY);
        let body: *mut NodeMemory = at(scratch, place).cast();
        // All but the memcg, whose members are all written. In words: what is longer than a few would be a call of memset.
        clear(body);
        // Zones of one NUMA node are noted one after the other.
        (&raw mut (*scratch).context).write_volatile(0);
        for index in 0..MAX_ZONES as u64 {
            if index >= found {
                break;
            }
            memory_of_zone(slot, place, index);
        }
        let mut flags =
            u64::from(node_memory_flag::INCOMPLETE) * (is_zero(found / (MAX_ZONES as u64 + 1)) ^ 1);
        flags |= u64::from(node_memory_flag::HUGE) * huge_pages(body);
        globals(body);
        (*body).flags = flags as u32;
        place
    }
}

/// Zeroes all words of a `NodeMemory`, and marks all statistics as missing.
///
/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn clear(out: *mut NodeMemory) {
    for word in 0..size_of::<NodeMemory>() / 8 {
        // SAFETY: the caller vouches for `out`.
        unsafe { out.cast::<u64>().add(word).write_volatile(0) };
    }
    // SAFETY: as above.
    unsafe { (*out).missing_stats = (1 << node_stat::COUNT) - 1 };
}

/// Adds `value` to statistic `index`, which is then known, unless it could not be read.
///
/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn add(out: *mut NodeMemory, index: usize, value: i64, failed: u64) {
    // SAFETY: the caller vouches for `out`; `index` is one of the table's constants.
    unsafe {
        let stat = (&raw mut (*out).stats).cast::<i64>().add(index);
        stat.write_volatile(stat.read_volatile().wrapping_add(value));
        let missing = &raw mut (*out).missing_stats;
        missing.write_volatile(missing.read_volatile() & !((failed ^ 1) << index));
    }
}

/// The same for what is at this address of the kernel.
///
/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn add_from(out: *mut NodeMemory, index: usize, address: u64) {
    let mut value = 0_i64;
    // SAFETY: a local variable, which is 0 after a failure; the caller vouches for `out`.
    unsafe {
        let failed = copy(&raw mut value, address);
        add(out, index, value, failed);
    }
}

/// Adds a noted zone, and its NUMA node if the zone before it is not of the same one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn memory_of_zone(slot: u64, place: u64, index: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map, and the places are masked to lie in it.
    unsafe {
        let out: *mut NodeMemory = at(scratch, place).cast();
        let zone = zones::noted(scratch, index);
        let pgdat: u64 = member(zone, fields::ZONE_PGDAT);
        let before = (&raw const (*scratch).context).read_volatile();
        (&raw mut (*scratch).context).write_volatile(pgdat);
        if pgdat != before {
            of_pgdat(out, pgdat);
        }
        of_zone(out, zone);
    }
    0
}

/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn of_pgdat(out: *mut NodeMemory, pgdat: u64) {
    let statistics = pgdat.wrapping_add(offset(fields::PGDAT_VM_STAT));
    for index in 0..node_stat::OF_NODES {
        let at = statistics.wrapping_add(8 * offset(node_stat::FIRST_FIELD + index));
        // SAFETY: the caller vouches for `out`.
        unsafe { add_from(out, index, at) };
    }
}

/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn of_zone(out: *mut NodeMemory, zone: u64) {
    // SAFETY: the caller vouches for `out`.
    unsafe {
        (*out).present_pages += member::<u64>(zone, fields::ZONE_PRESENT);
        (*out).managed_pages += member::<u64>(zone, fields::ZONE_MANAGED);
    }
    let statistics = zone.wrapping_add(offset(fields::ZONE_VM_STAT));
    macro_rules! add_all {
        ($($index:ident = $field:ident;)+) => {
            $(
                let at = statistics.wrapping_add(8 * offset(fields::$field));
                // SAFETY: as above.
                unsafe { add_from(out, node_stat::$index, at) };
            )+
        };
    }
    add_all! {
        ZSMALLOC = ZONE_STAT_ZSMALLOC;
        UNACCEPTED = ZONE_STAT_UNACCEPTED;
        PAGE_TABLES = ZONE_STAT_PAGE_TABLES;
    }
}

/// Copies the pools of huge pages. Gives 1 if they are known.
///
/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn huge_pages(out: *mut NodeMemory) -> u64 {
    let (sizes, count) = (data(address::HSTATES), data(address::MAX_HSTATE));
    let Some(stride) = field(fields::HSTATE_SIZE) else { return 0 };
    if sizes == 0 || count == 0 {
        return 0;
    }
    let count: u32 = read(count);
    for index in 0..HUGE_SIZES {
        if index as u32 >= count {
            break;
        }
        let hstate = sizes + index as u64 * stride;
        // SAFETY: the caller vouches for `out`.
        unsafe {
            let size: *mut HugePages = (&raw mut (*out).huge).cast::<HugePages>().add(index);
            let failed = copy_member(&raw mut (*size).order, hstate, fields::HSTATE_ORDER)
                | copy_member(&raw mut (*size).total, hstate, fields::HSTATE_TOTAL)
                | copy_member(&raw mut (*size).free, hstate, fields::HSTATE_FREE)
                | copy_member(&raw mut (*size).reserved, hstate, fields::HSTATE_RESERVED);
            (*size).there = (failed ^ 1) as u32;
        }
    }
    1
}

/// Copies what the kernel counts outside of zones and NUMA nodes, where its data is listed.
///
/// # Safety
/// `out` must be writable, and lie in a map.
#[inline(always)]
unsafe fn globals(out: *mut NodeMemory) {
    macro_rules! add_all {
        ($($index:ident = $address:ident;)+) => {
            $(
                // SAFETY: the caller vouches for `out`.
                unsafe { add_from(out, node_stat::$index, data(address::$address)) };
            )+
        };
    }
    if field(fields::NODE_STAT_VMALLOC).is_none() {
        add_all! { VMALLOC = VMALLOC_PAGES; }
    }
    add_all! {
        TCP = TCP_PAGES;
        UDP = UDP_PAGES;
        SWAP_TOTAL = SWAP_TOTAL;
        SWAP_FREE = SWAP_FREE;
    }
    let (pages, units) = (data(address::PERCPU_POPULATED), data(address::PERCPU_UNITS));
    if pages != 0 && units != 0 {
        let populated = u64::from(read::<u32>(pages)) * u64::from(read::<u32>(units));
        // SAFETY: as above.
        unsafe { add(out, node_stat::PERCPU, populated as i64, 0) };
    }
}

/// Adds up the pages on lists of the children of `root`. Gives 1 if that were all.
#[inline(always)]
fn children(slot: u64, place: u64, root: u64) -> u64 {
    let Some(head) = field(fields::CSS_CHILDREN) else { return 0 };
    let places = [
        place_of(fields::MEMCG_STAT_ANON),
        place_of(fields::MEMCG_STAT_FILE),
        place_of(fields::MEMCG_STAT_SHMEM),
    ];
    if (places[0].1 | places[1].1 | places[2].1) != 0 {
        return 0;
    }
    let places = places[0].0 | places[1].0 << 16 | places[2].0 << 32;
    let head = root + head;
    let mut next: u64 = read(head);
    for _ in 0..CHILDREN / CHILDREN_AT_ONCE {
        if next == head || next == 0 {
            break;
        }
        next = memory_of_children(slot, place, next, head, places);
    }
    is_zero(next ^ head)
}

/// Adds those of some children, from the `sibling` at `next` on, in the list of `head`. `places` of statistics have 16 bits each. Gives
/// where it stopped.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn memory_of_children(slot: u64, place: u64, next: u64, head: u64, places: u64) -> u64 {
    let (Some(scratch), Some(sibling)) = (scratch_of(slot), field(fields::CSS_SIBLING)) else { return 0 };
    // SAFETY: the place is masked to lie in the scratch.
    let out: *mut NodeMemory = unsafe { at(scratch, place).cast() };
    let mut next = next;
    for _ in 0..CHILDREN_AT_ONCE {
        if next == head || next == 0 {
            break;
        }
        let state = state(memcg_of(next - sibling));
        for index in 0..3 {
            let place = places >> (16 * index) & 0xffff;
            // SAFETY: as above.
            unsafe {
                let sum = (&raw mut (*out).children).cast::<i64>().add(index);
                sum.write_volatile(sum.read_volatile().wrapping_add(read(state + 8 * place)));
            }
        }
        // SAFETY: as above.
        unsafe { (*out).children_seen += 1 };
        next = read(next);
    }
    next
}
