//! The pods of a node and their containers, from the API server, to be found by id. PURE: time is an argument.
//!
//! A report comes after a container's end. By then the object may name the next run, or be deleted. So the ids that a
//! container had, how those runs ended, and pods that are gone, stay known for [`KEPT`].
//!
//! # Bounds
//!
//! No server's answer may make this grow without bound:
//!
//! | what | at most |
//! |---|---|
//! | pods that exist | [`MAX_PODS`]. kubelet runs 110 unless told otherwise, and 500 are rare |
//! | pods that are gone | [`MAX_GONE`]: those gone for longest go first |
//! | earlier runs of a container | [`MAX_EARLIER_RUNS`], beside the two that the object names. As many as the back-off between restarts lets happen in [`KEPT`] |
//! | all of it | [`MAX_BYTES`], as [`Index::bytes`] counts |
//!
//! Recorded pods (of 1.4 containers) come to 1.1 KiB each, and to 4.6 KiB once each container had all its earlier runs: so 500
//! pods take between 0.5 and 2.3 MiB, and these numbers of pods 23 MiB. Only pods that are much larger than any real one
//! ([`super::object::MAX_POD_BYTES`]) meet the last bound first. A pod that has no room is not known, and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::life::Ended;
use super::pod::Pod;
use crate::cgroup::is_uuid;

mod runs;
#[cfg(test)]
mod tests;

use runs::{Earlier, Id, Run};

/// How long a pod that is gone, and a run that another followed, is known; up to [`SWEEP`] longer.
pub const KEPT: Duration = Duration::from_mins(10);
/// How often entries that were kept for long enough are looked for.
pub const SWEEP: Duration = Duration::from_mins(1);
/// The most existing pods.
pub const MAX_PODS: usize = 4096;
/// The most pods that are gone.
pub const MAX_GONE: usize = 1024;
/// The most earlier runs of a container.
pub const MAX_EARLIER_RUNS: usize = 8;
/// The most that all may take.
pub const MAX_BYTES: usize = 32 << 20;

/// The pod or container of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedContainer {
    /// The pod, as it was last known.
    pub pod: Arc<Pod>,
    /// Which of its containers.
    pub container: usize,
    /// This id is that of the newest run that is known. (Which may have ended.)
    pub current: bool,
    /// How often the container had been started anew when this run began; that in the pod is of the newest run.
    pub restart_count: Option<u32>,
    /// How this run ended, once its status says so.
    pub ended: Option<Ended>,
}

/// Where a run is.
#[derive(Clone, Debug)]
struct Place {
    pod: Arc<Pod>,
    container: usize,
    current: bool,
    restart_count: Option<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// By UID, with those that are gone.
    pods: HashMap<Box<str>, Entry>,
    ids: HashMap<Id, Place>,
    /// Static pods: all that claim a config hash.
    hashes: HashMap<Box<str>, Vec<Arc<Pod>>>,
    /// The UIDs of those that are gone, the first one first.
    gone: BTreeMap<u64, Box<str>>,
    /// The next number of [`Entry::born`] and [`Entry::gone`].
    next: u64,
    /// How many lists were begun.
    lists: u64,
    swept: Option<Instant>,
    bytes: usize,
    refused: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    /// Where it stands among all, by when it was first seen.
    born: u64,
    /// The list that it was last seen in, or after.
    list: u64,
    /// Since when it is not there any more, and where it stands among these.
    gone: Option<(Instant, u64)>,
    /// Runs that the object does not name any more, oldest first.
    earlier: Box<[Earlier]>,
}

impl Entry {
    /// All runs that are known.
    fn runs(&self) -> impl Iterator<Item = Run> {
        self.earlier.iter().map(|earlier| earlier.run).chain(runs::named(&self.pod))
    }

    fn bytes(&self) -> usize {
        // Tables are up to half empty.
        let slots = 2 * (self.runs().count() * size_of::<(Id, Place)>() + size_of::<(Box<str>, Self)>());
        let pod = size_of::<Pod>() + 2 * size_of::<usize>() + self.pod.heap_bytes();
        // The UID and the hash are keys, too.
        let keys = self.pod.uid.len() + self.pod.config_hash.as_deref().map_or(0, |hash| hash.len() + 96);
        let ended = self.earlier.iter().filter_map(|earlier| earlier.ended.as_deref());
        slots + pod + keys + size_of_val(&*self.earlier) + ended.map(Ended::bytes).sum::<usize>()
    }
}

