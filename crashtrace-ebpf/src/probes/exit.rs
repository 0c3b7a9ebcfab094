//! Ends of containers: `sched:sched_process_exit`, and the fatal signals before it, `signal:signal_generate`.
//!
//! Both run for every process of the node, so what most of them fail comes first: a process whose parent is in the same cgroups is
//! not the first of a container ([`main_process`]).
//!
//! `sched_process_exit` is hit in `do_exit` (`kernel/exit.c`) after `signal_struct.live` was decremented and `exit_code` set, and
//! before the task leaves its cgroups and namespaces: up to 6.15 after `exit_mm`, from 6.16 on before it.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_ringbuf_query};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use crashtrace_ebpf::{ContainerExit, FAILED_EXECS, counter, exit_flag, fields, hook, kind, section};

use crate::emit::{Record, armed, count};
use crate::kernel::{copy, copy_member, is_init, is_zero, member, pid_namespace, task_facts};
use crate::lineage;
use crate::maps::{ENDED, EXECS, EXITS_SHARE, RECORDS, RUNNING, SIGNALS, ZEROES, slot};

mod main_process;
mod signal;

use main_process::{CAME_BY_EXEC, MAIN, PF_FORKNOEXEC, UNSURE, container_id, judge_process, verdict};

/// `BPF_NOEXIST`.
const NO_EXIST: u64 = 1;
/// `BPF_RB_AVAIL_DATA`: bytes that have not been read.
const AVAIL_DATA: u64 = 0;
/// `SIGNAL_GROUP_EXIT` (`include/linux/sched/signal.h`, the same from 5.10 to 7.3).
const GROUP_EXIT_BIT: u32 = 2;
/// `include/uapi/asm-generic/resource.h`.
const RLIM_INFINITY: u64 = u64::MAX;

/// `(struct task_struct *task)`, 5.10 to 6.15; then `(struct task_struct *task, bool group_dead)`.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(ctx: RawTracePointContext) -> i32 {
    let Some(running) = RUNNING.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's entry of the map.
    unsafe { running.write_volatile(1) };
    exits(&ctx, slot::EXIT);
    // SAFETY: as above.
    unsafe { running.write_volatile(0) };
    0
}

/// The same for a process that ends while [`process_exit`] is running on its CPU: the kernel runs no program within itself
/// (`__bpf_trace_run`, `kernel/trace/bpf_trace.c`), and from 7.0 on a raw tracepoint's program can be preempted.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit_beside(ctx: RawTracePointContext) -> i32 {
    // SAFETY: this CPU's entry of the map.
    if RUNNING.get_ptr(0).is_some_and(|running| unsafe { running.read_volatile() } != 0) {
        exits(&ctx, slot::EXIT_BESIDE);
    }
    0
}

#[inline(always)]
fn exits(ctx: &RawTracePointContext, slot: u32) {
    if !armed() {
        return;
    }
    // SAFETY: the context of a raw tracepoint is its arguments, 8 bytes each, and this one has at least one.
    let task = unsafe { ctx.as_ptr().cast::<u64>().read() };
    let signal: u64 = member(task, fields::TASK_SIGNAL);
    if member::<u32>(signal, fields::SIGNAL_LIVE) != 0 {
        return;
    }
    let leader: u64 = member(task, fields::TASK_GROUP_LEADER);
    let parent: u64 = member(leader, fields::TASK_REAL_PARENT);
    if member::<u64>(parent, fields::TASK_CGROUPS) == member::<u64>(task, fields::TASK_CGROUPS) {
        return;
    }
    ended(task, leader, parent, slot);
}

/// Not inlined: few processes come here.
#[inline(never)]
fn ended(task: u64, leader: u64, parent: u64, slot: u32) -> u64 {
    let judged = judge_process(task, leader, parent);
    match verdict(judged) {
        MAIN => main_ended(task, leader, parent, container_id(judged), slot),
        CAME_BY_EXEC => exec_ended(leader, container_id(judged)),
        UNSURE => {
            count(counter::EXITS_UNSURE);
            0
        }
        _ => 0,
    }
}

/// The status as `wait_task_zombie` gives it (`kernel/exit.c`, 5.10 to 7.3). Gives 1 if it could not be read, else 0.
///
/// Before 5.18 the first thread's own code is of use only once that thread has set it: of two threads that end at once, without
/// `exit_group`, the other one may come here too early. From 5.18 on `synchronize_group_exit` sets the group's code before.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
unsafe fn status(to: *mut i32, leader: u64) -> u64 {
    let signal: u64 = member(leader, fields::TASK_SIGNAL);
    let mut flags = 0_u32;
    let (mut group, mut own) = (0_u32, 0_u32);
    // SAFETY: local variables, and `to`, for which the caller vouches.
    unsafe {
        let failed = copy_member(&raw mut flags, signal, fields::SIGNAL_FLAGS)
            | copy_member(&raw mut group, signal, fields::SIGNAL_GROUP_EXIT_CODE)
            | copy_member(&raw mut own, leader, fields::TASK_EXIT_CODE);
        let of_group = (flags >> GROUP_EXIT_BIT & 1).wrapping_neg();
        to.write_volatile(((group & of_group) | (own & !of_group)) as i32);
        failed
    }
}

