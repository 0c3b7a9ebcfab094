//! Sections: a cgroup and its ancestors, copied while they exist.

use core::ptr;

use crashtrace_ebpf::fields;
use crashtrace_ebpf::{
    Level, MAX_LEVELS, MAX_SKIPPED_LEVELS, NAME_BYTES, Section, joins, level_flag, section, section_flag,
};

use crate::emit::{Record, at, end, grow, scratch_of};
use crate::kernel::{copy_member, copy_string, is_zero, member, memory_css, offset, opaque, unified_css};

/// `CSS_ONLINE` (`include/linux/cgroup-defs.h`, 5.10 to 7.3).
pub(crate) const CSS_ONLINE: u32 = 1 << 1;

/// Appends the cgroups of `task`, as section `kind`; nothing if it is 0.
#[inline(always)]
pub(crate) fn of_task(record: &Record, kind: u16, task: u64) {
    let (css, use_unified) = place(task);
    cgroup_section(record.slot(), u64::from(kind), use_unified * u64::from(section_flag::UNIFIED), css);
}

/// Appends a section of the victim's cgroups without levels: they are in the decision's record.
#[inline(always)]
pub(crate) fn of_decision(record: &Record, use_unified: u64) {
    // SAFETY: `Record::begin` took the scratch from its map, and there is room for a section's head.
    unsafe {
        let section: *mut Section = end(record.scratch()).cast();
        (*section).kind = section::VICTIM;
        (*section).levels = 0;
        (*section).flags = (use_unified * u64::from(section_flag::UNIFIED)) as u16;
        (*section).skipped = 0;
        (*section).length = size_of::<Section>() as u32;
        (*section).joins = section::VICTIM | joins::DECISION;
        (*section).joined_at = 0;
        grow(record.scratch(), size_of::<Section>() as u64);
    }
}

/// The css of the cgroup of `task`, and 1 if that is of the unified hierarchy, else 0.
///
/// If the task's cgroup has no memory controller, the memory hierarchy has only the root for it: with cgroup v2 the unified
/// hierarchy may have more.
#[inline(always)]
pub(crate) fn place(task: u64) -> (u64, u64) {
    let memory = memory_css(task);
    let unified = unified_css(task);
    let use_unified = is_zero(parent(memory)) & (is_zero(parent(unified)) ^ 1);
    let mask = use_unified.wrapping_neg();
    ((memory & !mask) | (unified & mask), use_unified)
}

/// The css of the cgroup of `task` on the hierarchy that [`place`] chose for another one.
#[inline(always)]
pub(crate) fn place_on(task: u64, use_unified: u64) -> u64 {
    let mask = use_unified.wrapping_neg();
    (memory_css(task) & !mask) | (unified_css(task) & mask)
}

/// Appends the cgroups of a `mem_cgroup`, as section `kind`; nothing if it is 0.
#[inline(always)]
pub(crate) fn of_memcg(record: &Record, kind: u16, memcg: u64) {
    cgroup_section(record.slot(), u64::from(kind), 0, memcg + offset(fields::MEMCG_CSS));
}

/// `css.parent`, 0 for the root: the cgroup hierarchy of the css's controller. In the unified hierarchy the parent is found by
/// `cgroup.self`, which is a css as well, so that both are walked alike.
#[inline(always)]
pub(crate) fn parent(css: u64) -> u64 {
    member(css, fields::CSS_PARENT)
}

/// `css.cgroup`, 0 where there is none.
#[inline(always)]
pub(crate) fn cgroup(css: u64) -> u64 {
    member(css, fields::CSS_CGROUP)
}

/// The root of the hierarchy that `css` is in.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn hierarchy_root(css: u64) -> u64 {
    ancestor(css, 0, ALL_LEVELS)
}

/// Levels of the deepest path that is followed.
pub(crate) const ALL_LEVELS: u64 = (MAX_LEVELS + MAX_SKIPPED_LEVELS) as u64;

/// Levels that are climbed in one call.
const LEVELS_AT_ONCE: u64 = 8;

/// The ancestor of `css`, or that itself, so many `levels` above it; or if that is nearer, the one whose parent is `top`, or the root.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn ancestor(css: u64, top: u64, levels: u64) -> u64 {
    const { assert!(ALL_LEVELS.is_multiple_of(LEVELS_AT_ONCE)) };
    let mut css = css;
    let mut climbed = 0;
    while climbed < ALL_LEVELS {
        if climbed >= levels {
            break;
        }
        css = climb(css, top, levels - climbed);
        climbed += LEVELS_AT_ONCE;
    }
    css
}

