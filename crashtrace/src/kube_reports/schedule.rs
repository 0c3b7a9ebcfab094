//! When what is written: changes of one object come together, and a node's writes have a bound. PURE: time is an argument.
//!
//! An object is written at once when it changes, if it was not written for [`Pace::apart`], and else when that is over, with all that
//! has changed until then. A node's writes take tokens: [`Pace::burst`] at first, one more in each [`Pace::refill`]. Of the objects that
//! wait the one goes first that has waited longest, so that a pod that crashes all the time does not keep the others out.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two writes of the same object.
    pub apart: Duration,
    /// Writes of a node at once.
    pub burst: u32,
    /// The time for one more.
    pub refill: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { apart: Duration::from_secs(5), burst: 20, refill: Duration::from_millis(500) }
    }
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<K> {
    /// Write this object. A token is taken.
    Write(K),
    /// Nothing before this time.
    At(Instant),
    /// Nothing until something changes.
    Idle,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    not_before: Instant,
}

/// The objects that wait to be written.
#[derive(Debug)]
pub struct Schedule<K> {
    pace: Pace,
    waiting: HashMap<K, Waiting>,
    /// When an object that does not wait may be written again: for as long as that is in the future.
    resting: HashMap<K, Instant>,
    tokens: u32,
    /// When the next token comes, where there are fewer than a burst.
    refills: Option<Instant>,
    paused: Option<Instant>,
    /// Changes that found their object waiting already: they are written with it.
    coalesced: u64,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            waiting: HashMap::new(),
            resting: HashMap::new(),
            tokens: pace.burst,
            refills: None,
            paused: None,
            coalesced: 0,
        }
    }

    /// An object has changed.
    pub fn changed(&mut self, key: &K, now: Instant) {
        if self.waiting.contains_key(key) {
            self.coalesced = self.coalesced.saturating_add(1);
            return;
        }
        let not_before = self.resting.remove(key).map_or(now, |until| until.max(now));
        self.waiting.insert(key.clone(), Waiting { since: now, not_before });
    }

    /// What to do.
    pub fn next(&mut self, now: Instant) -> Next<K> {
        self.resting.retain(|_, until| *until > now);
        if self.waiting.is_empty() {
            return Next::Idle;
        }
        if let Some(until) = self.paused.filter(|until| *until > now) {
            return Next::At(until);
        }
        self.paused = None;
        let ready = self.waiting.iter().filter(|(_, waiting)| waiting.not_before <= now);
        let Some((key, _)) = ready.min_by_key(|(_, waiting)| waiting.since) else {
            return self
                .waiting
                .values()
                .map(|waiting| waiting.not_before)
                .min()
                .map_or(Next::Idle, Next::At);
        };
        let key = key.clone();
        self.refill(now);
        if self.tokens == 0 {
            return Next::At(self.refills.unwrap_or(now));
        }
        self.tokens -= 1;
        self.refills = self.refills.or(Some(now + self.pace.refill));
        self.waiting.remove(&key);
        self.resting.insert(key.clone(), now + self.pace.apart);
        Next::Write(key)
    }

    fn refill(&mut self, now: Instant) {
        while let Some(at) = self.refills.filter(|at| *at <= now) {
            self.tokens += 1;
            self.refills = (self.tokens < self.pace.burst).then(|| at + self.pace.refill);
        }
    }

    /// A write came to nothing: the object waits again, for this long at least.
    pub fn again(&mut self, key: &K, now: Instant, after: Duration) {
        self.changed(key, now);
        if let Some(waiting) = self.waiting.get_mut(key) {
            waiting.not_before = waiting.not_before.max(now + after);
        }
    }

    /// Nothing is written until then.
    pub fn pause(&mut self, until: Instant) {
        self.paused = Some(until);
    }

    /// What waits is written as soon as there are tokens: there is no later. Pauses after trouble hold.
    pub fn hurry(&mut self, now: Instant) {
        self.resting.clear();
        for waiting in self.waiting.values_mut() {
            waiting.not_before = now;
        }
    }

    /// An object is gone.
    pub fn forget(&mut self, key: &K) {
        self.waiting.remove(key);
        self.resting.remove(key);
    }

    /// Objects that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Changes that were written with others.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn schedule() -> (Schedule<u32>, Instant) {
        (Schedule::new(Pace::default()), Instant::now())
    }

    #[test]
    fn an_object_is_written_at_once_and_then_once_in_five_seconds_with_all_that_changed() {
        let (mut schedule, start) = schedule();
        assert_eq!(schedule.next(start), Next::Idle);
        schedule.changed(&1, start);
        assert_eq!(schedule.next(start), Next::Write(1));
        for tenth in 0..10 {
            schedule.changed(&1, start + SECOND / 10 * tenth);
        }
        assert_eq!(schedule.coalesced(), 9);
        assert_eq!(schedule.next(start + SECOND), Next::At(start + 5 * SECOND));
        assert_eq!(schedule.next(start + 5 * SECOND), Next::Write(1));
        assert_eq!(schedule.next(start + 6 * SECOND), Next::Idle);
    }

    #[test]
    fn a_thousand_pods_that_crash_for_ten_minutes_are_all_written_within_the_bounds() {
        const PODS: u32 = 1000;
        const MINUTES: u32 = 10;
        let (mut schedule, start) = schedule();
        let mut written: HashMap<u32, Vec<Instant>> = HashMap::new();
        let end = start + SECOND * 60 * MINUTES;
        let mut now = start;
        while now < end {
            for pod in 0..PODS {
                schedule.changed(&pod, now);
            }
            // Until the crashes of the next ten seconds.
            let round = now + 10 * SECOND;
            while now < round {
                match schedule.next(now) {
                    Next::Write(pod) => written.entry(pod).or_default().push(now),
                    Next::At(at) => now = at.min(round),
                    Next::Idle => now = round,
                }
            }
        }
        let mut all: Vec<_> = written.values().flatten().copied().collect();
        all.sort();
        assert_eq!(all.len(), 20 + 2 * 60 * MINUTES as usize - 1);
        for (at, time) in all.iter().enumerate() {
            let within = all[at..].iter().take_while(|other| **other < *time + SECOND).count();
            assert!(within <= if at == 0 { 22 } else { 21 }, "{within} in the second from write {at}");
        }
        let late: Vec<_> = all[40..].windows(3).collect();
        assert!(late.iter().all(|three| three[2] - three[0] >= SECOND), "2 a second after the burst");
        // In turn.
        assert_eq!(written.len(), PODS as usize);
        assert!(written.values().all(|times| (1..=2).contains(&times.len())));
        // All but those that were written after their last crash.
        assert!((980..1000).contains(&schedule.waiting()), "{}", schedule.waiting());
    }

    /// The numbers in the documentation of [`crate::kube_reports`].
    #[test]
    fn five_thousand_nodes_in_a_crash_loop_each_are_some_dozen_writes_a_second() {
        const NODES: u32 = 5000;
        const LOOP: Duration = Duration::from_mins(5);
        let start = Instant::now();
        let mut seconds: HashMap<u64, u32> = HashMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..NODES {
            let mut schedule = Schedule::new(Pace::default());
            let death = LOOP.mul_f64(random.f64());
            // Two deaths, each with the lines of the kill and of the container's end.
            let end = SECOND / 10;
            let changes = [death, death + end, death + LOOP, death + LOOP + end];
            let mut changes = changes.into_iter().map(|at| start + at).peekable();
            let mut now = start;
            loop {
                while changes.next_if(|at| *at <= now).is_some() {
                    schedule.changed(&1, now);
                }
                let due = match schedule.next(now) {
                    Next::Write(_) => {
                        *seconds.entry((now - start).as_secs()).or_default() += 1;
                        continue;
                    }
                    Next::At(at) => Some(at),
                    Next::Idle => None,
                };
                let Some(next) = due.into_iter().chain(changes.peek().copied()).min() else { break };
                now = next;
            }
        }
        let all: u32 = seconds.values().sum();
        assert_eq!(all, NODES * 4);
        let each = f64::from(all) / (2.0 * LOOP.as_secs_f64());
        assert!((33.0..34.0).contains(&each), "{each} a second");
        assert!(
            seconds.values().all(|count| *count < 70),
            "{:?} in the worst second",
            seconds.values().max()
        );
    }

    #[test]
    fn trouble_keeps_an_object_waiting_and_a_pause_keeps_all() {
        let (mut schedule, start) = schedule();
        schedule.changed(&1, start);
        assert_eq!(schedule.next(start), Next::Write(1));
        schedule.again(&1, start, 60 * SECOND);
        schedule.changed(&2, start);
        assert_eq!(schedule.next(start), Next::Write(2));
        schedule.again(&2, start, Duration::ZERO);
        schedule.pause(start + 30 * SECOND);
        assert_eq!(schedule.next(start + 6 * SECOND), Next::At(start + 30 * SECOND));
        assert_eq!(schedule.next(start + 30 * SECOND), Next::Write(2));
        assert_eq!(schedule.next(start + 31 * SECOND), Next::At(start + 60 * SECOND));
        schedule.forget(&1);
        assert_eq!(schedule.waiting(), 0);
        assert_eq!(schedule.next(start + 31 * SECOND), Next::Idle);
    }
}
