//! Remedies: by exit code, by signal, by probe, by sender.

use super::{Told, log};
use crate::classify::{FailedProbe, Row};
use crate::event::signals::{
    SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTERM, SIGTRAP, SIGXCPU, SIGXFSZ,
};
use crate::event::{Raised, WaitStatus};
use crate::names::{Names, ProbeAction, RestartPolicy};
use crate::phrase::{self, span};
use crate::schema::{Cause, EndedBy, ProbeKind, Stop};

pub(super) fn of(told: &Told<'_>) -> String {
    let mut advice = Vec::new();
    let log = log::sentence(told);
    match told.facts.row {
        Row::Oom | Row::OomUnseen => advice.push(oom(told)),
        Row::Exited => {
            advice.extend(oom_before(told));
            advice.push(code(told));
            advice.extend(log);
        }
        Row::NotStarted => advice.push(
            "The runtime could not start the program: the container's status (StartError) and the pod's Events have its message, \
             mostly a command that is not in the image, a mount, or a missing right."
                .to_owned(),
        ),
        Row::Fault | Row::OwnSignal => {
            advice.extend(told.event.raised.as_ref().map(raised));
            advice.extend(log);
        }
        Row::CpuLimit => advice.push(
            "Something set RLIMIT_CPU for it (`ulimit -t` in its entry point, or the runtime's configuration): raise that limit or \
             remove it."
                .to_owned(),
        ),
        Row::Killed | Row::KilledByHandled => advice.push(by_sender(told)),
        Row::PidNamespace => advice.push(format!(
            "Find out what ended {}: with a shared pid namespace that is the pod's pause, whose end kills all containers of the pod.",
            told.killer()
        )),
        Row::HealthCheck => {
            advice.extend(told.facts.probe.as_ref().map(|failed| probe(told, failed)).unwrap_or_default());
            advice.extend(log);
        }
        Row::Stopped => advice.push(stopped(told)),
        Row::Runtime => advice.push(runtime(told)),
        Row::Kernel => advice.push(kernel(told)),
        Row::StatusUnread | Row::SignalUnseen => advice.extend(log),
    }
    if told.facts.row != Row::Runtime {
        advice.extend(ignored(told));
    }
    advice.retain(|sentence| !sentence.is_empty());
    advice.join(" ")
}

/// It did not end upon the runtime's signal.
fn ignored(told: &Told<'_>) -> Option<String> {
    let asked = told.event.asked.as_ref().filter(|_| told.facts.ignored_term)?;
    let name = phrase::signal(asked.number);
    let of_image = if asked.number == SIGTERM { "" } else { " (the image's STOPSIGNAL, or the pod's)" };
    Some(format!(
        "It did not end upon {name}{of_image}: process 1 of a container has no default action for it, so the program must handle it, \
         or an init (tini) must pass it on; a shell as process 1 needs `exec` before the program. If it only needs longer, raise \
         terminationGracePeriodSeconds."
    ))
}

fn oom(told: &Told<'_>) -> String {
    if told.verdict.cause == Cause::Unknown {
        return "The kernel log (`dmesg`) has that OOM kill at this time, with the limit that was hit."
            .to_owned();
    }
    let oom = told.case.exit.as_ref().and_then(|exit| exit.oom.as_ref());
    match oom.map(|oom| oom.remedy.as_str()).filter(|remedy| !remedy.is_empty()) {
        Some(remedy) => {
            format!("{remedy} The line of the OOM kill, whose id is in exit.oom, has the figures.")
        }
        None => "What to do is in the line of the OOM kill, whose id is in exit.oom.".to_owned(),
    }
}

/// An OOM kill of another process, which the program may have ended for.
fn oom_before(told: &Told<'_>) -> Option<String> {
    let latest = told.end.oom_before.first()?;
    let comm = latest.comm.as_ref().map_or_else(|| "a process".to_owned(), |comm| phrase::path(&comm.0));
    Some(format!(
        "Look at the line of the OOM kill that took {comm} {} before (its id is in exit.oom_kills_before): many programs end when a \
         process that they started is killed.",
        span(told.before_end(latest.ktime_ns))
    ))
}

/// By exit code.
fn code(told: &Told<'_>) -> String {
    let Some(WaitStatus::Exited { code }) = told.event.status else { return String::new() };
    let is_java = told.event.task.comm.as_ref().is_some_and(|comm| comm.0.starts_with(b"java"));
    let always = told.names().and_then(Names::restart_policy) == Some(RestartPolicy::Always);
    if code == 3 && is_java {
        return "A JVM exits with 3 when -XX:+ExitOnOutOfMemoryError ends it: its heap is too small for its work, or leaks. Raise -Xmx \
                (or -XX:MaxRAMPercentage) and the container's limit above it."
            .to_owned();
    }
    match code {
        0 if always => "The program ended without an error, and restartPolicy Always starts it again: keep it in the foreground if it is \
                        a service; if it has done its work, run it as a Job."
            .to_owned(),
        0 => "It ended without an error: nothing to do.".to_owned(),
        1 => "Code 1 is the program's own, mostly an error that it logs before.".to_owned(),
        2 => "Code 2 is mostly a wrong use of the command (shells and many programs): check the container's command and args."
            .to_owned(),
        126 => "Code 126 is a shell's: the command exists and cannot be executed. Check its mode, its #! line, and whether it is built \
                for this processor."
            .to_owned(),
        127 => "Code 127 is a shell's: the command does not exist. Check command, args and PATH, and whether the image has it."
            .to_owned(),
        129..=192 => of_child(code - 128),
        255 => "Code 255 is exit(-1), or ssh's own error: the program's log says more.".to_owned(),
        code => format!("Code {code} is the program's own: its documentation and its log say what it means."),
    }
}

