//! Whether a process is the first of a container: the one that the runtime started as the container's main process.
//!
//! It is told by what the kernel knows, not by what was seen before, so that it holds for containers that are older than the agent:
//!
//! - Its cgroup, or one above it, has a container's name, and its parent is in none below that one. That leaves the first
//!   process and those that a runtime brought in later (`exec`), since what a container's processes start has a parent in it.
//! - Process 1 of a pid namespace is the first process: those that came later are in its namespace, with other numbers.
//! - Without a pid namespace of its own (`shareProcessNamespace`, `hostPID`), the first process is the first of its `css_set`'s
//!   list: new threads and processes go to the end (`css_set_move_task`, `kernel/cgroup/cgroup.c`), also if all are moved.
//!   runc's own first two processes are in the container, too. They are told by what they lack: the first is in the mount
//!   namespace of its parent, and the second has executed nothing.
//!
//! A container without a pid namespace of its own has no evidence of probes that fail by `exec`: what a runtime brings in later is
//! told from the first process by the namespace's process 1, which is outside of the container there, and without it such a
//! process is none of the two. So its codes are not noted.
//!
//! Wrong is only a container without its own pid namespace whose first process has moved into a cgroup of its own, below the
//! container's: then a process that comes by `exec`, and ends, passes for the first.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use core::ptr;
use crashtrace_ebpf::{MAX_LEVELS, NAME_BYTES, fields};

use crate::kernel::{copy, failed, field, is_init, is_zero, member, node_root, opaque, pid_namespace, read};
use crate::lineage::{ALL_LEVELS, ancestor, cgroup, parent as above, place, place_on, surplus};
use crate::maps::{ENDED, SENDER};

/// Verdicts: the low bits of what [`judge_process`] gives. 0 is none of them.
pub(super) const MAIN: u64 = 1;
/// A runtime brought it into a running container.
pub(super) const CAME_BY_EXEC: u64 = 2;
/// It may be either.
pub(super) const UNSURE: u64 = 3;

/// `PF_FORKNOEXEC` (`include/linux/sched.h`, 5.10 to 7.3). Each new thread has it too, so that of the first thread counts.
pub(super) const PF_FORKNOEXEC: u32 = 0x40;

/// Threads of a `css_set` among which the first process is looked for: behind those of a runtime.
const LOOKED_AT: usize = 16;

/// Digits of a container's id.
const ID_DIGITS: u64 = 64;

/// The verdict in what [`judge_process`] gave.
#[inline(always)]
pub(super) fn verdict(judged: u64) -> u64 {
    judged & 7
}

/// The id of the container's cgroup in what [`judge_process`] gave.
#[inline(always)]
pub(super) fn container_id(judged: u64) -> u64 {
    cgroup_id(container_css(judged))
}

/// The css of the container's cgroup in what [`judge_process`] gave.
#[inline(always)]
pub(super) fn container_css(judged: u64) -> u64 {
    judged & !7
}

#[inline(always)]
fn cgroup_id(css: u64) -> u64 {
    member(member(cgroup(css), fields::CGROUP_KN), fields::KN_ID)
}

/// What this process is to a container, with the css of the container's cgroup in the upper bits.
///
/// `task` is one of its threads, alive or at its end, and `parent` is not in the same `css_set`.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn judge_process(task: u64, leader: u64, parent: u64) -> u64 {
    let (css, use_unified) = place(task);
    let parents = place_on(parent, use_unified);
    if css == parents {
        return 0;
    }
    let container = outermost_container(css);
    if container == 0 || is_below(parents, container) != 0 {
        return 0;
    }
    if ENDED.get_ptr(cgroup_id(container)).is_some() {
        return 0;
    }
    if is_init(leader) {
        // A process of a container without its own pid namespace may have made one, and have ended since.
        let first = first_process(task);
        return if first == 0 || first == leader { container | MAIN } else { 0 };
    }
    let flags: u32 = member(leader, fields::TASK_FLAGS);
    let reaper: u64 = member(pid_namespace(task), fields::PIDNS_REAPER);
    if is_below(place_on(reaper, use_unified), container) != 0 {
        return if flags & PF_FORKNOEXEC == 0 { container | CAME_BY_EXEC } else { 0 };
    }
    let first = first_process(task);
    if first == leader {
        return container | MAIN;
    }
    if first == 0 && runs_program(task, leader, parent) != 0 { container | UNSURE } else { 0 }
}

/// The css of the outermost container that this css is in, 0 if there is none. Cgroups from the node's root upwards do not count:
/// there the node is a container.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn outermost_container(css: u64) -> u64 {
    let mut css = css;
    // As in `lineage::cgroup_section`.
    let depth: i32 = member(cgroup(css), fields::CGROUP_LEVEL);
    css = ancestor(css, 0, surplus(depth));
    let mut found = 0;
    for _ in 0..MAX_LEVELS {
        if css == 0 {
            break;
        }
        let kn: u64 = member(cgroup(css), fields::CGROUP_KN);
        let is_one = names_container(kn);
        if is_one == AT_NODE_ROOT {
            break;
        }
        let is_one = is_one.wrapping_neg();
        found = opaque((css & is_one) | (found & !is_one));
        css = above(css);
    }
    found
}

