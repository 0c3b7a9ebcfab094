//! Tracepoint `oom:mark_victim`, hit in `mark_oom_victim` (`mm/oom_kill.c`) in the killer's context, with the
//! victim locked and `oom_lock` held. Its argument is a thread id on 5.10 and others of its age, a task since 6.8
//! and in stable releases before.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use aya_log_ebpf::debug;
use crashtrace_ebpf::{OomDecision, OomVictim, Task, hook, kind, mark_victim_arg, section, task_missing};

use super::{decision, memory, oom_control};
use crate::emit::{Record, armed, current_tid};
use crate::kernel::{mark_victim_arg, read, task_facts};
use crate::lineage;
use crate::maps::{OPEN, Open, slot};

/// Beside a probe on the decision.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim(ctx: RawTracePointContext) -> i32 {
    if !armed() {
        return 0;
    }
    let decision_ns = match open_decision() {
        Some(open) => {
            if open.memcg != 0 {
                limit_memory(&open);
            }
            open.ktime_ns
        }
        // A task that is dying already; or the probe on the decision did not run. The kernel runs no kprobe's program on a CPU
        // that is in a bpf() call (`trace_call_bpf`, `kernel/trace/bpf_trace.c`; `bpf_disable_instrumentation`), and if that
        // call can be preempted, an OOM may happen in it. The stack tells the two apart.
        None => unseen(&ctx),
    };
    victim(&ctx, decision_ns);
    0
}

/// Without a probe on the decision.
#[raw_tracepoint(tracepoint = "mark_victim")]
fn mark_victim_alone(ctx: RawTracePointContext) -> i32 {
    if !armed() {
        return 0;
    }
    let task = if mark_victim_arg() == mark_victim_arg::TASK { argument(&ctx) } else { 0 };
    // A group kill marks many in one decision: the stack of the killer then still holds the same oom_control.
    let same = open_decision().filter(|open| oom_control::still_at(open));
    let decision_ns = match same {
        Some(open) => open.ktime_ns,
        None => decide(&ctx, task),
    };
    victim(&ctx, decision_ns);
    0
}

/// Writes the memory of the limit owner and of the victim's memcg, at the first mark.
#[inline(always)]
fn limit_memory(open: &Open) {
    if let Some(slot) = OPEN.get_ptr_mut(0) {
        // SAFETY: written under oom_lock only, which is held here.
        unsafe { (*slot).memcg = 0 };
    }
    let Some(record) = Record::begin::<()>(slot::VICTIM, kind::OOM_MEMORY, hook::RAW_TRACEPOINT) else {
        return;
    };
    // SAFETY: the header lies within the record's scratch.
    unsafe { (*record.header()).decision_ns = open.ktime_ns };
    memory::of_limit(&record, open.memcg, open.chosen);
    record.send();
}

#[inline(always)]
fn argument(ctx: &RawTracePointContext) -> u64 {
    read(ctx.as_ptr() as u64)
}

/// The decision that the current task is carrying out.
#[inline(always)]
fn open_decision() -> Option<Open> {
    // SAFETY: written under oom_lock only, which is held here.
    let open = unsafe { *OPEN.get_ptr(0)? };
    if open.ktime_ns != 0 && open.tid == current_tid() { Some(open) } else { None }
}

/// The css of the victim's cgroup in the record of this decision, 0 if there is no such record.
#[inline(always)]
fn in_decision(decision_ns: u64) -> u64 {
    // SAFETY: written under oom_lock only, which is held here.
    OPEN.get_ptr(0).map_or(0, |open| unsafe {
        if decision_ns != 0 && (*open).ktime_ns == decision_ns { (*open).victim_css } else { 0 }
    })
}

/// Writes the known facts of a decision that no probe has seen, without a search for `oom_control`.
#[inline(always)]
fn unseen(ctx: &RawTracePointContext) -> u64 {
    let task = if mark_victim_arg() == mark_victim_arg::TASK { argument(ctx) } else { 0 };
    let Some(record) = Record::begin::<OomDecision>(slot::DECISION, kind::OOM_DECISION, hook::RAW_TRACEPOINT)
    else {
        return 0;
    };
    let decision_ns = decision::finish(ctx, record, 0, task, 0, true).ktime_ns;
    // No hook will see its end, so the next mark must not be attributed to it.
    if let Some(open) = OPEN.get_ptr_mut(0) {
        // SAFETY: written under oom_lock only, which is held here.
        unsafe { (*open).ktime_ns = 0 };
    }
    decision_ns
}

/// Writes the decision that led to the mark of `task`.
#[inline(always)]
fn decide(ctx: &RawTracePointContext, task: u64) -> u64 {
    let Some(record) = Record::begin::<OomDecision>(slot::DECISION, kind::OOM_DECISION, hook::RAW_TRACEPOINT)
    else {
        return 0;
    };
    let control = oom_control::on_stack(ctx.as_ptr() as u64, &record, task);
    let decided = decision::finish(ctx, record, control, task, 0, true);
    if control != 0 {
        decided.scope(control);
    }
    decided.ktime_ns
}

#[inline(always)]
fn victim(ctx: &RawTracePointContext, decision_ns: u64) {
    let Some(record) = Record::begin::<OomVictim>(slot::VICTIM, kind::OOM_VICTIM, hook::RAW_TRACEPOINT)
    else {
        return;
    };
    let argument = argument(ctx);
    // SAFETY: header and body lie within the record's scratch.
    unsafe {
        (*record.header()).decision_ns = decision_ns;
        let body: *mut OomVictim = record.body();
        (*body).marker_tid = current_tid() as u32;
        (*body).pad = 0;
        if mark_victim_arg() == mark_victim_arg::TASK {
            task_facts(record.slot(), Record::place(offset_of!(OomVictim, task)), argument);
        } else {
            (*body).task = Task { tid: argument as u32, missing: task_missing::ALL, ..Task::default() };
        }
    }
    if mark_victim_arg() == mark_victim_arg::TASK {
        let (css, use_unified) = lineage::place(argument);
        if in_decision(decision_ns) == css && css != 0 {
            lineage::of_decision(&record, use_unified);
        } else {
            lineage::of_task(&record, section::VICTIM, argument);
        }
    }
    record.send();
    debug!(ctx, "victim {:x} of decision {}", argument, decision_ns);
}
