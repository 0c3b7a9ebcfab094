//! The limit of memory and swap together (cgroup v1), and that of swap (v2), where it was hit.

use super::Oom;
use crate::classify::oom::SwapLimit;
use crate::event::Limit;
use crate::phrase::{apart, size};
use crate::schema::LimitKind;

const TOGETHER: &str = "memory and swap together (memory.memsw.limit_in_bytes)";

/// What follows "its limit": ` of memory and swap together (…) of 100 MiB`.
pub(super) fn summary(oom: &Oom<'_>) -> Option<String> {
    let SwapLimit { kind, limit_bytes, .. } = oom.swap_limit()?;
    Some(match kind {
        LimitKind::MemoryAndSwap => format!(" of {TOGETHER} of {}", size(limit_bytes)),
        _ => format!(
            " of {}, with its swap used up too (memory.swap.max of {})",
            size(oom.limit()?.bytes()?),
            size(limit_bytes)
        ),
    })
}

pub(super) fn evidence(oom: &Oom<'_>) -> Option<String> {
    let SwapLimit { kind, usage_bytes, limit_bytes, memory_is_full } = oom.swap_limit()?;
    let both = format!(
        "{} of {}{}",
        size(usage_bytes),
        size(limit_bytes),
        apart(usage_bytes, limit_bytes, "that limit")
    );
    let memory =
        if memory_is_full { "though memory was at its own too" } else { "and memory was below its own" };
    Some(match kind {
        LimitKind::MemoryAndSwap => format!(
            "it used {both} of {TOGETHER}, which the kernel charges first: that limit was hit, {memory}"
        ),
        _ => format!("it used {both} of swap (memory.swap.max): there was no more room to swap out to"),
    })
}

/// What to do about the limit of memory and swap together.
pub(super) fn together(oom: &Oom<'_>) -> Option<String> {
    let SwapLimit { limit_bytes, .. } =
        oom.swap_limit().filter(|limit| limit.kind == LimitKind::MemoryAndSwap)?;
    let same = oom.limit()?.cgroups.levels.first()?.limit == Some(Limit::Bytes(limit_bytes));
    let same = if same { ", the same as the memory limit, so that swapping gains no room" } else { "" };
    Some(format!(
        "The limit that was hit is that of memory and swap together: {}{same}. Raise memory.memsw.limit_in_bytes with the \
         memory limit (`docker update --memory-swap` with --memory).",
        size(limit_bytes)
    ))
}

/// What to think of swap that is full too.
pub(super) fn used_up(oom: &Oom<'_>) -> Option<String> {
    let SwapLimit { limit_bytes, .. } =
        oom.swap_limit().filter(|limit| limit.kind == LimitKind::MemorySwapFull)?;
    Some(format!(
        "Its swap is used up too ({}): a larger memory.swap.max only delays the next kill, unless what is swapped out is not \
         in use.",
        size(limit_bytes)
    ))
}

#[cfg(test)]
mod tests {
    use crate::cgroup::NodeRoot;
    use crate::classify::tests::build::{CHARGE, MIB, Told, an_incident, kill, lineage, told};
    use crate::enrich::enrich;
    use crate::event::Limit;
    use crate::node::Node;
    use crate::schema::Level;

    const CONTAINER: &str = "/docker/a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3";

    /// A kill in a container with this usage and limit of memory, and of swap (v1: of both together), in MiB.
    fn killed(v1: bool, memory: (u64, u64), swap: (u64, u64)) -> Told {
        let mut cgroups = lineage(CONTAINER).with(CONTAINER, memory.0 * MIB, memory.1 * MIB);
        let level = cgroups.level_mut(CONTAINER);
        (level.swap_usage_bytes, level.swap_limit) = (Some(swap.0 * MIB), Some(Limit::Bytes(swap.1 * MIB)));
        let limit = cgroups.from(CONTAINER);
        let root = NodeRoot { v1, ..NodeRoot::default() };
        let mut node = Node { root, ..Node::unseen("a test") };
        told(&enrich(an_incident(kill(&cgroups, Some(limit), &CHARGE)), &mut node))
    }

    #[test]
    fn v1s_limit_of_memory_and_swap_is_named_where_it_was_hit() {
        let told = killed(true, (89, 100), (100, 100));
        assert_eq!(told.level, Some(Level::Container));
        let named = "hit its own limit of memory and swap together (memory.memsw.limit_in_bytes) of 100 MiB;";
        assert!(told.summary.contains(named), "{}", told.summary);
        assert!(told.shows(&["used 89 MiB of its limit of 100 MiB"]), "{told:?}");
        assert!(
            told.shows(&["used 100 MiB of 100 MiB of memory and swap together", "memory was below its own"])
        );
        assert!(
            told.remedy.starts_with(
                "The limit that was hit is that of memory and swap together: 100 MiB, the same as"
            )
        );
        let told = killed(true, (100, 100), (200, 200));
        assert!(told.summary.contains("(memory.memsw.limit_in_bytes) of 200 MiB;"), "{}", told.summary);
        assert!(told.shows(&["that limit was hit, though memory was at its own too"]), "{told:?}");
        assert!(!told.shows(&["below its own"]) && !told.remedy.contains("the same as"), "{told:?}");
        for other in [killed(true, (100, 100), (100, 200)), killed(false, (100, 100), (0, 0))] {
            assert!(other.summary.contains("hit its own limit of 100 MiB;"), "{}", other.summary);
            assert!(!other.shows(&["swap together"]) && !other.remedy.contains("swap together"), "{other:?}");
        }
    }

    #[test]
    fn v2s_full_swap_is_said_beside_the_memory_limit() {
        let told = killed(false, (64, 64), (32, 32));
        let named = "hit its own limit of 64 MiB, with its swap used up too (memory.swap.max of 32 MiB);";
        assert!(told.summary.contains(named), "{}", told.summary);
        assert!(told.shows(&["used 32 MiB of 32 MiB of swap (memory.swap.max)"]), "{told:?}");
        assert!(told.remedy.contains("Its swap is used up too (32 MiB)"), "{}", told.remedy);
    }
}
