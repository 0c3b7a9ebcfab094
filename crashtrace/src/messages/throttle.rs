//! PURE: how many messages of one kind are written.
//!
//! A kind is a place in the source that logs. An outside party that can make the agent log (a recording, a client, a server, the
//! kernel side's records) can do so a million times, so each kind has [`BURST`] messages at once and one in [`REFILL`] after that.
//! The rest is counted, and the count is a separate message.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Messages of a kind that are written at once.
pub(super) const BURST: u32 = 20;
/// How long it takes until one more may be written.
pub(super) const REFILL: Duration = Duration::from_secs(10);
/// How long a count of suppressed messages may wait.
pub(super) const SUMMARY: Duration = Duration::from_mins(1);

/// The kinds of messages so far.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    kinds: HashMap<K, Kind>,
    kept_back: u64,
}

/// Fate of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Out,
    /// It is suppressed, and a count begins.
    BeginsCount,
    /// It is suppressed.
    Counted,
}

#[derive(Debug)]
struct Kind {
    /// The first message, which names the kind.
    first: String,
    left: u32,
    refilled: Instant,
    kept_back: u64,
    since: Instant,
}

impl<K: Eq + Hash> Throttle<K> {
    pub(super) fn new() -> Self {
        Self { kinds: HashMap::new(), kept_back: 0 }
    }

    /// Whether a message of this kind was ever seen.
    pub(super) fn knows(&self, kind: &K) -> bool {
        self.kinds.contains_key(kind)
    }

    /// Whether a message is written. `message` names the kind where it is new.
    pub(super) fn fate(&mut self, kind: K, message: String, now: Instant) -> Fate {
        let kind = self.kinds.entry(kind).or_insert(Kind {
            first: message,
            left: BURST,
            refilled: now,
            kept_back: 0,
            since: now,
        });
        let refills = now.saturating_duration_since(kind.refilled).as_nanos() / REFILL.as_nanos();
        if refills > 0 {
            kind.left = kind.left.saturating_add(u32::try_from(refills).unwrap_or(u32::MAX)).min(BURST);
            kind.refilled = now;
        }
        if kind.left > 0 {
            kind.left -= 1;
            return Fate::Out;
        }
        self.kept_back = self.kept_back.saturating_add(1);
        kind.kept_back = kind.kept_back.saturating_add(1);
        if kind.kept_back > 1 {
            return Fate::Counted;
        }
        kind.since = now;
        Fate::BeginsCount
    }

    /// Messages suppressed so far.
    pub(super) fn kept_back(&self) -> u64 {
        self.kept_back
    }

    /// When [`Self::summary`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        let waiting = self.kinds.values().filter(|kind| kind.kept_back > 0);
        waiting.map(|kind| kind.since + SUMMARY).min()
    }

    /// The suppressed messages of each kind since the last summary.
    pub(super) fn summary(&mut self) -> Option<String> {
        let mut text = String::new();
        for kind in self.kinds.values_mut().filter(|kind| kind.kept_back > 0) {
            let (count, first) = (kind.kept_back, &kind.first);
            writeln!(text, "crashtrace: {count} more messages like this one were kept back: {first}")
                .unwrap_or_default();
            kind.kept_back = 0;
        }
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_messages_of_a_kind_are_twenty_and_a_count() {
        let mut throttle = Throttle::new();
        let now = Instant::now();
        let through = (0..1_000_000).map(|at| throttle.fate("a", format!("message {at}"), now));
        let fates: Vec<_> = through.collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Out).count(), BURST as usize);
        assert_eq!(fates[BURST as usize], Fate::BeginsCount);
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::BeginsCount).count(), 1);
        // Another kind has its own.
        assert_eq!(throttle.fate("b", "other".to_owned(), now), Fate::Out);
        assert_eq!((throttle.kept_back(), throttle.due()), (999_980, Some(now + SUMMARY)));
        let told = throttle.summary().unwrap();
        assert_eq!(told, "crashtrace: 999980 more messages like this one were kept back: message 0\n");
        assert_eq!((throttle.summary(), throttle.due()), (None, None));
        assert_eq!(throttle.kept_back(), 999_980);
    }

    #[test]
    fn a_kind_that_goes_on_has_one_message_in_ten_seconds() {
        let mut throttle = Throttle::new();
        let begin = Instant::now();
        let tenths = (0..60 * 60 * 10).map(|tenth| begin + Duration::from_millis(tenth * 100));
        let through = tenths.filter(|now| throttle.fate((), String::new(), *now) == Fate::Out).count();
        assert_eq!(through, BURST as usize + 359);
        // After a pause it has its burst again, and no more.
        let later = begin + Duration::from_hours(9);
        let through = (0..100).filter(|_| throttle.fate((), String::new(), later) == Fate::Out).count();
        assert_eq!(through, BURST as usize);
    }
}
