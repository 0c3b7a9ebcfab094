//! The task in a record.

use crashtrace_ebpf::{COMM_BYTES, task_missing};

use super::{DecodeError, Machine, Reader, name, possible};
use crate::event::{Rss, Task};

/// `PF_EXITING` (`include/linux/sched.h`, the same from 5.10 to 7.3).
pub(super) const PF_EXITING: u32 = 0x4;
/// `SIGNAL_GROUP_EXIT` (`include/linux/sched/signal.h`, the same from 5.10 to 7.3).
const SIGNAL_GROUP_EXIT: u32 = 0x4;

/// `SIGNAL_GROUP_COREDUMP` (same file, up to 5.15; the bit is not used since).
const SIGNAL_GROUP_COREDUMP: u32 = 0x8;

/// Reads one.
pub(super) fn task(reader: &mut Reader, machine: &Machine) -> Result<Task, DecodeError> {
    let start_boottime_ns = reader.u64()?;
    let [anon, file, shmem, swap] = [reader.i64()?, reader.i64()?, reader.i64()?, reader.i64()?];
    let (page_table_bytes, total_vm_pages) = (reader.u64()?, reader.u64()?);
    let [pid, tid, container_pid] = [reader.u32()?, reader.u32()?, reader.u32()?];
    // The thread's id in its namespace, which no report has.
    reader.u32()?;
    let (uid, task_flags, signal_flags, missing) =
        (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let oom_score_adj = reader.i16()?;
    let dumps_core = reader.u16()? != 0 || signal_flags & SIGNAL_GROUP_COREDUMP != 0;
    let threads = reader.u32()?;
    let comm = name(&reader.take(COMM_BYTES)?);
    let thread_comm = name(&reader.take(COMM_BYTES)?);

    let has = |bit: u32| missing & bit == 0;
    // The kernel's counters may be below zero for a moment.
    let bytes = |pages: i64| u64::try_from(pages).unwrap_or(0).saturating_mul(machine.page_size_bytes);
    // As in `__task_will_free_mem` (`mm/oom_kill.c`): one exiting thread does not mean that a process with more threads exits.
    // Nor does a process that writes its core free its memory soon.
    let exiting = !dumps_core
        && (task_flags & PF_EXITING != 0 && threads <= 1 || signal_flags & SIGNAL_GROUP_EXIT != 0);
    let has_flags =
        has(task_missing::TASK_FLAGS) && has(task_missing::SIGNAL_FLAGS) && has(task_missing::THREADS);
    // A record that lacks a task's ids may still have its thread id: old kernels' `mark_victim` has only that.
    let bare_tid = missing == task_missing::ALL && tid != 0;
    let rss = Rss {
        anon_bytes: bytes(anon),
        file_bytes: bytes(file),
        shmem_bytes: bytes(shmem),
        swap_bytes: bytes(swap),
    };
    let sizes = [rss.anon_bytes, rss.file_bytes, rss.shmem_bytes, rss.swap_bytes];
    let rss = Some(rss).filter(|_| sizes.into_iter().all(|bytes| possible::size(bytes).is_some()));
    Ok(Task {
        pid: has(task_missing::IDS).then_some(pid),
        tid: (has(task_missing::IDS) || bare_tid).then_some(tid),
        container_pid: has(task_missing::NS_IDS).then_some(container_pid),
        comm: has(task_missing::COMM).then_some(comm),
        thread_comm: has(task_missing::THREAD_COMM).then_some(thread_comm),
        uid: has(task_missing::UID).then_some(uid),
        oom_score_adj: has(task_missing::OOM_SCORE_ADJ).then_some(oom_score_adj),
        rss: rss.filter(|_| has(task_missing::RSS)),
        page_table_bytes: possible::size(page_table_bytes).filter(|_| has(task_missing::PAGE_TABLES)),
        total_vm_bytes: possible::size(total_vm_pages.saturating_mul(machine.page_size_bytes))
            .filter(|_| has(task_missing::TOTAL_VM)),
        start_boottime_ns: has(task_missing::START).then_some(start_boottime_ns),
        exiting: has_flags.then_some(exiting),
    })
}
