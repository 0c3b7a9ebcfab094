//! Where the memory was: what the kernel counts of a memcg and of the node, copied at the decision.
//!
//! Afterwards is too late: the victim's memory is being freed, and its page tables, sockets and pipes are gone first.
//!
//! A memcg's statistics (`memcg_vmstats.state`, in 5.10 `mem_cgroup.vmstats`) are sums that the kernel makes from those of CPUs and
//! descendants every two seconds, up to some 6.12 whenever reclaim begins, and when it logs a memcg's OOM (`mem_cgroup_flush_stats`,
//! `mm/memcontrol.c`): after `oom_kill_process` was entered, and before it marks the victim. So they are copied at the mark, while
//! the killer holds the victim's lock, which the victim needs to give its memory back (`exit_mm`, `kernel/exit.c`). The kernel logs no
//! more than ten OOMs in five seconds: statistics of further ones are up to two seconds old.
//!
//! From 6.10 on only the statistics that a memcg has
//! are stored, and a table of bytes (`mem_cgroup_stats_index`) has the place of each. Its first entry is that of
//! `NR_INACTIVE_ANON`, which is always the first one stored: so places are counted from it, whether the kernel counts from 0 or
//! from 1.

use core::mem::offset_of;

use crashtrace_ebpf::{
    LRU_LISTS, MAX_NUMA_NODES, MAX_ZONE_TYPES, MemcgMemory, Section, address, fields,
    memcg_memory_missing as lacks, memcg_stat, section,
};

use crate::emit::{Record, at, end, grow, scratch_of};
use crate::kernel::{copy, copy_member, data, field, is_zero, member, memory_css, offset, opaque, read};
use crate::lineage;
use crate::maps::Scratch;

mod node;

pub(crate) use node::of_node;

/// Zones of a NUMA node times its lists (`MAX_NR_ZONES`, `NR_LRU_LISTS`): as many as [`Scratch::candidate`] has room for.
const LRU_SIZES: usize = 25;

const _: () = assert!(LRU_SIZES <= 2 * crate::maps::CANDIDATES);

/// Appends the memory of a memcg; nothing if it is 0.
#[inline(always)]
pub(crate) fn of_memcg(record: &Record, memcg: u64) {
    memcg_memory(record.slot(), memcg);
}

/// Appends the memory of the limit owner `memcg` and of the memcg of `victim`, if that is another; nothing if the first is 0.
#[inline(always)]
pub(crate) fn of_limit(record: &Record, memcg: u64, victim: u64) {
    if memcg == 0 {
        return;
    }
    of_memcg(record, memcg);
    let own = memcg_of(memory_css(victim));
    if own != memcg {
        of_memcg(record, own);
    }
}

/// The memcg of a css of the memory controller; 0 for 0.
#[inline(always)]
pub(crate) fn memcg_of(css: u64) -> u64 {
    css.wrapping_sub(offset(fields::MEMCG_CSS)) & is_zero(css).wrapping_sub(1)
}

/// Opens a section with a body of `B`; gives the body's place in the record.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
unsafe fn open<B>(scratch: *mut Scratch, kind: u16) -> u64 {
    // SAFETY: the caller vouches for `scratch`; a record with all its sections leaves room for this one.
    unsafe {
        let section: *mut Section = end(scratch).cast();
        (*section).kind = kind;
        (*section).levels = 0;
        (*section).flags = 0;
        (*section).skipped = 0;
        (*section).length = (size_of::<Section>() + size_of::<B>()) as u32;
        (*section).joins = 0;
        (*section).joined_at = 0;
        grow(scratch, (size_of::<Section>() + size_of::<B>()) as u64);
        (&raw const (*scratch).length).read_volatile() - size_of::<B>() as u64
    }
}

/// Appends the section of a memcg; nothing if it is 0.
#[inline(always)]
fn memcg_memory(slot: u64, memcg: u64) {
    if memcg != 0
        && let Some(scratch) = scratch_of(slot)
    {
        // SAFETY: the scratch is a value of the map.
        let place = unsafe { open::<MemcgMemory>(scratch, section::MEMCG_MEMORY) };
        memcg_facts(slot, place, memcg);
    }
}

