//! The advice that follows from a part of the node's account: one row for each kind.

use super::holder::{self, Holder};
use crate::describe::oom::account::{self, Part};
use crate::describe::oom::{Oom, free};
use crate::describe::owner;
use crate::enrich::{Account, Detail};
use crate::event::SwapKind;
use crate::phrase::{percent, size};
use crate::schema::AccountKind as Kind;

/// What a part of the node's memory is, and what to do about it.
pub(super) fn of_node(oom: &Oom<'_>, account: &Account, part: &Part<'_>) -> String {
    format!("{}: {}.", account::words(oom, account, part), advice(oom, account, part))
}

fn advice(oom: &Oom<'_>, account: &Account, part: &Part<'_>) -> String {
    let Some(kind) = part.kind else { return unaccounted(account) };
    let words = match kind {
        Kind::Free => return kept(oom),
        Kind::FreeIneligible => return ineligible(oom),
        Kind::Pod | Kind::Service | Kind::Container | Kind::Cgroup => return holder(oom, part),
        Kind::HugePages => return huge_pages(account),
        Kind::SlabUnreclaimable => return slab(account, part),
        Kind::RootProcesses => return root_processes(oom),
        Kind::Zsmalloc => return zsmalloc(oom, account),
        Kind::SmallCgroups => {
            "no single one is large, so there are too many for this node: run fewer pods on it (requests near real use, kubelet's \
             --max-pods), and limit what the host runs beside them"
        }
        Kind::RemovedCgroups => {
            "what outlives a cgroup is files in memory or kernel memory. Look for files in /dev/shm and other tmpfs (`find /dev/shm \
             -type f -size +1M`, `df -t tmpfs`, `ipcs -m`) and delete them; nr_dying_descendants in cgroup.stat counts the cgroups"
        }
        Kind::RootShmem => {
            "`df -t tmpfs` and `ipcs -m` show it. No cgroup's limit holds for it: mount the tmpfs with size=, and delete what is \
             not needed"
        }
        Kind::RootFiles => {
            "reclaim did not get it back: it is locked, dirty or in files that cannot be reclaimed (ramfs, a root file system in \
             memory). `grep -E 'Dirty|Writeback|Unevictable|Mlocked' /proc/meminfo` tells which"
        }
        Kind::File => {
            "reclaim did not get it back: it is dirty, mapped or locked. `grep -E 'Dirty|Writeback|Mapped|Mlocked' /proc/meminfo` \
             tells which"
        }
        Kind::Anon => {
            "the largest processes hold it (`ps -eo pid,rss,comm --sort=-rss`): limit those that grow"
        }
        Kind::Shmem => {
            "`df -t tmpfs` and `ipcs -m` show it: mount the tmpfs with size=, and delete what is not needed"
        }
        Kind::SwapCache => {
            "it is in memory and in swap at once, and becomes free as swap does: swap is too slow or too small"
        }
        Kind::SlabReclaimable => {
            "`slabtop -s c` shows which caches; reclaim cannot free dentries and inodes that are in use, or pinned by others in \
             the same slab. Look for programs that walk or keep millions of files, and see vm.vfs_cache_pressure"
        }
        Kind::PageTables => {
            "they grow with the address space that processes map, each for itself: use huge pages for large shared mappings \
             (databases), or fewer processes that share them. VmPTE in /proc/PID/status shows whose they are"
        }
        Kind::KernelStacks => {
            "16 KiB for each thread: find who starts so many (`ps -eLf`), and limit them (kubelet's podPidsLimit, systemd's \
             TasksMax=)"
        }
        Kind::Percpu => {
            "it grows with the number of cgroups, network devices and per-CPU BPF maps, times that of CPUs: look at \
             nr_descendants and nr_dying_descendants in cgroup.stat, and at `bpftool map`"
        }
        Kind::Vmalloc => {
            "`sort -k2 -n /proc/vmallocinfo` shows which functions allocated it, `bpftool map` the BPF maps"
        }
        Kind::Sockets => "`ss -m` shows which sockets hold it, and net.ipv4.tcp_mem and udp_mem bound it",
        Kind::Zswap => {
            "zswap keeps swapped pages in memory: lower /sys/module/zswap/parameters/max_pool_percent"
        }
        Kind::Balloon => {
            "the hypervisor took it from this machine: give the machine a guaranteed minimum or a smaller balloon there"
        }
        Kind::Iommu => {
            "devices that are passed through map it: see which virtual machines or drivers use VFIO"
        }
        Kind::Gpu => {
            "a graphics driver holds it: see /sys/kernel/debug/dri, or the driver's own tool, for who uses it"
        }
        Kind::Unaccepted => {
            "the kernel had not accepted it from the hypervisor yet: see accept_memory= of the kernel"
        }
        Kind::OtherKernel => "the kernel does not tell it apart: pipe buffers and the like",
    };
    words.to_owned()
}

fn holder(oom: &Oom<'_>, part: &Part<'_>) -> String {
    let held = account::held(oom, part);
    match held.map(|held| &held.party).or(part.holder) {
        Some(party) => {
            let limit = held.and_then(|held| held.limit);
            holder::advice(oom, &Holder { party, usage_bytes: part.bytes, limit })
        }
        None => "which, is not known: `systemd-cgtop -m` shows those that are large now".to_owned(),
    }
}

fn kept(oom: &Oom<'_>) -> String {
    match free::of(oom).as_ref().and_then(free::raised) {
        Some(raised) => format!(
            "the kernel keeps it, as {raised}. Lower the sysctl, or remove what sets it (/etc/sysctl.d, a tuning daemon)"
        ),
        None => {
            "the kernel keeps it: min watermarks, lowmem and atomic reserves (vm.min_free_kbytes, vm.lowmem_reserve_ratio)".to_owned()
        }
    }
}

