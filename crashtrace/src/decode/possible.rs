//! PURE: values that no kernel has. A record with such a value was read at the wrong places, so all of it is refused.
//!
//! Only values that are impossible on every kernel from 5.10 to 7.3: refusing a real kill is worse than an odd figure. So a
//! size that an accounting error of the kernel could cause is not refused, but left out ([`size`]), and for times there is a
//! minute's grace: `bpf_ktime_get_boot_ns` is `ktime_get_boot_fast_ns` (`kernel/time/timekeeping.c`), which may be behind the
//! clock that a task's start was taken from. Whether a record is later than now is not checked: this process may be in a time
//! namespace.

use super::DecodeError;
use crate::event::{Asked, Event, Level, Lineage, Stamp, Task, Zones};

/// `PID_MAX_LIMIT` on 64 bits (`include/linux/threads.h`): ids are below it (`alloc_pid`, `kernel/pid.c`).
const PID_MAX_LIMIT: u32 = 4 * 1024 * 1024;
/// `OOM_SCORE_ADJ_MIN` and `OOM_SCORE_ADJ_MAX` (`include/uapi/linux/oom.h`): `oom_score_adj_write` and `oom_adj_write`
/// (`fs/proc/base.c`) accept no other value, and a new process inherits it.
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i16> = -1000..=1000;
/// See the module.
const GRACE_NS: u64 = 60_000_000_000;
/// `get_order` of all that 64 bits can address: the order of the largest charge. -1 is sysrq.
const ORDER: std::ops::RangeInclusive<i32> = -1..=52;
/// The largest address space of a process is 2^56 bytes (x86 with five levels of page tables), and no machine has more memory.
const SIZE_LIMIT_BYTES: u64 = 1 << 57;
/// Highest number of nodes that a kernel can be built for (`NODES_SHIFT` is 10 at most).
const MAX_NUMNODES: u32 = 1024;
/// `zone_names` (`mm/page_alloc.c`).
const ZONE_NAMES: [&[u8]; 6] = [b"DMA", b"DMA32", b"Normal", b"HighMem", b"Movable", b"Device"];

/// Refuses an impossible event.
pub(super) fn check(event: &Event) -> Result<(), DecodeError> {
    let stamp = event.stamp();
    let decided_ns = stamp.decision_ns.unwrap_or_default();
    past(stamp, decided_ns, "time of a decision, in ns")?;
    match event {
        Event::OomDecision(it) => {
            // `constrained_alloc` sets it before the search for a victim, to `mem_cgroup_get_max() ?: 1` or to memory and swap
            // of the nodes (`mm/oom_kill.c`).
            if let Some(control) = it.control.as_ref().filter(|control| control.total_bytes == 0) {
                return Err(impossible("size of what may be used, in bytes", control.total_bytes));
            }
            task(&it.trigger, stamp)?;
            it.victim.iter().try_for_each(|it| victim(it, stamp))?;
            lineages([&it.trigger_cgroups, &it.victim_cgroups, &it.limit_cgroups])
        }
        Event::OomVictim(it) => {
            victim(&it.task, stamp)?;
            lineages([&it.cgroups])
        }
        Event::OomNoVictim(it) => {
            task(&it.trigger, stamp)?;
            lineages([&it.trigger_cgroups, &it.limit_cgroups])
        }
        Event::OomHolders(it) => it.holders.iter().try_for_each(|holder| level(&holder.level)),
        Event::AllocFailure(it) => {
            past(stamp, it.counted.since_ns, "time of a count, in ns")?;
            if let Asked::Pages { order: asked } = it.asked {
                order(i32::try_from(asked).unwrap_or(i32::MAX))?;
            }
            task(&it.task, stamp)?;
            lineages([&it.cgroups])
        }
        Event::ContainerExit(it) => {
            // It is a process's, never the idle task's.
            victim(&it.task, stamp)?;
            id(it.parent.pid)?;
            for signal in it.asked.iter().chain(&it.killed) {
                // From an interrupt, the current task may be the idle task.
                task(&signal.sender.task, stamp)?;
                id(signal.sender.parent.pid)?;
                past(stamp, signal.ktime_ns, "time of a signal, in ns")?;
            }
            past(stamp, it.raised.as_ref().map_or(0, |raised| raised.ktime_ns), "time of a signal, in ns")?;
            for exec in &it.failed_execs {
                past(stamp, exec.ktime_ns, "time of an end, in ns")?;
            }
            lineages([&it.cgroups])
        }
        Event::OomDecisionEnd(_) | Event::OomZones(..) | Event::OomMemory(..) => Ok(()),
    }
}

