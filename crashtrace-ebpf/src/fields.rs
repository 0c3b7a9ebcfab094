//! The one table of kernel fields that crashtrace reads.
//!
//! Rust's eBPF target has no CO-RE relocations, so the user side looks each entry up in the BTF of the running
//! kernel and hands the results to the programs as a read-only array ([`global::FIELDS`](crate::global::FIELDS)),
//! [`NOWHERE`] where the kernel has no such thing.

/// Marks a field that this kernel does not have. No structure is that large, and no field is at that offset.
pub const ABSENT: u32 = u32::MAX;

/// What stands for [`ABSENT`] in the programs, 4 PiB: added to 0 or to an address of the kernel it gives one at which nothing is, so a
/// program reads such a field like any other, and that fails. With addresses of 48 bits, on x86 and arm64, the bits above those are then
/// neither all clear nor all set. With 57 bits the kernel's image comes out in the half of user processes, where the helper does not
/// read, and memory that is mapped as it is comes out behind the end of any machine's.
pub const NOWHERE: u64 = 1 << 52;

/// The values for the programs, [`NOWHERE`] where one is [`ABSENT`].
#[must_use]
pub fn offsets(values: &[u32; COUNT]) -> [u64; COUNT] {
    values.map(|value| if value == ABSENT { NOWHERE } else { value.into() })
}

/// A lookup in BTF.
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
    /// Elements of an array member.
    Length {
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
            | Self::Length { of, .. }
            | Self::Size { of }
            | Self::Enumerator { of, .. } => of,
        }
    }
}

/// One fact to look up about the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name for messages, unique in the table.
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
        /// How many fields the table has.
        pub const COUNT: usize = $at;
    };
}

const fn at(of: &'static str, member: &'static str) -> Query {
    Query::Offset { of, member }
}

const fn stride(of: &'static str, member: &'static str) -> Query {
    Query::Stride { of, member }
}

const fn length(of: &'static str, member: &'static str) -> Query {
    Query::Length { of, member }
}

