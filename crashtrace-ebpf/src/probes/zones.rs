//! The zones of the page allocator, copied at the failure or the decision: free memory, the sizes of its blocks, and the
//! reserves.
//!
//! Zones are found from the kernel's array of nodes (`node_data`; `contig_page_data` if it is built for one node), whose
//! address the loader knows from kallsyms. Some kernels do not list data there, but an `oom_control` also has a list of zones.
//! Otherwise there is no section, and the user side reads the zones itself.
//!
//! As in `holders`, zones are first noted as addresses and copied afterwards by a subprogram, so that the copying, which is
//! long, is outside the loops that search.

use core::ptr;

use crashtrace_ebpf::fields;
use crashtrace_ebpf::{
    Header, MAX_NUMA_NODES, MAX_ORDERS, MAX_ZONE_TYPES, MAX_ZONES, NO_TYPE, Section, ZONE_NAME_BYTES, Zone,
    ZonesHead, address, kind, section, zone_missing,
};

use crate::emit::{Record, end, grow, scratch_of};
use crate::kernel::{copy, copy_member, copy_string, data, field, is_zero, member, offset, read};
use crate::maps::{HOLDERS_AT, Scratch, slot};
use crate::probes::oom::memory;

/// Migrate types that are read: kernels have 5 or 6.
const MAX_TYPES: usize = 6;
/// Bytes of a `struct list_head`.
const LIST_HEAD: u64 = 16;

/// Writes the record of the zones and the node's memory at a decision with this `zonelist`. `task` is any task of the machine.
#[inline(always)]
pub(crate) fn record(zonelist: u64, task: u64, decision_ns: u64, hook: u8) {
    let Some(record) = Record::begin::<()>(slot::HOLDERS, kind::OOM_ZONES, hook) else { return };
    // SAFETY: the header lies within the record's scratch.
    unsafe { (*record.header()).decision_ns = decision_ns };
    append(&record, zonelist);
    memory::of_node(&record, task);
    record.send();
}

/// Appends the section. `zonelist` is another source of zones, or 0.
#[inline(always)]
pub(crate) fn append(record: &Record, zonelist: u64) {
    note(record, zonelist);
    zones_section(record.slot());
}

/// The notes: addresses of zones. One place more than is copied, which is used when all others are taken.
#[inline(always)]
fn notes(scratch: *mut Scratch) -> *mut u64 {
    // SAFETY: the place is a constant within the scratch.
    unsafe { scratch.cast::<u8>().add(HOLDERS_AT).cast() }
}

/// Address of the noted zone with this index.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
pub(crate) unsafe fn noted(scratch: *mut Scratch, index: u64) -> u64 {
    // SAFETY: the caller vouches for `scratch`; the place is masked to be one of the notes.
    unsafe { notes(scratch).add((index & 15) as usize).read_volatile() }
}

const _: () = assert!(HOLDERS_AT + (MAX_ZONES + 1) * 8 <= crate::maps::OFFSET_LIMIT);
const _: () = assert!(size_of::<Header>() < HOLDERS_AT);

/// Notes populated zones, and writes their number to `candidates`.
#[inline(always)]
fn note(record: &Record, zonelist: u64) {
    // SAFETY: `Record::begin` took the scratch from its map.
    unsafe { (&raw mut (*record.scratch()).candidates).write_volatile(0) };
    let (array, only) = (data(address::NODE_DATA), data(address::CONTIG_PAGE_DATA));
    if array != 0 {
        for node in 0..MAX_NUMA_NODES as u64 {
            // A node that does not exist is a null pointer, which cannot be read.
            note_zones(record.slot(), read(array + 8 * node));
        }
        return;
    }
    if only != 0 {
        note_zones(record.slot(), only);
        return;
    }
    let (Some(refs), Some(stride)) = (field(fields::ZONELIST_REFS), field(fields::ZONEREF_STRIDE)) else {
        return;
    };
    for index in 0..MAX_ZONES {
        // The list ends with a null pointer; entries after it are not noted, because null cannot be read.
        let zone: u64 = member(zonelist + refs + index as u64 * stride, fields::ZONEREF_ZONE);
        if zone == 0 {
            break;
        }
        note_zone(record.slot(), zone);
    }
}

