//! `bool mem_cgroup_out_of_memory(struct mem_cgroup *memcg, gfp_t gfp_mask, int order)`, `mm/memcontrol.c`, 5.10 to
//! 7.3; and `bool mem_cgroup_oom_synchronize(bool handle)`, in the same file, from 6.11 on in `mm/memcontrol-v1.c` and only
//! with cgroup v1 built in.
//!
//! True means "try the charge again", not "killed": there may be thousands of those for one kill. They are counted. False means
//! that there was no victim, and is the only sign of that.
//!
//! On cgroup v1 with `oom_kill_disable` there is no OOM at all: a task whose page fault hits the limit sleeps in
//! `mem_cgroup_oom_synchronize` until memory is freed or the limit is raised, and a system call fails.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;
use crashtrace_ebpf::{OomNoVictim, counter, decision_flag, fields, hook, kind, missing, section};

use super::decision::trampoline_arg;
use super::memory;
use crate::emit::{self, Record, armed, count, current_tid};
use crate::kernel::{copy_member, member, read, task_facts};
use crate::lineage;
use crate::maps::{About, CALLS, Call, QUIET, Quiet, slot};

/// At least this long between two records about one memcg: events in between are counted in the next.
const QUIET_NS: u64 = 200_000_000;

#[fexit(function = "mem_cgroup_out_of_memory")]
fn memcg_oom_fexit(ctx: FExitContext) -> i32 {
    if !armed() {
        return 0;
    }
    let call = Call {
        memcg: trampoline_arg(&ctx, 0),
        gfp: trampoline_arg(&ctx, 1) as u32,
        order: trampoline_arg(&ctx, 2) as i32,
        caller: 0,
    };
    // The return value follows the arguments. Only the low byte of a bool is defined.
    let killed_or_retry = trampoline_arg(&ctx, 3) as u8 != 0;
    returned(&ctx, call, killed_or_retry, hook::FENTRY);
    0
}

#[kprobe]
fn memcg_oom_kprobe(ctx: ProbeContext) -> u32 {
    if !armed() {
        return 0;
    }
    let call = Call {
        memcg: ctx.arg(0).unwrap_or(0),
        gfp: ctx.arg(1).unwrap_or(0),
        order: ctx.arg(2).unwrap_or(0),
        caller: return_address(&ctx),
    };
    // A full map drops its oldest entry: a call whose return was missed.
    let _ = CALLS.insert(current_tid() as u32, call, 0);
    0
}

/// Return address of the function at whose entry the probe is attached. The probes on returns are attached first, and of probes
/// in one place the kernel runs the latest first (`add_new_kprobe`, `kernel/kprobes.c`): so this runs before our kretprobe
/// replaces the address. Another program's kretprobe may have replaced it; then this is a trampoline's address, and names no
/// function.
#[inline(always)]
fn return_address(ctx: &ProbeContext) -> u64 {
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the context of a kprobe is the registers; the return address is on top of the stack.
    let address = read(unsafe { (*ctx.regs).rsp });
    #[cfg(bpf_target_arch = "aarch64")]
    // SAFETY: the context of a kprobe is the registers; the link register is 30.
    let address = unsafe { (*ctx.regs).regs[30] };
    address
}

#[kretprobe]
fn memcg_oom_kretprobe(ctx: RetProbeContext) -> u32 {
    if !armed() {
        return 0;
    }
    let tid = current_tid() as u32;
    // SAFETY: the entry is this thread's, and the thread is running here.
    let Some(call) = (unsafe { CALLS.get(tid).copied() }) else { return 0 };
    let _ = CALLS.remove(tid);
    returned(&ctx, call, ctx.ret::<u64>() as u8 != 0, hook::KPROBE);
    0
}

#[fentry(function = "mem_cgroup_oom_synchronize")]
fn memcg_wait_fentry(ctx: FEntryContext) -> i32 {
    if !armed() {
        return 0;
    }
    synchronizes(&ctx, trampoline_arg(&ctx, 0) as u8 != 0, hook::FENTRY);
    0
}

