//! The Events of single pods: asked for only where a report needs them, by a task of its own. Answers come from memory.
//!
//! `GET /api/v1/namespaces/{namespace}/events` with `fieldSelector=involvedObject.uid={uid}`: the one right is list on events. The
//! API server has no index of Events by object and keeps none in its memory: for each list it reads the namespace's Events from its
//! database. So lists are rare:
//!
//! | what | at most |
//! |---|---|
//! | lists of a node | [`board::BURST`] at once, then one in [`board::INTERVAL`], one after another |
//! | of a pod | one a second ([`EventOptions::again`]), while a run of it was first asked about less than [`EventOptions::soon`] ago |
//! | pods that are asked about | [`board::MOST_PODS`], each forgotten [`EventOptions::kept`] after it was last asked about |
//! | pages of a list | [`MOST_PAGES`] of [`PAGE`] Events |
//! | Events that are kept of a pod | [`event::MOST_EVENTS`], the latest; of each message [`event::MAX_MESSAGE_BYTES`] |
//!
//! After trouble there is a pause, as for the watch; after a refusal that is repeated [`EventOptions::refused`]. Meanwhile the answer
//! says what is wrong, and nothing waits for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use form_urlencoded::Serializer;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::Options;
use super::body::Pieces;
use super::connection::{Connection, Failure};
use super::message::List;
use super::problem::Problem;
use super::sieve::Piece;
use crate::backoff::Backoff;
use crate::names::{Events, is_label};

mod board;
mod event;

pub(super) use board::words;
use board::{Board, Next, Outcome, Told};
pub(super) use event::Latest;

/// Events in a page.
const PAGE: usize = 100;
/// Pages of a list. kubelet puts Events of one reason together, so real pods have some dozens.
const MOST_PAGES: usize = 5;

/// The times of the look-up of Events.
#[derive(Clone, Copy, Debug)]
pub struct EventOptions {
    /// An Event of a death comes at most so long after it.
    pub soon: Duration,
    /// A pod's Events are listed again at the earliest after this.
    pub again: Duration,
    /// A pod is forgotten so long after it was last asked about.
    pub kept: Duration,
    /// The pause after the right to list Events was refused twice: it is missing, and somebody must grant it.
    pub refused: Duration,
    /// How long a list may take.
    pub deadline: Duration,
}

impl Default for EventOptions {
    fn default() -> Self {
        Self {
            soon: Duration::from_secs(5),
            again: Duration::from_secs(1),
            kept: Duration::from_mins(1),
            refused: Duration::from_mins(5),
            deadline: Duration::from_secs(10),
        }
    }
}

/// The state that the task writes and the handles read.
#[derive(Debug)]
pub(super) struct Shared {
    board: Mutex<Board>,
    /// A pod was asked about.
    asked: Notify,
}

