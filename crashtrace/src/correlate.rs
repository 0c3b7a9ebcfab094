//! Incidents: the events that belong to one decision of the kernel.

use crate::event::{OomDecision, OomNoVictim, OomVictim};

/// The events of one decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Incident {
    /// The OOM killer killed.
    OomKill(Box<OomKill>),
    /// The OOM killer found nobody to kill.
    OomNoKill(Box<OomNoKill>),
}

/// A decision and all its victims.
#[derive(Clone, Debug, PartialEq)]
pub struct OomKill {
    /// What names the incident: the decision's time and CPU, or its first victim's if the decision was lost.
    pub ktime_ns: u64,
    /// See `ktime_ns`.
    pub cpu: u32,
    /// The decision; `None` if its record was lost.
    pub decision: Option<Box<OomDecision>>,
    /// Every process that was marked, each once, in the order of the marks.
    pub victims: Vec<OomVictim>,
    /// Seen from its decision to its end, or known to have no more to it.
    pub complete: bool,
}

/// An OOM without a victim, with its repeats.
#[derive(Clone, Debug, PartialEq)]
pub struct OomNoKill {
    /// The first of them since the last line.
    pub event: Box<OomNoVictim>,
    /// How many more this stands for.
    pub repeats: u64,
}
