//! Who holds the node's memory, copied at the decision: a walk over the memory controller's tree.
//!
//! In the kernel and not in the user side afterwards, because then the victim's memory is already on its way back, and
//! because opening files takes memory, of which there is none.
//!
//! The walk is in pre-order, over `css.children` and `css.sibling` (`include/linux/cgroup-defs.h`, 5.10 to 7.3), which
//! are lists under RCU, as BPF programs are. It descends only into what holds much: what is below a small cgroup is
//! smaller still. Removed cgroups stay in these lists while memory is charged to them, and count like others.
//!
//! One step is some 60 instructions and two branches. What it finds is noted down as addresses, and copied with names
//! afterwards: to copy within the walk would make the verifier go through the copying in each of its steps.

use crashtrace_ebpf::fields;
use crashtrace_ebpf::{
    HOLDER_DEPTH, HOLDER_SHARE, HOLDER_STEPS, Header, Holder, Level, MAX_HOLDERS, OomHolders, holders_flag,
    kind,
};

use crate::emit::{Record, bounded, end, grow};
use crate::kernel::{copy_member, field, is_zero, member, memory_css, opaque, read};
use crate::lineage;
use crate::maps::{HOLDERS_AT, Scratch, Step, slot};

/// Levels that the way up to the root may have; [`crashtrace_ebpf::MAX_LEVELS`] and those skipped.
const MAX_DEPTH: usize = 64;

/// A record may be this long; one more cgroup fits behind. Above are the addresses.
const RECORD_LIMIT: u64 = (HOLDERS_AT - 512) as u64;

/// A cgroup that was found to hold much.
#[derive(Clone, Copy)]
#[repr(C)]
struct Found {
    css: u64,
    depth: u64,
}

const _: () = assert!(HOLDERS_AT + MAX_HOLDERS * size_of::<Found>() <= size_of::<Scratch>());
const _: () = assert!(MAX_HOLDERS.is_power_of_two());

/// Writes the record. `task` is any task of the machine, for the way to the root; `totalpages` is what the scope of
/// the decision may hold.
#[inline(always)]
pub(crate) fn record(task: u64, totalpages: u64, decision_ns: u64, hook: u8) {
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
        (*body).flags = 0;
        begin(record.scratch(), memory_css(task));
        walk(record.scratch());
        copy(record.scratch());
    }
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
    parent: u64,
    /// From a css to its memcg's `memory.usage`.
    usage: u64,
}

/// `None` where this kernel lacks one.
#[inline(always)]
fn offsets() -> Option<Offsets> {
    Some(Offsets {
        children: field(fields::CSS_CHILDREN)?,
        sibling: field(fields::CSS_SIBLING)?,
        parent: field(fields::CSS_PARENT)?,
        usage: field(fields::MEMCG_USAGE)?.wrapping_sub(field(fields::MEMCG_CSS)?),
    })
}

/// All ones if `value` is 0, else 0: a condition to mask with.
#[inline(always)]
fn if_zero(value: u64) -> u64 {
    is_zero(value).wrapping_neg()
}

/// Goes from `css` up to the root, and makes its first child the first step.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(never)]
unsafe fn begin(scratch: *mut Scratch, css: u64) -> u64 {
    let mut root = css;
    for _ in 0..MAX_DEPTH {
        let parent: u64 = member(root, fields::CSS_PARENT);
        if parent == 0 {
            break;
        }
        root = parent;
    }
    // SAFETY: the caller vouches for `scratch`.
    unsafe {
        let body = body(scratch);
        let cgroup: u64 = member(root, fields::CSS_CGROUP);
        let mut dying = 0_u32;
        let no_total = copy_member(&raw mut (*body).total, cgroup, fields::CGROUP_NR_DESCENDANTS)
            | copy_member(&raw mut dying, cgroup, fields::CGROUP_NR_DYING);
        (*body).total += dying;
        (*body).flags |= (no_total as u32) * holders_flag::NO_TOTAL;
        let step = &raw mut (*scratch).step;
        step.write_volatile(Step { root, depth: 1, ..Step::default() });
        if let Some(offsets) = offsets() {
            let head = root + offsets.children;
            let first: u64 = read(head);
            let none = if_zero(first ^ head) | if_zero(first);
            (&raw mut (*step).css).write_volatile(first.wrapping_sub(offsets.sibling) & !none);
            (&raw mut (*step).broken).write_volatile(if_zero(first) & 1);
        } else {
            (&raw mut (*step).broken).write_volatile(1);
        }
    }
    0
}

