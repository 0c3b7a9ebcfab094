//! Why a run ended, as far as the status and the Events say. PURE.
//!
//! They say less than they seem to. `OOMKilled` stays in the status for a later death (`crashtrace/docs/deaths.md` has the cases), and
//! on cgroup v1 a container has it that was never touched. Exit code 137 is a SIGKILL by any process, and no reason is made of it.

use super::cause::Cause;
use super::events::Events;
use super::facts::{Ended, View};
use super::object::Pod;
use super::words::{Subject, oom_limit_words, signal_of_code, start_remedy};
use crate::phrase::quoted;

/// What is known around a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) pod: &'a Pod,
    pub(super) view: &'a View<'a>,
    pub(super) run: &'a Ended<'a>,
    pub(super) events: &'a Events<'a>,
    pub(super) subject: Subject<'a>,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) cause: Cause,
    /// `after exit code 1`
    pub(super) reason: String,
    pub(super) summary: String,
    pub(super) evidence: Vec<String>,
    pub(super) remedy: String,
    pub(super) contradictions: Vec<String>,
}

impl Told {
    pub(super) fn new(cause: Cause, reason: impl Into<String>, summary: String, remedy: String) -> Self {
        let (evidence, contradictions) = (Vec::new(), Vec::new());
        Self { cause, reason: reason.into(), summary, evidence, remedy, contradictions }
    }

    pub(super) fn because(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }
}

/// The first that fits.
pub(super) fn tell(scene: &Scene<'_>) -> Told {
    let mut told = scene
        .not_started()
        .or_else(|| scene.by_the_pods_end())
        // A probe may have failed before the pod was deleted.
        .or_else(|| scene.by_events())
        .or_else(|| scene.by_deletion())
        .or_else(|| scene.by_oom())
        .unwrap_or_else(|| scene.by_code());
    if scene.run.reason() == "OOMKilled" && !matches!(told.cause, Cause::OomKilled | Cause::StartOom) {
        told.contradictions.push(format!(
            "the status says OOMKilled, and {} was being ended for another reason: OOMKilled can be left over from an earlier OOM kill in it, \
             or, on cgroup v1, come from another container of the pod; only the kernel knows whether this end was one",
            scene.subject
        ));
    }
    let reason = if scene.run.reason().is_empty() { "no reason" } else { scene.run.reason() };
    told.evidence.insert(0, format!("the status says {} with exit code {}", quoted(reason), scene.code()));
    let message = scene.run.by.message.as_deref().unwrap_or_default().trim();
    if !message.is_empty() {
        told.evidence.push(format!("the status has the message: {}", quoted(message)));
    }
    told
}

