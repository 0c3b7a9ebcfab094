//! The signals to the first process of a container that may end it, kept until it ends: `signal:signal_generate`.
//!
//! It is hit in `__send_signal` (`kernel/signal.c`, from 6.0 on `__send_signal_locked`) under the target's `siglock`, with
//! the sender as the current task, if a process sends. The kernel's own endings do without: when a signal is to end a process,
//! `complete_signal` adds SIGKILL to its threads without this tracepoint, and so does `zap_other_threads`.
//!
//! Not seen: the SIGSYS of `SECCOMP_RET_KILL_PROCESS` and `SECCOMP_RET_KILL_THREAD`, for which `__seccomp_filter`
//! (`kernel/seccomp.c`) calls `do_exit` or `do_group_exit` itself up to 5.15; the status says it. From 5.16 on it is
//! `force_sig_seccomp`, which is seen.

use core::mem::offset_of;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use crashtrace_ebpf::{
    MAX_LEVELS, NAME_BYTES, RaisedSignal, SENDER_NAMES_BYTES, SentSignal, counter, fields, sender_flag,
};

use super::NO_EXIST;
use super::main_process::{MAIN, container_css, is_below, judge_process, verdict};
use crate::emit::{armed, count};
use crate::kernel::{copy, copy_member, copy_string, is_zero, member, pid_namespace, read};
use crate::lineage::{cgroup, parent as above, place, place_on};
use crate::maps::{SENDER, SIGNALS, Sender, Signals, ZEROES};

/// Where the parts of an entry of [`SIGNALS`] lie.
pub(super) const ASKED: u64 = offset_of!(Signals, asked) as u64;
pub(super) const KILLED: u64 = offset_of!(Signals, killed) as u64;
pub(super) const RAISED: u64 = offset_of!(Signals, raised) as u64;

const SIGILL: u32 = 4;
const SIGTRAP: u32 = 5;
const SIGABRT: u32 = 6;
const SIGKILL: u32 = 9;
const SIGSEGV: u32 = 11;
const SIGPIPE: u64 = 13;
const SIGWINCH: u32 = 28;

/// Signals that end a process unless it handles them, without those of timers and of terminals: SIGALRM (14), SIGVTALRM (26),
/// SIGPROF (27), SIGIO (29), and job control. Programs handle these, and get them often. Kept whoever sends them.
const FATAL: u64 = mask(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 24, 25, 30, 31]);

/// Signals that are kept only if another process sends them by `kill` or the like: an image's stop signal may be any, as SIGWINCH
/// (28) of httpd and SIGRTMIN+3 (37) of systemd. All but those of [`FATAL`], SIGCHLD (17), SIGCONT (18), SIGSTOP (19), SIGTSTP (20),
/// SIGTTIN (21), SIGTTOU (22), SIGURG (23), and the two that C libraries have for themselves (32, 33).
const SENT: u64 = !(FATAL | mask(&[17, 18, 19, 20, 21, 22, 23, 32, 33]));

/// Their bits: signal 1 is the lowest, 64 the highest.
const fn mask(signals: &[u32]) -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < signals.len() {
        mask |= 1 << (signals[index] - 1);
        index += 1;
    }
    mask
}

/// How long a signal from outside of the container is safe from those inside, which may be many: PostgreSQL's processes send
/// SIGUSR1 to the first all the time. No grace period that is in use is longer.
const SAFE_NS: u64 = 600_000_000_000;

/// How long SIGABRT is safe from the fault that follows it in `abort`. That has only a few system calls in between.
const ABORT_NS: u64 = 100_000_000;

/// Places in a `kernel_siginfo` (`include/uapi/asm-generic/siginfo.h`).
mod siginfo {
    pub(super) const CODE: u64 = 8;
    /// `si_addr`, `si_call_addr`.
    pub(super) const ADDRESS: u64 = 16;
    pub(super) const SYSCALL: u64 = 24;
    pub(super) const ARCH: u64 = 28;
}

/// `SEND_SIG_NOINFO` and `SEND_SIG_PRIV` (`include/linux/sched/signal.h`): no addresses, and mean `SI_USER`, which is 0, what a failed
/// read gives, and `SI_KERNEL`.
const SEND_SIG_NOINFO: u64 = 0;
const SEND_SIG_PRIV: u64 = 1;
/// `include/uapi/asm-generic/siginfo.h`.
const SI_KERNEL: u64 = 0x80;
const SI_USER: i32 = 0;
const SI_QUEUE: i32 = -1;
const SI_TKILL: i32 = -6;

/// `TRACE_SIGNAL_*` (`include/trace/events/signal.h`): above it the signal was not queued, or lost its facts.
const IGNORED: u32 = 1;

