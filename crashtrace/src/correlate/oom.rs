//! OOM decisions with their victims, and OOMs without a victim.
//!
//! `oom_lock` lets the kernel carry out one OOM decision at a time, so at most one is open here. It closes on its end record.
//! In the raw-tracepoint tier there is no end: a decision whose victim has no `memory.oom.group` among its cgroups has one
//! victim and closes with it; any other closes when the next one begins, or [`QUIET_NS`] after its last victim, and then it is
//! unknown whether that was the last. An incident is complete only if none of its records can have been lost: a lost victim
//! must not look like one that never existed. An incident is also incomplete if it had begun before the hooks were switched on,
//! or was not over when they were switched off.
//!
//! OOMs without a kill fold by the limit owner: the first goes out at once, the rest as one a second, with a count.

use std::collections::BTreeMap;

use super::exit::Victims;
use super::{FOLD_NS, Incident, KillId};
use crate::cgroup::NodeRoot;
use crate::event::{
    Hook, LimitMemory, Name, NoKill, NodeMemory, OomDecision, OomHolders, OomNoVictim, OomVictim, Stamp,
    Zones,
};
use crate::stats::{Counter, Stats};

pub(super) mod limit_write;
mod open;
mod victims;

use limit_write::{Written, met};
use open::Open;
pub(super) use victims::complete_victim;
pub use victims::{complete_victims, same_process};

/// How long a decision without an end waits for its next victim. The kernel logs a line of some 150 bytes after each,
/// which takes a serial console of 115,200 baud 13 ms and one of 9,600 baud 160 ms: a shorter wait tears group kills
/// apart.
pub(super) const QUIET_NS: u64 = 250_000_000;
/// How long a decision with an end waits for it after a victim, when records have been lost: the end may be among them.
pub(super) const LOST_END_NS: u64 = 1_000_000_000;
/// How long it waits for its first victim, and then for the next or for its end. In between the kernel logs the state of memory
/// and every task (`dump_header`), or waits for other messages to leave: a node with thousands of tasks and a serial console
/// takes many seconds for that.
pub(super) const CONSOLE_NS: u64 = 60_000_000_000;
/// How long a decision that was given up is remembered: later records make another revision of its incident.
pub(super) const LATE_NS: u64 = 60_000_000_000;
/// Limits that are remembered for folding; above that the one without events for the longest time is forgotten.
pub(super) const FOLDS: usize = 256;

/// Victims of one incident whose facts are stored: in a cgroup whose processes die together, the tenant decides how many there
/// are.
pub(super) const VICTIMS: usize = 512;

/// A decision and all its victims.
#[derive(Clone, Debug, PartialEq)]
pub struct OomKill {
    /// Names the incident: the decision's time and CPU, or its first victim's if the decision was lost. So victims that come
    /// after their decision was given up do not take the name of the incident that was reported then.
    pub ktime_ns: u64,
    /// See `ktime_ns`.
    pub cpu: u32,
    /// The decision; `None` if its record was lost.
    pub decision: Option<Box<OomDecision>>,
    /// Every process that was marked, each once, in the order of the marks. Empty if the chosen process was gone before it
    /// could be marked.
    pub victims: Vec<OomVictim>,
    /// How many more processes were killed than `victims` has: it has the largest of very many.
    pub unlisted: u64,
    /// The holders of the node's memory; `None` for a memory cgroup's OOM, and if they could not be gathered.
    pub holders: Option<Box<OomHolders>>,
    /// The zones at the decision; the same.
    pub zones: Option<Box<Zones>>,
    /// The memory of the node at the decision; the same.
    pub node_memory: Option<Box<NodeMemory>>,
    /// 1; higher if the incident went out before, and more records came late.
    pub revision: u32,
    /// Seen from its decision to its end, or known to be over, with no record lost.
    pub complete: bool,
    /// It was given up before its end was seen, and later records make another revision.
    pub may_grow: bool,
    /// Further kills that this incident counts.
    pub folded: Option<Box<Folded>>,
}

impl OomKill {
    /// What names the incident.
    #[must_use]
    pub fn id(&self) -> KillId {
        (self.ktime_ns, self.cpu)
    }

