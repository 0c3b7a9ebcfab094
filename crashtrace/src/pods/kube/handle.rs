//! The handle: answers from memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::message::{Event, object};
use super::problem::Problem;
use super::status::{State, WatchStatus};
use super::{Options, events};
use crate::names::Events;
use crate::pods::index::{Index, IndexedContainer};
use crate::pods::object::{PodObject, pod};
use crate::pods::pod::Pod;
use crate::supervise::{self, Ended, Supervised};

/// A handle on the pods of a node. Clones share it; when the last is gone, so is the watch.
#[derive(Clone, Debug)]
pub struct Kube {
    shared: Arc<Shared>,
    events: Arc<events::Shared>,
    _tasks: Arc<[Supervised; 2]>,
}

impl Kube {
    /// Begins to watch. Must be called within a tokio runtime, which then runs the watch; returns at once, whatever the server
    /// does.
    #[must_use]
    pub fn start(options: Options) -> Self {
        Self::keep(options, |shared, options| async move {
            tokio::join!(super::watch::run(Arc::clone(&shared), options), super::log::log(shared));
        })
    }

    /// Runs `watch`, anew each time that it ends: only a bug of this program ends it. Known pods stay known.
    fn keep<F>(options: Options, watch: impl Fn(Arc<Shared>, Options) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (shared, pauses) = (Arc::new(Shared::new(options.grace)), options.pauses);
        let of_events = options.clone();
        let event_options = options.events;
        let start = move |shared| watch(shared, options.clone());
        let ended = |shared: &Shared, ended: &Ended| {
            shared.change(|inner, now| inner.fails(Problem::Fault(ended.to_string()), now));
        };
        let events = Arc::new(events::Shared::new(event_options));
        let watch = supervise::keep("the watch of pods", pauses, Arc::clone(&shared), start, ended);
        let lists = supervise::keep(
            "the look-up of Events",
            pauses,
            Arc::clone(&events),
            move |shared| events::run(shared, of_events.clone()),
            |shared: &events::Shared, ended: &Ended| shared.fault(ended.to_string()),
        );
        Self { shared, events, _tasks: Arc::new([watch, lists]) }
    }

    /// The Events of the pod with this UID or, of a static pod, this config hash, for the end of the container with this id: from
    /// memory, never waits. The first call makes them be listed, and later ones have them.
    #[must_use]
    pub fn events(&self, namespace: &str, uid: &str, container_id: Option<&str>) -> Events {
        self.events.ask(namespace, uid, container_id)
    }

    /// The container with this id, from memory: never waits.
    #[must_use]
    pub fn find_container(&self, id: &str) -> Option<IndexedContainer> {
        self.shared.inner().index.find_container(id)
    }

    /// The pod with this UID or, of a static pod, this config hash, from memory: never waits.
    #[must_use]
    pub fn find_pod(&self, uid_or_hash: &str) -> Option<Arc<Pod>> {
        self.shared.inner().index.find_pod(uid_or_hash)
    }

    /// Whether several pods claim this config hash ([`Index::disputed`]), from memory: never waits.
    #[must_use]
    pub fn disputed(&self, hash: &str) -> bool {
        self.shared.inner().index.disputed(hash)
    }

    /// How it goes.
    #[must_use]
    pub fn status(&self) -> WatchStatus {
        WatchStatus { events_problem: self.events.problem(), ..self.shared.status(Instant::now()) }
    }

    /// Waits until the status is as wanted, at most until the deadline. The last status either way.
    ///
    /// # Errors
    /// It is not as wanted in time.
    pub async fn wait(
        &self,
        deadline: Duration,
        wanted: impl Fn(&WatchStatus) -> bool,
    ) -> Result<WatchStatus, WatchStatus> {
        /// A trouble turns into one that lasts by time alone.
        const TICK: Duration = Duration::from_millis(50);
        let mut changes = self.shared.changes.subscribe();
        let end = Instant::now() + deadline;
        loop {
            let status = self.status();
            if wanted(&status) {
                return Ok(status);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(status);
            }
            // The sender is dropped only with this handle, so an error cannot come here.
            let _ = tokio::time::timeout(left.min(TICK), changes.changed()).await;
        }
    }
}