/// `(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`, 5.10 to 7.3.
#[raw_tracepoint(tracepoint = "signal_generate")]
fn signal_generate(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the context of a raw tracepoint is its arguments, 8 bytes each, and this one has five.
    let [signal, info, task, _, result] = unsafe { ctx.as_ptr().cast::<[u64; 5]>().read() };
    let bit = 1 << (signal.wrapping_sub(1) & 63);
    if (FATAL | SENT) & bit == 0 || !armed() {
        return 0;
    }
    // What the kernel and the process itself make comes with timers, terminals and I/O, and must cost little.
    if SENT & bit != 0 && !(by_process(code(info)) && from_other(task)) {
        return 0;
    }
    // A server that ignores it gets one for each client that has gone. `kill` has facts.
    if signal == SIGPIPE && info == SEND_SIG_NOINFO && result as u32 == IGNORED {
        return 0;
    }
    // No process can ignore the kernel's own SIGKILL, so it comes too late for one that is ending: when the last threads of the first
    // process of a pid namespace end at the same time, `zap_pid_ns_processes` (`kernel/pid_namespace.c`) sends it to each id in the
    // namespace, and those threads have ids there.
    if signal == u64::from(SIGKILL) && info == SEND_SIG_PRIV && result as u32 == IGNORED {
        return 0;
    }
    let leader: u64 = member(task, fields::TASK_GROUP_LEADER);
    let parent: u64 = member(leader, fields::TASK_REAL_PARENT);
    if member::<u64>(parent, fields::TASK_CGROUPS) == member::<u64>(task, fields::TASK_CGROUPS) {
        return 0;
    }
    let judged = judge_process(task, leader, parent);
    if verdict(judged) == MAIN {
        keep(signal, info, leader, result, container_css(judged));
    }
    0
}

/// `si_code`.
#[inline(always)]
fn code(info: u64) -> u32 {
    read::<u32>(info + siginfo::CODE) | (is_zero(info ^ SEND_SIG_PRIV) * SI_KERNEL) as u32
}

/// Whether it comes from the current process, by `kill`, `tkill` or `sigqueue`. With the other codes of 0 and below it is the
/// kernel's for a timer or a queue, and whoever is current has nothing to do with it.
#[inline(always)]
fn by_process(code: u32) -> bool {
    matches!(code.cast_signed(), SI_USER | SI_QUEUE | SI_TKILL)
}

/// Whether the current process is another one than that of `task`.
#[inline(always)]
fn from_other(task: u64) -> bool {
    // SAFETY: the helper takes nothing.
    let current = unsafe { bpf_get_current_pid_tgid() };
    current >> 32 != u64::from(member::<u32>(task, fields::TASK_TGID))
}

/// The address of the entry of a process, if it has one.
#[inline(always)]
pub(super) fn kept(leader: u64) -> Option<u64> {
    let entry = SIGNALS.get_ptr(member::<u32>(leader, fields::TASK_TGID))?;
    let started: u64 = member(leader, fields::TASK_START_BOOTTIME);
    // SAFETY: the entry is in the map, and aligned.
    let same = unsafe { (&raw const (*entry).start_boottime_ns).read_volatile() } == started;
    if same { Some(entry.expose_provenance() as u64) } else { None }
}

/// The entry of a process, a new one if it has none.
#[inline(always)]
fn entry(leader: u64) -> Option<*mut Signals> {
    let tgid: u32 = member(leader, fields::TASK_TGID);
    let started: u64 = member(leader, fields::TASK_START_BOOTTIME);
    let zeroes = ZEROES.get_ptr(0)?;
    let entry = match SIGNALS.get_ptr_mut(tgid) {
        Some(entry) => entry,
        None => {
            // SAFETY: the zeroes are never written.
            let _ = SIGNALS.insert(tgid, unsafe { &*zeroes }, NO_EXIST);
            SIGNALS.get_ptr_mut(tgid)?
        }
    };
    // SAFETY: the entry is in the map; the target's lock keeps out other writers.
    unsafe {
        let start = &raw mut (*entry).start_boottime_ns;
        if start.read_volatile() != started {
            // An earlier process had this id.
            copy(entry.cast::<[u8; size_of::<Signals>()]>(), zeroes.expose_provenance() as u64);
            start.write_volatile(started);
        }
    }
    Some(entry)
}

