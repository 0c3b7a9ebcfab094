//! Lists and watches once, for `crashtrace doctor`.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::Options;
use super::body::Pieces;
use super::connection::{Connection, Failure};
use super::events;
use super::message::{List, object};
use super::problem::Problem;
use super::sieve::Piece;
use super::watch::{list_path, watch_path};
use crate::pods::object::pod;

/// The pauses before refused requests are tried again: a server that starts refuses for a moment requests that it will allow.
const AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

/// The result of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The API server's URL.
    pub server: String,
    /// The pods that it has on this node. None at all mostly is a wrong name of the node.
    pub pods: usize,
    /// How long the list was, in bytes.
    pub list_bytes: u64,
    /// Why the Events of pods cannot be listed, and what to do about it.
    pub no_events: Option<(String, &'static str)>,
    /// How long it all took.
    pub took: Duration,
}

/// Lists the node's pods, begins a watch of them, and lists the Events of none. A refusal is tried again, within the deadline.
///
/// # Errors
/// The server cannot be reached, does not answer in time, or refuses.
pub async fn check(options: &Options, deadline: Duration) -> Result<Checked, Problem> {
    let begun = Instant::now();
    let mut last = None;
    let attempts = async {
        for pause in AGAIN.into_iter().map(Some).chain([None]) {
            match attempt(options, begun).await {
                Ok(checked) => return Ok(checked),
                Err(Failure { problem, retry_after, .. }) => {
                    let Some(pause) = pause else { return Err(problem) };
                    last = Some(problem);
                    sleep(pause.max(retry_after.unwrap_or_default())).await;
                }
            }
        }
        Err(Problem::Silent(deadline))
    };
    let result = timeout(deadline, attempts).await;
    result.unwrap_or_else(|_| Err(last.unwrap_or(Problem::Silent(deadline))))
}

async fn attempt(options: &Options, begun: Instant) -> Result<Checked, Failure> {
    let connection = Connection::open(options).await?;
    let mut pieces = Pieces::of_list(connection.get(&list_path(&options.node, None)).await?);
    let (mut pods, mut version, mut namespace) = (0, None, None);
    while let Some(piece) = pieces.next().await? {
        match piece {
            Piece::Item(kept) => {
                if let Some(pod) = pod(&object(&kept)) {
                    pods += 1;
                    namespace = Some(pod.namespace);
                }
            }
            Piece::Whole(kept) => version = List::parse(&kept)?.version,
            Piece::TooLarge => {}
        }
    }
    // Watching is a separate right. The answer begins before the first event.
    drop(connection.get(&watch_path(&options.node, version.as_deref(), 1)).await?);
    // And so is listing Events. Without it names are as good, so a refusal is none of the check.
    let path = events::path(namespace.as_deref().unwrap_or("default"), "none", 1, None);
    let no_events = connection.get(&path).await.err().map(|failure| events::words(&failure.problem));
    Ok(Checked {
        server: connection.server().to_owned(),
        pods,
        list_bytes: pieces.take_received(),
        no_events,
        took: begun.elapsed(),
    })
}
