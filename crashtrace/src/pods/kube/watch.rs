//! The watch: which request comes next, and when.
//!
//! ```text
//!           +--> watch that begins with the list --+ the list has ended
//!  no list -+    (refused, or no end: ask so no     +--> watch from a version --+--> ended in time: again, at once
//!           |     more for a while)                |                            +--> trouble: again, after a pause
//!           +--> list ----------------------------+                            +--> the version is too old: no list
//! ```
//!
//! # Why not `kube::runtime::watcher`
//!
//! Its version 5.0.0 was put in this module's place, with a layer below it that had the deadlines, the bounds, `Retry-After` and
//! the silence, and one above it that chose how to list; `tests/kube` was run on it. 14 of 38 tests passed. Of the 24 others
//! some only need other words, or more of the same (a server that streams no lists, 401, the 504 that says when to come
//! back); these do not:
//!
//! - `broken::babble_is_survived`: an answer that ends at once, as a proxy or a stopping server gives it, is no error to the
//!   watcher, and it sends the next request without a pause: 19,300 requests in twelve seconds. A list that breaks off is requested
//!   anew in the same way. Both times 5,000.
//! - `refusals::a_refusal_that_lasts_names_the_rights_that_lack`, `broken::a_watch_that_falls_silent_is_made_anew`: it does not
//!   report that a watch was begun anew, or that a bookmark came. So a trouble that is over still counts, until a pod
//!   changes; and two bookmarks that are missing cannot be told from a quiet node.
//! - `refusals::a_version_that_is_always_refused_is_given_up`: it never does, so a server that was restored from a backup leaves
//!   the node without names until the agent starts anew.
//! - `a_list_of_any_size_takes_little_memory` (`tests/kube_memory.rs`): its client has a list in memory twice, 120 MB for 60 MB. In
//!   pages it lists without `resourceVersion=0`: each page then comes from the server's database (see [`Watch::list`]).
//!
//! The layers had become most of this module. With it the program has 2.2 MB more (9.2 MB in place of 7.1 MB, stripped) and 35
//! crates more, which would have been no reason.

use std::sync::Arc;
use std::time::{Duration, Instant};

use form_urlencoded::Serializer;
use tokio::time::{sleep, timeout};

use super::Options;
use super::body::{Pieces, Read};
use super::connection::{Connection, Failure};
use super::handle::{Inner, Shared};
use super::message::{Event, List};
use super::problem::Problem;
use super::sieve::Piece;
use crate::backoff::Backoff;

/// The most pages of a list. The agent sends no `limit`, so this is never met.
const MOST_PAGES: usize = 100;
/// So often a version may be refused for reasons of which none is that it is too old; then it is given up all the same. A
/// server whose data was restored from a backup is at an older version.
const MOST_REFUSALS: u32 = 3;
/// Watches that end in time are spread by their length; this spreads those that a pause of the machine has held up.
const MOMENT: Duration = Duration::from_secs(1);

/// How a request ended.
pub(super) enum End {
    /// There is a list now, or another way to get one: go on at once.
    Next,
    /// A watch ended at the time that the request set.
    InTime,
    /// A watch ended sooner. So does a server that is stopped: it may be gone now.
    Early,
    /// The version is too old.
    Expired,
    /// Anything else.
    Failed(Failure),
}

impl<T: Into<Failure>> From<T> for End {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

/// Watches for ever.
pub(super) async fn run(shared: Arc<Shared>, options: Options) {
    let mut backoff = Backoff::new(options.pauses, fastrand::Rng::new());
    let mut watch = Watch::new(Arc::clone(&shared), options, fastrand::Rng::new());
    loop {
        let (end, went_well) = watch.step().await;
        backoff.went_well(went_well);
        let pause = match end {
            End::Next => continue,
            End::InTime => backoff.moment(MOMENT.min(watch.options.pauses.first)),
            End::Early | End::Expired => backoff.pause(None),
            End::Failed(Failure { retry_after, .. }) => backoff.pause(retry_after),
        };
        sleep(pause).await;
    }
}

struct Watch {
    shared: Arc<Shared>,
    options: Options,
    random: fastrand::Rng,
    connection: Option<Connection>,
    /// From where to go on: there is a list.
    version: Option<String>,
    /// How often in a row that version was refused.
    refusals: u32,
    /// Until then, lists are not requested as watches.
    plain_lists_until: Option<Instant>,
}

impl Watch {
    fn new(shared: Arc<Shared>, options: Options, random: fastrand::Rng) -> Self {
        Self {
            shared,
            options,
            random,
            connection: None,
            version: None,
            refusals: 0,
            plain_lists_until: None,
        }
    }

    /// One request. How it ended, and how long it had gone well.
    async fn step(&mut self) -> (End, Duration) {
        let mut well_since = None;
        let end = match self.try_step(&mut well_since).await {
            Ok(end) | Err(end) => end,
        };
        match &end {
            End::Expired => self.expire(),
            End::Failed(failure) => self.fail(&failure.problem),
            End::Next | End::InTime | End::Early => {}
        }
        (end, well_since.map_or(Duration::ZERO, |since: Instant| since.elapsed()))
    }

