//! `deployed.toml`: what must hold of the agent as deploy/ has it.

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::PodSpec;
use serde::Deserialize;

/// The file itself.
const FILE: &str = include_str!("../deployed.toml");

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// Scenarios that are played before it; `cargo xtask vm` hands them to `scenario run`.
    #[serde(rename = "scenarios")]
    _scenarios: Vec<String>,
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
}

/// One thing that must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    /// One line for people.
    #[serde(rename = "about")]
    _about: String,
    /// What is left out of the manifest.
    pub without: Option<Without>,
    /// `kernel.perf_event_paranoid`, if not mainline's own.
    pub perf_event_paranoid: Option<i32>,
    /// What doctor must find then.
    pub status: Option<String>,
    /// On kernels before this one nothing works then.
    pub unusable_before: Option<(u32, u32)>,
    /// What doctor and the log must name then.
    pub says: Option<String>,
}

/// What is left out of a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Without {
    /// A capability, by Kubernetes' name.
    Capability(String),
    /// A mount, by its place in the container.
    Mount(String),
}

impl Book {
    /// The file of this program.
    pub fn read() -> Result<Self> {
        toml::from_str(FILE).context("deployed.toml")
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Result<&Check> {
        let found = self.checks.iter().find(|check| check.name == name);
        found.with_context(|| format!("deployed.toml has no check {name}"))
    }
}

impl Without {
    /// Leaves it out. That the manifest does not have it is an error: then nothing would be shown.
    pub fn apply(&self, pod: &mut PodSpec) -> Result<()> {
        let [container] = pod.containers.as_mut_slice() else { bail!("it has not one container") };
        let (before, after) = match self {
            Self::Capability(name) => {
                let security = container.security_context.as_mut().context("it has a security context")?;
                let capabilities = security.capabilities.as_mut().context("it has capabilities")?;
                let added = capabilities.add.as_mut().context("it has some")?;
                let before = added.len();
                added.retain(|it| it != name);
                (before, added.len())
            }
            Self::Mount(path) => {
                let mounts = container.volume_mounts.as_mut().context("it has mounts")?;
                let before = mounts.len();
                mounts.retain(|mount| mount.mount_path != *path);
                (before, mounts.len())
            }
        };
        ensure!(after + 1 == before, "the manifest does not have {self:?}");
        Ok(())
    }
}