impl Index {
    /// An existing pod, new or changed. `false` where there is no room for it: then it is not known (any more).
    ///
    /// Of a pod that is deleted, the last object too; then [`Index::remove`].
    pub fn apply(&mut self, pod: Pod, now: Instant) -> bool {
        self.sweep_at_times(now);
        let old = self.take_out(&pod.uid);
        let (born, earlier) = match old {
            Some(old) => (old.born, runs::earlier(&old.pod, &old.earlier, &pod, now)),
            None => (self.number(), Box::default()),
        };
        let entry = Entry { pod: Arc::new(pod), born, list: self.lists, gone: None, earlier };
        let fits = self.make_room(entry.bytes());
        if fits {
            self.put_in(entry);
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        fits
    }

    /// The pod with this UID is gone.
    pub fn remove(&mut self, uid: &str, now: Instant) {
        self.sweep_at_times(now);
        let order = self.number();
        if self.pods.get(uid).is_none_or(|entry| entry.gone.is_some()) {
            return;
        }
        let Some(mut entry) = self.take_out(uid) else { return };
        entry.gone = Some((now, order));
        // A forced deletion, or one that was missed. (That of a mirror says nothing of the static pod.)
        if !entry.pod.life.deleting && entry.pod.config_hash.is_none() {
            Arc::make_mut(&mut entry.pod).life.deleting = true;
        }
        self.put_in(entry);
        if self.gone.len() > MAX_GONE {
            self.forget_one();
        }
    }

    /// A list begins: its pods come by [`Index::apply`], then [`Index::end_replace`]. A list that was not ended is given up.
    pub fn begin_replace(&mut self) {
        self.lists = self.lists.saturating_add(1);
    }

    /// The list has ended: a pod that did not come since it began is gone.
    pub fn end_replace(&mut self, now: Instant) {
        let missing = |entry: &&Entry| entry.gone.is_none() && entry.list < self.lists;
        let missing: Vec<_> =
            self.pods.values().filter(missing).map(|entry| Arc::clone(&entry.pod)).collect();
        for pod in missing {
            self.remove(&pod.uid, now);
        }
    }

    /// A whole list: a pod that is not in it is gone.
    pub fn replace(&mut self, pods: Vec<Pod>, now: Instant) {
        self.begin_replace();
        for pod in pods {
            self.apply(pod, now);
        }
        self.end_replace(now);
    }

    /// The container with this id, 64 hex digits.
    #[must_use]
    pub fn find_container(&self, id: &str) -> Option<IndexedContainer> {
        let id = Id::parse(id)?;
        let Place { pod, container, current, restart_count } = self.ids.get(&id)?.clone();
        let earlier = self.pods.get(&pod.uid).map(|entry| &*entry.earlier).unwrap_or_default();
        let earlier = earlier.iter().find(|earlier| earlier.run.id == id);
        let ended = match earlier {
            Some(earlier) => earlier.ended.as_deref(),
            None => pod.containers.get(container).and_then(|it| runs::ended(it, id)),
        };
        Some(IndexedContainer { ended: ended.cloned(), pod, container, current, restart_count })
    }

    /// The pod with this UID or, of a static pod, this config hash: the newest that had it. `None` where it is
    /// [disputed](Self::disputed). A UUID is never taken for a hash: an annotation could name any pod's.
    #[must_use]
    pub fn find_pod(&self, uid: &str) -> Option<Arc<Pod>> {
        let by_uid = self.pods.get(uid).map(|entry| &entry.pod);
        by_uid.or_else(|| self.mirror(uid)).cloned()
    }

    /// Whether pods of different names claim this config hash. The name is part of the hashed text, so at most one of them is the
    /// mirror of that static pod, and which cannot be told. (A mirror that was made anew has the same name.) A UUID is never
    /// disputed, else two annotations would take any pod's names away.
    #[must_use]
    pub fn disputed(&self, hash: &str) -> bool {
        let claimants = self.claimants(hash);
        claimants.iter().any(|pod| !same_name(pod, &claimants[0]))
    }

    fn mirror(&self, hash: &str) -> Option<&Arc<Pod>> {
        let claimants = if self.disputed(hash) { &[] } else { self.claimants(hash) };
        claimants.iter().max_by_key(|pod| self.pods.get(&pod.uid).map(|it| (it.gone.is_none(), it.born)))
    }

    /// The pods that claim this config hash.
    fn claimants(&self, hash: &str) -> &[Arc<Pod>] {
        self.hashes.get(hash).filter(|_| !is_uuid(hash)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The number of existing pods.
    #[must_use]
    pub fn pods(&self) -> usize {
        self.pods.len() - self.gone.len()
    }

    /// How many pods are gone and still known.
    #[must_use]
    pub fn gone(&self) -> usize {
        self.gone.len()
    }

    /// How many ids of containers are known, with those of earlier runs and of pods that are gone.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.ids.len()
    }

    /// How many pods had no room, since the start; each time that one came.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// About how much memory is held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets entries that were kept for long enough. The other methods do it at times: call this if they are not called for long.
    pub fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        let old = |since: Instant| now.saturating_duration_since(since) >= KEPT;
        let gone = self.pods.values().filter(|entry| entry.gone.is_some_and(|(since, _)| old(since)));
        let gone: Vec<_> = gone.map(|entry| Arc::clone(&entry.pod)).collect();
        for pod in gone {
            self.take_out(&pod.uid);
        }
        let stale = self.pods.values().filter(|entry| entry.earlier.iter().any(|earlier| old(earlier.since)));
        let stale: Vec<_> = stale.map(|entry| Arc::clone(&entry.pod)).collect();
        for pod in stale {
            let Some(mut entry) = self.take_out(&pod.uid) else { continue };
            let earlier = std::mem::take(&mut entry.earlier).into_iter();
            entry.earlier = earlier.filter(|earlier| !old(earlier.since)).collect();
            self.put_in(entry);
        }
    }

    fn sweep_at_times(&mut self, now: Instant) {
        if now.saturating_duration_since(*self.swept.get_or_insert(now)) >= SWEEP {
            self.sweep(now);
        }
    }

    fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Whether there is room for one more pod, at the cost of those that are gone.
    fn make_room(&mut self, bytes: usize) -> bool {
        while self.bytes + bytes > MAX_BYTES && self.forget_one() {}
        self.pods() < MAX_PODS && self.bytes + bytes <= MAX_BYTES
    }

    /// Forgets the pod that is gone for longest.
    fn forget_one(&mut self) -> bool {
        let uid = self.gone.first_key_value().map(|(_, uid)| uid.clone());
        uid.is_some_and(|uid| self.take_out(&uid).is_some())
    }

    fn put_in(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        if let Some((_, order)) = entry.gone {
            self.gone.insert(order, entry.pod.uid.clone());
        }
        let Self { pods, ids, hashes, .. } = self;
        // Mirror pods of one static pod have the same name and containers: the newest that exists has them. Of any other two
        // pods one names a container that is not its own: an existing pod keeps its containers.
        let (there, same) = (entry.gone.is_none(), |other: &Pod| same_name(other, &entry.pod));
        let mine = |other: &Pod| {
            other.uid == entry.pod.uid
                || pods.get(&other.uid).is_none_or(|holder| match (holder.gone.is_none(), there) {
                    (false, true) => true,
                    (true, false) => false,
                    _ => holder.born < entry.born && same(other),
                })
        };
        for run in entry.runs() {
            if ids.get(&run.id).is_none_or(|found| mine(&found.pod)) {
                ids.insert(run.id, run.found(&entry.pod));
            }
        }
        if let Some(hash) = &entry.pod.config_hash {
            hashes.entry(hash.clone()).or_default().push(Arc::clone(&entry.pod));
        }
        pods.insert(entry.pod.uid.clone(), entry);
    }

    fn take_out(&mut self, uid: &str) -> Option<Entry> {
        let entry = self.pods.remove(uid)?;
        self.bytes -= entry.bytes();
        if let Some((_, order)) = entry.gone {
            self.gone.remove(&order);
        }
        for run in entry.runs() {
            if self.ids.get(&run.id).is_some_and(|found| *found.pod.uid == *uid) {
                self.ids.remove(&run.id);
            }
        }
        if let Some(hash) = &entry.pod.config_hash
            && let Some(claimants) = self.hashes.get_mut(hash)
        {
            claimants.retain(|pod| *pod.uid != *uid);
            if claimants.is_empty() {
                self.hashes.remove(hash);
            }
        }
        Some(entry)
    }
}

fn same_name(one: &Pod, other: &Pod) -> bool {
    (&one.name, &one.namespace) == (&other.name, &other.namespace)
}
