//! Words: a verdict and its case as sentences. Each kind of incident has its file.

use crate::classify::{Facts, Verdict};
use crate::correlate::Incident;
use crate::enrich::{Case, Party};
use crate::event::{self, Limit};
use crate::phrase::{self, size};
use crate::schema::Unresolved;

mod alloc;
mod exit;
mod oom;
mod reason;
mod zones;

/// The sentences about an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// One sentence: what happened.
    pub summary: String,
    /// The facts behind the verdict, with their numbers.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
    /// Contradictions of the sources, of a container's end.
    pub contradictions: Vec<String>,
    /// Unknown fields of the verdict, with their reasons.
    pub unresolved: Vec<Unresolved>,
}

/// Describes a verdict. Total: for a verdict of another incident there are no sentences.
#[must_use]
pub fn describe(case: &Case, verdict: &Verdict) -> Description {
    let mut description = match (&case.incident, &verdict.facts) {
        (Incident::OomKill(kill), Facts::Oom(facts)) => oom::kill(case, kill, verdict, facts),
        (Incident::OomNoKill(none), Facts::Oom(facts)) => oom::no_kill(case, none, verdict, facts),
        (Incident::AllocFailure(failures), Facts::Alloc(facts)) => {
            alloc::failure(case, &failures.event, verdict, facts)
        }
        (Incident::ContainerExit(end), Facts::Exit(facts)) => exit::end(case, end, verdict, facts),
        (_, Facts::Oom(_) | Facts::Alloc(_) | Facts::Exit(_)) => Description::default(),
    };
    let open = verdict.unresolved.iter();
    description.unresolved =
        open.map(|open| Unresolved { field: open.field, reason: reason::words(open.reason) }).collect();
    description
}

fn owner(party: &Party) -> String {
    phrase::owner(party.owner.in_schema(), || phrase::path(party.owners_path()))
}

/// `cgroup /system.slice/a`. If its name is only a claim: `a cgroup inside` that of the owner.
fn cgroup(party: &Party) -> String {
    match party.placement.claims {
        None => format!("cgroup {}", phrase::path(&party.path)),
        Some(_) => format!("a cgroup inside {}", phrase::path(party.owners_path())),
    }
}

/// Usage of a cgroup, and its limit.
fn usage(name: &str, level: &event::Level) -> Option<String> {
    match (level.usage_bytes, level.limit?) {
        (Some(usage), Limit::Bytes(limit)) => Some(format!(
            "{name} used {} of its limit of {}{}",
            size(usage),
            size(limit),
            phrase::apart(usage, limit, "it")
        )),
        (None, Limit::Bytes(limit)) => Some(format!("{name} has a limit of {}", size(limit))),
        (_, Limit::Unlimited) => Some(format!("{name} no longer had a limit when it was read")),
    }
}
