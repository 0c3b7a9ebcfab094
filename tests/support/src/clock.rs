//! The clock of reports, and the wall clock.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`.
pub fn boottime_ns() -> u64 {
    u64::try_from(now_ns(ClockId::Boottime)).unwrap_or(0)
}

/// By how many nanoseconds the wall clock (`CLOCK_REALTIME`) is ahead of `CLOCK_BOOTTIME`.
pub fn wall_ahead_ns() -> i64 {
    now_ns(ClockId::Realtime) - now_ns(ClockId::Boottime)
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}
