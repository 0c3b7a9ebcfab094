//! `scenarios.toml`: the reviewed file of the reports that each scenario must bring.
//!
//! A field that is not written has the plainest meaning: every tier of hooks reports the kill, nothing is folded, no field is
//! null but those that are left out (`level`, `origin`, `constraint`, `limit`, `memory`). Sizes are in MiB.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use super::storm::Storm;
use super::validate;

mod exit;
mod failure;

pub use exit::{Exit, Fault, Signal as ExitSignal};
pub use failure::Failure;

/// The file itself.
const FILE: &str = include_str!("../scenarios.toml");

/// All scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "scenario")]
    pub scenarios: Vec<Scenario>,
    /// Fields that may be null in any report where the kernel cannot give them.
    #[serde(rename = "exception", default)]
    pub exceptions: Vec<Exception>,
}

/// Fields that may be null in some surroundings, whatever the scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Why, for people.
    pub about: String,
    /// On kernels before this one.
    pub kernels_before: (u32, u32),
    /// Where an agent with these hooks watches too.
    pub beside: Tier,
    /// In reports of these tiers.
    pub tiers: Vec<Tier>,
    /// The fields. Each must then be in `unresolved`, and evidence and remedy may lack sentences that rest on it.
    pub may_be_null: Vec<String>,
}

/// Under which circumstances reports are made.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Version of the kernel.
    pub kernel: (u32, u32),
    /// Hooks of all agents that watch.
    pub tiers: Vec<Tier>,
    /// CPUs of the machine: each keeps a part of the kernel's counters apart.
    pub cpus: u64,
    /// The kernel shows where its NUMA nodes are: else the zones can be read only afterwards.
    pub nodes_listed: bool,
    /// The program that plays.
    pub harness: Harness,
}

/// The program that plays, as the sender of signals.
#[derive(Clone, Debug, Default)]
pub struct Harness {
    pub pid: u32,
    /// What a line must say of it.
    pub ended_by: &'static str,
}

/// One scenario.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The conditions without which it cannot be played.
    pub needs: Vec<Need>,
    /// Tiers that cannot see it: they give no line, and `crashtrace doctor` names this as something it is blind to.
    #[serde(default)]
    pub blind: BTreeMap<Tier, String>,
    /// The reports that must come, in order (`each` and `optional` ones in any).
    #[serde(rename = "report", default)]
    pub reports: Vec<Report>,
    /// The reports of failed allocations that must come, in any order.
    #[serde(rename = "failure", default)]
    pub failures: Vec<Failure>,
    /// The ends of containers' first processes that must be reported, in any order.
    #[serde(rename = "exit", default)]
    pub exits: Vec<Exit>,
    /// Its containers are made by runc where the guest has one, not by this program in its place.
    #[serde(default)]
    pub runc: bool,
    /// A kind of reports of which more may come after the last.
    pub goes_on: Option<String>,
    /// A kind of reports that chance decides about: any number of them may come.
    pub by_chance: Option<String>,
    /// Steps of the wall clock: each must be reported.
    #[serde(default)]
    pub clock_steps_s: Vec<i64>,
    /// Kills that come so fast that they fold, in place of reports.
    pub storm: Option<Storm>,
    /// Nothing must be reported.
    #[serde(default)]
    pub quiet: bool,
}

/// A condition without which a scenario cannot be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Need {
    /// The memory controller on cgroup v1.
    V1,
    /// The memory controller on cgroup v2.
    V2,
    /// A machine that may be harmed.
    Guest,
    /// Two NUMA nodes.
    Numa,
    /// One.
    OneNode,
    /// The zram module.
    Zram,
    /// Memory in zone Movable.
    Movable,
    /// A kernel whose memory controller is off.
    NoMemoryController,
    /// BPF maps that are charged to the memory cgroup: from 5.11 on.
    ChargedMaps,
}

impl Need {
    /// As the file has it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The hooks that an agent uses, best first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    VariantArray,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Tier {
    Fentry,
    Kprobe,
    Tracepoint,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.first_chunk().expect("all of them");

    /// As `--hooks` has it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// There is a probe on the decision, with all that it alone sees.
    pub fn sees_decision(self) -> bool {
        self != Self::Tracepoint
    }
}