/// Copies what is known of a memcg into the record of `slot`, at `place`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn memcg_facts(slot: u64, place: u64, memcg: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the place is masked to lie within the scratch, with room behind it.
    let out: *mut MemcgMemory = unsafe { at(scratch, place).cast() };
    let cgroup = lineage::cgroup(memcg + offset(fields::MEMCG_CSS));
    let mut missing = 0;
    macro_rules! fill {
        ($($member:ident = $base:expr, $field:ident or $flag:ident;)+) => {
            $(
                // SAFETY: `out` lies in the scratch.
                let failed = unsafe { copy_member(&raw mut (*out).$member, $base, fields::$field) };
                missing |= failed * u64::from(lacks::$flag);
            )+
        };
    }
    fill! {
        cgroup_id = member(cgroup, fields::CGROUP_KN), KN_ID or ID;
        usage_pages = memcg, MEMCG_USAGE or USAGE;
        kmem_pages = memcg, MEMCG_KMEM_USAGE or KMEM;
        tcpmem_pages = memcg, MEMCG_TCPMEM_USAGE or TCPMEM;
        dying = cgroup, CGROUP_NR_DYING or DYING;
    }
    missing |= lists(slot, place, memcg) * u64::from(lacks::LRU);
    // SAFETY: as above.
    unsafe {
        (*out).missing_stats = statistics(slot, place, memcg);
        (*out).missing = missing as u32;
    }
    0
}

/// Where the statistics of a memcg begin, or an address that cannot be read.
#[inline(always)]
fn state(memcg: u64) -> u64 {
    match (field(fields::MEMCG_VMSTATS_STATE), field(fields::MEMCG_VMSTATS)) {
        (Some(state), _) => member::<u64>(memcg, fields::MEMCG_VMSTATS) + state,
        (None, Some(inline)) => memcg + inline,
        (None, None) => 0,
    }
}

/// The place of a statistic, and 1 if this kernel has none; `number` is the statistic's field in the table.
#[inline(always)]
fn place_of(number: usize) -> (u64, u64) {
    let (Some(enumerator), Some(length)) = (field(number), field(fields::MEMCG_VMSTATS_LENGTH)) else {
        return (0, 1);
    };
    let compact = field(fields::MEMCG_NR_STAT).is_some_and(|all| length < all);
    let mut place = enumerator;
    let mut unknown = 0;
    if compact {
        let table = data(address::MEMCG_STATS_INDEX);
        unknown = is_zero(table);
        let first: u8 = read(table);
        let own: u8 = read(table + enumerator);
        place = u64::from(own).wrapping_sub(u64::from(first)) & 0xff;
    }
    // Below the length the difference is negative.
    let outside = opaque(place.wrapping_sub(length) >> 63) ^ 1;
    (place, unknown | outside)
}

/// Copies the statistics; gives the bits of the missing ones.
#[inline(always)]
fn statistics(slot: u64, place: u64, memcg: u64) -> u64 {
    let state = state(memcg);
    let mut missing = 0;
    for index in 0..memcg_stat::COUNT as u64 {
        missing |= memcg_statistic(slot, place, state, index) << index;
    }
    missing
}

/// Copies the statistic with this index. Gives 1 if it is missing, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn memcg_statistic(slot: u64, place: u64, state: u64, index: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 1 };
    // The number of the field is not a constant to the verifier, as others are: bounded, it may be any.
    let index = (index & 31) as usize;
    if index >= memcg_stat::COUNT {
        return 1;
    }
    let (number, absent) = place_of(memcg_stat::FIRST_FIELD + index);
    // SAFETY: the place is masked to lie in the scratch, with room behind it. Nothing can be read at address 0.
    unsafe {
        let out: *mut MemcgMemory = at(scratch, place).cast();
        copy((&raw mut (*out).stats).cast::<i64>().add(index), (state + 8 * number) & absent.wrapping_sub(1))
    }
}

/// Generations of the multi-generational LRU (`MAX_NR_GENS`, `include/linux/mmzone.h`, 6.1 to 7.3).
const GENERATIONS: u64 = 4;

