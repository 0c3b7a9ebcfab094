//! Ends of containers' first processes.

use super::parts::{frame, process, unresolved};
use super::{Context, Told};
use crate::classify::Facts;
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::schema::{self, Kind};

pub(super) fn end(case: &Case, end: &ContainerEnd, told: Told<'_>, context: &Context) -> schema::Incident {
    let event = &*end.event;
    let status = event.status;
    let ended_by = match &told.verdict.facts {
        Facts::Exit(facts) => facts.ended_by,
        Facts::Oom(_) | Facts::Alloc(_) => None,
    };
    let exit = schema::Exit {
        process: process(&event.task, event.cgroups.as_ref(), case.exited()),
        exit_code: status.map(crate::event::WaitStatus::exit_code),
        signal: status.and_then(crate::event::WaitStatus::signal),
        signal_name: None,
        core_dumped: false,
        started: event.task.start_boottime_ns.map(|started_ns| context.time(started_ns)),
        ran_ns: event
            .task
            .start_boottime_ns
            .map(|started_ns| event.stamp.ktime_ns.saturating_sub(started_ns)),
        before_exec: event.before_exec,
        ended_by,
        signals: Vec::new(),
        fault: None,
        oom: None,
        oom_kills_before: Vec::new(),
        oom_kills_before_total: end.oom_before_total,
        probe: None,
        stop: None,
        status: None,
        contradictions: Vec::new(),
        ends_last_hour: case.exit.as_ref().map_or(0, |exit| exit.ends_last_hour),
    };
    schema::Incident {
        hooks: vec![format!("{}:sched_process_exit", event.stamp.hook)],
        complete: true,
        exit: Some(exit),
        unresolved: unresolved(case, told, &[]),
        ..frame(Kind::ContainerExit, (event.stamp.ktime_ns, event.stamp.cpu), case, told, context)
    }
}