/// Notes the zones of a NUMA node.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_zones(slot: u64, pgdat: u64) -> u64 {
    let (Some(zones), Some(stride), Some(count)) =
        (field(fields::PGDAT_ZONES), field(fields::PGDAT_ZONE_STRIDE), field(fields::PGDAT_ZONE_COUNT))
    else {
        return 0;
    };
    for index in 0..MAX_ZONE_TYPES {
        if index as u64 >= count {
            break;
        }
        note_zone(slot, pgdat + zones + index as u64 * stride);
    }
    0
}

/// Notes a zone, but counts it only if it has memory: without a branch, as in `holders`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_zone(slot: u64, zone: u64) -> u64 {
    const { assert!(MAX_ZONES == 16) };
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map; the place is the last one, or below it.
    unsafe {
        let count = &raw mut (*scratch).candidates;
        let found = count.read_volatile();
        let full = is_zero(found >> 4) ^ 1;
        let place = (found & 15 & full.wrapping_sub(1)) | (full << 4);
        notes(scratch).add((place & 31) as usize).write_volatile(zone);
        let present: u64 = member(zone, fields::ZONE_PRESENT);
        count.write_volatile(found + (is_zero(present) ^ 1));
    }
    0
}

/// Writes the section with the noted zones; nothing if there are none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn zones_section(slot: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map; a record with all other sections leaves room for this one.
    unsafe {
        let found = (&raw const (*scratch).candidates).read_volatile();
        if found == 0 {
            return 0;
        }
        let section: *mut Section = end(scratch).cast();
        (*section).kind = section::ZONES;
        (*section).flags = 0;
        (*section).joins = 0;
        (*section).joined_at = 0;
        grow(scratch, (size_of::<Section>() + size_of::<ZonesHead>()) as u64);
        let head: *mut ZonesHead = section.add(1).cast();
        let type_of = |index| field(index).map_or(NO_TYPE, |value| value as u8);
        (*head).zone_types = [
            type_of(fields::ZONE_TYPE_DMA),
            type_of(fields::ZONE_TYPE_DMA32),
            type_of(fields::ZONE_TYPE_NORMAL),
            type_of(fields::ZONE_TYPE_MOVABLE),
        ];
        (*head).cma_type = type_of(fields::MIGRATE_CMA);
        let orders = field(fields::ZONE_ORDERS).unwrap_or(0);
        (*head).orders = if orders > MAX_ORDERS as u64 { MAX_ORDERS as u8 } else { orders as u8 };
        (*head).pad = [0; 2];
        let mut written = 0_u16;
        for index in 0..MAX_ZONES as u64 {
            if index >= found {
                break;
            }
            zone_facts(slot, index);
            written += 1;
        }
        (*section).levels = written;
        (*section).skipped = (found - u64::from(written)) as u16;
        (*section).length =
            (size_of::<Section>() + size_of::<ZonesHead>() + usize::from(written) * size_of::<Zone>()) as u32;
    }
    0
}

/// Appends the noted zone with this index.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn zone_facts(slot: u64, index: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: as above.
    let (zone, address): (*mut Zone, u64) = unsafe { (end(scratch).cast(), noted(scratch, index)) };
    let mut missing = 0_u64;
    macro_rules! fill {
        ($($member:ident = $base:expr, $field:ident or $flag:ident;)+) => {
            $(
                // SAFETY: `zone` lies in the scratch.
                let failed = unsafe { copy_member(&raw mut (*zone).$member, $base, fields::$field) };
                missing |= failed * u64::from(zone_missing::$flag);
            )+
        };
    }
    fill! {
        reserved_highatomic_pages = address, ZONE_RESERVED_HIGHATOMIC or RESERVED_HIGHATOMIC;
        free_highatomic_pages = address, ZONE_FREE_HIGHATOMIC or FREE_HIGHATOMIC;
        watermark_pages = address, ZONE_WATERMARK or WATERMARKS;
        boost_pages = address, ZONE_BOOST or BOOST;
        managed_pages = address, ZONE_MANAGED or MANAGED;
        numa_node = member(address, fields::ZONE_PGDAT), PGDAT_NODE_ID or NUMA_NODE;
    }
    // SAFETY: as above.
    unsafe {
        missing |= statistic(&raw mut (*zone).free_pages, address, fields::NR_FREE_PAGES)
            * u64::from(zone_missing::FREE);
        missing |= statistic(&raw mut (*zone).free_cma_pages, address, fields::NR_FREE_CMA_PAGES)
            * u64::from(zone_missing::CMA);
        missing |=
            reserve(&raw mut (*zone).lowmem_reserve_pages, address) * u64::from(zone_missing::LOWMEM_RESERVE);
        let name = copy_string::<ZONE_NAME_BYTES>(
            (&raw mut (*zone).name).cast(),
            member(address, fields::ZONE_NAME),
        );
        missing |= is_zero(name) * u64::from(zone_missing::NAME);
        missing |= blocks(zone, address);
        (*zone).missing = missing as u32;
        grow(scratch, size_of::<Zone>() as u64);
    }
    0
}

