//! What to do about failed allocations, and about fragmented memory.

use crate::classify::alloc::{AllocCause, Nowarn};
use crate::classify::zones::Sight;
use crate::classify::{AllocFacts, Verdict};
use crate::describe::owner;
use crate::enrich::Case;
use crate::event::{AllocFailure, Asked, Unmovable};
use crate::phrase::size;

/// The least kernel memory that is mentioned: an eighth of what a node of 1 GiB has, and of larger ones less.
const MUCH_BYTES: u64 = 128 << 20;

pub(super) fn of(
    case: &Case,
    failure: &AllocFailure,
    verdict: &Verdict,
    facts: &AllocFacts,
    sight: Option<&Sight<'_>>,
) -> String {
    let mut advice = Vec::new();
    match facts.cause {
        AllocCause::Charge => advice.push(charge(failure, verdict)),
        AllocCause::Fragmentation => {
            advice.extend(fragmentation(case.unmovable.as_ref()));
            advice.extend(smaller(sight));
        }
        AllocCause::AtomicReserves => advice.push(
            "Raise vm.min_free_kbytes: it sets the size of the reserve for atomic allocations (network and disk drivers) and \
             how early kswapd begins to reclaim. Find out what fills the node so fast that kswapd falls behind."
                .to_owned(),
        ),
        AllocCause::LowMemory => {
            advice.push(
                "Free memory on the node, or move load off it: memory is short, not fragmented. Raise --eviction-hard \
                 memory.available so that kubelet evicts pods in time, and set requests to real use."
                    .to_owned(),
            );
            advice.extend(smaller(sight));
        }
        AllocCause::Unknown
            if matches!(failure.asked, Asked::Vmalloc { .. }) && facts.nowarn == Nowarn::NoFallback =>
        {
            advice.push(
                "Find out what the process set up at this time: a BPF map, a firewall table, a ring of io_uring. It got ENOMEM."
                    .to_owned(),
            );
        }
        AllocCause::Unknown if matches!(failure.asked, Asked::Vmalloc { .. }) => advice.push(
            "Look for \"vmalloc\" in the kernel log at this time: its call trace names the caller (a module, a BPF map, a \
             firewall table)."
                .to_owned(),
        ),
        AllocCause::Unknown => advice.push(
            "If it goes on, run `crashtrace doctor` (or read /proc/buddyinfo) meanwhile, and look for \"allocation failure\" \
             in the kernel log, whose call trace names the caller."
                .to_owned(),
        ),
    }
    if facts.nowarn == Nowarn::Fallback {
        advice.push("An expected failure needs no remedy unless something is slow or missing.".to_owned());
    }
    advice.join(" ")
}

/// Remedies for fragmentation.
pub(in crate::describe) fn fragmentation(unmovable: Option<&Unmovable>) -> Vec<String> {
    let mut advice = vec![
        "Now: `echo 1 > /proc/sys/vm/compact_memory` compacts free memory. Permanently: raise vm.compaction_proactiveness (20 by \
         default) so that the kernel compacts in the background, and vm.min_free_kbytes, so that it has more free memory to \
         compact with."
            .to_owned(),
    ];
    let Some(held) = unmovable else { return advice };
    let much = |bytes: Option<u64>| bytes.filter(|bytes| *bytes >= MUCH_BYTES).map(size);
    if let Some(size) = much(held.unevictable_bytes) {
        advice.push(format!(
            "{size} are unevictable (mlock, or files in memory without swap): compaction moves them only while \
             vm.compact_unevictable_allowed is 1."
        ));
    }
    if let Some(size) = much(held.slab_unreclaimable_bytes) {
        advice.push(format!("{size} are unreclaimable slab: `slabtop -s c` shows which caches grow."));
    }
    if let Some(size) = much(held.slab_reclaimable_bytes) {
        advice.push(format!(
            "{size} are reclaimable slab (inodes, directory entries): `echo 2 > /proc/sys/vm/drop_caches` frees them."
        ));
    }
    if let Some(size) = much(held.page_table_bytes) {
        advice.push(format!("{size} are page tables: huge pages for large processes shrink them."));
    }
    if let Some(size) = much(held.kernel_stack_bytes) {
        advice.push(format!("{size} are kernel stacks: find out what has so many threads (`ps -eLf`)."));
    }
    if let Some(size) = much(held.huge_page_free_bytes) {
        advice.push(format!("{size} are reserved as huge pages and not used: lower vm.nr_hugepages."));
    }
    advice
}

/// A large order is mostly a choice of the program.
fn smaller(sight: Option<&Sight<'_>>) -> Option<String> {
    // Above `PAGE_ALLOC_COSTLY_ORDER` (`include/linux/mmzone.h`) the kernel does not try hard.
    const COSTLY: u32 = 3;
    let order = sight?.request.order;
    (order > COSTLY).then(|| {
        "The kernel gives up early on so large an order: use smaller buffers (socket buffers, control messages, jumbo \
         frames), and reserve huge pages at boot."
            .to_owned()
    })
}

/// A charge that failed.
fn charge(failure: &AllocFailure, verdict: &Verdict) -> String {
    let Some(limit) = &verdict.limit else {
        return "Look at memory.events of the process's cgroup and of those above: `max` rises in the one whose limit is hit."
            .to_owned();
    };
    let whose = owner(&limit.party);
    let above = limit.bytes().map_or_else(String::new, |bytes| format!(" above {}", size(bytes)));
    let fits = fits(failure, verdict).map_or_else(String::new, |bytes| {
        format!(" ({} would hold this allocation beside what was in use)", size(bytes))
    });
    format!(
        "Raise the memory limit of {whose}{above}{fits}, or find what grows in it: kernel memory (BPF maps, pipes, page tables, \
         sockets) counts too. The system call that needed the memory has failed with ENOMEM."
    )
}

/// The limit under which a vmalloc would have fitted beside what the cgroup used.
fn fits(failure: &AllocFailure, verdict: &Verdict) -> Option<u64> {
    let Asked::Vmalloc { bytes: Some(asked) } = failure.asked else { return None };
    let used = verdict.limit.as_ref()?.cgroups.levels.first()?.usage_bytes?;
    used.checked_sub(failure.vmalloc?.got_bytes?)?.checked_add(asked)
}
