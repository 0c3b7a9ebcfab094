//! A rate limit: a burst, and then one event per interval. PURE.

/// A rate, and how much of it is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    every_ns: u64,
    /// How many may come at once.
    burst: u64,
    /// When all events so far would have come at one per `every_ns`.
    paid_ns: u64,
}

impl Pace {
    /// How many more than `burst` are remembered: lines resume soon after a flood has ended, however long it was.
    const BEYOND: u64 = 8;

    pub(crate) fn new(every_ns: u64, burst: u64) -> Self {
        Self { every_ns, burst, paid_ns: 0 }
    }

    /// Counts one event. Gives whether it is above the rate.
    pub(crate) fn add(&mut self, now_ns: u64) -> bool {
        let is_over = self.is_over(now_ns);
        let most = now_ns.saturating_add(self.every_ns * (self.burst + Self::BEYOND));
        self.paid_ns = self.paid_ns.max(now_ns).saturating_add(self.every_ns).min(most);
        is_over
    }

    /// Whether an event now would be above the rate.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        now_ns < self.free_ns()
    }

    /// When the next event is within the rate.
    pub(crate) fn free_ns(&self) -> u64 {
        self.paid_ns.saturating_sub(self.every_ns * self.burst.saturating_sub(1))
    }
}
