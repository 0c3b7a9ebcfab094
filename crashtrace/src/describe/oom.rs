//! OOM kills, and OOMs without a victim.

use super::{Description, owner};
use crate::classify::oom::{Actor, OomCause, Scene, SwapLimit};
use crate::classify::{LimitFinding, OomFacts, Verdict};
use crate::correlate::{OomKill, OomNoKill};
use crate::enrich::{Case, Party};
use crate::schema::{Level, Origin, Shortage};

mod account;
mod controller;
mod evidence;
mod free;
mod memory;
mod remedy;
mod summary;
mod swap;
#[cfg(test)]
mod tests;
mod weight;
mod whose;

pub(super) fn kill(case: &Case, kill: &OomKill, verdict: &Verdict, facts: &OomFacts) -> Description {
    describe(&Oom { scene: Scene::of_kill(case, kill), verdict, facts })
}

pub(super) fn no_kill(case: &Case, none: &OomNoKill, verdict: &Verdict, facts: &OomFacts) -> Description {
    describe(&Oom { scene: Scene::of_no_kill(case, none), verdict, facts })
}

fn describe(oom: &Oom<'_>) -> Description {
    Description {
        summary: summary::of(oom),
        evidence: evidence::of(oom),
        remedy: remedy::of(oom),
        ..Description::default()
    }
}

/// An OOM with its verdict.
struct Oom<'a> {
    scene: Scene<'a>,
    verdict: &'a Verdict,
    facts: &'a OomFacts,
}

impl Oom<'_> {
    fn cause(&self) -> OomCause {
        self.facts.cause
    }

    fn origin(&self) -> Option<Origin> {
        self.verdict.origin
    }

    fn level(&self) -> Option<Level> {
        self.verdict.level
    }

    fn limit(&self) -> Option<&LimitFinding> {
        self.verdict.limit.as_ref()
    }

    /// The file of a cgroup's memory limit.
    fn limit_file(&self) -> &'static str {
        if self.scene.memory_cgroup_v1 { "memory.limit_in_bytes" } else { "memory.max" }
    }

    /// The trigger of an OOM without a victim, if the record has that it may not be killed itself.
    fn exempt_trigger(&self) -> Option<&Actor<'_>> {
        const NEVER: i16 = -1000;
        let trigger =
            self.scene.trigger.as_ref().filter(|_| self.scene.no_kill.is_some() && !self.scene.waits())?;
        let eligible = match self.limit() {
            Some(limit) => trigger.party()?.is_within(&limit.party),
            None => self.cause() == OomCause::Node && self.origin() == Some(Origin::Allocation),
        };
        (eligible && trigger.task.oom_score_adj == Some(NEVER)).then_some(trigger)
    }

    /// The limit of swap, or of memory and swap together, if it was hit too or alone.
    fn swap_limit(&self) -> Option<SwapLimit> {
        self.limit()?.swap_limit(self.scene.memory_cgroup_v1)
    }

    fn is_fragmentation(&self) -> bool {
        self.verdict.shortage == Some(Shortage::Fragmentation)
    }

    /// The cgroup that was killed as a whole, by its place in the victim's lineage.
    fn oom_group(&self) -> Option<usize> {
        self.scene.oom_group(self.cause(), self.limit())
    }

    /// The limit owner as users would call it: if a pod's limit is its container's, the container.
    fn limit_owner(&self) -> Option<String> {
        use crate::cgroup::Place;

        let finding = self.limit()?;
        let party = &finding.party;
        if self.level() == Some(Level::Container) && finding.charged_at != Level::Container {
            let actor = self.scene.victim.as_ref().or(self.scene.trigger.as_ref());
            return actor.and_then(actor_owner);
        }
        if self.level() == Some(Level::Pod) {
            return Some(crate::phrase::pod(party.owner.in_schema()));
        }
        let name = owner(party);
        // What the engine or the user's systemd made, and not a cgroup inside of that.
        if matches!(self.level(), Some(Level::Cgroup | Level::HostService)) && own(party) {
            return Some(name);
        }
        let placement = &party.placement;
        let within = matches!(placement.place, Place::Container | Place::HostService)
            || placement.engine.is_some()
            || placement.user_unit.is_some();
        Some(match self.level() {
            Some(Level::Cgroup) if !within => super::cgroup(party),
            Some(Level::Cgroup) if placement.claims.is_some() => format!("a cgroup inside {name}"),
            Some(Level::Cgroup) => format!("{} inside {name}", super::cgroup(party)),
            _ => name,
        })
    }
}

/// The cgroup is the one that an engine made, or the unit of a user's systemd.
fn own(party: &Party) -> bool {
    let placement = &party.placement;
    let ends = [placement.engine.as_ref().map(|it| it.end), placement.user_unit.as_ref().map(|it| it.end)];
    ends.into_iter().flatten().any(|end| end == party.path.len())
}

/// The owner of a process.
fn actor_owner(actor: &Actor<'_>) -> Option<String> {
    actor.party().map(owner)
}

/// ` of pod shop/api`, or nothing if the owner is not known.
fn of_owner(actor: &Actor<'_>) -> String {
    actor_owner(actor).map_or_else(String::new, |owner| format!(" of {owner}"))
}
