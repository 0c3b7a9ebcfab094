//! Verdicts: the reason of an incident, as a pure function of the case. A verdict has facts and no text; [`crate::describe`]
//! has the words. Each kind of incident has its file.

use crate::cgroup::{Place, Placement};
use crate::correlate::Incident;
use crate::enrich::{Case, Party};
use crate::event::{Constraint, Limit, Lineage};
use crate::fragmentation::Assessment;
use crate::names::MemoryBounds;
use crate::schema::{Cause, Certainty, Field, Level, Origin, Shortage};

pub mod alloc;
pub mod exit;
pub mod oom;
mod reason;
#[cfg(test)]
pub(crate) mod tests;
pub mod zones;

pub use alloc::AllocFacts;
pub use exit::{Contradiction, ExitFacts, FailedProbe, Row};
pub use oom::OomFacts;
pub use reason::{NoTrace, NoWord, Open, Reason};

/// Why an incident happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub cause: Cause,
    /// The reason of the node's shortage, if it had one and the zones show it.
    pub shortage: Option<Shortage>,
    /// Level of the limit.
    pub level: Option<Level>,
    /// How the OOM killer was invoked.
    pub origin: Option<Origin>,
    /// Which memory the allocation was bound to: the kernel's constraint, or `memcg` if the cause is known otherwise.
    pub constraint: Option<Constraint>,
    /// The limit that was hit, if it is a cgroup's.
    pub limit: Option<LimitFinding>,
    /// The limit owner's bounds in Kubernetes.
    pub kubernetes: Option<MemoryBounds>,
    pub certainty: Certainty,
    /// Inferred fields.
    pub inferred: Vec<Field>,
    /// Unknown fields of the verdict, beside [`Case::unresolved`].
    pub unresolved: Vec<Open>,
    /// The assessment of the zones for this allocation.
    pub assessment: Option<Assessment>,
    /// Further findings, by the kind of incident.
    pub facts: Facts,
}

/// The facts behind a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    Oom(OomFacts),
    Alloc(AllocFacts),
    Exit(ExitFacts),
}

/// The cgroup limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFinding {
    /// The limit owner, and its ancestors.
    pub cgroups: Lineage,
    /// The owner of that cgroup.
    pub party: Party,
    /// Level of that cgroup itself. Of `container` and `pod`, the verdict's level may be the other one: see [`oom::SharedLimit`].
    pub charged_at: Level,
}

impl LimitFinding {
    /// The limit; `None` if it is not known, or was removed.
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

/// Classifies an incident. Never panics, and never guesses: a field that the facts do not show is unresolved, with its reason.
#[must_use]
pub fn classify(case: &Case) -> Verdict {
    match &case.incident {
        Incident::OomKill(kill) => oom::verdict(&oom::Scene::of_kill(case, kill)),
        Incident::OomNoKill(none) => oom::verdict(&oom::Scene::of_no_kill(case, none)),
        Incident::AllocFailure(failures) => alloc::verdict(case, failures),
        Incident::ContainerExit(end) => exit::verdict(case, end),
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