/// Keeps a signal to the process of `leader`, the first of the container with this css.
#[inline(never)]
fn keep(signal: u64, info: u64, leader: u64, result: u64, container: u64) -> u64 {
    let (signal, result) = (signal as u32, result as u32);
    let code = code(info);
    if signal != SIGKILL && !(by_process(code) && from_other(leader)) {
        let Some(entry) = entry(leader) else { return 0 };
        // SAFETY: the entry is in the map.
        unsafe { keep_raised(&raw mut (*entry).raised, info, signal, code, result) };
        return 0;
    }
    // SAFETY: the helper takes nothing.
    let current = unsafe { bpf_get_current_task() };
    let (_, use_unified) = place(leader);
    let inside = is_below(place_on(current, use_unified), container);
    // Without a handler it does nothing, and a process of a terminal sends it whenever a window changes.
    if signal == SIGWINCH && inside != 0 {
        return 0;
    }
    let flags = inside * u64::from(sender_flag::INSIDE);
    let Some(entry) = entry(leader) else { return 0 };
    // SAFETY: the entry is in the map.
    unsafe {
        if signal == SIGKILL {
            let slot = &raw mut (*entry).killed;
            let there = (&raw const (*slot).ktime_ns).read_volatile() != 0;
            let was_ignored = (&raw const (*slot).result).read_volatile() == IGNORED;
            if !there || was_ignored && result <= IGNORED {
                sent(slot, signal, code, result, flags);
            }
        } else {
            let slot = &raw mut (*entry).asked;
            let same = (&raw const (*slot).signal).read_volatile() == signal;
            let at = (&raw const (*slot).ktime_ns).read_volatile();
            let was_inside = (&raw const (*slot).flags).read_volatile() & sender_flag::INSIDE != 0;
            let outranks = inside == 0 && was_inside;
            let is_outranked =
                inside != 0 && !was_inside && at != 0 && bpf_ktime_get_boot_ns().wrapping_sub(at) < SAFE_NS;
            if (result <= IGNORED || !same || outranks) && !is_outranked {
                sent(slot, signal, code, result, flags);
            }
        }
    }
    0
}

/// Keeps a signal that the process raised, unless it is one that is pending already, or the end of an `abort`.
///
/// Process 1 of a pid namespace ignores SIGABRT if it has no handler. C libraries then execute an instruction that traps, and the
/// kernel ends the process for that: with SIGSEGV on x86, SIGTRAP on arm64, or SIGILL.
///
/// # Safety
/// `slot` must be writable.
#[inline(always)]
unsafe fn keep_raised(slot: *mut RaisedSignal, info: u64, signal: u32, code: u32, result: u32) {
    // SAFETY: the caller vouches for `slot`; the helper takes nothing.
    unsafe {
        let before = (&raw const (*slot).signal).read_volatile();
        let since = bpf_ktime_get_boot_ns().wrapping_sub((&raw const (*slot).ktime_ns).read_volatile());
        let ends_abort =
            before == SIGABRT && matches!(signal, SIGILL | SIGTRAP | SIGSEGV) && since < ABORT_NS;
        if (result <= IGNORED || before != signal) && !ends_abort {
            raised(slot, info, signal, code, result);
        }
    }
}

/// # Safety
/// `slot` must be writable.
#[inline(always)]
unsafe fn raised(slot: *mut RaisedSignal, info: u64, signal: u32, code: u32, result: u32) {
    // SAFETY: the caller vouches for `slot`; the helper takes nothing.
    unsafe {
        let before = (&raw const (*slot).signal).read_volatile();
        let repeated = is_zero(u64::from(before ^ signal)) as u32;
        let count = (&raw const (*slot).count).read_volatile() * repeated + 1;
        (&raw mut (*slot).ktime_ns).write_volatile(bpf_ktime_get_boot_ns());
        copy(&raw mut (*slot).address, info + siginfo::ADDRESS);
        copy(&raw mut (*slot).syscall, info + siginfo::SYSCALL);
        copy(&raw mut (*slot).arch, info + siginfo::ARCH);
        (&raw mut (*slot).signal).write_volatile(signal);
        (&raw mut (*slot).code).write_volatile(code.cast_signed());
        (&raw mut (*slot).result).write_volatile(result);
        (&raw mut (*slot).count).write_volatile(count);
    }
}

