//! What is wrong now and is no end of a container: what keeps a container or the pod from running, or from being ready. PURE.
//!
//! None of it reaches the kernel, so no agent sees it: the status and the Events are all there is.

use super::cause::Cause;
use super::diagnosis::{Finding, Run};
use super::events::{Events, Seen};
use super::facts::{Role, View, condition, phase, pod_message, pod_reason};
use super::object::Pod;
use super::stopped::evicted_remedy;
use super::words::{Subject, count, oom_limit_words, start_remedy};
use crate::phrase::quoted;

fn finding(cause: Cause, summary: String, evidence: Vec<String>, remedy: impl Into<String>) -> Finding {
    Finding { cause: cause.name(), summary, evidence, remedy: remedy.into() }
}

/// What is known around a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) events: &'a Events<'a>,
    pub(super) subject: Subject<'a>,
}

impl Around<'_> {
    /// What is wrong with it now.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let waits = self.view.waiting().and_then(|(reason, message)| self.waits(reason, message));
        waits.or_else(|| self.is_not_ready()).into_iter().collect()
    }

    fn waits(&self, reason: &str, message: &str) -> Option<Finding> {
        let evidence = || {
            let mut evidence = vec![format!("the container waits with the reason {}", quoted(reason))];
            if !message.is_empty() {
                evidence.push(format!("its message: {}", quoted(message)));
            }
            evidence
        };
        let who = self.subject;
        match reason {
            "ErrImagePull"
            | "ImagePullBackOff"
            | "InvalidImageName"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "RegistryUnavailable"
            | "SignatureValidationFailed" => Some(self.image(reason, message, evidence())),
            "CreateContainerConfigError" => Some(self.config(message, evidence())),
            "CreateContainerError" => Some(finding(
                Cause::StartFailed,
                format!("{who} cannot be created: {}", quoted(message)),
                evidence(),
                start_remedy(message),
            )),
            "RunContainerError" => Some(self.cannot_run(message, evidence())),
            "PostStartHookError" => Some(finding(
                Cause::PostStartHook,
                format!("the postStart hook of {who} fails, so kubelet ends the container each time"),
                evidence(),
                "Run the hook's command in the container to see why it fails; it must not wait for the container to be ready.",
            )),
            "ContainerCreating" | "PodInitializing" => self.is_being_created(evidence()),
            _ => None,
        }
    }

    fn image(&self, reason: &str, message: &str, mut evidence: Vec<String>) -> Finding {
        let image = self.view.spec.and_then(|spec| spec.image.as_deref()).unwrap_or_default();
        // A back-off's message has no cause, the Event of the failed pull has.
        let failed = self
            .events
            .of_container(self.subject.container, "Failed")
            .find(|event| event.message.contains("image") && event.message != "Error: ImagePullBackOff");
        let said = failed.map_or("", |event| event.message);
        if !said.is_empty() && !message.contains(said) {
            evidence.push(format!("an Event: {}", quoted(said)));
        }
        let text = format!("{message} {said}");
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let (why, remedy) = match reason {
            "InvalidImageName" => ("its name is no image's name", "Correct the image's name in the spec."),
            "ErrImageNeverPull" => (
                "the node does not have it, and imagePullPolicy is Never",
                "Load the image onto the node, or set imagePullPolicy to IfNotPresent.",
            ),
            _ if has(&["no match for platform", "no matching manifest"]) => (
                "it is not built for the node's architecture",
                "Build the image for the node's architecture, or choose nodes by kubernetes.io/arch.",
            ),
            _ if has(&[
                "unauthorized",
                "denied",
                "authentication",
                "no basic auth",
                "403 Forbidden",
                "401",
            ]) =>
            {
                (
                    "the registry refuses the credentials, or hides that there is no such image",
                    "Check imagePullSecrets of the pod or its service account, and the image's name.",
                )
            }
            _ if has(&["not found", "manifest unknown", "NotFound"]) => {
                ("the registry has no such image", "Correct the image's name or tag, or push the image.")
            }
            _ if has(&[
                "x509",
                "no such host",
                "timeout",
                "connection refused",
                "dial tcp",
                "i/o",
                "TLS",
            ]) =>
            {
                (
                    "the node cannot reach the registry, or does not trust it",
                    "Check the node's DNS, network, proxy and CA certificates for the registry.",
                )
            }
            _ if has(&["toomanyrequests", "rate limit", "429"]) => {
                ("the registry limits pulls", "Authenticate to the registry, or pull through a mirror.")
            }
            _ => ("the pull failed", "The message has the registry's or the runtime's words."),
        };
        let summary =
            format!("{} does not start: image {} cannot be pulled: {why}", self.subject, quoted(image));
        finding(Cause::ImagePull, summary, evidence, remedy)
    }

    fn config(&self, message: &str, evidence: Vec<String>) -> Finding {
        let lower = message.to_lowercase();
        let is_absent = lower.contains("not found")
            || lower.contains("couldn't find key")
            || lower.contains("non-existent");
        if is_absent && (lower.contains("configmap") || lower.contains("secret")) {
            let summary = format!("{} does not start: {}", self.subject, quoted(message));
            return finding(
                Cause::ConfigMissing,
                summary,
                evidence,
                "Create what the message names in the pod's namespace, correct the name or key in the spec, or mark the reference optional. \
                 kubelet tries again by itself.",
            );
        }
        finding(
            Cause::ConfigRefused,
            format!(
                "{} does not start: kubelet refuses its configuration: {}",
                self.subject,
                quoted(message)
            ),
            evidence,
            "Change what the message names, in the container's securityContext, env or volumeMounts.",
        )
    }

    fn cannot_run(&self, message: &str, evidence: Vec<String>) -> Finding {
        if message.contains("OOM-killed") {
            return finding(
                Cause::StartOom,
                format!(
                    "{} does not start: the runtime's process is OOM-killed before it executes the program",
                    self.subject
                ),
                evidence,
                format!(
                    "Find what fills the pod's memory before this container starts, for example files in a memory-backed emptyDir, or raise \
                     the memory limit{}.",
                    oom_limit_words(self.view)
                ),
            );
        }
        let summary = format!("{} does not start: the runtime could not execute its program", self.subject);
        finding(Cause::StartFailed, summary, evidence, start_remedy(message))
    }

    /// It stays so for as long as a volume or the sandbox is not there.
    fn is_being_created(&self, mut evidence: Vec<String>) -> Option<Finding> {
        let newest = |reason| self.events.with_reason(reason).next();
        let volume = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"].into_iter().find_map(newest);
        if let Some(event) = volume {
            evidence.push(said(event));
            return Some(finding(
                Cause::Volume,
                format!(
                    "{} does not start: a volume cannot be attached or mounted: {}",
                    self.subject,
                    quoted(event.message)
                ),
                evidence,
                volume_remedy(event.message),
            ));
        }
        let event = newest("FailedCreatePodSandBox")?;
        evidence.push(said(event));
        Some(finding(
            Cause::Sandbox,
            format!(
                "{} does not start: the pod's sandbox cannot be made: {}",
                self.subject,
                quoted(event.message)
            ),
            evidence,
            "The message is the runtime's or the network plugin's (CNI): check that plugin's pods and log on the node.",
        ))
    }

    /// It runs, and is not ready. An init container is never ready while it runs.
    fn is_not_ready(&self) -> Option<Finding> {
        let status = self.view.status.filter(|status| !status.ready && self.view.is_running())?;
        if self.view.role == Role::Init || self.view.role == Role::Ephemeral {
            return None;
        }
        let unhealthy = |begins: &'static str| {
            let mut events = self.events.of_container(self.subject.container, "Unhealthy");
            events.find(move |event| event.message.starts_with(begins)).map(said)
        };
        let spec = self.view.spec?;
        if status.started == Some(false) && spec.startup_probe.is_some() {
            return Some(finding(
                Cause::NotReady,
                format!(
                    "{} runs and is not ready: its startup probe has not succeeded yet; this is no crash",
                    self.subject
                ),
                unhealthy("Startup").into_iter().collect(),
                "Wait, or find why the startup probe fails; when failureThreshold is reached kubelet ends the container.",
            ));
        }
        spec.readiness_probe.as_ref()?;
        let failure = unhealthy("Readiness");
        let probe = if failure.is_some() { "fails" } else { "has not succeeded yet" };
        Some(finding(
            Cause::NotReady,
            format!(
                "{} runs and is not ready: its readiness probe {probe}; this is no crash, and it ends nothing",
                self.subject
            ),
            failure.into_iter().collect(),
            "Find why the readiness probe fails: until it succeeds, Services send the pod no requests.",
        ))
    }
}