    async fn try_step(&mut self, well_since: &mut Option<Instant>) -> Result<End, End> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.options).await?);
        }
        let plainly = self.plain_lists_until.is_some_and(|until| Instant::now() < until);
        if self.version.is_none() && plainly {
            self.list().await?;
            return Ok(End::Next);
        }
        let end = self.watch(well_since).await;
        if self.connection.as_ref().is_some_and(Connection::is_for_one_watch) {
            self.connection = None;
        }
        match end? {
            End::Early if well_since.is_none() => {
                Err(Problem::Broken("the watch ended before it had begun".to_owned()).into())
            }
            end => Ok(end),
        }
    }

    fn expire(&mut self) {
        self.version = None;
        self.refusals = 0;
        let problem = Problem::refused(410, "what was seen last is too old to go on from; listing again");
        self.shared.change(|inner, now| inner.doubts(problem, now));
    }

    fn fail(&mut self, problem: &Problem) {
        self.shared.change(|inner, now| match problem {
            // It began with the silence.
            Problem::Quiet(silence) => inner.fails(problem.clone(), now.checked_sub(*silence).unwrap_or(now)),
            _ => inner.fails(problem.clone(), now),
        });
        match problem.code() {
            // Certificates, and the kubeconfig, are read when a connection is opened.
            Some(401) | None => self.connection = None,
            // Of these none is about the version.
            Some(403 | 429) => {}
            Some(_) if self.version.is_some() => {
                self.refusals += 1;
                if self.refusals >= MOST_REFUSALS {
                    self.version = None;
                    self.refusals = 0;
                }
            }
            Some(_) => {}
        }
    }

    fn connection(&self) -> Result<&Connection, Problem> {
        self.connection.as_ref().ok_or_else(|| Problem::Broken("there is none".to_owned()))
    }

    /// A whole list, from the server's memory: `resourceVersion=0` takes the version that is there, so that no request reaches its
    /// database. It may be older than the known pods; the watch then sends the newer changes again.
    ///
    /// Not in pages: a server that takes a list from its memory takes no notice of `limit`, and a list in pages is taken from the
    /// database, where each page of a node's pods is looked for among all pods of the cluster. The list is read item by
    /// item as it comes, so pages would save no memory.
    async fn list(&mut self) -> Result<(), End> {
        let mut page: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let path = list_path(&self.options.node, page.as_deref());
            self.shared.change(|inner, _| inner.asks_list());
            let first = page.is_none();
            let fetch = fetch(&self.shared, self.connection()?, &path, first);
            let list = match timeout(self.options.list_deadline, fetch).await {
                Ok(Ok(list)) => list,
                Ok(Err(failure)) if failure.problem.code() == Some(410) => return Err(End::Expired),
                Ok(Err(failure)) => return Err(failure.into()),
                Err(_) => return Err(Problem::Silent(self.options.list_deadline).into()),
            };
            page = list.next_page;
            let version =
                list.version.ok_or_else(|| Problem::nonsense("a list without a resource version"))?;
            if page.is_none() {
                self.shared.change(Inner::ends_list);
                self.version = Some(version);
                return Ok(());
            }
        }
        Err(Problem::nonsense("a list without an end").into())
    }

    /// A watch from the known version, or a watch that begins with the list.
    async fn watch(&mut self, well_since: &mut Option<Instant>) -> Result<End, End> {
        let (least, most) = (*self.options.watch_seconds.start(), *self.options.watch_seconds.end());
        let seconds = self.random.u32(least..=most.max(least));
        let path = watch_path(&self.options.node, self.version.as_deref(), seconds);
        self.shared.change(|inner, _| inner.asks_watch());
        let asked = Instant::now();
        let answer = self.connection()?.get(&path).await;
        let mut lines = match answer {
            Ok(body) => Pieces::of_watch(body),
            Err(failure) => return Err(self.refused(failure)),
        };
        if self.version.is_none() {
            self.shared.change(|inner, _| inner.begins_list());
        }
        let end = self.read(&mut lines, well_since).await;
        self.shared.change(|inner, _| inner.receives(lines.take_received()));
        let end = end?;
        // The server's clock may run a little ahead of ours.
        let in_time = asked.elapsed() + MOMENT >= Duration::from_secs(seconds.into());
        Ok(if matches!(end, End::InTime) && !in_time { End::Early } else { end })
    }

    /// A watch that is refused before it begins.
    fn refused(&mut self, failure: Failure) -> End {
        match failure.problem.code() {
            Some(410) => End::Expired,
            // A server that does not know lists as watches (before Kubernetes 1.32, if it is not turned on) does not allow their
            // parameters.
            Some(400 | 422) if self.version.is_none() => self.list_plainly(),
            _ => failure.into(),
        }
    }

    fn list_plainly(&mut self) -> End {
        self.plain_lists_until = Some(Instant::now() + self.options.plain_lists);
        self.shared.change(|inner, _| inner.streams_lists = false);
        End::Next
    }

    async fn read(&mut self, lines: &mut Pieces, well_since: &mut Option<Instant>) -> Result<End, End> {
        let began = Instant::now();
        loop {
            let listing = self.version.is_none();
            let within = if listing {
                self.options.list_deadline.saturating_sub(began.elapsed())
            } else if well_since.is_none() {
                // A version that is too old is refused at once: silence is a good sign.
                self.options.grace.min(self.options.silence)
            } else {
                self.shared.silence(&self.options)
            };
            let read = lines.next_within(within).await?;
            self.shared.change(|inner, _| inner.receives(lines.take_received()));
            let event = match read {
                Read::Piece(Piece::Whole(kept)) => Event::parse(&kept)?,
                Read::Piece(Piece::Item(_) | Piece::TooLarge) => Event::Unknown,
                Read::End => return Ok(if listing { End::Early } else { End::InTime }),
                Read::Nothing if listing => return Ok(self.list_plainly()),
                Read::Nothing if well_since.is_none() => {
                    self.well(well_since);
                    continue;
                }
                Read::Nothing => return Err(Problem::Quiet(within).into()),
            };
            self.shared.change(|inner, now| inner.takes_event(&event, now));
            let version = match event {
                Event::Error { code: 410, .. } => return Err(End::Expired),
                Event::Error { code, message, retry_after } => {
                    return Err(Failure { retry_after, ..Problem::refused(code, &message).into() }.into());
                }
                Event::Bookmark { list_ended: false, .. } if listing => {
                    // A server that does not know lists as watches has sent one, without saying where it ends.
                    return Ok(self.list_plainly());
                }
                Event::Bookmark { version, .. } => {
                    if listing && version.is_some() {
                        self.shared.change(|inner, now| {
                            inner.ends_list(now);
                            inner.streams_lists = true;
                        });
                    }
                    version
                }
                Event::There(object) | Event::Gone(object) if !listing => object.metadata.resource_version,
                // In a list the versions come in any order.
                Event::There(_) | Event::Gone(_) | Event::Unknown => None,
            };
            if let Some(version) = version {
                self.version = Some(version);
            }
            if self.version.is_some() && well_since.is_none() {
                self.well(well_since);
            }
        }
    }

    fn well(&mut self, since: &mut Option<Instant>) {
        *since = Some(Instant::now());
        self.refusals = 0;
        self.shared.change(|inner, _| inner.goes_well());
    }
}

