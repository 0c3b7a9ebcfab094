//! Records on their way from the ring through the stages to the sinks, and the ends of that way.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::time::Instant;

use super::clock::{self, Wall};
use super::pinning::Kept;
use crate::decode;
use crate::kernel::load::{Attached, KernelCounters};
use crate::kernel::ring::{Ring, Taken};
use crate::messages::Messages;
use crate::pipeline::Pipeline;
use crate::sinks::Sinks;

/// The longest run of a program, where the kernel does not tell when all have ended.
const PROGRAM_RUNS: Duration = Duration::from_millis(100);

/// How long standard output and the recording may take to write the rest when the agent exits: half of what kubelet allows.
pub(super) const STOP: Duration = Duration::from_secs(5);

/// How long the end of an open decision is waited for when the hooks stay on: it takes milliseconds, but for a slow console.
const DECISION: Duration = Duration::from_secs(1);

/// What records go through, and what is counted beside them.
pub(super) struct Flow {
    pub(super) ring: Ring,
    pub(super) counters: KernelCounters,
    pub(super) pipeline: Pipeline,
    pub(super) sinks: Sinks,
    pub(super) wall: Wall,
}

impl Flow {
    /// Takes the ring's records from before `until_ns`, as long as the output has room, and advances the time. Returns whether there
    /// were any.
    pub(super) fn drain(&mut self, until_ns: u64) -> bool {
        let Self { ring, pipeline, sinks, wall, .. } = self;
        let mut any = false;
        // While the output is full the step is left for later: then all that is stepped together is one line.
        if !sinks.is_full()
            && let Some(offset_ns) = wall.step()
        {
            let ktime_ns = clock::boottime_ns();
            sinks.clock(ktime_ns, offset_ns);
            sinks.lines([pipeline.clock(ktime_ns, offset_ns)]);
        }
        while !sinks.is_full()
            && let Some(taken) = ring.take()
        {
            let record = match taken {
                Taken::Own(record) => record,
                // Not for the recording, which has the records of one kernel side.
                Taken::Earlier(record) => {
                    any = true;
                    sinks.lines(pipeline.record(&record));
                    if ring.is_own() {
                        pipeline.numbers_anew();
                    }
                    continue;
                }
            };
            if is_younger(&record, until_ns) {
                continue;
            }
            any = true;
            sinks.record(&record);
            sinks.lines(pipeline.record(&record));
        }
        if !sinks.is_full() {
            let now_ns = clock::boottime_ns();
            sinks.lines(pipeline.tick(now_ns));
            if any {
                sinks.lines(pipeline.losses(now_ns));
            }
        }
        any
    }

    /// Takes all of the ring's records from before `until_ns`, and waits for room for them until a deadline. Returns how many records
    /// are left then.
    ///
    /// # Errors
    /// As [`Sinks::changed`].
    async fn drain_until(&mut self, until: Instant, until_ns: u64) -> io::Result<u64> {
        loop {
            self.drain(until_ns);
            if !self.sinks.is_full() {
                return Ok(0);
            }
            let Ok(changed) = tokio::time::timeout_at(until, self.sinks.changed()).await else {
                let left = std::iter::from_fn(|| self.ring.take()).filter(|taken| {
                    let (Taken::Earlier(record) | Taken::Own(record)) = taken;
                    !is_younger(record, until_ns)
                });
                return Ok(left.count() as u64);
            };
            changed?;
        }
    }

    /// Tells lines that were lost in the journal.
    pub(super) fn tell_lost(&mut self, now_ns: u64) {
        let lost = self.sinks.lost();
        if self.pipeline.journal_lost(lost.dropped, lost.damaged) && !self.sinks.is_full() {
            self.sinks.lines(self.pipeline.losses(now_ns));
        }
    }

    /// Takes the kernel side's counts.
    pub(super) fn count(&mut self) {
        self.count_totals();
        match self.counters.failures() {
            Ok(failures) => self.pipeline.alloc_counts(&failures),
            Err(error) => {
                tracing::warn!(%error, "cannot read the kernel side's counts of failed allocations");
            }
        }
    }