/// The order of an allocation.
pub(super) fn order(order: i32) -> Result<i32, DecodeError> {
    let value = u64::from(order.cast_unsigned());
    if ORDER.contains(&order) { Ok(order) } else { Err(impossible("order", value)) }
}

/// A possible size. The kernel's counters of pages, charges and page tables are `atomic_long_t`s, and one that was decremented
/// once too often is negative, which is a huge size: a kernel fault in one figure, and no reason to drop a kill.
pub(super) fn size(bytes: u64) -> Option<u64> {
    Some(bytes).filter(|bytes| *bytes < SIZE_LIMIT_BYTES)
}

/// Whether zones are possible: read at the right place, each has a name that the kernel knows, a node and not more memory than
/// a machine can have. If they are impossible, `/proc` has them.
pub(super) fn zones(zones: &Zones) -> bool {
    zones.list.iter().all(|zone| {
        zone.name.as_ref().is_none_or(|name| ZONE_NAMES.contains(&name.0.as_slice()))
            && zone.numa_node.is_none_or(|node| node < MAX_NUMNODES)
            // In pages of 4 KiB or more.
            && zone.managed_pages.is_none_or(|pages| pages < SIZE_LIMIT_BYTES >> 12)
    })
}

/// A victim: never the idle task, which is in no list of processes (`for_each_process`, `oom_badness`).
fn victim(victim: &Task, stamp: &Stamp) -> Result<(), DecodeError> {
    if victim.pid == Some(0) || victim.tid == Some(0) {
        return Err(impossible("process id of a victim", 0));
    }
    task(victim, stamp)
}

fn id(id: Option<u32>) -> Result<(), DecodeError> {
    match id.filter(|id| *id >= PID_MAX_LIMIT) {
        Some(id) => Err(impossible("process id", id.into())),
        None => Ok(()),
    }
}

fn task(task: &Task, stamp: &Stamp) -> Result<(), DecodeError> {
    id(task.pid)?;
    id(task.tid)?;
    if let Some(adj) = task.oom_score_adj.filter(|adj| !OOM_SCORE_ADJ.contains(adj)) {
        return Err(impossible("oom_score_adj", u64::from(adj.cast_unsigned())));
    }
    past(stamp, task.start_boottime_ns.unwrap_or_default(), "start time, in ns")
}

fn past(stamp: &Stamp, time_ns: u64, what: &'static str) -> Result<(), DecodeError> {
    let latest_ns = stamp.ktime_ns.saturating_add(GRACE_NS);
    if time_ns <= latest_ns { Ok(()) } else { Err(impossible(what, time_ns)) }
}

fn lineages<const N: usize>(lineages: [&Option<Lineage>; N]) -> Result<(), DecodeError> {
    let with_memory = lineages.into_iter().flatten().filter(|lineage| !lineage.unified);
    with_memory.flat_map(|lineage| &lineage.levels).try_for_each(level)
}

/// The root has no limit, neither of memory nor of swap: `page_counter_init` begins with `PAGE_COUNTER_MAX`, v2 has no file for it
/// there, and v1 refuses the write (`mem_cgroup_write`, `mm/memcontrol.c`, since 6.11 `mm/memcontrol-v1.c`).
fn level(level: &Level) -> Result<(), DecodeError> {
    let limits = [level.limit, level.swap_limit];
    match limits.into_iter().flatten().find_map(|limit| limit.bytes().filter(|_| level.root)) {
        Some(bytes) => Err(impossible("limit of the root of all cgroups, in bytes", bytes)),
        None => Ok(()),
    }
}

fn impossible(what: &'static str, value: u64) -> DecodeError {
    DecodeError::Impossible { what, value }
}
