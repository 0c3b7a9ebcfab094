//! PURE: when to read the kernel side's counts, and when to go round without a record.

use crate::metrics::health::HEARTBEAT_NS;

/// How long after a record the counts are read. The ring can overflow only while it holds records, and the kernel side is silent
/// about further failures of a kind for that long after it has written a record of one
/// ([`crashtrace_ebpf::FAILURE_QUIET_NS`]), so when no record has come for longer, the counts cannot have changed.
///
/// Nor are they read at once: the kernel skips a kprobe's program on a CPU that is in a `bpf()` call, and right after a record the
/// next OOM is most likely.
const AFTER_NS: u64 = crashtrace_ebpf::FAILURE_QUIET_NS;

/// The next time to read them, if there is one.
#[derive(Debug, Default)]
pub(super) struct CountSchedule {
    next_ns: Option<u64>,
    /// By then the counts that the latest record may have left out are complete.
    until_ns: u64,
}

impl CountSchedule {
    /// Notes that records came.
    pub(super) fn records(&mut self, now_ns: u64) {
        self.until_ns = now_ns.saturating_add(AFTER_NS);
        self.next_ns.get_or_insert(self.until_ns);
    }

    /// When the next reading is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Whether a reading is due; then the next time is set.
    pub(super) fn is_due(&mut self, now_ns: u64) -> bool {
        let due = self.next_ns.is_some_and(|at| now_ns >= at);
        if due {
            self.next_ns = (now_ns < self.until_ns).then_some(self.until_ns);
        }
        due
    }
}

/// When the loop goes round with nothing to do: only where metrics and health are served. An agent that is idle and serves none
/// does not wake up at all.
///
/// The counts that the kernel side keeps are read then, too, since most of them rise without a record. That takes a few calls of
/// `bpf()`, and for their microseconds kprobes on this CPU are skipped (see [`AFTER_NS`]), once in [`HEARTBEAT_NS`]: if each scrape
/// read them, the client would decide how often.
#[derive(Debug)]
pub(super) struct Heartbeat {
    next_ns: Option<u64>,
}

impl Heartbeat {
    /// Starts now, if `wanted`.
    pub(super) fn new(wanted: bool, now_ns: u64) -> Self {
        Self { next_ns: wanted.then_some(now_ns) }
    }

    /// When the next beat is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// Whether a beat is due; then the next time is set.
    pub(super) fn is_due(&mut self, now_ns: u64) -> bool {
        let due = self.next_ns.is_some_and(|at| now_ns >= at);
        if due {
            self.next_ns = Some(now_ns.saturating_add(HEARTBEAT_NS));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_followed_by_a_count_and_then_by_silence() {
        let mut schedule = CountSchedule::default();
        assert!(!schedule.is_due(5) && schedule.next_ns().is_none());
        schedule.records(10);
        assert_eq!(schedule.next_ns(), Some(10 + AFTER_NS));
        assert!(!schedule.is_due(9 + AFTER_NS));
        assert!(schedule.is_due(10 + AFTER_NS));
        assert_eq!(schedule.next_ns(), None);
    }

    #[test]
    fn failures_after_a_record_that_came_right_before_a_count_are_counted_too() {
        let mut schedule = CountSchedule::default();
        schedule.records(0);
        schedule.records(AFTER_NS - 1);
        assert!(schedule.is_due(AFTER_NS));
        assert_eq!(schedule.next_ns(), Some(2 * AFTER_NS - 1));
        assert!(schedule.is_due(2 * AFTER_NS - 1));
        assert_eq!(schedule.next_ns(), None);
    }

    #[test]
    fn the_heart_beats_where_clients_can_connect_and_a_late_beat_is_not_made_up_for() {
        let mut heartbeat = Heartbeat::new(true, 7);
        assert_eq!(heartbeat.next_ns(), Some(7));
        assert!(!heartbeat.is_due(6) && heartbeat.is_due(7));
        assert_eq!(heartbeat.next_ns(), Some(7 + HEARTBEAT_NS));
        assert!(heartbeat.is_due(10 * HEARTBEAT_NS) && !heartbeat.is_due(10 * HEARTBEAT_NS));
        assert_eq!(heartbeat.next_ns(), Some(11 * HEARTBEAT_NS));
        let mut none = Heartbeat::new(false, 7);
        assert!(none.next_ns().is_none() && !none.is_due(u64::MAX));
    }

    #[test]
    fn records_that_come_all_the_time_do_not_put_it_off() {
        let mut schedule = CountSchedule::default();
        let due = (0..50).filter(|tenth| {
            let now_ns = tenth * AFTER_NS / 10;
            schedule.records(now_ns);
            schedule.is_due(now_ns)
        });
        assert_eq!(due.count(), 4);
    }
}