#[kprobe]
fn memcg_wait_kprobe(ctx: ProbeContext) -> u32 {
    if !armed() {
        return 0;
    }
    synchronizes(&ctx, ctx.arg::<u64>(0).unwrap_or(0) as u8 != 0, hook::KPROBE);
    0
}

#[inline(always)]
fn returned<C: EbpfContext>(ctx: &C, call: Call, killed_or_retry: bool, hook: u8) {
    if killed_or_retry {
        count(counter::MEMCG_OOM_ROUTINE);
        return;
    }
    nobody(ctx, kind::OOM_NO_VICTIM, call, 0, hook);
}

/// It is called at the end of every page fault that failed for lack of memory; it sleeps only with `handle`, and for a task
/// that hit the limit of a memcg whose OOM killer is off.
#[inline(always)]
fn synchronizes<C: EbpfContext>(ctx: &C, handle: bool, hook: u8) {
    // SAFETY: the helper takes nothing.
    let task = unsafe { bpf_get_current_task() };
    let memcg: u64 = member(task, fields::TASK_MEMCG_IN_OOM);
    let switched_off: u32 = member(memcg, fields::MEMCG_OOM_KILL_DISABLE);
    if !handle || memcg == 0 || switched_off == 0 {
        return;
    }
    let mut call = Call { memcg, gfp: 0, order: 0, caller: 0 };
    // SAFETY: local variables.
    let unknown = unsafe {
        copy_member(&raw mut call.gfp, task, fields::TASK_MEMCG_OOM_GFP)
            | copy_member(&raw mut call.order, task, fields::TASK_MEMCG_OOM_ORDER)
    };
    nobody(ctx, kind::OOM_WAIT, call, unknown * u64::from(missing::REQUEST), hook);
}

/// Writes that the limit of `call.memcg` was hit and no task is killed for it.
#[inline(always)]
fn nobody<C: EbpfContext>(ctx: &C, kind: u16, call: Call, lacks: u64, hook: u8) {
    // No other event of its cgroup follows for a task that waits, which could carry a count: so each task has a record.
    let tid = if kind == kind::OOM_WAIT { current_tid() } else { 0 };
    let about = About { memcg: call.memcg, cgroup_id: lineage::cgroup_id(call.memcg), tid };
    let Some(repeats) = speak_up(about) else {
        count(counter::NO_VICTIM_FOLDED);
        return;
    };
    let Some(record) = Record::begin::<OomNoVictim>(slot::NO_VICTIM, kind, hook) else { return };
    record.lacks(lacks);
    // SAFETY: the body lies within the record's scratch; the helper takes nothing.
    let trigger = unsafe {
        let body: *mut OomNoVictim = record.body();
        (*body).repeats = repeats;
        (*body).gfp = call.gfp;
        (*body).order = call.order;
        (*body).flags = decision_flag::MEMCG;
        (*body).pad = 0;
        record.lacks(emit::stack(ctx, &raw mut (*body).stack) * u64::from(missing::STACK));
        emit::extend_stack(&raw mut (*body).stack, call.caller);
        let trigger = bpf_get_current_task();
        task_facts(record.slot(), Record::place(offset_of!(OomNoVictim, trigger)), trigger);
        trigger
    };
    lineage::of_task(&record, section::TRIGGER, trigger);
    lineage::of_memcg(&record, section::LIMIT, call.memcg);
    memory::of_memcg(&record, call.memcg);
    record.send();
    debug!(ctx, "nobody to kill in memcg {:x}, {} more before", call.memcg, repeats);
}

/// How many were not written since the last record about this memcg, if another one is due.
#[inline(always)]
fn speak_up(about: About) -> Option<u64> {
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(quiet) = QUIET.get_ptr_mut(about) else {
        let _ = QUIET.insert(about, Quiet { sent_ns: now, folded: 0 }, 0);
        return Some(0);
    };
    // SAFETY: the entry is in the map. Two tasks of one memcg may count at once and lose one count.
    unsafe {
        if now.wrapping_sub((*quiet).sent_ns) < QUIET_NS {
            (*quiet).folded += 1;
            return None;
        }
        let folded = (*quiet).folded;
        *quiet = Quiet { sent_ns: now, folded: 0 };
        Some(folded)
    }
}
