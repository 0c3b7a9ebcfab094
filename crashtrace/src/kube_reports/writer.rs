//! Writes reports and Events, one request after the other.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::Object;
use super::digest::digests;
use super::event::{EventBook, Key};
use super::schedule::{Next, Pace, Schedule};
use super::store::Store;
use crate::pods::kube::{self, Connection};
use crate::schema::Line;
use crate::sinks::LineSink;
use crate::supervise::{self, Supervised};

mod refusal;
mod requests;

use requests::Writer;

/// The usual pause after what only somebody can mend: a missing CRD or right, an admission that refuses.
const REFUSED: Duration = Duration::from_mins(5);
pub(super) const JSON: &str = "application/json";

/// What is written, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the server is, and the node's name.
    pub kube: kube::Options,
    /// Write `CrashReport` objects.
    pub reports: bool,
    /// Write Events.
    pub events: bool,
    /// Of this run of the agent: a part of the names of its Events.
    pub session: String,
    pub pace: Pace,
    /// The pause after what only somebody can mend: a missing CRD or right, an admission that refuses.
    pub refused: Duration,
}

impl Options {
    /// Nothing, with the usual times.
    #[must_use]
    pub fn new(kube: kube::Options, session: impl Into<String>) -> Self {
        Self {
            kube,
            reports: false,
            events: false,
            session: session.into(),
            pace: Pace::default(),
            refused: REFUSED,
        }
    }
}

/// A pod that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    /// As the API server has it; of a static pod the mirror's.
    pub uid: String,
}

/// Finds a pod that is there by its UID or, of a static pod, its config hash.
type Find = Arc<dyn Fn(&str) -> Option<Pod> + Send + Sync>;

/// What became of one kind of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes that the server took.
    pub written: u64,
    /// Writes that came to nothing, and were or will be tried again.
    pub failed: u64,
    /// Changes that were written with others.
    pub coalesced: u64,
    /// Objects that were not written, since the pod or its namespace had gone.
    pub gone: u64,
    /// Objects that wait now.
    pub waiting: u64,
    /// Incidents left out for want of memory. Their counts are not.
    pub left_out: u64,
    /// Why objects are not written, while that lasts.
    pub problem: Option<String>,
}

/// A handle on the writer. When the last is gone, so is the writer.
#[derive(Clone, Debug)]
pub struct Reports {
    shared: Arc<Shared>,
    _task: Arc<Supervised>,
}

impl Reports {
    /// Begins. Must be called within a tokio runtime, which then runs the writer; returns at once.
    #[must_use]
    pub fn start(options: Options, find: Find) -> Self {
        let pauses = options.kube.pauses;
        let shared = Arc::new(Shared::new(options, find));
        let task = supervise::keep(
            "the writer of reports to the API server",
            pauses,
            Arc::clone(&shared),
            run,
            |_: &Shared, _| {},
        );
        Self { shared, _task: Arc::new(task) }
    }

    /// Takes a line. Never waits.
    pub fn take(&self, line: &Line) {
        if let Line::Incident(incident) = line {
            self.shared.state().take(&self.shared.options, &digests(incident), Instant::now());
            self.shared.changed.notify_one();
        }
    }

    /// Writes what waits, also what would rest for a while, and not beyond this time. For the agent's end.
    pub async fn finish(&self, within: Duration) {
        {
            let mut state = self.shared.state();
            let now = Instant::now();
            state.reports.hurry(now);
            state.events.hurry(now);
            if state.reports.waiting() + state.events.waiting() > 0 {
                self.shared.idle.send_replace(false);
            }
        }
        self.shared.changed.notify_one();
        let mut idle = self.shared.idle.subscribe();
        if timeout(within, idle.wait_for(|idle| *idle)).await.is_err() {
            let [reports, events] = self.counts().map(|counts| counts.waiting);
            tracing::warn!(reports, events, "not all was written to the API server; the stream has it");
        }
    }

    /// What became of reports and of Events so far.
    #[must_use]
    pub fn counts(&self) -> [Counts; 2] {
        self.shared.state().counts()
    }
}

impl LineSink for Reports {
    fn line(&mut self, line: &Line) {
        self.take(line);
    }
}

