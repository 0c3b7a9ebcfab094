//! The requests: what is sent, and what an answer means for the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Method;
use serde_json::json;

use super::refusal::{Refusal, remedy};
use super::{JSON, Pod, REPORTS, Shared, State};
use crate::backoff::Backoff;
use crate::crash_report::{CrashReport, GROUP, PLURAL, VERSION};
use crate::kube_reports::digest::PodId;
use crate::kube_reports::event::{Key, Write};
use crate::pods::kube::{Connection, Failure};

/// The pause of an object that somebody else has just changed.
const CONFLICT: Duration = Duration::from_secs(5);

const MERGE: &str = "application/merge-patch+json";
/// JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// The connection, and how it goes.
pub(super) struct Writer {
    shared: Arc<Shared>,
    pub(super) connection: Option<Connection>,
    backoff: Backoff,
    failed: Option<Instant>,
    /// Whether the last write of a kind was refused for all of them.
    refused: [bool; 2],
}

/// What came of a write.
pub(super) enum Written {
    Well,
    /// The pod is gone, and with it its object.
    Gone,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let backoff = Backoff::new(shared.options.kube.pauses, fastrand::Rng::new());
        Self { shared, connection: None, backoff, failed: None, refused: [false; 2] }
    }

    /// Counts, logs, and plans the next try. `again` makes the object wait for a time or, with none, forgets it.
    pub(super) fn judge(
        &mut self,
        kind: usize,
        written: Result<Written, Failure>,
        again: impl FnOnce(&mut State, Option<Duration>),
    ) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let failure = match written {
            Ok(written) => {
                self.backoff.went_well(self.failed.map_or(Duration::MAX, |failed| failed.elapsed()));
                self.refused[kind] = false;
                let counts = &mut state.counts[kind];
                match written {
                    Written::Gone => {
                        counts.gone += 1;
                        again(&mut state, None);
                    }
                    Written::Well => {
                        counts.written += 1;
                        if counts.problem.take().is_some() {
                            tracing::info!("{} are written to the API server again", WHAT[kind]);
                        }
                    }
                }
                return;
            }
            Err(failure) => failure,
        };
        let now = Instant::now();
        let Failure { problem, retry_after, .. } = &failure;
        let refusal = Refusal::of(&failure);
        if refusal == Refusal::Gone {
            state.counts[kind].gone += 1;
            again(&mut state, None);
            return;
        }
        state.counts[kind].failed += 1;
        let said = problem.to_string();
        if state.counts[kind].problem.as_ref() != Some(&said) {
            tracing::warn!(
                remedy = remedy(refusal, problem),
                "{} are not written to the API server: {said}",
                WHAT[kind]
            );
            state.counts[kind].problem = Some(said);
        }
        match refusal {
            Refusal::Gone => {}
            Refusal::Conflict => again(&mut state, Some(CONFLICT)),
            Refusal::OfObject => again(&mut state, Some(self.shared.options.refused)),
            Refusal::OfAll => {
                again(&mut state, Some(Duration::ZERO));
                // A server that starts refuses for a moment what it will allow.
                let is_repeated = std::mem::replace(&mut self.refused[kind], true);
                let pause = if is_repeated {
                    // So that the agents do not come back together.
                    let half = self.shared.options.refused / 2;
                    half + self.backoff.moment(2 * half)
                } else {
                    self.backoff.pause(*retry_after)
                };
                if kind == REPORTS {
                    state.reports.pause(now + pause);
                } else {
                    state.events.pause(now + pause);
                }
            }
            Refusal::Trouble => {
                self.failed = Some(now);
                self.connection = None;
                again(&mut state, Some(Duration::ZERO));
                let until = now + self.backoff.pause(*retry_after);
                state.reports.pause(until);
                state.events.pause(until);
            }
        }
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: Vec<u8>,
    ) -> Result<Bytes, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.shared.options.kube).await?),
        };
        connection.send(method, path, kind, body).await
    }

    /// Writes the report of a pod.
    pub(super) async fn report(&mut self, uid: &str) -> Result<Written, Failure> {
        let Some(pod) = (self.shared.find)(uid).filter(Pod::fits_a_path) else { return Ok(Written::Gone) };
        let Pod { namespace, name, uid: pod_uid } = pod;
        let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}");
        if !self.shared.state().store.is_whole(uid) {
            // A patch of nothing reads the object with the right to patch it, and changes nothing.
            let earlier = match self.send(Method::PATCH, &path, MERGE, b"{}".to_vec()).await {
                Ok(json) => serde_json::from_slice::<CrashReport>(&json).ok().map(|object| object.spec),
                Err(failure) if failure.is_without(PLURAL) => None,
                // A policy keeps agents from reports of other nodes: that pod of this name ran elsewhere, and is another one.
                Err(failure) if Refusal::of(&failure) == Refusal::OfObject => None,
                Err(failure) => return Err(failure),
            };
            self.shared.state().store.absorb(uid, &pod_uid, earlier);
        }
        let node = self.shared.options.kube.node.clone();
        let Some(spec) = self.shared.state().store.object(uid, &node, &pod_uid) else {
            return Ok(Written::Gone);
        };
        let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": pod_uid });
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": "CrashReport",
            "metadata": { "name": name, "namespace": namespace, "ownerReferences": [owner] },
            "spec": spec,
        });
        self.send(Method::PATCH, &applied(&path, &node), APPLY, object.to_string().into_bytes()).await?;
        Ok(Written::Well)
    }

    /// Writes an Event of a series.
    pub(super) async fn event(&mut self, key: &Key) -> Result<Written, Failure> {
        let is_there = |id: &PodId| (self.shared.find)(&id.uid).is_some_and(|pod| pod.fits_a_path());
        if key.pod.as_ref().is_some_and(|id| !is_there(id)) {
            return Ok(Written::Gone);
        }
        let Some(write) = self.shared.state().book.write(key) else { return Ok(Written::Gone) };
        let sent = match &write {
            Write::Create { path, body } => {
                self.send(Method::POST, path, JSON, body.to_string().into_bytes()).await
            }
            Write::Count { path, body } => {
                self.send(Method::PATCH, path, MERGE, body.to_string().into_bytes()).await
            }
        };
        let mut state = self.shared.state();
        match (write, sent) {
            (_, Ok(_)) => state.book.there(key, true),
            // Events end after an hour.
            (Write::Count { .. }, Err(failure)) if failure.is_without("events") => {
                state.book.there(key, false);
                state.events.changed(key, Instant::now());
            }
            (Write::Create { .. }, Err(failure)) if failure.problem.code() == Some(409) => {
                state.book.there(key, true);
                state.events.changed(key, Instant::now());
            }
            (_, Err(failure)) => return Err(failure),
        }
        Ok(Written::Well)
    }
}

const WHAT: [&str; 2] = ["reports on pods (CrashReport)", "Events"];

/// The path with what an apply needs. Without `force` a field that somebody else has set would keep the whole report out.
fn applied(path: &str, node: &str) -> String {
    let mut query = Serializer::new(String::new());
    query.append_pair("fieldManager", &manager(node)).append_pair("force", "true");
    format!("{path}?{}", query.finish())
}

/// The field manager: one for each node.
fn manager(node: &str) -> String {
    // At most 128 bytes.
    let node: String = node.chars().filter(|c| !c.is_control()).take(100).collect();
    format!("crashtrace-{node}")
}

impl Pod {
    /// Both names become parts of a path.
    fn fits_a_path(&self) -> bool {
        let fits = |text: &str| {
            let of_name =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
            (1..=253).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(of_name)
        };
        fits(&self.namespace) && fits(&self.name)
    }
}
