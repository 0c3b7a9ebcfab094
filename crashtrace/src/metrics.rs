//! Metrics and health of the agent by HTTP, where `--metrics` is given: counts for Prometheus, and whether it works.
//!
//! ```text
//! lines written ----> incidents --+
//! counters of the stream ---------+--> Metrics --> exposition --> /metrics
//! hooks, names, heartbeat --------+            \-> health ------> /healthz, /readyz
//! ```
//!
//! [`table`] has each metric's name, unit and line. The loop stores its facts in [`Metrics`], [`http`] answers from that, and only
//! [`server`] touches a socket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod ends;
pub mod exposition;
pub mod health;
pub mod http;
pub mod incidents;
pub mod server;
pub mod table;

pub use health::{Health, Hooks, OutputState, Readiness};
use incidents::Lines;

use crate::gfp::GfpNames;
use crate::kube_reports::Counts;
use crate::names::NamesStatus;
use crate::schema::Line;
use crate::sinks::{Backlog, LineSink};
use crate::stats::{EndCounts, Stats};

/// Facts to serve, at this moment.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The hooks in place.
    pub hooks: Hooks,
    /// Size of the ring of records, where the kernel tells.
    pub ring_bytes: Option<u64>,
    pub lines: Lines,
    /// The counters of the stream.
    pub stats: Stats,
    /// Ends of containers, reported or not.
    pub ends: EndCounts,
    /// Sources of names, and their state.
    pub names: Vec<NamesStatus>,
    /// What was written to the API server: reports on pods, Events; empty if neither is wanted.
    pub kube_writes: Vec<Counts>,
    /// When the loop last went round.
    pub round_ns: Option<u64>,
    /// When it last emptied the ring.
    pub drained_ns: Option<u64>,
    /// Lines that wait to be written.
    pub backlog: Arc<Backlog>,
}

impl Metrics {
    /// Metrics of an agent that has not started.
    #[must_use]
    pub fn new(hooks: Hooks, ring_bytes: Option<u64>, gfp: GfpNames) -> Self {
        Self {
            hooks,
            ring_bytes,
            lines: Lines::new(gfp),
            stats: Stats::default(),
            ends: EndCounts::default(),
            names: Vec::new(),
            kube_writes: Vec::new(),
            round_ns: None,
            drained_ns: None,
            backlog: Arc::default(),
        }
    }

    /// Whether the loop goes round, as of now.
    #[must_use]
    pub fn health(&self, now_ns: u64) -> Health {
        Health::of(self.round_ns, self.drained_ns, now_ns)
    }

    /// Whether incidents are seen and reported, as of now.
    #[must_use]
    pub fn readiness(&self, now_ns: u64) -> Readiness<'_> {
        let output = OutputState::of(&self.backlog, now_ns);
        Readiness::of(&self.health(now_ns), output, &self.hooks, &self.names, self.stats.lost())
    }
}

/// A handle on the metrics: for the loop, the server, and the thread that writes lines.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Metrics>>);

impl Shared {
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Mutex::new(metrics)))
    }

    /// Access to the metrics, not to be held across an await.
    pub fn lock(&self) -> MutexGuard<'_, Metrics> {
        // Each change leaves them consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts lines once standard output has taken them.
#[derive(Debug)]
pub struct WrittenLines {
    /// Where they are counted.
    pub metrics: Shared,
    /// `CLOCK_BOOTTIME`.
    pub now_ns: fn() -> u64,
}

impl LineSink for WrittenLines {
    fn line(&mut self, line: &Line) {
        self.metrics.lock().lines.wrote(line, (self.now_ns)());
    }
}
