//! The advice that follows from a part of the account of a memcg at its limit: one row for each kind.

use super::volumes::files_in_memory;
use crate::describe::oom::Oom;
use crate::describe::oom::account::Part;
use crate::enrich::{Account, Detail};
use crate::phrase::{percent, process, size};
use crate::schema::AccountKind as Kind;

/// From this share of what was in use on, anonymous memory is a part of the reason.
const HEAP_PERCENT: u64 = 25;

/// What a part of what was in use is, and what to do about it; nothing where the limit's own remedy says it all. `largest`: it is
/// the largest part.
pub(super) fn of_limit(oom: &Oom<'_>, account: &Account, part: &Part<'_>, largest: bool) -> Option<String> {
    let lead = format!(
        "{} of the {} in use ({} %)",
        size(part.bytes),
        size(account.total_bytes),
        percent(part.bytes, account.total_bytes)
    );
    Some(match part.kind {
        Some(Kind::Anon) => format!("{lead} {}", heap(oom, part)?),
        // Its sentences have their own ends.
        Some(Kind::Shmem) => {
            format!("{lead} is shared memory and files in memory (tmpfs). {}", files_in_memory(oom))
        }
        kind => {
            let heap = if largest && is_no_heap(account, kind) { " Its heap is not the reason." } else { "" };
            format!("{lead} {}{}.{heap}", words(kind), written(part))
        }
    })
}

/// The kernel's memory for its processes filled the limit, and their heaps are a small part.
fn is_no_heap(account: &Account, kind: Option<Kind>) -> bool {
    let of_kernel = matches!(
        kind,
        Some(
            Kind::SlabReclaimable
                | Kind::SlabUnreclaimable
                | Kind::PageTables
                | Kind::Sockets
                | Kind::OtherKernel
        )
    );
    let anon = account.entries.iter().filter(|entry| entry.kind == Kind::Anon);
    let anon_bytes = anon.fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
    let known = account.untold.iter().all(|(kind, _)| *kind != Kind::Anon);
    of_kernel && known && percent(anon_bytes, account.total_bytes) < HEAP_PERCENT
}

/// How much of page cache is why it could not be reclaimed.
fn written(part: &Part<'_>) -> String {
    let Some(Detail::File { mapped_bytes, dirty_bytes, writeback_bytes, .. }) = part.detail else {
        return String::new();
    };
    let parts = [(dirty_bytes, "dirty"), (writeback_bytes, "being written"), (mapped_bytes, "mapped")];
    let parts = parts.into_iter().filter_map(|(bytes, what)| Some((bytes.filter(|bytes| *bytes > 0)?, what)));
    let parts: Vec<_> = parts.map(|(bytes, what)| format!("{} {what}", size(bytes))).collect();
    if parts.is_empty() { String::new() } else { format!(" (of it {})", parts.join(", ")) }
}

fn words(kind: Option<Kind>) -> &'static str {
    let Some(kind) = kind else {
        return "is in none of the kernel's own counts: it may be other kernel memory of its processes (pipe and socket buffers, page tables \
                where the kernel does not tell them apart)";
    };
    match kind {
        Kind::Anon => "is anonymous memory (heap and stacks)",
        Kind::Shmem | Kind::RootShmem => "is shared memory and files in memory (tmpfs)",
        Kind::File | Kind::RootFiles => {
            "is page cache that reclaim did not get back: it is dirty, waits for a slow disk, or is mapped by programs that use \
             it all the time. Write less at once (fsync, direct I/O, smaller vm.dirty_bytes), or raise the limit above the \
             working set"
        }
        Kind::SwapCache => "is in memory and in swap at once: swap is too slow for what it swaps",
        Kind::HugePages => {
            "is huge pages that are charged to it: ask for fewer (hugetlb), or raise the limit"
        }
        Kind::SlabReclaimable => {
            "is dentries and inodes (reclaimable slab), which are pinned or come faster than reclaim frees them: it opens, creates \
             or looks up very many files. Look for files that are created and deleted in masses, \
             look-ups of names that do not exist, and files held open"
        }
        Kind::SlabUnreclaimable => {
            "is unreclaimable slab, which the kernel allocated for its processes: very many open files, sockets, inotify watches, \
             namespaces or epoll entries. `slabtop` on the node, and memory.stat of the cgroup tell \
             more"
        }
        Kind::PageTables => {
            "is page tables: its processes map far more address space than they hold, each for itself. Use huge pages for large \
             shared mappings, or fewer processes that share them"
        }
        Kind::KernelStacks => {
            "is kernel stacks, 16 KiB for each thread: it starts too many threads or processes (podPidsLimit, pids.max)"
        }
        Kind::Percpu => {
            "is per-CPU memory of the kernel: cgroups inside it, per-CPU BPF maps, network devices"
        }
        Kind::Vmalloc => "is vmalloc memory: BPF maps (`bpftool map`), large buffers of the kernel",
        Kind::Sockets => {
            "is buffers of sockets: a peer or the program itself reads too slowly. `ss -m` in its network namespace shows which; \
             smaller buffers (SO_RCVBUF, net.ipv4.tcp_rmem, tcp_wmem) or fewer connections help"
        }
        Kind::Zsmalloc | Kind::Zswap => {
            "is compressed swap in memory (zswap), which counts against the limit: set memory.zswap.max, or give it no swap"
        }
        Kind::OtherKernel => {
            "is kernel memory that is told no further: buffers of pipes and unix sockets, above all. A reader is too slow or gone; \
             `lsof` shows the pipes, F_SETPIPE_SZ and fs.pipe-user-pages-soft bound them"
        }
        Kind::RemovedCgroups => {
            "is charged to cgroups in it that are gone: files in memory or kernel memory that outlive them (nr_dying_descendants \
             in cgroup.stat)"
        }
        Kind::Pod
        | Kind::Service
        | Kind::Container
        | Kind::Cgroup
        | Kind::SmallCgroups
        | Kind::RootProcesses => "is charged to cgroups in it",
        Kind::Free | Kind::FreeIneligible | Kind::Balloon | Kind::Iommu | Kind::Gpu | Kind::Unaccepted => {
            "is of no cgroup"
        }
    }
}

/// A runtime's own limits, if the victim holds most of the anonymous memory: the heap of an innocent sibling is no advice.
fn heap(oom: &Oom<'_>, part: &Part<'_>) -> Option<String> {
    let victim = oom.scene.victim.as_ref()?;
    let anon = victim.task.rss?.anon_bytes;
    if anon >= part.bytes / 2 {
        return Some(format!(
            "is anonymous memory (heap and stacks), {} of it of {}: compare the limits that its runtime has (-Xmx, GOMEMLIMIT, \
             --max-old-space-size) with the cgroup's.",
            size(anon),
            process(victim.task)
        ));
    }
    let victims = oom.scene.victims();
    let killed = victims
        .iter()
        .filter_map(|victim| victim.task.rss)
        .fold(0_u64, |sum, rss| sum.saturating_add(rss.anon_bytes));
    if victims.len() > 1 && killed >= part.bytes / 2 {
        return Some(format!(
            "is anonymous memory (heap and stacks), {} of it of the {} killed processes: compare their number and the limits that \
             their runtime has (-Xmx, GOMEMLIMIT, --max-old-space-size) with the cgroup's limit.",
            size(killed.min(part.bytes)),
            victims.len()
        ));
    }
    Some(format!(
        "is anonymous memory (heap and stacks), and {} has only {} of it: look at the other processes and their number.",
        process(victim.task),
        size(anon)
    ))
}
