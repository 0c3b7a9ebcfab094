//! The record of the end of a container's first process.

use crashtrace_ebpf::{COMM_BYTES, FAILED_EXECS, SENDER_NAMES_BYTES, exit_flag, section, sender_flag};

use super::{DecodeError, Machine, Reader, lineage, name, task};
use crate::event::signals::{LAST, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
use crate::event::{
    ContainerExit, FailedExec, Level, Lineage, Name, Outcome, Parent, Raised, SI_KERNEL, Sender, Signal,
    Stamp, Task, WaitStatus,
};

/// Signals by which the kernel says that an instruction failed, with an address.
const FAULTS: [u8; 5] = [SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV];
/// `SYS_SECCOMP` (`include/uapi/asm-generic/siginfo.h`).
const SYS_SECCOMP: i32 = 1;

/// Reads one.
pub(super) fn end(
    reader: &mut Reader,
    stamp: Stamp,
    machine: &Machine,
) -> Result<Box<ContainerExit>, DecodeError> {
    let task = task::task(reader, machine)?;
    let (parent_pid, status, pid_ns, flags) = (reader.u32()?, reader.i32()?, reader.u32()?, reader.u32()?);
    let parent = parent(parent_pid, reader)?;
    let (asked, killed) = (signal(reader)?, signal(reader)?);
    let raised = raised(reader)?;
    let (failed_execs, failed_execs_total) = failed_execs(reader)?;
    let mut sections = lineage::sections(reader, machine)?;
    let has = |bit: u32| flags & bit != 0;
    Ok(Box::new(ContainerExit {
        stamp,
        task,
        cgroups: sections.take(section::VICTIM),
        status: (!has(exit_flag::NO_STATUS)).then(|| WaitStatus::of(status)),
        parent,
        pid_ns: known(pid_ns),
        is_init: has(exit_flag::INIT),
        before_exec: has(exit_flag::BEFORE_EXEC),
        oom_marked: has(exit_flag::OOM_MARKED),
        cpu_limited: has(exit_flag::CPU_LIMIT),
        asked,
        killed,
        raised,
        failed_execs,
        failed_execs_total,
    }))
}

/// Pids and inodes: no process that is seen has number 0.
fn known(id: u32) -> Option<u32> {
    Some(id).filter(|id| *id != 0)
}

fn parent(pid: u32, reader: &mut Reader) -> Result<Parent, DecodeError> {
    let comm = name(&reader.take(COMM_BYTES)?);
    let pid = known(pid);
    // Both are read of one task.
    Ok(Parent { pid, comm: pid.map(|_| comm) })
}

fn number(signal: u32) -> Result<u8, DecodeError> {
    let impossible = DecodeError::Impossible { what: "number of a signal", value: signal.into() };
    u8::try_from(signal).ok().filter(|signal| (1..=LAST).contains(signal)).ok_or(impossible)
}

/// `TRACE_SIGNAL_*` (`include/trace/events/signal.h`).
fn outcome(result: u32) -> Outcome {
    match result {
        0 => Outcome::Delivered,
        1 => Outcome::Ignored,
        2 => Outcome::AlreadyPending,
        other => Outcome::Other(other),
    }
}

/// Reads a signal with its sender; `None` if the place is empty.
fn signal(reader: &mut Reader) -> Result<Option<Signal>, DecodeError> {
    let (ktime_ns, start_boottime_ns, cgroup_id) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let (signal, code, result, count) = (reader.u32()?, reader.i32()?, reader.u32()?, reader.u32()?);
    let (pid, tid, uid, parent_pid) = (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let (pid_ns, task_flags, flags, names_length) =
        (reader.u32()?, reader.u32()?, reader.u32()?, reader.u32()?);
    let comm = name(&reader.take(COMM_BYTES)?);
    let parent = parent(parent_pid, reader)?;
    let names = reader.take(SENDER_NAMES_BYTES)?;
    if ktime_ns == 0 {
        return Ok(None);
    }
    let names = names.get(..names_length as usize);
    let impossible =
        DecodeError::Impossible { what: "length of a sender's cgroups", value: names_length.into() };
    let cgroups = cgroups(names.ok_or(impossible)?, cgroup_id, flags);
    let unread = flags & sender_flag::UNREAD != 0;
    let sure = |value: u32| (!unread).then_some(value);
    Ok(Some(Signal {
        ktime_ns,
        number: number(signal)?,
        code,
        outcome: outcome(result),
        count,
        sender: Sender {
            task: Task {
                pid: sure(pid),
                tid: sure(tid),
                comm: (!unread).then_some(comm),
                uid: sure(uid),
                start_boottime_ns: (!unread).then_some(start_boottime_ns),
                ..Task::default()
            },
            parent,
            pid_ns: known(pid_ns),
            exiting: task_flags & task::PF_EXITING != 0,
            cgroups,
        },
    }))
}

/// The cgroups by their names, nearest first, each with a NUL; the root is not among them. `None` if nothing is known.
fn cgroups(names: &[u8], cgroup_id: u64, flags: u32) -> Option<Lineage> {
    let incomplete = flags & sender_flag::NAMES_CUT != 0;
    let names = names.strip_suffix(&[0]).map(|names| names.split(|byte| *byte == 0));
    let level = |name: &[u8]| Level { name: Some(Name(name.to_vec())), ..Level::default() };
    let mut levels: Vec<_> = names.into_iter().flatten().map(level).collect();
    if !incomplete {
        levels.push(Level { name: Some(Name::default()), root: true, ..Level::default() });
    }
    let nearest = levels.first_mut()?;
    nearest.cgroup_id = Some(cgroup_id).filter(|id| *id != 0);
    if flags & sender_flag::UNREAD != 0 && nearest.cgroup_id.is_none() {
        return None;
    }
    Some(Lineage { levels, skipped: 0, incomplete, unified: flags & sender_flag::UNIFIED != 0 })
}

/// Reads a raised signal; `None` if the place is empty.
fn raised(reader: &mut Reader) -> Result<Option<Raised>, DecodeError> {
    let (ktime_ns, address) = (reader.u64()?, reader.u64()?);
    let (signal, code, result, count) = (reader.u32()?, reader.i32()?, reader.u32()?, reader.u32()?);
    let (syscall, arch) = (reader.i32()?, reader.u32()?);
    if ktime_ns == 0 {
        return Ok(None);
    }
    let number = number(signal)?;
    // With another code the place has another meaning: the sender's ids, for one.
    let is_fault = FAULTS.contains(&number) && (1..SI_KERNEL).contains(&code);
    let by_seccomp = number == SIGSYS && code == SYS_SECCOMP;
    Ok(Some(Raised {
        ktime_ns,
        number,
        code,
        outcome: outcome(result),
        count,
        address: is_fault.then_some(address),
        syscall: by_seccomp.then_some((syscall, arch)),
    }))
}

/// Reads the list, and how many there were.
fn failed_execs(reader: &mut Reader) -> Result<(Vec<FailedExec>, u32), DecodeError> {
    let (mut times, mut statuses) = ([0; FAILED_EXECS], [0; FAILED_EXECS]);
    for time in &mut times {
        *time = reader.u64()?;
    }
    for status in &mut statuses {
        *status = reader.i32()?;
    }
    let mut list = Vec::new();
    for (ktime_ns, status) in times.into_iter().zip(statuses) {
        let comm = name(&reader.take(COMM_BYTES)?);
        if ktime_ns != 0 {
            let comm = Some(comm).filter(|comm| !comm.0.is_empty());
            list.push(FailedExec { ktime_ns, status: WaitStatus::of(status), comm });
        }
    }
    let (total, _) = (reader.u32()?, reader.u32()?);
    Ok((list, total))
}
