//! The holders of the memory of the node, or of the limit owner, copied at the decision: a walk over the memory controller's tree.
//!
//! In the kernel and not in the user side afterwards, because then the victim's memory is already being freed, and because
//! opening files takes memory, of which none is free.
//!
//! The walk goes level by level, over `css.children` and `css.sibling` (`include/linux/cgroup-defs.h`, 5.10 to 7.3), which are
//! lists under RCU, as BPF programs are. It descends only into large cgroups: the children of a small cgroup are smaller still.
//! Removed cgroups stay in these lists while memory is charged to them, and count like others, with a flag.
//!
//! The killer waits for it, so the walk has a bound on its time, [`HOLDER_NS`], which tens of thousands of cgroups fit in. It takes the
//! newest cgroup of each list first: `css_create` (`kernel/cgroup/cgroup.c`, 5.10 to 7.3) appends at the tail, and a pod that has just
//! begun is a likelier cause of a shortage than one that the node has borne for a year. What is cut is the oldest, nearest to the leaves.
//!
//! So it follows `prev`, which RCU does not keep: `list_del_rcu` poisons it in a css that is freed. Only one that is taken out in the
//! 100 ns between two steps is met; nothing can be read at the poison's address then, and the walk ends as incomplete. A css that
//! is being appended may have been published by `prev` of the head before its own is written, on a machine that reorders stores: its
//! `prev` is itself then (`INIT_LIST_HEAD`), and the walk ends the same way instead of going round. To go on along `next` would in both
//! cases lead back over what has been visited, and count it twice.
//!
//! A cgroup is as large as its memory and its swap: where a service lies in swap, its memory alone would not show it.
//!
//! A step has no branch. It notes the addresses of large cgroups, which are also the queue of cgroups to descend into. They are
//! copied with names afterwards. All of it is in functions that the verifier follows once, however often they are called: a few steps
//! ([`walk_holders`]), many of those ([`walk_parts`]), and one copy ([`copy_holder`]).

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use crashtrace_ebpf::fields;
use crashtrace_ebpf::{
    HOLDER_NS, HOLDER_SHARE, HOLDER_STEPS, Header, Holder, Level, MAX_HOLDERS, OomHolders, RemovedCgroups,
    Section, holders_flag, kind, section,
};

use crate::emit::{Record, bounded, end, grow, scratch_of};
use crate::kernel::{cgroup_v1, copy_member, field, is_zero, member, memory_css, offset, opaque, read};
use crate::lineage;
use crate::maps::{HOLDERS_AT, Scratch, Step, slot};

/// Steps that are made before it is asked whether the walk is over: the verifier follows each of them. A walk of a pod has one such part.
const PART_STEPS: usize = 16;

/// Parts that are made before it is asked whether time is up: 4,096 steps, which take less than a millisecond. So the walk of a node that has
/// no more cgroups is whole, also where the host of a virtual machine lets a CPU wait for longer than the walk may take.
///
/// Two loops, one in the other, and not one: the verifier follows each turn of both once.
const PARTS_AT_ONCE: usize = 256;

const _: () = assert!(HOLDER_STEPS.is_multiple_of(PART_STEPS * PARTS_AT_ONCE));

/// Where `prev` is in a `list_head` (`include/linux/types.h`).
const LIST_PREV: u64 = 8;

/// A record may be this long; one more cgroup fits after it. Above are the addresses.
const RECORD_LIMIT: u64 = (HOLDERS_AT - 512) as u64;

/// A large cgroup.
#[derive(Clone, Copy)]
#[repr(C)]
struct Found {
    css: u64,
    /// Index of its parent among the cgroups found before, from 1; 0 is the root.
    parent: u64,
}

const _: () = assert!(HOLDERS_AT + MAX_HOLDERS * size_of::<Found>() <= size_of::<Scratch>());
const _: () = assert!(MAX_HOLDERS.is_power_of_two());

/// The last place for a note, and the mask of places.
const LAST: u64 = MAX_HOLDERS as u64 - 1;

