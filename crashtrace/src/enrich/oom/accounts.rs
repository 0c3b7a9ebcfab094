//! The accounts of an OOM: of the node, or of the limit owner and the victim's own memcg.

use super::super::account::{Account, memcg, node};
use super::super::holders::{Memory, swap_bytes};
use crate::correlate::OomKill;
use crate::event::{Lineage, MemcgMemory, OomNoVictim};
use crate::fragmentation::Request;
use crate::node::Node;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Of the node, or of the limit owner.
    pub(super) scope: Option<Account>,
    /// Of the victim's own memcg, if that is another.
    pub(super) victim: Option<Account>,
}

pub(super) fn of_kill(
    kill: &OomKill,
    holders: Option<&Memory>,
    request: Option<&Request>,
    node: &mut Node,
) -> Accounts {
    let decision = kill.decision.as_deref();
    let limit_memory = decision.and_then(|decision| decision.limit_memory.as_deref());
    let limit = decision.and_then(|decision| decision.limit_cgroups.as_ref());
    let of_limit = limit_memory.and_then(|memory| of_memcg(memory, limit, node));
    let victim_memory = decision.and_then(|decision| decision.victim_memory.as_deref());
    let own = decision.and_then(|decision| decision.victim_cgroups.as_ref());
    let mut scope = of_limit.or_else(|| of_node(kill, holders, request, node));
    if let Some(account) = &mut scope {
        account.held_by_killed_bytes = held_by_killed(kill);
    }
    Accounts { scope, victim: victim_memory.and_then(|memory| of_memcg(memory, own, node)) }
}

pub(super) fn of_no_kill(event: &OomNoVictim, node: &mut Node) -> Accounts {
    let memory = event.limit_memory.as_deref();
    let scope = memory.and_then(|memory| of_memcg(memory, event.limit_cgroups.as_ref(), node));
    Accounts { scope, victim: None }
}

fn of_node(
    kill: &OomKill,
    holders: Option<&Memory>,
    request: Option<&Request>,
    node: &mut Node,
) -> Option<Account> {
    let (memory, zones) = (kill.node_memory.as_deref()?, kill.zones.as_deref()?);
    let scope = node::Scope { memory, zones, holders, request, page_size_bytes: node.page_size_bytes };
    Some(node::node(&scope))
}

/// Nothing is known of a memcg without its usage.
fn of_memcg(memory: &MemcgMemory, cgroups: Option<&Lineage>, node: &mut Node) -> Option<Account> {
    let level = cgroups.filter(|cgroups| cgroups.skipped == 0 && !cgroups.unified)?.levels.first();
    let level = level.filter(|level| memory.cgroup_id.is_none() || level.cgroup_id == memory.cgroup_id);
    let usage_bytes = memory.usage_bytes.or(level.and_then(|level| level.usage_bytes))?;
    let scope = memcg::Scope {
        memory,
        usage_bytes,
        swap_bytes: level.and_then(|level| swap_bytes(level, node.root.v1)),
        v1: node.root.v1,
    };
    Some(memcg::memcg(&scope))
}

/// Memory of the killed processes as `oom_badness` (`mm/oom_kill.c`, 5.10 to 7.3) counts it; `None` if none was read, or some were only
/// counted.
fn held_by_killed(kill: &OomKill) -> Option<u64> {
    if kill.unlisted > 0 {
        return None;
    }
    let sizes = kill.victims.iter().filter_map(|victim| {
        let rss = victim.task.rss?;
        let page_tables = victim.task.page_table_bytes.unwrap_or(0);
        Some(rss.resident_bytes().saturating_add(rss.swap_bytes).saturating_add(page_tables))
    });
    sizes.reduce(u64::saturating_add)
}
