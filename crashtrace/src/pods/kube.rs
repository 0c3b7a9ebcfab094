//! Pods from the API server: a watch of this node's pods, by kube-rs.
//!
//! ```text
//! settings -> connection -> answer -> event  -> index -> find
//! source      connection    body      message   (pods)   handle
//!                           sieve
//!                  ^------------ watch, backoff: which request, and when
//! ```
//!
//! The agent sends only `GET /api/v1/pods` with a field selector, and after some deaths `GET` of a pod's Events (`events`): the
//! rights are list and watch on pods and list on events, not get. [`check()`] lists once. [`Kube`] keeps the pods of the watch, and
//! answers from memory.
//!
//! # Cost for the server
//!
//! A recorded object of a pod has 3 KiB, without `managedFields`. With these, and more containers, the table takes it as 8 KiB,
//! and 30 pods a node.
//!
//! | when | requests of a node | bytes to a node |
//! |---|---|---|
//! | start, server with lists as watches | 1 | 30 objects: 240 KiB |
//! | start, older server | 3: refused, list, watch | the same |
//! | an hour of peace | 8 watches of 5 to 10 minutes each, on one connection | 60 bookmarks of 200 bytes: 12 KiB |
//! | a pod's life | 0 | about 11 changes: 90 KiB |
//! | a death that Kubernetes may have caused | 1 to 5 lists of the pod's Events, of a node at most 2 a second | some dozen Events: 10 KiB each |
//! | an outage | 23 in the first ten minutes, then 2 a minute | 0 |
//! | after it | 1, and after a restart of the server 2: the old version is refused | 240 KiB where a new list is needed |
//!
//! Together 5,000 nodes make 11 requests a second in peace. When the server goes away they make 1,500 in the worst second, and
//! after three minutes 170 in each, give or take; as many come back in each second of the minute after its return, and where each
//! needs a new list, that is 40 MB a second for half a minute. These are the numbers of [`crate::backoff`], whose tests hold
//! them. A change of a pod is sent to one node only.
//!
//! # What is not trusted
//!
//! The server's bytes are untrusted. Of each object only the fields that are used are ever held (`sieve`), one object at a time,
//! each field is read by itself, and the index is bounded ([`super::index`]): [`MOST_BYTES`] together, whatever a server sends.
//! A list of 74 MB, in 50 pods with large labels and environments, took 1.1 MB at most, and 0.2 MB as a plain list. Bytes
//! are taken in steps, so that the loop is never held up for long. [`WatchStatus`] has the problem, with its reason; known pods
//! stay known; a change of the problem is in the log, once (`log`).
//!
//! Files (kubeconfig, CA, certificate, key, token) are read off the loop, with a bound and a deadline ([`crate::files`]).

mod access;
pub mod answer;
mod body;
mod check;
mod connection;
mod events;
mod handle;
mod kubeconfig;
mod log;
mod message;
mod problem;
mod shapes;
mod sieve;
mod source;
mod status;
mod watch;

use std::ops::RangeInclusive;
use std::time::Duration;

pub use crate::backoff::Pauses;
pub use check::{Checked, check};
pub(crate) use connection::{Connection, Failure};
pub use events::EventOptions;
pub use handle::Kube;
pub use problem::Problem;
pub use sieve::LONGEST_OBJECT;
pub use source::{Source, Takes};
pub use status::{State, WatchStatus};

/// The most memory that the API server takes as a source: the index, two objects (the kept part of each, and the object read), the
/// buffers of two connections, a kubeconfig while it is read, and 64 pods' Events (32 each, of 0.5 KiB of text and some names).
pub const MOST_BYTES: usize = super::index::MAX_BYTES + (12 << 20);

/// Where the API server is, and how its pods are watched.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node's name, as the API server has it.
    pub node: String,
    /// Where the server is, and the credentials.
    pub source: Source,
    /// How long TCP may take to connect.
    pub connect_deadline: Duration,
    /// How long the headers of an answer may take, TLS included. A busy server lets a request wait for a quarter of a minute.
    pub answer_deadline: Duration,
    /// How long a list may take, also the list at the start of a watch.
    pub list_deadline: Duration,
    /// A watch that sends nothing for so long is dead: two bookmarks are missing, which come about once a minute.
    pub silence: Duration,
    /// The same once a watch without bookmarks was given up and no bookmark had ever come: a server that goes on like this may send
    /// none, and a quiet node must not look like trouble again and again.
    pub silence_without_bookmarks: Duration,
    /// How long the server is to keep a watch, in seconds. Each draws anew, so that the agents do not move in step.
    pub watch_seconds: RangeInclusive<u32>,
    /// The pauses after trouble.
    pub pauses: Pauses,
    /// Trouble that is over sooner is not reported. A server that starts refuses for a moment requests that it will allow.
    pub grace: Duration,
    /// How long lists as watches are not tried again after a server refused them. It may be upgraded.
    pub plain_lists: Duration,
    /// The times of the look-up of Events.
    pub events: EventOptions,
}

impl Options {
    /// The usual ones.
    #[must_use]
    pub fn new(node: impl Into<String>, source: Source) -> Self {
        Self {
            node: node.into(),
            source,
            connect_deadline: Duration::from_secs(10),
            answer_deadline: Duration::from_secs(45),
            list_deadline: Duration::from_mins(1),
            silence: Duration::from_secs(150),
            silence_without_bookmarks: Duration::from_mins(5),
            watch_seconds: 300..=600,
            pauses: Pauses::default(),
            grace: Duration::from_secs(20),
            plain_lists: Duration::from_hours(1),
            events: EventOptions::default(),
        }
    }
}
