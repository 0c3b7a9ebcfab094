//! The one table of kernel fields that crashtrace reads.
//!
//! Rust's eBPF target has no CO-RE relocations, so the user side looks each entry up in the BTF of the running
//! kernel and hands the results to the programs as a read-only array ([`global::FIELDS`](crate::global::FIELDS)),
//! [`ABSENT`] where the kernel has no such thing.

/// Marks what this kernel does not have. No structure is that large, and no field is at that offset.
pub const ABSENT: u32 = u32::MAX;

/// What to look up in BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// Byte offset of a member, which may be nested (`memory.usage`), behind array elements (`pids[1]`), or
    /// inside unnamed structs and unions, which a path does not mention.
    Offset {
        /// Name of the struct, without `struct`.
        of: &'static str,
        /// Path of the member.
        member: &'static str,
    },
    /// Bytes from one element to the next of an array member.
    Stride {
        /// Name of the struct.
        of: &'static str,
        /// Path of the array.
        member: &'static str,
    },
    /// Bytes of a struct.
    Size {
        /// Name of the struct.
        of: &'static str,
    },
    /// Value of an enumerator.
    Enumerator {
        /// Name of the enum.
        of: &'static str,
        /// Name of the enumerator.
        name: &'static str,
    },
}

impl Query {
    /// Name of the struct or enum to look in.
    #[must_use]
    pub const fn of(&self) -> &'static str {
        match self {
            Self::Offset { of, .. }
            | Self::Stride { of, .. }
            | Self::Size { of }
            | Self::Enumerator { of, .. } => of,
        }
    }
}

