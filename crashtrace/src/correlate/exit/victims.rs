//! Recent victims of the OOM killer, by process and by container. A tenant decides how many there are, so both have bounds, and
//! one container's victims take no room from another's.

use std::collections::{BTreeMap, VecDeque};

use super::super::oom::complete_victim;
use super::{KillId, KilledBy};
use crate::cgroup::{NodeRoot, parse_below};
use crate::event::{ContainerExit, Lineage, Name, OomDecision, OomVictim};

/// How long processes are remembered. A process that was marked dies within seconds, unless it hangs in the kernel.
pub(in crate::correlate) const REMEMBERED_NS: u64 = 3600 * 1_000_000_000;
/// Processes that are remembered; above that the oldest of the container that has most is forgotten.
pub(in crate::correlate) const PROCESSES: usize = 4096;
/// Containers whose kills are remembered; above that the one without a kill for the longest time is forgotten.
const CONTAINERS: usize = 1024;
/// Kills of one container that are remembered one by one; the others are counted.
const KILLS: usize = 16;
/// Of these, how many an end has.
pub(in crate::correlate) const LISTED: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::correlate) struct Victims {
    root: NodeRoot,
    /// In the order of their marks.
    processes: VecDeque<Victim>,
    /// How many of them each container has, by the id of its cgroup.
    shares: BTreeMap<Option<u64>, usize>,
    /// By bound only: an end of a container has the kills of all the time that it ran.
    containers: BTreeMap<u64, Kills>,
    /// The time of the latest kill in a container that is forgotten, or is not known.
    lost_ns: Option<u64>,
}

/// A process that was marked.
#[derive(Debug)]
struct Victim {
    kill: KillId,
    marked_ns: u64,
    pid: Option<u32>,
    tid: Option<u32>,
    start_ns: Option<u64>,
    comm: Option<Name>,
    container: Option<u64>,
}

/// Kills in a container.
#[derive(Debug, Default)]
struct Kills {
    /// Their times, and the first process of each.
    latest: VecDeque<(u64, KilledBy)>,
    /// How many more there were before these.
    earlier: u64,
}

impl Victim {
    /// Whether it is the process that ended. Process ids are reused, so that the start must be the same. The mark of an old
    /// kernel (before 6.9 `oom:mark_victim` has only a thread id, `include/trace/events/oom.h`) has no start: there the end must
    /// say that its process was marked, and the mark must be from its time.
    fn is(&self, end: &ContainerExit) -> bool {
        let (Some(pid), Some(started_ns)) = (end.task.pid, end.task.start_boottime_ns) else { return false };
        match self.start_ns {
            Some(start_ns) => self.pid == Some(pid) && start_ns == started_ns,
            None => {
                self.pid.or(self.tid) == Some(pid)
                    && end.oom_marked
                    && (started_ns..=end.stamp.ktime_ns).contains(&self.marked_ns)
            }
        }
    }
}

impl Victims {
    /// No victims yet, of a node whose cgroups begin at `root`.
    pub(in crate::correlate) fn of(root: NodeRoot) -> Self {
        Self { root, ..Self::default() }
    }

    /// Takes a mark, which goes into the incident of this name.
    pub(in crate::correlate) fn add(
        &mut self,
        mark: &OomVictim,
        decision: Option<&OomDecision>,
        kill: KillId,
    ) {
        let mut mark = mark.clone();
        if let Some(decision) = decision {
            complete_victim(&mut mark, decision);
        }
        let (marked_ns, task) = (mark.stamp.ktime_ns, mark.task);
        let known =
            |it: &&Victim| (it.pid, it.tid, it.start_ns) == (task.pid, task.tid, task.start_boottime_ns);
        // A group kill goes through the chosen process twice.
        if self.processes.iter().rev().take_while(|it| it.kill == kill).any(|it| known(&it)) {
            return;
        }
        let container = mark.cgroups.as_ref().and_then(|cgroups| container(cgroups, self.root));
        let comm = task.comm.or(task.thread_comm);
        let is_placed = mark.cgroups.as_ref().is_some_and(|cgroups| !cgroups.incomplete);
        if !is_placed {
            self.lost_ns = self.lost_ns.max(Some(marked_ns));
        }
        if let Some(container) = container {
            let (ktime_ns, cpu) = kill;
            let killed = KilledBy { ktime_ns, cpu, pid: task.pid.or(task.tid), comm: comm.clone() };
            self.in_container(container, marked_ns, killed);
        }
        self.forget(marked_ns);
        *self.shares.entry(container).or_default() += 1;
        let (pid, tid, start_ns) = (task.pid, task.tid, task.start_boottime_ns);
        self.processes.push_back(Victim { kill, marked_ns, pid, tid, start_ns, comm, container });
    }

