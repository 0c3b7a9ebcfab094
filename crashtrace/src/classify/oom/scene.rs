//! An OOM as rules and sentences need it, whether it ended in a kill or not.

use crate::classify::zones::{Sight, sight};
use crate::correlate::{OomKill, OomNoKill, same_process};
use crate::enrich::{Case, Memory, Owned, Party};
use crate::event::{Constraint, Hook, Lineage, Name, NoKill, OomControl, OomVictim, Stack, Task, Unmovable};

/// A view of a case.
pub struct Scene<'a> {
    /// The incident was a kill.
    pub kill: Option<&'a OomKill>,
    /// The incident killed nobody.
    pub no_kill: Option<&'a OomNoKill>,
    /// What the kernel was asked for; `None` where that was not found.
    pub request: Option<Request>,
    /// The kernel's `oom_control`.
    pub control: Option<&'a OomControl>,
    pub stack: Option<&'a Stack>,
    pub message: Option<&'a Name>,
    pub limit_cgroups: Option<&'a Lineage>,
    /// Their owners.
    pub limit: Option<&'a Owned>,
    /// Shared memory of that cgroup.
    pub limit_shmem_bytes: Option<u64>,
    /// Who held the node's memory.
    pub memory: Option<&'a Memory>,
    /// What the zones say about the request.
    pub sight: Option<Sight<'a>>,
    /// What cannot be moved.
    pub unmovable: Option<&'a Unmovable>,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// All memory of the node.
    pub node_memory_bytes: Option<u64>,
    pub trigger: Option<Actor<'a>>,
    /// The process that was killed first; where none was, the one that the kernel had chosen.
    pub victim: Option<Actor<'a>>,
}

/// A process with its place.
#[derive(Clone)]
pub struct Actor<'a> {
    pub task: &'a Task,
    pub cgroups: Option<&'a Lineage>,
    /// The owners of these.
    pub owned: Option<&'a Owned>,
}

impl<'a> Actor<'a> {
    /// The owner of the process.
    #[must_use]
    pub fn party(&self) -> Option<&'a Party> {
        self.owned?.nearest().ok()
    }
}

/// What the kernel was asked for.
#[derive(Clone, Copy)]
pub struct Request {
    pub memcg: bool,
    /// `None` for sysrq.
    pub order: Option<u32>,
    pub gfp: u32,
    /// Where not read: unknown.
    pub zonelist: Option<bool>,
    pub constraint: Option<Constraint>,
}

impl<'a> Scene<'a> {
    #[must_use]
    pub fn of_kill(case: &'a Case, kill: &'a OomKill) -> Self {
        let decision = kill.decision.as_deref();
        let control = decision.and_then(|decision| decision.control.as_ref());
        // Usage is compared with the limit's: so both of the same moment, where the decision has it.
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
            sight: sight(case, kill.zones.as_deref()),
            unmovable: case.unmovable.as_ref(),
            page_size_bytes: case.page_size_bytes,
            node_memory_bytes: case.node_memory_bytes,
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
            sight: None,
            unmovable: None,
            page_size_bytes: case.page_size_bytes,
            node_memory_bytes: case.node_memory_bytes,
            trigger: Some(Actor {
                task: &event.trigger,
                cgroups: event.trigger_cgroups.as_ref(),
                owned: case.owners.trigger(),
            }),
            victim: None,
        }
    }

    /// The owner of the process that hit a limit, if it is in the cgroup that has the limit: a victim always is, but who
    /// lowers a limit need not be.
    #[must_use]
    pub fn actor_in(&self, limit: &Party) -> Option<&'a Party> {
        let party = self.victim.as_ref().or(self.trigger.as_ref())?.party()?;
        party.is_within(limit).then_some(party)
    }

    /// The kernel put the task to sleep in place of killing.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.no_kill.is_some_and(|none| none.event.why == NoKill::SwitchedOff)
    }

    /// The processes that were killed.
    #[must_use]
    pub fn victims(&self) -> &'a [OomVictim] {
        self.kill.map_or(&[], |kill| &kill.victims)
    }

    /// The victim may have been ending already: its mark was seen alone, and the way there does not lead through
    /// `__oom_kill_process`, which sends the signal. A process that is ending is marked without it, but a compiler
    /// may also have inlined it, so it is no more than a doubt.
    #[must_use]
    pub fn kill_in_doubt(&self) -> bool {
        let out_of_memory = self.on_stack(&["out_of_memory"]).is_some();
        self.kill.is_some()
            && self.at_mark()
            && out_of_memory
            && self.on_stack(&["__oom_kill_process"]).is_none()
    }

    /// Whether what is known of the decision was gathered at a mark, and not by a probe on it.
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
