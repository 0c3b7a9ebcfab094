//! The ABI between crashtrace's kernel programs and its user side: every byte that crosses the border is
//! defined here, once.
//!
//! The kernel side writes **records** into a ring buffer ([`map::RECORDS`]). A record is a [`Header`], a fixed
//! body that depends on the kind, and a tail of [`Section`]s of variable length (cgroup paths with their memory
//! controllers). Words that are zero are left out of all behind the header ([`Header::unpacked`]). Everything is little-endian integers and byte arrays: both supported architectures (`x86_64`,
//! aarch64) are little-endian, so a recording made on one reads on the other. Padding is explicit.
//!
//! Units are the kernel's own and stand in the names: `_ns` is nanoseconds of `CLOCK_BOOTTIME`, `_pages` are
//! pages of the recorded machine (the user side knows its page size), `_bytes` are bytes.
//!
//! **Absent is not zero.** A value that could not be read, because this kernel has no such field or because the read failed,
//! has a bit in a `missing` word ([`missing`], [`task_missing`], [`level_flag`]), and is meaningless.
//!
//! The user side never casts a record to these types: it reads field by field with bounds checks, in the order
//! in which they stand here; the assertions beside each type keep that order honest.
#![no_std]
#![forbid(unsafe_code)]
// The table of fields counts its entries by recursion.
#![recursion_limit = "512"]

mod alloc;
mod exit;
pub mod fields;
mod names;
mod oom;
mod sections;
mod zones;

pub use alloc::{
    AllocFailure, FAILURE_QUIET_NS, FAILURE_STACK_FRAMES, FORMAT_BYTES, FailureCount, FailureKey, GfpBits,
    VmallocArea, failure_flag,
};
pub use exit::{
    ContainerExit, FAILED_EXECS, FailedExecs, RaisedSignal, SENDER_NAMES_BYTES, SentSignal, exit_flag,
    sender_flag,
};
pub use names::{address, counter, global, map, mark_victim_arg, program};
pub use oom::{
    HOLDER_NS, HOLDER_SHARE, HOLDER_STEPS, HUGE_SIZES, Holder, HugePages, LRU_LISTS, MAX_HOLDERS,
    MESSAGE_BYTES, MemcgMemory, NodeMemory, OomDecision, OomHolders, OomNoVictim, OomVictim, RemovedCgroups,
    decision_flag, holders_flag, memcg_memory_missing, memcg_stat, node_memory_flag, node_stat,
};
pub use sections::{
    Level, MAX_LEVELS, MAX_SKIPPED_LEVELS, NAME_BYTES, Section, joins, level_flag, section, section_flag,
};
pub use zones::{
    MAX_NUMA_NODES, MAX_ORDERS, MAX_ZONE_TYPES, MAX_ZONES, NO_TYPE, ZONE_NAME_BYTES, Zone, ZonesHead,
    zone_missing,
};

/// Version of all layouts in this crate. A change of any byte raises it; a recording carries it.
pub const LAYOUT_VERSION: u16 = 4;

/// The oldest layout that this version reads: in one of 3, [`Header::unpacked`], [`Section::joins`] and [`Section::joined_at`] are
/// padding, and 0.
pub const OLDEST_LAYOUT: u16 = 3;

/// Kinds of records. Other values are unknown to this version; a reader counts and skips them.
pub mod kind {
    /// The kernel chose a victim: entry of `oom_kill_process` (`mm/oom_kill.c`), or, if no probe can be attached there, what
    /// could be gathered about that decision at the first `oom:mark_victim`. Body: [`OomDecision`](super::OomDecision).
    pub const OOM_DECISION: u16 = 1;
    /// That decision has been carried out: return of `oom_kill_process`. Body: none; `decision_ns` says which.
    pub const OOM_DECISION_END: u16 = 2;
    /// A task was marked as OOM victim: tracepoint `oom:mark_victim`. Body: [`OomVictim`](super::OomVictim).
    pub const OOM_VICTIM: u16 = 3;
    /// A memcg's OOM found no victim: `mem_cgroup_out_of_memory` returned false. Body: [`OomNoVictim`](super::OomNoVictim).
    pub const OOM_NO_VICTIM: u16 = 4;
    /// The largest holders of the node's memory, or of the limit owner's, at a decision; follows it. Body:
    /// [`OomHolders`](super::OomHolders).
    pub const OOM_HOLDERS: u16 = 5;
    /// A task waits at the limit of a memcg whose OOM killer is switched off: entry of `mem_cgroup_oom_synchronize`
    /// (`mm/memcontrol.c` up to 6.10, `mm/memcontrol-v1.c` since). Body: [`OomNoVictim`](super::OomNoVictim).
    pub const OOM_WAIT: u16 = 6;
    /// The zones and the node's memory, at a decision that is not a memcg's; follows it. Body: none. Sections:
    /// [`section::ZONES`](super::section::ZONES), [`section::NODE_MEMORY`](super::section::NODE_MEMORY).
    pub const OOM_ZONES: u16 = 7;
    /// An allocation failed: entry of `warn_alloc` (`mm/page_alloc.c`), or tracepoint `kmem:mm_page_alloc` without a page.
    /// Body: [`AllocFailure`](super::AllocFailure).
    pub const ALLOC_FAILURE: u16 = 8;
    /// Facts that the self-test read of the process that ran it; never in the ring. Body: [`SelfTest`](super::SelfTest).
    pub const SELF_TEST: u16 = 9;
    /// A container's first process has ended: tracepoint `sched:sched_process_exit`. Body:
    /// [`ContainerExit`](super::ContainerExit).
    pub const CONTAINER_EXIT: u16 = 10;
    /// What the kernel counts of the limit owner and the victim's memcg, at the first mark of a decision that a probe has seen. Body:
    /// none. Sections: [`section::MEMCG_MEMORY`](super::section::MEMCG_MEMORY).
    pub const OOM_MEMORY: u16 = 11;
    /// Written into recordings by the user side: the wall clock was set. Body: `CLOCK_REALTIME` less `CLOCK_BOOTTIME` from here
    /// on, an `i64` of nanoseconds. A reader that does not know it counts it and goes on.
    pub const CLOCK: u16 = 0x100;
}