const fn value(of: &'static str, name: &'static str) -> Query {
    Query::Enumerator { of, name }
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
    /// `task_struct.real_parent`, a pointer.
    TASK_REAL_PARENT = [at("task_struct", "real_parent")];
    /// `task_struct.exit_code`, i32.
    TASK_EXIT_CODE = [at("task_struct", "exit_code")];
    /// `task_struct.nsproxy`, a pointer; null once the task has given up its namespaces.
    TASK_NSPROXY = [at("task_struct", "nsproxy")];
    /// `task_struct.cg_list`: its place in a list of its `css_set`.
    TASK_CG_LIST = [at("task_struct", "cg_list")];

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
    /// `signal_struct.live`, i32: threads that have not begun to exit.
    SIGNAL_LIVE = [at("signal_struct", "live")];
    /// `signal_struct.group_exit_code`, i32: with `SIGNAL_GROUP_EXIT`.
    SIGNAL_GROUP_EXIT_CODE = [at("signal_struct", "group_exit_code")];
    /// `signal_struct.rlim[RLIMIT_CPU].rlim_max`, u64: seconds. `RLIMIT_CPU` is 0 (`include/uapi/asm-generic/resource.h`).
    SIGNAL_CPU_LIMIT = [at("signal_struct", "rlim[0].rlim_max")];

    /// `cred.uid`, u32.
    CRED_UID = [at("cred", "uid")];

    /// `pid.level`, u32: depth of the namespace.
    PID_LEVEL = [at("pid", "level")];
    /// `pid.numbers[0].nr`, u32.
    PID_NUMBERS_NR = [at("pid", "numbers[0].nr")];
    /// `pid.numbers[0].ns`, a pointer to a `pid_namespace`.
    PID_NUMBERS_NS = [at("pid", "numbers[0].ns")];
    /// Bytes from one of `pid.numbers` to the next.
    UPID_SIZE = [Query::Size { of: "upid" }];
    /// `pid_namespace.child_reaper`, a pointer to its process 1.
    PIDNS_REAPER = [at("pid_namespace", "child_reaper")];
    /// `pid_namespace.ns.inum`, u32.
    PIDNS_INUM = [at("pid_namespace", "ns.inum")];
    /// `nsproxy.mnt_ns`, a pointer.
    NSPROXY_MNT_NS = [at("nsproxy", "mnt_ns")];

    /// Value of the first resident-size counter of `mm_struct`, i64: a percpu counter from 6.2, plain before.
    MM_RSS = [at("mm_struct", "rss_stat[0].count"), at("mm_struct", "rss_stat.count")];
    /// Bytes from one resident-size counter to the next.
    MM_RSS_STRIDE = [
        stride("mm_struct", "rss_stat"),
        stride("mm_struct", "rss_stat.count"),
    ];
    /// `mm_struct.pgtables_bytes`, u64.
    MM_PGTABLES_BYTES = [at("mm_struct", "pgtables_bytes")];
    /// `mm_struct.total_vm`, u64.
    MM_TOTAL_VM = [at("mm_struct", "total_vm")];

    /// `css_set.subsys[memory_cgrp_id]` needs this index: each kernel configuration has its own.
    MEMORY_CGRP_ID = [value("cgroup_subsys_id", "memory_cgrp_id")];
    /// `css_set.subsys`, pointers to `cgroup_subsys_state`.
    CSS_SET_SUBSYS = [at("css_set", "subsys")];
    /// `css_set.dfl_cgrp`, a pointer to the cgroup of the unified hierarchy.
    CSS_SET_DFL_CGRP = [at("css_set", "dfl_cgrp")];
    /// `css_set.tasks`, a list of the threads in it, in the order in which they came.
    CSS_SET_TASKS = [at("css_set", "tasks")];
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

    /// `task_struct.mems_allowed`, a `nodemask_t`: 64 nodes a word.
    TASK_MEMS_ALLOWED = [at("task_struct", "mems_allowed")];
    /// `zonelist._zonerefs`, up to the first whose zone is null.
    ZONELIST_REFS = [at("zonelist", "_zonerefs")];
    /// Bytes from one of them to the next.
    ZONEREF_STRIDE = [stride("zonelist", "_zonerefs")];
    /// `zoneref.zone`, a pointer.
    ZONEREF_ZONE = [at("zoneref", "zone")];
    /// `pglist_data.node_zones`, all zones of a node, populated or not.
    PGDAT_ZONES = [at("pglist_data", "node_zones")];
    /// Bytes from one of them to the next.
    PGDAT_ZONE_STRIDE = [stride("pglist_data", "node_zones")];
    /// How many those are (`MAX_NR_ZONES`).
    PGDAT_ZONE_COUNT = [length("pglist_data", "node_zones")];
    /// `pglist_data.node_id`, i32.
    PGDAT_NODE_ID = [at("pglist_data", "node_id")];

    /// `vm_struct.addr`, a pointer.
    VM_ADDR = [at("vm_struct", "addr")];
    /// `vm_struct.size`, u64 of bytes, with the guard page.
    VM_SIZE = [at("vm_struct", "size")];
    /// `vm_struct.flags`, u64.
    VM_FLAGS = [at("vm_struct", "flags")];
    /// `vm_struct.pages`, a pointer to the array of its pages.
    VM_PAGES = [at("vm_struct", "pages")];
    /// `vm_struct.nr_pages`, u32.
    VM_NR_PAGES = [at("vm_struct", "nr_pages")];
    /// `vm_struct.phys_addr`, u64: 0 unless it maps a device.
    VM_PHYS_ADDR = [at("vm_struct", "phys_addr")];
    /// `vm_struct.requested_size`, u64 of bytes; from 6.15 on, and in later releases of 6.12.
    VM_REQUESTED_SIZE = [at("vm_struct", "requested_size")];

    /// `zone.zone_pgdat`, a pointer.
    ZONE_PGDAT = [at("zone", "zone_pgdat")];
    /// `zone.name`, a string.
    ZONE_NAME = [at("zone", "name")];
    /// `zone.present_pages`, u64: 0 if there is no memory in it.
    ZONE_PRESENT = [at("zone", "present_pages")];
    /// `zone.managed_pages`, u64.
    ZONE_MANAGED = [at("zone", "managed_pages")];
    /// `zone._watermark`, u64 for each of min, low and high.
    ZONE_WATERMARK = [at("zone", "_watermark")];
    /// `zone.watermark_boost`, u64.
    ZONE_BOOST = [at("zone", "watermark_boost")];
    /// `zone.lowmem_reserve`, i64 for each type of zone.
    ZONE_LOWMEM_RESERVE = [at("zone", "lowmem_reserve")];
    /// `zone.nr_reserved_highatomic`, u64.
    ZONE_RESERVED_HIGHATOMIC = [at("zone", "nr_reserved_highatomic")];
    /// `zone.nr_free_highatomic`, u64; from 6.12 on.
    ZONE_FREE_HIGHATOMIC = [at("zone", "nr_free_highatomic")];
    /// `zone.vm_stat`, i64 for each of `enum zone_stat_item`.
    ZONE_VM_STAT = [at("zone", "vm_stat")];
    /// `zone.free_area`, one for each order.
    ZONE_FREE_AREA = [at("zone", "free_area")];
    /// Bytes from one of them to the next.
    ZONE_FREE_AREA_STRIDE = [stride("zone", "free_area")];
    /// How many orders there are (`NR_PAGE_ORDERS`).
    ZONE_ORDERS = [length("zone", "free_area")];
    /// `free_area.nr_free`, u64.
    FREE_AREA_NR_FREE = [at("free_area", "nr_free")];
    /// `free_area.free_list`, a `list_head` for each migrate type.
    FREE_AREA_LISTS = [at("free_area", "free_list")];
    /// How many migrate types there are.
    FREE_AREA_LIST_COUNT = [length("free_area", "free_list")];
    /// Index of the free pages in `zone.vm_stat`.
    NR_FREE_PAGES = [value("zone_stat_item", "NR_FREE_PAGES")];
    /// Index of the free CMA pages in it.
    NR_FREE_CMA_PAGES = [value("zone_stat_item", "NR_FREE_CMA_PAGES")];
    /// The migrate type of memory that only movable pages may use; not where the kernel is built without CMA.
    MIGRATE_CMA = [value("migratetype", "MIGRATE_CMA")];
    /// Index of `ZONE_DMA` in `lowmem_reserve`; not where the kernel is built without; the same of the next three.
    ZONE_TYPE_DMA = [value("zone_type", "ZONE_DMA")];
    /// Index of `ZONE_DMA32`.
    ZONE_TYPE_DMA32 = [value("zone_type", "ZONE_DMA32")];
    /// Index of `ZONE_NORMAL`.
    ZONE_TYPE_NORMAL = [value("zone_type", "ZONE_NORMAL")];
    /// Index of `ZONE_MOVABLE`.
    ZONE_TYPE_MOVABLE = [value("zone_type", "ZONE_MOVABLE")];

    /// `mem_cgroup.kmem.usage`, u64; with cgroup v1 built in.
    MEMCG_KMEM_USAGE = [at("mem_cgroup", "kmem.usage")];
    /// `mem_cgroup.tcpmem.usage`, u64; the same.
    MEMCG_TCPMEM_USAGE = [at("mem_cgroup", "tcpmem.usage")];
    /// `mem_cgroup.vmstats`: the statistics themselves in 5.10, a pointer to a `memcg_vmstats` from 5.13 on.
    MEMCG_VMSTATS = [at("mem_cgroup", "vmstats")];
    /// `memcg_vmstats.state`, i64 each.
    MEMCG_VMSTATS_STATE = [at("memcg_vmstats", "state")];
    /// How many there are: fewer than `enum memcg_stat_item` has from 6.10 on, where a table has the place of each.
    MEMCG_VMSTATS_LENGTH = [length("memcg_vmstats", "state"), length("mem_cgroup", "vmstats")];
    /// `MEMCG_NR_STAT`.
    MEMCG_NR_STAT = [value("memcg_stat_item", "MEMCG_NR_STAT")];
    /// `mem_cgroup.nodeinfo`, pointers to a `mem_cgroup_per_node` for each NUMA node.
    MEMCG_NODEINFO = [at("mem_cgroup", "nodeinfo")];
    /// `mem_cgroup_per_node.memcg`, a pointer back.
    PER_NODE_MEMCG = [at("mem_cgroup_per_node", "memcg")];
    /// `mem_cgroup_per_node.lru_zone_size`, u64 for each list of each zone.
    PER_NODE_LRU = [at("mem_cgroup_per_node", "lru_zone_size")];
    /// How many there are, in one dimension or, as BTF may have it, in the first of two.
    PER_NODE_LRU_LENGTH = [length("mem_cgroup_per_node", "lru_zone_size")];
    /// Bytes of one, or of a row.
    PER_NODE_LRU_STRIDE = [stride("mem_cgroup_per_node", "lru_zone_size")];
    /// `mem_cgroup_per_node.lruvec.lrugen.nr_pages`, i64 for each generation, anonymous and file, and zone; from 6.1 on, where it is
    /// built with the multi-generational LRU.
    PER_NODE_GENERATIONS = [at("mem_cgroup_per_node", "lruvec.lrugen.nr_pages")];
    /// `cgroup_subsys_state.flags`, u32.
    CSS_FLAGS = [at("cgroup_subsys_state", "flags")];

    // In the order of `memcg_stat`.
    /// `NR_ANON_MAPPED`, as are the following an index of a memcg's statistics.
    MEMCG_STAT_ANON = [value("node_stat_item", "NR_ANON_MAPPED")];
    MEMCG_STAT_FILE = [value("node_stat_item", "NR_FILE_PAGES")];
    MEMCG_STAT_SHMEM = [value("node_stat_item", "NR_SHMEM")];
    MEMCG_STAT_SWAPCACHE = [value("node_stat_item", "NR_SWAPCACHE")];
    MEMCG_STAT_FILE_MAPPED = [value("node_stat_item", "NR_FILE_MAPPED")];
    MEMCG_STAT_FILE_DIRTY = [value("node_stat_item", "NR_FILE_DIRTY")];
    MEMCG_STAT_FILE_WRITEBACK = [value("node_stat_item", "NR_WRITEBACK")];
    MEMCG_STAT_SLAB_RECLAIMABLE = [value("node_stat_item", "NR_SLAB_RECLAIMABLE_B")];
    MEMCG_STAT_SLAB_UNRECLAIMABLE = [value("node_stat_item", "NR_SLAB_UNRECLAIMABLE_B")];
    MEMCG_STAT_KERNEL_STACK = [value("node_stat_item", "NR_KERNEL_STACK_KB")];
    MEMCG_STAT_PAGE_TABLES = [value("node_stat_item", "NR_PAGETABLE")];
    MEMCG_STAT_SECONDARY_PAGE_TABLES = [value("node_stat_item", "NR_SECONDARY_PAGETABLE")];
    MEMCG_STAT_SOCK = [value("memcg_stat_item", "MEMCG_SOCK")];
    MEMCG_STAT_PERCPU = [value("memcg_stat_item", "MEMCG_PERCPU_B")];
    MEMCG_STAT_VMALLOC = [value("memcg_stat_item", "MEMCG_VMALLOC"), value("node_stat_item", "NR_VMALLOC")];
    MEMCG_STAT_KERNEL = [value("memcg_stat_item", "MEMCG_KMEM")];
    MEMCG_STAT_ZSWAP = [value("memcg_stat_item", "MEMCG_ZSWAP_B")];
    /// `NR_HUGETLB`.
    MEMCG_STAT_HUGETLB = [value("node_stat_item", "NR_HUGETLB")];

    /// `pglist_data.vm_stat`, i64 for each of `enum node_stat_item`.
    PGDAT_VM_STAT = [at("pglist_data", "vm_stat")];
    // In the order of `node_stat`.
    /// `NR_ANON_MAPPED`, as are the following an index of a node's statistics.
    NODE_STAT_ANON = [value("node_stat_item", "NR_ANON_MAPPED")];
    NODE_STAT_FILE = [value("node_stat_item", "NR_FILE_PAGES")];
    NODE_STAT_SHMEM = [value("node_stat_item", "NR_SHMEM")];
    NODE_STAT_SWAPCACHE = [value("node_stat_item", "NR_SWAPCACHE")];
    NODE_STAT_FILE_MAPPED = [value("node_stat_item", "NR_FILE_MAPPED")];
    NODE_STAT_FILE_DIRTY = [value("node_stat_item", "NR_FILE_DIRTY")];
    NODE_STAT_FILE_WRITEBACK = [value("node_stat_item", "NR_WRITEBACK")];
    NODE_STAT_SLAB_RECLAIMABLE = [value("node_stat_item", "NR_SLAB_RECLAIMABLE_B")];
    NODE_STAT_SLAB_UNRECLAIMABLE = [value("node_stat_item", "NR_SLAB_UNRECLAIMABLE_B")];
    NODE_STAT_KERNEL_STACK = [value("node_stat_item", "NR_KERNEL_STACK_KB")];
    NODE_STAT_PAGE_TABLES = [value("node_stat_item", "NR_PAGETABLE")];
    NODE_STAT_SECONDARY_PAGE_TABLES = [value("node_stat_item", "NR_SECONDARY_PAGETABLE")];
    NODE_STAT_UNEVICTABLE = [value("node_stat_item", "NR_UNEVICTABLE")];
    NODE_STAT_VMALLOC = [value("node_stat_item", "NR_VMALLOC")];
    NODE_STAT_HUGETLB = [value("node_stat_item", "NR_HUGETLB")];
    NODE_STAT_BALLOON = [value("node_stat_item", "NR_BALLOON_PAGES")];
    NODE_STAT_IOMMU = [value("node_stat_item", "NR_IOMMU_PAGES")];
    NODE_STAT_GPU_ACTIVE = [value("node_stat_item", "NR_GPU_ACTIVE")];
    NODE_STAT_GPU_RECLAIM = [value("node_stat_item", "NR_GPU_RECLAIM")];
    /// `NR_ZSPAGES`, as is the next an index of a zone's statistics.
    ZONE_STAT_ZSMALLOC = [value("zone_stat_item", "NR_ZSPAGES")];
    ZONE_STAT_UNACCEPTED = [value("zone_stat_item", "NR_UNACCEPTED")];
    /// `NR_PAGETABLE` before 5.11.
    ZONE_STAT_PAGE_TABLES = [value("zone_stat_item", "NR_PAGETABLE")];

    /// Bytes of a `hstate`.
    HSTATE_SIZE = [Query::Size { of: "hstate" }];
    /// `hstate.order`, u32.
    HSTATE_ORDER = [at("hstate", "order")];
    /// `hstate.nr_huge_pages`, u64.
    HSTATE_TOTAL = [at("hstate", "nr_huge_pages")];
    /// `hstate.free_huge_pages`, u64.
    HSTATE_FREE = [at("hstate", "free_huge_pages")];
    /// `hstate.resv_huge_pages`, u64.
    HSTATE_RESERVED = [at("hstate", "resv_huge_pages")];
}
