//! The reports of this node's pods, as they are to be written. PURE.
//!
//! An entry begins with the pod's first incident of this session. What earlier sessions wrote is not known then: before the first write
//! the object is read, and [`Store::absorb`] puts both together. The memory has a bound ([`MAX_STORE_BYTES`]): above it entries go that
//! are written already, the one first that has not changed for longest, for they can be read again; then incidents of the others, which
//! keep their counts.

use std::collections::BTreeMap;

use super::digest::{Digest, PodId};
use crate::crash_report::{
    ContainerReport, CrashReportSpec, Latest, MAX_BYTES, MAX_INCIDENTS, ReportedIncident,
};

/// Bytes of all entries, as JSON.
pub const MAX_STORE_BYTES: usize = 4 << 20;

/// `kind` of the line of a container's end.
const CONTAINER_EXIT: &str = "container_exit";

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
struct Entry {
    containers: BTreeMap<Option<String>, ContainerReport>,
    /// What earlier sessions wrote is in it.
    is_whole: bool,
    /// Something is not written.
    is_changed: bool,
    truncated: bool,
    /// When it changed, in changes of the store.
    turn: u64,
    bytes: usize,
}

/// The entries by the id of the pod's cgroups.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    turn: u64,
    /// Incidents that were left out for want of memory.
    left_out: u64,
}

impl Store {
    /// Takes what a line says of a container of a pod. False if that changes nothing.
    pub fn take(&mut self, pod: &PodId, digest: &Digest) -> bool {
        self.turn += 1;
        let entry = self.entries.entry(pod.uid.clone()).or_default();
        let report = entry.containers.entry(digest.container.clone()).or_default();
        report.name.clone_from(&digest.container);
        if !put(report, digest.incident.clone()) {
            return false;
        }
        (entry.is_changed, entry.turn) = (true, self.turn);
        self.weigh(&pod.uid);
        self.make_room();
        true
    }

    /// What was written of the pod before, in this or an earlier session; `None` if nothing was.
    pub fn absorb(&mut self, uid: &str, pod_uid: &str, earlier: Option<CrashReportSpec>) {
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| !entry.is_whole) else { return };
        entry.is_whole = true;
        // Of another pod of this name.
        for earlier in
            earlier.filter(|earlier| earlier.pod_uid == pod_uid).into_iter().flat_map(|it| it.containers)
        {
            let report = entry.containers.entry(earlier.name.clone()).or_default();
            let own = std::mem::replace(report, earlier);
            let mut fresh = own.counts;
            for incident in own.incidents.into_iter().rev() {
                let (cause, weight) = (incident.cause.clone(), incident.weight());
                if let Some(count) = fresh.get_mut(&cause) {
                    *count = count.saturating_sub(weight);
                }
                put(report, incident);
            }
            // Of incidents that are not kept.
            for (cause, count) in fresh.into_iter().filter(|(_, count)| *count > 0) {
                *report.counts.entry(cause).or_default() += count;
            }
            if !own.since.is_empty() && own.since < report.since {
                report.since = own.since;
            }
        }
        self.weigh(uid);
    }

    /// Whether what earlier sessions wrote must be read first.
    #[must_use]
    pub fn is_whole(&self, uid: &str) -> bool {
        self.entries.get(uid).is_some_and(|entry| entry.is_whole)
    }

    /// The object, which fits [`MAX_BYTES`]. What comes after this is a change again.
    pub fn object(&mut self, uid: &str, node: &str, pod_uid: &str) -> Option<CrashReportSpec> {
        let entry = self.entries.get_mut(uid)?;
        entry.is_changed = false;
        let containers: Vec<_> = entry.containers.values().cloned().collect();
        let latest = Latest::of(&containers)?;
        let (node, pod_uid) = (node.to_owned(), pod_uid.to_owned());
        let mut object = CrashReportSpec { node, pod_uid, latest, containers, truncated: entry.truncated };
        fit(&mut object);
        Some(object)
    }

    /// It could not be written after all.
    pub fn unwritten(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.is_changed = true;
        }
    }

    /// The pod is gone.
    pub fn forget(&mut self, uid: &str) {
        if let Some(entry) = self.entries.remove(uid) {
            self.bytes -= entry.bytes;
        }
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Incidents that were left out for want of memory; their counts were not.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    fn weigh(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            let bytes = entry.containers.values().map(json_bytes).sum::<usize>() + uid.len();
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.bytes = bytes;
        }
    }

    fn make_room(&mut self) {
        while self.bytes > MAX_STORE_BYTES {
            let oldest = |(uid, entry): (&String, &Entry)| (entry.turn, uid.clone());
            let written = self.entries.iter().filter(|(_, entry)| !entry.is_changed && entry.is_whole);
            if let Some((_, uid)) = written.map(oldest).min() {
                self.forget(&uid);
                continue;
            }
            self.left_out += 1;
            // The fullest gives up its oldest incident; where each has one alone, the pod goes that has not changed for longest.
            let most = |entry: &Entry| entry.containers.values().map(|report| report.incidents.len()).max();
            let fullest = self.entries.iter().filter(|(_, entry)| most(entry) > Some(1));
            let fullest = fullest.max_by_key(|(_, entry)| entry.bytes).map(|(uid, _)| uid.clone());
            let Some(uid) = fullest else {
                let Some((_, uid)) = self.entries.iter().map(oldest).min() else { return };
                self.forget(&uid);
                continue;
            };
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.truncated = true;
                let longest = entry.containers.values_mut().max_by_key(|report| report.incidents.len());
                longest.map(|report| report.incidents.pop());
            }
            self.weigh(&uid);
        }
    }
}