/// In place of what [`names_container`] gives, for the cgroup at which the node's cgroups begin.
const AT_NODE_ROOT: u64 = 2;

/// 1 if the cgroup of this `kernfs_node` has a container's name, else 0: 64 lower-case hex digits at its end, or before `.scope`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn names_container(kn: u64) -> u64 {
    let root = node_root();
    if root != 0 && root == member::<u64>(kn, fields::KN_ID) {
        return AT_NODE_ROOT;
    }
    let name: u64 = member(kn, fields::KN_NAME);
    const SUFFIX: u64 = u64::from_le_bytes(*b"\0\0.scope");
    const SUFFIX_BYTES: u64 = 6;
    // Only for its length, which is nowhere else, so it may be lost at once. On the stack it would be half of what 5.10 allows for a
    // program with all its subprograms. What lies before a short name is read below, and does not count.
    let Some(sender) = SENDER.get_ptr_mut(0) else { return 0 };
    // SAFETY: the place lies in the map and has this size; the helper checks the source.
    let written = unsafe {
        bpf_probe_read_kernel_str(
            (&raw mut (*sender).surplus).cast(),
            NAME_BYTES as u32,
            ptr::with_exposed_provenance(name as usize),
        )
    };
    let length = (written as u64).wrapping_sub(1) & failed(written).wrapping_sub(1);
    let end = name + length;
    let has_suffix = is_zero((read::<u64>(end.wrapping_sub(8)) & 0xffff_ffff_ffff_0000) ^ SUFFIX);
    let suffix = has_suffix.wrapping_neg() & SUFFIX_BYTES;
    let mut digits = MaybeUninit::<[u64; 8]>::uninit();
    // SAFETY: a local variable, which is filled either way.
    let (unread, digits) = unsafe {
        let unread = copy(digits.as_mut_ptr(), end - suffix - ID_DIGITS);
        (unread, digits.assume_init())
    };
    let mut wrong = 0;
    for eight in digits {
        wrong |= not_hex(eight);
    }
    let short = (length.wrapping_sub(suffix + ID_DIGITS)) >> 63;
    is_zero(wrong | unread | short)
}

/// 0 if all eight bytes are lower-case hex digits. Without a branch for each: see [`crate::kernel`].
#[inline(always)]
fn not_hex(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    /// The high bit of each byte that is `least` or more; all are below 128.
    #[inline(always)]
    fn at_least(bytes: u64, least: u8) -> u64 {
        bytes + (0x80 - u64::from(least)) * ONES
    }
    let low = bytes & !HIGH;
    let digit = at_least(low, b'0') & !at_least(low, b'9' + 1);
    let letter = at_least(low, b'a') & !at_least(low, b'f' + 1);
    (!(digit | letter) & HIGH) | (bytes & HIGH)
}

/// 1 if `css` is `top` or below it, else 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn is_below(css: u64, top: u64) -> u64 {
    if css == top || css == 0 {
        return u64::from(css == top);
    }
    u64::from(above(ancestor(css, top, ALL_LEVELS)) == top)
}

/// The first thread of the first process in the `css_set` of `task` that runs a program and came from elsewhere; 0 if there is
/// none among the first.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_process(task: u64) -> u64 {
    let css_set: u64 = member(task, fields::TASK_CGROUPS);
    let (Some(tasks), Some(link)) = (field(fields::CSS_SET_TASKS), field(fields::TASK_CG_LIST)) else {
        return 0;
    };
    let mut node: u64 = read(css_set + tasks);
    for _ in 0..LOOKED_AT {
        if node == 0 || node == css_set + tasks {
            break;
        }
        let leader = came_and_runs(node - link, css_set);
        if leader != 0 {
            return leader;
        }
        node = read(node);
    }
    0
}

/// The first thread of the process of `thread` if it runs a program and its parent is not in this `css_set`; else 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn came_and_runs(thread: u64, css_set: u64) -> u64 {
    let leader: u64 = member(thread, fields::TASK_GROUP_LEADER);
    let parent: u64 = member(leader, fields::TASK_REAL_PARENT);
    let elsewhere = is_zero(member::<u64>(parent, fields::TASK_CGROUPS) ^ css_set) ^ 1;
    leader & (runs_program(thread, leader, parent) & elsewhere).wrapping_neg()
}

/// 1 if the process has executed a program, in another mount namespace than its parent's, else 0: a runtime's own processes have
/// not done both.
#[inline(always)]
fn runs_program(thread: u64, leader: u64, parent: u64) -> u64 {
    let flags: u32 = member(leader, fields::TASK_FLAGS);
    let own: u64 = member(member(thread, fields::TASK_NSPROXY), fields::NSPROXY_MNT_NS);
    let parents: u64 = member(member(parent, fields::TASK_NSPROXY), fields::NSPROXY_MNT_NS);
    is_zero(u64::from(flags & PF_FORKNOEXEC)) & (is_zero(own ^ parents) ^ 1)
}