/// The state that the watch writes and the handles read.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    changes: watch::Sender<()>,
    grace: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    index: Index,
    lists: u64,
    watches: u64,
    failures: u64,
    events: u64,
    unreadable: u64,
    received_bytes: u64,
    listed: Option<Instant>,
    heard: Option<Instant>,
    pub(super) streams_lists: bool,
    bookmarks: Bookmarks,
    /// The current trouble, and since when.
    trouble: Option<(Instant, Problem)>,
}

/// Whether the server sends bookmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Bookmarks {
    /// None has come yet, and none is missing.
    #[default]
    Expected,
    Come,
    /// A watch without bookmarks was given up, and none had ever come.
    Missing,
}

impl Shared {
    pub(super) fn new(grace: Duration) -> Self {
        Self { inner: Mutex::default(), changes: watch::Sender::new(()), grace }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Each change of it leaves it whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it, and wakes the waiting handles.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Inner, Instant) -> T) -> T {
        let result = change(&mut self.inner(), Instant::now());
        self.changes.send_replace(());
        result
    }

    /// How long a watch may be silent.
    pub(super) fn silence(&self, options: &Options) -> Duration {
        match self.inner().bookmarks {
            Bookmarks::Expected | Bookmarks::Come => options.silence,
            Bookmarks::Missing => options.silence_without_bookmarks.max(options.silence),
        }
    }

    /// Told of each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// In how long a trouble will count, that does not yet.
    pub(super) fn turns_in(&self, now: Instant) -> Option<Duration> {
        let since = self.inner().trouble.as_ref().map(|(since, _)| *since)?;
        let left = (since + self.grace).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    pub(super) fn status(&self, now: Instant) -> WatchStatus {
        let inner = self.inner();
        let age = |then: Option<Instant>| then.map(|then| now.saturating_duration_since(then));
        let state = match &inner.trouble {
            Some((since, problem)) if now.saturating_duration_since(*since) >= self.grace => {
                State::Degraded { lasted: now.saturating_duration_since(*since), problem: problem.clone() }
            }
            _ if inner.listed.is_some() => State::Synced,
            _ => State::Connecting,
        };
        WatchStatus {
            state,
            problem: inner.trouble.as_ref().map(|(_, problem)| problem.clone()),
            pods: inner.index.pods(),
            containers: inner.index.containers(),
            refused_pods: inner.index.refused(),
            lists: inner.lists,
            watches: inner.watches,
            failures: inner.failures,
            received_bytes: inner.received_bytes,
            events: inner.events,
            unreadable: inner.unreadable,
            list_age: age(inner.listed),
            heard_age: age(inner.heard),
            streams_lists: inner.streams_lists,
            events_problem: None,
        }
    }
}

impl Inner {
    pub(super) fn fails(&mut self, problem: Problem, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if matches!(problem, Problem::Quiet(_)) && self.bookmarks == Bookmarks::Expected {
            self.bookmarks = Bookmarks::Missing;
        }
        self.doubts(problem, now);
    }

    /// The pods in the index may be out of date.
    pub(super) fn doubts(&mut self, problem: Problem, now: Instant) {
        let since = self.trouble.as_ref().map_or(now, |(since, _)| *since);
        self.trouble = Some((since, problem));
    }

    pub(super) fn goes_well(&mut self) {
        self.trouble = None;
    }

    pub(super) fn receives(&mut self, bytes: u64) {
        self.received_bytes = self.received_bytes.saturating_add(bytes);
    }

    pub(super) fn begins_list(&mut self) {
        self.index.begin_replace();
    }

    pub(super) fn ends_list(&mut self, now: Instant) {
        self.index.end_replace(now);
        self.listed = Some(now);
        self.heard = Some(now);
        self.goes_well();
    }

    /// An item of a list, by the kept part of it.
    pub(super) fn takes_item(&mut self, kept: &[u8], now: Instant) {
        self.takes(&object(kept), now);
    }

    /// An item of a list of which too much would be kept, or a line that is no event.
    pub(super) fn passes_over(&mut self) {
        self.counts_event();
        self.counts_unreadable();
    }