/// Exit code 128 and a signal's number: a shell's child ended by it, or the program handled it and says so.
fn of_child(signal: u8) -> String {
    let name = phrase::signal(signal);
    let what = format!("Code {} is 128 and the number of {name}:", 128 + u16::from(signal));
    match signal {
        SIGKILL => format!(
            "{what} mostly a child of this process got SIGKILL. If the OOM killer took it, the evidence says so; else look for what sends \
             SIGKILL inside of the container (`timeout -s KILL`, a supervisor)."
        ),
        SIGTERM => format!("{what} mostly the program handled {name} and says so, or a child ended by it."),
        SIGABRT => {
            format!("{what} mostly a child called abort() (a failed assertion, an uncaught exception).")
        }
        SIGSEGV | SIGBUS | SIGILL | SIGFPE => {
            format!("{what} mostly a child crashed. Its core, or its log, says where.")
        }
        _ => format!("{what} mostly a child ended by {name}, or the program handled it and says so."),
    }
}

/// By the signal that it raised.
fn raised(raised: &Raised) -> String {
    let advice = match raised.number {
        SIGSEGV => {
            "A bug of the program or of a library: a core (`coredumpctl`, or what kernel.core_pattern names) has the stack. If it began \
             with a new image, compare with the one before."
        }
        SIGBUS => {
            "Look for what truncates files that it has mapped, for full tmpfs volumes (/dev/shm, emptyDir with medium Memory), and for \
             too few huge pages (/proc/meminfo)."
        }
        SIGABRT => "What failed is mostly the last line of its log; a core has the stack.",
        SIGPIPE => {
            "Let the program ignore SIGPIPE and handle EPIPE, or find out why the reader of its output ended."
        }
        SIGSYS => {
            "Allow the system call in the container's seccomp profile (securityContext.seccompProfile), or let the program do without \
             it; `ausyscall ARCHITECTURE NUMBER` gives its name."
        }
        SIGXCPU => "Something set RLIMIT_CPU for it (`ulimit -t`): raise that limit or remove it.",
        SIGXFSZ => {
            "Something set RLIMIT_FSIZE for it (`ulimit -f`): raise that limit, or rotate the file that grows."
        }
        SIGILL => "Check that image and libraries are built for this processor; a core has the instruction.",
        SIGTRAP | SIGFPE => "A bug of the program or of a library: a core has the stack.",
        _ => "The program sent it to itself: its log, or its source, says why.",
    };
    advice.to_owned()
}

/// By the sender.
fn by_sender(told: &Told<'_>) -> String {
    let Some((signal, by, party)) = told.decisive() else { return String::new() };
    let who = super::sender(signal, by, party);
    match by {
        Some(EndedBy::SameContainer) => format!(
            "Look at what {who} does: a supervisor, a script or a probe in the container that ends its first process."
        ),
        Some(EndedBy::SamePod) => format!(
            "Look at what {who} does. Containers of a pod can signal each other only with shareProcessNamespace or hostPID: take that \
             away if they need not."
        ),
        Some(EndedBy::OtherContainer) => format!(
            "Look at what {who} does, and whether it needs the rights for that (hostPID, privileged): no other container should be able \
             to end this one."
        ),
        Some(EndedBy::OomDaemon) => format!(
            "{who} ends processes when the node is short of memory: see its log (`journalctl -u` and its unit). Set requests to real use, \
             or exempt the pods' cgroups from it and leave them to kubelet's eviction."
        ),
        Some(EndedBy::Systemd) => {
            "systemd ended it: `journalctl` at this time says which unit it stopped, and why.".to_owned()
        }
        Some(EndedBy::Kubelet) => "kubelet's log at this time (`journalctl -u kubelet`) says why.".to_owned(),
        _ => format!(
            "Find out who ran {who}. Kubernetes knows nothing of it, and starts the container again if its restartPolicy says so. \
             `auditctl -a always,exit -F arch=b64 -S kill` records who sends signals from now on."
        ),
    }
}

