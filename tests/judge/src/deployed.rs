//! `deployed.toml`: what must hold of the agent as deploy/ has it.

use anyhow::{Context as _, Result};
use serde::Deserialize;

const FILE: &str = include_str!("../deployed.toml");

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployed {
    /// Scenarios that are played before it and an agent that is run by hand beside it.
    pub scenarios: Vec<String>,
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
}

/// One thing that must hold.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    /// One line for people.
    pub about: String,
    /// The parts that are left out of the manifest.
    pub without: Option<Without>,
    /// `kernel.perf_event_paranoid`, if not mainline's own.
    pub perf_event_paranoid: Option<i32>,
    /// The status that doctor must find then.
    pub status: Option<String>,
    /// On kernels before this one nothing works then.
    pub unusable_before: Option<(u32, u32)>,
    /// The words that doctor must have then, and the log where nothing works.
    pub says: Option<String>,
}

/// The parts that are left out of a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Without {
    /// A capability, by Kubernetes' name.
    Capability(String),
    /// A mount, by its place in the container.
    Mount(String),
}

impl Deployed {
    pub fn read() -> Result<Self> {
        toml::from_str(FILE).context("tests/judge/deployed.toml")
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Result<&Check> {
        let found = self.checks.iter().find(|check| check.name == name);
        found.with_context(|| format!("deployed.toml has no check {name}"))
    }

    /// The names of all checks.
    pub fn names(&self) -> Vec<String> {
        self.checks.iter().map(|check| check.name.clone()).collect()
    }
}