/// Which kind of hook wrote a record.
pub mod hook {
    /// A BPF trampoline at a function's entry or return.
    pub const FENTRY: u8 = 1;
    /// A kprobe or kretprobe.
    pub const KPROBE: u8 = 2;
    /// A raw tracepoint.
    pub const RAW_TRACEPOINT: u8 = 3;
}

/// Opens every record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Header {
    /// [`LAYOUT_VERSION`] of the writer.
    pub layout: u16,
    /// One of [`kind`].
    pub kind: u16,
    /// Bytes of the whole record, this header included.
    pub length: u32,
    /// Counts the records that programs on this CPU set out to write in this `stream`, from 0, the lost ones included: a gap is
    /// a loss.
    pub seq: u64,
    /// When the record was begun (`bpf_ktime_get_boot_ns`).
    pub ktime_ns: u64,
    /// `ktime_ns` of the OOM decision that was being carried out, 0 where there was none or it could not be
    /// known. `oom_lock` (`mm/oom_kill.c`) lets only one be open at a time.
    pub decision_ns: u64,
    /// Missing parts of the record: bits of [`missing`].
    pub missing: u32,
    /// CPU that wrote it.
    pub cpu: u32,
    /// One of [`hook`].
    pub hook: u8,
    /// One of [`stream`].
    pub stream: u8,
    /// Padding, zero.
    pub pad: [u8; 2],
    /// Bytes of the record before its words of 8 bytes that are zero were left out; 0 if none were.
    ///
    /// Behind the header are then the words that are not zero, in their order, and behind these as many bitmaps of 8 bytes as there
    /// are groups of [`GROUP_WORDS`] words, the last one begun: bit `n` says that word `n` of the group is not zero.
    pub unpacked: u32,
}

/// Words in a group: see [`Header::unpacked`].
pub const GROUP_WORDS: usize = 64;

/// Streams of records with numbers of their own. Where programs can be preempted (raw tracepoints from 7.0 on), the record of one
/// may come after those of programs that ran in between, with a lower number: within a stream that cannot be.
pub mod stream {
    /// OOM kills and failed allocations.
    pub const MEMORY: u8 = 0;
    /// Ends of containers.
    pub const EXIT: u8 = 1;
    /// Ends of containers, seen while the program for them was running on that CPU.
    pub const EXIT_BESIDE: u8 = 2;
    /// How many.
    pub const COUNT: u32 = 3;
}

const _: () = assert!(size_of::<Header>() == 48 && core::mem::offset_of!(Header, hook) == 40);
const _: () = assert!(core::mem::offset_of!(Header, unpacked) == 44);

/// Bits of [`Header::missing`].
pub mod missing {
    /// The fields of the kernel's `oom_control` (order, gfp, points, constraint, limit owner).
    pub const OOM_CONTROL: u32 = 1 << 0;
    /// The kernel stack.
    pub const STACK: u32 = 1 << 1;
    /// The kernel's message.
    pub const MESSAGE: u32 = 1 << 2;
    /// The victim's task (`oom_control.chosen` was not a task).
    pub const VICTIM: u32 = 1 << 3;
    /// Flags and order of the allocation for which the task waits.
    pub const REQUEST: u32 = 1 << 4;
    /// The format, which gives the kind of failure: the tracepoint has none.
    pub const FORMAT: u32 = 1 << 5;
}

/// Bytes of a task name with its NUL (`TASK_COMM_LEN`).
pub const COMM_BYTES: usize = 16;

