//! Ends of containers' first processes.

use super::parts::{frame, process, unresolved};
use super::{Context, Told};
use crate::classify::{ExitFacts, Facts, Row};
use crate::correlate::{ContainerEnd, KilledBy};
use crate::enrich::{Case, Party};
use crate::event::{Name, Outcome, Raised, Signal, WaitStatus};
use crate::names;
use crate::phrase;
use crate::schema::{
    self, EndedBy, FailedProbe, Fault, Kind, OomRef, ProbeAction, SentSignal, StatusSays, Text,
};

/// OOM kills before, of which the rest is counted.
const KILLS_BEFORE: usize = 4;

pub(super) fn end(case: &Case, end: &ContainerEnd, told: Told<'_>, context: &Context) -> schema::Incident {
    let event = &*end.event;
    let facts = match &told.verdict.facts {
        Facts::Exit(facts) => Some(facts),
        Facts::Oom(_) | Facts::Alloc(_) => None,
    };
    let status = event.status;
    let signal = status.and_then(WaitStatus::signal);
    let container = case.exited().and_then(|party| party.owner.names.as_ref()?.container.as_ref());
    let of_kill = |kill: &KilledBy| oom_ref(kill, kill.ktime_ns, kill.cpu, context);
    let exit = schema::Exit {
        process: process(&event.task, event.cgroups.as_ref(), case.exited()),
        exit_code: status.map(WaitStatus::exit_code),
        signal,
        signal_name: signal.map(phrase::signal),
        core_dumped: matches!(status, Some(WaitStatus::Signaled { core_dumped: true, .. })),
        started: event.task.start_boottime_ns.map(|started_ns| context.time(started_ns)),
        ran_ns: event
            .task
            .start_boottime_ns
            .map(|started_ns| event.stamp.ktime_ns.saturating_sub(started_ns)),
        before_exec: event.before_exec,
        ended_by: facts.and_then(|facts| facts.ended_by),
        signals: signals(case, end, facts, context),
        fault: event.raised.as_ref().filter(|raised| is_its_end(raised, signal, facts)).map(fault),
        oom: end.oom.as_ref().filter(|_| facts.is_none_or(|facts| facts.row == Row::Oom)).map(|kill| {
            // The kill may have been folded into another line.
            let line = case.exit.as_ref().and_then(|exit| exit.oom.as_ref());
            let (ktime_ns, cpu) = line.map_or((kill.ktime_ns, kill.cpu), |oom| (oom.ktime_ns, oom.cpu));
            oom_ref(kill, ktime_ns, cpu, context)
        }),
        oom_kills_before: end.oom_before.iter().take(KILLS_BEFORE).map(of_kill).collect(),
        oom_kills_before_total: end.oom_before_total,
        probe: facts.and_then(|facts| facts.probe.as_ref()).map(probe),
        stop: facts.filter(|facts| facts.row == Row::Stopped).and_then(|facts| facts.stop),
        status: container.and_then(|container| container.life.ended.as_ref()).map(|ended| StatusSays {
            reason: ended.reason.as_deref().map(phrase::quoted),
            exit_code: ended.exit_code,
        }),
        contradictions: told.description.contradictions.clone(),
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

/// It ended by this; or by the fault behind a SIGABRT that it had raised.
fn is_its_end(raised: &Raised, signal: Option<u8>, facts: Option<&ExitFacts>) -> bool {
    signal == Some(raised.number) || facts.is_some_and(|facts| facts.hidden_abort)
}

/// In the order of their times.
fn signals(case: &Case, end: &ContainerEnd, facts: Option<&ExitFacts>, context: &Context) -> Vec<SentSignal> {
    let owner =
        |owned: Option<crate::enrich::Owned<'_>>| owned.and_then(|owned| owned.nearest().ok().cloned());
    let asked = facts.and_then(|facts| facts.asked_by);
    let killed = facts.and_then(|facts| facts.killed_by);
    let all = [
        (end.event.asked.as_ref(), asked, owner(case.owners.asked())),
        (end.event.killed.as_ref(), killed, owner(case.owners.killed())),
    ];
    let sent = |(signal, by, party): (Option<&Signal>, Option<EndedBy>, Option<Party>)| {
        Some(sent_signal(signal?, by, party.as_ref(), context))
    };
    let mut all: Vec<_> = all.into_iter().filter_map(sent).collect();
    all.sort_by_key(|signal| signal.ktime_ns);
    all
}

fn sent_signal(
    signal: &Signal,
    from: Option<EndedBy>,
    party: Option<&Party>,
    context: &Context,
) -> SentSignal {
    let sender = &signal.sender;
    let by_process = !signal.is_kernels();
    let text = |name: &Option<Name>| name.as_ref().map(|name| Text::new(&name.0));
    SentSignal {
        number: signal.number,
        name: phrase::signal(signal.number),
        time: context.time(signal.ktime_ns),
        ktime_ns: signal.ktime_ns,
        ignored: signal.outcome == Outcome::Ignored,
        count: signal.count,
        from,
        sender: by_process.then(|| process(&sender.task, sender.cgroups.as_ref(), party)),
        sender_parent_comm: text(&sender.parent.comm).filter(|_| by_process),
    }
}

fn fault(raised: &Raised) -> Fault {
    Fault {
        number: raised.number,
        name: phrase::signal(raised.number),
        code_name: phrase::signal_code(raised.number, raised.code).map(str::to_owned),
        code: raised.code,
        // A signal that a process sends itself has none.
        address: raised.address.filter(|_| raised.code > 0).map(|address| format!("{address:#x}")),
        syscall: raised.syscall.map(|(number, _)| number),
        meaning: phrase::raised(raised),
    }
}

fn oom_ref(kill: &KilledBy, ktime_ns: u64, cpu: u32, context: &Context) -> OomRef {
    OomRef {
        id: context.id(ktime_ns, cpu),
        time: context.time(kill.ktime_ns),
        pid: kill.pid,
        comm: kill.comm.as_ref().map(|comm| Text::new(&comm.0)),
    }
}

fn probe(failed: &crate::classify::FailedProbe) -> FailedProbe {
    let spec = failed.spec.as_ref();
    FailedProbe {
        kind: failed.kind,
        action: spec.map(|spec| match spec.action {
            names::ProbeAction::Exec => ProbeAction::Exec,
            names::ProbeAction::HttpGet => ProbeAction::HttpGet,
            names::ProbeAction::TcpSocket => ProbeAction::TcpSocket,
            names::ProbeAction::Grpc => ProbeAction::Grpc,
        }),
        message: failed.message.as_deref().map(phrase::quoted),
        initial_delay_seconds: spec.map(|spec| spec.initial_delay_seconds),
        period_seconds: spec.map(|spec| spec.period_seconds),
        timeout_seconds: spec.map(|spec| spec.timeout_seconds),
        failure_threshold: spec.map(|spec| spec.failure_threshold),
    }
}
