//! The self-test's record: the process that ran it as the kernel side reads any task, and by the kernel's helpers.

use std::mem::offset_of;

use bytes::Bytes;
use crashtrace_ebpf as abi;
use crashtrace_ebpf::{COMM_BYTES, kind, section, task_missing};

use super::{DecodeError, Machine, Reader, header, lineage, name, task};
use crate::event::{Lineage, Name, Task};

/// The facts in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTest {
    /// When it ran, in the kernel's nanoseconds of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// The thread, by the field table.
    pub task: Task,
    /// Its id in its own pid namespace.
    pub container_tid: Option<u32>,
    /// `task_struct.flags`.
    pub task_flags: Option<u32>,
    /// Threads of the process.
    pub threads: Option<u32>,
    /// Its cgroups, by the field table.
    pub cgroups: Option<Lineage>,
    /// By helpers: the process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The user.
    pub uid: u32,
    /// The cgroup on the unified hierarchy.
    pub cgroup_id: u64,
    /// The thread's name.
    pub thread_comm: Name,
}

/// Reads it. Impossible values are a finding here, and not refused.
///
/// # Errors
/// The bytes are no such record.
pub fn self_test(record: &Bytes, machine: &Machine) -> Result<SelfTest, DecodeError> {
    let (mut reader, header) = header(record)?;
    if header.kind != kind::SELF_TEST {
        return Err(DecodeError::Kind(header.kind));
    }
    // Fields that no report has: read beside the task.
    let body = reader.bytes.clone();
    let beside = |offset: usize, bit: u32| -> Result<Option<u32>, DecodeError> {
        let mut at = Reader { bytes: body.clone(), total: record.len() };
        at.take(offset)?;
        let value = at.u32()?;
        let mut missing = Reader { bytes: body.clone(), total: record.len() };
        missing.take(offset_of!(abi::Task, missing))?;
        Ok(Some(value).filter(|_| missing.u32().is_ok_and(|missing| missing & bit == 0)))
    };
    let container_tid = beside(offset_of!(abi::Task, ns_tid), task_missing::NS_IDS)?;
    let task_flags = beside(offset_of!(abi::Task, task_flags), task_missing::TASK_FLAGS)?;
    let threads = beside(offset_of!(abi::Task, threads), task_missing::THREADS)?;
    let task = task::task(&mut reader, machine)?;
    let (pid_tgid, uid_gid, cgroup_id) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let thread_comm = name(&reader.take(COMM_BYTES)?);
    let cgroups = lineage::sections(&mut reader, machine)?.take(section::VICTIM);
    Ok(SelfTest {
        ktime_ns: header.ktime_ns,
        task,
        container_tid,
        task_flags,
        threads,
        cgroups,
        pid: (pid_tgid >> 32) as u32,
        tid: pid_tgid as u32,
        uid: uid_gid as u32,
        cgroup_id,
        thread_comm,
    })
}