/// A task, as it was at the moment of the record.
///
/// Everything is of the init namespaces unless the name says otherwise. The resident sizes are those of the
/// kernel's own cheap counters: from 6.2 they are per-CPU counters read without the per-CPU part, so each
/// may be off by up to `max(32, 2 * CPUs)` pages a CPU; before, by up to 64 pages a thread. They can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Task {
    /// `start_boottime` of the thread group's leader.
    pub start_boottime_ns: u64,
    /// Anonymous pages resident.
    pub anon_pages: i64,
    /// File pages resident.
    pub file_pages: i64,
    /// Shared memory and tmpfs pages resident.
    pub shmem_pages: i64,
    /// Swap entries held.
    pub swap_pages: i64,
    /// Bytes of page tables.
    pub page_table_bytes: u64,
    /// Pages of address space.
    pub total_vm_pages: u64,
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id in the task's own pid namespace.
    pub ns_tgid: u32,
    /// Thread id in the task's own pid namespace.
    pub ns_tid: u32,
    /// Real user id.
    pub uid: u32,
    /// `task_struct.flags` (`PF_*`).
    pub task_flags: u32,
    /// `signal_struct.flags` (`SIGNAL_*`): shows a process that is exiting. `__oom_kill_process` sends the
    /// signal before it marks, so in a record of a mark it is set for each that was killed.
    pub signal_flags: u32,
    /// Unreadable fields of this task: bits of [`task_missing`].
    pub missing: u32,
    /// `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i16,
    /// 1 if `signal_struct.core_state` is set: the process writes its core. 0 before 5.16, where that is a bit of
    /// `signal_flags`.
    pub dumps_core: u16,
    /// Threads of the process (`signal_struct.nr_threads`).
    pub threads: u32,
    /// Name of the thread group's leader: the name that users know the process by.
    pub comm: [u8; COMM_BYTES],
    /// Name of the thread.
    pub thread_comm: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<Task>() == 128 && core::mem::offset_of!(Task, comm) == 96);

/// Bits of [`Task::missing`].
pub mod task_missing {
    /// Thread and process id.
    pub const IDS: u32 = 1 << 0;
    /// The ids in the task's own namespace.
    pub const NS_IDS: u32 = 1 << 1;
    /// Name of the process.
    pub const COMM: u32 = 1 << 2;
    /// Name of the thread.
    pub const THREAD_COMM: u32 = 1 << 3;
    /// User id.
    pub const UID: u32 = 1 << 4;
    /// `oom_score_adj`.
    pub const OOM_SCORE_ADJ: u32 = 1 << 5;
    /// The resident sizes and swap.
    pub const RSS: u32 = 1 << 6;
    /// Page tables.
    pub const PAGE_TABLES: u32 = 1 << 7;
    /// Address space.
    pub const TOTAL_VM: u32 = 1 << 8;
    /// Start time.
    pub const START: u32 = 1 << 9;
    /// `task_struct.flags`.
    pub const TASK_FLAGS: u32 = 1 << 10;
    /// `signal_struct.flags`.
    pub const SIGNAL_FLAGS: u32 = 1 << 11;
    /// The number of threads.
    pub const THREADS: u32 = 1 << 12;
    /// All of them: there was no task to read.
    pub const ALL: u32 = (1 << 13) - 1;
}

/// Frames of a kernel stack in a record: the innermost ones. A page fault's way into the OOM killer takes about
/// 15 and a system call's about 20; the names that matter (`mm/oom_kill.c`, `mm/memcontrol.c`) are the first ten.
pub const STACK_FRAMES: usize = 24;

/// Body of [`kind::SELF_TEST`]: the current task as all tasks are read, by the field table, and the same facts from helpers,
/// which do not use that table. Section: [`section::VICTIM`], its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SelfTest {
    /// The thread that ran it.
    pub task: Task,
    /// `bpf_get_current_pid_tgid`: process id above, thread id below.
    pub pid_tgid: u64,
    /// `bpf_get_current_uid_gid`: group id above, user id below.
    pub uid_gid: u64,
    /// `bpf_get_current_cgroup_id`: its cgroup on the unified hierarchy.
    pub cgroup_id: u64,
    /// `bpf_get_current_comm`: the thread's name.
    pub comm: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<SelfTest>() == 168);

/// Bytes of the longest section.
pub const SECTION_MAX_BYTES: usize = size_of::<Section>() + MAX_LEVELS * (size_of::<Level>() + NAME_BYTES);

/// Bytes of the section with all zones.
pub const ZONES_MAX_BYTES: usize =
    size_of::<Section>() + size_of::<ZonesHead>() + MAX_ZONES * size_of::<Zone>();

/// Bytes of the section with the area of a failed vmalloc.
pub const VMALLOC_BYTES: usize = size_of::<Section>() + size_of::<VmallocArea>();

/// Bytes of the longest record, before words are left out: a reader may refuse longer ones.
pub const RECORD_MAX_BYTES: usize = size_of::<Header>()
    + size_of::<OomDecision>()
    + 3 * SECTION_MAX_BYTES
    + 2 * (size_of::<Section>() + size_of::<MemcgMemory>());

const _: () = assert!(RECORD_MAX_BYTES <= 16 * 1024);
const _: () = assert!(
    size_of::<Header>() + size_of::<AllocFailure>() + VMALLOC_BYTES + ZONES_MAX_BYTES + SECTION_MAX_BYTES
        <= RECORD_MAX_BYTES
);
