//! The end of a container's first process, and the fatal signals that it got before.

use super::{Lineage, Name, Stamp, Task};

/// A container's first process has ended: the process that the runtime started as the container's main process.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the record's")]
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerExit {
    pub stamp: Stamp,
    /// The process. Its memory is gone on most kernels by then.
    pub task: Task,
    pub cgroups: Option<Lineage>,
    /// `None` if it could not be read.
    pub status: Option<WaitStatus>,
    /// Its parent: the runtime's shim or monitor, unless that has ended before.
    pub parent: Parent,
    /// Inode number of its pid namespace.
    pub pid_ns: Option<u32>,
    /// It is process 1 of its pid namespace, which ends with it.
    pub is_init: bool,
    /// It ended before it executed a program (`PF_FORKNOEXEC`): as the runtime's own code, before the container started.
    pub before_exec: bool,
    /// An OOM decision had marked it (`signal_struct.oom_mm`).
    pub oom_marked: bool,
    /// It had a hard limit of CPU time (`RLIMIT_CPU`), at which the kernel sends SIGKILL.
    pub cpu_limited: bool,
    /// The latest signal other than SIGKILL that another process sent, of those that can make a program end. One from inside of the
    /// container does not replace one from outside of it that is younger than 10 minutes.
    pub asked: Option<Signal>,
    /// The first SIGKILL that was not ignored, from whatever sender; else the latest that was.
    pub killed: Option<Signal>,
    /// The latest fatal signal that it raised itself, or that the kernel raised for what it did. A fault within 100 ms of SIGABRT is
    /// how `abort` ends process 1 of a namespace, which ignores SIGABRT, and does not replace it.
    pub raised: Option<Raised>,
    /// Processes that came into the container by `exec` and failed, in a row, latest first; those of probes among them.
    pub failed_execs: Vec<FailedExec>,
    /// How many failed in that row, those that are not listed too.
    pub failed_execs_total: u32,
}

impl ContainerExit {
    /// The end of this process, of which no more is known.
    #[must_use]
    pub fn new(stamp: Stamp, task: Task) -> Self {
        Self {
            stamp,
            task,
            cgroups: None,
            status: None,
            parent: Parent::default(),
            pid_ns: None,
            is_init: false,
            before_exec: false,
            oom_marked: false,
            cpu_limited: false,
            asked: None,
            killed: None,
            raised: None,
            failed_execs: Vec::new(),
            failed_execs_total: 0,
        }
    }
}

/// How a process ended, as its parent's `wait` gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// By `exit`.
    Exited { code: u8 },
    /// By a signal.
    Signaled { signal: u8, core_dumped: bool },
}

impl WaitStatus {
    /// From `wait`'s number (`include/uapi/linux/wait.h`): the signal in the low 7 bits, then the core's bit, then the code.
    #[must_use]
    pub fn of(status: i32) -> Self {
        let [low, code, ..] = status.to_le_bytes();
        match low & 0x7f {
            0 => Self::Exited { code },
            signal => Self::Signaled { signal, core_dumped: low & 0x80 != 0 },
        }
    }

    /// The exit code as runtimes and Kubernetes show it: 128 and the signal's number after a signal.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Exited { code } => code.into(),
            Self::Signaled { signal, .. } => 128 + i32::from(signal),
        }
    }

    /// The signal that it ended by.
    #[must_use]
    pub fn signal(self) -> Option<u8> {
        match self {
            Self::Exited { .. } => None,
            Self::Signaled { signal, .. } => Some(signal),
        }
    }
}

/// A parent process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    pub pid: Option<u32>,
    pub comm: Option<Name>,
}

/// A fatal signal to the process, with its sender: the task that was current when the signal was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Signal {
    /// When it was generated.
    pub ktime_ns: u64,
    pub number: u8,
    /// `si_code`: at most 0 if a process sent it, [`SI_KERNEL`] or a cause of a fault if the kernel did.
    pub code: i32,
    pub outcome: Outcome,
    /// How many of this kind there were: the same number by the same process.
    pub count: u32,
    pub sender: Sender,
}

/// `SI_KERNEL` (`include/uapi/asm-generic/siginfo.h`).
pub const SI_KERNEL: i32 = 0x80;

impl Signal {
    /// The kernel sent it, for whatever reason, and the sender is only the task that was current.
    #[must_use]
    pub fn is_kernels(&self) -> bool {
        self.code > 0
    }
}

/// The sender of a signal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sender {
    /// Ids, names, user and start; no memory.
    pub task: Task,
    pub parent: Parent,
    /// Inode number of its pid namespace.
    pub pid_ns: Option<u32>,
    /// It was exiting itself (`PF_EXITING`): so does the first process of a pid namespace, which kills all others in it.
    pub exiting: bool,
    /// Its cgroups, by name only.
    pub cgroups: Option<Lineage>,
}

/// `TRACE_SIGNAL_*` (`include/trace/events/signal.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered,
    /// The process ignores it, or is process 1 of its namespace and has no handler.
    Ignored,
    /// One of its number is pending already.
    AlreadyPending,
    /// Another one.
    Other(u32),
}

/// A fatal signal that the process raised itself, or that the kernel raised for what it did.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub ktime_ns: u64,
    pub number: u8,
    pub code: i32,
    pub outcome: Outcome,
    pub count: u32,
    /// Of a fault: the address (`si_addr`).
    pub address: Option<u64>,
    /// Of SIGSYS: the number of the system call that seccomp refused, and the architecture whose it is (`AUDIT_ARCH_*`).
    pub syscall: Option<(i32, u32)>,
}

/// A process that came into the container by `exec` and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedExec {
    /// When it ended.
    pub ktime_ns: u64,
    pub status: WaitStatus,
    pub comm: Option<Name>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_is_read_as_wait_does() {
        for (status, is, shown) in [
            (0, WaitStatus::Exited { code: 0 }, 0),
            (3 << 8, WaitStatus::Exited { code: 3 }, 3),
            (255 << 8, WaitStatus::Exited { code: 255 }, 255),
            (9, WaitStatus::Signaled { signal: 9, core_dumped: false }, 137),
            (0x8b, WaitStatus::Signaled { signal: 11, core_dumped: true }, 139),
        ] {
            assert_eq!(WaitStatus::of(status), is);
            assert_eq!(is.exit_code(), shown);
        }
        assert_eq!(WaitStatus::of(15).signal(), Some(15));
        assert_eq!(WaitStatus::of(15 << 8).signal(), None);
    }
}
