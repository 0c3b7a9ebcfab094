//! How the watch goes: for a log line, for `crashtrace doctor`, and for metrics.

use std::fmt;
use std::time::Duration;

use super::problem::Problem;

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchStatus {
    /// Whether the known pods can be relied on.
    pub state: State,
    /// The last thing that went wrong, if nothing has gone well since. In [`State::Degraded`] once it lasts.
    pub problem: Option<Problem>,
    /// Existing pods.
    pub pods: usize,
    /// Ids of containers that are known, with those of earlier runs and of pods that are gone.
    pub containers: usize,
    /// Pods that had no room.
    pub refused_pods: u64,
    /// Requests for a list.
    pub lists: u64,
    /// Requests for a watch, those that begin with a list too.
    pub watches: u64,
    /// Requests, and answers to them, that came to nothing.
    pub failures: u64,
    /// Bytes of answers that were no refusals.
    pub received_bytes: u64,
    /// Objects of lists and lines of watches.
    pub events: u64,
    /// Those of them that were no pod and no bookmark.
    pub unreadable: u64,
    /// How long ago a list was complete.
    pub list_age: Option<Duration>,
    /// How long ago the server last said anything: a change, or a bookmark, which come about once a minute.
    pub heard_age: Option<Duration>,
    /// The server sends lists as watches. If not, lists and watches are two requests.
    pub streams_lists: bool,
    /// Why the Events of pods are not known, if that lasts. They are asked for only after some deaths.
    pub events_problem: Option<String>,
}

/// Whether the known pods can be relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No list has come yet.
    Connecting,
    /// They are those of the server. A trouble that began a moment ago counts as none.
    Synced,
    /// Trouble that lasts. Pods that were known before are still known.
    Degraded {
        /// For how long.
        lasted: Duration,
        /// The problem.
        problem: Problem,
    },
}

impl WatchStatus {
    /// Why a pod might not be known; a reason fit for a report's `unresolved`. `None` if all is well.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match &self.state {
            State::Synced => None,
            State::Degraded { problem, .. } => Some(problem.to_string()),
            State::Connecting => Some(
                self.problem
                    .as_ref()
                    .map_or_else(|| "no list of the API server yet".to_owned(), Problem::to_string),
            ),
        }
    }

    /// Requests of all kinds.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.lists.saturating_add(self.watches)
    }
}

impl fmt::Display for WatchStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pods, containers, lists, watches, received_bytes, .. } = self;
        match &self.state {
            State::Connecting => write!(f, "connecting to the API server")?,
            State::Synced => write!(f, "in step with the API server")?,
            State::Degraded { lasted, problem } => {
                write!(f, "out of step with the API server for {} s: {problem}", lasted.as_secs())?;
            }
        }
        write!(
            f,
            "; {pods} pods, {containers} container ids; {lists} lists, {watches} watches, {received_bytes} bytes"
        )?;
        match self.heard_age {
            Some(age) => write!(f, "; last heard {} s ago", age.as_secs()),
            None => write!(f, "; never heard"),
        }
    }
}
