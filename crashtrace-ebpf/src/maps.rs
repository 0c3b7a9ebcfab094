//! Every map, with the arithmetic behind its size.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf};
use crashtrace_ebpf::{
    FailedExecs, FailureCount, FailureKey, MAX_LEVELS, NAME_BYTES, RaisedSignal, SentSignal, counter,
    map as names, stream,
};

/// Records on their way to the user side.
///
/// 4 MiB. An OOM kill at a pod's limit takes 1,670 bytes, and one at a container's 1,350, with names as Kubernetes gives them and with the
/// ring's own heads (counted on 6.1), so 2,500 kills fit while the user side is stopped: a decision with one cgroup path of five levels,
/// which the victim and the limit owner share (1,056 bytes), a victim (200), the memory of the limit owner and of the victim's memcg
/// (544), the cgroups below the limit (some 250), an end (48), and 8 for each, less the words that are zero. That is more than a node
/// makes in the seconds that an agent may hang, and 4 MiB fits in the agent's memory limit. Records with deep or long cgroup paths are
/// larger, up to 15 KiB.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(4 * 1024 * 1024, 0);

/// Counters by [`counter`], one value a CPU so that no program waits for another.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

/// The switch that each program reads first: while it is 0, it does nothing. Programs are attached one after the other, and an
/// event between the first and the last would be recorded in part. With one switch, if the begin of a decision is recorded, the
/// rest of it is too.
#[map]
pub(crate) static SWITCH: Array<u64> = Array::with_max_entries(1, 0);

/// Number of the next record of this CPU, by stream.
#[map]
pub(crate) static SEQUENCE: PerCpuArray<u64> = PerCpuArray::with_max_entries(stream::COUNT, 0);

/// 1 while `process_exit` is running on this CPU.
#[map]
pub(crate) static RUNNING: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The buffer in which a record is built: a record is larger than BPF's 512 bytes of stack, and its length is known only at the
/// end, so that it cannot be reserved in the ring beforehand.
///
/// One for each kind of record that can be under construction while another kind is (a victim is marked within a
/// decision's bracket). Records of the OOM killer are written under `oom_lock`, so the same kind never nests; those
/// that are not ([`slot::NO_VICTIM`], [`slot::ALLOC`], [`slot::EXIT`] and the one beside it) are guarded by [`Scratch::busy`].
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(slot::COUNT, 0);

/// Indices into [`SCRATCH`].
pub(crate) mod slot {
    /// Decisions and their ends.
    pub(crate) const DECISION: u32 = 0;
    /// Victims.
    pub(crate) const VICTIM: u32 = 1;
    /// OOMs without a victim.
    pub(crate) const NO_VICTIM: u32 = 2;
    /// Holders of the node's memory, and then its zones.
    pub(crate) const HOLDERS: u32 = 3;
    /// Failed allocations.
    pub(crate) const ALLOC: u32 = 4;
    /// Ends of containers.
    pub(crate) const EXIT: u32 = 5;
    /// Those that are seen while one is under construction.
    pub(crate) const EXIT_BESIDE: u32 = 6;
    /// How many.
    pub(crate) const COUNT: u32 = 7;

    /// The stream of records that are built there.
    #[inline(always)]
    pub(crate) fn stream(slot: u32) -> u8 {
        match slot {
            EXIT => crashtrace_ebpf::stream::EXIT,
            EXIT_BESIDE => crashtrace_ebpf::stream::EXIT_BESIDE,
            _ => crashtrace_ebpf::stream::MEMORY,
        }
    }
}

/// Where `probes::self_test` puts its record, which is built in [`SCRATCH`] as any other. A separate map: the record must not be in
/// the ring, nor be counted.
#[map]
pub(crate) static SELF_TEST: Array<Scratch> = Array::with_max_entries(1, 0);

const _: () = assert!(size_of::<Scratch>() == crashtrace_ebpf::map::SELF_TEST_BYTES);

/// Offsets into a record are masked to below this, so that the verifier knows their bound.
pub(crate) const OFFSET_LIMIT: usize = 16 * 1024;

/// Where `probes::oom::holders` and `probes::zones` note the addresses that they find, after the record that they write.
pub(crate) const HOLDERS_AT: usize = 14 * 1024;

/// Candidates that `probes::oom::oom_control` looks at; the right one is among the nearest. A power of two, for masking.
pub(crate) const CANDIDATES: usize = 16;

