//! `oom_kill_process(struct oom_control *oc, const char *message)`, `mm/oom_kill.c`, 5.10 to 7.3.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::macros::{fentry, fexit, kprobe, kretprobe};
use aya_ebpf::programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext};
use aya_log_ebpf::debug;
use crashtrace_ebpf::{MESSAGE_BYTES, OomDecision, decision_flag, fields, hook, kind, missing, section};

use super::{holders, memory, oom_control};
use crate::emit::{self, Record, armed, current_tid};
use crate::kernel::{copy_member, copy_string, is_zero, member, read, task_facts};
use crate::lineage;
use crate::maps::{CALLS, OPEN, Open, slot};
use crate::probes::zones;

/// Argument `n` of a trampoline's context, as a plain number: read as memory, since the result of `ctx.arg` is a typed pointer
/// to the verifier, with rules that differ between kernels.
#[inline(always)]
pub(crate) fn trampoline_arg<C: EbpfContext>(ctx: &C, n: u64) -> u64 {
    read(ctx.as_ptr() as u64 + 8 * n)
}

#[fentry(function = "oom_kill_process")]
fn oom_kill_fentry(ctx: FEntryContext) -> i32 {
    if armed() {
        begin(&ctx, trampoline_arg(&ctx, 0), trampoline_arg(&ctx, 1), hook::FENTRY);
    }
    0
}

#[kprobe]
fn oom_kill_kprobe(ctx: ProbeContext) -> u32 {
    if armed() {
        begin(&ctx, ctx.arg::<u64>(0).unwrap_or(0), ctx.arg::<u64>(1).unwrap_or(0), hook::KPROBE);
    }
    0
}

#[fexit(function = "oom_kill_process")]
fn oom_kill_fexit(_ctx: FExitContext) -> i32 {
    if armed() {
        end(hook::FENTRY);
    }
    0
}

#[kretprobe]
fn oom_kill_kretprobe(_ctx: RetProbeContext) -> u32 {
    if armed() {
        end(hook::KPROBE);
    }
    0
}

#[inline(always)]
fn begin<C: EbpfContext>(ctx: &C, control: u64, message: u64, hook: u8) {
    if let Some(record) = Record::begin::<OomDecision>(slot::DECISION, kind::OOM_DECISION, hook) {
        finish(ctx, record, control, 0, message, false).scope(control);
    }
}

/// A decision whose record has been sent, with what the records after it need.
#[derive(Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) ktime_ns: u64,
    memcg: u64,
    victim: u64,
    totalpages: u64,
    flags: u32,
    hook: u8,
}

impl Decided {
    /// Writes the records of the holders of the memory, and if the node ran out of it, of the zones. `control` is its `oom_control`.
    ///
    /// Not in [`finish`]: where that is called without an `oom_control`, all this would be in the program for nothing.
    #[inline(always)]
    pub(crate) fn scope(self, control: u64) {
        if self.flags & decision_flag::MEMCG == 0 {
            zones::record(member(control, fields::OC_ZONELIST), self.victim, self.ktime_ns, self.hook);
        }
        holders::record(self.memcg, self.victim, self.totalpages, self.ktime_ns, self.hook);
    }
}

/// Copies the `oom_control` at `control`; gives the chosen task, 0 if there is none.
#[inline(always)]
fn copy_control(record: &Record, control: u64) -> u64 {
    let body: *mut OomDecision = record.body();
    let mut failed = 0;
    macro_rules! fill {
        ($($member:ident = $field:ident),+) => {
            // SAFETY: the body lies within the record's scratch.
            $(failed |= unsafe { copy_member(&raw mut (*body).$member, control, fields::$field) };)+
        };
    }
    fill!(totalpages = OC_TOTALPAGES, points = OC_POINTS, gfp = OC_GFP, order = OC_ORDER);
    fill!(constraint = OC_CONSTRAINT);
    let mut flags = 0;
    macro_rules! flag {
        ($($field:ident => $flag:ident),+) => {
            $(
                let mut pointer = 0_u64;
                // SAFETY: a local variable.
                failed |= unsafe { copy_member(&raw mut pointer, control, fields::$field) };
                flags |= (is_zero(pointer) ^ 1) * u64::from(decision_flag::$flag);
            )+
        };
    }
    flag!(OC_MEMCG => MEMCG, OC_ZONELIST => ZONELIST, OC_NODEMASK => NODEMASK);
    // SAFETY: the body lies within the record's scratch.
    unsafe { (*body).flags = flags as u32 };
    record.lacks(failed * u64::from(missing::OOM_CONTROL));
    // -1 stands for a victim that is dying already; oom_kill_process is not called with it.
    let chosen: u64 = member(control, fields::OC_CHOSEN);
    chosen & is_zero(chosen.wrapping_add(1)).wrapping_sub(1)
}

