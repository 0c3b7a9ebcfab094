//! The wall clock is set while agents watch.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, Timespec, clock_settime};

use super::{MIB, Stage, feed_as};
use crate::actor::Role;
use crate::scratch::Scratch;
use crashtrace_judge::cast::Cast;
use crashtrace_test_support::clock::{boottime_ns, wall_ahead_ns};

const SECOND_NS: i64 = 1_000_000_000;
/// How far ahead of the right time the clock is set after each kill. It is not set after the last.
const AHEAD_S: [Option<i64>; 3] = [Some(3600), Some(0), None];
/// An agent that has slept for so long has finished its work after a report.
const IDLE: Duration = Duration::from_secs(1);
/// How long to wait for that.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn clock_set(stage: &Stage<'_>) -> Result<Cast> {
    let scratch = Scratch::new(stage.hierarchy, "clock")?;
    let clock = WallClock::now();
    let mut parts = Vec::new();
    for (number, ahead_s) in AHEAD_S.into_iter().enumerate() {
        let container = scratch.pod()?.container()?;
        container.cgroup.set_limit(16 * MIB)?;
        let eater = feed_as(&container.cgroup, &Role::eats("eater", 64))?;
        parts.push((eater.part(&container.place.owner)?, container.place));
        // A report that is written later has the time of the new clock.
        (stage.wait)(&scratch.prefixes(), number + 1)?;
        if let Some(ahead_s) = ahead_s {
            // An agent that wakes for another reason would see the step too.
            stage.agents.iter().try_for_each(|agent| until_idle(*agent))?;
            clock.set_ahead(ahead_s)?;
            (stage.wait_clock)(number + 1)?;
        }
    }
    let mut cast = scratch.cast()?;
    for (eater, container) in parts {
        cast = cast.process("eater", eater).place("container", container);
    }
    Ok(cast)
}

/// The wall clock. Dropping this sets it right again.
struct WallClock {
    ahead_ns: i64,
}

impl WallClock {
    /// Takes the present time as the right one.
    fn now() -> Self {
        Self { ahead_ns: wall_ahead_ns() }
    }

    /// Sets it to so many seconds ahead of the right time.
    fn set_ahead(&self, seconds: i64) -> Result<()> {
        let boot_ns = i64::try_from(boottime_ns()).context("uptime")?;
        let time_ns = boot_ns + self.ahead_ns + seconds * SECOND_NS;
        let time = Timespec { tv_sec: time_ns / SECOND_NS, tv_nsec: time_ns % SECOND_NS };
        clock_settime(ClockId::Realtime, time).context("cannot set the wall clock")
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        if (wall_ahead_ns() - self.ahead_ns).abs() > SECOND_NS
            && let Err(error) = self.set_ahead(0)
        {
            eprintln!("scenario: {error:#}");
        }
    }
}

/// Waits until an agent's main thread, which runs the event loop, sleeps.
fn until_idle(agent: u32) -> Result<()> {
    let path = format!("/proc/{agent}/status");
    let switches = || -> Result<String> {
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        Ok(lines.collect())
    };
    let begun = Instant::now();
    let (mut before, mut since) = (switches()?, begun);
    while since.elapsed() < IDLE {
        if begun.elapsed() > PATIENCE {
            bail!("agent {agent} does not fall asleep");
        }
        // The kernel has no event for a task that sleeps on.
        std::thread::sleep(IDLE / 20);
        let now = switches()?;
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok(())
}