impl Shared {
    pub(super) fn new(options: EventOptions) -> Self {
        Self { board: Mutex::new(Board::new(options)), asked: Notify::new() }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        // Each change of it leaves it whole.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From memory: never waits. `run` is the container's id, of which the answer is wanted.
    pub(super) fn ask(&self, namespace: &str, uid: &str, run: Option<&str>) -> Events {
        if !is_label(namespace) || !is_uid(uid) {
            let missing = "the pod's namespace or UID is none that Kubernetes allows".to_owned();
            return Events { missing: Some(missing), ..Events::default() };
        }
        let events = self.board().ask(namespace, uid, run, Instant::now());
        self.asked.notify_one();
        events
    }

    /// Why Events are not known, if that lasts.
    pub(super) fn problem(&self) -> Option<String> {
        self.board().problem()
    }

    pub(super) fn fault(&self, text: String) {
        let now = Instant::now();
        self.board().fails(&Problem::Fault(text), now, now);
    }
}

/// Lists for ever, as far as somebody asks.
pub(super) async fn run(shared: Arc<Shared>, options: Options) {
    let mut backoff = Backoff::new(options.pauses, fastrand::Rng::new());
    let mut connection = None;
    let mut failed: Option<Instant> = None;
    loop {
        // Not in the `match`, whose arms would hold the lock.
        let next = shared.board().next(Instant::now());
        let (namespace, uid) = match next {
            Next::List { namespace, uid } => (namespace, uid),
            Next::At(when) => {
                let wait = when.saturating_duration_since(Instant::now());
                let _ = timeout(wait, shared.asked.notified()).await;
                continue;
            }
            Next::Idle => {
                // It would hold the memory of TLS for a next death that may be days away.
                connection = None;
                shared.asked.notified().await;
                continue;
            }
        };
        let listing = list(&mut connection, &options, &namespace, &uid);
        let deadline = options.events.deadline;
        let result = timeout(deadline, listing).await;
        let result = result.unwrap_or_else(|_| Err(Problem::Silent(deadline).into()));
        let now = Instant::now();
        let told = match result {
            Ok(outcome) => {
                backoff.went_well(failed.map_or(Duration::MAX, |failed| failed.elapsed()));
                shared.board().got(&uid, outcome)
            }
            Err(Failure { problem, retry_after, .. }) => {
                failed = Some(now);
                // Certificates are read when a connection is opened; a request that was given up is still on it.
                if matches!(problem.code(), Some(401) | None) {
                    connection = None;
                }
                let mut pause = backoff.pause(retry_after);
                if problem.code() == Some(403) && shared.board().is_forbidden() {
                    let half = options.events.refused / 2;
                    pause = pause.max(half + backoff.moment(half));
                }
                shared.board().fails(&problem, now, now + pause)
            }
        };
        say(told);
        if connection.as_ref().is_some_and(Connection::is_for_one_watch) {
            connection = None;
        }
    }
}

fn say(told: Option<Told>) {
    match told {
        Some(Told::Trouble { said, remedy }) => tracing::warn!(
            remedy,
            "no Events of pods, without which some deaths have no reason; crashtrace goes on without them: {said}"
        ),
        Some(Told::Well) => tracing::info!("Events of pods come from the API server"),
        None => {}
    }
}

/// All pages of a list.
async fn list(
    connection: &mut Option<Connection>,
    options: &Options,
    namespace: &str,
    uid: &str,
) -> Result<Outcome, Failure> {
    let connection = match connection {
        Some(connection) => connection,
        none => none.insert(Connection::open(options).await?),
    };
    let (mut latest, mut page) = (Latest::default(), None);
    for _ in 0..MOST_PAGES {
        let path = path(namespace, uid, PAGE, page.as_deref());
        let mut pieces = Pieces::of_events(connection.get(&path).await?);
        let mut around = None;
        while let Some(piece) = pieces.next().await? {
            match piece {
                Piece::Item(kept) => latest.take(&kept, uid, &options.node),
                Piece::Whole(kept) => around = Some(List::parse(&kept)?),
                Piece::TooLarge => latest.left_out += 1,
            }
        }
        // Something else that is JSON is no list without Events.
        let around = around.filter(|list| list.version.is_some());
        let around =
            around.ok_or_else(|| Problem::nonsense("a list of Events without a resource version"))?;
        page = around.next_page;
        if page.is_none() {
            return Ok(Outcome::of(latest, false));
        }
    }
    Ok(Outcome::of(latest, true))
}

/// The path of a list of a pod's Events, or of its next page.
pub(super) fn path(namespace: &str, uid: &str, limit: usize, page: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("fieldSelector", &format!("involvedObject.uid={uid}"));
    query.append_pair("limit", &limit.to_string());
    if let Some(page) = page {
        query.append_pair("continue", page);
    }
    format!("/api/v1/namespaces/{namespace}/events?{}", query.finish())
}

/// A UUID, a hash, or what a manifest may set. It becomes a part of a selector, of which `,`, `=` and `\` are the grammar.
fn is_uid(text: &str) -> bool {
    let of_uid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=crate::pods::object::MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(of_uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_selects_the_events_of_one_pod() {
        assert_eq!(
            path("shop", "2227d2ac-729b-4912-87f5-14f1fda3ef9f", 100, None),
            "/api/v1/namespaces/shop/events?fieldSelector=involvedObject.uid%3D2227d2ac-729b-4912-87f5-14f1fda3ef9f&limit=100"
        );
        assert!(path("a", "u", 1, Some("a&b")).ends_with("&limit=1&continue=a%26b"));
    }

    #[test]
    fn names_that_would_change_the_request_are_not_asked_about() {
        let shared = Shared::new(EventOptions::default());
        let long = "a".repeat(254);
        for (namespace, uid) in [
            ("", "u"),
            ("a/../../secrets", "u"),
            ("a?b", "u"),
            (&long, "u"),
            ("a", ""),
            ("a", "u,involvedObject.kind=Node"),
            ("a", "u\\"),
            ("a", &long),
        ] {
            let events = shared.ask(namespace, uid, None);
            assert!(events.missing.is_some() && !events.soon, "{namespace} {uid}");
        }
        assert!(matches!(shared.board().next(Instant::now()), Next::Idle));
        assert!(shared.ask("shop", "349ec37f55eed21f6a216e957a510f10", None).soon);
    }
}