    /// The kill whose victim this process was.
    pub(in crate::correlate) fn kill_of(&self, end: &ContainerExit) -> Option<KilledBy> {
        let victim = self.processes.iter().rev().find(|victim| victim.is(end))?;
        let (ktime_ns, cpu) = victim.kill;
        let comm = end.task.comm.clone().or_else(|| victim.comm.clone());
        Some(KilledBy { ktime_ns, cpu, pid: end.task.pid, comm })
    }

    /// Other kills in the container of this process while it ran, latest first, and how many there were. `own` is the kill that
    /// ended it.
    pub(in crate::correlate) fn before(
        &self,
        end: &ContainerExit,
        own: Option<KillId>,
    ) -> (Vec<KilledBy>, u64) {
        let container = end.cgroups.as_ref().and_then(|cgroups| container(cgroups, self.root));
        let Some(kills) = container.and_then(|container| self.containers.get(&container)) else {
            return (Vec::new(), 0);
        };
        let ran_ns = end.task.start_boottime_ns.unwrap_or_default()..=end.stamp.ktime_ns;
        let of_others =
            |(at_ns, killed): &&(u64, KilledBy)| ran_ns.contains(at_ns) && Some(killed.kill()) != own;
        let all: Vec<_> = kills.latest.iter().rev().filter(of_others).map(|(_, killed)| killed).collect();
        // A container that is started anew has another cgroup, so the earlier ones are of this process's time too.
        let total = kills.earlier.saturating_add(all.len() as u64);
        (all.into_iter().take(LISTED).cloned().collect(), total)
    }

    /// No kill in the container of this process while it ran is forgotten, or could not be placed.
    pub(in crate::correlate) fn are_whole(&self, end: &ContainerExit) -> bool {
        let container = end.cgroups.as_ref().and_then(|cgroups| container(cgroups, self.root));
        let started_ns = end.task.start_boottime_ns;
        container.is_some()
            && started_ns.is_some_and(|start| self.lost_ns.is_none_or(|lost_ns| lost_ns < start))
    }

    fn in_container(&mut self, container: u64, marked_ns: u64, killed: KilledBy) {
        let is_full = self.containers.len() >= CONTAINERS && !self.containers.contains_key(&container);
        let quietest = || {
            let latest_ns = |kills: &Kills| kills.latest.back().map(|(at_ns, _)| *at_ns);
            self.containers.iter().min_by_key(|(_, kills)| latest_ns(kills)).map(|(id, _)| *id)
        };
        if let Some(quietest) = is_full.then(quietest).flatten() {
            let forgotten = self.containers.remove(&quietest);
            let latest_ns = forgotten.and_then(|kills| kills.latest.back().map(|(at_ns, _)| *at_ns));
            self.lost_ns = self.lost_ns.max(latest_ns);
        }
        let kills = self.containers.entry(container).or_default();
        if kills.latest.iter().any(|(_, known)| known.kill() == killed.kill()) {
            return;
        }
        if kills.latest.len() >= KILLS {
            kills.latest.pop_front();
            kills.earlier = kills.earlier.saturating_add(1);
        }
        kills.latest.push_back((marked_ns, killed));
    }

    /// Forgets processes whose marks are too old, and makes room for one more.
    fn forget(&mut self, now_ns: u64) {
        let is_old = |at_ns: u64| at_ns.saturating_add(REMEMBERED_NS) < now_ns;
        while self.processes.front().is_some_and(|oldest| is_old(oldest.marked_ns)) {
            self.remove(0);
        }
        if self.processes.len() >= PROCESSES {
            let largest =
                self.shares.iter().max_by_key(|(_, count)| **count).map(|(container, _)| *container);
            let oldest = self.processes.iter().position(|it| Some(it.container) == largest);
            self.remove(oldest.unwrap_or_default());
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(victim) = self.processes.remove(index) else { return };
        if let Some(count) = self.shares.get_mut(&victim.container) {
            *count -= 1;
            if *count == 0 {
                self.shares.remove(&victim.container);
            }
        }
    }
}

/// The container's own cgroup, also of a process further below.
fn container(cgroups: &Lineage, root: NodeRoot) -> Option<u64> {
    if cgroups.incomplete {
        return None;
    }
    let end = parse_below(&cgroups.path(), root.bytes_in(cgroups)).container_end?;
    cgroups.level_at(end)?.cgroup_id
}
