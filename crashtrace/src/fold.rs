//! OOM kills, folded: if a cgroup's limit kills continuously, the first kills have their own lines, the rest one line a second
//! that has their number, their sums and as many of their victims as fit. PURE; callers give the time.
//!
//! Kills fold that have the same limit owner and are of the same pod, if of any. Each kill is in exactly one incident: its own,
//! or one that it was folded into, which has the name of the first kill in it.
//!
//! | what | bound |
//! |---|---|
//! | one limit owner | [`BURST`] kills at once and 4 a second continuously have their own lines: 32 workers that die together, or a crash loop, never reach that. Above it all fold, one line a second, until the rate is below that again |
//! | the node | 256 lines at once and 5 a second. Above it a limit owner that had a line within [`LONGEST_NS`] folds, and its folded kills wait for their turn, [`LONGEST_NS`] at most |
//! | waiting kills | [`FOLDS`] limit owners, and [`VICTIMS`] victims with all their facts: above it the owner that has waited longest, or has most, goes out early |
//!
//! Never delayed: the first kill of an owner (so that kills in ever new cgroups, each with its own limit, are as many lines),
//! and a kill that may still grow (it was given up before its end was seen, which takes 250 ms each).

use std::collections::{BTreeMap, VecDeque};

use crate::cgroup;
use crate::cgroup::NodeRoot;
use crate::correlate::{FOLD_NS, FoldedVictim, Incident, KillId, OomKill};
use crate::event::{Lineage, OomVictim};

mod pace;
#[cfg(test)]
mod tests;

pub(crate) use pace::Pace;

/// Kills of one limit owner that have their own lines at any rate.
pub const BURST: u64 = 64;
/// Continuous rate of such kills: four a second.
const EVERY_NS: u64 = 250_000_000;
/// Lines about kills of the whole node at any rate.
const NODE_BURST: u64 = 256;
/// Continuous rate of such lines: a container's log of 10 MiB then lasts for minutes, whatever tenants do.
const NODE_EVERY_NS: u64 = 200_000_000;
/// Maximum delay of a folded line beyond its second, while the node has too many.
pub const LONGEST_NS: u64 = 10_000_000_000;
/// Limit owners that are remembered.
pub const FOLDS: usize = 256;
/// Victims of all waiting kills, with their cgroups.
pub const VICTIMS: usize = 1024;
/// Folded victims that one line lists: more than fit.
const LISTED: usize = 160;
/// Those of all waiting kills.
const LISTED_IN_ALL: usize = 4096;
/// Folded kills whose line is remembered, for what followed from them.
const REMEMBERED: usize = 4096;
/// Bytes of a path in that list.
const PATH_BYTES: usize = 128;

/// Key of a fold: the limit owner, and the victim's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scope: Scope,
    /// Id of the pod's cgroup: a limit of many pods (`kubepods`, the node's memory) has a fold for each, because a line names
    /// one pod, and filters use its namespace.
    pod: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// The limit of this cgroup; if the record does not reach down to it, of one below this.
    Limit(u64),
    /// The node's memory, or by sysrq.
    Node { sysrq: bool },
    /// `oom_control` was not read: a limit of this cgroup's processes.
    Untold(Option<u64>),
}

impl Key {
    fn of(kill: &OomKill, root: NodeRoot) -> Self {
        let decision = kill.decision.as_deref();
        let id = |cgroups: &Lineage| cgroups.levels.first().and_then(|level| level.cgroup_id);
        let victim = kill.victims.first().and_then(|victim| victim.cgroups.as_ref());
        let victim = victim.or_else(|| decision?.victim_cgroups.as_ref());
        let limit = decision.and_then(|decision| id(decision.limit_cgroups.as_ref()?));
        let control = decision.and_then(|decision| decision.control);
        let scope = match (limit, control) {
            (Some(limit), _) => Scope::Limit(limit),
            (None, Some(control)) if !control.memcg => Scope::Node { sysrq: control.order.is_none() },
            _ => Scope::Untold(victim.and_then(id)),
        };
        Self { scope, pod: victim.and_then(|victim| pod(victim, root)) }
    }
}

