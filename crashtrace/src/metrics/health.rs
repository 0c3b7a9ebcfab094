//! Whether the agent works. PURE: time is an argument.
//!
//! | path | 200 says | else |
//! |---|---|---|
//! | `/healthz` | the loop has gone round within [`ALIVE_NS`] | 503; the agent should be restarted |
//! | `/readyz` | the same, the hooks are in place, and the output is read | 503 |
//!
//! The server runs on the loop's own thread. So a loop that is stuck does not answer at all, which a probe counts as a failure as
//! well. Output that is not read does not affect `/healthz`: a restarted agent would have the same reader, and the lines that this
//! one holds and the records in its ring would be lost. An agent without names is ready all the same: its reports go out without
//! them. `/readyz?verbose` says so.
//!
//! A client on the pod network gets yes or no, and one of the few fixed reasons. Other details ([`Readiness`]) include URLs, paths
//! and TLS errors: they are for clients on loopback, who may enter the pod (`kubectl port-forward`).

use serde::Serialize;

use crate::names::NamesStatus;
use crate::sinks::Backlog;

/// How often the loop wakes up with nothing to do, where metrics and health are served.
pub const HEARTBEAT_NS: u64 = 5_000_000_000;
/// How long ago its last round may be.
pub const ALIVE_NS: u64 = 3 * HEARTBEAT_NS;
/// How long a line may wait for standard output.
pub const BLOCKED_NS: u64 = 5_000_000_000;

/// Answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// The loop goes round.
    pub alive: bool,
    /// When the loop last did; null if it has not started.
    pub round_seconds_ago: Option<f64>,
    /// When it last emptied the ring, which it does in each round unless its output is not read; null if it has not
    /// started.
    pub drained_seconds_ago: Option<f64>,
}

/// State of the lines that wait for standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct OutputState {
    /// Standard output accepts no bytes.
    pub blocked: bool,
    /// For how long; 0 if it accepts them.
    pub blocked_seconds: f64,
    /// Lines that wait for it.
    pub waiting_lines: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
}

/// Answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// Incidents are seen and reported.
    pub ready: bool,
    pub why: Option<&'static str>,
}

/// Answer of `/readyz?verbose`.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness<'a> {
    /// Incidents are seen and reported.
    pub ready: bool,
    pub why: Option<&'static str>,
    /// When it last emptied the ring, which it does in each round unless its output is not read; null if it has not
    /// started.
    pub drained_seconds_ago: Option<f64>,
    /// Whether standard output takes lines.
    pub output: OutputState,
    /// The hooks that it uses.
    pub hooks: &'a Hooks,
    /// Records and counts lost so far.
    pub lost: u64,
    /// The sources of the names of pods, and their state; empty if there are none.
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
    /// The number of their blind spots.
    pub blind_spots: usize,
}

impl Health {
    /// Health of a loop that last went round, and last emptied the ring, at these times.
    #[must_use]
    pub fn of(round_ns: Option<u64>, drained_ns: Option<u64>, now_ns: u64) -> Self {
        let ago_ns = |then: Option<u64>| then.map(|then| now_ns.saturating_sub(then));
        Self {
            alive: ago_ns(round_ns).is_some_and(|ago| ago <= ALIVE_NS),
            round_seconds_ago: ago_ns(round_ns).map(seconds),
            drained_seconds_ago: ago_ns(drained_ns).map(seconds),
        }
    }
}

fn seconds(ns: u64) -> f64 {
    (ns / 1_000_000) as f64 / 1000.0
}

impl OutputState {
    /// State of these lines, as of now.
    #[must_use]
    pub fn of(backlog: &Backlog, now_ns: u64) -> Self {
        let blocked_ns = backlog.blocked_ns(now_ns);
        Self {
            blocked: blocked_ns > BLOCKED_NS,
            blocked_seconds: seconds(blocked_ns),
            waiting_lines: backlog.lines(),
            waiting_bytes: backlog.bytes(),
        }
    }
}

