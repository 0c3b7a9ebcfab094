//! The clocks.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME`: the clock of records.
pub(super) fn boottime_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::Boottime)).unwrap_or_default()
}

/// `CLOCK_REALTIME` less `CLOCK_BOOTTIME`, in nanoseconds.
///
/// Taken once at the start, so that the times of a session keep their distances and a recording needs one number.
/// A clock that is set meanwhile shows in the times from the next start on.
pub(super) fn realtime_offset_ns() -> i64 {
    // Between two readings of the one clock, so that being interrupted in between costs little.
    let before = nanoseconds(ClockId::Boottime);
    let realtime = nanoseconds(ClockId::Realtime);
    let after = nanoseconds(ClockId::Boottime);
    realtime - i64::midpoint(before, after)
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