    /// A kill with a decision and nothing else.
    pub(super) fn begun(ktime_ns: u64, cpu: u32, decision: Option<Box<OomDecision>>) -> Self {
        Self {
            ktime_ns,
            cpu,
            decision,
            victims: Vec::new(),
            unlisted: 0,
            holders: None,
            zones: None,
            node_memory: None,
            revision: 1,
            complete: false,
            may_grow: false,
            folded: None,
        }
    }

    /// Processes that were killed, without those of folded kills.
    #[must_use]
    pub fn killed(&self) -> u64 {
        self.unlisted.saturating_add(self.victims.len() as u64)
    }
}

/// Kills that an incident counts beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// How many.
    pub kills: u64,
    /// Processes that were killed by them.
    pub victims_total: u64,
    /// Of these, how many were exiting already: the kernel only gave them access to its reserves.
    pub exiting: u64,
    /// Their resident memory, as far as it could be read.
    pub resident_bytes: u64,
    /// How many of them had unreadable memory.
    pub unread: u64,
    /// How many of the kills may have more victims: their end was not seen.
    pub incomplete: u64,
    /// Time of the last.
    pub until_ns: u64,
    /// The processes in the order of their deaths, as many as are stored.
    pub victims: Vec<FoldedVictim>,
}

/// One of these processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedVictim {
    /// When it was marked.
    pub ktime_ns: u64,
    /// Process id.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<Name>,
    /// The end of its cgroup's path, if that is not the cgroup of the incident's own first victim.
    pub cgroup: Option<Vec<u8>>,
}

/// An OOM without a kill, with its repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct OomNoKill {
    /// The first of them since the last line.
    pub event: Box<OomNoVictim>,
    /// How many more OOMs this incident counts.
    pub repeats: u64,
}

/// Collects the events of OOM decisions.
#[derive(Debug, Default)]
pub(super) struct Ooms {
    open: Option<Open>,
    /// Recent victims, which ends of containers are looked up in.
    pub(super) victims: Victims,
    pub(super) folds: BTreeMap<(NoKill, Option<u64>), Fold>,
    /// The latest kill for a limit that was lowered.
    written: Option<Written>,
    /// A decision that was given up before its end was known.
    given_up: Option<Open>,
    /// Time of the latest mark of a task that was dying already.
    dying_ns: Option<u64>,
    /// Stacks have `oom_kill_process` if it leads to a mark.
    pub(super) kills_show: bool,
    /// A hook is attached to the decision: a decision that was gathered at a mark had begun before the hooks were switched on,
    /// or its hook did not run.
    decisions_hooked: bool,
}

#[derive(Debug)]
pub(super) struct Fold {
    sent_ns: u64,
    waiting: Option<OomNoKill>,
}

impl Ooms {
    pub(super) fn new(decisions_hooked: bool, root: NodeRoot) -> Self {
        Self { decisions_hooked, victims: Victims::of(root), ..Self::default() }
    }

    /// Until when the next record of the open decision is waited for.
    pub(super) fn deciding_until_ns(&self) -> Option<u64> {
        self.open.as_ref().map(Open::deadline_ns)
    }

    /// The kill whose decision is open.
    pub(super) fn open_kill(&self) -> Option<KillId> {
        self.open.as_ref().map(|open| open.kill.id())
    }

    pub(super) fn decision(&mut self, decision: Box<OomDecision>, stats: &mut Stats) -> Option<Incident> {
        if self.marks_the_dying(&decision) {
            stats.add(Counter::MarkedAlreadyDying, 1);
            self.dying_ns = Some(decision.stamp.ktime_ns);
            return None;
        }
        let done = self.close_before_next();
        let half_seen = self.decisions_hooked && decision.stamp.hook == Hook::RawTracepoint;
        let open = Open::new(decision);
        self.open = Some(Open { torn: half_seen, ..open });
        done
    }

    pub(super) fn decision_end(&mut self, stamp: Stamp, stats: &mut Stats) -> Option<Incident> {
        self.resume(stamp.decision_ns, stamp.ktime_ns);
        if self.open.as_ref().is_some_and(|open| Some(open.decision_ns) == stamp.decision_ns) {
            return self.close(true);
        }
        stats.add(Counter::EndsWithoutDecision, 1);
        None
    }

    pub(super) fn holders(&mut self, holders: Box<OomHolders>, stats: &mut Stats) {
        match self.kill_of(&holders.stamp) {
            Some(kill) => kill.holders = Some(holders),
            None => stats.add(Counter::HoldersWithoutDecision, 1),
        }
    }

