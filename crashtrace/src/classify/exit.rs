//! Ends of containers' first processes: who or what ended them.

use super::{Facts, Verdict, certainty};
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::schema::{Cause, EndedBy};

/// The facts behind the verdict on a container's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitFacts {
    /// Who or what ended it.
    pub ended_by: Option<EndedBy>,
    /// The pod's Events decide.
    pub wants_events: bool,
}

pub(super) fn verdict(_case: &Case, end: &ContainerEnd) -> Verdict {
    let asked = end.event.asked.is_some() && end.oom.is_none();
    let by_itself = end.event.status.is_some_and(|status| status.signal().is_none());
    Verdict {
        cause: if by_itself { Cause::ContainerExit } else { Cause::Unknown },
        shortage: None,
        level: None,
        origin: None,
        constraint: None,
        limit: None,
        kubernetes: None,
        certainty: certainty(&[]),
        inferred: Vec::new(),
        unresolved: Vec::new(),
        assessment: None,
        facts: Facts::Exit(ExitFacts { ended_by: by_itself.then_some(EndedBy::Itself), wants_events: asked }),
    }
}