/// The same, within [`LEVELS_AT_ONCE`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn climb(css: u64, top: u64, levels: u64) -> u64 {
    let mut css = css;
    for level in 0..LEVELS_AT_ONCE {
        let parent = parent(css);
        if level >= levels || parent == top || parent == 0 {
            break;
        }
        css = parent;
    }
    css
}

/// Whether the cgroup of this css has been removed, as a flag of a level: it goes offline then (`offline_css`,
/// `kernel/cgroup/cgroup.c`), and stays in its parent's list while memory is charged to it.
#[inline(always)]
fn removed(css: u64) -> u64 {
    let mut flags = 0_u32;
    // SAFETY: a local variable.
    let unread = unsafe { copy_member(&raw mut flags, css, fields::CSS_FLAGS) };
    (is_zero(u64::from(flags & CSS_ONLINE)) & (unread ^ 1)) * u64::from(level_flag::REMOVED)
}

/// The id of this memcg's cgroup (`kernfs_node.id`), 0 where it cannot be read.
#[inline(always)]
pub(crate) fn cgroup_id(memcg: u64) -> u64 {
    let css = memcg + offset(fields::MEMCG_CSS);
    member(member(cgroup(css), fields::CGROUP_KN), fields::KN_ID)
}

/// How many levels a path of this depth has that a section has no room for, as far as they are followed.
#[inline(always)]
pub(crate) fn surplus(depth: i32) -> u64 {
    let surplus = i64::from(depth) + 1 - MAX_LEVELS as i64;
    surplus.clamp(0, MAX_SKIPPED_LEVELS as i64) as u64
}

/// Appends one section with the cgroups from `css` to the root, if there are any.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn cgroup_section(slot: u64, kind: u64, flags: u64, css: u64) -> u64 {
    let mut css = css;
    let nearest = cgroup(css);
    let Some(scratch) = scratch_of(slot) else { return 0 };
    if nearest == 0 {
        return 0;
    }
    // SAFETY: the place is masked to lie in the scratch, with room for a section's head.
    let (begin, section): (u64, *mut Section) = unsafe {
        let begin = (&raw const (*scratch).length).read_volatile();
        (begin, at(scratch, begin).cast())
    };
    // SAFETY: as above.
    unsafe {
        (*section).kind = kind as u16;
        (*section).levels = 0;
        (*section).flags = flags as u16;
        (*section).skipped = 0;
        (*section).length = size_of::<Section>() as u32;
        (*section).joins = 0;
        (*section).joined_at = 0;
        grow(scratch, size_of::<Section>() as u64);
    }

    // Deeper than a record has room for: leave out the levels nearest to the task.
    let depth: i32 = member(nearest, fields::CGROUP_LEVEL);
    let surplus = surplus(depth);
    css = ancestor(css, 0, surplus);
    // SAFETY: as above.
    let whole = unsafe {
        add(&raw mut (*section).skipped, surplus as u16);
        let depth = (i64::from(depth) as u64).wrapping_sub(surplus);
        let whole = (&raw const (*scratch).whole).read_volatile();
        let is_whole = is_zero(whole).wrapping_neg();
        let whole_depth = &raw mut (*scratch).whole_depth;
        whole_depth.write_volatile((depth & is_whole) | (whole_depth.read_volatile() & !is_whole));
        (&raw mut (*scratch).depth).write_volatile(depth);
        whole
    };

    // Without a memory controller there is no memcg, and nothing can be read at address 0.
    let has_memcg = is_zero(flags & u64::from(section_flag::UNIFIED)).wrapping_neg();
    for _ in 0..MAX_LEVELS {
        if css == 0 {
            break;
        }
        css = section_level(slot, begin, css, has_memcg);
    }
    // SAFETY: as above.
    unsafe {
        add(&raw mut (*section).flags, (is_zero(css) ^ 1) as u16 * section_flag::INCOMPLETE);
        (&raw mut (*scratch).whole).write_volatile(whole | (kind & is_zero(whole).wrapping_neg()));
    }
    // A subprogram must return a number, even if it is not used.
    0
}

