//! Names that both sides use: counters, maps, programs, and the globals that the loader sets.

/// Counters of the kernel side, by index into [`map::COUNTERS`]; one value for each CPU, and they only rise.
pub mod counter {
    /// Records that found the ring full.
    pub const RING_FULL: u32 = 0;
    /// Records given up because the buffer they are built in was in use on that CPU.
    pub const SCRATCH_BUSY: u32 = 1;
    /// Memcg OOMs that ended without a kill because none was needed (`mem_cgroup_out_of_memory` true outside of
    /// any decision): routine.
    pub const MEMCG_OOM_ROUTINE: u32 = 2;
    /// OOMs without a victim, and waits, that were folded into a later record.
    pub const NO_VICTIM_FOLDED: u32 = 3;
    /// Failed allocations that are processed: all but the next two.
    pub const ALLOC_FAILED: u32 = 4;
    /// Failed allocations whose caller expects failure (`__GFP_NOWARN`) and has a fallback: routine.
    pub const ALLOC_NOWARN: u32 = 5;
    /// Failed allocations of processes that the OOM killer has killed, while they exit.
    pub const ALLOC_OF_VICTIM: u32 = 6;
    /// Ends of containers without a record, because half of the ring was full: the rest of it is for OOM kills.
    pub const EXITS_CROWDED_OUT: u32 = 7;
    /// Ends of processes that a runtime had started in a container, where it is unknown which of its processes is the first.
    pub const EXITS_UNSURE: u32 = 8;
    /// Of the records that found the ring full, those of killed processes.
    pub const RING_FULL_VICTIMS: u32 = 9;
    /// Those of failed allocations.
    pub const RING_FULL_FAILURES: u32 = 10;
    /// Those of ends of containers.
    pub const RING_FULL_EXITS: u32 = 11;
    /// How many counters there are.
    pub const COUNT: u32 = 12;
    /// A value of each.
    pub type Counts = [u64; COUNT as usize];
    /// Their names, by index.
    pub const NAMES: [&str; COUNT as usize] = [
        "ring_full",
        "scratch_busy",
        "memcg_oom_routine",
        "no_victim_folded",
        "alloc_failed",
        "alloc_nowarn",
        "alloc_of_victim",
        "exits_crowded_out",
        "exits_unsure",
        "ring_full_victims",
        "ring_full_failures",
        "ring_full_exits",
    ];
}

/// Names of the maps.
pub mod map {
    /// Ring buffer of records.
    pub const RECORDS: &str = "RECORDS";
    /// Per-CPU array of the counters in [`counter`](crate::counter).
    pub const COUNTERS: &str = "COUNTERS";
    /// Array of one `u64`: 0 while programs must do nothing.
    pub const SWITCH: &str = "SWITCH";
    /// Array of one `[u64; address::COUNT]`: where the kernel's data of [`address`](crate::address) is, 0 where that is not known. The
    /// section of globals that are not constants, under whose name aya has it.
    pub const ADDRESSES: &str = ".bss";
    /// Hash from [`FailureKey`](crate::FailureKey) to [`FailureCount`](crate::FailureCount).
    pub const FAILURES: &str = "FAILURES";
    /// Array of one value of [`HELD_WORDS`]: what the user side tells its successor while the programs are pinned. No program reads it.
    pub const HELD: &str = "HELD";
    /// Words of 8 bytes of that value.
    pub const HELD_WORDS: usize = 64;
    /// Hash as [`FAILURES`]: up to which of its counts the user side has told failures. No program reads it.
    pub const TOLD: &str = "TOLD";
    /// Array of one buffer of [`SELF_TEST_BYTES`] in which a record is built: the self-test's, at its beginning.
    pub const SELF_TEST: &str = "SELF_TEST";
    /// Bytes of that buffer.
    pub const SELF_TEST_BYTES: usize = 17688;
}