/// From a command line.
impl FromStr for Tier {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let tier = Self::ALL.into_iter().find(|tier| tier.name() == name);
        tier.ok_or_else(|| format!("hooks are {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// A report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent statements about one report, as the file has them"
)]
pub struct Report {
    /// Tiers that give it.
    #[serde(default = "all_tiers")]
    pub tiers: Vec<Tier>,
    pub kind: String,
    pub cause: String,
    pub level: Option<String>,
    pub origin: Option<String>,
    pub constraint: Option<String>,
    /// Order of the allocation.
    #[serde(default)]
    pub order: u32,
    /// It has no allocation: sysrq.
    #[serde(default)]
    pub no_order: bool,
    pub limit: Option<Limit>,
    pub trigger: Trigger,
    #[serde(default)]
    pub victims: Vec<Victim>,
    /// All of a cgroup die together.
    #[serde(default)]
    pub group: bool,
    /// They are too many for a line, which names the largest and counts all.
    #[serde(default)]
    pub truncated: bool,
    /// The level is inferred in every tier.
    #[serde(default)]
    pub level_inferred: bool,
    /// At least so many repeats were folded into it.
    #[serde(default)]
    pub repeats: u64,
    /// One such report for each process of the first victim's role.
    #[serde(default)]
    pub each: bool,
    /// It may come or not.
    #[serde(default)]
    pub optional: bool,
    pub memory: Option<Memory>,
    /// Entries that the account of memory must have.
    #[serde(default)]
    pub account: Vec<Entry>,
    /// The kind of its largest entry.
    pub largest: Option<String>,
    /// At most so much of the total is unaccounted for.
    pub unaccounted_mib: Option<u64>,
    /// Words that must be in the summary.
    #[serde(default)]
    pub summary: Vec<Words>,
    /// The kind of shortage, in an OOM of the node; `low_memory` unless given.
    pub shortage: Option<String>,
    /// Words that must be in the evidence.
    #[serde(default)]
    pub evidence: Vec<Words>,
    /// Words that must be in the remedy.
    #[serde(default)]
    pub remedy: Vec<Words>,
    /// Words that must be neither in the summary nor in the evidence nor in the remedy.
    #[serde(default)]
    pub never: Vec<String>,
    /// Fields that must be in `unresolved`.
    #[serde(default)]
    pub unresolved: Vec<String>,
    /// Fields in which the tiers may differ.
    #[serde(default)]
    pub differ: Vec<String>,
}

/// The limit that was hit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Role of its cgroup.
    pub cgroup: String,
    pub charged_at: String,
    /// Its size; at least and at most, where the scenario takes it from a report.
    pub mib: Size,
    /// The usage, at least and at most; as much as the limit if it is not given.
    pub usage_mib: Option<(u64, u64)>,
    #[serde(default)]
    pub oom_group: bool,
    pub shmem_mib: Option<(u64, u64)>,
    pub swap_usage_mib: Option<(u64, u64)>,
    pub swap_mib: Option<u64>,
}

/// A size in MiB.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Exact(u64),
    Within((u64, u64)),
}

impl Size {
    /// At least and at most.
    pub fn range(self) -> (u64, u64) {
        match self {
            Self::Exact(mib) => (mib, mib),
            Self::Within(range) => range,
        }
    }
}

/// The trigger.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Trigger {
    /// The process of this role.
    Role(String),
    /// A process of this role, of which not all is as it is.
    Process(Actor),
    /// A process of one of these roles.
    OneOf(Vec<String>),
    /// Any process whose name begins like this.
    AnyNamed(AnyNamed),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnyNamed {
    pub comm_prefix: String,
}

/// A victim.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Victim {
    /// The process of this role.
    Role(String),
    /// A process of this role, of which not all is as it is.
    Process(Actor),
    /// All processes of a role.
    All(All),
}

/// All processes of a role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct All {
    pub all: String,
}