/// One record under construction.
///
/// State that differs between paths through a program (lengths, flags) is stored here, or in the record itself, and never in a
/// register across a branch: the verifier does not follow the contents of a map, so the paths on which reads succeed and fail
/// merge again after each read. In registers they would multiply.
#[repr(C)]
pub(crate) struct Scratch {
    /// The record: `OFFSET_LIMIT`, and room for one more cgroup level with its name behind the largest offset.
    pub(crate) bytes: [u8; OFFSET_LIMIT + 512],
    /// Bytes of the record so far.
    pub(crate) length: u64,
    /// In use on this CPU, also while the program that uses it is interrupted.
    pub(crate) busy: u64,
    /// For `probes::oom::oom_control`: an address to search from, the number of candidates, and the candidates (the first half; the
    /// rest is within the mask).
    pub(crate) context: u64,
    pub(crate) candidates: u64,
    pub(crate) candidate: [u64; 2 * CANDIDATES],
    /// For `lineage`: the kind of the section whose levels are whole, 0 if there is none yet; the depth of its first level; and the
    /// css of each of its levels, by depth. And the depth of the next level.
    pub(crate) whole: u64,
    pub(crate) whole_depth: u64,
    pub(crate) depth: u64,
    pub(crate) whole_path: [u64; MAX_LEVELS],
    /// For `emit::pack_record`: bytes so far, and the bitmaps of the groups of words.
    pub(crate) packed: u64,
    pub(crate) bitmaps: [u64; 32],
    /// For `probes::oom::holders`.
    pub(crate) step: Step,
}

/// Position of a walk over the tree of cgroups, and its results.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Step {
    /// The `sibling` of the cgroup to visit, or the end of the list; 0 when the walk is over.
    pub(crate) node: u64,
    /// The list that `node` is in: its parent's `children`.
    pub(crate) head: u64,
    /// Index of that parent among the large cgroups, from 1; 0 is the root.
    pub(crate) parent: u64,
    /// Large cgroups whose children have been visited, or are being visited.
    pub(crate) descended: u64,
    /// A read failed.
    pub(crate) broken: u64,
    /// Large cgroups so far.
    pub(crate) large: u64,
    /// Large cgroups that are in the record.
    pub(crate) written: u64,
    /// Small cgroups so far.
    pub(crate) small: u64,
    /// Pages of the small cgroups.
    pub(crate) small_pages: u64,
    /// Of the small cgroups, those that have been removed.
    pub(crate) removed: u64,
    /// Their pages.
    pub(crate) removed_pages: u64,
}

const _: () = assert!(crashtrace_ebpf::RECORD_MAX_BYTES <= OFFSET_LIMIT);

/// The decision that is being carried out. `oom_lock` (`mm/oom_kill.c`, 5.10 to 7.3) allows one at a time, and all
/// that read or write this run under it.
#[map]
pub(crate) static OPEN: Array<Open> = Array::with_max_entries(1, 0);

/// See [`OPEN`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Open {
    /// The decision's time, 0 if none is open.
    pub(crate) ktime_ns: u64,
    /// Address of its `oom_control`, where it had to be found on the stack.
    pub(crate) control: u64,
    /// The task that it chose.
    pub(crate) chosen: u64,
    /// When that task started.
    pub(crate) started_ns: u64,
    /// Thread id of the killer.
    pub(crate) tid: u64,
    /// The limit owner, until its memory has been copied; 0 if there is none.
    pub(crate) memcg: u64,
    /// The css of the victim's cgroup in the decision's record; 0 if there was no room for that in the ring.
    pub(crate) victim_css: u64,
}

/// Calls of `mem_cgroup_out_of_memory` in flight, by thread: a kretprobe has no arguments, and on x86 before 5.16 the kernel's
/// stack cannot be followed beyond one. LRU, since a return may be missed. 1024 tasks that wait at once for `oom_lock` are more
/// than a node runs on its CPUs.
#[map]
pub(crate) static CALLS: LruHashMap<u32, Call> = LruHashMap::with_max_entries(1024, 0);

/// See [`CALLS`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The `mem_cgroup`.
    pub(crate) memcg: u64,
    /// `gfp_mask`.
    pub(crate) gfp: u32,
    /// `order`.
    pub(crate) order: i32,
    /// Return address.
    pub(crate) caller: u64,
}

/// OOMs without a victim: a task that faults again and again makes thousands a second. 256 memcgs in that state at once are
/// more than a node has pods.
#[map]
pub(crate) static QUIET: LruHashMap<About, Quiet> = LruHashMap::with_max_entries(256, 0);

/// Key by which records are folded in [`QUIET`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct About {
    /// The `mem_cgroup`.
    pub(crate) memcg: u64,
    /// The id of its cgroup: a later memcg may reuse the address of a removed one.
    pub(crate) cgroup_id: u64,
    /// The thread that waits; 0 for an OOM that found no victim, which is the memcg's.
    pub(crate) tid: u64,
}

/// See [`QUIET`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Quiet {
    /// When the last record was written.
    pub(crate) sent_ns: u64,
    /// How many were not written since.
    pub(crate) folded: u64,
}

