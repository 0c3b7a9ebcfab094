//! What the agent says of itself.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Envelope, NameSource, Text};

/// The agent watches from here on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentStarted {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// A later session delivers it, from the journal: the one that made it may have sent it too.
    pub redelivered: bool,
    /// Always `agent_started`.
    pub kind: AgentStartedKind,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`. What happened before is neither reported nor counted.
    pub ktime_ns: u64,
    /// Release of the kernel.
    pub kernel: Text,
    /// The hooks in use.
    pub hooks: Vec<String>,
    /// The BTF that the offsets of kernel fields come from; null for a recording.
    pub btf: Option<BtfInUse>,
    /// The sources of names of pods.
    pub names_from: Vec<NameSource>,
    /// What cannot be seen with them.
    pub blind: Vec<BlindSpot>,
    /// Read from a recording.
    pub replay: bool,
    /// What became of pinned hooks (`--pin`); null without that option.
    pub pin: Option<PinnedHooks>,
}

/// Hooks that stay when the agent ends, so that the next one goes on with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PinnedHooks {
    /// The earlier session whose hooks were found; null if there were none, or if they do not say.
    pub from_session: Option<Text>,
    /// That session ended after it had told all that it had taken from the kernel's ring. If false, it was killed: what it had taken
    /// and not told is lost. Null if there was none.
    pub from_in_order: Option<bool>,
    /// Why those hooks were replaced: what they had recorded is told if it can be read, and nothing was recorded for the moment between
    /// both. Null if they were taken over, or if there were none: with `from_session` there is then no gap between both sessions.
    pub gap: Option<String>,
    /// Why the hooks of this session end with it all the same, so that the next restart is a gap; null if they stay.
    pub not_pinned: Option<String>,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStartedKind {
    /// The only one.
    AgentStarted,
}

/// The agent lost something since the last line.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Loss {
    /// What opens each line; `lost` includes these.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// A later session delivers it, from the journal: the one that made it may have sent it too.
    pub redelivered: bool,
    /// Always `loss`.
    pub kind: LossKind,
    /// When it was noticed, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// Counters that rose since the last line that carried them, by name. `records_lost` are records of any kind, of which an OOM kill
    /// has several: `kills_lost` says how many of them were of killed processes, `failures_lost` of failed allocations, `ends_lost` of
    /// ends of containers.
    pub counters: BTreeMap<String, u64>,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// The only one.
    Loss,
}

/// The wall clock was set. `time` of the lines that follow is by the new clock, of those before by the old clock; `ktime_ns` of
/// all lines is by the kernel's clock, which is never set.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClockChanged {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// A later session delivers it, from the journal: the one that made it may have sent it too.
    pub redelivered: bool,
    /// Always `clock_changed`.
    pub kind: ClockChangedKind,
    /// When it was noticed, as UTC by the new clock.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// The same moment by the old clock.
    #[schemars(extend("format" = "date-time"))]
    pub time_before: String,
    /// The same moment in nanoseconds of `CLOCK_BOOTTIME`.
    pub ktime_ns: u64,
    /// By how much the clock was set forward; negative if back. Add it to `time` of an earlier line of this session to have it
    /// by the new clock.
    pub step_ns: i64,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockChangedKind {
    /// The only one.
    ClockChanged,
}

/// The agent stops watching.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentStopping {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// A later session delivers it, from the journal: the one that made it may have sent it too.
    pub redelivered: bool,
    /// Always `agent_stopping`.
    pub kind: AgentStoppingKind,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`. What happened between the start and this time is reported or counted; what
    /// happens later is not.
    pub ktime_ns: u64,
    /// Why: `signal`, `end_of_recording`.
    pub reason: String,
    /// All counters of the session, by name.
    pub counters: BTreeMap<String, u64>,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStoppingKind {
    /// The only one.
    AgentStopping,
}

/// The BTF that the agent uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BtfInUse {
    /// Where it is.
    pub path: String,
    /// Why it is trusted.
    pub source: BtfSource,
}

/// Why the BTF in use is trusted, besides the self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BtfSource {
    /// The running kernel's own.
    Kernel,
    /// A file that agrees with the kernel's own BTF in everything that is read.
    FileThatAgrees,
    /// A file that differs from the kernel's own BTF.
    FileThatDiffers,
    /// A file; the kernel's own BTF cannot be read.
    FileAlone,
}

/// Something that the hooks in use do not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlindSpot {
    /// What is not seen.
    pub field: String,
    /// Why.
    pub reason: String,
}