/// Puts the sender together, the current task, and then into `slot`.
///
/// Not inlined: it is called for two slots.
///
/// # Safety
/// `slot` must be writable, and lie in a map.
#[inline(never)]
unsafe fn sent(slot: *mut SentSignal, signal: u32, code: u32, result: u32, flags: u64) -> u64 {
    let Some(sender) = SENDER.get_ptr_mut(0) else { return 0 };
    let Some(zeroes) = ZEROES.get_ptr(0) else { return 0 };
    // SAFETY: this CPU's slot of the map, which `busy` guards; the caller vouches for `slot`; helpers take nothing, or a place
    // and its size.
    unsafe {
        let busy = &raw mut (*sender).busy;
        if busy.read_volatile() != 0 {
            count(counter::SCRATCH_BUSY);
            return 0;
        }
        busy.write_volatile(1);
        let to = &raw mut (*sender).signal;
        copy(to, zeroes.expose_provenance() as u64);
        let task = bpf_get_current_task();
        let (mut before, mut count_before) = (0_u32, 0_u32);
        let mut started_before = 0_u64;
        let slot_at = slot.expose_provenance() as u64;
        copy(&raw mut before, slot_at + offset_of!(SentSignal, signal) as u64);
        copy(&raw mut count_before, slot_at + offset_of!(SentSignal, count) as u64);
        copy(&raw mut started_before, slot_at + offset_of!(SentSignal, start_boottime_ns) as u64);

        let leader: u64 = member(task, fields::TASK_GROUP_LEADER);
        let parent: u64 = member(leader, fields::TASK_REAL_PARENT);
        let mut unread = copy_member(&raw mut (*to).tgid, task, fields::TASK_TGID)
            | copy_member(&raw mut (*to).tid, task, fields::TASK_PID)
            | copy_member(&raw mut (*to).uid, member(task, fields::TASK_CRED), fields::CRED_UID)
            | copy_member(&raw mut (*to).task_flags, task, fields::TASK_FLAGS)
            | copy_member(&raw mut (*to).start_boottime_ns, leader, fields::TASK_START_BOOTTIME)
            | copy_member(&raw mut (*to).comm, leader, fields::TASK_COMM);
        copy_member(&raw mut (*to).parent_tgid, parent, fields::TASK_TGID);
        copy_member(&raw mut (*to).parent_comm, member(parent, fields::TASK_GROUP_LEADER), fields::TASK_COMM);
        copy_member(&raw mut (*to).pid_ns, pid_namespace(task), fields::PIDNS_INUM);
        let (css, use_unified) = place(task);
        let kn: u64 = member(cgroup(css), fields::CGROUP_KN);
        unread |= copy_member(&raw mut (*to).cgroup_id, kn, fields::KN_ID);

        let started = (&raw const (*to).start_boottime_ns).read_volatile();
        let repeated = is_zero(u64::from(before ^ signal) | (started_before ^ started)) as u32;
        (&raw mut (*to).count).write_volatile(count_before * repeated + 1);
        (&raw mut (*to).ktime_ns).write_volatile(bpf_ktime_get_boot_ns());
        (&raw mut (*to).signal).write_volatile(signal);
        (&raw mut (*to).code).write_volatile(code.cast_signed());
        (&raw mut (*to).result).write_volatile(result);
        (&raw mut (*to).flags).write_volatile(
            (flags | use_unified * u64::from(sender_flag::UNIFIED) | unread * u64::from(sender_flag::UNREAD))
                as u32,
        );
        names(sender, css);
        copy(slot, to.expose_provenance() as u64);
        busy.write_volatile(0);
    }
    0
}

/// Writes the names of the cgroups from `css` to below the root.
///
/// # Safety
/// `sender` must be a value of the map.
#[inline(always)]
unsafe fn names(sender: *mut Sender, css: u64) {
    let mut css = css;
    for _ in 0..MAX_LEVELS {
        let parent = above(css);
        if parent == 0 || sender_name(css) == 0 {
            break;
        }
        css = parent;
    }
    // Left before the root: too deep, too long, or unreadable.
    let cut = is_zero(above(css)) ^ 1;
    // SAFETY: the caller vouches for `sender`.
    unsafe {
        let flags = &raw mut (*sender).signal.flags;
        flags.write_volatile(flags.read_volatile() | cut as u32 * sender_flag::NAMES_CUT);
    }
}

/// Appends the name of the cgroup of this css to those of the sender that is put together. Gives 0 if it cannot.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sender_name(css: u64) -> u64 {
    const LAST: u64 = SENDER_NAMES_BYTES as u64 - 1;
    const { assert!(SENDER_NAMES_BYTES == 512 && size_of::<SentSignal>().is_multiple_of(8)) };
    let Some(sender) = SENDER.get_ptr_mut(0) else { return 0 };
    // SAFETY: this CPU's slot of the map, which the caller has marked as in use; behind the last place there is room for the longest
    // name.
    unsafe {
        let to = &raw mut (*sender).signal;
        let length = &raw mut (*to).names_length;
        let at = u64::from(length.read_volatile()) & LAST;
        let name: *mut u8 = (&raw mut (*to).names).cast();
        let kn_name = member(member(cgroup(css), fields::CGROUP_KN), fields::KN_NAME);
        let with_nul = copy_string::<NAME_BYTES>(name.add(at as usize), kn_name);
        let end = at + with_nul;
        if with_nul == 0 || end > LAST {
            return 0;
        }
        length.write_volatile(end as u32);
    }
    1
}
