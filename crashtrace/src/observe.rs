//! Facts that user space adds to an event as soon as it is decoded: state of memory that is gone when the incident is built.

use crate::event::{Event, Zones};
use crate::node::{ProcFile, ProcFiles};

pub mod meminfo;
pub mod memory_stat;
pub mod second_look;
pub mod swaps;
pub mod zoneinfo;

/// Reads the node's memory for a failed allocation: unmovable memory, and the zones if the kernel side could not read them. At
/// once, because both change; an incident may go out a second later.
pub fn observe(event: &mut Event, proc: &mut dyn ProcFiles) {
    let Event::AllocFailure(failure) = event else { return };
    if failure.zones.is_none() {
        // The report says that they are unknown.
        failure.zones = zones_now(proc).map_err(|reason| tracing::debug!(reason, "no zones")).ok();
    }
    failure.unmovable = proc.read(ProcFile::Meminfo).ok().map(|meminfo| meminfo::parse(&meminfo));
}

/// The zones from `/proc`.
///
/// # Errors
/// They cannot be read, as a phrase.
pub fn zones_now(proc: &mut dyn ProcFiles) -> Result<Zones, String> {
    let buddyinfo = proc.read(ProcFile::Buddyinfo)?;
    let zoneinfo = proc.read(ProcFile::Zoneinfo)?;
    let pagetypeinfo = proc.read(ProcFile::Pagetypeinfo);
    let mut zones = zoneinfo::parse(&buddyinfo, &zoneinfo)?;
    // Only root may read it, and the rest is useful without it.
    if let Ok(pagetypeinfo) = pagetypeinfo {
        zoneinfo::add_types(&mut zones, &pagetypeinfo);
    }
    Ok(zones)
}
