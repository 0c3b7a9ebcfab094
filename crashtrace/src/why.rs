//! `crashtrace why`: why a pod's containers died, from anywhere with a kubeconfig, or from lines of the stream.
//!
//! ```text
//! cluster (API server) ---+
//!                         +--> Facts --> diagnose --> Diagnosis --> text, JSON
//! stored (stream, journal)+
//! ```
//!
//! Only `cluster` and `stored` look outside; the rest are values in, values out, and time is an argument. Where crashtrace reported
//! an end, the diagnosis has its verdict. Where it did not (no agent, or it began later), the diagnosis says what status and Events
//! say, and that it is from those only.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use jiff::Timestamp;

pub mod cause;
mod cluster;
mod diagnose;
pub mod diagnosis;
mod ended;
mod events;
pub mod facts;
pub mod lines;
pub mod object;
mod refusal;
mod runs;
mod stopped;
mod stored;
mod summary;
pub mod target;
mod text;
mod trouble;
mod words;

pub use cluster::Cluster;
pub use diagnose::diagnose;
pub use diagnosis::Diagnosis;
pub use facts::Facts;
pub use target::{Target, WorkloadKind};
pub use text::render;

use crate::{exit, stdio};

/// What to diagnose, from where, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    pub from: Origin,
    /// Always there with a cluster.
    pub target: Option<Target>,
    /// Only this container.
    pub container: Option<String>,
    pub form: Form,
}

/// Where facts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Cluster(Cluster),
    /// Lines of the stream in a file, or `-`.
    Stream(PathBuf),
    /// A journal's directory.
    Journal(PathBuf),
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Text { color: bool },
}

/// Diagnoses, prints, and says by the exit code whether there was anything to explain.
///
/// # Errors
/// The facts cannot be read, there is no such pod or container, or the output cannot be written.
pub fn why(config: &Why) -> Result<u8> {
    let now = Timestamp::now();
    let (target, container) = (config.target.as_ref(), config.container.as_deref());
    let facts = match &config.from {
        Origin::Cluster(cluster) => {
            cluster::read(cluster, target.ok_or_else(|| anyhow!("name a pod"))?, container, now)?
        }
        Origin::Stream(path) => stored::facts(stored::stream(path)?, target, container, now)?,
        Origin::Journal(path) => stored::facts(stored::journal(path)?, target, container, now)?,
    };
    let diagnosis = diagnose(&facts);
    let printed = match config.form {
        Form::Text { color } => render(&diagnosis, now, color).into_bytes(),
        Form::Json => {
            let mut line = serde_json::to_vec(&diagnosis)?;
            line.push(b'\n');
            line
        }
    };
    stdio::stdout().write_all(&printed).or_else(stdio::ended)?;
    Ok(if diagnosis.wrong { exit::OK } else { exit::NOTHING_WRONG })
}

#[cfg(test)]
mod tests;
