//! Ends of containers' first processes.

use super::{label, section};
use crate::phrase::span;
use crate::schema::{Cause, EndedBy, Exit, Incident, SentSignal, Text};
use crate::terminal::Page;

/// Kind of incident, and its cause.
pub(super) fn headline(incident: &Incident) -> (&'static str, &'static str) {
    let cause = match incident.verdict.cause {
        Cause::ContainerExit => "its process ended by itself",
        Cause::Killed => "killed by another process",
        Cause::HealthCheck => "a probe failed",
        Cause::Stopped => "stopped by Kubernetes",
        Cause::CgroupOom => super::oom::limit(incident.verdict.level),
        Cause::SystemOom => "the node is out of memory",
        _ => "cause unknown",
    };
    ("CONTAINER ENDED", cause)
}

/// The process, its signals, and what Kubernetes says.
pub(super) fn lines(page: &mut Page, incident: &Incident, exit: &Exit) {
    let process = &exit.process;
    let comm = process.comm.as_ref().map_or("?", Text::as_str);
    let mut facts = vec![match process.pid {
        Some(pid) => format!("{comm} (pid {pid})"),
        None => comm.to_owned(),
    }];
    facts.extend(exit.ran_ns.map(|ran| format!("ran for {}", span(ran))));
    facts.extend(exit.started.as_ref().map(|started| format!("since {started}")));
    label(page, "process", &facts.join(", "));
    let mut end = vec![match exit.exit_code {
        Some(code) => format!("exit code {code}"),
        None => "exit code unknown".to_owned(),
    }];
    end.extend(exit.signal_name.clone());
    if exit.core_dumped {
        end.push("core dumped".to_owned());
    }
    label(page, "end", &end.join(", "));
    if let Some(fault) = &exit.fault {
        let code = fault.code_name.clone().unwrap_or_else(|| format!("code {}", fault.code));
        label(page, "fault", &format!("{code}: {}", fault.meaning));
    }
    for (place, signal) in exit.signals.iter().enumerate() {
        let before = incident.ktime_ns.saturating_sub(signal.ktime_ns);
        let name = if place == 0 { "signals" } else { "" };
        label(page, name, &format!("-{}  {}", span(before), sent(signal)));
    }
    if let Some(oom) = &exit.oom {
        label(page, "OOM kill", &oom.id);
    }
    for kill in &exit.oom_kills_before {
        let comm = kill.comm.as_ref().map_or("?", Text::as_str);
        label(page, "before", &format!("OOM kill of {comm} at {}, {}", kill.time, kill.id));
    }
    if let Some(status) = &exit.status {
        let reason = status.reason.as_deref().unwrap_or("no reason");
        let code = status.exit_code.map_or_else(String::new, |code| format!(", exit code {code}"));
        label(page, "status", &format!("{reason}{code}"));
    }
    if exit.ends_last_hour > 0 {
        label(page, "last hour", &format!("ended {} times before this", exit.ends_last_hour));
    }
    if !exit.contradictions.is_empty() {
        section(page, "Contradictions:", &exit.contradictions);
    }
}

fn sent(signal: &SentSignal) -> String {
    let times = if signal.count > 1 { format!(" ({} times)", signal.count) } else { String::new() };
    let sender = signal.sender.as_ref().map(|sender| {
        let comm = sender.comm.as_ref().map_or("a process", Text::as_str);
        let pid = sender.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        format!("{comm}{pid}")
    });
    let from = match (signal.from, sender) {
        (Some(by), Some(sender)) => format!("{sender}, {}", by_words(by)),
        (Some(by), None) => by_words(by).to_owned(),
        (None, Some(sender)) => sender,
        (None, None) => "an unknown sender".to_owned(),
    };
    let ignored = if signal.ignored { ", not delivered" } else { "" };
    format!("{}{times} from {from}{ignored}", signal.name)
}

fn by_words(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Itself | EndedBy::Fault => "itself",
        EndedBy::OomKiller => "the OOM killer",
        EndedBy::Runtime => "the container runtime",
        EndedBy::Kubelet => "kubelet",
        EndedBy::Systemd => "systemd",
        EndedBy::SameContainer => "the same container",
        EndedBy::SamePod => "another container of the pod",
        EndedBy::OtherContainer => "another container",
        EndedBy::OomDaemon => "the node's OOM daemon",
        EndedBy::Host => "a process of the host",
        EndedBy::PidNamespace => "the kernel: its pid namespace ended",
        EndedBy::CpuLimit => "the kernel: RLIMIT_CPU",
        EndedBy::Kernel => "the kernel",
    }
}
