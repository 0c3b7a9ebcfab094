//! Gaps of an incident's events: one entry for each field of the report that is null because of them, with the reason.
//!
//! Unknown fields of the verdict (`verdict.*`, `origin`, `constraint`, `limit.*`) are in
//! [`Verdict::unresolved`](crate::classify::Verdict::unresolved).

use std::fmt::Display;

use super::Owned;
use crate::event::{Lineage, Task};
use crate::schema::{Field, ProcessField, Unresolved};

/// Reasons, as the report gives them.
pub const DECISION_LOST: &str = "the record of the kernel's decision was lost";
pub const BLIND_TIER: &str =
    "oom_control was not found on the kernel's stack: the decision was recorded at oom:mark_victim";
pub const CLAIMS: &str = "the cgroup is below one that was delegated to this owner, which chooses the names there: they are in owner.claims, and \
are not confirmed";
pub(super) const UNREADABLE: &str = "could not be read from the kernel";
pub(super) const MARK_TOO_LATE: &str =
    "SIGKILL is sent before oom:mark_victim: whether the process was already exiting is not known";
const NO_MEMORY: &str = "the task has no memory of its own: a kernel thread, or a process that has freed it";
const TID_ONLY: &str =
    "this kernel's oom:mark_victim gives only a thread id, and no recorded decision names it";
const NO_CGROUPS: &str = "its cgroups could not be read";

/// A field of a process, whether a task lacks it, and the reason.
type Lack = (ProcessField, fn(&Task) -> bool, &'static str);

const FIELDS: [Lack; 15] = [
    (ProcessField::Pid, |task| task.pid.is_none(), UNREADABLE),
    (ProcessField::Tid, |task| task.tid.is_none(), UNREADABLE),
    (ProcessField::ContainerPid, |task| task.container_pid.is_none(), UNREADABLE),
    (ProcessField::Comm, |task| task.comm.is_none(), UNREADABLE),
    (ProcessField::ThreadComm, |task| task.thread_comm.is_none(), UNREADABLE),
    (ProcessField::Uid, |task| task.uid.is_none(), UNREADABLE),
    (ProcessField::StartBoottimeNs, |task| task.start_boottime_ns.is_none(), UNREADABLE),
    (ProcessField::AnonBytes, |task| task.rss.is_none(), NO_MEMORY),
    (ProcessField::FileBytes, |task| task.rss.is_none(), NO_MEMORY),
    (ProcessField::ShmemBytes, |task| task.rss.is_none(), NO_MEMORY),
    (ProcessField::SwapBytes, |task| task.rss.is_none(), NO_MEMORY),
    (ProcessField::PageTableBytes, |task| task.page_table_bytes.is_none(), NO_MEMORY),
    (ProcessField::TotalVmBytes, |task| task.total_vm_bytes.is_none(), NO_MEMORY),
    (ProcessField::OomScoreAdj, |task| task.oom_score_adj.is_none(), UNREADABLE),
    (ProcessField::Exiting, |task| task.exiting.is_none(), UNREADABLE),
];

/// Unknown fields of the trigger; `exiting` is the reason if that is not known.
pub(super) fn process(
    task: &Task,
    cgroups: Option<&Lineage>,
    owned: Option<Owned<'_>>,
    exiting: &'static str,
) -> impl Iterator<Item = Unresolved> {
    let lacks = lacks(task, cgroups, owned, exiting);
    lacks.into_iter().map(|(field, reason)| Unresolved { field: Field::Trigger(field), reason })
}

/// The reason if it holds for some of several processes.
pub(super) fn counted(count: impl Display, total: impl Display, reason: &str) -> String {
    format!("{count} of {total} processes: {reason}")
}

/// Unknown fields of one process, with their reasons.
pub(super) fn lacks(
    task: &Task,
    cgroups: Option<&Lineage>,
    owned: Option<Owned<'_>>,
    exiting: &'static str,
) -> Vec<(ProcessField, String)> {
    let mut lacks = Vec::new();
    let mut add = |field, reason: &str| lacks.push((field, reason.to_owned()));
    let bare = Task { tid: task.tid, ..Task::default() };
    if *task == bare {
        add(ProcessField::Whole, if task.tid.is_some() { TID_ONLY } else { UNREADABLE });
    } else {
        for (field, missing, reason) in FIELDS {
            if missing(task) {
                add(field, if field == ProcessField::Exiting { exiting } else { reason });
            }
        }
    }
    match cgroups.zip(owned).map(|(cgroups, owned)| (cgroups, owned.nearest())) {
        None => {
            add(ProcessField::Cgroup, NO_CGROUPS);
            add(ProcessField::Owner, NO_CGROUPS);
        }
        Some((_, Err(why))) => {
            add(ProcessField::Cgroup, &why.to_string());
            add(ProcessField::Owner, &why.to_string());
        }
        Some((cgroups, Ok(party))) => {
            if cgroups.skipped > 0 {
                add(ProcessField::Cgroup, "the path is deeper than a record holds: its end is left out");
            } else if cgroups.levels.iter().any(|level| !level.root && level.name.is_none()) {
                let reason = "a name on the path could not be read and stands as a question mark";
                add(ProcessField::Cgroup, reason);
            }
            if party.placement.claims.is_some() {
                add(ProcessField::Owner, CLAIMS);
            }
        }
    }
    lacks
}
