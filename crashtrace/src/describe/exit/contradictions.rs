//! Contradictions of Kubernetes' status and the kernel.

use super::Told;
use crate::classify::Contradiction;
use crate::event::WaitStatus;
use crate::phrase::{self, span};

pub(super) fn sentences(told: &Told<'_>) -> Vec<String> {
    told.facts.contradictions.iter().map(|contradiction| sentence(told, contradiction)).collect()
}

fn sentence(told: &Told<'_>, contradiction: &Contradiction) -> String {
    let status = told.names().and_then(|names| names.container.as_ref()?.life.ended.as_ref());
    let reason = status.and_then(|status| status.reason.as_deref());
    let reason = reason.map_or_else(|| "another reason".to_owned(), phrase::quoted);
    match contradiction {
        Contradiction::OomKilledWithoutKill => {
            let v1 = told.case.exit.as_ref().and_then(|exit| exit.memory_cgroup_v1) == Some(true);
            let why = if v1 {
                ": on cgroup v1 the runtime marks all containers of a pod when the pod's limit is hit"
            } else {
                ""
            };
            format!("the status says OOMKilled, but the kernel killed no process of this container for memory{why}")
        }
        Contradiction::OomKilledWhileEnding => {
            "the status says OOMKilled, but the OOM killer had chosen the process while it was ending for another reason"
                .to_owned()
        }
        Contradiction::OomKilledByEarlierKill => {
            let latest = told.end.oom_before.first();
            let before = latest.map_or_else(String::new, |kill| {
                format!(", the latest {} earlier", span(told.before_end(kill.ktime_ns)))
            });
            format!(
                "the status says OOMKilled, but no OOM kill ended this process: the OOM killer took other processes of the \
                 container{before}"
            )
        }
        Contradiction::OomKilledWithCode(code) => {
            format!("the status says OOMKilled with exit code {code}; a process that the OOM killer ends has 137")
        }
        Contradiction::OomNotShown => {
            format!("the status says {reason}, but the OOM killer ended the process")
        }
        Contradiction::ChildKillNotShown => format!(
            "the status says {reason} and nothing of {} that the OOM killer took from the container before",
            phrase::processes(told.end.oom_before_total)
        ),
        Contradiction::Code137WithoutKill => {
            "exit code 137 looks like SIGKILL, but no process sent one: the process itself exited with 137, as a shell does \
             whose child got SIGKILL"
                .to_owned()
        }
        Contradiction::CompletedAfterProbe => {
            "the status says Completed, but Kubernetes stopped the container because a probe failed".to_owned()
        }
        Contradiction::CodeDiffers { status, kernel } => {
            let how = match told.event.status {
                Some(WaitStatus::Signaled { signal, .. }) => format!(" ({})", phrase::signal(signal)),
                _ => String::new(),
            };
            format!("the status says {reason} with exit code {status}; the kernel's is {kernel}{how}")
        }
    }
}