    /// A line of a watch.
    pub(super) fn takes_event(&mut self, event: &Event, now: Instant) {
        self.heard = Some(now);
        match event {
            Event::There(object) => self.takes(object, now),
            Event::Gone(object) => {
                self.takes(object, now);
                if let Some(uid) = &object.metadata.uid {
                    self.index.remove(uid, now);
                }
            }
            Event::Bookmark { .. } => {
                self.counts_event();
                self.bookmarks = Bookmarks::Come;
                // A quiet node has no other occasion.
                self.index.sweep(now);
            }
            Event::Error { .. } => self.counts_event(),
            Event::Unknown => self.passes_over(),
        }
    }

    fn takes(&mut self, object: &PodObject, now: Instant) {
        self.counts_event();
        match pod(object) {
            // Without room for it, it is counted by the index.
            Some(pod) => _ = self.index.apply(pod, now),
            None => self.counts_unreadable(),
        }
    }

    /// A list is requested.
    pub(super) fn asks_list(&mut self) {
        self.lists = self.lists.saturating_add(1);
    }

    /// A watch is requested.
    pub(super) fn asks_watch(&mut self) {
        self.watches = self.watches.saturating_add(1);
    }

    fn counts_event(&mut self) {
        self.events = self.events.saturating_add(1);
    }

    fn counts_unreadable(&mut self) {
        self.unreadable = self.unreadable.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pods::directory::PodWatch as _;
    use crate::pods::kube::Pauses;
    use crate::pods::kube::source::Source;
    use crate::supervise::tests::panics_once;

    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn counts_stay_at_the_largest_number() {
        let shared = Shared::new(Duration::ZERO);
        let most = u64::MAX;
        shared.change(|inner, now| {
            (inner.lists, inner.watches, inner.failures) = (most, most, most);
            (inner.events, inner.unreadable, inner.received_bytes) = (most, most, most);
            inner.asks_list();
            inner.asks_watch();
            inner.receives(1);
            inner.passes_over();
            inner.fails(Problem::Broken(String::new()), now);
        });
        let status = shared.status(Instant::now());
        assert_eq!((status.requests(), status.failures, status.received_bytes), (most, most, most));
        assert_eq!(
            (status.lists, status.watches, status.events, status.unreadable),
            (most, most, most, most)
        );
    }

    #[tokio::test]
    async fn known_pods_are_stale_while_trouble_lasts() {
        let source = Source::of_pod(|_| None, std::path::Path::new("/nowhere"));
        let kube = Kube::keep(Options::new("node", source), |_, _| std::future::pending());
        let quiet = Duration::from_secs(150);
        let stale = || (kube.reliance().stale_seconds, kube.reliance().soon);
        kube.shared.change(|inner, now| inner.ends_list(now.checked_sub(quiet).expect("an earlier time")));
        assert_eq!(stale(), (None, true), "a quiet node");
        kube.shared.change(|inner, now| inner.fails(Problem::Quiet(quiet), now));
        assert_eq!(stale(), (None, true), "it may be over in a moment");
        kube.shared.change(|inner, now| {
            inner.goes_well();
            inner.fails(Problem::Quiet(quiet), now.checked_sub(quiet).expect("an earlier time"));
        });
        let (seconds, soon) = stale();
        assert!(seconds.is_some_and(|seconds| seconds >= 150) && !soon, "{seconds:?}");
        assert!(kube.reliance().reason.contains("not even a bookmark"), "{:?}", kube.reliance());
        kube.shared.change(|inner, _| inner.goes_well());
        assert_eq!(stale(), (None, true));
    }

    #[tokio::test]
    async fn a_watch_that_panics_is_said_and_begins_anew() {
        let moment = Duration::from_millis(1);
        let pauses = Pauses { first: moment, longest: moment, health: LONG };
        let source = Source::of_pod(|_| None, std::path::Path::new("/nowhere"));
        let options = Options { pauses, grace: Duration::ZERO, ..Options::new("node", source) };
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let watch = panics_once(&gate, |shared: &Shared| shared.change(Inner::ends_list));
        let kube = Kube::keep(options, move |shared, _| watch(shared));
        let degraded = |status: &WatchStatus| matches!(status.state, State::Degraded { .. });
        let status = kube.wait(LONG, degraded).await.expect("it is said");
        assert_eq!(
            status.reason().as_deref(),
            Some(
                "a fault of crashtrace stopped the watch of pods, which is started anew: index out of bounds"
            )
        );
        gate.add_permits(1);
        kube.wait(LONG, |status| status.state == State::Synced).await.expect("it begins anew");
    }
}
