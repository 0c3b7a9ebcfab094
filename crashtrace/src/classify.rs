//! Verdicts: why it happened, as a pure function of the case. A verdict holds facts and no text; [`crate::describe`] has the
//! words. Each kind of incident has its file.

use crate::cgroup::{Place, Placement};
use crate::correlate::Incident;
use crate::enrich::{Case, Party};
use crate::event::{Constraint, Limit, Lineage};
use crate::fragmentation::Assessment;
use crate::names::MemoryBounds;
use crate::schema::{Cause, Certainty, Field, Level, Origin, Shortage};

pub mod alloc;
pub mod oom;
mod reason;
#[cfg(test)]
pub(crate) mod tests;
pub mod zones;

pub use alloc::AllocFacts;
pub use oom::OomFacts;
pub use reason::{NoTrace, Open, Reason};

/// Why an incident happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub cause: Cause,
    /// What the node's memory lacked, where it was short and the zones tell.
    pub shortage: Option<Shortage>,
    /// Whose limit it was.
    pub level: Option<Level>,
    /// How the kernel came to it.
    pub origin: Option<Origin>,
    /// Which memory the allocation was bound to: its own word, or `memcg` where the cause is known otherwise.
    pub constraint: Option<Constraint>,
    /// The limit that was hit, where it is a cgroup's.
    pub limit: Option<LimitFinding>,
    /// What Kubernetes has as the bounds of the limit owner.
    pub kubernetes: Option<MemoryBounds>,
    pub certainty: Certainty,
    /// What was inferred.
    pub inferred: Vec<Field>,
    /// What the verdict leaves open, beside [`Case::unresolved`].
    pub unresolved: Vec<Open>,
    /// What each zone says about the allocation.
    pub assessment: Option<Assessment>,
    /// What else was found, by the kind of incident.
    pub facts: Facts,
}

/// What a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    Oom(OomFacts),
    Alloc(AllocFacts),
}

/// The cgroup limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFinding {
    /// The cgroup whose limit it is, and its ancestors.
    pub cgroups: Lineage,
    /// Whose it is.
    pub party: Party,
    /// Level of that cgroup by itself; the verdict's level may be `container` where this is `pod`.
    pub charged_at: Level,
}

impl LimitFinding {
    /// The limit; `None` if it is not known, or there is none any more.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.cgroups.levels.first()?.limit.and_then(Limit::bytes)
    }

    /// In use at the decision.
    #[must_use]
    pub fn usage_bytes(&self) -> Option<u64> {
        self.cgroups.levels.first()?.usage_bytes
    }
}

/// Says why it happened. Never panics, and never guesses: what the facts do not show stays open, with its
/// reason.
#[must_use]
pub fn classify(case: &Case) -> Verdict {
    match &case.incident {
        Incident::OomKill(kill) => oom::verdict(&oom::Scene::of_kill(case, kill)),
        Incident::OomNoKill(none) => oom::verdict(&oom::Scene::of_no_kill(case, none)),
        Incident::AllocFailure(failures) => alloc::verdict(case, failures),
    }
}

/// The level of a cgroup by its place.
fn level_of(placement: &Placement) -> Level {
    match placement.place {
        Place::Root => Level::Node,
        Place::NodeAllocatable => Level::NodeAllocatable,
        Place::Qos => Level::Qos,
        Place::Pod => Level::Pod,
        Place::Container if !placement.nested => Level::Container,
        Place::HostService if !placement.nested => Level::HostService,
        Place::Container | Place::HostService | Place::Other => Level::Cgroup,
    }
}

fn certainty(inferred: &[Field]) -> Certainty {
    if inferred.is_empty() { Certainty::Observed } else { Certainty::Inferred }
}