/// Writes the record.
///
/// Not inlined: it is the larger part.
#[inline(never)]
fn main_ended(task: u64, leader: u64, parent: u64, container: u64, slot: u32) -> u64 {
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if ENDED.insert(container, now, NO_EXIST).is_err() {
        return 0;
    }
    let unread = unsafe { bpf_ringbuf_query((&raw const RECORDS).cast_mut().cast(), AVAIL_DATA) };
    if unread > EXITS_SHARE {
        count(counter::EXITS_CROWDED_OUT);
        return 0;
    }
    let Some(zeroes) = ZEROES.get_ptr(0) else { return 0 };
    let Some(record) = Record::begin::<ContainerExit>(slot, kind::CONTAINER_EXIT, hook::RAW_TRACEPOINT)
    else {
        return 0;
    };
    let body: *mut ContainerExit = record.body();
    // SAFETY: the body lies within the record's scratch; the values of maps are read by a helper.
    unsafe {
        task_facts(record.slot(), Record::place(offset_of!(ContainerExit, task)), task);
        let no_status = status(&raw mut (*body).status, leader);
        let oom_mm: u64 = member(member(task, fields::TASK_SIGNAL), fields::SIGNAL_OOM_MM);
        let flags: u32 = member(leader, fields::TASK_FLAGS);
        let mut cpu_limit = 0_u64;
        let no_limit =
            copy_member(&raw mut cpu_limit, member(task, fields::TASK_SIGNAL), fields::SIGNAL_CPU_LIMIT)
                | is_zero(cpu_limit ^ RLIM_INFINITY);
        (*body).flags = u32::from(is_init(leader)) * exit_flag::INIT
            | (flags & PF_FORKNOEXEC != 0) as u32 * exit_flag::BEFORE_EXEC
            | (is_zero(oom_mm) ^ 1) as u32 * exit_flag::OOM_MARKED
            | no_status as u32 * exit_flag::NO_STATUS
            | (no_limit ^ 1) as u32 * exit_flag::CPU_LIMIT;
        let its_leader: u64 = member(parent, fields::TASK_GROUP_LEADER);
        copy_member(&raw mut (*body).parent_tgid, parent, fields::TASK_TGID);
        copy_member(&raw mut (*body).parent_comm, its_leader, fields::TASK_COMM);
        copy_member(&raw mut (*body).pid_ns, pid_namespace(leader), fields::PIDNS_INUM);

        let zeroes = zeroes.expose_provenance() as u64;
        let signals = signal::kept(leader).unwrap_or(zeroes);
        copy(&raw mut (*body).asked, signals + signal::ASKED);
        copy(&raw mut (*body).killed, signals + signal::KILLED);
        copy(&raw mut (*body).raised, signals + signal::RAISED);
        let execs = EXECS.get_ptr(container).map_or(zeroes, |execs| execs.expose_provenance() as u64);
        copy(&raw mut (*body).execs, execs);
    }
    lineage::of_task(&record, section::VICTIM, task);
    record.send();
    // Neither need be there.
    let _ = SIGNALS.remove(member::<u32>(leader, fields::TASK_TGID));
    let _ = EXECS.remove(container);
    0
}

/// Notes the end of a process that came by `exec`, if it failed; forgets the earlier ones if it did not.
///
/// Two that end at the same time may mix their names and codes. They are evidence of probes that fail, which come one at a time.
#[inline(never)]
fn exec_ended(leader: u64, container: u64) -> u64 {
    let mut failed_with = 0;
    // SAFETY: a local variable.
    let unread = unsafe { status(&raw mut failed_with, leader) };
    if unread != 0 {
        return 0;
    }
    if failed_with == 0 {
        // It need not be there.
        let _ = EXECS.remove(container);
        return 0;
    }
    let entry = match EXECS.get_ptr_mut(container) {
        Some(entry) => entry,
        None => {
            let Some(zeroes) = ZEROES.get_ptr(0) else { return 0 };
            // SAFETY: the zeroes are longer than a value, and never written. Another CPU may insert first, and then its entry counts.
            let _ = unsafe { EXECS.insert(container, &*zeroes.cast(), NO_EXIST) };
            let Some(entry) = EXECS.get_ptr_mut(container) else { return 0 };
            entry
        }
    };
    // SAFETY: the entry is in the map, its members are aligned, and the helpers write to it.
    unsafe {
        for index in (1..FAILED_EXECS).rev() {
            let times = (&raw mut (*entry).ktime_ns).cast::<u64>();
            times.add(index).write_volatile(times.add(index - 1).read_volatile());
            let statuses = (&raw mut (*entry).status).cast::<i32>();
            statuses.add(index).write_volatile(statuses.add(index - 1).read_volatile());
            let comms = (&raw mut (*entry).comm).cast::<[u64; 2]>();
            comms.add(index).write_volatile(comms.add(index - 1).read_volatile());
        }
        (&raw mut (*entry).ktime_ns).cast::<u64>().write_volatile(bpf_ktime_get_boot_ns());
        (&raw mut (*entry).status).cast::<i32>().write_volatile(failed_with);
        copy_member((&raw mut (*entry).comm).cast::<[u64; 2]>(), leader, fields::TASK_COMM);
        let total = &raw mut (*entry).total;
        total.write_volatile(total.read_volatile().wrapping_add(1));
    }
    0
}
