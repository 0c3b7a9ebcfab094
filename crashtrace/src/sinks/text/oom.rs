//! OOM kills, and OOMs without a victim.

use super::VICTIMS;
use crate::phrase::{processes, size};
use crate::schema::{Cause, Constraint, FoldedVictim, Incident, Kind, Level, Origin, Shortage, Text};
use crate::terminal::{Page, Style};

/// Kind of incident, and its cause.
pub(super) fn headline(incident: &Incident) -> (&'static str, &'static str) {
    let kind = match incident.kind {
        Kind::OomNoKill => "OOM, NO PROCESS KILLED",
        Kind::OomWait => "OOM, TASK HANGS",
        _ if incident.victims_total == 0 => "OOM, NO VICTIM SEEN",
        _ => "OOM KILL",
    };
    let cause = match incident.verdict.cause {
        Cause::SystemOom => system(incident),
        Cause::CgroupOom => limit(incident.verdict.level),
        _ => "cause unknown",
    };
    (kind, cause)
}

/// Kind of a system OOM. In only one of them was the whole node short of memory.
fn system(incident: &Incident) -> &'static str {
    match (incident.origin, incident.constraint) {
        (Some(Origin::Sysrq), _) => "requested by sysrq",
        (Some(Origin::Kswapd), _) => "kswapd could not keep the working set in memory",
        (_, Some(Constraint::Cpuset)) => "the NUMA nodes of a cpuset ran out of memory",
        (_, Some(Constraint::Mempolicy)) => "the NUMA nodes of a memory policy ran out of memory",
        _ if incident.verdict.shortage == Some(Shortage::Fragmentation) => {
            "the node ran out of large free blocks"
        }
        (Some(Origin::Allocation), Some(Constraint::None)) => "the node ran out of memory",
        _ => "the node, or a part of it, ran out of memory",
    }
}

/// The level of the limit that was hit.
pub(super) fn limit(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::Container) => "memory limit of a container",
        Some(Level::Pod) => "memory limit of a pod",
        Some(Level::Qos) => "memory limit of all pods of a QoS class",
        Some(Level::NodeAllocatable) => "memory limit of all pods of the node",
        Some(Level::HostService) => "memory limit of a host service",
        Some(Level::Cgroup | Level::Node) | None => "memory limit of a cgroup",
    }
}

/// The folded kills that the line stands for.
pub(super) fn folded_lines(page: &mut Page, incident: &Incident) {
    let Some(folded) = &incident.folded else { return };
    let held =
        folded.resident_bytes.map_or_else(String::new, |bytes| format!(", {} resident in sum", size(bytes)));
    page.end();
    page.put(Style::Heading, "  Folded into this: ");
    page.plain(&format!(
        "{} more {} until {}",
        incident.repeats,
        if incident.repeats == 1 { "kill" } else { "kills" },
        folded.until
    ));
    page.plain(&format!("; {}{held}", processes(folded.victims_total))).end();
    let known = |victim: &FoldedVictim| {
        let comm = victim.comm.as_ref().map_or("?", Text::as_str);
        let pid = victim.pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
        format!("{comm} ({pid})")
    };
    let shown: Vec<_> = folded.victims.iter().take(VICTIMS).map(known).collect();
    let more = match folded.victims_total.saturating_sub(shown.len() as u64) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    page.plain("    ").plain(&shown.join(", ")).plain(&more).end();
}