/// Fills in the decision from `control`, opens it and sends the record. `victim` is used if `control` is 0, and `message` may
/// be 0. `at_mark`: there is no probe on the decision.
#[inline(always)]
pub(crate) fn finish<C: EbpfContext>(
    ctx: &C,
    record: Record,
    control: u64,
    victim: u64,
    message: u64,
    at_mark: bool,
) -> Decided {
    let body: *mut OomDecision = record.body();
    let chosen = copy_control(&record, control);
    let victim = chosen | (victim & is_zero(chosen).wrapping_neg());
    // SAFETY: body and header lie within the record's scratch; the helper takes nothing.
    let (ktime_ns, trigger) = unsafe {
        let ktime_ns = (*record.header()).ktime_ns;
        (*record.header()).decision_ns = ktime_ns;
        let copied = copy_string::<MESSAGE_BYTES>((&raw mut (*body).message).cast(), message);
        let no_stack = emit::stack(ctx, &raw mut (*body).stack);
        record.lacks(
            is_zero(copied) * u64::from(missing::MESSAGE)
                | no_stack * u64::from(missing::STACK)
                | is_zero(victim) * u64::from(missing::VICTIM),
        );
        if (*record.header()).hook == hook::KPROBE
            && (*body).flags & decision_flag::MEMCG != 0
            && let Some(call) = CALLS.get(current_tid() as u32)
        {
            emit::extend_stack(&raw mut (*body).stack, call.caller);
        }
        let trigger = bpf_get_current_task();
        task_facts(record.slot(), Record::place(offset_of!(OomDecision, trigger)), trigger);
        task_facts(record.slot(), Record::place(offset_of!(OomDecision, victim)), victim);
        (ktime_ns, trigger)
    };
    let started_ns = oom_control::started(victim);
    let memcg: u64 = member(control, fields::OC_MEMCG);
    let left = if at_mark { 0 } else { memcg };
    let tid = current_tid();
    let open = Open { ktime_ns, control, chosen: victim, started_ns, tid, memcg: left, victim_css: 0 };
    if let Some(slot) = OPEN.get_ptr_mut(0) {
        // SAFETY: written under oom_lock only.
        unsafe { *slot = open };
    }
    lineage::of_task(&record, section::TRIGGER, trigger);
    lineage::of_task(&record, section::VICTIM, victim);
    lineage::of_memcg(&record, section::LIMIT, memcg);
    if at_mark && control != 0 {
        memory::of_limit(&record, memcg, victim);
    }
    // SAFETY: header and body lie within the record's scratch.
    let (flags, totalpages, hook) = unsafe { ((*body).flags, (*body).totalpages, (*record.header()).hook) };
    if record.send()
        && let Some(slot) = OPEN.get_ptr_mut(0)
    {
        // SAFETY: as above.
        unsafe { (*slot).victim_css = lineage::place(victim).0 };
    }
    debug!(ctx, "decision {}: oom_control {:x}, victim {:x}", ktime_ns, control, victim);
    Decided { ktime_ns, memcg, victim, totalpages, flags, hook }
}

#[inline(always)]
fn end(hook: u8) {
    let Some(open) = OPEN.get_ptr_mut(0) else { return };
    // SAFETY: written under oom_lock only, which the caller of oom_kill_process holds.
    let decision_ns = unsafe {
        let decision_ns = (*open).ktime_ns;
        (*open).ktime_ns = 0;
        decision_ns
    };
    let Some(record) = Record::begin::<()>(slot::DECISION, kind::OOM_DECISION_END, hook) else { return };
    // SAFETY: the header lies within the record's scratch.
    unsafe { (*record.header()).decision_ns = decision_ns };
    record.send_as_it_is();
}
