//! Counts of the lines of the stream, taken as they are written. PURE.
//!
//! Label values come from the report's own enums, so their number is bounded. Expected series exist from the start with 0:
//! Prometheus sees a rise only between two samples, and a counter that begins at 1 hides the first kill.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use strum::VariantArray;

use crate::gfp::{GfpNames, Traits};
use crate::schema::{Cause, Incident, Kind, Level, Line};

/// Incidents that are remembered, so that each counts once: as many as the pipeline has revisions of.
const REMEMBERED: usize = 1024;
/// The largest order with its own label: the kernel's maximum, with pages of 4 KiB.
const LARGEST_ORDER: u32 = 10;

/// Upper bounds of the buckets of latencies, in seconds: a line takes some hundred microseconds; a line that folds, or waits for a
/// further victim, up to a second.
pub const BUCKETS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Labels of an incident: kind, cause, level.
pub type What = (Kind, Cause, Option<Level>);

/// Counts of lines.
#[derive(Clone, Debug)]
pub struct Lines {
    gfp: GfpNames,
    /// All lines.
    pub written: u64,
    /// Incidents, each once.
    pub incidents: BTreeMap<What, u64>,
    /// Processes that the OOM killer killed.
    pub kills: BTreeMap<(Cause, Option<Level>), u64>,
    pub failures: BTreeMap<(Order, Class), u64>,
    /// Latencies of first lines.
    pub latency: BTreeMap<Kind, Latency>,
    /// Recent incidents, and how many failed allocations or killed processes were counted of each.
    told: VecDeque<(String, u64)>,
}

/// The order of an allocation, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Of(u32),
    /// A larger one, of a kernel with large pages.
    Other,
    /// The allocation has no order.
    None,
}

/// Class of an allocation, by its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It may not sleep, and may use reserves.
    Atomic,
    /// It can sleep while memory is reclaimed.
    Sleeping,
    /// It may not sleep, nor use reserves.
    Nowait,
    /// Its caller expects it to fail.
    Nowarn,
}

/// Distribution of latencies.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// How many were in each of [`BUCKETS`], and above the last.
    pub counts: [u64; BUCKETS.len() + 1],
    pub sum_seconds: f64,
}

impl Order {
    /// All orders that have a label.
    fn all() -> impl Iterator<Item = Self> {
        (0..=LARGEST_ORDER).map(Self::Of).chain([Self::Other, Self::None])
    }

    fn of(order: Option<u32>) -> Self {
        match order {
            Some(order) if order <= LARGEST_ORDER => Self::Of(order),
            Some(_) => Self::Other,
            None => Self::None,
        }
    }

    /// The label's value.
    #[must_use]
    pub fn label(self) -> String {
        match self {
            Self::Of(order) => order.to_string(),
            Self::Other => "other".to_owned(),
            Self::None => "none".to_owned(),
        }
    }
}

impl Class {
    fn of(traits: Traits) -> Self {
        match traits {
            _ if traits.nowarn => Self::Nowarn,
            _ if traits.atomic() => Self::Atomic,
            _ if traits.may_sleep => Self::Sleeping,
            _ => Self::Nowait,
        }
    }
}

impl Latency {
    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().copied().fold(0, u64::saturating_add)
    }

    fn add(&mut self, seconds: f64) {
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum_seconds += seconds;
    }
}

impl Lines {
    /// No counts yet. `gfp` is the table of the kernel whose allocations are counted.
    #[must_use]
    pub fn new(gfp: GfpNames) -> Self {
        let orders =
            Order::all().flat_map(|order| Class::VARIANTS.iter().map(move |class| ((order, *class), 0)));
        Self {
            gfp,
            written: 0,
            incidents: expected().into_iter().map(|what| (what, 0)).collect(),
            kills: expected()
                .into_iter()
                .filter(|(kind, ..)| *kind == Kind::OomKill)
                .map(|(_, cause, level)| ((cause, level), 0))
                .collect(),
            failures: orders.collect(),
            latency: BTreeMap::from([(Kind::OomKill, Latency::default())]),
            told: VecDeque::new(),
        }
    }

    /// Counts a line that was written at this time of `CLOCK_BOOTTIME`.
    pub fn wrote(&mut self, line: &Line, now_ns: u64) {
        self.written = self.written.saturating_add(1);
        if let Line::Incident(incident) = line {
            self.incident(incident, now_ns);
        }
    }

