//! Whether the agent does what it is there for. PURE: time is an argument.
//!
//! | path | 200 says | else |
//! |---|---|---|
//! | `/healthz` | the loop has looked into the ring within [`ALIVE_NS`] | 503; the agent is to be started anew |
//! | `/readyz` | the same, and the hooks are in place | 503 |
//!
//! The server lives on the loop's own thread. So a loop that is stuck in one place (nobody reads the agent's output) does not
//! answer at all, which a probe takes for a no as well. Names that nobody knows make an agent no less ready: its reports go
//! out without them. `/readyz?verbose` says so.
//!
//! The pod network gets yes or no, and one of the few fixed reasons. What else there is to say ([`Readiness`]) has URLs, paths and
//! errors of TLS in it: that is for clients on loopback, which are those who may enter the pod (`kubectl port-forward`).

use serde::Serialize;

use crate::pods::names::NamesStatus;

/// How often the loop wakes up with nothing to do, where somebody may ask how it is.
pub const HEARTBEAT_NS: u64 = 5_000_000_000;
/// How long ago it may have looked into the ring.
pub const ALIVE_NS: u64 = 3 * HEARTBEAT_NS;

/// Answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// The loop goes round.
    pub alive: bool,
    /// When it last looked into the ring; null if it has not begun.
    pub drained_seconds_ago: Option<f64>,
}

/// Answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Incidents are seen and reported.
    pub ready: bool,
    /// Why not.
    pub why: Option<&'static str>,
}

/// Answer of `/readyz?verbose`.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness<'a> {
    /// Incidents are seen and reported.
    pub ready: bool,
    /// Why not.
    pub why: Option<&'static str>,
    /// When the loop last looked into the ring; null if it has not begun.
    pub drained_seconds_ago: Option<f64>,
    /// What it sees by.
    pub hooks: &'a Hooks,
    /// Records and counts lost so far.
    pub lost: u64,
    /// Who is asked for the names of pods, and how that goes; empty if nobody is.
    pub pod_index: &'a [NamesStatus],
}

/// The hooks in place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// The tier on the OOM killer.
    pub tier: String,
    /// The kind of hook on failed allocations, or `none`.
    pub allocations: String,
    /// All by name; empty before they are in place.
    pub in_place: Vec<String>,
    /// How many things they do not see.
    pub blind_spots: usize,
}

impl Health {
    /// That of a loop which looked into the ring then.
    #[must_use]
    pub fn of(drained_ns: Option<u64>, now_ns: u64) -> Self {
        let ago_ns = drained_ns.map(|then| now_ns.saturating_sub(then));
        Self {
            alive: ago_ns.is_some_and(|ago| ago <= ALIVE_NS),
            drained_seconds_ago: ago_ns.map(|ago| (ago / 1_000_000) as f64 / 1000.0),
        }
    }
}

impl<'a> Readiness<'a> {
    /// That of an agent with this health.
    #[must_use]
    pub fn of(health: &Health, hooks: &'a Hooks, names: &'a [NamesStatus], lost: u64) -> Self {
        let why = why_not_ready(health, hooks);
        let drained_seconds_ago = health.drained_seconds_ago;
        Self { ready: why.is_none(), why, drained_seconds_ago, hooks, lost, pod_index: names }
    }

    /// What anybody may know of it.
    #[must_use]
    pub fn short(&self) -> Ready {
        Ready { ready: self.ready, why: self.why }
    }
}

/// Why an agent of this health does not see and report what happens; `None` if it does.
#[must_use]
pub fn why_not_ready(health: &Health, hooks: &Hooks) -> Option<&'static str> {
    if hooks.in_place.is_empty() {
        Some("no hooks are in place")
    } else if !health.alive {
        Some("the ring of records is not drained")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks() -> Hooks {
        Hooks { in_place: vec!["raw_tp:mark_victim".to_owned()], ..Hooks::default() }
    }

    #[test]
    fn a_loop_is_alive_while_it_looks_into_the_ring() {
        let now = 1_000 * HEARTBEAT_NS;
        for (drained, alive) in [
            (Some(now), true),
            (Some(now - ALIVE_NS), true),
            (Some(now - ALIVE_NS - 1), false),
            (None, false),
        ] {
            let health = Health::of(drained, now);
            assert_eq!(health.alive, alive, "{drained:?}");
            assert_eq!(Readiness::of(&health, &hooks(), &[], 0).ready, alive, "{drained:?}");
        }
        assert_eq!(Health::of(Some(now - 1_250_900_000), now).drained_seconds_ago, Some(1.25));
        // Read right before it was set.
        assert!(Health::of(Some(now + 1), now).alive);
    }

    #[test]
    fn without_hooks_it_is_alive_and_not_ready() {
        let health = Health::of(Some(5), 5);
        let none = Hooks::default();
        let readiness = Readiness::of(&health, &none, &[], 0);
        assert!(health.alive && !readiness.ready);
        assert_eq!(readiness.why, Some("no hooks are in place"));
    }

    #[test]
    fn degraded_names_are_said_and_make_it_no_less_ready() {
        use crate::pods::names::{NameSource, NamesState};
        let names = [NamesStatus {
            source: NameSource::Cri,
            state: NamesState::Degraded,
            problem: Some("no answer within 5000 ms".to_owned()),
            pods: Some(3),
            containers: None,
            refused_pods: None,
            age_seconds: Some(70),
        }];
        let hooks = hooks();
        let health = Health::of(Some(5), 5);
        let said = serde_json::to_value(Readiness::of(&health, &hooks, &names, 2)).expect("JSON");
        assert_eq!((&said["ready"], &said["lost"]), (&true.into(), &2.into()));
        let name = &said["pod_index"][0];
        assert_eq!((&name["source"], &name["state"]), (&"cri".into(), &"degraded".into()));
        assert_eq!(
            (&name["problem"], &name["containers"]),
            (&"no answer within 5000 ms".into(), &serde_json::Value::Null)
        );
    }
}