/// The pod's cgroup.
fn pod(cgroups: &Lineage, root: NodeRoot) -> Option<u64> {
    let end = cgroup::parse_below(&cgroups.path(), root.bytes_in(cgroups)).pod_end?;
    cgroups.level_at(end)?.cgroup_id
}

/// See the module.
#[derive(Debug)]
pub struct KillFolds {
    folds: BTreeMap<Key, Fold>,
    node: Pace,
    /// Kills that were folded, and the kill whose name their line has.
    folded: VecDeque<(KillId, KillId)>,
}

#[derive(Debug)]
struct Fold {
    rate: Pace,
    /// When its latest line went out.
    sent_ns: Option<u64>,
    waiting: Option<Box<OomKill>>,
}

impl Default for KillFolds {
    fn default() -> Self {
        Self { folds: BTreeMap::new(), node: Pace::new(NODE_EVERY_NS, NODE_BURST), folded: VecDeque::new() }
    }
}

impl Default for Fold {
    fn default() -> Self {
        Self { rate: Pace::new(EVERY_NS, BURST), sent_ns: None, waiting: None }
    }
}

impl Fold {
    /// When the waiting kills may go out.
    fn due_ns(&self) -> u64 {
        self.sent_ns.map_or(0, |sent_ns| sent_ns.saturating_add(FOLD_NS))
    }

    fn send(&mut self, now_ns: u64) -> Option<Incident> {
        let kill = self.waiting.take()?;
        self.sent_ns = self.sent_ns.max(Some(now_ns));
        Some(Incident::OomKill(kill))
    }
}

impl KillFolds {
    /// Takes an incident of the node whose cgroups begin at `root`; gives those that go out now.
    pub fn push(&mut self, incident: Incident, root: NodeRoot, now_ns: u64) -> Vec<Incident> {
        let kill = match incident {
            Incident::OomKill(kill) if kill.revision == 1 && !kill.may_grow => kill,
            other => return vec![other],
        };
        let key = Key::of(&kill, root);
        let mut done = Vec::from_iter(self.forget(&key, now_ns));
        let is_busy = self.node.is_over(now_ns);
        let fold = self.folds.entry(key).or_default();
        let is_over = fold.rate.add(now_ns);
        let is_rested = fold.sent_ns.is_none_or(|sent_ns| now_ns >= sent_ns.saturating_add(LONGEST_NS));
        if fold.waiting.is_none() && !is_over && (!is_busy || is_rested) {
            fold.sent_ns = fold.sent_ns.max(Some(now_ns));
            self.node.add(now_ns);
            done.push(Incident::OomKill(kill));
            return done;
        }
        let listed: usize =
            self.waiting().filter_map(|kill| kill.folded.as_ref()).map(|it| it.victims.len()).sum();
        let fold = self.folds.entry(key).or_default();
        match &mut fold.waiting {
            Some(first) => {
                first.fold(&kill, LISTED_IN_ALL.saturating_sub(listed));
                if self.folded.len() >= REMEMBERED {
                    self.folded.pop_front();
                }
                self.folded.push_back((kill.id(), first.id()));
            }
            None => fold.waiting = Some(kill),
        }
        done.extend(self.shrink(now_ns));
        done
    }

