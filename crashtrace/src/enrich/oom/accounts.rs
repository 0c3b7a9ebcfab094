//! The accounts of an OOM: of the node, or of the limit owner and the victim's own memcg.

use std::collections::BTreeMap;

use super::super::account::{Account, Untold, memcg, node};
use super::super::holders::{Memory, swap_bytes};
use super::late;
use crate::correlate::OomKill;
use crate::enrich::gaps::BLIND_TIER;
use crate::event::{Lineage, Lru, MemcgMemory, MemcgStats, OomNoVictim};
use crate::fragmentation::Request;
use crate::node::Node;
use crate::phrase;
use crate::schema::{Field, MemoryField, Unresolved};

const NO_MEMCG: &str = "the record has no statistics of the cgroup's memory";
const NO_NODE: &str = "the record has no statistics of the node's memory";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    /// Of the node, or of the limit owner.
    pub(super) scope: Option<Account>,
    /// Of the victim's own memcg, if that is another.
    pub(super) victim: Option<Account>,
    pub(super) gaps: Vec<Unresolved>,
}

pub(super) fn of_kill(
    kill: &OomKill,
    holders: Option<&Memory>,
    request: Option<&Request>,
    node: &mut Node,
) -> Accounts {
    let Some(decision) = kill.decision.as_deref() else { return Accounts::default() };
    let mut found = Accounts::default();
    let (limit, own) = (decision.limit_memory.as_deref(), decision.victim_memory.as_deref());
    let own_list = own.and_then(|memory| memory.lru);
    let lists: Vec<Lru> = limit.and_then(|memory| memory.lru).into_iter().chain(own_list).collect();
    if let Some(memory) = limit {
        let field = MemoryField::AccountEntries;
        found.scope = found.of_memcg(field, memory, &lists, decision.limit_cgroups.as_ref(), node);
    }
    if found.scope.is_none() {
        found.scope = found.of_node(kill, holders, request, node);
    }
    if let Some(memory) = own {
        let field = MemoryField::VictimAccountEntries;
        let lists: Vec<Lru> = own_list.into_iter().collect();
        found.victim = found.of_memcg(field, memory, &lists, decision.victim_cgroups.as_ref(), node);
    }
    if let Some(account) = &mut found.scope {
        account.held_by_killed_bytes = held_by_killed(kill);
    }
    let missing = match decision.control {
        Some(control) if control.memcg => Some(NO_MEMCG),
        // Without zones too all of it is missing, which is said once.
        _ if kill.zones.is_none() => None,
        Some(_) => Some(NO_NODE),
        None => Some(BLIND_TIER),
    };
    found.explain(missing);
    found
}

pub(super) fn of_no_kill(event: &OomNoVictim, node: &mut Node) -> Accounts {
    let mut found = Accounts::default();
    if let Some(memory) = event.limit_memory.as_deref() {
        let (field, lists) = (MemoryField::AccountEntries, Vec::from_iter(memory.lru));
        found.scope = found.of_memcg(field, memory, &lists, event.limit_cgroups.as_ref(), node);
    }
    found.explain(event.memcg.then_some(NO_MEMCG));
    found
}

impl Accounts {
    /// Names what has no account or no entry; `missing` is the reason if the scope has none.
    fn explain(&mut self, missing: Option<&'static str>) {
        match (&self.scope, missing) {
            (Some(account), _) => self.gaps.extend(untold(MemoryField::AccountEntries, account)),
            (None, Some(reason)) => {
                self.gaps.push(Unresolved::new(Field::Memory(MemoryField::Account), reason));
            }
            (None, None) => {}
        }
        let of_victim =
            self.victim.as_ref().map(|account| untold(MemoryField::VictimAccountEntries, account));
        self.gaps.extend(of_victim.into_iter().flatten());
    }

    fn of_node(
        &mut self,
        kill: &OomKill,
        holders: Option<&Memory>,
        request: Option<&Request>,
        node: &mut Node,
    ) -> Option<Account> {
        let (memory, zones) = (kill.node_memory.as_deref()?, kill.zones.as_deref()?);
        let mut memory = memory.clone();
        let late = late::fill_node(&mut memory, node);
        let scope =
            node::Scope { memory: &memory, zones, holders, request, page_size_bytes: node.page_size_bytes };
        let mut account = Account { late, ..node::node(&scope) };
        self.gaps.extend(late::swap_devices(&mut account, node));
        if memory.incomplete {
            let field = Field::Memory(MemoryField::AccountEntries);
            self.gaps.push(Unresolved::new(
                field,
                "the node has more zones than a record holds: the sums are too small",
            ));
        }
        Some(account)
    }

    /// Nothing is known of a memcg without its usage. `lists` are of it and of the known cgroups in it.
    fn of_memcg(
        &mut self,
        field: MemoryField,
        memory: &MemcgMemory,
        lists: &[Lru],
        cgroups: Option<&Lineage>,
        node: &mut Node,
    ) -> Option<Account> {
        let cgroups = cgroups.filter(|cgroups| cgroups.skipped == 0 && !cgroups.unified);
        let level = cgroups.and_then(|cgroups| cgroups.levels.first());
        let level = level.filter(|level| memory.cgroup_id.is_none() || level.cgroup_id == memory.cgroup_id);
        let usage_bytes = memory.usage_bytes.or(level.and_then(|level| level.usage_bytes))?;
        let mut memory = *memory;
        let mut late = false;
        let unread = memory.stats == MemcgStats::default();
        if unread && cgroups.is_none() {
            // Its file cannot be found by a path that is not whole.
            memory.stats = late::of_lists(lists);
        }
        if let Some(cgroups) = cgroups.filter(|_| unread) {
            let result;
            (memory, result) = late::of_memcg(&memory, lists, cgroups, node);
            late = result.is_ok();
            self.gaps.extend(result.err().map(|reason| Unresolved { field: Field::Memory(field), reason }));
        }
        memory.stats = late::brought_up(&memory.stats, lists, usage_bytes);
        let scope = memcg::Scope {
            memory: &memory,
            usage_bytes,
            swap_bytes: level.and_then(|level| swap_bytes(level, node.root.v1)),
            v1: node.root.v1,
        };
        Some(Account { late, ..memcg::memcg(&scope) })
    }
}

/// Kinds without an entry, together for each reason.
fn untold(field: MemoryField, account: &Account) -> Vec<Unresolved> {
    let mut by_reason: BTreeMap<Untold, Vec<&str>> = BTreeMap::new();
    for (kind, why) in &account.untold {
        by_reason.entry(*why).or_default().push(phrase::account_kind(*kind));
    }
    let gaps = by_reason.into_iter().map(|(why, kinds)| {
        let reason =
            format!("in unaccounted_bytes, as far as there is any: {} ({})", kinds.join(", "), why.reason());
        Unresolved::new(Field::Memory(field), reason)
    });
    gaps.collect()
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