/// Appends a level to the section that begins at `begin`. Gives the next css, 0 if there is none, or if the levels from here on are in
/// the section that is whole.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn section_level(slot: u64, begin: u64, css: u64, has_memcg: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: the section's place is masked to lie in the scratch, and those in the list to lie in it.
    unsafe {
        let section: *mut Section = at(scratch, begin).cast();
        let depth = (&raw const (*scratch).depth).read_volatile();
        (&raw mut (*scratch).depth).write_volatile(depth.wrapping_sub(1));
        let depth = depth & (MAX_LEVELS as u64 - 1);
        let whole = (&raw const (*scratch).whole).read_volatile();
        let path = (&raw mut (*scratch).whole_path).cast::<u64>();
        let first = (&raw const (*scratch).whole_depth).read_volatile();
        // Levels of the first section are noted by their depth, those of others are compared with them. Deeper than the first section
        // the list has what another record has left there.
        let place = path.add(depth as usize);
        let noted = opaque(first.wrapping_sub(depth) >> 63) ^ 1;
        if whole == 0 {
            place.write_volatile(css);
        } else if noted & is_zero(place.read_volatile() ^ css) != 0 {
            (&raw mut (*section).joins).write_volatile(whole as u16);
            (&raw mut (*section).joined_at).write_volatile(first.wrapping_sub(depth) as u16);
            return 0;
        }
        let length = cgroup_level(slot, css, has_memcg);
        add(&raw mut (*section).levels, 1);
        let total = &raw mut (*section).length;
        total.write_volatile(total.read_volatile() + length as u32);
    }
    parent(css)
}

/// Appends one level: the cgroup of a css, which is of the memory controller if `has_memcg` has all its bits set, and of none if it
/// is 0. Gives its bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn cgroup_level(slot: u64, css: u64, has_memcg: u64) -> u64 {
    let Some(scratch) = scratch_of(slot) else { return 0 };
    // SAFETY: there is room for a level and the longest name behind the largest offset.
    unsafe {
        let level: *mut Level = end(scratch).cast();
        let memcg = css.wrapping_sub(offset(fields::MEMCG_CSS)) & has_memcg;
        fill(level, memcg, css);
        let length = u64::from((&raw const (*level).length).read_volatile());
        grow(scratch, length);
        length
    }
}

/// Adds to a number in a map.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn add(to: *mut u16, value: u16) {
    // SAFETY: the caller vouches for it.
    unsafe { to.write_volatile(to.read_volatile().wrapping_add(value)) };
}

/// Fills in one level and its name.
///
/// # Safety
/// `level` must have room for both.
#[inline(always)]
unsafe fn fill(level: *mut Level, memcg: u64, css: u64) {
    const HEAD: usize = size_of::<Level>();
    let cgroup = cgroup(css);
    let mut flags = is_zero(parent(css)) * u64::from(level_flag::ROOT) | removed(css);
    let kn: u64 = member(cgroup, fields::CGROUP_KN);
    macro_rules! fill {
        ($($member:ident = $base:ident, $field:ident or $flag:ident;)+) => {
            $(
                // SAFETY: the caller vouches for `level`.
                let failed = unsafe { copy_member(&raw mut (*level).$member, $base, fields::$field) };
                flags |= failed * u64::from(level_flag::$flag);
            )+
        };
    }
    fill! {
        cgroup_id = kn, KN_ID or NO_ID;
        usage_pages = memcg, MEMCG_USAGE or NO_MEMORY;
        max_pages = memcg, MEMCG_MAX or NO_MEMORY;
        swap_usage_pages = memcg, MEMCG_SWAP_USAGE or NO_SWAP;
        swap_max_pages = memcg, MEMCG_SWAP_MAX or NO_SWAP;
    }
    let mut group = 0_u8;
    // SAFETY: a local variable.
    let failed = unsafe { copy_member(&raw mut group, memcg, fields::MEMCG_OOM_GROUP) };
    flags |= failed * u64::from(level_flag::NO_OOM_GROUP);
    // Both are 0 or 1.
    flags |= u64::from(group & 1) * u64::from(level_flag::OOM_GROUP);
    let disabled = member::<u32>(memcg, fields::MEMCG_OOM_KILL_DISABLE) & 1;
    flags |= u64::from(disabled) * u64::from(level_flag::OOM_KILL_DISABLE);

    // SAFETY: the caller vouches for `level` and the room for a name behind it.
    unsafe {
        let name = level.cast::<u8>().add(HEAD);
        let with_nul = copy_string::<NAME_BYTES>(name, member(kn, fields::KN_NAME));
        let no_name = is_zero(with_nul);
        flags |= no_name * u64::from(level_flag::NO_NAME);
        let name_length = &raw mut (*level).name_length;
        name_length.write_volatile((with_nul + no_name) as u16 - 1);
        // Zeroes from the NUL to the end of the padding.
        let length = u64::from(name_length.read_volatile()) & 0xff;
        ptr::write_unaligned(name.add(length as usize).cast::<u64>(), 0);
        (&raw mut (*level).length).write_volatile((HEAD as u64 + ((length + 7) & !7)) as u16);
        (*level).flags = flags as u32;
    }
}