/// Puts an incident in its place, newest first. False if it is older than what is there.
fn put(report: &mut ContainerReport, incident: ReportedIncident) -> bool {
    if let Some(known) = report.incidents.iter_mut().find(|known| known.id == incident.id) {
        let before = (known.cause.clone(), known.weight());
        if !merge(known, incident) {
            return false;
        }
        let after = (known.cause.clone(), known.weight());
        if before != after {
            let count = report.counts.entry(before.0).or_default();
            *count = count.saturating_sub(before.1);
            *report.counts.entry(after.0).or_default() += after.1;
            report.counts.retain(|_, count| *count > 0);
        }
        return true;
    }
    // A later word on an incident that is no longer kept: it is counted.
    let is_full = report.incidents.len() >= MAX_INCIDENTS;
    let is_older = report.incidents.last().is_some_and(|last| incident.time < last.time);
    if is_full && is_older && incident.revision > 1 {
        return false;
    }
    *report.counts.entry(incident.cause.clone()).or_default() += incident.weight();
    if report.since.is_empty() || incident.time < report.since {
        report.since.clone_from(&incident.time);
    }
    let at = report.incidents.partition_point(|known| known.time > incident.time);
    report.incidents.insert(at, incident);
    report.incidents.truncate(MAX_INCIDENTS);
    true
}

/// Puts two words on one incident together. False if the second says nothing new.
///
/// A death by OOM has two lines: the kill's says why, the one of the container's end how it ended. Either may come first.
fn merge(known: &mut ReportedIncident, new: ReportedIncident) -> bool {
    let kill_is_missing = is_end_of_kill(known) && known.kind == CONTAINER_EXIT;
    if is_end_of_kill(&new) {
        let revision = |incident: &ReportedIncident| incident.exit.as_ref().and_then(|exit| exit.revision);
        if revision(&new) <= revision(known) {
            return false;
        }
        if kill_is_missing {
            *known = new;
        } else {
            known.exit = new.exit;
        }
        return true;
    }
    if !kill_is_missing && new.revision <= known.revision {
        return false;
    }
    let exit = new.exit.clone().or_else(|| known.exit.take());
    *known = ReportedIncident { exit, ..new };
    true
}

/// The line of a container's end that belongs to an OOM kill has that kill's id, and its own beside it.
fn is_end_of_kill(incident: &ReportedIncident) -> bool {
    incident.exit.as_ref().is_some_and(|exit| exit.id.is_some())
}

/// Leaves out the oldest incidents until the object fits.
fn fit(object: &mut CrashReportSpec) {
    while json_bytes(object) > MAX_BYTES {
        object.truncated = true;
        let oldest =
            object.containers.iter_mut().filter(|report| report.incidents.len() > 1).min_by(|one, other| {
                one.incidents.last().map(|it| &it.time).cmp(&other.incidents.last().map(|it| &it.time))
            });
        if let Some(report) = oldest {
            report.incidents.pop();
        } else if let Some(report) = object
            .containers
            .iter_mut()
            .find(|report| report.incidents.first().is_some_and(|incident| !incident.evidence.is_empty()))
        {
            report.incidents[0].evidence.clear();
        } else if object.containers.pop().is_none() {
            return;
        }
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}

#[cfg(test)]
mod tests;
