//! Ends of containers, counted for the metrics: all of them, reported or not, so that the counts do not depend on what is reported.

use std::collections::BTreeMap;

use strum::{IntoStaticStr, VariantArray};

use crate::event::signals;

/// How a process ended, in few classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
pub enum EndedHow {
    #[strum(serialize = "0")]
    Zero,
    #[strum(serialize = "1-125")]
    Code,
    /// The program cannot be executed.
    #[strum(serialize = "126")]
    NotExecutable,
    /// There is no such program.
    #[strum(serialize = "127")]
    NotFound,
    /// As a shell reports a process that a signal ended.
    #[strum(serialize = "128+")]
    SignalsCode,
    #[strum(serialize = "SIGILL")]
    Ill,
    #[strum(serialize = "SIGTRAP")]
    Trap,
    #[strum(serialize = "SIGABRT")]
    Abrt,
    #[strum(serialize = "SIGBUS")]
    Bus,
    #[strum(serialize = "SIGFPE")]
    Fpe,
    #[strum(serialize = "SIGKILL")]
    Kill,
    #[strum(serialize = "SIGSEGV")]
    Segv,
    #[strum(serialize = "SIGPIPE")]
    Pipe,
    #[strum(serialize = "SIGTERM")]
    Term,
    #[strum(serialize = "SIGXCPU")]
    Xcpu,
    #[strum(serialize = "SIGSYS")]
    Sys,
    /// Another signal.
    #[strum(serialize = "other")]
    Other,
    /// The status could not be read.
    #[strum(serialize = "unknown")]
    Unknown,
}

impl EndedHow {
    /// By the exit code and the signal, as a report has them.
    #[must_use]
    pub fn of(code: Option<i32>, signal: Option<u8>) -> Self {
        match (code, signal) {
            (_, Some(signal)) => match signal {
                signals::SIGILL => Self::Ill,
                signals::SIGTRAP => Self::Trap,
                signals::SIGABRT => Self::Abrt,
                signals::SIGBUS => Self::Bus,
                signals::SIGFPE => Self::Fpe,
                signals::SIGKILL => Self::Kill,
                signals::SIGSEGV => Self::Segv,
                signals::SIGPIPE => Self::Pipe,
                signals::SIGTERM => Self::Term,
                signals::SIGXCPU => Self::Xcpu,
                signals::SIGSYS => Self::Sys,
                _ => Self::Other,
            },
            (Some(0), None) => Self::Zero,
            (Some(126), None) => Self::NotExecutable,
            (Some(127), None) => Self::NotFound,
            (Some(128..), None) => Self::SignalsCode,
            (Some(_), None) => Self::Code,
            (None, None) => Self::Unknown,
        }
    }
}

/// What came of a SIGTERM that did not end the process before its SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Term {
    /// The kernel dropped it: the process ignores it, or is process 1 without a handler.
    Ignored,
    /// It was delivered, and the process did not end in time.
    Handled,
}

/// Ends by the words of the report and by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndCounts {
    /// By cause.
    pub ends: BTreeMap<(&'static str, EndedHow), u64>,
    /// Probes that failed and ended a container, by kind.
    pub probes: BTreeMap<&'static str, u64>,
    /// SIGTERMs that ended nothing.
    pub terms: BTreeMap<Term, u64>,
}

impl EndCounts {
    /// Counts an end.
    pub fn ended(&mut self, cause: &'static str, how: EndedHow) {
        rise(self.ends.entry((cause, how)).or_default());
    }

    /// Counts a probe that ended a container.
    pub fn probe_killed(&mut self, kind: &'static str) {
        rise(self.probes.entry(kind).or_default());
    }

    /// Counts a SIGTERM that did not end its process.
    pub fn term_in_vain(&mut self, term: Term) {
        rise(self.terms.entry(term).or_default());
    }
}

fn rise(count: &mut u64) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_of_few_labels() {
        for (code, signal, label) in [
            (Some(0), None, "0"),
            (Some(1), None, "1-125"),
            (Some(125), None, "1-125"),
            (Some(126), None, "126"),
            (Some(127), None, "127"),
            (Some(128), None, "128+"),
            (Some(255), None, "128+"),
            (Some(137), Some(9), "SIGKILL"),
            (Some(139), Some(11), "SIGSEGV"),
            (Some(192), Some(64), "other"),
            (None, None, "unknown"),
        ] {
            assert_eq!(<&str>::from(EndedHow::of(code, signal)), label, "{code:?} {signal:?}");
        }
    }
}