    pub(super) fn zones(
        &mut self,
        stamp: Stamp,
        zones: Box<Zones>,
        node_memory: Option<Box<NodeMemory>>,
        stats: &mut Stats,
    ) {
        match self.kill_of(&stamp) {
            Some(kill) => {
                kill.zones = Some(zones);
                kill.node_memory = node_memory;
            }
            None => stats.add(Counter::HoldersWithoutDecision, 1),
        }
    }

    pub(super) fn memory(&mut self, stamp: &Stamp, memory: LimitMemory, stats: &mut Stats) {
        match self.kill_of(stamp).and_then(|kill| kill.decision.as_mut()) {
            Some(decision) => {
                decision.limit_memory = memory.limit;
                decision.victim_memory = memory.victim;
            }
            None => stats.add(Counter::HoldersWithoutDecision, 1),
        }
    }

    pub(super) fn no_victim(&mut self, event: Box<OomNoVictim>, stats: &mut Stats) -> Vec<Incident> {
        if met(&event, self.written) {
            stats.add(Counter::LimitWritesMet, 1);
            return Vec::new();
        }
        self.fold(event)
    }

    /// The open kill, if `stamp` belongs to it.
    fn kill_of(&mut self, stamp: &Stamp) -> Option<&mut OomKill> {
        let open = self.open.as_mut().filter(|open| Some(open.decision_ns) == stamp.decision_ns)?;
        Some(&mut open.kill)
    }

    /// Notes that records were lost: an open incident may lack one.
    pub(super) fn gap(&mut self) {
        if let Some(open) = &mut self.open {
            open.torn = true;
        }
    }

    /// Advances the time; gives the incidents that are due.
    pub(super) fn tick(&mut self, now_ns: u64) -> Vec<Incident> {
        let mut done = Vec::new();
        if self.open.as_ref().is_some_and(|open| now_ns >= open.deadline_ns()) {
            // If it has an end record, that was lost; if it has one victim, that was lost; and a group may have had more.
            self.given_up = self.open.clone().map(|open| Open { latest_ns: now_ns, ..open });
            let mut given_up = self.close(false);
            if let Some(Incident::OomKill(kill)) = &mut given_up {
                kill.may_grow = true;
            }
            done.extend(given_up);
        }
        if self.given_up.as_ref().is_some_and(|open| now_ns >= open.latest_ns.saturating_add(LATE_NS)) {
            self.given_up = None;
        }
        for fold in self.folds.values_mut() {
            if now_ns >= fold.sent_ns.saturating_add(FOLD_NS)
                && let Some(waiting) = fold.waiting.take()
            {
                fold.sent_ns = now_ns;
                done.push(Incident::OomNoKill(Box::new(waiting)));
            }
        }
        done
    }

