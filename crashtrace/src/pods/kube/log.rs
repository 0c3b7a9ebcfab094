//! Logs the state of the watch, once for each change. Reports and `/readyz` have it too, but reports are read on another machine,
//! and it may be that no client reads `/readyz`.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;

use super::handle::Shared;
use super::problem::Problem;
use super::status::{State, WatchStatus};

/// For ever.
pub(super) async fn log(shared: Arc<Shared>) {
    let mut receiver = shared.changes();
    let mut news = News::default();
    loop {
        let now = Instant::now();
        match news.of(&shared.status(now)) {
            Some(Told::Trouble { problem, known: true }) => {
                tracing::warn!(
                    remedy = problem.remedy(),
                    "names of pods may be missing or out of date, what was known is still used: {problem}"
                );
            }
            Some(Told::Trouble { problem, known: false }) => {
                tracing::warn!(remedy = problem.remedy(), "no names of pods from the API server: {problem}");
            }
            Some(Told::Synced { pods }) => tracing::info!(pods, "names of pods come from the API server"),
            None => {}
        }
        // There is a sender as long as there is `shared`.
        let change = receiver.changed();
        match shared.turns_in(now) {
            Some(left) => _ = timeout(left, change).await,
            None => _ = change.await,
        }
    }
}

/// A message for the log.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Trouble {
        problem: Problem,
        /// Something was told before.
        known: bool,
    },
    Synced {
        pods: usize,
    },
}

/// The last message.
#[derive(Debug, Default)]
struct News {
    trouble: Option<Problem>,
    synced: bool,
}

impl News {
    /// The change in this status since the last message. PURE.
    fn of(&mut self, status: &WatchStatus) -> Option<Told> {
        match &status.state {
            State::Connecting => None,
            State::Synced if self.synced => None,
            State::Synced => {
                *self = Self { trouble: None, synced: true };
                Some(Told::Synced { pods: status.pods })
            }
            State::Degraded { problem, .. } => {
                let same = self.trouble.as_ref().is_some_and(|told| told.kind() == problem.kind());
                *self = Self { trouble: Some(problem.clone()), synced: false };
                let known = status.list_age.is_some();
                // A fault of this program is logged where the watch is started anew.
                let told = same || matches!(problem, Problem::Fault(_));
                (!told).then(|| Told::Trouble { problem: problem.clone(), known })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_change_is_said_once() {
        let shared = Shared::new(Duration::from_secs(20));
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut news = News::default();
        assert_eq!(news.of(&shared.status(at(0))), None, "it connects");
        let refused = |code| Problem::refused(code, "no");
        let fails = |problem: Problem, seconds| shared.change(|inner, _| inner.fails(problem, at(seconds)));
        fails(refused(403), 1);
        assert_eq!(news.of(&shared.status(at(2))), None, "it may be over in a moment");
        assert_eq!(shared.turns_in(at(2)), Some(Duration::from_secs(19)));
        let said = news.of(&shared.status(at(21)));
        assert_eq!(said, Some(Told::Trouble { problem: refused(403), known: false }));
        fails(refused(403), 30);
        assert_eq!((news.of(&shared.status(at(30))), shared.turns_in(at(30))), (None, None), "the same");
        fails(Problem::Silent(Duration::from_secs(45)), 90);
        assert!(matches!(news.of(&shared.status(at(91))), Some(Told::Trouble { .. })), "another");
        shared.change(|inner, _| inner.ends_list(at(100)));
        assert_eq!(news.of(&shared.status(at(100))), Some(Told::Synced { pods: 0 }));
        assert_eq!(news.of(&shared.status(at(101))), None);
        fails(refused(401), 200);
        assert_eq!(news.of(&shared.status(at(201))), None, "a moment");
        shared.change(|inner, _| inner.goes_well());
        assert_eq!(news.of(&shared.status(at(300))), None, "it was one");
        fails(refused(401), 400);
        let said = news.of(&shared.status(at(420)));
        assert_eq!(said, Some(Told::Trouble { problem: refused(401), known: true }));
        fails(Problem::Fault("index out of bounds".to_owned()), 500);
        assert_eq!(news.of(&shared.status(at(600))), None, "it is in the log");
    }
}
