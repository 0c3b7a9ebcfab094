//! `truth.toml`: what happened, and what must be said of it.

use std::collections::BTreeSet;

use serde::Deserialize;

/// See the head of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Truth {
    #[serde(rename = "death")]
    pub(crate) deaths: Vec<Death>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Death {
    pub(crate) case: String,
    pub(crate) file: String,
    pub(crate) container: String,
    /// For readers.
    #[serde(rename = "happened")]
    pub(crate) _happened: String,
    #[serde(rename = "kubernetes")]
    pub(crate) _kubernetes: String,
    pub(crate) ended: Ended,
    /// When, if neither the tracer nor the status has it.
    pub(crate) at: Option<jiff::Timestamp>,
    #[serde(default)]
    pub(crate) signals: Vec<Sent>,
    pub(crate) raised: Option<Raised>,
    #[serde(default)]
    pub(crate) before_exec: bool,
    pub(crate) line: bool,
    pub(crate) cause: String,
    pub(crate) level: Option<String>,
    pub(crate) ended_by: String,
    pub(crate) stop: Option<String>,
    pub(crate) probe: Option<String>,
    #[serde(default)]
    pub(crate) oom: bool,
    #[serde(default)]
    pub(crate) oom_before: u64,
    #[serde(default)]
    pub(crate) contradictions: Vec<Vec<String>>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Ended {
    Exit(u8),
    Signal(u8),
}

impl TryFrom<String> for Ended {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number = |number: &str| number.parse().map_err(|error| format!("{text}: {error}"));
        match text.split_once(' ') {
            Some(("exit", code)) => number(code).map(Self::Exit),
            Some(("signal", signal)) => number(signal).map(Self::Signal),
            _ => Err(format!("neither an exit nor a signal: {text}")),
        }
    }
}

impl Ended {
    /// As `wait` has it. Without a core.
    pub(crate) fn status(self) -> i32 {
        match self {
            Self::Exit(code) => i32::from(code) << 8,
            Self::Signal(signal) => signal.into(),
        }
    }

    /// As the status has it.
    pub(crate) fn code(self) -> u64 {
        match self {
            Self::Exit(code) => code.into(),
            Self::Signal(signal) => 128 + u64::from(signal),
        }
    }

    pub(crate) fn signal(self) -> Option<u8> {
        match self {
            Self::Exit(_) => None,
            Self::Signal(signal) => Some(signal),
        }
    }
}

/// A signal that the recording does not have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sent {
    pub(crate) number: u8,
    pub(crate) by: By,
    pub(crate) before_ms: u64,
    #[serde(default)]
    pub(crate) ignored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    Runtime,
    Host,
    /// A process of the same container.
    #[serde(rename = "self")]
    Same,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raised {
    pub(crate) number: u8,
    pub(crate) code: i32,
}

impl Truth {
    pub(crate) fn read() -> Self {
        toml::from_str(include_str!("truth.toml")).expect("truth.toml is well-formed")
    }

    /// The recordings that it is about.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.deaths.iter().map(|death| death.file.as_str()).collect()
    }

    pub(crate) fn of<'a>(&'a self, file: &'a str) -> impl Iterator<Item = &'a Death> {
        self.deaths.iter().filter(move |death| death.file == file)
    }

    pub(crate) fn case(&self, name: &str) -> &Death {
        self.deaths.iter().find(|death| death.case == name).unwrap_or_else(|| panic!("no case {name}"))
    }
}