    /// Takes the counts that are not by kind.
    fn count_totals(&mut self) {
        match self.counters.read() {
            Ok(counts) => self.pipeline.kernel_counts(&counts),
            Err(error) => tracing::warn!(%error, "cannot read the kernel side's counters"),
        }
    }

    /// Takes what the user side counts of itself.
    fn count_own(&mut self, messages: &Messages) {
        self.pipeline.unsaid(messages.unsaid());
        self.pipeline.sink_failures(self.sinks.failures());
    }

    /// Takes counts, and tells what was lost, while nothing happens. Not all counts: kinds of failures need two readings
    /// ([`CountSchedule`](super::schedule::CountSchedule)'s), and cost two calls each.
    pub(super) fn beat(&mut self, messages: &Messages, now_ns: u64) {
        self.count_totals();
        self.count_own(messages);
        if !self.sinks.is_full() {
            self.sinks.lines(self.pipeline.losses(now_ns));
        }
    }

    /// Writes the last line, with all counts.
    fn say_stopping(&mut self, stopped_ns: u64, messages: &Messages) {
        self.count();
        self.pipeline.journal_lost(self.sinks.lost().dropped, self.sinks.lost().damaged);
        self.count_own(messages);
        self.sinks.lines(self.pipeline.stopping(stopped_ns, "signal"));
    }

    /// Ends with the hooks.
    ///
    /// # Errors
    /// The output does not take what is left.
    pub(super) async fn stop(mut self, attached: &mut Attached, messages: &Messages) -> Result<()> {
        // The time is taken first, so that all that happened before it is in the ring or in the counters when the last program has
        // ended; later events are not reported.
        let stopped_ns = clock::boottime_ns();
        disarm(attached).await;
        let until = Instant::now() + STOP;
        let untold = match self.drain_until(until, stopped_ns).await {
            Ok(untold) => untold,
            Err(error) => return self.sinks.gone(error, Instant::now() + STOP).await,
        };
        self.say_stopping(stopped_ns, messages);
        self.sinks.finish(until, untold).await
    }

    /// Ends while the hooks stay on: what is in the ring is told, except for what the output does not take, which is the next session's,
    /// and so is all that happens from here on. A decision that is open is waited for, so that its records are not torn apart.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub(super) async fn hand_over(mut self, mut kept: Kept, messages: &Messages) -> Result<()> {
        let until = Instant::now() + STOP;
        let decided = Instant::now() + DECISION;
        loop {
            self.drain(u64::MAX);
            let full = self.sinks.is_full();
            let (end, open) = (if full { until } else { decided }, self.pipeline.deciding_until_ns());
            if Instant::now() >= end || (!full && open.is_none()) {
                break;
            }
            let due = open.map(|at| Duration::from_nanos(at.saturating_sub(clock::boottime_ns())));
            let due = due.filter(|_| !full).map_or(end, |due| end.min(Instant::now() + due));
            tokio::select! {
                ready = self.ring.readable(), if !full => ready.context("cannot wait for the ring of records")?,
                changed = self.sinks.changed() => if let Err(error) = changed {
                    return self.sinks.gone(error, Instant::now() + STOP).await;
                },
                () = tokio::time::sleep_until(due) => {}
            }
        }
        self.say_stopping(clock::boottime_ns(), messages);
        kept.told(&self.pipeline);
        self.sinks.finish(until, 0).await?;
        kept.ended();
        Ok(())
    }
}

fn is_younger(record: &Bytes, until_ns: u64) -> bool {
    decode::ktime_ns(record).is_ok_and(|at| at >= until_ns)
}

/// Switches the programs off, and waits until none is running.
async fn disarm(attached: &mut Attached) {
    match attached.disarm() {
        Ok(true) => {}
        // They take microseconds, except on a kernel that preempts them.
        Ok(false) => tokio::time::sleep(PROGRAM_RUNS).await,
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "cannot switch the hooks off: the last events may be missing"
        ),
    }
}