/// Visits cgroups, and notes the large ones.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(never)]
unsafe fn walk(scratch: *mut Scratch) -> u64 {
    let Some(offsets) = offsets() else { return 0 };
    // SAFETY: the caller vouches for `scratch`; what changes from step to step stands in it and not in registers, so
    // that the verifier sees the same state in each. The place of a note is masked to lie within.
    unsafe {
        let step = &raw mut (*scratch).step;
        let found: *mut Found = scratch.cast::<u8>().add(HOLDERS_AT).cast();
        let least = (*body(scratch)).least_pages;
        let root = (&raw const (*step).root).read_volatile();
        for _ in 0..HOLDER_STEPS {
            let css = (&raw const (*step).css).read_volatile();
            if css == 0 {
                break;
            }
            let depth = (&raw const (*step).depth).read_volatile();
            // One that is met again on the way up has been dealt with.
            let first_visit = (&raw const (*step).back).read_volatile() ^ 1;
            let usage: u64 = read(css.wrapping_add(offsets.usage));
            // Page counts are far below 2^63, so the sign of the difference tells.
            let is_small = opaque(usage.wrapping_sub(least) >> 63);
            let large = (is_small ^ 1) & first_visit;
            let small = is_small & first_visit;

            // Noted in any case, but the place counts as taken only by what is large. The last place is for what finds
            // all others taken, and is not copied.
            let noted = (&raw const (*step).large).read_volatile();
            let place = (noted | (noted / MAX_HOLDERS as u64).wrapping_neg()) & (MAX_HOLDERS as u64 - 1);
            found.add(place as usize).write_volatile(Found { css, depth });
            add(&raw mut (*step).large, large);
            add(&raw mut (*step).small, small);
            add(&raw mut (*step).small_pages, usage & small.wrapping_neg());

            let head = css + offsets.children;
            let child: u64 = read(head);
            let sibling: u64 = read(css + offsets.sibling);
            let parent: u64 = read(css + offsets.parent);
            let no_child = if_zero(child ^ head) | if_zero(child);
            let not_too_deep = opaque(depth.wrapping_sub(HOLDER_DEPTH) >> 63).wrapping_neg();
            let down = large.wrapping_neg() & !no_child & not_too_deep;
            // A list that could not be read ends the walk, and so does the root.
            let broken = if_zero(sibling) & !down;
            let up = if_zero(sibling ^ (parent + offsets.children)) & !down & !broken;
            let node = (child & down) | (sibling & !down);
            let next = (node.wrapping_sub(offsets.sibling) & !up & !broken) | (parent & up);
            let over = if_zero(parent ^ root) & up;
            (&raw mut (*step).css).write_volatile(next & !over);
            (&raw mut (*step).depth).write_volatile(depth + (down & 1) - (up & 1));
            (&raw mut (*step).back).write_volatile(up & 1);
            add(&raw mut (*step).broken, broken & 1);
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

/// Copies what was noted, with names, as far as there is room.
///
/// # Safety
/// `scratch` must be a value of the map.
#[inline(never)]
unsafe fn copy(scratch: *mut Scratch) -> u64 {
    // SAFETY: the caller vouches for `scratch`. The end of the record is masked, and checked to leave room for one
    // more cgroup with the longest name below the addresses.
    unsafe {
        let step = &raw mut (*scratch).step;
        let large = (&raw const (*step).large).read_volatile();
        let small = (&raw const (*step).small).read_volatile();
        for index in 0..MAX_HOLDERS - 1 {
            let length = bounded((&raw const (*scratch).length).read_volatile());
            if index as u64 >= large || length > RECORD_LIMIT {
                break;
            }
            let found: *const Found = scratch.cast::<u8>().add(HOLDERS_AT).cast();
            let found = found.add(index);
            let holder: *mut Holder = end(scratch).cast();
            (*holder).depth = (&raw const (*found).depth).read_volatile() as u32;
            (*holder).pad = 0;
            grow(scratch, (size_of::<Holder>() - size_of::<Level>()) as u64);
            lineage::append(scratch, (&raw const (*found).css).read_volatile());
            add(&raw mut (*step).written, 1);
        }
        let written = (&raw const (*step).written).read_volatile();
        let not_through = is_zero((&raw const (*step).css).read_volatile()) ^ 1;
        let broken = is_zero((&raw const (*step).broken).read_volatile()) ^ 1;
        let body = body(scratch);
        (*body).holders = written as u32;
        (*body).left_out = (large - written) as u32;
        (*body).small = small as u32;
        (*body).looked_at = (large + small) as u32;
        (*body).small_pages = (&raw const (*step).small_pages).read_volatile();
        (*body).flags |= (not_through | broken) as u32 * holders_flag::UNFINISHED;
    }
    0
}