fn said(event: &Seen<'_>) -> String {
    let times = if event.count > 1 { format!(" ({} times)", event.count) } else { String::new() };
    format!("an Event {}{times}: {}", event.reason, quoted(event.message))
}

fn volume_remedy(message: &str) -> &'static str {
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if has(&["configmap", "secret"]) && has(&["not found", "non-existent", "not registered"]) {
        "Create the ConfigMap or Secret that the message names in the pod's namespace, or correct the name. kubelet tries again by itself."
    } else if has(&["multi-attach"]) {
        "The volume is attached to another node still: end the pod that uses it there, or use a volume that many nodes can attach."
    } else if has(&["timed out", "deadline exceeded"]) {
        "The storage does not answer in time: check the CSI driver's pods on the node and its controller, and the storage itself."
    } else {
        "See the volume, its PersistentVolumeClaim and the CSI driver's pods on the node: `kubectl describe pvc`."
    }
}

/// What is wrong with the pod as a whole. `runs` are those of a container.
pub(super) fn of_pod<'a>(
    pod: &'a Pod,
    views: &[View<'a>],
    events: &Events<'a>,
    runs: impl Fn(&str) -> Vec<Run>,
) -> Vec<Finding> {
    let mut findings: Vec<_> = unscheduled(pod, events).into_iter().collect();
    findings.extend(ended_without_a_run(pod, views));
    if phase(pod) == Some("Pending") {
        findings.extend(
            views.iter().filter(|view| view.role == Role::Init).find_map(|view| init(view, &runs(view.name))),
        );
    }
    findings
}

