//! Revised lines: a report that went out before the names of its pods were known goes out once more when they are. No line
//! waits for a name; only the case does, for a few seconds. PURE but for its lookups.

use std::collections::VecDeque;

use crate::enrich::{Case, name};
use crate::names::PodNames;

/// How long a case waits for names. The API server reports a container within two seconds of its start, the runtime at once.
pub(super) const WAIT_NS: u64 = 5_000_000_000;
/// Interval between lookups.
pub(super) const AGAIN_NS: u64 = 250_000_000;
/// Cases that wait at one time. Cases above that have only their first line.
const MOST: usize = 256;
/// Victims of all these cases; a single case may have hundreds.
const VICTIMS: usize = 1024;
/// Incidents whose revision is remembered. Only incidents of the last seconds are revised at all.
const REMEMBERED: usize = 1024;

/// Cases that may be revised.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    waiting: VecDeque<Waiting>,
    /// Ids, and the highest revision of each that went out.
    sent: VecDeque<(String, u32)>,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    case: Case,
    until_ns: u64,
    next_ns: u64,
    /// More is known than in the line that went out.
    changed: bool,
}

impl Revisions {
    /// The revision that this line must have: the incident's own, or the next one if as many went out.
    pub(super) fn number(&mut self, id: &str, revision: u32) -> u32 {
        if let Some((_, sent)) = self.sent.iter_mut().find(|(sent, _)| sent == id) {
            *sent = revision.max(sent.saturating_add(1));
            return *sent;
        }
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back((id.to_owned(), revision));
        revision
    }

    /// Takes a case whose line has just gone out, if names may still come. It replaces the case that went out before.
    pub(super) fn wait(&mut self, id: &str, case: &Case, now_ns: u64) {
        self.waiting.retain(|waiting| waiting.id != id);
        let victims: usize = self.waiting.iter().map(|waiting| waiting.case.owners.victims()).sum();
        let has_room = self.waiting.len() < MOST && victims + case.owners.victims() <= VICTIMS;
        if case.names.may_grow() && has_room {
            self.waiting.push_back(Waiting {
                id: id.to_owned(),
                case: case.clone(),
                until_ns: now_ns.saturating_add(WAIT_NS),
                next_ns: now_ns.saturating_add(AGAIN_NS),
                changed: false,
            });
        }
    }

    /// Looks names up again, and gives the cases of which more is known now: once all of it is, or time is up.
    pub(super) fn due(&mut self, now_ns: u64, pods: &mut dyn PodNames) -> Vec<Case> {
        let mut due = Vec::new();
        let mut still = VecDeque::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.next_ns > now_ns {
                still.push_back(waiting);
                continue;
            }
            waiting.changed |= name(&mut waiting.case, pods);
            waiting.next_ns = now_ns.saturating_add(AGAIN_NS);
            if waiting.case.names.may_grow() && now_ns < waiting.until_ns {
                still.push_back(waiting);
            } else if waiting.changed {
                due.push(waiting.case);
            }
        }
        self.waiting = still;
        due
    }

    /// When the next [`Self::due`] is due.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.next_ns).min()
    }
}
