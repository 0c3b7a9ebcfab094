//! Evidence.

use super::{Told, sender};
use crate::classify::Row;
use crate::event::signals::{SIGBUS, SIGFPE, SIGPIPE, SIGSEGV};
use crate::event::{FailedExec, Outcome, Signal, WaitStatus};
use crate::phrase::{self, span};
use crate::schema::EndedBy;

pub(super) fn sentences(told: &Told<'_>) -> Vec<String> {
    let mut sentences = vec![process(told)];
    sentences.extend(signals(told));
    sentences.extend(raised(told));
    sentences.extend(oom_too_late(told));
    sentences.extend(without_signal(told));
    sentences.extend(execs(told));
    sentences.extend(probe(told));
    sentences.extend(unsaid(told));
    sentences.extend(pod(told));
    sentences.extend(no_word(told));
    sentences.extend(status(told));
    sentences.extend(oom_before(told));
    sentences.extend(earlier(told));
    sentences
}

fn process(told: &Told<'_>) -> String {
    let status = match told.event.status {
        None => "ended".to_owned(),
        Some(WaitStatus::Exited { code }) => format!("exited with code {code}"),
        Some(status @ WaitStatus::Signaled { signal, core_dumped }) => format!(
            "ended by {} (exit code {}), {}",
            phrase::signal(signal),
            status.exit_code(),
            if core_dumped { "with a core" } else { "without a core" }
        ),
    };
    let inside = match told.event.task.container_pid {
        Some(pid) if told.event.task.pid != Some(pid) => format!(", pid {pid} in its container,"),
        _ => String::new(),
    };
    let ran = told.ran_ns().map_or_else(String::new, |ran| format!("; it ran for {}", span(ran)));
    format!("{}{inside} {status}{ran}", phrase::process(&told.event.task))
}

/// The signals that it got, in the order of their times.
fn signals(told: &Told<'_>) -> Vec<String> {
    let asked = told.event.asked.as_ref().map(|signal| (signal, told.facts.asked_by, told.owner_of_asked()));
    let killed =
        told.event.killed.as_ref().map(|signal| (signal, told.facts.killed_by, told.killers_owner()));
    let mut all: Vec<_> = asked.into_iter().chain(killed).collect();
    all.sort_by_key(|(signal, ..)| signal.ktime_ns);
    let words = |(signal, by, party): (&Signal, Option<EndedBy>, _)| {
        let from = if signal.is_kernels() { kernels(signal, by) } else { sender(signal, by, party) };
        let parent = signal.sender.parent.comm.as_ref().filter(|_| !signal.is_kernels());
        let parent =
            parent.map_or_else(String::new, |comm| format!(", a child of {}", phrase::path(&comm.0)));
        let times = if signal.count > 1 { format!(" ({} times)", signal.count) } else { String::new() };
        let outcome = match signal.outcome {
            Outcome::Delivered | Outcome::Other(_) => "",
            Outcome::Ignored => {
                ": it was not delivered, since the process ignores it or is process 1 without a handler"
            }
            Outcome::AlreadyPending => ": one was pending already",
        };
        let before = span(told.before_end(signal.ktime_ns));
        format!(
            "{}{times} from {from}{parent}, {before} before the end{outcome}",
            phrase::signal(signal.number)
        )
    };
    all.into_iter().map(words).collect()
}

fn kernels(signal: &Signal, by: Option<EndedBy>) -> String {
    match by {
        Some(EndedBy::PidNamespace) => {
            format!(
                "the kernel, as {} exited, process 1 of the pid namespace",
                phrase::process(&signal.sender.task)
            )
        }
        Some(EndedBy::CpuLimit) => "the kernel, in the process's own timer tick".to_owned(),
        Some(EndedBy::OomKiller) => "the kernel's OOM killer".to_owned(),
        _ => "the kernel".to_owned(),
    }
}

fn oom_too_late(told: &Told<'_>) -> Option<String> {
    let sentence = "the OOM killer had chosen it while it was ending, which is not what ended it";
    told.facts.oom_too_late.then(|| sentence.to_owned())
}

/// Its pod ends, and the runtime had no need to send a signal.
fn without_signal(told: &Told<'_>) -> Option<String> {
    let of_itself = matches!(told.facts.ended_by, Some(EndedBy::Itself | EndedBy::SameContainer));
    (told.facts.row == Row::Stopped && of_itself).then(|| {
        "no signal of the container runtime ended it: that it ended for its pod's end, as by a hook preStop, is inferred".to_owned()
    })
}

/// Nothing says that a probe failed.
fn unsaid(told: &Told<'_>) -> Option<String> {
    told.facts.probe.as_ref().filter(|probe| probe.unsaid)?;
    Some(
        "no Event of the pod tells why: kubelet writes no more of them after 25 of a pod, but for one in five minutes. Of a pod that \
         goes on it stops a container for a failed probe, a change of its spec or a failed postStart hook, so that the probe is inferred"
            .to_owned(),
    )
}

/// Programs live with these: a JVM has SIGSEGV for its null checks.
const SURVIVED: [u8; 4] = [SIGSEGV, SIGBUS, SIGFPE, SIGPIPE];

