//! crashtrace's public output, schema `crashtrace/v1`. **This folder is its definition**; `crashtrace schema` prints it as JSON
//! Schema. It knows no stage: the stages use its words.
//!
//! One JSON object a line, at most [`MAX_LINE_BYTES`] long. Field names are snake case and carry their unit
//! (`_bytes`, `_ns`). Within v1 fields and enum values may be added; none is renamed or removed, and the order of
//! fields stays. A consumer ignores what it does not know.
//!
//! - Unknown is `null`, and [`Incident::unresolved`] says why. A limit that is not set is `null` with
//!   `unlimited` true beside it. `null` never means zero.
//! - `id` names an incident for good; a line with the same `id` and a higher `revision` replaces the earlier one.
//! - Text that processes and containers choose (`comm`, cgroup names) may be any bytes. Valid UTF-8 stands as it
//!   is but for the backslash, which is doubled; a byte that is not UTF-8 is `\xNN`, and so is each byte of a character
//!   that a terminal acts on or does not show: controls (C0, DEL, C1), direction of writing, line separators, no width.
//!   So it can be undone without loss, and is harmless to whoever shows it.
//! - In all other strings such characters are in JSON's own escapes (`\u202e`), so that a line is harmless as it is.
//! - A line that would be too long is cut (`report/fit.rs`), and `truncated` is then true. A text that was cut has
//!   `…` in it.
//! - `seq` counts the lines of one session (a run of the agent), from 1: a gap is a line lost on the way. `lost`
//!   is what the agent itself lost in that session up to then, in records, and in lines of its journal.
//! - `redelivered` is true in a line that an earlier session made, and may have sent: it is the same but for that.
//!
//! The beginning of a line, to give an idea (whole ones are in `tests/fixtures/report`):
//!
//! ```json
//! {"schema":"crashtrace/v1","agent":"0.1.0","node":"worker-3","boot_id":"7e0a…","session":"b51c…","seq":17,"lost":0,
//!  "id":"7e0a…-812345678901-3","revision":1,"redelivered":false,"kind":"oom_kill",
//!  "time":"2026-11-22T07:23:15.123456789Z","ktime_ns":812345678901,"verdict":{"cause":"cgroup_oom",
//!  "level":"container","certainty":"observed","inferred":[],"summary":"…","evidence":["…"],"remedy":"…"}}
//! ```

use schemars::JsonSchema;
use serde::Serialize;

mod account;
mod agent;
mod exit;
mod field;
mod folded;
mod incident;
pub mod json;
mod json_schema;
mod memory;
mod owner;
mod redelivered;
mod text;
mod verdict;

pub use account::{
    Account, AccountEntry, AccountHolder, AccountKind, FilePages, HugePages, Kept, Swap, SwapDevice, SwapKind,
};
pub use agent::{
    AgentStarted, AgentStartedKind, AgentStopping, AgentStoppingKind, BlindSpot, BtfInUse, BtfSource,
    ClockChanged, ClockChangedKind, Loss, LossKind, PinnedHooks,
};
pub use exit::{
    EndedBy, Exit, FailedProbe, Fault, OomRef, ProbeAction, ProbeKind, SentSignal, StatusSays, Stop,
};
pub use field::{
    AllocationField, ExitField, Field, FoldedField, LimitField, MemoryField, ProcessField, Unresolved,
    VerdictField,
};
pub use folded::{Folded, FoldedVictim};
pub use incident::{Allocation, Constraint, Incident, Kind, LimitHit, LimitKind, MigrateType, Process};
pub use json_schema::json_schema;
pub use memory::{HOLDERS, HOLDERS_LATE, Holder, Memory, Unmovable, ZONES, Zone};
pub use owner::{
    Claims, ContainerRole, Engine, EngineKind, Kubernetes, NameSource, Owner, OwnerKind, Qos, Runtime,
    Workload,
};
pub use redelivered::redelivered;
pub use text::Text;
pub(crate) use text::shorten;
pub use verdict::{Cause, Certainty, Level, Origin, Shortage, Verdict};

/// Value of [`Envelope::schema`].
pub const SCHEMA: &str = "crashtrace/v1";

/// Bytes of the longest line, its newline included: container runtimes split lines of 16 KiB and more.
pub const MAX_LINE_BYTES: usize = 12 * 1024;

/// A line of the stream.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Line {
    /// Something happened to a process or a container.
    Incident(Box<Incident>),
    /// The agent watches from here on.
    AgentStarted(Box<AgentStarted>),
    /// The agent lost something, and no incident was there to carry the count.
    Loss(Box<Loss>),
    /// Somebody has set the wall clock.
    ClockChanged(Box<ClockChanged>),
    /// The agent stops watching.
    AgentStopping(Box<AgentStopping>),
}

impl Line {
    /// What opens it.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Self::Incident(line) => &mut line.envelope,
            Self::AgentStarted(line) => &mut line.envelope,
            Self::Loss(line) => &mut line.envelope,
            Self::ClockChanged(line) => &mut line.envelope,
            Self::AgentStopping(line) => &mut line.envelope,
        }
    }
}

/// What opens each line.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Envelope {
    /// Always `crashtrace/v1`.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// Version of the agent.
    pub agent: String,
    /// Name of the node: `--node-name`, else the host's name.
    pub node: Text,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// Id of this run of the agent.
    pub session: String,
    /// Number of the line in the session, from 1.
    pub seq: u64,
    /// Records lost in the session so far.
    pub lost: u64,
}