impl<'a> Readiness<'a> {
    /// Readiness of an agent with this health.
    #[must_use]
    pub fn of(
        health: &Health,
        output: OutputState,
        hooks: &'a Hooks,
        names: &'a [NamesStatus],
        lost: u64,
    ) -> Self {
        let why = why_not_ready(health, output, hooks);
        let drained_seconds_ago = health.drained_seconds_ago;
        Self { ready: why.is_none(), why, drained_seconds_ago, output, hooks, lost, pod_index: names }
    }

    /// The part for any client.
    #[must_use]
    pub fn short(&self) -> Ready {
        Ready { ready: self.ready, why: self.why }
    }
}

/// Why an agent of this health does not see and report incidents; `None` if it does.
fn why_not_ready(health: &Health, output: OutputState, hooks: &Hooks) -> Option<&'static str> {
    if hooks.in_place.is_empty() {
        Some("no hooks are in place")
    } else if !health.alive {
        Some("the loop does not go round, so the ring of records is not drained")
    } else if output.blocked {
        Some("standard output is blocked")
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
            let health = Health::of(drained, drained, now);
            assert_eq!(health.alive, alive, "{drained:?}");
            let readiness = Readiness::of(&health, OutputState::default(), &hooks(), &[], 0).short();
            assert_eq!(readiness.ready, alive, "{drained:?}");
        }
        let then = Some(now - 1_250_900_000);
        assert_eq!(Health::of(then, then, now).drained_seconds_ago, Some(1.25));
        // Read just before it was set.
        assert!(Health::of(Some(now + 1), then, now).alive);
    }

    #[test]
    fn output_that_is_not_read_makes_it_not_ready_and_no_less_alive() {
        let backlog = Backlog::default();
        backlog.waits(100);
        backlog.waits(50);
        backlog.begins(7);
        let now = 7 + BLOCKED_NS + 1;
        // The ring has not been emptied for as long; the loop goes round.
        let health = Health::of(Some(now), Some(7), now);
        assert!(health.alive);
        assert!(!OutputState::of(&backlog, now - 1).blocked);
        let hooks = hooks();
        let readiness = Readiness::of(&health, OutputState::of(&backlog, now), &hooks, &[], 0);
        assert_eq!(readiness.why, Some("standard output is blocked"));
        let expected =
            OutputState { blocked: true, blocked_seconds: 5.0, waiting_lines: 2, waiting_bytes: 150 };
        assert_eq!((readiness.ready, readiness.output), (false, expected));
        backlog.ends(100);
        assert_eq!(
            OutputState::of(&backlog, now),
            OutputState { waiting_lines: 1, waiting_bytes: 50, ..OutputState::default() }
        );
    }

    #[test]
    fn without_hooks_it_is_alive_and_not_ready() {
        let health = Health::of(Some(5), Some(5), 5);
        let none = Hooks::default();
        let readiness = Readiness::of(&health, OutputState::default(), &none, &[], 0);
        assert!(health.alive && !readiness.ready);
        assert_eq!(readiness.why, Some("no hooks are in place"));
    }

    #[test]
    fn degraded_names_are_shown_and_make_it_no_less_ready() {
        use crate::names::NamesState;
        use crate::pods::names::tests::status;
        use crate::schema::NameSource;
        let problem = Some("no answer within 5000 ms".to_owned());
        let degraded = status(NameSource::Cri, NamesState::Degraded);
        let names = [NamesStatus { problem, pods: Some(3), age_seconds: Some(70), ..degraded }];
        let hooks = hooks();
        let health = Health::of(Some(5), Some(5), 5);
        let said = serde_json::to_value(Readiness::of(&health, OutputState::default(), &hooks, &names, 2))
            .expect("JSON");
        assert_eq!((&said["ready"], &said["lost"]), (&true.into(), &2.into()));
        let name = &said["pod_index"][0];
        assert_eq!((&name["source"], &name["state"]), (&"cri".into(), &"degraded".into()));
        assert_eq!(
            (&name["problem"], &name["containers"]),
            (&"no answer within 5000 ms".into(), &serde_json::Value::Null)
        );
    }
}
