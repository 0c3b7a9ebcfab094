//! The record of the end of a container's first process.

use crate::{COMM_BYTES, Task};

/// Body of [`kind::CONTAINER_EXIT`](crate::kind::CONTAINER_EXIT). Section: [`section::VICTIM`](crate::section::VICTIM), the
/// cgroups of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ContainerExit {
    /// The process.
    pub task: Task,
    /// Process id of its parent, 0 if it could not be read.
    pub parent_tgid: u32,
    /// As the parent's `wait` gets it.
    pub status: i32,
    /// Inode number of its pid namespace, 0 if it could not be read.
    pub pid_ns: u32,
    /// Bits of [`exit_flag`].
    pub flags: u32,
    /// Name of its parent.
    pub parent_comm: [u8; COMM_BYTES],
    /// The latest signal that another process sent, of those that can end or stop a program by its own choice, SIGKILL apart. One
    /// from inside of the container does not replace one from outside of it that is younger than 10 minutes.
    pub asked: SentSignal,
    /// The first SIGKILL that was not ignored, from any sender; else the latest that was.
    pub killed: SentSignal,
    /// The latest fatal signal that the process raised, or the kernel for what it did. The fault by which `abort` ends, where
    /// SIGABRT did not, does not replace that SIGABRT.
    pub raised: RaisedSignal,
    /// Processes that came by `exec` and failed, in a row.
    pub execs: FailedExecs,
}

/// Bits of [`ContainerExit::flags`].
pub mod exit_flag {
    /// Process 1 of its pid namespace.
    pub const INIT: u32 = 1 << 0;
    /// `PF_FORKNOEXEC`: it had not executed a program.
    pub const BEFORE_EXEC: u32 = 1 << 1;
    /// `signal_struct.oom_mm` is set: an OOM decision had marked it.
    pub const OOM_MARKED: u32 = 1 << 2;
    /// The status could not be read.
    pub const NO_STATUS: u32 = 1 << 3;
    /// `RLIMIT_CPU` has a hard limit, at which the kernel sends SIGKILL.
    pub const CPU_LIMIT: u32 = 1 << 4;
}

/// Bytes of the names of a sender's cgroups.
pub const SENDER_NAMES_BYTES: usize = 512;

/// A signal with its sender: the current task. All zero if there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SentSignal {
    /// When it was generated; 0 if there is none.
    pub ktime_ns: u64,
    /// When the sender's process started.
    pub start_boottime_ns: u64,
    /// Id of the sender's cgroup.
    pub cgroup_id: u64,
    /// Its number.
    pub signal: u32,
    /// `si_code`.
    pub code: i32,
    /// `TRACE_SIGNAL_*` (`include/trace/events/signal.h`).
    pub result: u32,
    /// How many of this number the same process has sent.
    pub count: u32,
    /// The sender's process id.
    pub tgid: u32,
    /// Its thread id.
    pub tid: u32,
    /// Its real user id.
    pub uid: u32,
    /// Process id of its parent.
    pub parent_tgid: u32,
    /// Inode number of its pid namespace.
    pub pid_ns: u32,
    /// `task_struct.flags` (`PF_*`).
    pub task_flags: u32,
    /// Bits of [`sender_flag`].
    pub flags: u32,
    /// Bytes of `names` in use.
    pub names_length: u32,
    /// Name of the process.
    pub comm: [u8; COMM_BYTES],
    /// Name of its parent.
    pub parent_comm: [u8; COMM_BYTES],
    /// Names of its cgroup and that cgroup's ancestors below the root, nearest first, each with a NUL.
    pub names: [u8; SENDER_NAMES_BYTES],
}

/// Bits of [`SentSignal::flags`].
pub mod sender_flag {
    /// The names are those of the unified hierarchy, without a memory controller.
    pub const UNIFIED: u32 = 1 << 0;
    /// `names` does not reach the root.
    pub const NAMES_CUT: u32 = 1 << 1;
    /// Ids, names or user could not be read.
    pub const UNREAD: u32 = 1 << 2;
    /// The sender's cgroup is the container's that the signal went to, or below it.
    pub const INSIDE: u32 = 1 << 3;
}

/// A signal that the process raised, or the kernel for what it did. All zero if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RaisedSignal {
    /// When it was generated; 0 if there is none.
    pub ktime_ns: u64,
    /// `si_addr` of a fault, `si_call_addr` of SIGSYS.
    pub address: u64,
    /// Its number.
    pub signal: u32,
    /// `si_code`.
    pub code: i32,
    /// `TRACE_SIGNAL_*`.
    pub result: u32,
    /// How many of this number there were.
    pub count: u32,
    /// `si_syscall` of SIGSYS.
    pub syscall: i32,
    /// `si_arch` of SIGSYS.
    pub arch: u32,
}

/// Failed processes of [`FailedExecs`] with their times.
pub const FAILED_EXECS: usize = 4;

/// Processes that came into the container by `exec` and failed, since the last that did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FailedExecs {
    /// When they ended, latest first; 0 where there is none.
    pub ktime_ns: [u64; FAILED_EXECS],
    /// As their parents' `wait` gets it.
    pub status: [i32; FAILED_EXECS],
    /// Their names.
    pub comm: [[u8; COMM_BYTES]; FAILED_EXECS],
    /// How many there were in this row.
    pub total: u32,
    /// Padding, zero.
    pub pad: u32,
}

const _: () = assert!(size_of::<SentSignal>() == 3 * 8 + 12 * 4 + 2 * COMM_BYTES + SENDER_NAMES_BYTES);
const _: () = assert!(size_of::<RaisedSignal>() == 40);
const _: () = assert!(size_of::<FailedExecs>() == 120);
const _: () = assert!(size_of::<ContainerExit>() == 128 + 32 + 2 * size_of::<SentSignal>() + 40 + 120);
