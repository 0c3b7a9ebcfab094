//! What ends a pod and its containers, as the index keeps it. PURE.
//!
//! Reasons are mostly one of a few words that Kubernetes and the runtimes have: those take no space of their own ([`Word`]). Of a
//! container's runs only ended ones have a status, so that is boxed.

use std::borrow::Cow;

use crate::names::{ContainerLife, EndedStatus, PodLife, Probe, RestartPolicy};

/// A reason: one of the known words, which take no space, or other text.
pub type Word = Cow<'static, str>;

/// The longest reason that is kept. Kubernetes' own have at most 30 letters.
pub const MAX_WORD_BYTES: usize = 64;
/// So much is kept of a pod's message. Of an eviction the resource that was short stands at its beginning, and what each container
/// used is last; so one that is cut says less, and nothing else.
pub const MAX_MESSAGE_BYTES: usize = 256;

/// Reasons of pods (kubelet, controllers), of the condition `DisruptionTarget`, and of ended containers (containerd, CRI-O).
const KNOWN: &[&str] = &[
    "Evicted",
    "DeadlineExceeded",
    "Preempting",
    "NodeShutdown",
    "Terminated",
    "NodeLost",
    "NodeAffinity",
    "Shutdown",
    "UnexpectedAdmissionError",
    "EvictionByEvictionAPI",
    "PreemptionByScheduler",
    "TerminationByKubelet",
    "DeletionByTaintManager",
    "DeletionByPodGC",
    "OOMKilled",
    "Error",
    "Completed",
    "StartError",
    "ContainerCannotRun",
    "ContainerStatusUnknown",
    "Unknown",
    "seccomp killed",
];

/// A reason, as it is kept: absent if it is empty or too long, for one that is cut is another.
#[must_use]
pub fn word(text: &str) -> Option<Word> {
    if let Some(known) = KNOWN.iter().find(|known| **known == text) {
        return Some(Cow::Borrowed(known));
    }
    (1..=MAX_WORD_BYTES).contains(&text.len()).then(|| Cow::Owned(text.into()))
}

/// A text of others, of which the end may be left out.
#[must_use]
pub fn cut(text: &str, most_bytes: usize) -> Box<str> {
    const LEFT_OUT: &str = "...";
    let text = text.trim();
    if text.len() <= most_bytes {
        return text.into();
    }
    let end = text.floor_char_boundary(most_bytes.saturating_sub(LEFT_OUT.len()));
    [&text[..end], LEFT_OUT].concat().into()
}

/// The seconds since 1970 of a time as the API writes it. `None` where it was never set, which is year 1 or 1970.
#[must_use]
pub fn seconds(time: &str) -> Option<i64> {
    /// With fractions and an offset.
    const LONGEST: usize = 40;
    let time: jiff::Timestamp = Some(time).filter(|time| time.len() <= LONGEST)?.parse().ok()?;
    Some(time.as_second()).filter(|seconds| *seconds > 0)
}

fn heap_bytes(word: Option<&Word>) -> usize {
    word.map_or(0, |word| if let Cow::Owned(text) = word { text.capacity() } else { 0 })
}

/// Of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfPod {
    /// `spec.restartPolicy`.
    pub restart_policy: Option<RestartPolicy>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace_seconds: Option<u32>,
    /// `metadata.deletionTimestamp` is set: it is being deleted. Or it was deleted without ever having had one, which a forced
    /// deletion does.
    pub deleting: bool,
    /// `metadata.deletionGracePeriodSeconds`.
    pub deletion_grace_seconds: Option<u32>,
    /// `status.reason`.
    pub reason: Option<Word>,
    /// `status.message`, of [`MAX_MESSAGE_BYTES`] at most.
    pub message: Option<Box<str>>,
    /// The reason of the condition `DisruptionTarget`, if its status is `True`.
    pub disruption: Option<Word>,
}