struct Shared {
    options: Options,
    find: Find,
    state: Mutex<State>,
    changed: Notify,
    /// Nothing is being written, and nothing waits.
    idle: watch::Sender<bool>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    store: Store,
    reports: Schedule<String>,
    book: EventBook,
    events: Schedule<Key>,
    /// By [`Object`].
    counts: [Counts; 2],
}

impl State {
    fn take(&mut self, options: &Options, digests: &[super::Digest], now: Instant) {
        for digest in digests {
            if options.reports
                && let Some(pod) = &digest.pod
                && self.store.take(pod, digest)
            {
                self.reports.changed(&pod.uid, now);
            }
            if options.events
                && let Some(key) = self.book.take(digest)
            {
                self.events.changed(&key, now);
            }
        }
    }

    fn counts_of(&mut self, object: Object) -> &mut Counts {
        let [reports, events] = &mut self.counts;
        match object {
            Object::Report => reports,
            Object::Event => events,
        }
    }

    fn pause(&mut self, object: Object, until: Instant) {
        match object {
            Object::Report => self.reports.pause(until),
            Object::Event => self.events.pause(until),
        }
    }

    /// The report waits again for this long, or with its pod is gone.
    fn again_report(&mut self, uid: &String, wait: Option<Duration>) {
        if let Some(after) = wait {
            self.store.unwritten(uid);
            self.reports.again(uid, Instant::now(), after);
        } else {
            self.store.forget(uid);
            self.reports.forget(uid);
        }
    }

    /// The same of an Event.
    fn again_event(&mut self, key: &Key, wait: Option<Duration>) {
        if let Some(after) = wait {
            self.events.again(key, Instant::now(), after);
        } else {
            self.book.forget(key);
            self.events.forget(key);
        }
    }

    fn counts(&self) -> [Counts; 2] {
        let [reports, events] = self.counts.clone();
        [
            Counts {
                coalesced: self.reports.coalesced(),
                waiting: self.reports.waiting() as u64,
                left_out: self.store.left_out(),
                ..reports
            },
            Counts { coalesced: self.events.coalesced(), waiting: self.events.waiting() as u64, ..events },
        ]
    }
}

impl Shared {
    fn new(options: Options, find: Find) -> Self {
        let state = State {
            store: Store::default(),
            reports: Schedule::new(options.pace),
            book: EventBook::new(&options.kube.node, &options.session),
            events: Schedule::new(options.pace),
            counts: Default::default(),
        };
        Self {
            options,
            find,
            state: Mutex::new(state),
            changed: Notify::new(),
            idle: watch::Sender::new(true),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of it leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes for ever, as far as there is something to write.
async fn run(shared: Arc<Shared>) {
    let mut writer = Writer::new(Arc::clone(&shared));
    loop {
        let now = Instant::now();
        let (report, event) = {
            let mut state = shared.state();
            (state.reports.next(now), state.events.next(now))
        };
        if report != Next::Idle || event != Next::Idle {
            shared.idle.send_replace(false);
        }
        let mut wakes = Vec::new();
        let mut any = false;
        match report {
            Next::Write(uid) => {
                let written = writer.report(&uid).await;
                writer.judge(Object::Report, written, |state, wait| state.again_report(&uid, wait));
                any = true;
            }
            Next::At(at) => wakes.push(at),
            Next::Idle => {}
        }
        match event {
            Next::Write(key) => {
                let written = writer.event(&key).await;
                writer.judge(Object::Event, written, |state, wait| state.again_event(&key, wait));
                any = true;
            }
            Next::At(at) => wakes.push(at),
            Next::Idle => {}
        }
        if writer.connection.as_ref().is_some_and(Connection::is_for_one_watch) {
            writer.connection = None;
        }
        match wakes.into_iter().min() {
            _ if any => {}
            Some(at) => {
                let wait = at.saturating_duration_since(Instant::now());
                let _ = timeout(wait, shared.changed.notified()).await;
            }
            None => {
                // It would hold the memory of TLS for a next death that may be days away.
                writer.connection = None;
                shared.idle.send_replace(true);
                shared.changed.notified().await;
            }
        }
    }
}
