//! Revised lines: a report that went out before the names of its pods were known goes out once more when they are, and so does one
//! whose cgroups the agent looks at a second time. No line waits for a name; only the case does, for minutes: that is how long a source may be away (a runtime that is restarted, an API
//! server that is upgraded) and be tried again. PURE but for its lookups.
//!
//! | what | bound |
//! |---|---|
//! | waiting cases | [`MOST`], and [`MOST_BYTES`]; above that a case has only its first line |
//! | lookups of a case | one in [`AGAIN_NS`] at first, and one in [`AGAIN_LATE_NS`] later |
//! | lines of a case | one with all names; before that at most one for each lookup, if more is known by then, and none before [`SOON_NS`] |

use std::collections::{HashMap, HashSet, VecDeque};

use crate::enrich::{Case, look_again, name};
use crate::names::PodNames;
use crate::node::CgroupFiles;

/// How soon names mostly come: the API server reports a container within two seconds of its start, the runtime at once. What is
/// known by then goes out, if more is awaited or not.
pub(super) const SOON_NS: u64 = 5_000_000_000;
/// How long a case waits for names. Both sources are tried again within a minute, however long they have been away.
pub(super) const WAIT_NS: u64 = 300_000_000_000;
/// Interval between lookups, until [`SOON_NS`].
pub(super) const AGAIN_NS: u64 = 250_000_000;
/// And after that, at times that all cases share, so that waiting ones wake the agent once and not each by itself.
const AGAIN_LATE_NS: u64 = 30_000_000_000;
/// Cases that wait at one time.
pub(super) const MOST: usize = 512;
/// How much memory they take together, by [`bytes()`].
pub(super) const MOST_BYTES: usize = 6 << 20;
/// Incidents whose revision is remembered, beside those that wait.
const REMEMBERED: usize = 1024;

/// Cases that may be revised.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    waiting: Vec<Waiting>,
    /// Of all of them.
    bytes: usize,
    /// The highest revision of each id that went out.
    sent: HashMap<String, u32>,
    /// Their ids, the oldest first.
    order: VecDeque<String>,
}

#[derive(Debug)]
struct Waiting {
    id: String,
    case: Box<Case>,
    bytes: usize,
    soon_ns: u64,
    until_ns: u64,
    next_ns: u64,
    /// More is known than in the line that went out.
    changed: bool,
}

impl Revisions {
    /// The revision that this line must have: the incident's own, or the next one if as many went out.
    pub(super) fn number(&mut self, id: &str, revision: u32) -> u32 {
        if let Some(sent) = self.sent.get_mut(id) {
            *sent = revision.max(sent.saturating_add(1));
            return *sent;
        }
        if self.order.len() >= REMEMBERED + MOST {
            self.forget();
        }
        self.order.push_back(id.to_owned());
        self.sent.insert(id.to_owned(), revision);
        revision
    }

    /// Forgets half of what does not wait. Not one by one: which of them wait is found once for all.
    fn forget(&mut self) {
        let waiting: HashSet<&str> = self.waiting.iter().map(|waiting| waiting.id.as_str()).collect();
        let mut left = REMEMBERED / 2;
        let sent = &mut self.sent;
        self.order.retain(|id| {
            let stays = left == 0 || waiting.contains(id.as_str());
            if !stays {
                left -= 1;
                sent.remove(id);
            }
            stays
        });
    }

    /// Takes a case whose line has just gone out as this revision, if names may still come. It replaces the case that went out
    /// before.
    pub(super) fn wait(&mut self, id: &str, revision: u32, case: &Case, now_ns: u64) {
        if revision > 1
            && let Some(before) = self.waiting.iter().position(|waiting| waiting.id == id)
        {
            self.bytes -= self.waiting.remove(before).bytes;
        }
        if !may_grow(case) {
            return;
        }
        let bytes = bytes(case);
        if self.waiting.len() < MOST && self.bytes + bytes <= MOST_BYTES {
            self.bytes += bytes;
            self.waiting.push(Waiting {
                id: id.to_owned(),
                case: Box::new(case.clone()),
                bytes,
                soon_ns: now_ns.saturating_add(SOON_NS),
                until_ns: now_ns.saturating_add(WAIT_NS),
                next_ns: now_ns.saturating_add(AGAIN_NS),
                changed: false,
            });
        }
    }

    /// Looks names up again, and gives the cases of which more is known now: once all of it is, time is up, or what comes soon has
    /// come. That a second look at the cgroups has ended is seen here too.
    pub(super) fn due(
        &mut self,
        now_ns: u64,
        pods: &mut dyn PodNames,
        cgroups: &mut dyn CgroupFiles,
    ) -> Vec<Case> {
        if self.deadline_ns().is_none_or(|deadline_ns| deadline_ns > now_ns) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut still = Vec::with_capacity(self.waiting.len());
        for mut waiting in std::mem::take(&mut self.waiting) {
            if waiting.next_ns > now_ns {
                still.push(waiting);
                continue;
            }
            // First, since it brings more to be named.
            waiting.changed |= look_again(&mut waiting.case, cgroups);
            waiting.changed |= name(&mut waiting.case, pods);
            let is_early = now_ns < waiting.soon_ns;
            if may_grow(&waiting.case) && now_ns < waiting.until_ns {
                waiting.next_ns = if is_early {
                    now_ns.saturating_add(AGAIN_NS)
                } else {
                    (now_ns / AGAIN_LATE_NS).saturating_add(1).saturating_mul(AGAIN_LATE_NS)
                };
                if waiting.changed && !is_early {
                    waiting.changed = false;
                    due.push(Case::clone(&waiting.case));
                }
                still.push(waiting);
            } else {
                self.bytes -= waiting.bytes;
                if waiting.changed {
                    due.push(*waiting.case);
                }
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

/// More may become known of it.
fn may_grow(case: &Case) -> bool {
    case.names.may_grow_later() || case.second_look.is_some()
}

/// What a waiting case takes at most, names that come included: `tests/memory.rs` holds it against the allocator's count.
fn bytes(case: &Case) -> usize {
    const CASE_BYTES: usize = 10 << 10;
    const PART_BYTES: usize = 1536;
    const VICTIM_BYTES: usize = 2 << 10;
    CASE_BYTES + PART_BYTES * case.parts() + VICTIM_BYTES * case.owners.victims()
}