fn ineligible(oom: &Oom<'_>) -> String {
    let free = free::of(oom);
    let zones = free.as_ref().map_or_else(String::new, |free| format!(" ({})", free.ineligible_zones()));
    match free {
        Some(free) if free.movable => format!(
            "kernel memory cannot be there{zones}. Make the movable zone smaller (kernelcore= or movablecore= on the kernel's \
             command line, memory that is onlined as movable), or find what kernel memory grows in the other {}",
            size(free.eligible_managed_bytes)
        ),
        _ => format!(
            "a DMA or DMA32 allocation cannot use them{zones}: look for the driver of a device that needs such memory"
        ),
    }
}

fn huge_pages(account: &Account) -> String {
    let pools: Vec<_> = account
        .entries
        .iter()
        .filter_map(|entry| match entry.detail {
            // What is promised to a mapping is free until that is touched.
            Some(Detail::Huge { free_bytes, reserved_bytes, .. }) => {
                Some((free_bytes.saturating_sub(reserved_bytes), reserved_bytes.min(free_bytes)))
            }
            _ => None,
        })
        .collect();
    let (unused, promised) = pools
        .iter()
        .fold((0_u64, 0_u64), |sum, pool| (sum.0.saturating_add(pool.0), sum.1.saturating_add(pool.1)));
    let unused = match (unused, promised) {
        (0, 0) if pools.is_empty() => String::new(),
        (0, 0) => "all of it in use, ".to_owned(),
        (0, promised) => format!("{} of it promised to mappings, the rest in use, ", size(promised)),
        (unused, 0) => format!("{} of it unused, ", size(unused)),
        (unused, promised) => {
            format!("{} of it unused and {} promised to mappings, ", size(unused), size(promised))
        }
    };
    format!(
        "{unused}and no other allocation may use it. Reserve fewer huge pages (sysctl vm.nr_hugepages, hugepages= on the kernel's \
         command line; a pod's hugepages-2Mi needs them), and restart kubelet, which takes them off what pods may use when it starts"
    )
}

fn slab(account: &Account, part: &Part<'_>) -> String {
    const SHOWN: &str = "`slabtop -s c` shows which cache. It is a leak of the kernel or of a driver, or there are very many \
                         cgroups, sockets or mounts";
    match account.network_bytes {
        Some(network) if percent(network, part.bytes) >= 50 => format!(
            "TCP and UDP buffers take {}: sysctl net.ipv4.tcp_mem and net.ipv4.udp_mem bound them, and `ss -m` shows sockets whose \
             program does not read. {SHOWN}",
            size(network)
        ),
        _ => SHOWN.to_owned(),
    }
}

fn root_processes(oom: &Oom<'_>) -> String {
    let rest = "no limit holds there, and neither kubelet nor systemd counts it: run it in a service with MemoryMax= \
                (`systemd-run -p MemoryMax=...`)";
    match account::in_root(oom).as_slice() {
        [] => format!("{rest}. `ps -eo pid,rss,comm,cgroup --sort=-rss` shows what has the cgroup /"),
        _ => rest.to_owned(),
    }
}

fn zsmalloc(oom: &Oom<'_>, account: &Account) -> String {
    let swap = account.swap.as_ref().and_then(|swap| swap.total_bytes.zip(swap.free_bytes));
    let full = match swap {
        Some((total, free)) if total > 0 && free < total / 20 => {
            format!("swap ({}) is full, and ", size(total))
        }
        _ => String::new(),
    };
    let by_swap =
        oom.scene.memory.and_then(|memory| memory.holders.iter().max_by_key(|held| held.swap_bytes));
    let whose = by_swap.and_then(|held| Some((held, held.swap_bytes.filter(|bytes| *bytes > 0)?)));
    let whose = whose.map_or_else(String::new, |(held, bytes)| {
        format!(" Most of the swap is that of {}: {}.", owner(&held.party), size(bytes))
    });
    // Without devices it may be either: zram may be no swap, or the list was not read.
    let devices = account.swap.as_ref().and_then(|swap| swap.devices.as_deref()).unwrap_or_default();
    let (shown, smaller) = if devices.is_empty() {
        (
            " (`zramctl` shows how much, if it is zram)",
            "If it is zram, give it a smaller disksize, or swap on a disk; if it is zswap, lower \
             /sys/module/zswap/parameters/max_pool_percent",
        )
    } else if devices.iter().any(|device| device.kind == SwapKind::Zram) {
        (" (`zramctl` shows how much)", "Give zram a smaller disksize, or swap on a disk")
    } else {
        ("", "It is zswap's: lower /sys/module/zswap/parameters/max_pool_percent")
    };
    format!(
        "{full}swapping to it frees no more than what compression saves{shown}.{whose} {smaller}; and limit who fills it, in swap \
         too (MemorySwapMax=)"
    )
}

fn unaccounted(account: &Account) -> String {
    let network = match account.network_bytes.unwrap_or_default() {
        0 => String::new(),
        bytes => format!(" TCP and UDP buffers, {} by their own count, may be a part of it.", size(bytes)),
    };
    format!(
        "the kernel or a driver allocated it, and no counter has it: buffers and page pools of network and storage drivers, GPUs, \
         or a leak.{network} /proc/vmallocinfo and, with page_owner=on, /sys/kernel/debug/page_owner show who allocated; see \
         whether it grows with the use of a device"
    )
}