    /// When the next [`Self::tick`] is due, if no event comes before.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let folds = self.folds.values().filter(|fold| fold.waiting.is_some());
        let folds = folds.map(|fold| fold.sent_ns.saturating_add(FOLD_NS));
        folds.chain(self.open.as_ref().map(Open::deadline_ns)).min()
    }

    /// Gives all open incidents: no more events will come.
    pub(super) fn finish(&mut self) -> Vec<Incident> {
        let mut done: Vec<_> = self.close(false).into_iter().collect();
        let folds = std::mem::take(&mut self.folds);
        done.extend(
            folds.into_values().filter_map(|fold| fold.waiting).map(Box::new).map(Incident::OomNoKill),
        );
        done
    }

    /// Reopens the decision that was given up, if no other is open and this event belongs to it.
    fn resume(&mut self, decision_ns: Option<u64>, now_ns: u64) {
        if self.open.is_none()
            && let Some(mut open) = self.given_up.take_if(|open| Some(open.decision_ns) == decision_ns)
        {
            open.kill.revision = open.kill.revision.saturating_add(1);
            open.latest_ns = now_ns;
            self.open = Some(open);
        }
    }

    /// Whether this was gathered at a mark that no kill led to: `out_of_memory` (`mm/oom_kill.c`, 5.10 to 7.3) marks a task
    /// that is dying and allocates memory to do so, which gives it access to the reserves. A victim does so again and again.
    fn marks_the_dying(&self, decision: &OomDecision) -> bool {
        let stack = decision.stack.as_ref();
        self.kills_show
            && decision.stamp.hook == Hook::RawTracepoint
            && decision.control.is_none()
            && stack.is_some_and(|stack| {
                stack.has("out_of_memory")
                    && !stack.has("oom_kill_process")
                    && !stack.has("__oom_kill_process")
            })
    }

    /// Closes the open decision; `over` if the kernel is known to be done with it.
    fn close(&mut self, over: bool) -> Option<Incident> {
        let mut open = self.open.take()?;
        self.written = Written::of(&open.kill, open.latest_ns).or(self.written);
        open.kill.complete = over && open.kill.decision.is_some() && !open.torn;
        Some(incident(open.kill))
    }

    /// Closes the open decision because the next one begins: the kernel would not have begun that before it was done with this
    /// one. It is incomplete if its end record is missing, or, in the tier without ends, its victim.
    fn close_before_next(&mut self) -> Option<Incident> {
        let over = self.open.as_ref().is_some_and(|open| !open.has_end && !open.kill.victims.is_empty());
        self.close(over)
    }

    pub(super) fn victim(&mut self, mut victim: OomVictim, stats: &mut Stats) -> Vec<Incident> {
        let Some(decision_ns) = victim.stamp.decision_ns else {
            // Outside of any decision the kernel marks tasks that are dying already, to give them access to its reserves: that
            // is no kill.
            if victim.task.exiting == Some(true) {
                stats.add(Counter::MarkedAlreadyDying, 1);
                return Vec::new();
            }
            let begun = OomKill::begun(victim.stamp.ktime_ns, victim.stamp.cpu, None);
            self.victims.add(&victim, None, begun.id());
            return vec![incident(OomKill { victims: vec![victim], ..begun })];
        };
        if self.dying_ns == Some(decision_ns) {
            return Vec::new();
        }
        let mut done = Vec::new();
        if self.open.as_ref().is_none_or(|open| open.decision_ns != decision_ns) {
            done.extend(self.close_before_next());
            self.resume(Some(decision_ns), victim.stamp.ktime_ns);
            self.open.get_or_insert_with(|| Open::lost(decision_ns, &victim.stamp));
        }
        if let Some(open) = &mut self.open {
            open.latest_ns = victim.stamp.ktime_ns;
            if victim.in_decision {
                victim.cgroups = open.kill.decision.as_ref().and_then(|it| it.victim_cgroups.clone());
            }
            self.victims.add(&victim, open.kill.decision.as_deref(), open.kill.id());
            open.add(victim);
            if !open.has_end && !open.group {
                done.extend(self.close(true));
            }
        }
        done
    }

    fn fold(&mut self, event: Box<OomNoVictim>) -> Vec<Incident> {
        let cgroup_id = event.limit_cgroups.as_ref().and_then(|cgroups| cgroups.levels.first()?.cgroup_id);
        let key = (event.why, cgroup_id);
        let (now_ns, repeats) = (event.stamp.ktime_ns, event.repeats);
        let mut done = Vec::new();
        if let Some(fold) = self.folds.get_mut(&key) {
            if now_ns < fold.sent_ns.saturating_add(FOLD_NS) {
                match &mut fold.waiting {
                    Some(waiting) => {
                        waiting.repeats = waiting.repeats.saturating_add(repeats).saturating_add(1);
                    }
                    None => fold.waiting = Some(OomNoKill { event, repeats }),
                }
                return done;
            }
        } else if self.folds.len() >= FOLDS {
            // A fold with no event waiting, if there is one; else the waiting event goes out early.
            let quietest = self.folds.iter().min_by_key(|(_, fold)| (fold.waiting.is_some(), fold.sent_ns));
            let quietest = quietest.map(|(&key, _)| key);
            let forgotten = quietest.and_then(|key| self.folds.remove(&key)?.waiting);
            done.extend(forgotten.map(Box::new).map(Incident::OomNoKill));
        }
        // `push` has advanced the time to this event, so no event of its limit is waiting here.
        self.folds.insert(key, Fold { sent_ns: now_ns, waiting: None });
        done.push(Incident::OomNoKill(Box::new(OomNoKill { event, repeats })));
        done
    }
}

fn incident(mut kill: OomKill) -> Incident {
    complete_victims(&mut kill);
    Incident::OomKill(Box::new(kill))
}
