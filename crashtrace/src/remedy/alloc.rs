//! What to do about failed allocations, and about a node whose memory is in pieces.

use crate::classify::words::{bytes, owner};
use crate::classify::zones::Sight;
use crate::classify::{Cause, Shortage, Verdict};
use crate::enrich::Case;
use crate::event::{AllocFailure, Asked, Limit, Unmovable};

/// Kernel memory that is worth a word: an eighth of what a node of 1 GiB has, and of larger ones less.
const MUCH_BYTES: u64 = 128 << 20;

/// The remedy.
pub(crate) fn of(
    case: &Case,
    failure: &AllocFailure,
    verdict: &Verdict,
    sight: Option<&Sight<'_>>,
) -> String {
    let mut advice = Vec::new();
    match (verdict.cause, verdict.shortage) {
        (Cause::CgroupOom, _) => advice.push(charge(verdict)),
        (Cause::Fragmentation, _) => {
            advice.extend(fragmentation(case.unmovable.as_ref()));
            advice.extend(smaller(sight));
        }
        (_, Some(Shortage::AtomicReserves)) => advice.push(
            "Raise vm.min_free_kbytes: it sets how much is kept for requests that cannot wait (network and disk drivers), \
             and how early kswapd begins to free memory. Find out what fills the node so fast that kswapd falls behind."
                .to_owned(),
        ),
        (Cause::LowMemory, _) => {
            advice.push(
                "Free memory on the node, or take load off it: this is want of memory, not fragmentation. Raise \
                 --eviction-hard memory.available so that kubelet evicts pods in time, and set requests to real use."
                    .to_owned(),
            );
            advice.extend(smaller(sight));
        }
        _ if matches!(failure.asked, Asked::Vmalloc { .. }) => advice.push(
            "Look for \"vmalloc\" in the kernel log at this time: its call trace names what asked for so much (a module, a \
             BPF map, a firewall table)."
                .to_owned(),
        ),
        _ => advice.push(
            "If it goes on, look at `crashtrace doctor` (or /proc/buddyinfo) while it does, and for \"allocation failure\" in \
             the kernel log, whose call trace names who asked."
                .to_owned(),
        ),
    }
    if case.traits.is_some_and(|traits| traits.nowarn) {
        advice.push("One that is expected needs no remedy unless something is slow or missing.".to_owned());
    }
    advice.join(" ")
}

/// What helps against fragmentation.
pub(super) fn fragmentation(unmovable: Option<&Unmovable>) -> Vec<String> {
    let mut advice = vec![
        "Now: `echo 1 > /proc/sys/vm/compact_memory` puts free memory together. For good: raise \
         vm.compaction_proactiveness (20 by default) so that the kernel does so in the background, and vm.min_free_kbytes, \
         which keeps more free for it to work with."
            .to_owned(),
    ];
    let Some(held) = unmovable else { return advice };
    let much = |size: Option<u64>| size.filter(|size| *size >= MUCH_BYTES).map(bytes);
    if let Some(size) = much(held.unevictable_bytes) {
        advice.push(format!(
            "{size} are locked in memory (mlock, or files in memory without swap): compaction moves them only while \
             vm.compact_unevictable_allowed is 1."
        ));
    }
    if let Some(size) = much(held.slab_unreclaimable_bytes) {
        advice.push(format!(
            "{size} are kernel caches that stay where they are: `slabtop -s c` shows which grow."
        ));
    }
    if let Some(size) = much(held.slab_reclaimable_bytes) {
        advice.push(format!(
            "{size} are inodes, directory entries and the like: `echo 2 > /proc/sys/vm/drop_caches` gives them back."
        ));
    }
    if let Some(size) = much(held.page_table_bytes) {
        advice.push(format!("{size} are page tables: huge pages for large processes make them fewer."));
    }
    if let Some(size) = much(held.kernel_stack_bytes) {
        advice.push(format!("{size} are kernel stacks: find out what has so many threads (`ps -eLf`)."));
    }
    if let Some(size) = much(held.huge_page_free_bytes) {
        advice.push(format!("{size} are reserved for huge pages that nobody uses: lower vm.nr_hugepages."));
    }
    advice
}

/// Large pieces in one request are mostly somebody's choice.
fn smaller(sight: Option<&Sight<'_>>) -> Option<String> {
    // Above `PAGE_ALLOC_COSTLY_ORDER` (`include/linux/mmzone.h`) the kernel does not try hard.
    const COSTLY: u32 = 3;
    let order = sight?.request.order;
    (order > COSTLY).then(|| {
        "So large a piece is what the kernel gives up on early: if the program can do with smaller buffers (socket buffers \
         and control messages, jumbo frames, huge pages reserved at boot), it will not depend on it."
            .to_owned()
    })
}

/// A charge that failed.
fn charge(verdict: &Verdict) -> String {
    let Some(limit) = &verdict.limit else {
        return "Look at memory.events of the process's cgroup and of those above: `max` rises where a limit is met.".to_owned();
    };
    let whose = owner(&limit.party);
    let bound = limit.cgroups.levels.first().and_then(|level| level.limit).and_then(Limit::bytes);
    let above = bound.map_or_else(String::new, |bound| format!(" above {}", bytes(bound)));
    format!(
        "Raise the memory limit of {whose}{above}, or find what grows in it: kernel memory (pipes, page tables, sockets) counts \
         too. The system call that asked has failed with ENOMEM."
    )
}