impl OfPod {
    /// Its size on the heap, without the struct itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let message = self.message.as_deref().map_or(0, str::len);
        heap_bytes(self.reason.as_ref()) + heap_bytes(self.disruption.as_ref()) + message
    }

    /// For a report.
    #[must_use]
    pub fn names(&self) -> PodLife {
        let text = |word: &Option<Word>| word.as_deref().map(str::to_owned);
        PodLife {
            restart_policy: self.restart_policy,
            grace_seconds: self.grace_seconds,
            deleting: self.deleting,
            deletion_grace_seconds: self.deletion_grace_seconds,
            reason: text(&self.reason),
            message: self.message.as_deref().map(str::to_owned),
            disruption: text(&self.disruption),
        }
    }
}

/// Of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfContainer {
    /// Its own `restartPolicy`.
    pub restart_policy: Option<RestartPolicy>,
    /// `livenessProbe`.
    pub liveness: Option<Probe>,
    /// `startupProbe`.
    pub startup: Option<Probe>,
    /// How the run with the id in [`super::pod::Container::id`] ended.
    pub ended: Option<Box<Ended>>,
    /// How the run with the id in [`super::pod::Container::last_id`] ended.
    pub last_ended: Option<Box<Ended>>,
}

impl OfContainer {
    /// Its size on the heap, without the struct itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        [&self.ended, &self.last_ended].into_iter().flatten().map(|it| it.bytes()).sum()
    }

    /// For a report, of the run that ended so.
    #[must_use]
    pub fn names(&self, ended: Option<&Ended>) -> ContainerLife {
        ContainerLife {
            restart_policy: self.restart_policy,
            liveness: self.liveness.clone(),
            startup: self.startup.clone(),
            ended: ended.map(|it| EndedStatus {
                reason: it.reason.as_deref().map(str::to_owned),
                exit_code: it.exit_code,
                finished_at_s: it.finished_at_s,
            }),
        }
    }
}

/// How a run of a container ended, by its status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// `reason`.
    pub reason: Option<Word>,
    /// `exitCode`.
    pub exit_code: Option<i32>,
    /// `finishedAt`, in seconds since 1970.
    pub finished_at_s: Option<i64>,
}

impl Ended {
    /// Its size, with what it has on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + heap_bytes(self.reason.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_take_no_space_and_long_ones_are_absent() {
        for known in KNOWN {
            assert!(matches!(word(known), Some(Cow::Borrowed(text)) if text == *known), "{known}");
        }
        assert_eq!(word("evicted").map(Cow::into_owned).as_deref(), Some("evicted"), "it is another");
        let longest = "x".repeat(MAX_WORD_BYTES);
        let kept = word(&longest);
        assert_eq!((kept.as_deref(), heap_bytes(kept.as_ref())), (Some(&*longest), MAX_WORD_BYTES));
        assert_eq!((word(&format!("{longest}x")), word("")), (None, None));
    }

    #[test]
    fn a_cut_text_says_that_it_is_cut() {
        assert_eq!(&*cut(" short\n", 5), "short");
        assert_eq!(&*cut("0123456789", 9), "012345...");
        assert_eq!(&*cut("größer als das", 6), "gr...", "no half letters");
        assert_eq!(&*cut("text", 0), "...");
    }

    #[test]
    fn times_are_whole_seconds() {
        for (time, expected) in [
            ("2026-11-22T08:21:27Z", Some(1_795_335_687)),
            ("2026-11-28T16:29:05.550031Z", Some(1_795_883_345)),
            ("2026-11-22T09:21:27+01:00", Some(1_795_335_687)),
            ("1970-01-01T00:00:00Z", None),
            ("0001-01-01T00:00:00Z", None),
            ("2026-11-22", None),
            ("99999-11-22T08:21:27Z", None),
            ("", None),
        ] {
            assert_eq!(seconds(time), expected, "{time}");
        }
        assert_eq!(seconds(&format!("2026-11-22T08:21:27.{}Z", "0".repeat(1000))), None);
    }
}
