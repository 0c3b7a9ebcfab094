//! An OOM in the form that rules and sentences use, with a kill or without.

use crate::classify::zones::{Sight, sight};
use crate::correlate::{OomKill, OomNoKill, same_process};
use crate::enrich::{Account, Case, LateHolders, Memory, Owned, Party};
use crate::event::{Constraint, Hook, Lineage, Name, NoKill, OomControl, OomVictim, Stack, Task, Unmovable};

/// A view of a case.
pub struct Scene<'a> {
    /// The incident was a kill.
    pub kill: Option<&'a OomKill>,
    /// The incident had no victim.
    pub no_kill: Option<&'a OomNoKill>,
    /// The allocation or charge; `None` if it was not found.
    pub request: Option<Request>,
    /// The kernel's `oom_control`.
    pub control: Option<&'a OomControl>,
    pub stack: Option<&'a Stack>,
    pub message: Option<&'a Name>,
    pub limit_cgroups: Option<&'a Lineage>,
    /// Their owners.
    pub limit: Option<Owned<'a>>,
    /// Shared memory of that cgroup.
    pub limit_shmem_bytes: Option<u64>,
    /// The holders of the node's memory.
    pub memory: Option<&'a Memory>,
    /// Those that a second look found beside them.
    pub holders_late: Option<&'a LateHolders>,
    /// Where the memory of the node, or of the limit owner, was.
    pub account: Option<&'a Account>,
    /// The holders of the limit owner's memory.
    pub limit_holders: Option<&'a Memory>,
    /// The zones, with their assessment for the allocation.
    pub sight: Option<Sight<'a>>,
    /// Unmovable memory.
    pub unmovable: Option<&'a Unmovable>,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// All memory of the node.
    pub node_memory_bytes: Option<u64>,
    /// The memory controller is on cgroup v1.
    pub memory_cgroup_v1: bool,
    /// The node has no memory controller.
    pub no_memory_controller: bool,
    pub trigger: Option<Actor<'a>>,
    /// The process that was killed first; without a kill, the process that the kernel had chosen.
    pub victim: Option<Actor<'a>>,
}

/// A process with its place.
#[derive(Clone)]
pub struct Actor<'a> {
    pub task: &'a Task,
    pub cgroups: Option<&'a Lineage>,
    /// The owners of these.
    pub owned: Option<Owned<'a>>,
}

impl<'a> Actor<'a> {
    /// The owner of the process.
    #[must_use]
    pub fn party(&self) -> Option<&'a Party> {
        self.owned?.nearest().ok()
    }
}

/// The allocation or charge behind an OOM.
#[derive(Clone, Copy)]
pub struct Request {
    pub memcg: bool,
    /// `None` for sysrq.
    pub order: Option<u32>,
    pub gfp: u32,
    /// `None`: not read.
    pub zonelist: Option<bool>,
    pub constraint: Option<Constraint>,
}

impl<'a> Scene<'a> {
    #[must_use]
    pub fn of_kill(case: &'a Case, kill: &'a OomKill) -> Self {
        let decision = kill.decision.as_deref();
        let control = decision.and_then(|decision| decision.control.as_ref());
        // Usage is compared with the limit's: so both are of the same moment, if the decision has them.
        let at_decision = |task: &Task| {
            let decision = decision.filter(|decision| {
                decision.victim.as_ref().is_some_and(|chosen| same_process(task, chosen))
            })?;
            decision.victim_cgroups.as_ref()
        };
        let first = kill.victims.first().map(|victim| match at_decision(&victim.task) {
            Some(cgroups) => {
                Actor { task: &victim.task, cgroups: Some(cgroups), owned: case.owners.chosen() }
            }
            None => {
                Actor { task: &victim.task, cgroups: victim.cgroups.as_ref(), owned: case.owners.victim(0) }
            }
        });
        let chosen = || {
            let decision = decision?;
            Some(Actor {
                task: decision.victim.as_ref()?,
                cgroups: decision.victim_cgroups.as_ref(),
                owned: case.owners.chosen(),
            })
        };
        Self {
            kill: Some(kill),
            no_kill: None,
            request: control.map(|control| Request {
                memcg: control.memcg || control.constraint == Constraint::Memcg,
                order: control.order,
                gfp: control.gfp,
                zonelist: Some(control.zonelist),
                constraint: Some(control.constraint),
            }),
            control,
            stack: decision.and_then(|decision| decision.stack.as_ref()),
            message: decision.and_then(|decision| decision.message.as_ref()),
            limit_cgroups: decision.and_then(|decision| decision.limit_cgroups.as_ref()),
            limit: case.owners.limit(),
            limit_shmem_bytes: case.limit_shmem_bytes,
            memory: case.memory.as_ref(),
            account: case.account.as_ref(),
            limit_holders: case.limit_holders.as_ref(),
            holders_late: case.holders_late.as_ref(),
            sight: sight(case, kill.zones.as_deref()),
            unmovable: case.unmovable.as_ref(),
            page_size_bytes: case.page_size_bytes,
            node_memory_bytes: case.node_memory_bytes,
            memory_cgroup_v1: case.memory_cgroup_v1,
            no_memory_controller: case.no_memory_controller,
            trigger: decision.map(|decision| Actor {
                task: &decision.trigger,
                cgroups: decision.trigger_cgroups.as_ref(),
                owned: case.owners.trigger(),
            }),
            victim: first.or_else(chosen),
        }
    }

