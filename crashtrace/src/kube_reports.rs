//! Reports where people look: the stream's incidents as `CrashReport` objects of their pods, and as Events.
//!
//! ```text
//! written lines -> digest -> store (reports) ----> schedule -> writer -> API server
//!                       \--> event (Events) ---/
//! ```
//!
//! A line comes on the thread that writes standard output, and is put into memory there ([`Reports::take`]): nothing of the ring or of
//! standard output ever waits for the server. One task writes, one request after the other. All but `writer` is pure.
//!
//! # Cost for the server
//!
//! | what | at most |
//! |---|---|
//! | writes of a pod's report | one in five seconds |
//! | of an Event's series | one in five seconds |
//! | writes of a node, of each of the two | 20 at once, then two a second |
//! | reads of a report | one for each pod that has an incident, in a session: an empty patch, so that no right to read is needed |
//! | an object | 32 KiB, and one for each pod that had an incident |
//!
//! A node on which nothing dies sends nothing and has no connection for this. A death by OOM is two writes of the report, since the line
//! of the container's end comes a moment after the kill's, and one of an Event. On 5,000 nodes on each of which a pod dies so once in
//! five minutes (the longest pause of a crash loop) that is 34 and 17 writes a second for the cluster; `schedule.rs` has the test.
//!
//! # What fails
//!
//! A report that cannot be written stays in memory and is written later, with what has come since; the stream has it anyway. What the
//! server refuses for all (no CRD, no right, no server) stops all writes for a while, what it refuses for one object (admission, a
//! namespace that goes) that object. Each new problem is logged once.

mod check;
mod digest;
mod event;
mod schedule;
mod store;
mod writer;

pub use check::{Amiss, check};
pub use digest::{Digest, PodId, digests};
pub use event::{EventBook, Key, reason};
pub use schedule::{Next, Pace, Schedule};
pub use store::{MAX_STORE_BYTES, Store};
pub use writer::{Counts, Options, Pod, Reports};

/// A kind of objects that the agent writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Report,
    Event,
}

impl Object {
    /// Its kind in the API.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Report => "CrashReport",
            Self::Event => "Event",
        }
    }
}
