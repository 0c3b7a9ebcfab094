//! Ends of containers' first processes, and the OOM kills that they belong to.
//!
//! An end joins the OOM kill that marked its process: by process id and start, since ids are reused. It may be read while that
//! kill's decision is still open, because the process dies at once and the kernel goes on to the others of its group, and it may
//! be read before its mark, where ends have a ring of their own. So it waits: for the decision until that is closed, whose
//! incident goes out first; for a mark that the process has and that was not read, [`MARK_NS`].

use super::oom::Ooms;
use super::{Incident, KillId};
use crate::event::{ContainerExit, Name};

mod victims;
pub(super) use victims::Victims;

/// How long an end whose process was marked waits for the record of the mark. It was written before, so it is read in the
/// same round of the loop or in the next; if not, it was lost, or written before the hooks were switched on.
pub(super) const MARK_NS: u64 = 250_000_000;
/// Ends that wait; above that the one that has waited longest goes out.
pub(super) const HELD: usize = 256;

/// The end of a container's first process.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEnd {
    pub event: Box<ContainerExit>,
    /// The OOM kill whose victim the process was.
    pub oom: Option<KilledBy>,
    /// OOM kills of other processes of the container while this one ran, latest first, as many as are stored. A kill of several
    /// processes is here once, with the first of them.
    pub oom_before: Vec<KilledBy>,
    /// How many there were.
    pub oom_before_total: u64,
    /// All kills while it ran are remembered, and its container is known: so there were no others.
    pub oom_before_is_whole: bool,
}

/// A process that an OOM decision killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KilledBy {
    /// Time and CPU that name the decision's incident.
    pub ktime_ns: u64,
    /// See `ktime_ns`.
    pub cpu: u32,
    /// The process that was killed.
    pub pid: Option<u32>,
    pub comm: Option<Name>,
}

impl KilledBy {
    /// What names the decision's incident.
    #[must_use]
    pub fn kill(&self) -> KillId {
        (self.ktime_ns, self.cpu)
    }
}

/// Ends that wait.
#[derive(Debug, Default)]
pub(super) struct Ends {
    held: Vec<ContainerExit>,
}

impl Ends {
    /// Takes an end. [`Self::due`] gives it back.
    pub(super) fn push(&mut self, event: Box<ContainerExit>, ooms: &Ooms) -> Option<Incident> {
        self.held.push(*event);
        (self.held.len() > HELD).then(|| join(self.held.remove(0), ooms))
    }

    /// Gives the ends that no longer wait.
    pub(super) fn due(&mut self, now_ns: u64, ooms: &Ooms) -> Vec<Incident> {
        let waits = |end: &mut ContainerExit| match ooms.victims.kill_of(end) {
            Some(killed) => ooms.open_kill() == Some(killed.kill()),
            None => end.oom_marked && now_ns < until_ns(end),
        };
        self.held.extract_if(.., |end| !waits(end)).map(|end| join(end, ooms)).collect()
    }

    /// When an end goes out that waits for a mark. One that waits for a decision goes out with that.
    pub(super) fn deadline_ns(&self, ooms: &Ooms) -> Option<u64> {
        self.held.iter().filter(|end| ooms.victims.kill_of(end).is_none()).map(until_ns).min()
    }

    /// Gives all that wait: no more events will come.
    pub(super) fn finish(&mut self, ooms: &Ooms) -> Vec<Incident> {
        std::mem::take(&mut self.held).into_iter().map(|end| join(end, ooms)).collect()
    }
}

fn until_ns(end: &ContainerExit) -> u64 {
    end.stamp.ktime_ns.saturating_add(MARK_NS)
}

fn join(event: ContainerExit, ooms: &Ooms) -> Incident {
    let oom = ooms.victims.kill_of(&event);
    let oom_before_is_whole = ooms.victims.are_whole(&event);
    let (oom_before, oom_before_total) = ooms.victims.before(&event, oom.as_ref().map(KilledBy::kill));
    Incident::ContainerExit(Box::new(ContainerEnd {
        event: Box::new(event),
        oom,
        oom_before,
        oom_before_total,
        oom_before_is_whole,
    }))
}