/// Writes the record: of what is below `memcg`, the limit owner, if anything is; of the node if that is 0. `task` is any task of the
/// machine, for the way to the root; `totalpages` is what the scope of the decision may hold.
#[inline(always)]
pub(crate) fn record(memcg: u64, task: u64, totalpages: u64, decision_ns: u64, hook: u8) {
    let (top, css, flags) = if memcg == 0 {
        let css = memory_css(task);
        (lineage::hierarchy_root(css), css, 0)
    } else {
        let top = memcg + offset(fields::MEMCG_CSS);
        let head = top + offset(fields::CSS_CHILDREN);
        let first: u64 = read(head);
        if first == head {
            return;
        }
        (top, first.wrapping_sub(offset(fields::CSS_SIBLING)), holders_flag::OF_LIMIT)
    };
    let Some(record) = Record::begin::<OomHolders>(slot::HOLDERS, kind::OOM_HOLDERS, hook) else { return };
    // SAFETY: header and body lie within the record's scratch, which `Record::begin` took from its map.
    unsafe {
        (*record.header()).decision_ns = decision_ns;
        let body: *mut OomHolders = record.body();
        (*body).least_pages = totalpages / HOLDER_SHARE;
        (*body).small_pages = 0;
        (*body).small = 0;
        (*body).looked_at = 0;
        (*body).total = 0;
        (*body).holders = 0;
        (*body).left_out = 0;
        (*body).flags = flags;
        begin(record.scratch(), top, css);
    }
    // SAFETY: the helper takes nothing and cannot fail.
    let until_ns = unsafe { bpf_ktime_get_ns() } + HOLDER_NS;
    for _ in 0..HOLDER_STEPS / (PART_STEPS * PARTS_AT_ONCE) {
        // SAFETY: as above.
        if walk_parts(record.slot()) == 0 || unsafe { bpf_ktime_get_ns() } >= until_ns {
            break;
        }
    }
    copy_holders(record.slot());
    record.send();
}

/// The body of the record in `scratch`.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
unsafe fn body(scratch: *mut Scratch) -> *mut OomHolders {
    // SAFETY: header and body lie within the scratch.
    unsafe { scratch.cast::<u8>().add(size_of::<Header>()).cast() }
}

/// The offsets that a step needs, looked up once and not in each step.
#[derive(Clone, Copy)]
struct Offsets {
    children: u64,
    sibling: u64,
    /// From a css to its memcg's `memory.usage`.
    usage: u64,
    /// The same for swap's, or for that of memory and swap.
    swap: u64,
    flags: u64,
}

/// `None` where this kernel lacks one.
#[inline(always)]
fn offsets() -> Option<Offsets> {
    Some(Offsets {
        children: field(fields::CSS_CHILDREN)?,
        sibling: field(fields::CSS_SIBLING)?,
        usage: field(fields::MEMCG_USAGE)?.wrapping_sub(field(fields::MEMCG_CSS)?),
        swap: field(fields::MEMCG_SWAP_USAGE)?.wrapping_sub(field(fields::MEMCG_CSS)?),
        flags: field(fields::CSS_FLAGS)?,
    })
}

/// Makes the list of the children of `top` the first to walk along.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(always)]
unsafe fn begin(scratch: *mut Scratch, top: u64, css: u64) -> u64 {
    // SAFETY: the caller vouches for `scratch`.
    unsafe {
        let body = body(scratch);
        let cgroup: u64 = member(top, fields::CSS_CGROUP);
        let mut dying = 0_u32;
        let no_total = copy_member(&raw mut (*body).total, cgroup, fields::CGROUP_NR_DESCENDANTS)
            | copy_member(&raw mut dying, cgroup, fields::CGROUP_NR_DYING);
        (*body).total += dying;
        (*body).flags |= (no_total as u32) * holders_flag::NO_TOTAL;
        let mut step = Step::default();
        if let Some(offsets) = offsets() {
            step.head = top + offsets.children;
            step.node = read(step.head + LIST_PREV);
        }
        // On cgroup v1 without `use_hierarchy` (up to 5.10) a cgroup's usage does not include its children: its counter then
        // has no parent, though the cgroup has one.
        let memcg = css.wrapping_sub(offset(fields::MEMCG_CSS));
        let counter: u64 = member(memcg, fields::MEMCG_COUNTER_PARENT);
        step.broken = is_zero(step.node) | (is_zero(counter) & (is_zero(top ^ css) ^ 1));
        (&raw mut (*scratch).step).write_volatile(step);
    }
    0
}