/// One thing to know about the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name for people, unique in the table.
    pub name: &'static str,
    /// Ways to find it, tried in order: kernels have renamed things.
    pub queries: &'static [Query],
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident = [$($query:expr),+ $(,)?];)+) => {
        fields!(@index 0, $($(#[$doc])* $name,)+);
        /// All of them, in the order of their indices.
        pub const TABLE: [Field; COUNT] = [
            $(Field { name: stringify!($name), queries: &[$($query),+] },)+
        ];
    };
    (@index $at:expr, $(#[$doc:meta])* $name:ident, $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: usize = $at;
        fields!(@index $at + 1, $($rest)*);
    };
    (@index $at:expr,) => {
        /// How many fields there are.
        pub const COUNT: usize = $at;
    };
}

const fn at(of: &'static str, member: &'static str) -> Query {
    Query::Offset { of, member }
}

fields! {
    /// `oom_control.zonelist`, a pointer.
    OC_ZONELIST = [at("oom_control", "zonelist")];
    /// `oom_control.nodemask`, a pointer.
    OC_NODEMASK = [at("oom_control", "nodemask")];
    /// `oom_control.memcg`, a pointer.
    OC_MEMCG = [at("oom_control", "memcg")];
    /// `oom_control.gfp_mask`, u32.
    OC_GFP = [at("oom_control", "gfp_mask")];
    /// `oom_control.order`, i32.
    OC_ORDER = [at("oom_control", "order")];
    /// `oom_control.totalpages`, u64.
    OC_TOTALPAGES = [at("oom_control", "totalpages")];
    /// `oom_control.chosen`, a pointer, or -1.
    OC_CHOSEN = [at("oom_control", "chosen")];
    /// `oom_control.chosen_points`, i64.
    OC_POINTS = [at("oom_control", "chosen_points")];
    /// `oom_control.constraint`, u32.
    OC_CONSTRAINT = [at("oom_control", "constraint")];

    /// `task_struct.pid`, u32.
    TASK_PID = [at("task_struct", "pid")];
    /// `task_struct.tgid`, u32.
    TASK_TGID = [at("task_struct", "tgid")];
    /// `task_struct.comm`, 16 bytes.
    TASK_COMM = [at("task_struct", "comm")];
    /// `task_struct.flags`, u32.
    TASK_FLAGS = [at("task_struct", "flags")];
    /// `task_struct.mm`, a pointer.
    TASK_MM = [at("task_struct", "mm")];
    /// `task_struct.signal`, a pointer.
    TASK_SIGNAL = [at("task_struct", "signal")];
    /// `task_struct.cred`, a pointer.
    TASK_CRED = [at("task_struct", "cred")];
    /// `task_struct.cgroups`, a pointer to a `css_set`.
    TASK_CGROUPS = [at("task_struct", "cgroups")];
    /// `task_struct.group_leader`, a pointer.
    TASK_GROUP_LEADER = [at("task_struct", "group_leader")];
    /// `task_struct.thread_pid`, a pointer to a `pid`.
    TASK_THREAD_PID = [at("task_struct", "thread_pid")];
    /// `task_struct.memcg_in_oom`, a pointer: the memcg at whose limit the task faults; only with cgroup v1 built in.
    TASK_MEMCG_IN_OOM = [at("task_struct", "memcg_in_oom")];
    /// `task_struct.memcg_oom_gfp_mask`, u32; up to 6.1.
    TASK_MEMCG_OOM_GFP = [at("task_struct", "memcg_oom_gfp_mask")];
    /// `task_struct.memcg_oom_order`, i32; up to 6.1.
    TASK_MEMCG_OOM_ORDER = [at("task_struct", "memcg_oom_order")];
    /// `task_struct.start_boottime` (`real_start_time` before 5.5), u64.
    TASK_START_BOOTTIME = [at("task_struct", "start_boottime"), at("task_struct", "real_start_time")];

    /// `signal_struct.oom_score_adj`, i16.
    SIGNAL_OOM_SCORE_ADJ = [at("signal_struct", "oom_score_adj")];
    /// `signal_struct.oom_mm`, a pointer: the memory of a task that has been marked as victim.
    SIGNAL_OOM_MM = [at("signal_struct", "oom_mm")];
    /// `signal_struct.nr_threads`, i32: threads that have not been reaped; an ended first thread is, with the last.
    SIGNAL_NR_THREADS = [at("signal_struct", "nr_threads")];
    /// `signal_struct.core_state`, a pointer: the process writes its core. In `mm_struct` before 5.16.
    SIGNAL_CORE_STATE = [at("signal_struct", "core_state")];
    /// `signal_struct.flags`, u32.
    SIGNAL_FLAGS = [at("signal_struct", "flags")];

    /// `cred.uid`, u32.
    CRED_UID = [at("cred", "uid")];

    /// `pid.level`, u32: depth of the namespace.
    PID_LEVEL = [at("pid", "level")];
    /// `pid.numbers[0].nr`, u32.
    PID_NUMBERS_NR = [at("pid", "numbers[0].nr")];
    /// Bytes from one of `pid.numbers` to the next.
    UPID_SIZE = [Query::Size { of: "upid" }];

    /// Value of the first resident-size counter of `mm_struct`, i64: a percpu counter from 6.2, plain before.
    MM_RSS = [at("mm_struct", "rss_stat[0].count"), at("mm_struct", "rss_stat.count")];
    /// Bytes from one resident-size counter to the next.
    MM_RSS_STRIDE = [
        Query::Stride { of: "mm_struct", member: "rss_stat" },
        Query::Stride { of: "mm_struct", member: "rss_stat.count" },
    ];
    /// `mm_struct.pgtables_bytes`, u64.
    MM_PGTABLES_BYTES = [at("mm_struct", "pgtables_bytes")];
    /// `mm_struct.total_vm`, u64.
    MM_TOTAL_VM = [at("mm_struct", "total_vm")];

    /// `css_set.subsys[memory_cgrp_id]` needs this index: each kernel configuration has its own.
    MEMORY_CGRP_ID = [Query::Enumerator { of: "cgroup_subsys_id", name: "memory_cgrp_id" }];
    /// `css_set.subsys`, pointers to `cgroup_subsys_state`.
    CSS_SET_SUBSYS = [at("css_set", "subsys")];
    /// `css_set.dfl_cgrp`, a pointer to the cgroup of the unified hierarchy.
    CSS_SET_DFL_CGRP = [at("css_set", "dfl_cgrp")];
    /// `cgroup_subsys_state.cgroup`, a pointer.
    CSS_CGROUP = [at("cgroup_subsys_state", "cgroup")];
    /// `cgroup_subsys_state.parent`, a pointer.
    CSS_PARENT = [at("cgroup_subsys_state", "parent")];
    /// `cgroup_subsys_state.children.next`, a pointer to the first child's `sibling`, or to `children` itself.
    CSS_CHILDREN = [at("cgroup_subsys_state", "children")];
    /// `cgroup_subsys_state.sibling.next`, a pointer to the next one's, or to the parent's `children`.
    CSS_SIBLING = [at("cgroup_subsys_state", "sibling")];
    /// `cgroup.self`: the `cgroup_subsys_state` by which cgroups of the unified hierarchy have parents.
    CGROUP_SELF = [at("cgroup", "self")];
    /// `cgroup.level`, i32: 0 is the root.
    CGROUP_LEVEL = [at("cgroup", "level")];
    /// `cgroup.nr_descendants`, i32: those that have not been removed.
    CGROUP_NR_DESCENDANTS = [at("cgroup", "nr_descendants")];
    /// `cgroup.nr_dying_descendants`, i32: those that have been removed and still have memory charged to them.
    CGROUP_NR_DYING = [at("cgroup", "nr_dying_descendants")];
    /// `cgroup.kn`, a pointer to a `kernfs_node`.
    CGROUP_KN = [at("cgroup", "kn")];
    /// `kernfs_node.name`, a string.
    KN_NAME = [at("kernfs_node", "name")];
    /// `kernfs_node.id`, u64.
    KN_ID = [at("kernfs_node", "id")];

    /// `mem_cgroup.css`: where the `cgroup_subsys_state` lies in a `mem_cgroup`.
    MEMCG_CSS = [at("mem_cgroup", "css")];
    /// `mem_cgroup.memory.usage`, u64.
    MEMCG_USAGE = [at("mem_cgroup", "memory.usage")];
    /// `mem_cgroup.memory.max` (`limit` before 4.19), u64.
    MEMCG_MAX = [at("mem_cgroup", "memory.max"), at("mem_cgroup", "memory.limit")];
    /// `mem_cgroup.memory.parent`, a pointer to the counter that is charged too.
    MEMCG_COUNTER_PARENT = [at("mem_cgroup", "memory.parent")];
    /// `mem_cgroup.swap.usage`, u64; shares its place with `memsw` on v1.
    MEMCG_SWAP_USAGE = [at("mem_cgroup", "swap.usage")];
    /// `mem_cgroup.swap.max`, u64.
    MEMCG_SWAP_MAX = [at("mem_cgroup", "swap.max"), at("mem_cgroup", "swap.limit")];
    /// `mem_cgroup.oom_group`, bool.
    MEMCG_OOM_GROUP = [at("mem_cgroup", "oom_group")];
    /// `mem_cgroup.oom_kill_disable`, i32; only where cgroup v1 is built in.
    MEMCG_OOM_KILL_DISABLE = [at("mem_cgroup", "oom_kill_disable")];
}
