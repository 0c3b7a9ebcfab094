//! How fast something may come: so many at once, and then one in so long a time. PURE.

/// A pace, and how much of it is used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    every_ns: u64,
    /// How many may come at once.
    burst: u64,
    /// When all that came would have come, had it kept to `every_ns`.
    paid_ns: u64,
}

impl Pace {
    /// How many more than `burst` are remembered: a flood is over soon after it has ended, however long it was.
    const BEYOND: u64 = 8;

    pub(super) fn new(every_ns: u64, burst: u64) -> Self {
        Self { every_ns, burst, paid_ns: 0 }
    }

    /// One comes. Says whether it comes too fast.
    pub(super) fn add(&mut self, now_ns: u64) -> bool {
        let is_over = self.is_over(now_ns);
        let most = now_ns.saturating_add(self.every_ns * (self.burst + Self::BEYOND));
        self.paid_ns = self.paid_ns.max(now_ns).saturating_add(self.every_ns).min(most);
        is_over
    }

    /// Whether one that comes now would come too fast.
    pub(super) fn is_over(&self, now_ns: u64) -> bool {
        now_ns < self.free_ns()
    }

    /// From when on one does not.
    pub(super) fn free_ns(&self) -> u64 {
        self.paid_ns.saturating_sub(self.every_ns * self.burst.saturating_sub(1))
    }
}
