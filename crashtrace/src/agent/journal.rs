//! The journal of the stream, where one is wanted.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use super::clock::{boottime_ns, nanoseconds};
use super::metrics::Served;
use crate::cli::Watch;
use crate::files;
use crate::journal::{self, Directory, Now, age};
use crate::kube_reports::Reports;
use crate::sinks::{Clocks, LineSink, Stdout};

/// The kernel's id of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A journal that is open, with the clocks for its lines.
pub(super) struct Opened {
    directory: Directory,
    clocks: Clocks,
}

/// Opens the journal, if one is wanted.
///
/// # Errors
/// It cannot be used.
pub(super) fn open(config: &Watch) -> Result<Option<Opened>> {
    let Some(wanted) = &config.journal else { return Ok(None) };
    let clocks = clocks();
    let directory = journal::open(&wanted.directory, wanted.limits, clocks())?;
    let state = directory.spool.state();
    if state.lines > 0 {
        tracing::info!(
            lines = state.lines,
            "lines of earlier sessions are in the journal and are delivered first"
        );
    }
    Ok(Some(Opened { directory, clocks }))
}

fn clocks() -> Clocks {
    let id = files::read_regular(Path::new(BOOT_ID), 64).unwrap_or_default();
    let boot = age::boot(&String::from_utf8_lossy(&id));
    Arc::new(move || {
        let realtime_ns = nanoseconds(clock_gettime(ClockId::Realtime));
        Now { boot, boottime_ns: boottime_ns(), realtime_ns }
    })
}

/// Starts standard output, behind the journal if there is one.
///
/// # Errors
/// A thread cannot be started.
pub(super) fn stdout(
    config: &Watch,
    journal: Option<Opened>,
    served: &Served,
    reports: Option<Reports>,
) -> Result<Stdout> {
    let mut sinks = served.line_sinks();
    sinks.extend(reports.map(|reports| Box::new(reports) as Box<dyn LineSink>));
    match journal {
        None => Stdout::start(config.output, boottime_ns, served.backlog(), sinks),
        Some(Opened { directory, clocks }) => {
            Stdout::start_journaled(directory, clocks, served.backlog(), sinks)
        }
    }
}