impl Scene<'_> {
    pub(super) fn code(&self) -> i32 {
        self.run.by.exit_code
    }

    /// The runtime could not start it.
    fn not_started(&self) -> Option<Told> {
        let reason = self.run.reason();
        if !matches!(reason, "StartError" | "ContainerCannotRun" | "RunContainerError") {
            return None;
        }
        let message = self.run.by.message.as_deref().unwrap_or_default();
        let who = self.subject;
        if message.contains("OOM-killed") || message.contains("oom-killed") || message.contains("OOMKilled") {
            return Some(Told::new(
                Cause::StartOom,
                "because its start was OOM-killed",
                format!(
                    "{who} did not start: the kernel's OOM killer killed the runtime's process before it executed the program, so the \
                     memory of the pod was full already"
                ),
                format!(
                    "Find what fills the pod's memory before this container starts: files in a memory-backed emptyDir stay when a \
                     container ends and count for the pod. Empty the volume by deleting the pod, set its sizeLimit, or raise the memory \
                     limit{}.",
                    oom_limit_words(self.view)
                ),
            ));
        }
        Some(Told::new(
            Cause::StartFailed,
            "because it could not be started",
            format!("{who} did not start: the runtime could not execute its program"),
            start_remedy(message),
        ))
    }

    fn by_oom(&self) -> Option<Told> {
        if self.run.reason() != "OOMKilled" {
            return None;
        }
        let who = self.subject;
        let remedy = format!(
            "Look at the memory limit of the container{} and of its pod, and at what it used. crashtrace on the node says which process was \
             killed, and for whose limit.",
            oom_limit_words(self.view)
        );
        let summary = if self.code() == 137 {
            format!(
                "kubelet says that {who} was OOM-killed; it does not say for which limit: the container's, its pod's, or the node's memory"
            )
        } else {
            format!(
                "kubelet says OOMKilled, but {who} ended with exit code {}: the OOM killer killed another process of the container, and the \
                 main process ended after it",
                self.code()
            )
        };
        let told = Told::new(Cause::OomKilled, "by the OOM killer, as kubelet says", summary, remedy);
        Some(told.because(
            "OOMKilled alone can be left over from an earlier kill in the container; on cgroup v1 it can come from a kill in another \
             container of the pod",
        ))
    }

    fn by_events(&self) -> Option<Told> {
        let (who, name) = (self.subject, self.view.name);
        let killing: Vec<_> =
            self.events.of_container(name, "Killing").filter(|event| event.is_during(self.run)).collect();
        for kind in ["liveness", "startup"] {
            let said = format!("failed {kind} probe");
            let Some(event) = killing.iter().find(|event| event.message.contains(&said)) else { continue };
            let begins = if kind == "liveness" { "Liveness" } else { "Startup" };
            let mut unhealthy = self.events.of_container(name, "Unhealthy");
            let last = unhealthy.find(|event| event.message.starts_with(begins));
            let mut told = Told::new(
                Cause::HealthCheck,
                format!("for a failed {kind} probe"),
                format!("{who} failed its {kind} probe, and kubelet ended it"),
                format!(
                    "Find why the {kind} probe failed: the program hung, was too slow, or the probe asks the wrong thing. If it was only slow, \
                     raise timeoutSeconds or failureThreshold{}.",
                    if kind == "startup" {
                        ", which bound how long a start may take"
                    } else {
                        ", or give it a startupProbe"
                    }
                ),
            );
            told.evidence.push(format!("an Event during this run: {}", quoted(event.message)));
            told.evidence.extend(last.map(|last| {
                format!("the probe's last failure ({} in all): {}", times(last.count), quoted(last.message))
            }));
            if self.code() == 0 {
                told.contradictions.push(
                    "the status says Completed with exit code 0, as if the container was done: it was told to end, and handled the signal"
                        .to_owned(),
                );
            }
            return Some(told);
        }
        let hook =
            self.events.of_container(name, "FailedPostStartHook").find(|event| event.is_during(self.run));
        if let Some(event) = hook {
            return Some(post_start(who, &quoted(event.message)));
        }
        let changed = killing.iter().find(|event| event.message.contains("definition changed"));
        if let Some(event) = changed {
            let told = Told::new(
                Cause::Stopped,
                "because its spec changed",
                format!("{who} was stopped: its spec changed, and kubelet starts it anew"),
                "Nothing is wrong with the container: a field of its spec was changed in the pod.".to_owned(),
            );
            return Some(told.because(format!("an Event during this run: {}", quoted(event.message))));
        }
        let sandbox = self.events.with_reason("SandboxChanged").find(|event| event.is_during(self.run));
        sandbox.map(|event| {
            Told::new(
                Cause::Stopped,
                "because the pod's sandbox was made anew",
                format!("{who} was stopped: the pod's sandbox (pause) had ended or changed, and kubelet makes the pod anew"),
                "Look for what ended the sandbox: a restart of the node or of the container runtime, or a kill of the pause process."
                    .to_owned(),
            )
            .because(format!("an Event during this run: {}", quoted(event.message)))
        })
    }

    fn by_code(&self) -> Told {
        let (who, code) = (self.subject, self.code());
        let log = self.subject.log_command(!self.run_is_current());
        let mut told = match code {
            0 if self.view.always_runs(self.pod) => Told::new(
                Cause::CompletedAgain,
                "because it runs to completion",
                format!("{who} ran to completion (exit code 0), and the pod always starts it again (restartPolicy Always)"),
                format!(
                    "Use a Job or a CronJob, or restartPolicy OnFailure, for a task that ends; a service must stay in the foreground. Its log: \
                     `{log}`."
                ),
            ),
            0 => Told::new(Cause::Completed, "as it was done", format!("{who} was done (exit code 0)"), String::new()),
            137 => Told::new(
                Cause::Unknown,
                "by a SIGKILL of unknown origin",
                format!("{who} ended with exit code 137: SIGKILL by something; Kubernetes does not say by what"),
                "Deploy crashtrace to the node: it says who sent the signal. The status does not say OOMKilled, which alone rules no OOM kill \
                 out: kubelet misses some. Look at the node's kernel log, and for processes that kill others."
                    .to_owned(),
            ),
            143 => Told::new(
                Cause::Unknown,
                "by a SIGTERM of unknown origin",
                format!("{who} ended with exit code 143: SIGTERM by something, or the program's own code; Kubernetes does not say which"),
                format!("Deploy crashtrace to the node: it says who sent the signal. Its log: `{log}`."),
            ),
            _ => self.by_other_code(&log),
        };
        let is_stop = matches!(code, 0 | 137 | 143) && told.cause != Cause::Completed;
        if is_stop && let Some(others) = self.probe_of_other_runs() {
            told.evidence.push(others);
        } else if is_stop
            && self
                .view
                .spec
                .is_some_and(|spec| spec.liveness_probe.is_some() || spec.startup_probe.is_some())
        {
            told.evidence.push(
                "no Event of this run says that a probe failed; kubelet drops Events of a pod that has many, so one may have".to_owned(),
            );
        }
        told
    }

    /// Runs that a failed probe ended, by Events that do not tell which runs these were.
    fn probe_of_other_runs(&self) -> Option<String> {
        let mut killing = self.events.of_container(self.view.name, "Killing");
        let event = killing.find(|event| event.message.contains(" probe, will be restarted"))?;
        Some(format!(
            "Events say that other runs of it were ended for a failed probe ({}): {}. This one may have been, too",
            times(event.count),
            quoted(event.message)
        ))
    }

    fn by_other_code(&self, log: &str) -> Told {
        let (who, code) = (self.subject, self.code());
        let reason = format!("after exit code {code}");
        if let Some(signal) = signal_of_code(code) {
            return Told::new(
                Cause::ContainerExit,
                format!("after exit code {code} ({signal})"),
                format!(
                    "{who} ended with exit code {code}: {signal}, or a code that its main process took from a child"
                ),
                format!(
                    "Find the crash: a core dump, the log (`{log}`). crashtrace on the node says which signal, and at which address."
                ),
            );
        }
        let hint = match code {
            125 => " A shell or an engine returns 125 where a container command itself failed.",
            126 => {
                " A shell returns 126 for a file that cannot be executed: check its mode, its format and its architecture."
            }
            127 => " A shell returns 127 for a command that it does not find: check the name and PATH.",
            _ => "",
        };
        Told::new(
            Cause::ContainerExit,
            reason,
            format!("{who} ended with exit code {code}"),
            format!("The program's log says why: `{log}`.{hint}"),
        )
    }

    /// Its log is that of the current container.
    fn run_is_current(&self) -> bool {
        self.view.has_ended() && self.run.is_last
    }
}

pub(super) fn post_start(who: Subject<'_>, message: &str) -> Told {
    let told = Told::new(
        Cause::PostStartHook,
        "for a failed postStart hook",
        format!("{who} was ended, since its postStart hook failed"),
        "Run the hook's command in the container to see why it fails; it must not wait for the container to be ready.".to_owned(),
    );
    told.because(format!("an Event during this run: {message}"))
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