    /// Advances the time; gives the incidents that are due.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Incident> {
        let waiting = self.folds.iter_mut().filter(|(_, fold)| fold.waiting.is_some());
        let mut due: Vec<_> = waiting.map(|(_, fold)| fold).filter(|fold| now_ns >= fold.due_ns()).collect();
        due.sort_by_key(|fold| fold.due_ns());
        let mut done = Vec::new();
        for fold in due {
            if !self.node.is_over(now_ns) || now_ns >= fold.due_ns().saturating_add(LONGEST_NS) {
                self.node.add(now_ns);
                done.extend(fold.send(now_ns));
            }
        }
        done
    }

    /// When the next [`Self::tick`] is due.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let waiting = self.folds.values().filter(|fold| fold.waiting.is_some()).map(Fold::due_ns);
        waiting.map(|due_ns| due_ns.max(self.node.free_ns().min(due_ns.saturating_add(LONGEST_NS)))).min()
    }

    /// Gives all waiting incidents.
    pub fn finish(&mut self) -> Vec<Incident> {
        let folds = std::mem::take(&mut self.folds).into_values();
        folds.filter_map(|fold| fold.waiting).map(Incident::OomKill).collect()
    }

    /// The kill whose name the line has, or will have, that counts this one.
    #[must_use]
    pub fn line_of(&self, kill: KillId) -> KillId {
        let folded = self.folded.iter().rev().find(|(folded, _)| *folded == kill);
        folded.map_or(kill, |(_, first)| *first)
    }

    /// The kills that wait to be the line of this name.
    #[must_use]
    pub fn waiting_as(&self, line: KillId) -> Option<&OomKill> {
        self.waiting().find(|kill| kill.id() == line)
    }

    fn waiting(&self) -> impl Iterator<Item = &OomKill> {
        self.folds.values().filter_map(|fold| fold.waiting.as_deref())
    }

    /// Makes room for an owner: the one without kills for the longest time goes, and its waiting kills go out early.
    fn forget(&mut self, newcomer: &Key, now_ns: u64) -> Option<Incident> {
        if self.folds.len() < FOLDS || self.folds.contains_key(newcomer) {
            return None;
        }
        let quietest = self.folds.iter().min_by_key(|(_, fold)| (fold.waiting.is_some(), fold.sent_ns));
        let key = quietest.map(|(key, _)| *key)?;
        let sent = self.folds.remove(&key)?.send(now_ns)?;
        self.node.add(now_ns);
        Some(sent)
    }

    /// Bounds the waiting victims: group kills have many.
    fn shrink(&mut self, now_ns: u64) -> Option<Incident> {
        if self.waiting().map(|kill| kill.victims.len()).sum::<usize>() <= VICTIMS {
            return None;
        }
        let victims = |fold: &Fold| fold.waiting.as_ref().map_or(0, |kill| kill.victims.len());
        let largest = self.folds.values_mut().max_by_key(|fold| victims(fold))?;
        self.node.add(now_ns);
        largest.send(now_ns)
    }
}

impl OomKill {
    /// Counts another kill in this incident, and lists as many of its victims as there is room for.
    fn fold(&mut self, other: &Self, room: usize) {
        let own = self.victims.first().and_then(|victim| victim.cgroups.as_ref()).map(Lineage::path);
        let folded = self.folded.get_or_insert_default();
        folded.kills = folded.kills.saturating_add(1);
        folded.incomplete = folded.incomplete.saturating_add(u64::from(!other.complete));
        folded.until_ns = folded.until_ns.max(other.ktime_ns);
        folded.victims_total = folded.victims_total.saturating_add(other.killed());
        folded.unread = folded.unread.saturating_add(other.unlisted);
        for victim in &other.victims {
            let resident = victim.task.rss.map(|rss| rss.resident_bytes());
            folded.exiting = folded.exiting.saturating_add(u64::from(victim.task.exiting == Some(true)));
            folded.unread = folded.unread.saturating_add(u64::from(resident.is_none()));
            folded.resident_bytes = folded.resident_bytes.saturating_add(resident.unwrap_or_default());
        }
        let room = room.min(LISTED.saturating_sub(folded.victims.len()));
        folded.victims.extend(other.victims.iter().take(room).map(|victim| listed(victim, own.as_deref())));
    }
}

fn listed(victim: &OomVictim, own: Option<&[u8]>) -> FoldedVictim {
    let path = victim.cgroups.as_ref().map(Lineage::path).filter(|path| Some(path.as_slice()) != own);
    let task = &victim.task;
    FoldedVictim {
        ktime_ns: victim.stamp.ktime_ns,
        pid: task.pid,
        comm: task.comm.clone().or_else(|| task.thread_comm.clone()),
        cgroup: path.map(|path| path[path.len().saturating_sub(PATH_BYTES)..].to_vec()),
    }
}
