//! A failed allocation.

pub use crashtrace_ebpf::FailureKey;

use super::zones::{Unmovable, Zones};
use super::{Lineage, Name, Stack, Stamp, Task};

/// An allocation that failed, and how many more of its kind did.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocFailure {
    /// When and where.
    pub stamp: Stamp,
    /// Its kind, as the kernel side counts.
    pub key: FailureKey,
    /// Failures of this kind so far, this one included.
    pub counted: Counted,
    /// What was allocated.
    pub asked: Asked,
    /// How far a vmalloc came; `None` for another allocation.
    pub vmalloc: Option<Vmalloc>,
    /// Format of the kernel's log message; `None` at the tracepoint, which has no message.
    pub format: Option<Name>,
    /// Flags of the allocation.
    pub gfp: u32,
    /// The use of the memory.
    pub migrate_type: Option<MigrateType>,
    /// Bit `n` is NUMA node `n`: the first 64 nodes of the allocation's nodemask; `None` if it has none.
    pub nodemask: Option<u64>,
    /// The same for the nodes that the current task's cpuset allows it.
    pub mems_allowed: Option<u64>,
    /// NUMA node of the CPU that allocated.
    pub numa_node: u32,
    /// The current task: it allocated, unless an interrupt did.
    pub task: Task,
    /// Its cgroups.
    pub cgroups: Option<Lineage>,
    /// Kernel functions that led here, innermost first, as far as they are of interest.
    pub stack: Option<Stack>,
    /// The zones at that moment; `None` if the kernel side could not reach them, until the user side has read them.
    pub zones: Option<Zones>,
    /// Unmovable memory; `None` until the user side has read it.
    pub unmovable: Option<Unmovable>,
}

/// The kernel side's count of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// When that count began: with a later one it began anew.
    pub since_ns: u64,
    /// Failures since then.
    pub total: u64,
    /// When the latest record of this kind was written: the record with this count, or one that is still in the ring.
    pub sent_ns: u64,
}

/// What was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// 2^order contiguous pages.
    Pages {
        /// The order.
        order: u32,
    },
    /// Pages that are mapped together in the kernel's address space.
    Vmalloc {
        /// How many bytes, by its `vm_struct`, or by the message if it has the size that was asked for.
        bytes: Option<u64>,
    },
    /// Something else that `warn_alloc` is called for.
    Other,
}

/// How far a vmalloc came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmalloc {
    /// The step that failed.
    pub step: VmallocStep,
    /// How much it had got by then; `None` at the tracepoint, and if no page failed.
    pub got_bytes: Option<u64>,
}

/// Steps of a vmalloc (`mm/vmalloc.c`, 5.10 to 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmallocStep {
    /// Place in the kernel's address space; before 5.13 also a size above the machine's memory.
    AddressSpace,
    /// A page for it: memory, or its charge.
    Pages,
    /// Anything else: a size above the machine's memory, the array of its pages, page tables.
    Other,
}

/// Functions of vmalloc from which all pages of an area come.
pub const VMALLOC: [&str; 3] = ["__vmalloc_node_range", "__vmalloc_node_range_noprof", "__vmalloc_area_node"];

/// The use of pages, as far as it decides which blocks they may come from (`enum migratetype`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrateType {
    /// Memory of the kernel, which cannot be moved.
    Unmovable,
    /// Memory of processes, which can be moved, and may use CMA.
    Movable,
    /// Reclaimable caches of the kernel.
    Reclaimable,
    /// A value that this version does not know.
    Other(u32),
}

/// Functions that run in an interrupt, with any task as the current one: at the bottom of each way into one.
/// `kernel/softirq.c` (`__do_softirq` up to 6.8, `handle_softirqs` since), `kernel/irq/handle.c`,
/// `kernel/irq/chip.c`, `kernel/time/hrtimer.c`, `kernel/smp.c`, `kernel/irq_work.c`; 5.10 to 7.3.
pub const INTERRUPT: [&str; 7] = [
    "__do_softirq",
    "handle_softirqs",
    "__handle_irq_event_percpu",
    "handle_percpu_devid_irq",
    "hrtimer_interrupt",
    "flush_smp_call_function_queue",
    "irq_work_run_list",
];

impl AllocFailure {
    /// Whether it was a page of a vmalloc that failed: the memory, or its charge.
    #[must_use]
    pub fn vmalloc_page(&self) -> bool {
        self.vmalloc.is_some_and(|vmalloc| vmalloc.step == VmallocStep::Pages)
    }

    /// Whether an interrupt allocated, as far as the stack tells: then the current task has nothing to do with it.
    #[must_use]
    pub fn in_interrupt(&self) -> bool {
        self.stack.as_ref().is_some_and(|stack| INTERRUPT.iter().any(|function| stack.has(function)))
    }

    /// Whether the current task is ksoftirqd, which does the deferred work of interrupts (`kernel/softirq.c`): it was not
    /// interrupted. A process with that name has memory, or another user or cgroup than the kernel's tasks.
    #[must_use]
    pub fn in_ksoftirqd(&self) -> bool {
        let task = &self.task;
        let name = task.comm.as_ref().or(task.thread_comm.as_ref());
        let of_kernel = task.rss.is_none() && task.total_vm_bytes.is_none() && task.uid == Some(0);
        let in_root = |cgroups: &Lineage| cgroups.levels.first().is_some_and(|level| level.root);
        self.in_interrupt()
            && name.is_some_and(|name| name.0.starts_with(b"ksoftirqd/"))
            && of_kernel
            && self.cgroups.as_ref().is_none_or(in_root)
    }
}
