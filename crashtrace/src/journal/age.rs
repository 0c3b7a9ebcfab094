//! How old a line is, whatever becomes of the wall clock. PURE.
//!
//! Journal time counts from the journal's first line. Within a boot it advances with `CLOCK_BOOTTIME`, which is never set. Over a
//! reboot only the wall clock tells how much time has passed, and it may be wrong before or after: then journal time advances by how
//! far the clock is beyond the latest time that any line has, and by nothing where it went back. So a clock that goes back makes no
//! line older, and none young for ever, since time goes on from there.

/// A moment, by the clocks of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Which boot; 0 if not known.
    pub boot: u64,
    /// `CLOCK_BOOTTIME`.
    pub boottime_ns: u64,
    /// `CLOCK_REALTIME`.
    pub realtime_ns: i64,
}

/// When a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// In journal time.
    pub journal_ns: u64,
    /// By the clocks.
    pub at: Now,
}

/// Journal time in one session.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Stamp,
}

impl Clock {
    /// Goes on from the last line, with the latest wall clock time of all lines.
    #[must_use]
    pub fn resume(last: Option<(Stamp, i64)>, now: Now) -> Self {
        let journal_ns = last.map_or(0, |(last, latest_realtime_ns)| {
            let passed_ns = if last.at.boot == now.boot && now.boot != 0 {
                now.boottime_ns.saturating_sub(last.at.boottime_ns)
            } else {
                u64::try_from(now.realtime_ns.saturating_sub(latest_realtime_ns)).unwrap_or(0)
            };
            last.journal_ns.saturating_add(passed_ns)
        });
        Self { began: Stamp { journal_ns, at: now } }
    }

    /// The stamp of a line that is written now.
    #[must_use]
    pub fn stamp(&self, now: Now) -> Stamp {
        let passed_ns = now.boottime_ns.saturating_sub(self.began.at.boottime_ns);
        Stamp { journal_ns: self.began.journal_ns.saturating_add(passed_ns), at: now }
    }
}

/// The number of a boot, from the kernel's id of it.
#[must_use]
pub fn boot(id: &str) -> u64 {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000_000_000;

    /// Hours since something, which may be long ago.
    fn at(boot: u64, boottime: u64, realtime: i64) -> Now {
        Now { boot, boottime_ns: boottime * HOUR, realtime_ns: realtime * HOUR.cast_signed() }
    }

    /// Hours between the line that is written first and the last session, which has a line as well.
    fn age(sessions: &[Now]) -> u64 {
        let mut last: Option<(Stamp, i64)> = None;
        for now in sessions {
            let stamp = Clock::resume(last, *now).stamp(*now);
            let latest = last.map_or(now.realtime_ns, |(_, latest)| latest.max(now.realtime_ns));
            last = Some((stamp, latest));
        }
        last.unwrap().0.journal_ns / HOUR
    }

    #[test]
    fn in_a_boot_the_wall_clock_does_not_matter() {
        assert_eq!(age(&[at(1, 5, 1000), at(1, 8, 0)]), 3);
        assert_eq!(age(&[at(1, 5, 0), at(1, 8, 500_000)]), 3);
    }

    #[test]
    fn over_a_reboot_the_wall_clock_tells() {
        assert_eq!(age(&[at(1, 5, 1000), at(2, 1, 1030)]), 30);
        // Not known which boot it is.
        assert_eq!(age(&[at(0, 5, 1000), at(0, 9, 1002)]), 2);
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_older_when_it_is_right_again() {
        assert_eq!(age(&[at(1, 5, 1000), at(2, 1, 0)]), 0);
        assert_eq!(age(&[at(1, 5, 1000), at(2, 1, 0), at(3, 1, 1002)]), 2);
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_nothing_for_ever() {
        assert_eq!(age(&[at(1, 5, 900_000), at(2, 1, 1000), at(2, 31, 1030)]), 30);
    }

    #[test]
    fn time_goes_on_within_a_session() {
        let clock = Clock::resume(None, at(1, 5, 0));
        assert_eq!(clock.stamp(at(1, 7, -9)).journal_ns, 2 * HOUR);
        assert_eq!(clock.stamp(at(1, 4, 0)).journal_ns, 0);
    }

    #[test]
    fn a_boot_has_a_number() {
        assert_eq!(boot("7e0a1234-5678-9abc-def0-123456789abc"), 0x7e0a_1234_5678_9abc);
        assert_eq!((boot(""), boot("-")), (0, 0));
    }

    proptest! {
        #[test]
        fn journal_time_never_goes_back(
            sessions in prop::collection::vec((0_u64..3, any::<u64>(), any::<i64>()), 1..10),
        ) {
            let mut last: Option<(Stamp, i64)> = None;
            for (boot, boottime_ns, realtime_ns) in sessions {
                let now = Now { boot, boottime_ns, realtime_ns };
                let stamp = Clock::resume(last, now).stamp(now);
                prop_assert!(last.is_none_or(|(before, _)| before.journal_ns <= stamp.journal_ns));
                last = Some((stamp, realtime_ns));
            }
        }
    }
}