/// Copies one of a zone's statistics. Gives 1 if that failed, else 0.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn statistic(to: *mut i64, zone: u64, index: usize) -> u64 {
    let at = zone.wrapping_add(offset(fields::ZONE_VM_STAT)).wrapping_add(8 * offset(index));
    // SAFETY: the caller vouches for `to`.
    unsafe { copy(to, at) }
}

/// Copies the reserves, as many as this kernel has. Gives 1 if that failed, else 0.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn reserve(to: *mut [i64; MAX_ZONE_TYPES], zone: u64) -> u64 {
    let (Some(reserve), Some(count)) = (field(fields::ZONE_LOWMEM_RESERVE), field(fields::PGDAT_ZONE_COUNT))
    else {
        return 1;
    };
    let mut failed = 0;
    for index in 0..MAX_ZONE_TYPES {
        // SAFETY: the caller vouches for `to`.
        let one = unsafe { to.cast::<i64>().add(index) };
        // SAFETY: as above.
        failed |= unsafe {
            if (index as u64) < count {
                copy(one, zone + reserve + 8 * index as u64)
            } else {
                ptr::write(one, 0);
                0
            }
        };
    }
    failed
}

/// Copies the numbers of free blocks and notes which migrate types have one. Gives bits of `zone_missing`.
///
/// # Safety
/// `zone` must be writable.
#[inline(always)]
unsafe fn blocks(zone: *mut Zone, address: u64) -> u64 {
    let (Some(area), Some(stride), Some(orders)) =
        (field(fields::ZONE_FREE_AREA), field(fields::ZONE_FREE_AREA_STRIDE), field(fields::ZONE_ORDERS))
    else {
        return u64::from(zone_missing::FREE_BLOCKS | zone_missing::BLOCK_TYPES);
    };
    let mut missing = 0;
    for order in 0..MAX_ORDERS {
        let area = address + area + order as u64 * stride;
        // SAFETY: the caller vouches for `zone`.
        let (number, types) = unsafe {
            (
                (&raw mut (*zone).free_blocks).cast::<u64>().add(order),
                (&raw mut (*zone).block_types).cast::<u8>().add(order),
            )
        };
        if order as u64 >= orders {
            // SAFETY: as above.
            unsafe {
                ptr::write(number, 0);
                ptr::write(types, 0);
            }
            continue;
        }
        // SAFETY: as above.
        unsafe {
            missing |=
                copy_member(number, area, fields::FREE_AREA_NR_FREE) * u64::from(zone_missing::FREE_BLOCKS);
            let present = present_types(area);
            ptr::write(types, present as u8);
            missing |= (present >> 63) * u64::from(zone_missing::BLOCK_TYPES);
        }
    }
    missing
}

/// Which of the lists of a `free_area` have an entry, by bit: those that do not point to themselves. The highest bit is set if that
/// failed.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn present_types(area: u64) -> u64 {
    let (Some(lists), Some(count)) = (field(fields::FREE_AREA_LISTS), field(fields::FREE_AREA_LIST_COUNT))
    else {
        return 1 << 63;
    };
    let mut bits = 0_u64;
    let mut failed = 0;
    for index in 0..MAX_TYPES {
        if index as u64 >= count {
            break;
        }
        let list = area + lists + index as u64 * LIST_HEAD;
        let mut first = 0_u64;
        // SAFETY: a local variable.
        let unread = unsafe { copy(&raw mut first, list) };
        failed |= unread;
        bits |= ((is_zero(first ^ list) | unread) ^ 1) << index;
    }
    bits | failed << 63
}