/// Failed allocations by kind. A kind is a place in the kernel, flags, an argument (the order) and a cgroup: a node that is
/// short of memory has a handful for each pod that allocates, and 512 are enough for a storm in a hundred pods. LRU, so that
/// there is room for new kinds.
#[map]
pub(crate) static FAILURES: LruHashMap<FailureKey, FailureCount> = LruHashMap::with_max_entries(512, 0);

/// What the user side tells its successor while the programs are pinned. Here, and not in a file, so that it is as old as the records
/// that wait in [`RECORDS`]: both stay and go with the pins.
#[map]
pub(crate) static HELD: Array<[u64; names::HELD_WORDS]> = Array::with_max_entries(1, 0);

/// Up to which count of [`FAILURES`] the user side has told failures. Twice as many as that has: a kind that it forgets is removed
/// here a moment later. Entries are made when they are needed, since most agents need none.
#[map]
pub(crate) static TOLD: HashMap<FailureKey, FailureCount> =
    HashMap::with_max_entries(1024, BPF_F_NO_PREALLOC);

/// How many records of failed allocations were written in the current second, of any kind.
#[map]
pub(crate) static BUDGET: Array<Budget> = Array::with_max_entries(1, 0);

/// See [`BUDGET`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// When the counted second began.
    pub(crate) since_ns: u64,
    /// How many were written in it.
    pub(crate) sent: u64,
}

/// Records of failed allocations that are written in a second at most. Each takes some 2 KiB of the ring, so in the ten seconds
/// that the user side may hang they fill less than its 4 MiB, which are mainly for OOM kills.
pub(crate) const BUDGET_RECORDS: u64 = 100;

/// Bytes of the ring that may be unread when the end of a container is written: half of it. So a storm of such ends leaves 2 MiB, room
/// for 1,200 OOM kills.
pub(crate) const EXITS_SHARE: u64 = 2 * 1024 * 1024;

/// Signals to the first process of a container, by process id.
///
/// A node that is drained stops 250 pods of two or three containers at once, and what others have got stays until they end: reloads,
/// faults that a JVM handles. Twice as many have room. An entry is 1.3 KiB with what the kernel keeps for it, so 2.7 MiB, which is
/// charged to the agent at once, since LRU maps are allocated when they are made (`htab_map_alloc`, `kernel/bpf/hashtab.c`; to its
/// cgroup from 5.11 on). The names of senders are not cut to save half of it: a node that is a container itself has paths of more
/// than 256 bytes.
///
/// LRU: the end of a process may be unseen, or crowded out. Up to 128 free entries are kept for each CPU that has taken one
/// (`LOCAL_FREE_TARGET`, `kernel/bpf/bpf_lru_list.c`; from 6.17 on fewer in small maps), so that a larger map also loses fewer
/// entries before it is full.
#[map]
pub(crate) static SIGNALS: LruHashMap<u32, Signals> = LruHashMap::with_max_entries(2048, 0);

/// See [`SIGNALS`].
#[repr(C)]
pub(crate) struct Signals {
    /// When the process started: ids are used again.
    pub(crate) start_boottime_ns: u64,
    pub(crate) asked: SentSignal,
    pub(crate) killed: SentSignal,
    pub(crate) raised: RaisedSignal,
}

/// Zeroes, from which entries are made that are larger than BPF's stack. Never written.
#[map]
pub(crate) static ZEROES: Array<Signals> = Array::with_max_entries(1, 0);

const _: () = assert!(size_of::<FailedExecs>() <= size_of::<Signals>());

/// Where a sender is put together before it replaces another in [`SIGNALS`].
#[map]
pub(crate) static SENDER: PerCpuArray<Sender> = PerCpuArray::with_max_entries(1, 0);

/// See [`SENDER`].
#[repr(C)]
pub(crate) struct Sender {
    pub(crate) signal: SentSignal,
    /// Room for one more name behind the last place in `signal.names`. What is in it does not matter.
    pub(crate) surplus: [u8; NAME_BYTES],
    /// As in [`Scratch`]. A signal is generated under a lock with interrupts off, but not so with `PREEMPT_RT`.
    pub(crate) busy: u64,
}

/// Processes that came by `exec` into a container and failed, by the id of its cgroup. LRU: entries of containers that ended before
/// the agent could see it stay behind.
#[map]
pub(crate) static EXECS: LruHashMap<u64, FailedExecs> = LruHashMap::with_max_entries(512, 0);

/// Containers whose first process has ended, by the ids of their cgroups, and when. A container has one such end: two threads that
/// end at once may both find that they are the last, and processes that the first has left behind may look like it. Those end
/// soon after, so that 1024 are more than enough.
#[map]
pub(crate) static ENDED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);