/// A page of a list. Each of its items is known as soon as it has come; a pod that is not in the list goes when it has ended.
async fn fetch(shared: &Shared, connection: &Connection, path: &str, first: bool) -> Result<List, Failure> {
    let mut pieces = Pieces::of_list(connection.get(path).await?);
    if first {
        shared.change(|inner, _| inner.begins_list());
    }
    let mut list = None;
    while let Some(piece) = pieces.next().await? {
        let received = pieces.take_received();
        shared.change(|inner, now| {
            inner.receives(received);
            match &piece {
                Piece::Item(kept) => inner.takes_item(kept, now),
                Piece::TooLarge => inner.passes_over(),
                Piece::Whole(_) => {}
            }
        });
        if let Piece::Whole(kept) = piece {
            list = Some(List::parse(&kept)?);
        }
    }
    shared.change(|inner, _| inner.receives(pieces.take_received()));
    list.ok_or_else(|| Problem::nonsense("no list").into())
}

fn query(node: &str) -> Serializer<'static, String> {
    let mut query = Serializer::new(String::new());
    query.append_pair("fieldSelector", &format!("spec.nodeName={node}"));
    query
}

/// The path of a list, or of its next page.
pub(super) fn list_path(node: &str, page: Option<&str>) -> String {
    let mut query = query(node);
    match page {
        None => query.append_pair("resourceVersion", "0"),
        Some(page) => query.append_pair("continue", page),
    };
    format!("/api/v1/pods?{}", query.finish())
}

/// The path of a watch from this version, or of a watch that begins with the list. The latter names no version, so the server
/// waits until its memory is as new as its database: then the list is never older than the known pods.
pub(super) fn watch_path(node: &str, version: Option<&str>, seconds: u32) -> String {
    let mut query = query(node);
    query.append_pair("watch", "true").append_pair("allowWatchBookmarks", "true");
    match version {
        Some(version) => query.append_pair("resourceVersion", version),
        None => {
            query.append_pair("sendInitialEvents", "true").append_pair("resourceVersionMatch", "NotOlderThan")
        }
    };
    query.append_pair("timeoutSeconds", &seconds.to_string());
    format!("/api/v1/pods?{}", query.finish())
}
