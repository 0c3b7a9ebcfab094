//! What the events of an incident lack: one [`Gap`] for each field of the report that is null for it.
//!
//! What the verdict leaves open (`verdict.*`, `origin`, `constraint`, `limit.*`) is in
//! [`Verdict::unresolved`](crate::classify::Verdict::unresolved).

use std::collections::BTreeMap;

use super::{Gap, NodeRoot, party};
use crate::correlate::{Incident, OomKill};
use crate::event::{AllocFailure, Asked, Hook, Lineage, NoKill, Task};
use crate::fold::{Folded, FoldedVictim};

/// Reasons, as the report gives them.
pub(crate) const DECISION_LOST: &str = "the record of the kernel's decision was lost";
pub(crate) const BLIND_TIER: &str =
    "the kernel's request was not found on the stack: the decision was gathered at oom:mark_victim";
const HOLDERS_LOST: &str = "the record of who held the node's memory was lost";
const UNREADABLE: &str = "could not be read from the kernel";
const NO_MEMORY: &str =
    "could not be read: a kernel thread, or a process that has given its memory back, has none";
const TID_ONLY: &str =
    "this kernel's oom:mark_victim tells no more than a thread id, and no decision that was seen names it";
const MARK_TOO_LATE: &str =
    "a process is marked after it was sent its signal: whether it was ending before cannot be told";
const NO_CGROUPS: &str = "its cgroups could not be read";
pub(crate) const CLAIMS: &str = "the cgroup is in a part of the tree that was delegated to this owner, who names what is in it: \
what those names say is in owner.claims, and is not confirmed";

/// Fields of a process, and whether a task lacks them.
type Field = (&'static str, fn(&Task) -> bool, &'static str);

const FIELDS: [Field; 15] = [
    ("pid", |task| task.pid.is_none(), UNREADABLE),
    ("tid", |task| task.tid.is_none(), UNREADABLE),
    ("container_pid", |task| task.container_pid.is_none(), UNREADABLE),
    ("comm", |task| task.comm.is_none(), UNREADABLE),
    ("thread_comm", |task| task.thread_comm.is_none(), UNREADABLE),
    ("uid", |task| task.uid.is_none(), UNREADABLE),
    ("start_boottime_ns", |task| task.start_boottime_ns.is_none(), UNREADABLE),
    ("anon_bytes", |task| task.rss.is_none(), NO_MEMORY),
    ("file_bytes", |task| task.rss.is_none(), NO_MEMORY),
    ("shmem_bytes", |task| task.rss.is_none(), NO_MEMORY),
    ("swap_bytes", |task| task.rss.is_none(), NO_MEMORY),
    ("page_table_bytes", |task| task.page_table_bytes.is_none(), NO_MEMORY),
    ("total_vm_bytes", |task| task.total_vm_bytes.is_none(), NO_MEMORY),
    ("oom_score_adj", |task| task.oom_score_adj.is_none(), UNREADABLE),
    ("exiting", |task| task.exiting.is_none(), UNREADABLE),
];

/// What an incident's events lack.
pub(super) fn of(incident: &Incident, root: NodeRoot) -> Vec<Gap> {
    let mut gaps = Vec::new();
    match incident {
        Incident::OomKill(kill) => {
            match &kill.decision {
                None => {
                    gaps.push(gap("trigger", DECISION_LOST));
                    gaps.push(gap("allocation", DECISION_LOST));
                    gaps.push(gap("memory", DECISION_LOST));
                }
                Some(decision) => {
                    if decision.control.is_none() {
                        gaps.push(gap("allocation", BLIND_TIER));
                    }
                    let late =
                        if decision.stamp.hook == Hook::RawTracepoint { MARK_TOO_LATE } else { UNREADABLE };
                    process(
                        "trigger",
                        &decision.trigger,
                        decision.trigger_cgroups.as_ref(),
                        late,
                        root,
                        &mut gaps,
                    );
                    if decision.control.is_some_and(|control| control.points_bytes == 0) {
                        gaps.push(gap(
                            "allocation.victim_points_bytes",
                            "the kernel weighed nobody: it killed whoever asked (vm.oom_kill_allocating_task)",
                        ));
                    }
                    if kill.holders.is_none() && decision.control.is_none_or(|control| !control.memcg) {
                        let reason = if decision.control.is_none() { BLIND_TIER } else { HOLDERS_LOST };
                        // The zones are memory's other part.
                        let field = if kill.zones.is_some() { "memory.holders" } else { "memory" };
                        gaps.push(gap(field, reason));
                    }
                }
            }
            victims(kill, root, &mut gaps);
            gaps.extend(kill.folded.as_deref().into_iter().flat_map(folded));
        }
        Incident::OomNoKill(none) => {
            let event = &none.event;
            process("trigger", &event.trigger, event.trigger_cgroups.as_ref(), UNREADABLE, root, &mut gaps);
            if event.gfp.is_none() {
                gaps.push(gap("allocation", "this kernel does not keep the request of a task that waits"));
                return gaps;
            }
            for field in ["allocation.scope_total_bytes", "allocation.victim_points_bytes"] {
                let reason = match event.why {
                    NoKill::NobodyFound => {
                        "the kernel keeps it only while it weighs victims, and there were none"
                    }
                    NoKill::SwitchedOff => "the kernel seeks no victim",
                };
                gaps.push(gap(field, reason));
            }
        }
        Incident::AllocFailure(failures) => alloc_failure(&failures.event, root, &mut gaps),
    }
    gaps
}

