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
    /// Always `agent_started`.
    pub kind: AgentStartedKind,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`. What happened before is not told, nor counted.
    pub ktime_ns: u64,
    /// Release of the kernel.
    pub kernel: Text,
    /// The hooks in use.
    pub hooks: Vec<String>,
    /// The BTF by which the kernel's structures are read; null for a recording.
    pub btf: Option<BtfInUse>,
    /// Who is asked for the names of pods.
    pub names_from: Vec<NameSource>,
    /// What cannot be seen with them.
    pub blind: Vec<BlindSpot>,
    /// Read from a recording.
    pub replay: bool,
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
    /// Always `loss`.
    pub kind: LossKind,
    /// When it was noticed, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// Counters that rose since the last line that carried them, by name.
    pub counters: BTreeMap<String, u64>,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// The only one.
    Loss,
}

/// Somebody has set the wall clock. `time` of the lines that follow is by the new one, of those before by the old one, and
/// `ktime_ns` of all of them by the kernel's, which nobody sets.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClockChanged {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
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
    /// What the new clock is ahead of the old one; negative if it was set back. Added to `time` of an earlier line of this
    /// session it gives that moment by the new clock.
    pub step_ns: i64,
}

/// Value of `kind`.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClockChangedKind {
    /// The only one.
    ClockChanged,
}

/// The agent watches no longer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentStopping {
    /// What opens each line.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// Always `agent_stopping`.
    pub kind: AgentStoppingKind,
    /// When, as UTC.
    #[schemars(extend("format" = "date-time"))]
    pub time: String,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`. What happened between the start and then is told or counted, what happens
    /// later is not.
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

/// The BTF that the agent goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BtfInUse {
    /// Where it is.
    pub path: String,
    /// What speaks for it.
    pub source: BtfSource,
}

/// What speaks for the BTF in use, beside the self-test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BtfSource {
    /// It is the running kernel's own.
    Kernel,
    /// It is a file, and the kernel's own BTF says the same of all that is read.
    FileThatAgrees,
    /// It is a file, and the kernel's own BTF says otherwise.
    FileThatDiffers,
    /// It is a file, and the kernel's own BTF cannot be read.
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
