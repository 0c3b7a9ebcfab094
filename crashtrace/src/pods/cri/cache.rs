//! The containers of a runtime that are known, from one list to the next. PURE: time is an argument.
//!
//! A report comes after its container's end, and the runtime may remove an ended container a moment later. So items that are
//! no longer listed are kept for a while, in bounded number.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CriContainer, CriSandbox, Listing};

/// How long something is known after the runtime has removed it.
pub const KEPT: Duration = Duration::from_mins(10);
/// The most containers that are kept, and as many sandboxes. The same holds for items that a list which is not whole lacks.
pub const MOST_KEPT: usize = 4096;
/// How much of memory these may take, in bytes: containers, and as much the sandboxes.
pub const MOST_KEPT_BYTES: usize = 2 << 20;
/// How many questions without an answer are remembered.
const MOST_ASKED: usize = 1024;

/// The container or sandbox of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A container of a pod.
    Container(Arc<CriContainer>),
    /// A pod's sandbox.
    Sandbox(Arc<CriSandbox>),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    containers: Shelf<CriContainer>,
    sandboxes: Shelf<CriSandbox>,
    /// Ids that were looked up and not known, and since when.
    asked: HashMap<String, Instant>,
    /// When the last whole list was begun.
    listed: Option<Instant>,
}

impl Cache {
    /// The container or sandbox of this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Listed> {
        let container = self.containers.get(id).map(Listed::Container);
        container.or_else(|| self.sandboxes.get(id).map(Listed::Sandbox))
    }

    /// The newest sandbox of the pod with this UID (of a static pod, its config hash).
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<Arc<CriSandbox>> {
        let all = self.sandboxes.entries.values().map(|entry| &entry.value);
        let of_pod = all.filter(|sandbox| sandbox.pod_uid.as_deref() == Some(uid));
        of_pod.max_by_key(|sandbox| (sandbox.created_unix_ns, sandbox.attempt)).cloned()
    }

    /// How many containers are known, with those that are only kept.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.containers.entries.len()
    }

    /// How many pods are known by their sandboxes, with those that are only kept. A pod may have had several.
    #[must_use]
    pub fn pods(&self) -> usize {
        let uids = self.sandboxes.entries.values().filter_map(|entry| entry.value.pod_uid.as_deref());
        uids.collect::<HashSet<_>>().len()
    }

    /// Whether another list could have this id. It cannot once a list that was begun after the first lookup lacked
    /// it: a container is listed before its first process runs, so it is none of this runtime's, or was removed.
    pub fn wants(&mut self, id: &str, now: Instant) -> bool {
        if let Some(since) = self.asked.get(id) {
            return self.listed.is_none_or(|listed| listed < *since);
        }
        if self.asked.len() >= MOST_ASKED {
            let oldest = self.asked.iter().min_by_key(|(_, since)| **since).map(|(id, _)| id.clone());
            oldest.and_then(|id| self.asked.remove(&id));
        }
        self.asked.insert(id.to_owned(), now);
        true
    }

    /// Takes in a list that was begun at `began`. One that is not `whole` lacks the items of some runtime: an item that is
    /// missing in it may still exist.
    pub fn take(&mut self, listing: Listing, whole: bool, began: Instant) {
        self.containers.take(listing.containers, whole, began);
        self.sandboxes.take(listing.sandboxes, whole, began);
        if whole {
            self.listed = Some(began);
        }
        let Self { asked, containers, sandboxes, .. } = self;
        asked.retain(|id, since| {
            let known = containers.entries.contains_key(id) || sandboxes.entries.contains_key(id);
            !known && began.saturating_duration_since(*since) < KEPT
        });
    }
}

/// Something that a runtime lists.
trait Cached: PartialEq {
    fn id(&self) -> &str;
    /// Its size in memory.
    fn bytes(&self) -> usize;
}

impl Cached for CriContainer {
    fn id(&self) -> &str {
        &self.id
    }

    fn bytes(&self) -> usize {
        let texts =
            [&self.name, &self.image, &self.pod_uid, &self.namespace, &self.pod_name, &self.sandbox_id];
        size_of_val(self) + 2 * self.id.len() + texts_bytes(&texts)
    }
}

impl Cached for CriSandbox {
    fn id(&self) -> &str {
        &self.id
    }

    fn bytes(&self) -> usize {
        size_of_val(self) + 2 * self.id.len() + texts_bytes(&[&self.pod_uid, &self.namespace, &self.pod_name])
    }
}

fn texts_bytes(texts: &[&Option<String>]) -> usize {
    texts.iter().filter_map(|text| text.as_deref()).map(str::len).sum()
}

/// Things by their ids.
#[derive(Debug)]
struct Shelf<T> {
    entries: HashMap<String, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    /// Of the list that it was on last.
    listed: Instant,
    /// Since when it is not listed any more.
    gone: Option<Instant>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<T: Cached> Shelf<T> {
    fn get(&self, id: &str) -> Option<Arc<T>> {
        self.entries.get(id).map(|entry| Arc::clone(&entry.value))
    }

    fn take(&mut self, listed: Vec<T>, whole: bool, began: Instant) {
        let mut there = HashSet::with_capacity(listed.len());
        for value in listed {
            there.insert(value.id().to_owned());
            if let Some(entry) = self.entries.get_mut(value.id()) {
                (entry.listed, entry.gone) = (began, None);
                if *entry.value != value {
                    entry.value = Arc::new(value);
                }
            } else {
                let id = value.id().to_owned();
                self.entries.insert(id, Entry { value: Arc::new(value), listed: began, gone: None });
            }
        }
        if whole {
            for (_, entry) in self.entries.iter_mut().filter(|(id, _)| !there.contains(*id)) {
                entry.gone.get_or_insert(began);
            }
        }
        self.entries
            .retain(|_, entry| entry.gone.is_none_or(|gone| began.saturating_duration_since(gone) < KEPT));
        self.shrink(&there);
    }

    /// Drops items that are only kept (gone, or not on a list that is not whole) beyond the bounds: the longest gone first.
    fn shrink(&mut self, there: &HashSet<String>) {
        let kept = self.entries.iter().filter(|(id, _)| !there.contains(*id));
        let mut kept: Vec<_> = kept
            .map(|(id, entry)| (entry.gone.unwrap_or(entry.listed), id.clone(), entry.value.bytes()))
            .collect();
        kept.sort_unstable();
        let mut bytes = 0;
        let stay = kept.iter().rev().take(MOST_KEPT).take_while(|(_, _, more)| {
            bytes += more;
            bytes <= MOST_KEPT_BYTES
        });
        let stay = stay.count();
        for (_, id, _) in &kept[..kept.len() - stay] {
            self.entries.remove(id);
        }
    }
}