/// A failed allocation.
fn alloc_failure(failure: &AllocFailure, root: NodeRoot, gaps: &mut Vec<Gap>) {
    const INTERRUPT: &str = "an interrupt asked, and the task that it interrupted has nothing to do with it";
    if failure.in_ksoftirqd() {
        gaps.push(gap("trigger", "an interrupt asked, whose work was left to ksoftirqd"));
    } else if failure.in_interrupt() {
        gaps.push(gap("trigger", INTERRUPT));
    } else {
        process("trigger", &failure.task, failure.cgroups.as_ref(), UNREADABLE, root, gaps);
    }
    if failure.zones.is_none() {
        gaps.push(gap("memory", "the kernel's zones could not be reached, nor read from /proc"));
    }
    if matches!(failure.asked, Asked::Other | Asked::Vmalloc { bytes: None }) {
        gaps.push(gap("allocation.bytes", "the kernel's message does not begin with it"));
    }
}

pub(crate) fn gap(field: &str, reason: &str) -> Gap {
    Gap { field: field.to_owned(), reason: reason.to_owned() }
}

/// The victims. The report sorts them, so with several of them a gap counts processes in place of naming one.
fn victims(kill: &OomKill, root: NodeRoot, gaps: &mut Vec<Gap>) {
    if kill.victims.is_empty() {
        let reason = if kill.complete {
            "nobody was marked: the process that was chosen had given its memory back"
        } else {
            "no mark of a victim was seen"
        };
        gaps.push(gap("victims", reason));
        return;
    }
    let mut found: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for victim in &kill.victims {
        for lack in lacks(&victim.task, victim.cgroups.as_ref(), MARK_TOO_LATE, root) {
            *found.entry(lack).or_default() += 1;
        }
    }
    if kill.unlisted > 0 {
        // The report's own list is cut far below this.
        let reason = format!("of {} more processes, smaller ones: they were counted only", kill.unlisted);
        gaps.push(Gap { field: "victims".to_owned(), reason });
    }
    let total = kill.victims.len();
    for ((field, reason), count) in found {
        let (prefix, reason) = match total {
            1 => ("victims[0]", reason.to_owned()),
            _ => ("victims[*]", format!("of {count} of {total} processes: {reason}")),
        };
        gaps.push(Gap { field: path(prefix, field), reason });
    }
}

/// What is unknown of folded kills.
fn folded(folded: &Folded) -> Vec<Gap> {
    let listed =
        |missing: fn(&FoldedVictim) -> bool| folded.victims.iter().filter(|it| missing(it)).count() as u64;
    let unknown = [
        ("folded.resident_bytes", folded.unread, folded.victims_total),
        ("folded.victims[*].pid", listed(|it| it.pid.is_none()), folded.victims.len() as u64),
        ("folded.victims[*].comm", listed(|it| it.comm.is_none()), folded.victims.len() as u64),
    ];
    let unknown = unknown.into_iter().filter(|(_, count, _)| *count > 0);
    let gap = |(field, count, total): (&str, u64, u64)| Gap {
        field: field.to_owned(),
        reason: format!("of {count} of {total} processes: {UNREADABLE}"),
    };
    unknown.map(gap).collect()
}

fn process(
    prefix: &str,
    task: &Task,
    cgroups: Option<&Lineage>,
    exiting: &'static str,
    root: NodeRoot,
    gaps: &mut Vec<Gap>,
) {
    for (field, reason) in lacks(task, cgroups, exiting, root) {
        gaps.push(Gap { field: path(prefix, field), reason: reason.to_owned() });
    }
}

fn path(prefix: &str, field: &str) -> String {
    if field.is_empty() { prefix.to_owned() } else { format!("{prefix}.{field}") }
}

/// What of one process is unknown: field, empty for all of them, and reason.
fn lacks(
    task: &Task,
    cgroups: Option<&Lineage>,
    exiting: &'static str,
    root: NodeRoot,
) -> Vec<(&'static str, &'static str)> {
    let mut lacks = Vec::new();
    let bare = Task { tid: task.tid, ..Task::default() };
    if *task == bare {
        lacks.push(("", if task.tid.is_some() { TID_ONLY } else { UNREADABLE }));
    } else {
        for (field, missing, reason) in FIELDS {
            if missing(task) {
                lacks.push((field, if field == "exiting" { exiting } else { reason }));
            }
        }
    }
    match cgroups.map(|cgroups| (cgroups, party(cgroups, root))) {
        None => {
            lacks.push(("cgroup", NO_CGROUPS));
            lacks.push(("owner", NO_CGROUPS));
        }
        Some((_, Err(reason))) => {
            lacks.push(("cgroup", reason));
            lacks.push(("owner", reason));
        }
        Some((cgroups, Ok(party))) => {
            if cgroups.skipped > 0 {
                lacks.push(("cgroup", "the path is deeper than a record holds: its end is left out"));
            } else if cgroups.levels.iter().any(|level| !level.root && level.name.is_none()) {
                lacks.push(("cgroup", "a name on the path could not be read and stands as a question mark"));
            }
            if party.placement.claims.is_some() {
                lacks.push(("owner", CLAIMS));
            }
        }
    }
    lacks
}
