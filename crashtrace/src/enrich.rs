//! Cases: an incident with its owners and the facts gathered for it, and the facts that are unknown.
//!
//! An owner follows from the cgroup's path, as it was when the kernel decided (`enrich/owners.rs`). It is named only if the path can be
//! trusted: see [`crate::cgroup`] on claims. Each kind of incident has its file (`oom.rs`, `alloc.rs`).

use crate::correlate::Incident;
use crate::event::Unmovable;
use crate::fragmentation::Request;
use crate::gfp::Traits;
use crate::node::Node;
use crate::schema::{Field, Unresolved};
pub use account::{Account, Detail, Entry, Kept, Swap, Untold};
pub use exit::{ExitContext, OomVerdict};
pub use holders::{Held, Memory, Removed};
pub use names::{NameBook, ask_events, name};
pub use owners::{Claims, NoOwner, Owned, Owner, Owners, Party, owner_of};
pub use second_look::{LateHolders, SecondLook, look_again};

pub mod account;
mod alloc;
mod exit;
mod gaps;
pub mod holders;
mod names;
mod oom;
mod owners;
mod second_look;
#[cfg(test)]
mod tests;

pub use gaps::{BLIND_TIER, CLAIMS, DECISION_LOST};

/// An incident with its owners.
#[derive(Clone, Debug)]
pub struct Case {
    pub incident: Incident,
    /// The owner of each level of each lineage.
    pub owners: Owners,
    /// Shared memory and tmpfs charged to the limit owner, read just after the kill.
    pub limit_shmem_bytes: Option<u64>,
    /// The holders of the node's memory, in an OOM that is not a memory cgroup's.
    pub memory: Option<Memory>,
    /// The holders of the limit owner's memory, in the OOM of a memory cgroup that has others in it.
    pub limit_holders: Option<Memory>,
    /// Large holders that a second look just after the kill found beside those of `memory`, where that is incomplete.
    pub holders_late: Option<LateHolders>,
    /// That look, until it is over.
    pub second_look: Option<SecondLook>,
    /// Where the memory of the node, or of the limit owner, was.
    pub account: Option<Account>,
    /// Where the memory of the victim's own memcg was, if that is not the limit owner.
    pub victim_account: Option<Account>,
    /// The allocation, and which memory its flags allow it. Only if the node's memory was short, and only its own flags bound
    /// it to a part of that.
    pub request: Option<Request>,
    /// Traits of the allocation by its flags.
    pub traits: Option<Traits>,
    /// Unmovable memory, read just after the event; only if there may have been enough memory in blocks too small.
    pub unmovable: Option<Unmovable>,
    /// Facts from outside about the end of a container.
    pub exit: Option<ExitContext>,
    pub page_size_bytes: u64,
    /// All memory of the node.
    pub node_memory_bytes: Option<u64>,
    /// The memory controller is on cgroup v1, whose files and limits have other names.
    pub memory_cgroup_v1: bool,
    /// There is no memory controller.
    pub no_memory_controller: bool,
    /// Unknown facts, with their reasons. Those of the verdict are in
    /// [`Verdict::unresolved`](crate::classify::Verdict::unresolved).
    pub unresolved: Vec<Unresolved>,
    /// Known names of the owners.
    pub names: NameBook,
    /// Owners without names, and why.
    pub nameless: Vec<Unresolved>,
}

impl Case {
    /// The owner of the trigger.
    #[must_use]
    pub fn trigger(&self) -> Option<&Party> {
        self.owners.trigger()?.nearest().ok()
    }

    /// The owner of the process whose end this is: its container.
    #[must_use]
    pub fn exited(&self) -> Option<&Party> {
        self.owners.exited()?.nearest().ok()
    }

    /// How many cgroups, holders and entries of accounts it has: most of its memory.
    #[must_use]
    pub fn parts(&self) -> usize {
        let walks = self.memory.iter().chain(&self.limit_holders);
        let accounts = self.account.iter().chain(&self.victim_account);
        // What a second look will find is counted before it is over.
        let looks = self.second_look.is_some() || self.holders_late.is_some();
        self.owners.cgroups()
            + if looks { second_look::MOST } else { 0 }
            + walks
                .map(|memory| memory.holders.len() + memory.rests.len() + memory.large.len())
                .sum::<usize>()
            + accounts.map(|account| account.entries.len()).sum::<usize>()
    }

    /// The owner of the incident's victim at this place in its list.
    #[must_use]
    pub fn victim(&self, place: usize) -> Option<&Party> {
        self.owners.victim(place)?.nearest().ok()
    }
}

/// Facts that a kind of incident adds to its case.
#[derive(Debug, Default)]
struct Found {
    owners: Owners,
    limit_shmem_bytes: Option<u64>,
    memory: Option<Memory>,
    limit_holders: Option<Memory>,
    account: Option<Account>,
    victim_account: Option<Account>,
    request: Option<Request>,
    traits: Option<Traits>,
    unmovable: Option<Unmovable>,
    exit: Option<ExitContext>,
    unresolved: Vec<Unresolved>,
}

/// Finds the owners and further facts of an incident, and lists the gaps of its events.
#[must_use]
pub fn enrich(incident: Incident, node: &mut Node) -> Case {
    let found = match &incident {
        Incident::OomKill(kill) => oom::kill(kill, node),
        Incident::OomNoKill(no_kill) => oom::no_kill(no_kill, node),
        Incident::AllocFailure(failures) => alloc::failure(failures, node),
        Incident::ContainerExit(end) => exit::end(end, node),
    };
    let Found {
        owners,
        limit_shmem_bytes,
        memory,
        limit_holders,
        account,
        victim_account,
        request,
        traits,
        unmovable,
        exit,
        unresolved,
    } = found;
    let mut case = Case {
        incident,
        owners,
        limit_shmem_bytes,
        memory,
        limit_holders,
        holders_late: None,
        second_look: None,
        account,
        victim_account,
        request,
        traits,
        unmovable,
        exit,
        page_size_bytes: node.page_size_bytes,
        node_memory_bytes: node.memory_bytes,
        memory_cgroup_v1: node.root.v1,
        no_memory_controller: node.root.no_controller,
        unresolved,
        names: NameBook::default(),
        nameless: Vec::new(),
    };
    second_look::begin(&mut case, node);
    name(&mut case, node.pods.as_mut());
    case
}

/// The fact, if it was found; if it was not, its reason goes to `unresolved`.
fn take<T>(found: Option<Result<T, String>>, field: Field, unresolved: &mut Vec<Unresolved>) -> Option<T> {
    found?.map_err(|reason| unresolved.push(Unresolved { field, reason })).ok()
}
