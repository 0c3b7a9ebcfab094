//! Remedies for fragmented free memory: only where the snapshot and a setting, or the snapshot alone, are plainly bad.
//!
//! Large blocks are scarce on any node that has run for long, and that is normal. So a remedy is given where allocations fail of
//! sizes that the kernel itself depends on, and in addition for each setting that makes it worse.

use super::{COSTLY_ORDER, Fragmentation, Outlook};
use crate::kernel::host::HostFacts;
use crate::schema::Shortage;
use crate::terminal::zones::short_size;

/// The kernel's defaults (`mm/compaction.c`, 5.10 to 7.3).
const DEFAULT_PROACTIVENESS: i32 = 20;
const DEFAULT_EXTFRAG_THRESHOLD: i32 = 500;

/// The most and the least that the kernel chooses for `vm.min_free_kbytes` (`calculate_min_free_kbytes`,
/// `mm/page_alloc.c`, 5.10 to 7.3).
const MIN_FREE_KBYTES: (u64, u64) = (128, 262_144);

/// The remedies, most important first.
pub(in crate::doctor) fn remedies(found: &Fragmentation, facts: &HostFacts) -> Vec<String> {
    let Some(Outlook { fails_from_order: Some(order), fails_from_bytes, reason: Some(reason) }) =
        found.kernel
    else {
        return Vec::new();
    };
    let size = fails_from_bytes.map_or_else(|| format!("2^{order} pages"), short_size);
    let settings = facts.memory;
    let mut remedies = Vec::new();
    let is_small = order <= COSTLY_ORDER;
    match reason {
        Shortage::Fragmentation if is_small => {
            remedies.push(format!(
                "run `echo 1 > /proc/sys/vm/compact_memory` to compact memory now, as far as its pages are movable: no free block \
                 has {size}"
            ));
            match settings.compaction_proactiveness {
                Some(0) => remedies.push(format!(
                    "set sysctl vm.compaction_proactiveness={DEFAULT_PROACTIVENESS}: it is 0, so the kernel compacts \
                     memory only when an allocation waits for it"
                )),
                Some(now @ 1..100) => remedies.push(format!(
                    "raise sysctl vm.compaction_proactiveness ({now} now, 100 at most) if this recurs"
                )),
                Some(_) | None => {}
            }
        }
        Shortage::LowMemory | Shortage::AtomicReserves if is_small => remedies.push(format!(
            "free memory on this node, or move load off it: less is free than the reserve, and an allocation of {size} waits for \
             reclaim"
        )),
        _ => {}
    }
    if reason == Shortage::Fragmentation {
        if is_small && settings.compact_unevictable_allowed == Some(0) {
            remedies.push(
                "set sysctl vm.compact_unevictable_allowed=1, unless this is a real-time node: locked memory is not compacted now"
                    .to_owned(),
            );
        }
        // The kernel does not use it for smaller ones.
        if let Some(now) = settings.extfrag_threshold.filter(|now| *now > DEFAULT_EXTFRAG_THRESHOLD) {
            remedies.push(format!(
                "set sysctl vm.extfrag_threshold={DEFAULT_EXTFRAG_THRESHOLD}: at {now} the kernel reclaims for high-order \
                 allocations where it should compact"
            ));
        }
    }
    if is_small {
        remedies.extend(min_free(found, settings.min_free_kbytes));
    }
    remedies
}

/// Less than half of what the kernel would have chosen for itself.
fn min_free(found: &Fragmentation, kbytes: Option<i32>) -> Option<String> {
    let kbytes = u64::try_from(kbytes?).ok()?;
    // All zones but Movable, which is not eligible for the kernel's allocations.
    let low = found.zones.iter().filter(|zone| zone.kernel_may_use);
    let managed_kbytes = low.filter_map(|zone| zone.managed_bytes).fold(0, u64::saturating_add) / 1024;
    let chosen = managed_kbytes.saturating_mul(16).isqrt().clamp(MIN_FREE_KBYTES.0, MIN_FREE_KBYTES.1);
    (kbytes < chosen / 2).then(|| {
        format!(
            "raise sysctl vm.min_free_kbytes: it is {kbytes}, and the kernel's default for this much memory is {chosen}; \
             compaction and atomic allocations need this reserve"
        )
    })
}
