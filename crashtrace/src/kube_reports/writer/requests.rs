//! The requests: what is sent, and what an answer means for the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::Method;
use serde_json::json;

use super::refusal::{Refusal, remedy};
use super::{JSON, Object, Pod, Shared, State};
use crate::backoff::Backoff;
use crate::crash_report::{CrashReport, GROUP, PLURAL, VERSION};
use crate::kube_reports::event::{Key, Write};
use crate::names::{is_label, is_name};
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
    /// Kinds whose last write was refused for all of them.
    refused: Vec<Object>,
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
        Self { shared, connection: None, backoff, failed: None, refused: Vec::new() }
    }

    /// Counts, logs, and plans the next try. `again` makes the object wait for a time or, with none, forgets it.
    pub(super) fn judge(
        &mut self,
        object: Object,
        written: Result<Written, Failure>,
        again: impl FnOnce(&mut State, Option<Duration>),
    ) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let kind = object.kind();
        if written.is_ok() {
            self.backoff.went_well(self.failed.map_or(Duration::MAX, |failed| failed.elapsed()));
            self.refused.retain(|refused| *refused != object);
        }
        let (failure, refusal) = match written {
            Ok(Written::Well) => {
                let counts = state.counts_of(object);
                counts.written += 1;
                if counts.problem.take().is_some() {
                    tracing::info!(kind, "objects are written to the API server again");
                }
                return;
            }
            Ok(Written::Gone) => {
                state.counts_of(object).gone += 1;
                return again(&mut state, None);
            }
            Err(failure) => {
                let refusal = Refusal::of(&failure);
                (failure, refusal)
            }
        };
        let Failure { problem, retry_after, .. } = failure;
        if refusal != Refusal::Gone {
            let said = problem.to_string();
            let counts = state.counts_of(object);
            counts.failed += 1;
            if counts.problem.as_ref() != Some(&said) {
                let remedy = remedy(refusal, &problem);
                tracing::warn!(kind, remedy, "objects are not written to the API server: {said}");
                counts.problem = Some(said);
            }
        }
        let now = Instant::now();
        match refusal {
            Refusal::Gone => {
                state.counts_of(object).gone += 1;
                again(&mut state, None);
            }
            Refusal::Conflict => again(&mut state, Some(CONFLICT)),
            Refusal::OfObject => again(&mut state, Some(self.shared.options.refused)),
            Refusal::OfAll => {
                again(&mut state, Some(Duration::ZERO));
                // A server that starts refuses for a moment what it will allow.
                let pause = if self.refused.contains(&object) {
                    // So that the agents do not come back together.
                    let half = self.shared.options.refused / 2;
                    half + self.backoff.moment(2 * half)
                } else {
                    self.refused.push(object);
                    self.backoff.pause(retry_after)
                };
                state.pause(object, now + pause);
            }
            Refusal::Trouble => {
                self.failed = Some(now);
                self.connection = None;
                again(&mut state, Some(Duration::ZERO));
                let until = now + self.backoff.pause(retry_after);
                for object in [Object::Report, Object::Event] {
                    state.pause(object, until);
                }
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
        let Some(pod) = (self.shared.find)(uid).filter(fits_a_path) else { return Ok(Written::Gone) };
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
        if let Some(id) = &key.pod
            && ((self.shared.find)(&id.uid).is_none() || !is_label(&id.namespace))
        {
            return Ok(Written::Gone);
        }
        let Some(write) = self.shared.state().book.write(key) else { return Ok(Written::Gone) };
        let sent = self.write(&write).await;
        let is_there = match (&write, &sent) {
            // Events end after an hour.
            (Write::Count { .. }, Err(failure)) if failure.is_without("events") => false,
            (Write::Create { .. }, Err(failure)) if failure.problem.code() == Some(409) => true,
            _ => {
                sent?;
                self.shared.state().book.there(key, true);
                return Ok(Written::Well);
            }
        };
        // It is not as was thought: the other way, once.
        let write = {
            let book = &mut self.shared.state().book;
            book.there(key, is_there);
            book.write(key)
        };
        let Some(write) = write else { return Ok(Written::Gone) };
        self.write(&write).await?;
        self.shared.state().book.there(key, true);
        Ok(Written::Well)
    }

    async fn write(&mut self, write: &Write) -> Result<Bytes, Failure> {
        let (method, path, content, body) = match write {
            Write::Create { path, body } => (Method::POST, path, JSON, body),
            Write::Count { path, body } => (Method::PATCH, path, MERGE, body),
        };
        self.send(method, path, content, body.to_string().into_bytes()).await
    }
}

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

/// Both names become parts of a path.
fn fits_a_path(pod: &Pod) -> bool {
    is_label(&pod.namespace) && is_name(&pod.name)
}