    fn incident(&mut self, incident: &Incident, now_ns: u64) {
        let counted = match incident.kind {
            Kind::OomKill => killed(incident),
            Kind::OomNoKill | Kind::OomWait | Kind::ContainerExit => 0,
            Kind::AllocFailure | Kind::VmallocFailure | Kind::ChargeFailure | Kind::OtherAllocFailure => {
                incident.repeats.saturating_add(1)
            }
        };
        let remembered = self.told.iter_mut().rev().find(|(id, _)| *id == incident.id);
        let told = if let Some((_, told)) = remembered {
            std::mem::replace(told, counted.max(*told))
        } else {
            self.first_line(incident, counted, now_ns);
            0
        };
        // A later revision includes the count of the earlier ones.
        let new = counted.saturating_sub(told);
        if incident.kind == Kind::OomKill {
            let kills = self.kills.entry((incident.verdict.cause, incident.verdict.level)).or_default();
            *kills = kills.saturating_add(new);
        } else if new > 0 {
            let (order, gfp) =
                incident.allocation.as_ref().map_or((None, 0), |asked| (asked.order, asked.gfp_mask));
            let label = (Order::of(order), Class::of(self.gfp.traits(gfp)));
            let failures = self.failures.entry(label).or_default();
            *failures = failures.saturating_add(new);
        }
    }

    fn first_line(&mut self, incident: &Incident, counted: u64, now_ns: u64) {
        if self.told.len() >= REMEMBERED {
            self.told.pop_front();
        }
        self.told.push_back((incident.id.clone(), counted));
        let what = (incident.kind, incident.verdict.cause, incident.verdict.level);
        let incidents = self.incidents.entry(what).or_default();
        *incidents = incidents.saturating_add(1);
        // If it is a later revision, a filter dropped the earlier one, or it is forgotten. Lines that fold wait by design.
        if incident.revision == 1 && incident.folded.is_none() {
            let took = Duration::from_nanos(now_ns.saturating_sub(incident.ktime_ns));
            self.latency.entry(incident.kind).or_default().add(took.as_secs_f64());
        }
    }
}

/// Processes that a line about kills stands for; a victim that was exiting already was not killed.
fn killed(incident: &Incident) -> u64 {
    let ending = incident.victims.iter().filter(|victim| victim.exiting == Some(true)).count() as u64;
    let folded = incident.folded.as_ref().map_or(0, |folded| folded.exiting_total);
    incident.victims_total.saturating_sub(ending).saturating_sub(folded)
}

/// All results of the decision tables (`classify.rs`, `classify/alloc.rs`).
#[must_use]
pub fn expected() -> Vec<What> {
    let levels = || Level::VARIANTS.iter().copied().map(Some).chain([None]);
    let causes = Cause::VARIANTS.iter().flat_map(|cause| levels().map(|level| (*cause, level)));
    let all =
        Kind::VARIANTS.iter().flat_map(|kind| causes.clone().map(|(cause, level)| (*kind, cause, level)));
    all.filter(|(kind, cause, level)| levels_of(*kind, *cause).contains(*level)).collect()
}

/// The levels that go with a cause.
#[derive(Clone, Copy)]
enum Levels {
    /// The kind of incident does not have this cause.
    Never,
    /// There is no level.
    Without,
    Node,
    /// The node, or no level, as for a sysrq kill.
    NodeOrWithout,
    /// Any limit of a memcg, also an unknown one.
    BelowNode,
}

impl Levels {
    fn contains(self, level: Option<Level>) -> bool {
        match self {
            Self::Never => false,
            Self::Without => level.is_none(),
            Self::Node => level == Some(Level::Node),
            Self::NodeOrWithout => level.is_none_or(|level| level == Level::Node),
            Self::BelowNode => level != Some(Level::Node),
        }
    }
}

fn levels_of(kind: Kind, cause: Cause) -> Levels {
    match kind {
        Kind::OomKill | Kind::OomNoKill => match cause {
            Cause::SystemOom => Levels::NodeOrWithout,
            Cause::CgroupOom => Levels::BelowNode,
            Cause::Unknown => Levels::Without,
            _ => Levels::Never,
        },
        Kind::OomWait | Kind::ChargeFailure => match cause {
            Cause::CgroupOom => Levels::BelowNode,
            _ => Levels::Never,
        },
        Kind::AllocFailure => match cause {
            Cause::Fragmentation | Cause::LowMemory => Levels::Node,
            Cause::Unknown => Levels::Without,
            _ => Levels::Never,
        },
        Kind::VmallocFailure => match cause {
            Cause::LowMemory => Levels::Node,
            Cause::Unknown => Levels::Without,
            _ => Levels::Never,
        },
        Kind::OtherAllocFailure => match cause {
            Cause::Unknown => Levels::Without,
            _ => Levels::Never,
        },
        Kind::ContainerExit => match cause {
            Cause::ContainerExit | Cause::Killed | Cause::HealthCheck | Cause::Stopped | Cause::Unknown => {
                Levels::Without
            }
            Cause::CgroupOom => Levels::BelowNode,
            Cause::SystemOom => Levels::NodeOrWithout,
            Cause::Fragmentation | Cause::LowMemory => Levels::Never,
        },
    }
}

/// The report's word for it.
#[must_use]
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        // Null: an unknown level.
        _ => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests;