/// The signal that it raised, if it ended by that.
fn raised(told: &Told<'_>) -> Option<String> {
    let raised = told.event.raised.as_ref()?;
    let signal = phrase::signal(raised.number);
    let status = told.event.status.and_then(WaitStatus::signal);
    if let Some(status) = status.filter(|_| told.facts.hidden_abort) {
        return Some(abort(told, status));
    }
    if status != Some(raised.number) {
        if raised.outcome == Outcome::Ignored || SURVIVED.contains(&raised.number) {
            return None;
        }
        let before = span(told.before_end(raised.ktime_ns));
        return Some(format!("it raised {signal} {before} before the end, and did not end by it"));
    }
    let code = phrase::signal_code(raised.number, raised.code);
    let code = code.map_or_else(|| format!("code {}", raised.code), str::to_owned);
    Some(format!("{signal}, {code}: {}", phrase::raised(raised)))
}

/// What the status shows of a call of `abort` is the fault behind it.
fn abort(told: &Told<'_>, status: u8) -> String {
    let (code, name) = (128 + u16::from(status), phrase::signal(status));
    let why = if told.event.is_init {
        "process 1 of a pid namespace ignores SIGABRT"
    } else {
        "SIGABRT did not end it"
    };
    format!(
        "it called abort(); the status shows {code} ({name}), the fault by which abort() ends, because {why}"
    )
}

fn execs(told: &Told<'_>) -> Option<String> {
    let last = told.event.failed_execs.first()?;
    let probes = matches!(told.facts.row, Row::HealthCheck | Row::Runtime | Row::Stopped);
    let total = told.event.failed_execs_total;
    if !probes || total == 0 {
        return None;
    }
    let comm = last.comm.as_ref().map_or_else(|| "a process".to_owned(), |comm| phrase::path(&comm.0));
    let before = span(told.before_end(last.ktime_ns));
    let apart = interval(&told.event.failed_execs);
    let apart = apart.map_or_else(String::new, |apart| format!(", {} apart", span(apart)));
    Some(format!(
        "{} that came into the container by exec failed in a row{apart}, the last, {comm} (exit code {}), {before} before the end",
        phrase::processes(total.into()),
        last.status.exit_code()
    ))
}

fn interval(execs: &[FailedExec]) -> Option<u64> {
    let [latest, before, ..] = execs else { return None };
    latest.ktime_ns.checked_sub(before.ktime_ns)
}

fn probe(told: &Told<'_>) -> Option<String> {
    let probe = told.facts.probe.as_ref()?;
    let spec = probe.spec.as_ref()?;
    Some(format!(
        "the {} probe has initialDelaySeconds {}, periodSeconds {}, timeoutSeconds {}, failureThreshold {}",
        super::kind_name(probe.kind),
        spec.initial_delay_seconds,
        spec.period_seconds,
        spec.timeout_seconds,
        spec.failure_threshold
    ))
}

/// What the pod's status has of its end.
fn pod(told: &Told<'_>) -> Option<String> {
    let life = &told.names()?.life;
    let mut facts = Vec::new();
    facts.extend(life.reason.as_deref().map(|reason| format!("status.reason is {}", phrase::quoted(reason))));
    facts.extend(
        life.disruption
            .as_deref()
            .map(|why| format!("its condition DisruptionTarget has {}", phrase::quoted(why))),
    );
    if life.deleting {
        let grace = life.deletion_grace_seconds.or(life.grace_seconds);
        let grace = grace.map_or_else(String::new, |seconds| format!(" with a grace period of {seconds} s"));
        facts.push(format!("it is being deleted{grace}"));
    }
    (!facts.is_empty()).then(|| format!("the pod's status: {}", facts.join("; ")))
}

fn no_word(told: &Told<'_>) -> Option<String> {
    let missing = told.case.exit.as_ref()?.events.as_ref()?.missing.as_deref()?;
    told.facts.wants_events.then(|| format!("the pod's Events are not known: {}", phrase::quoted(missing)))
}

fn status(told: &Told<'_>) -> Option<String> {
    let status = told.names()?.container.as_ref()?.life.ended.as_ref()?;
    let reason = status.reason.as_deref().map_or_else(|| "no reason".to_owned(), phrase::quoted);
    let code = status.exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
    Some(format!("the container's status in Kubernetes says {reason}{code}"))
}

/// Other processes of the container that the OOM killer took. That they are the reason is not known.
fn oom_before(told: &Told<'_>) -> Option<String> {
    let latest = told.end.oom_before.first()?;
    let comm = latest.comm.as_ref().map_or_else(|| "a process".to_owned(), |comm| phrase::path(&comm.0));
    let pid = latest.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    let total = told.end.oom_before_total.max(1);
    let kills = if total == 1 {
        "an OOM kill took".to_owned()
    } else {
        format!("{total} OOM kills took, the latest")
    };
    Some(format!(
        "{kills} {comm}{pid} of the same container {} before the end: that this end followed from it is not known",
        span(told.before_end(latest.ktime_ns))
    ))
}

fn earlier(told: &Told<'_>) -> Option<String> {
    match told.case.exit.as_ref()?.ends_last_hour {
        0 => None,
        1 => Some("the container had ended once in the hour before".to_owned()),
        times => Some(format!("the container had ended {times} times in the hour before")),
    }
}