fn probe(told: &Told<'_>, failed: &FailedProbe) -> Vec<String> {
    let mut advice = Vec::new();
    let said = failed.message.as_deref().unwrap_or_default();
    let timed_out =
        ["deadline exceeded", "timed out", "Timeout exceeded", "timeout"].iter().any(|it| said.contains(it));
    let Some(spec) = &failed.spec else {
        if failed.unsaid {
            return vec![
                "See which probe fails now: `kubectl describe pod` has their settings, and kubelet's log (`journalctl -u kubelet`) what \
                 they say."
                    .to_owned(),
            ];
        }
        return vec![
            "Run the command of the probe by hand (`kubectl exec`), and compare its time with timeoutSeconds.".to_owned(),
        ];
    };
    let until_s = u64::from(spec.initial_delay_seconds)
        + u64::from(spec.period_seconds) * u64::from(spec.failure_threshold);
    // What the first run of probes can take, with a period for their start.
    let first_ns = (until_s + u64::from(spec.period_seconds)).saturating_mul(1_000_000_000);
    let in_start = told.ran_ns().filter(|ran| *ran <= first_ns);
    match (failed.kind, in_start) {
        (ProbeKind::Startup, _) => advice.push(format!(
            "The program did not start within what its startup probe allows, about {until_s} s (initialDelaySeconds {} and {} times \
             periodSeconds {}): raise failureThreshold, or find what makes its start slow.",
            spec.initial_delay_seconds, spec.failure_threshold, spec.period_seconds
        )),
        (_, Some(ran)) => advice.push(format!(
            "It ran for {} only, and the probe gives up after about {until_s} s: if the program was still starting, give it a \
             startupProbe (or a larger initialDelaySeconds).",
            span(ran)
        )),
        (_, None) => {}
    }
    advice.push(match spec.action {
        _ if timed_out => format!(
            "The probe got no answer within timeoutSeconds {}: raise it above what the program needs under load, or find what blocks \
             the program (CPU limit, locks, a slow backend).",
            spec.timeout_seconds
        ),
        ProbeAction::HttpGet if said.contains("statuscode") => {
            "The program answered with an error: a liveness endpoint should report only what a restart mends, and not the state of \
             other services."
                .to_owned()
        }
        ProbeAction::HttpGet | ProbeAction::TcpSocket | ProbeAction::Grpc if said.contains("connection refused") => {
            "Nothing listened on the probe's port: check the port, and that the program listens on the pod's address and not on \
             localhost only."
                .to_owned()
        }
        ProbeAction::Exec => {
            "Run the probe's command by hand (`kubectl exec`): its exit code must be 0 while the program is well.".to_owned()
        }
        ProbeAction::HttpGet | ProbeAction::TcpSocket | ProbeAction::Grpc => {
            "Find out why the program did not answer the probe: its log at this time, its CPU limit, or a deadlock.".to_owned()
        }
    });
    advice
}

fn stopped(told: &Told<'_>) -> String {
    match told.facts.stop.unwrap_or(Stop::Other) {
        Stop::Evicted => "Free the resource that was short, or set the pod's requests (and limits of emptyDir and ephemeral storage) to what \
                          it really uses."
            .to_owned(),
        Stop::DeadlineExceeded => "Raise activeDeadlineSeconds, or find what made the job slow.".to_owned(),
        Stop::PostStartHook => "The Event FailedPostStartHook has what the hook said: mend its command.".to_owned(),
        Stop::SandboxChanged => "Find out what ended the pod's sandbox (its pause process, or the node's network set-up).".to_owned(),
        Stop::Preempted => "Give the pod a higher priorityClassName, or the cluster more room, if it must not make way.".to_owned(),
        Stop::Other => "The pod's status and Events (`kubectl describe pod`) say more.".to_owned(),
        Stop::Deleted | Stop::Drained | Stop::NodeShutdown | Stop::PodDone | Stop::SpecChanged => {
            "It was stopped on purpose: nothing to do.".to_owned()
        }
    }
}

/// The kernel's own signals to the task that runs are faults and limits, which have rows of their own.
fn kernel(told: &Told<'_>) -> String {
    let pid = told.event.task.pid;
    let to_current = told.killed().is_some_and(|kill| pid.is_some() && kill.sender.task.pid == pid);
    let text = if to_current {
        "A BPF program sends SIGKILL from the kernel to the process that runs: a security agent such as Tetragon. `bpftool prog` lists the \
         programs, and the agent's log has its rule."
    } else {
        "Look for a message about this process in the kernel log (`dmesg`)."
    };
    text.to_owned()
}

fn runtime(told: &Told<'_>) -> String {
    let in_pod = told.case.exited().is_some_and(|party| party.placement.is_in_pod());
    let first = if in_pod {
        "Why Kubernetes had it stopped is in kubelet's log at this time (`journalctl -u kubelet`: \"Killing container\") and in the \
         pod's Events (`kubectl describe pod`): a failed probe, a deletion or an eviction are the most frequent reasons."
    } else {
        "A client of the runtime had it stopped (`docker stop`, a supervisor): the runtime's log at this time says more."
    };
    match ignored(told) {
        Some(ignored) => format!("{first} {ignored}"),
        None => first.to_owned(),
    }
}
