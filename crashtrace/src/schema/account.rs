//! The account of memory in a report.

use schemars::JsonSchema;
use serde::Serialize;
use strum::{Display, VariantArray};

use super::Text;

/// Where the memory of a scope was: of the node, or of the memory cgroup whose limit was hit.
///
/// Entries do not overlap: with `others_bytes` and `unaccounted_bytes` they add up to `total_bytes` plus `excess_bytes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Account {
    /// The memory that the page allocator manages, or the usage of the cgroup.
    pub total_bytes: u64,
    /// Of a node: memory that it has, the kernel's image and tables included.
    pub present_bytes: Option<u64>,
    /// Of a node: taken back by the host of this virtual machine and outside of `total_bytes`; so it is in no entry. Null if there is
    /// none, or the kernel does not count it.
    pub ballooned_bytes: Option<u64>,
    /// The entries, the largest first.
    pub entries: Vec<AccountEntry>,
    /// Further entries, together: each is below 0.5 % of the total, or the line would be too long.
    pub others_bytes: u64,
    /// Memory that no entry explains.
    pub unaccounted_bytes: u64,
    /// By how much the entries come to more than the total: the kernel adds its counters of CPUs up with a delay.
    pub excess_bytes: u64,
    /// Some figures were read by the agent just after the decision, and may have changed. Otherwise all were read in the kernel at the
    /// decision.
    pub late: bool,
    /// Of a node: what must stay free, of `free`, in the zones that the allocation may use.
    pub kept: Option<Kept>,
    /// Swap; it is not in the total.
    pub swap: Option<Swap>,
    /// Of a node: buffers of TCP and UDP. They are in other entries (slab) or unaccounted.
    pub network_bytes: Option<u64>,
    /// Memory of the killed processes as the OOM killer weighs it: resident, in swap, and page tables. Null without a kill, and if
    /// there were too many processes.
    pub held_by_killed_bytes: Option<u64>,
    /// Of a cgroup: cgroups below it that have been removed and still have memory charged to them.
    pub removed_descendants: Option<u32>,
}

/// An entry of an account.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AccountEntry {
    /// Its kind.
    pub kind: AccountKind,
    /// Its size.
    pub bytes: u64,
    /// Thousandths of `total_bytes`.
    pub share_permille: u32,
    /// Whose it is, if it is one owner's.
    pub holder: Option<AccountHolder>,
    /// More about page cache.
    pub file: Option<FilePages>,
    /// More about huge pages.
    pub huge_pages: Option<HugePages>,
}

/// The owner of an entry.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AccountHolder {
    /// Path of the cgroup. If it is one of the largest owners, it is in `memory.holders` too, with all that is known of it.
    pub cgroup: Text,
    /// Its name in a sentence: `pod shop/api-7f9c`, `host unit docker.service`.
    pub name: String,
    /// Its swap, which is not in the entry.
    pub swap_bytes: Option<u64>,
}

/// Page cache of an entry. The parts overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FilePages {
    /// Not used lately. Null, as `active_bytes`, for a cgroup with others in it.
    pub inactive_bytes: Option<u64>,
    /// Used lately.
    pub active_bytes: Option<u64>,
    /// Mapped by processes: programs and libraries, above all.
    pub mapped_bytes: Option<u64>,
    /// Not yet written to disk.
    pub dirty_bytes: Option<u64>,
    /// Being written.
    pub writeback_bytes: Option<u64>,
}

/// A pool of huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HugePages {
    /// Size of a page.
    pub page_bytes: u64,
    /// In no use.
    pub free_bytes: u64,
    /// Of the free ones, promised to a mapping.
    pub reserved_bytes: u64,
}

/// What must stay free in the zones that the allocation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Kept {
    /// The min watermarks with their boost (`vm.min_free_kbytes`).
    pub min_bytes: u64,
    /// The lowmem reserves against this allocation.
    pub lowmem_reserve_bytes: u64,
    /// The highatomic reserves, if the allocation may not use them.
    pub highatomic_bytes: u64,
}

/// Swap of the scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Swap {
    /// All swap of the node; null for a cgroup, whose limit of swap is in `limit`.
    pub total_bytes: Option<u64>,
    /// Free swap of the node.
    pub free_bytes: Option<u64>,
    /// In use.
    pub used_bytes: Option<u64>,
    /// The devices, read just after the decision; null for a cgroup, and if they could not be read.
    pub devices: Option<Vec<SwapDevice>>,
}

/// A swap device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SwapDevice {
    /// What it is.
    pub kind: SwapKind,
    /// Its size.
    pub bytes: u64,
}

/// A kind of memory in an account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccountKind {
    /// Free, in zones that the allocation may use; in all zones if it is not known which these are.
    Free,
    /// Free, in zones that the allocation may not use.
    FreeIneligible,
    /// A pod.
    Pod,
    /// A service or scope of the host.
    Service,
    /// A container outside of pods.
    Container,
    /// Any other cgroup. Without a holder: all cgroups together.
    Cgroup,
    /// Cgroups too small to be listed, together, and what is charged to the cgroups above them. With a holder: those in it.
    SmallCgroups,
    /// Cgroups that have been removed, to which files in memory or kernel memory are still charged.
    RemovedCgroups,
    /// Anonymous memory of processes in the root cgroup.
    RootProcesses,
    /// tmpfs and shared memory of processes in the root cgroup.
    RootShmem,
    /// Page cache of processes in the root cgroup.
    RootFiles,
    /// Anonymous memory: heap and stacks.
    Anon,
    /// Page cache.
    File,
    /// Shared memory and tmpfs.
    Shmem,
    /// Swapped-in pages that still have their place in swap.
    SwapCache,
    /// Pools of huge pages.
    HugePages,
    /// Unreclaimable slab, charged to no cgroup if the account is the node's; the same of the kinds below.
    SlabUnreclaimable,
    /// Reclaimable slab: dentries, inodes.
    SlabReclaimable,
    /// Page tables of processes, virtual machines and devices.
    PageTables,
    /// Stacks of threads in the kernel.
    KernelStacks,
    /// Per-CPU memory of the kernel.
    Percpu,
    /// vmalloc, BPF maps among it.
    Vmalloc,
    /// Buffers of sockets.
    Sockets,
    /// zram and zswap: swap in memory.
    Zsmalloc,
    /// Compressed pages of swap that are charged to the cgroup.
    Zswap,
    /// Taken back by the host of this virtual machine.
    Balloon,
    /// Page tables of IOMMUs.
    Iommu,
    /// Memory of graphics drivers.
    Gpu,
    /// Not yet accepted by this confidential guest.
    Unaccepted,
    /// Kernel memory that the kernel does not tell apart: pipe buffers and others.
    OtherKernel,
}

/// A kind of swap device.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema, Display, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SwapKind {
    /// A partition, or another block device.
    Partition,
    /// A file.
    File,
    /// Compressed memory of the node itself.
    Zram,
}
