//! A pod's Events, as a diagnosis asks them. PURE.
//!
//! kubelet counts an Event up where it happens again, so one Event has a first and a last time; and it drops Events of a pod once it
//! has written 25 of them. So their absence says nothing.

use jiff::Timestamp;

use super::facts::{Ended, time};
use super::object::Event;

/// An Event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    /// The container that it is about.
    container: Option<&'a str>,
    first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) count: u32,
}

/// All of a pod, newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Events<'a>(Vec<Seen<'a>>);

impl<'a> Events<'a> {
    pub(super) fn of(events: &'a [Event]) -> Self {
        let mut seen: Vec<_> = events.iter().map(Seen::of).collect();
        seen.sort_by_key(|event| std::cmp::Reverse(event.last));
        Self(seen)
    }

    pub(super) fn with_reason(&self, reason: &str) -> impl Iterator<Item = &Seen<'a>> {
        self.0.iter().filter(move |event| event.reason == reason)
    }

    /// Of a container, or of the pod as a whole.
    pub(super) fn of_container(&self, name: &str, reason: &str) -> impl Iterator<Item = &Seen<'a>> {
        self.with_reason(reason)
            .filter(move |event| event.container.is_none_or(|container| container == name))
    }
}

impl<'a> Seen<'a> {
    fn of(event: &'a Event) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let micro = event.event_time.as_ref().map(|time| time.0);
        let series = event.series.as_ref();
        let first = time(event.first_timestamp.as_ref()).or(micro);
        let last = series.and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let count = series.and_then(|series| series.count).or(event.count).unwrap_or(1);
        // spec.containers{name}
        let path = event.involved_object.field_path.as_deref();
        Self {
            reason: text(&event.reason),
            message: text(&event.message),
            container: path.and_then(|path| path.split_once('{')?.1.strip_suffix('}')),
            first,
            last: last.or(time(event.last_timestamp.as_ref())).or(first),
            count: u32::try_from(count).unwrap_or(1),
        }
    }

    /// Whether it happened during this run. Of an Event that was counted up only the first and the last time are known.
    pub(super) fn is_during(&self, run: &Ended<'_>) -> bool {
        /// The status and the Events have whole seconds, and kubelet writes them one after the other.
        const APART: i64 = 2;
        let from = run.started().map_or(i64::MIN, Timestamp::as_second);
        let to = run.finished().map_or(i64::MAX, |time| time.as_second().saturating_add(APART));
        let times = [self.first, self.last];
        times.into_iter().flatten().any(|time| (from..=to).contains(&time.as_second()))
    }
}
