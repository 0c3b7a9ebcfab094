//! The ends of containers' first processes that must be reported.

use serde::Deserialize;

use super::{Tier, Words, all_tiers};

/// The end of a container's first process.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent statements about one end, as the file has them"
)]
pub struct Exit {
    /// Tiers that see it. All do: the hooks are raw tracepoints.
    #[serde(default = "all_tiers")]
    pub tiers: Vec<Tier>,
    /// Role of the process; one such line for each process of the role.
    pub role: String,
    pub cause: String,
    pub level: Option<String>,
    /// What it called `exit` with.
    pub code: Option<u8>,
    /// The signal that it ended by.
    pub signal: Option<u8>,
    #[serde(default)]
    pub core_dumped: bool,
    pub ended_by: Option<String>,
    pub fault: Option<Fault>,
    /// The signals that it got, in their order.
    #[serde(default)]
    pub signals: Vec<Signal>,
    /// It is the victim of an OOM report, whose verdict it has.
    #[serde(default)]
    pub oom: bool,
    /// Roles of the victims of earlier OOM reports that it names, latest first.
    #[serde(default)]
    pub oom_kills_before: Vec<String>,
    /// Kernels before this one end the process without a signal: what ended it is unknown then.
    pub silent_before: Option<(u32, u32)>,
    /// It executed no program.
    #[serde(default)]
    pub before_exec: bool,
    #[serde(default = "observed")]
    pub certainty: String,
    /// Words that must be in the evidence.
    #[serde(default)]
    pub evidence: Vec<Words>,
    /// Words that must be in the remedy.
    #[serde(default)]
    pub remedy: Vec<Words>,
    /// Words that must be in neither.
    #[serde(default)]
    pub never: Vec<String>,
    /// It may come or not.
    #[serde(default)]
    pub optional: bool,
}

/// A fault of the process, or a signal that it raised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Name of the signal.
    pub name: String,
    /// Name of the kernel's code.
    pub code_name: Option<String>,
    /// The address lies in the first page.
    #[serde(default)]
    pub null_pointer: bool,
    /// It has the number of the system call that the process made last.
    #[serde(default)]
    pub syscall: bool,
}

/// A signal that it got.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    pub number: u8,
    #[serde(default)]
    pub ignored: bool,
    pub from: String,
    /// Role of the process that sent it; none for one of the kernel.
    pub sender: Option<String>,
    /// Name of that one's parent.
    pub parent_comm: Option<String>,
    /// How many it sent.
    #[serde(default = "one")]
    pub count: u32,
}

fn observed() -> String {
    "observed".to_owned()
}

fn one() -> u32 {
    1
}