fn unscheduled(pod: &Pod, events: &Events<'_>) -> Option<Finding> {
    let scheduled = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")?;
    let (reason, message) =
        (scheduled.reason.as_deref().unwrap_or_default(), scheduled.message.as_deref().unwrap_or_default());
    let mut evidence =
        vec![format!("the pod's condition PodScheduled is False, with the reason {}", quoted(reason))];
    let event = events.with_reason("FailedScheduling").next().filter(|event| event.message != message);
    evidence.extend(event.map(said));
    if reason == "SchedulingGated" {
        return Some(finding(
            Cause::Unschedulable,
            "the pod is on no node: it has scheduling gates".to_owned(),
            evidence,
            "What set the gates (spec.schedulingGates) has to remove them.",
        ));
    }
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let remedy = if has(&["insufficient", "too many pods"]) {
        "Lower the pod's requests, free room on the nodes, or add nodes."
    } else if has(&["taint", "unschedulable"]) {
        "Add a toleration for the taint that the message names, remove the taint, or uncordon the node."
    } else if has(&["node affinity", "selector", "didn't match"]) {
        "Correct nodeSelector or affinity, or label a node."
    } else if has(&["persistentvolumeclaim", "volume"]) {
        "See the pod's PersistentVolumeClaims: `kubectl describe pvc`."
    } else {
        "The message has the scheduler's reasons, node by node."
    };
    Some(finding(
        Cause::Unschedulable,
        format!("no node takes the pod: {}", quoted(if message.is_empty() { reason } else { message })),
        evidence,
        remedy,
    ))
}

/// kubelet ended or refused the pod, and no container's end says so.
fn ended_without_a_run(pod: &Pod, views: &[View<'_>]) -> Option<Finding> {
    let reason = pod_reason(pod).filter(|_| phase(pod) == Some("Failed"))?;
    if views.iter().any(|view| !view.ended().is_empty()) {
        return None;
    }
    let message = quoted(pod_message(pod));
    let evidence = vec![format!("the pod's status.reason is {}", quoted(reason))];
    Some(match reason {
        "Evicted" => finding(
            Cause::Evicted,
            format!("kubelet evicted the pod: {message}"),
            evidence,
            evicted_remedy(&message),
        ),
        "DeadlineExceeded" => finding(
            Cause::DeadlineExceeded,
            "the pod ran longer than its activeDeadlineSeconds".to_owned(),
            evidence,
            "Raise activeDeadlineSeconds (of the pod or its Job), or find why it takes so long.",
        ),
        _ => finding(
            Cause::Rejected,
            format!("kubelet did not take the pod ({}): {message}", quoted(reason)),
            evidence,
            "The node could not take the pod when it came: see its resources, labels and taints with `kubectl describe node`.",
        ),
    })
}

/// An init container that fails keeps all others from starting.
fn init(view: &View<'_>, runs: &[Run]) -> Option<Finding> {
    let last = runs.first().filter(|run| run.cause != Cause::Completed.name())?;
    let ends = count(u64::from(view.ends()), "time");
    Some(finding(
        Cause::InitFailed,
        format!(
            "init container {} fails, so the containers after it do not start: it has ended {ends}, the last time {}",
            view.name, last.reason
        ),
        vec![last.summary.clone()],
        last.remedy.clone(),
    ))
}