/// Walks on. Gives 0 when the walk is over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_parts(slot: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    for _ in 0..PARTS_AT_ONCE {
        // SAFETY: the scratch is a value of the map.
        if unsafe { (&raw const (*scratch).step.node).read_volatile() } == 0 {
            return 0;
        }
        walk_holders(slot);
    }
    1
}

/// Visits cgroups, and notes the large ones.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn walk_holders(slot: u64) -> u64 {
    let (Some(scratch), Some(offsets)) = (scratch_of(slot), offsets()) else { return 0 };
    // SAFETY: the caller vouches for `scratch`; state that changes from step to step is stored in it and not in registers, so
    // that the verifier sees the same state in each. Places in the list of notes are masked to lie within.
    unsafe {
        let step = &raw mut (*scratch).step;
        let found: *mut Found = scratch.cast::<u8>().add(HOLDERS_AT).cast();
        let least = (*body(scratch)).least_pages;
        for _ in 0..PART_STEPS {
            let node = (&raw const (*step).node).read_volatile();
            let head = (&raw const (*step).head).read_volatile();
            let parent = (&raw const (*step).parent).read_volatile();
            // A list ends at its head, which belongs to the parent: there is no cgroup to visit. The same holds when the walk
            // is over, and it stays over. Leaving the loop then would be a branch, whose other side the verifier follows for
            // each step; the remaining steps of a part take microseconds.
            let end = is_zero(node ^ head) | is_zero(node);
            let along: u64 = read(node.wrapping_add(LIST_PREV));
            let along = along & is_zero(along ^ node).wrapping_sub(1);
            // Nothing is at the address of one that was taken out just now: see above.
            let visit = (end ^ 1) & (is_zero(along) ^ 1);
            let css = node.wrapping_sub(offsets.sibling);
            let usage: u64 = read(css.wrapping_add(offsets.usage));
            let swap: u64 = read(css.wrapping_add(offsets.swap));
            // Page counts are far below 2^63, so the sign of the difference decides.
            let all = if cgroup_v1() {
                // Memory and swap; not counted with `swapaccount=0`, and then 0.
                let swap = swap.wrapping_sub(usage);
                usage + (swap & (opaque(swap >> 63).wrapping_sub(1)))
            } else {
                usage + swap
            };
            let is_small = opaque(all.wrapping_sub(least) >> 63);
            let flags: u32 = read(css.wrapping_add(offsets.flags));
            let removed = is_zero(u64::from(flags & lineage::CSS_ONLINE));
            let large = (is_small ^ 1) & visit;
            let small = is_small & visit;

            // Noted in any case, but only a large cgroup takes the place. The last place is used when all others are taken, and
            // is neither copied nor descended into.
            let noted = (&raw const (*step).large).read_volatile();
            let place = (noted | is_zero(noted / MAX_HOLDERS as u64).wrapping_sub(1)) & LAST;
            found.add(place as usize).write_volatile(Found { css, parent });
            add(&raw mut (*step).large, large);
            add(&raw mut (*step).small, small);
            add(&raw mut (*step).small_pages, usage & small.wrapping_neg());
            let removed = removed & small;
            add(&raw mut (*step).removed, removed);
            add(&raw mut (*step).removed_pages, usage & removed.wrapping_neg());

            // On along the list; at its end to the list of the next large cgroup, if there is one.
            let next = (&raw const (*step).descended).read_volatile();
            let next_head =
                found.add((next & LAST) as usize).cast::<u64>().read_volatile() + offsets.children;
            let below: u64 = read(next_head + LIST_PREV);
            let is_there = opaque(next.wrapping_sub(place) >> 63);
            let descend = (end & is_there).wrapping_neg();
            let stay = end.wrapping_sub(1);
            let node = (along & stay) | (below & descend);
            (&raw mut (*step).node).write_volatile(node);
            (&raw mut (*step).head).write_volatile((head & stay) | (next_head & descend));
            (&raw mut (*step).parent).write_volatile((parent & stay) | ((next + 1) & descend));
            (&raw mut (*step).descended).write_volatile(next + (descend & 1));
            // A pointer of a list is never null.
            add(&raw mut (*step).broken, is_zero(node) & (stay | descend));
        }
    }
    0
}

