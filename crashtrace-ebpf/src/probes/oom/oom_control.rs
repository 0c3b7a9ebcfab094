//! The `oom_control` of a decision, found on the killer's stack.
//!
//! If only raw tracepoints can be used, `oom:mark_victim` has the victim and nothing about the decision. But its context is the
//! killer's, and the killer's `struct oom_control` is a local variable of a function further up its stack
//! (`mem_cgroup_out_of_memory` in `mm/memcontrol.c`, `__alloc_pages_may_oom` in `mm/page_alloc.c`, `moom_callback` in
//! `drivers/tty/sysrq.c`, 5.10 to 7.3). Its member `chosen` is the known address of the victim, so the stack can be searched
//! for it; the members around it tell whether it is an `oom_control`. The fields read are then those that a probe on
//! `oom_kill_process` would have read.
//!
//! Nothing is assumed about frames: the search goes word by word from the tracepoint's arguments, which lie on the
//! same stack, towards its base.

use core::mem::MaybeUninit;

use crashtrace_ebpf::fields;

use crate::emit::{Record, scratch_of};
use crate::kernel::{copy, field, is_zero, member, offset, opaque, read};
use crate::maps::{CANDIDATES, Open, Scratch};

/// Bytes that are searched. The distance was 264 bytes on 6.18, and the frames in between cannot take more than a few hundred.
const SEARCHED_BYTES: usize = 2048;

/// Words that are read at a time: the stack may end earlier, and a read past its end fails.
const WORDS: usize = 8;

/// Address of the `oom_control` that chose `task` or its process, 0 if there is none within reach of `context`, an
/// address on the current stack.
#[inline(always)]
pub(crate) fn on_stack(context: u64, record: &Record, task: u64) -> u64 {
    if task == 0 {
        return 0;
    }
    // The kernel chooses processes by their first thread, and marks a thread that still has its memory.
    let leader: u64 = member(task, fields::TASK_GROUP_LEADER);
    // SAFETY: the scratch is this CPU's, for this kind of record. A value that is written through a volatile pointer and read
    // back is a plain number to the verifier: the context is a typed pointer before.
    let context = unsafe {
        let scratch = record.scratch();
        (&raw mut (*scratch).context).write_volatile(context);
        (&raw mut (*scratch).candidates).write_volatile(0);
        (&raw const (*scratch).context).read_volatile()
    };
    for words in 0..(SEARCHED_BYTES / 8 / WORDS) as u64 {
        if collect_words(record.slot(), context + 8 * WORDS as u64 * words, task, leader) != 0 {
            break;
        }
    }
    choose(record.scratch())
}

/// Notes each place where an `oom_control` would be if a word at `address` that is the victim's address were its `chosen`. Gives 1 if
/// they cannot be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn collect_words(slot: u64, address: u64, task: u64, leader: u64) -> u64 {
    let (Some(scratch), Some(chosen)) = (scratch_of(slot), field(fields::OC_CHOSEN)) else { return 1 };
    let mut words = MaybeUninit::<[u64; WORDS]>::uninit();
    // SAFETY: a local variable, which is filled either way.
    let (unread, words) = unsafe { (copy(words.as_mut_ptr(), address), words.assume_init()) };
    if unread != 0 {
        return 1;
    }
    for (word, value) in words.into_iter().enumerate() {
        // SAFETY: the index is masked to the number of places. Each word is noted, and stays noted if it is the victim's
        // address; a branch for each would be too much for the verifier. If the victim is the running task, its address
        // occurs in many places on the stack: those after the last place are not noted.
        unsafe {
            let count = &raw mut (*scratch).candidates;
            let index = count.read_volatile() & (2 * CANDIDATES as u64 - 1);
            let candidate = (&raw mut (*scratch).candidate).cast::<u64>().add(index as usize);
            candidate.write_volatile(address + 8 * word as u64 - chosen);
            let matches = is_zero(value ^ task) | is_zero(value ^ leader);
            let full = index / CANDIDATES as u64;
            count.write_volatile(index + (matches & (full ^ 1)));
        }
    }
    0
}

/// The first candidate that is an `oom_control`, 0 if there is none: later ones lie in older frames.
#[inline(always)]
fn choose(scratch: *mut Scratch) -> u64 {
    // SAFETY: the scratch is a value of the map.
    let count = unsafe { (&raw const (*scratch).candidates).read_volatile() };
    for index in 0..CANDIDATES {
        // SAFETY: as above.
        let control = unsafe { (&raw const (*scratch).candidate).cast::<u64>().add(index).read_volatile() };
        // Address 0, which cannot be read, if there is no such candidate. Not a branch: the optimiser makes `count` the bound
        // of the loop then, which the verifier of 6.1 loses track of.
        let control = control & opaque((index as u64).wrapping_sub(count) >> 63).wrapping_neg();
        if plausible_control(control) != 0 {
            return control;
        }
    }
    0
}

/// Whether the members of an `oom_control` at `control` fit together: 1 or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn plausible_control(control: u64) -> u64 {
    const MEMCG: u32 = 3;
    let constraint: u32 = member(control, fields::OC_CONSTRAINT);
    let memcg: u64 = member(control, fields::OC_MEMCG);
    let total: u64 = member(control, fields::OC_TOTALPAGES);
    let order: i32 = member(control, fields::OC_ORDER);
    if total == 0 || !(-1..16).contains(&order) {
        return 0;
    }
    if memcg == 0 {
        // An allocation: zones (none if it is kswapd's) at kernel addresses, flags, and a size that a machine can have.
        let zonelist: u64 = member(control, fields::OC_ZONELIST);
        let nodemask: u64 = member(control, fields::OC_NODEMASK);
        let gfp: u32 = member(control, fields::OC_GFP);
        let kernel = |address: u64| address == 0 || address >> 63 == 1;
        if !kernel(zonelist) || !kernel(nodemask) || gfp == 0 || gfp >> 28 != 0 || total >> 44 != 0 {
            return 0;
        }
        return u64::from(constraint < MEMCG);
    }
    if constraint != MEMCG {
        return 0;
    }
    // A memcg's css points to its cgroup, which has a name: no other structure has that at this place.
    let css = memcg + offset(fields::MEMCG_CSS);
    let kn: u64 = member(member(css, fields::CSS_CGROUP), fields::CGROUP_KN);
    let name: u64 = member(kn, fields::KN_NAME);
    u64::from(read::<u8>(name) != 0)
}

/// Whether the `oom_control` found earlier is still that of the open decision. A group kill marks many tasks in one
/// decision, and may mark another thread of the chosen process too; a later decision of the same thread may have its
/// `oom_control` in the same place, but it chooses another process: a task at another address, or one that started at
/// another time where the address has been used again.
#[inline(always)]
pub(crate) fn still_at(open: &Open) -> bool {
    open.control != 0
        && open.chosen != 0
        && member::<u64>(open.control, fields::OC_CHOSEN) == open.chosen
        && started(open.chosen) == open.started_ns
        && plausible_control(open.control) != 0
}

/// When a task started.
#[inline(always)]
pub(crate) fn started(task: u64) -> u64 {
    member(task, fields::TASK_START_BOOTTIME)
}