/// What [`memcg_lists_of_node`] gives if there is no such NUMA node, and if its lists cannot be read.
const NO_NODE: u64 = 1;
const UNREAD: u64 = 2;

/// Adds up the sizes of a memcg's own lists over zones and NUMA nodes. Gives 1 if there are none.
///
/// A page is on a list of `enum lru_list`, or in a generation of the multi-generational LRU, whose pages are in no `lru_zone_size`
/// (`lru_gen_update_size`, `include/linux/mm_inline.h`). That is switched at run time, so both are read.
#[inline(always)]
fn lists(slot: u64, place: u64, memcg: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 1 };
    for list in 0..LRU_LISTS {
        // SAFETY: as in `memcg_facts`. Word by word, since an array would be a call of memset.
        unsafe {
            (&raw mut (*at(scratch, place).cast::<MemcgMemory>()).lru_pages)
                .cast::<u64>()
                .add(list)
                .write_volatile(0);
        }
    }
    for node in 0..MAX_NUMA_NODES as u64 {
        let end = memcg_lists_of_node(slot, place, memcg, node);
        if end != 0 {
            return u64::from(end == UNREAD || node == 0);
        }
    }
    0
}

/// Adds those of one NUMA node. Gives 0, or why there are none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn memcg_lists_of_node(slot: u64, place: u64, memcg: u64, node: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return UNREAD };
    let (Some(nodes), Some(sizes), Some(length), Some(stride)) = (
        field(fields::MEMCG_NODEINFO),
        field(fields::PER_NODE_LRU),
        field(fields::PER_NODE_LRU_LENGTH),
        field(fields::PER_NODE_LRU_STRIDE),
    ) else {
        return NO_NODE;
    };
    let count = length * stride / 8;
    let per_node: u64 = read(memcg + nodes + 8 * node);
    // The array is as long as the machine has nodes. What lies behind it is not of this memcg.
    if member::<u64>(per_node, fields::PER_NODE_MEMCG) != memcg {
        return NO_NODE;
    }
    // SAFETY: both places are constants within the scratch, or masked to lie in it.
    unsafe {
        let out: *mut MemcgMemory = at(scratch, place).cast();
        let read = (&raw mut (*scratch).candidate).cast::<[u64; LRU_SIZES]>();
        if copy(read, per_node + sizes) != 0 {
            return UNREAD;
        }
        for index in 0..LRU_SIZES {
            if index as u64 >= count {
                break;
            }
            let sum = (&raw mut (*out).lru_pages).cast::<u64>().add(index % LRU_LISTS);
            let size = read.cast::<u64>().add(index).read_volatile();
            sum.write_volatile(sum.read_volatile().wrapping_add(size));
        }
        generations(scratch, out, per_node);
    }
    0
}

/// Adds the pages of all generations.
///
/// # Safety
/// `scratch` must be a value of the map, and `out` must lie in it.
#[inline(always)]
unsafe fn generations(scratch: *mut Scratch, out: *mut MemcgMemory, per_node: u64) -> u64 {
    let (Some(pages), Some(zones)) = (field(fields::PER_NODE_GENERATIONS), field(fields::PGDAT_ZONE_COUNT))
    else {
        return 0;
    };
    // Of a generation: the zones' anonymous pages, then their file pages.
    const BOTH: usize = 2 * MAX_ZONE_TYPES;
    for generation in 0..GENERATIONS {
        // SAFETY: the caller vouches for both; the places are constants within them.
        unsafe {
            let place = (&raw mut (*scratch).candidate).cast::<[u64; BOTH]>();
            if copy(place, per_node + pages + generation * 2 * zones * 8) != 0 {
                return 0;
            }
            for index in 0..BOTH {
                if index as u64 >= 2 * zones {
                    break;
                }
                // Inactive anonymous is the first list, inactive file the third.
                let list = 2 * (is_zero(index as u64 / zones) ^ 1);
                let sum = (&raw mut (*out).lru_pages).cast::<u64>().add((list & 3) as usize);
                let size = place.cast::<u64>().add(index).read_volatile();
                sum.write_volatile(sum.read_volatile().wrapping_add(size));
            }
        }
    }
    0
}