/// A process, and its special properties.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    pub role: String,
    /// Its path is too deep to be told whole.
    #[serde(default)]
    pub cgroup_cut: bool,
    /// Its swapped-out memory.
    pub swap_mib: Option<(u64, u64)>,
    /// Its page tables, where they are more than its memory takes.
    pub page_tables_mib: Option<(u64, u64)>,
    /// It may have been exiting already.
    #[serde(default)]
    pub may_be_ending: bool,
}

/// The holders of the node's memory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Role of the pods' cgroup, its limit if it has one, and its usage.
    pub pods: Option<Pods>,
    /// They may be large enough to be told, and need not be.
    #[serde(default)]
    pub may_have_pods: bool,
    /// The largest holders, largest first.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// So many cgroups must have been visited.
    #[serde(default)]
    pub least_looked_at: u64,
}

/// The pods' own cgroup.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pods {
    pub cgroup: String,
    pub limit_mib: Option<Size>,
    pub usage_mib: (u64, u64),
}

/// A holder of memory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub cgroup: String,
    pub usage_mib: (u64, u64),
}

/// An entry of the account of memory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub kind: String,
    /// Its size, and by how much that may be off. Several entries of a kind are summed up.
    pub mib: u64,
    pub within: u64,
    /// Role of its cgroup, if it is one cgroup's.
    pub holder: Option<String>,
    /// Kernels before this one do not tell it apart: then it must be absent.
    pub since: Option<(u32, u32)>,
}

/// Words that stand somewhere.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// In the reports of every tier.
    Always(String),
    /// In those of some.
    Of(WordsOf),
}

/// Words in the reports of some tiers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordsOf {
    pub text: String,
    pub tiers: Vec<Tier>,
}

impl Words {
    /// The words, if a report of this tier must have them.
    pub fn of(&self, tier: Tier) -> Option<&str> {
        match self {
            Self::Always(text) => Some(text),
            Self::Of(words) => words.tiers.contains(&tier).then_some(words.text.as_str()),
        }
    }
}

fn all_tiers() -> Vec<Tier> {
    Tier::ALL.to_vec()
}

fn allocation() -> String {
    "allocation".to_owned()
}

fn no_constraint() -> String {
    "none".to_owned()
}

impl Catalogue {
    /// The file of this program.
    pub fn read() -> Result<Self> {
        Self::parse(FILE).context("scenarios.toml")
    }

    /// Reads and checks a file.
    pub fn parse(text: &str) -> Result<Self> {
        let catalogue: Self = toml::from_str(text)?;
        validate::catalogue(&catalogue)?;
        Ok(catalogue)
    }

    /// The fields that may be null in reports of this tier.
    pub fn exceptions(&self, tier: Tier, surroundings: &Surroundings) -> Vec<&Exception> {
        let applies = |it: &&Exception| {
            it.tiers.contains(&tier)
                && surroundings.kernel < it.kernels_before
                && surroundings.tiers.iter().any(|other| *other == it.beside && *other != tier)
        };
        self.exceptions.iter().filter(applies).collect()
    }

    /// The names of all scenarios.
    pub fn names(&self) -> Vec<&str> {
        self.scenarios.iter().map(|scenario| scenario.name.as_str()).collect()
    }

    /// The scenario of this name.
    pub fn scenario(&self, name: &str) -> Option<&Scenario> {
        self.scenarios.iter().find(|scenario| scenario.name == name)
    }
}

impl Scenario {
    /// The reports that agents with these hooks must give.
    pub fn reports(&self, tier: Tier) -> impl Iterator<Item = &Report> {
        let seen = move |report: &&Report| !self.blind.contains_key(&tier) && report.tiers.contains(&tier);
        self.reports.iter().filter(seen)
    }

    /// The failures that agents with these hooks must report.
    pub fn failures(&self, tier: Tier) -> impl Iterator<Item = &Failure> {
        let seen = move |failure: &&Failure| !self.blind.contains_key(&tier) && failure.tiers.contains(&tier);
        self.failures.iter().filter(seen)
    }

    /// The ends that agents with these hooks must report.
    pub fn exits(&self, tier: Tier) -> impl Iterator<Item = &Exit> {
        let seen = move |exit: &&Exit| !self.blind.contains_key(&tier) && exit.tiers.contains(&tier);
        self.exits.iter().filter(seen)
    }
}
