//! The clocks: the kernel side's and the wall clock.
//!
//! The two run at one rate, also under NTP's corrections and through suspend. Their difference changes only when a program sets the
//! wall clock (`clock_settime`, `ADJ_SETOFFSET`, a leap second). So it is read again for each batch of lines, and a set clock wakes
//! the agent ([`ClockSet`]).

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

mod namespace;

pub(super) use namespace::Hidden;

/// Differences below this may be due to reading two clocks one after the other, and are not followed.
const STEP_NS: u64 = 1_000_000;
/// How often the clocks are read at most, for one reading that nothing interrupts.
const READINGS: usize = 8;
/// A reading that took so long was not interrupted.
const UNDISTURBED_NS: u64 = 20_000;

/// Nanoseconds of the kernel's `CLOCK_BOOTTIME`: the clock of records. In a time namespace this process's `CLOCK_BOOTTIME` differs
/// from it.
pub(super) fn boottime_ns() -> u64 {
    u64::try_from(own_boottime_ns().saturating_sub(namespace::ahead_ns())).unwrap_or_default()
}

/// Whether the kernel's time is known here.
///
/// # Errors
/// This process is in a time namespace that hides it.
pub(super) fn check() -> Result<(), Hidden> {
    let ahead_ns = namespace::check()?;
    if ahead_ns != 0 {
        tracing::info!(ahead_ns, "this is a time namespace; times are told by the kernel's own clock");
    }
    Ok(())
}

/// `CLOCK_REALTIME` minus the kernel's `CLOCK_BOOTTIME`, and the uncertainty of that, in nanoseconds.
fn read() -> (i64, u64) {
    let reading = || {
        // Between two readings of the same clock: an interruption shows.
        let before = own_boottime_ns();
        let realtime = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = own_boottime_ns();
        let offset =
            realtime.saturating_sub(i64::midpoint(before, after)).saturating_add(namespace::ahead_ns());
        (offset, after.abs_diff(before))
    };
    let mut best = reading();
    for _ in 1..READINGS {
        if best.1 <= UNDISTURBED_NS {
            break;
        }
        let next = reading();
        if next.1 < best.1 {
            best = next;
        }
    }
    best
}

/// Difference between the wall clock and the kernel's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    /// `CLOCK_REALTIME` minus the kernel's `CLOCK_BOOTTIME`.
    pub(super) offset_ns: i64,
}

impl Wall {
    /// Reads it now.
    pub(super) fn now() -> Self {
        Self { offset_ns: read().0 }
    }

    /// Reads it again; returns the new offset if the clock was set.
    pub(super) fn step(&mut self) -> Option<i64> {
        self.follow(read())
    }

    /// Takes a reading with this uncertainty.
    fn follow(&mut self, (offset_ns, uncertain_ns): (i64, u64)) -> Option<i64> {
        let stepped = self.offset_ns.abs_diff(offset_ns) >= STEP_NS.saturating_add(uncertain_ns);
        stepped.then(|| {
            self.offset_ns = offset_ns;
            offset_ns
        })
    }
}

/// Wakes only when the wall clock is set.
#[derive(Debug)]
pub(super) struct ClockSet(AsyncFd<OwnedFd>);

impl ClockSet {
    /// Starts to wait.
    ///
    /// # Errors
    /// The kernel has no such timer, or epoll refuses.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe; a timer owns its descriptor until it is dropped"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let set = AsyncFd::new(timer)?;
        arm(set.get_ref())?;
        Ok(Self(set))
    }

    /// Waits until the clock is set. Cancel-safe.
    ///
    /// # Errors
    /// epoll or the timer failed.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        guard.clear_ready();
        // A set clock cancels the timer, and reading it reports that once. It need not be armed again (`timerfd_canceled`,
        // `fs/timerfd.c`, 5.10 to 7.3).
        match rustix::io::read(self.0.get_ref(), &mut [0; 8]) {
            Ok(_) | Err(Errno::CANCELED | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Sets the timer to the end of time, which is never reached: it only serves to be cancelled.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let never = Timespec { tv_sec: i64::MAX / 1_000_000_000, tv_nsec: 0 };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
    Ok(())
}

fn own_boottime_ns() -> i64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

pub(super) fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_clock_is_followed_and_the_noise_of_reading_it_is_not() {
        let mut wall = Wall { offset_ns: 5_000_000_000 };
        for (reading, step) in [
            ((5_000_000_000, 0), None),
            ((5_000_999_999, 0), None),
            // Interrupted while reading: the uncertainty is that large.
            ((5_003_000_000, 2_500_000), None),
            ((5_003_000_000, 1_000_000), Some(5_003_000_000)),
            ((5_002_000_001, 0), None),
            // Back by a day.
            ((-86_395_000_000_000, 3), Some(-86_395_000_000_000)),
            ((i64::MIN, u64::MAX), None),
        ] {
            assert_eq!(wall.follow(reading), step, "{reading:?}");
        }
        // Many small steps add up.
        let mut wall = Wall { offset_ns: 0 };
        let steps: Vec<_> = (1..=10).filter_map(|tenth| wall.follow((tenth * 150_000, 0))).collect();
        assert_eq!(steps, [1_050_000]);
    }

    #[test]
    fn this_machines_clock_stands_where_it_is() {
        let mut wall = Wall::now();
        for _ in 0..1000 {
            assert_eq!(wall.step(), None);
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_not_set_does_not_wake_the_agent() {
        let mut set = ClockSet::new().expect("a timer");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), set.changed()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
}