/// Names of the programs in the kernel object, by hook.
pub mod program {
    /// fentry `oom_kill_process`.
    pub const OOM_KILL_FENTRY: &str = "oom_kill_fentry";
    /// fexit `oom_kill_process`.
    pub const OOM_KILL_FEXIT: &str = "oom_kill_fexit";
    /// kprobe `oom_kill_process`.
    pub const OOM_KILL_KPROBE: &str = "oom_kill_kprobe";
    /// kretprobe `oom_kill_process`.
    pub const OOM_KILL_KRETPROBE: &str = "oom_kill_kretprobe";
    /// fexit `mem_cgroup_out_of_memory`.
    pub const MEMCG_OOM_FEXIT: &str = "memcg_oom_fexit";
    /// kprobe `mem_cgroup_out_of_memory`.
    pub const MEMCG_OOM_KPROBE: &str = "memcg_oom_kprobe";
    /// kretprobe `mem_cgroup_out_of_memory`.
    pub const MEMCG_OOM_KRETPROBE: &str = "memcg_oom_kretprobe";
    /// fentry `mem_cgroup_oom_synchronize`.
    pub const MEMCG_WAIT_FENTRY: &str = "memcg_wait_fentry";
    /// kprobe `mem_cgroup_oom_synchronize`.
    pub const MEMCG_WAIT_KPROBE: &str = "memcg_wait_kprobe";
    /// Raw tracepoint `oom/mark_victim`, beside a probe on the decision.
    pub const MARK_VICTIM: &str = "mark_victim";
    /// Raw tracepoint `oom/mark_victim` without such a probe: gathers the decision too.
    pub const MARK_VICTIM_ALONE: &str = "mark_victim_alone";
    /// kprobe `warn_alloc`.
    pub const WARN_ALLOC: &str = "warn_alloc";
    /// Raw tracepoint `kmem/mm_page_alloc`.
    pub const MM_PAGE_ALLOC: &str = "mm_page_alloc";
    /// Raw tracepoint `sched/sched_process_exit`.
    pub const PROCESS_EXIT: &str = "process_exit";
    /// The same, for ends while that one is running.
    pub const PROCESS_EXIT_BESIDE: &str = "process_exit_beside";
    /// Raw tracepoint `signal/signal_generate`.
    pub const SIGNAL_GENERATE: &str = "signal_generate";
    /// No hook: the user side runs it at its start.
    pub const SELF_TEST: &str = "self_test";
}

/// Names of the read-only globals that the loader sets.
pub mod global {
    /// `[u64; fields::COUNT]`: [`fields::offsets`](crate::fields::offsets) of the values of [`fields::TABLE`](crate::fields::TABLE) on
    /// this kernel.
    pub const FIELDS: &str = "FIELDS";
    /// `u32`: how `oom:mark_victim` passes its victim, one of [`mark_victim_arg`](crate::mark_victim_arg).
    pub const MARK_VICTIM_ARG: &str = "MARK_VICTIM_ARG";
    /// `u32`: 1 if the memory controller is on cgroup v1.
    pub const CGROUP_V1: &str = "CGROUP_V1";
    /// [`GfpBits`](crate::GfpBits), as seven `u32`.
    pub const GFP_BITS: &str = "GFP_BITS";
    /// `u64`: id of the cgroup at which the node's cgroups begin, where that is not the machine's root; else 0.
    pub const NODE_ROOT: &str = "NODE_ROOT";
    /// `u32`: 1 to write records of failures whose caller expects them (`__GFP_NOWARN`).
    pub const INCLUDE_NOWARN: &str = "INCLUDE_NOWARN";
}

/// Values of [`global::MARK_VICTIM_ARG`]. The argument changed in 6.8 and in stable releases before it.
pub mod mark_victim_arg {
    /// A thread id.
    pub const TID: u32 = 0;
    /// A `struct task_struct *`.
    pub const TASK: u32 = 1;
}

/// Data of the kernel by index into [`map::ADDRESSES`], with their names in `/proc/kallsyms`.
pub mod address {
    /// The place of each statistic in `memcg_vmstats.state`, a byte each (`mm/memcontrol.c`, from 6.10 on).
    pub const MEMCG_STATS_INDEX: usize = 0;
    /// Pages of `vmalloc`, until they were a statistic of nodes (`mm/vmalloc.c`, to 6.18).
    pub const VMALLOC_PAGES: usize = 1;
    /// Pages of a unit of per-CPU memory that are populated (`mm/percpu.c`).
    pub const PERCPU_POPULATED: usize = 2;
    /// Units of per-CPU memory, one for each possible CPU.
    pub const PERCPU_UNITS: usize = 3;
    /// Sizes of huge pages (`mm/hugetlb.c`).
    pub const HSTATES: usize = 4;
    /// How many of these there are, an `i32`.
    pub const MAX_HSTATE: usize = 5;
    /// Pages of all swap devices (`mm/swapfile.c`).
    pub const SWAP_TOTAL: usize = 6;
    /// Free ones.
    pub const SWAP_FREE: usize = 7;
    /// Pages of TCP's buffers (`net/ipv4/tcp.c`).
    pub const TCP_PAGES: usize = 8;
    /// Pages of UDP's buffers (`net/ipv4/udp.c`).
    pub const UDP_PAGES: usize = 9;
    /// The array of pointers to the NUMA nodes (`mm/numa.c`, or the architecture's).
    pub const NODE_DATA: usize = 10;
    /// The only node of a kernel that is built for one (`mm/memblock.c`).
    pub const CONTIG_PAGE_DATA: usize = 11;
    /// How many there are.
    pub const COUNT: usize = 12;
    /// Their names, by index.
    pub const NAMES: [&str; COUNT] = [
        "mem_cgroup_stats_index",
        "nr_vmalloc_pages",
        "pcpu_nr_populated",
        "pcpu_nr_units",
        "hstates",
        "hugetlb_max_hstate",
        "total_swap_pages",
        "nr_swap_pages",
        "tcp_memory_allocated",
        "udp_memory_allocated",
        "node_data",
        "contig_page_data",
    ];
}