/// Adds to a number.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn add(to: *mut u64, more: u64) {
    // SAFETY: the caller vouches for it.
    unsafe { to.write_volatile(to.read_volatile() + more) };
}

/// Copies the noted cgroups with their names, as far as there is room, and closes the record.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_holders(slot: u64) -> u64 {
    for index in 0..MAX_HOLDERS as u64 - 1 {
        if copy_holder(slot, index) == 0 {
            break;
        }
    }
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map, and [`copy_holder`] has left room for a section.
    unsafe { close(scratch) };
    0
}

/// Copies one noted cgroup. Gives 0 if there is none, or no room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn copy_holder(slot: u64, index: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the scratch is a value of the map. The end of the record is masked, and checked to leave room for one
    // more cgroup with the longest name below the addresses; the place among those is masked.
    unsafe {
        let step = &raw mut (*scratch).step;
        let large = (&raw const (*step).large).read_volatile();
        let length = bounded((&raw const (*scratch).length).read_volatile());
        if index >= large || length > RECORD_LIMIT {
            return 0;
        }
        let found: *const Found = scratch.cast::<u8>().add(HOLDERS_AT).cast();
        let found = found.add((index & LAST) as usize);
        let holder: *mut Holder = end(scratch).cast();
        (*holder).parent = (&raw const (*found).parent).read_volatile() as u32;
        (*holder).pad = 0;
        grow(scratch, (size_of::<Holder>() - size_of::<Level>()) as u64);
        lineage::cgroup_level(slot, (&raw const (*found).css).read_volatile(), u64::MAX);
        add(&raw mut (*step).written, 1);
    }
    1
}

/// Writes what the walk came to.
///
/// # Safety
/// `scratch` must be a value of the map, with room for a section.
#[inline(always)]
unsafe fn close(scratch: *mut Scratch) {
    // SAFETY: the caller vouches for `scratch`.
    unsafe {
        let step = &raw mut (*scratch).step;
        let large = (&raw const (*step).large).read_volatile();
        let small = (&raw const (*step).small).read_volatile();
        let written = (&raw const (*step).written).read_volatile();
        let not_through = is_zero((&raw const (*step).node).read_volatile()) ^ 1;
        let broken = is_zero((&raw const (*step).broken).read_volatile()) ^ 1;
        let body = body(scratch);
        (*body).holders = written as u32;
        (*body).left_out = (large - written) as u32;
        (*body).small = small as u32;
        (*body).looked_at = (large + small) as u32;
        (*body).small_pages = (&raw const (*step).small_pages).read_volatile();
        (*body).flags |= (not_through | broken) as u32 * holders_flag::UNFINISHED
            | not_through as u32 * holders_flag::TIME_UP;

        let section: *mut Section = end(scratch).cast();
        *section = Section {
            kind: section::REMOVED,
            length: (size_of::<Section>() + size_of::<RemovedCgroups>()) as u32,
            ..Section::default()
        };
        *section.add(1).cast() = RemovedCgroups {
            small: (&raw const (*step).removed).read_volatile(),
            small_pages: (&raw const (*step).removed_pages).read_volatile(),
        };
        grow(scratch, (size_of::<Section>() + size_of::<RemovedCgroups>()) as u64);
    }
}
