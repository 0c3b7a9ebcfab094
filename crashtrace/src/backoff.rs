//! How long to wait before the next try, so that the agents of a large cluster do not hurt a server that has trouble. PURE.
//!
//! "Full jitter": a pause is anywhere between zero and a bound that doubles with each failure. Half of the bound plus
//! jitter over the other half was rejected: it does not spread agents that an outage has synchronised.
//!
//! The bound doubles up to a minute: 5,000 agents then send 170 requests a second to a server that refuses them all, which costs it
//! little, and all are back one minute after the server is. A longer bound would hardly help the server, and the pods of a node
//! would stay unknown for longer.

use std::time::Duration;

/// The longest `Retry-After` that is honoured. A longer one is a mistake: pods come and go within minutes.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(5);

/// The bounds of pauses.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The bound of the first pause after a healthy stretch.
    pub first: Duration,
    /// No bound is longer.
    pub longest: Duration,
    /// How long a watch must have worked for the bound to be [`Pauses::first`] again. A shorter stretch is no health: a server that
    /// breaks down under its agents' requests accepts a few of them for a moment.
    pub health: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_mins(1),
            health: Duration::from_mins(1),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backoff {
    pauses: Pauses,
    bound: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(pauses: Pauses, random: fastrand::Rng) -> Self {
        Self { pauses, bound: pauses.first, random }
    }

    /// A watch went well for this long.
    pub(crate) fn went_well(&mut self, stretch: Duration) {
        if stretch >= self.pauses.health {
            self.bound = self.pauses.first;
        }
    }

    /// How long to wait now. The server's `Retry-After` is waited in full, and the jitter is added: otherwise all agents that it
    /// told to come back in a second come back in the same second.
    pub(crate) fn pause(&mut self, retry_after: Option<Duration>) -> Duration {
        let jitter = self.bound.mul_f64(self.random.f64());
        self.bound = (self.bound * 2).min(self.pauses.longest);
        retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER) + jitter
    }

    /// A random duration below this bound.
    pub(crate) fn moment(&mut self, bound: Duration) -> Duration {
        bound.mul_f64(self.random.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: u64 = 5000;
    const SECOND: Duration = Duration::from_secs(1);

    fn backoff(seed: u64) -> Backoff {
        Backoff::new(Pauses::default(), fastrand::Rng::with_seed(seed))
    }

    /// The largest number of these times within one second.
    fn busiest(times: &[Duration]) -> usize {
        let mut seconds = std::collections::HashMap::<u64, usize>::new();
        for time in times {
            *seconds.entry(time.as_secs()).or_default() += 1;
        }
        seconds.into_values().max().unwrap_or_default()
    }

    /// The numbers in the documentation of [`crate::pods::kube`].
    #[test]
    fn an_outage_and_its_end_do_not_bring_the_agents_together() {
        for (minutes, expected) in [(10, 22..=24), (60, 120..=126)] {
            let outage = Duration::from_mins(minutes);
            let (mut in_vain, mut back) = (Vec::new(), Vec::new());
            for seed in 0..AGENTS {
                let (mut agent, mut now) = (backoff(seed), Duration::ZERO);
                loop {
                    now += agent.pause(None);
                    if now >= outage {
                        break;
                    }
                    in_vain.push(now);
                }
                back.push(now);
            }
            let requests = in_vain.len() as u64 / AGENTS;
            assert!(expected.contains(&requests), "{requests} requests of each in {minutes} minutes");
            let late: Vec<_> =
                in_vain.iter().copied().filter(|time| *time > Duration::from_mins(3)).collect();
            assert!(busiest(&late) < 260, "{} in a second", busiest(&late));
            assert!(busiest(&in_vain) < 1600, "{} in the worst second", busiest(&in_vain));
            assert!(busiest(&back) < 260, "{} came back in a second", busiest(&back));
            assert!(
                back.iter().all(|time| *time <= outage + Duration::from_mins(1)),
                "all are back in a minute"
            );
        }
    }

    #[test]
    fn the_bound_doubles_and_only_health_brings_it_down() {
        let mut agent = backoff(7);
        let bounds = |agent: &mut Backoff| {
            std::iter::repeat_with(|| {
                let bound = agent.bound;
                assert!(agent.pause(None) <= bound);
                bound.as_secs()
            })
            .take(6)
            .collect::<Vec<_>>()
        };
        assert_eq!(bounds(&mut agent), [5, 10, 20, 40, 60, 60]);
        agent.went_well(Duration::from_secs(59));
        assert_eq!(agent.bound, Duration::from_mins(1));
        agent.went_well(Duration::from_mins(1));
        assert_eq!(bounds(&mut agent), [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn the_servers_retry_after_is_waited_and_nonsense_is_not() {
        let mut agent = backoff(3);
        let pause = agent.pause(Some(30 * SECOND));
        assert!((30 * SECOND..=35 * SECOND).contains(&pause), "{pause:?}");
        let pause = agent.pause(Some(Duration::MAX));
        assert!(pause <= LONGEST_RETRY_AFTER + 10 * SECOND, "{pause:?}");
    }
}
