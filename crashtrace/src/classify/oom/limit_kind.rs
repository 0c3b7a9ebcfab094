//! Which limit of its cgroup an OOM is about: of memory, or of memory and swap together. PURE.
//!
//! cgroup v1 charges memory and swap together first (`try_charge_memcg`, `mm/memcontrol.c`, 5.10 to 7.3): a container can die
//! with memory well below its own limit, and where both are full it is that of both which failed. With equal limits and nothing
//! in swap either may be meant, and memory's is the one that users set. cgroup v2 limits swap by itself: a charge fails at `memory.max`, and only a full
//! `memory.swap.max` explains why reclaim found no place for anonymous memory.

use super::limit::slack_bytes;
use crate::classify::LimitFinding;
use crate::event::{Level, Limit};
use crate::schema::LimitKind;

/// The limits of the limit owner, and what it used of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapLimit {
    pub kind: LimitKind,
    /// Swap in use, or memory and swap together on cgroup v1.
    pub usage_bytes: u64,
    /// Limit of the same.
    pub limit_bytes: u64,
    /// Memory was at its own limit too.
    pub memory_is_full: bool,
}

impl LimitFinding {
    /// The limit that was hit; `None` if the figures do not tell.
    #[must_use]
    pub fn kind(&self, memory_cgroup_v1: bool) -> Option<LimitKind> {
        let level = self.cgroups.levels.first()?;
        if let Some(full) = swap_limit(level, memory_cgroup_v1) {
            return Some(full.kind);
        }
        let limit = level.limit.and_then(Limit::bytes)?;
        level.at_limit(slack_bytes(limit)).then_some(LimitKind::Memory)
    }

    /// The limit of swap, or of memory and swap together, if it was hit too or alone.
    #[must_use]
    pub fn swap_limit(&self, memory_cgroup_v1: bool) -> Option<SwapLimit> {
        swap_limit(self.cgroups.levels.first()?, memory_cgroup_v1)
    }
}

fn swap_limit(level: &Level, memory_cgroup_v1: bool) -> Option<SwapLimit> {
    let usage_bytes = level.swap_usage_bytes?;
    // A limit of 0 is no swap at all, which is Kubernetes' default and nothing that is used up.
    let limit_bytes = level.swap_limit.and_then(Limit::bytes).filter(|limit| *limit > 0)?;
    let full = usage_bytes.saturating_add(slack_bytes(limit_bytes)) >= limit_bytes;
    let memory = level.limit.and_then(Limit::bytes);
    let memory_is_full = memory.is_some_and(|memory| level.at_limit(slack_bytes(memory)));
    // Without a known usage of memory nothing is concluded from the rest.
    let memory_bytes = level.usage_bytes?;
    let in_swap = usage_bytes > memory_bytes.saturating_add(slack_bytes(limit_bytes));
    let kind = match (memory_cgroup_v1, memory_is_full) {
        (true, false) => LimitKind::MemoryAndSwap,
        (true, true) if in_swap => LimitKind::MemoryAndSwap,
        (false, true) => LimitKind::MemorySwapFull,
        // v1: both are full if they are equal and nothing is swapped. v2: swap by itself kills no process.
        _ => return None,
    };
    full.then_some(SwapLimit { kind, usage_bytes, limit_bytes, memory_is_full })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Usage and limit of memory, and of swap (v1: together), in MiB.
    fn kind(v1: bool, memory: (u64, u64), swap: (u64, u64)) -> Option<LimitKind> {
        let bytes = |mib: u64| if mib == u64::MAX { Limit::Unlimited } else { Limit::Bytes(mib * MIB) };
        let level = Level {
            usage_bytes: Some(memory.0 * MIB),
            limit: Some(bytes(memory.1)),
            swap_usage_bytes: Some(swap.0 * MIB),
            swap_limit: Some(bytes(swap.1)),
            ..Level::default()
        };
        let memory_kind = || {
            let limit = level.limit.and_then(Limit::bytes)?;
            level.at_limit(slack_bytes(limit)).then_some(LimitKind::Memory)
        };
        swap_limit(&level, v1).map(|full| full.kind).or_else(memory_kind)
    }

    #[test]
    fn the_figures_tell_which_limit_was_hit() {
        use LimitKind::{Memory, MemoryAndSwap, MemorySwapFull};
        const MAX: u64 = u64::MAX;
        for (v1, memory, swap, expected) in [
            // 89 MiB of memory and 11 MiB of swap, both limits 100 MiB.
            (true, (89, 100), (100, 100), Some(MemoryAndSwap)),
            (true, (100, 100), (100, 100), Some(Memory)),
            // Memory is full too, but the charge of both comes first.
            (true, (100, 100), (200, 200), Some(MemoryAndSwap)),
            (true, (100, 100), (110, 200), Some(Memory)),
            (true, (100, 100), (100, MAX), Some(Memory)),
            (true, (50, 100), (60, 200), None),
            (false, (64, 64), (32, 32), Some(MemorySwapFull)),
            (false, (64, 64), (3, 32), Some(Memory)),
            (false, (64, 64), (0, 0), Some(Memory)),
            (false, (64, 64), (9, MAX), Some(Memory)),
            (false, (20, 64), (32, 32), None),
        ] {
            assert_eq!(kind(v1, memory, swap), expected, "{v1} {memory:?} {swap:?}");
        }
    }
}