    #[must_use]
    pub fn of_no_kill(case: &'a Case, none: &'a OomNoKill) -> Self {
        let event = none.event.as_ref();
        Self {
            kill: None,
            no_kill: Some(none),
            request: Some(Request {
                memcg: event.memcg,
                order: event.order,
                gfp: event.gfp.unwrap_or_default(),
                zonelist: None,
                constraint: None,
            }),
            control: None,
            stack: event.stack.as_ref(),
            message: None,
            limit_cgroups: event.limit_cgroups.as_ref(),
            limit: case.owners.limit(),
            limit_shmem_bytes: case.limit_shmem_bytes,
            memory: None,
            account: case.account.as_ref(),
            limit_holders: case.limit_holders.as_ref(),
            holders_late: case.holders_late.as_ref(),
            sight: None,
            unmovable: None,
            page_size_bytes: case.page_size_bytes,
            node_memory_bytes: case.node_memory_bytes,
            memory_cgroup_v1: case.memory_cgroup_v1,
            no_memory_controller: case.no_memory_controller,
            trigger: Some(Actor {
                task: &event.trigger,
                cgroups: event.trigger_cgroups.as_ref(),
                owned: case.owners.trigger(),
            }),
            victim: None,
        }
    }

    /// The owner of the process that hit a limit, if it is in the limit owner: a victim always is, but a process that lowers a
    /// limit need not be.
    #[must_use]
    pub fn actor_in(&self, limit: &Party) -> Option<&'a Party> {
        let party = self.victim.as_ref().or(self.trigger.as_ref())?.party()?;
        party.is_within(limit).then_some(party)
    }

    /// The kernel put the task to sleep instead of killing.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.no_kill.is_some_and(|none| none.event.why == NoKill::SwitchedOff)
    }

    /// The processes that were killed.
    #[must_use]
    pub fn victims(&self) -> &'a [OomVictim] {
        self.kill.map_or(&[], |kill| &kill.victims)
    }

    /// The victim may have been exiting already: only its mark was seen, and its stack does not have `__oom_kill_process`,
    /// which sends the signal. A process that is exiting is marked without it, but a compiler may also have inlined it, so it
    /// is no more than a doubt.
    #[must_use]
    pub fn kill_in_doubt(&self) -> bool {
        let out_of_memory = self.on_stack(&["out_of_memory"]).is_some();
        self.kill.is_some()
            && self.at_mark()
            && out_of_memory
            && self.on_stack(&["__oom_kill_process"]).is_none()
    }

    /// Whether the facts about the decision were gathered at a mark, and not by a probe on it.
    fn at_mark(&self) -> bool {
        let decision = self.kill.and_then(|kill| kill.decision.as_deref());
        decision.is_none_or(|decision| decision.stamp.hook == Hook::RawTracepoint)
    }

    /// The first of these functions that is on the stack.
    #[must_use]
    pub fn on_stack(&self, functions: &[&'static str]) -> Option<&'static str> {
        let stack = self.stack?;
        functions.iter().find(|function| stack.has(function)).copied()
    }
}
