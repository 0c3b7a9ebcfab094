//! Ends that Kubernetes made on purpose, by the pod's status: evictions, deadlines, drains, preemptions, deletions. PURE.

use jiff::Timestamp;

use super::cause::Cause;
use super::ended::{Scene, Told};
use super::facts::{condition, phase, pod_message, pod_reason, time};
use super::object::Pod;
use crate::phrase::quoted;

impl Scene<'_> {
    /// kubelet or a controller ended the pod, and its status says why.
    pub(super) fn by_the_pods_end(&self) -> Option<Told> {
        let mut told = self.end_of_pod().filter(|_| self.run.is_last)?;
        if self.run.reason() == "ContainerStatusUnknown" {
            told.evidence.push(
                "ContainerStatusUnknown: kubelet had lost the container, and 137 stands for a code that it does not know".to_owned(),
            );
        }
        Some(told)
    }

    fn end_of_pod(&self) -> Option<Told> {
        let who = self.subject;
        if let Some(reason) = pod_reason(self.pod).filter(|_| phase(self.pod) == Some("Failed")) {
            return Some(self.of_pod_reason(reason));
        }
        let word = disruption(self.pod)?;
        let (reason, what, remedy) = match word {
            "EvictionByEvictionAPI" => (
                "by an eviction through the API",
                "the pod was evicted through the API (a drain of the node, the cluster autoscaler or the descheduler)",
                "Nothing is wrong with the container. A PodDisruptionBudget bounds how many pods go at once.",
            ),
            "PreemptionByScheduler" => (
                "by a preemption",
                "the scheduler preempted the pod for one of higher priority",
                "Give the pod a priorityClassName of higher priority, or the cluster more room.",
            ),
            "TerminationByKubelet" => (
                "by an eviction",
                "kubelet terminated the pod: for lack of a resource on the node, or since the node shuts down",
                "Look at the pod's status.message and the node's conditions; requests that match the use protect a pod.",
            ),
            "DeletionByTaintManager" => (
                "by a taint of its node",
                "the pod was deleted since it does not tolerate a taint of its node",
                "Look at the node's taints and conditions: `kubectl describe node`.",
            ),
            _ => ("by a disruption", "the pod was ended on purpose", "Nothing is wrong with the container."),
        };
        let cause = if word == "TerminationByKubelet" { Cause::Evicted } else { Cause::Stopped };
        let told = Told::new(cause, reason, format!("{who} was stopped: {what}"), remedy.to_owned());
        Some(told.because(format!("the pod's condition DisruptionTarget has the reason {}", quoted(word))))
    }

    /// The pod was deleted before this run ended.
    pub(super) fn by_deletion(&self) -> Option<Told> {
        let who = self.subject;
        let began = self.deletion_began().filter(|_| self.run.is_last)?;
        let finished = self.run.finished()?;
        (finished.as_second() >= began.as_second()).then(|| {
            let told = Told::new(
                Cause::Stopped,
                "because the pod was deleted",
                format!("{who} was stopped: the pod was deleted"),
                if self.code() == 137 {
                    "Nothing is wrong with the pod. The container did not end upon SIGTERM within the grace period: a program that is process \
                     1 must handle it."
                } else {
                    "Nothing is wrong with the container."
                }
                .to_owned(),
            );
            told.because(format!("the pod's deletion began at {began}, and this run ended at {finished}"))
        })
    }

    fn of_pod_reason(&self, reason: &str) -> Told {
        let who = self.subject;
        let message = quoted(pod_message(self.pod));
        let told = match reason {
            "Evicted" => Told::new(
                Cause::Evicted,
                "by an eviction",
                format!("{who} was stopped: kubelet evicted the pod: {message}"),
                evicted_remedy(&message).to_owned(),
            ),
            "DeadlineExceeded" => Told::new(
                Cause::DeadlineExceeded,
                "by its deadline",
                format!("{who} was stopped: the pod ran longer than its activeDeadlineSeconds"),
                "Raise activeDeadlineSeconds (of the pod or its Job), or find why it takes so long."
                    .to_owned(),
            ),
            _ => Told::new(
                Cause::Stopped,
                "because its pod was ended",
                format!(
                    "{who} was stopped: kubelet or a controller ended the pod ({}): {message}",
                    quoted(reason)
                ),
                "Look at the node's conditions and Events: `kubectl describe node`.".to_owned(),
            ),
        };
        told.because(format!("the pod's status.reason is {}", quoted(reason)))
    }

    /// When a deletion of the pod began: `deletionTimestamp` is the time at which the grace period is over. Once the containers have
    /// ended the API server sets the period to 0 and the time stays, so then kubelet's Event says it, or the spec.
    fn deletion_began(&self) -> Option<Timestamp> {
        let until = time(self.pod.metadata.deletion_timestamp.as_ref())?;
        let before =
            |seconds: i64| until.checked_sub(jiff::SignedDuration::from_secs(seconds.clamp(0, 86_400))).ok();
        let grace = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
        if grace > 0 {
            return before(grace);
        }
        let stopping = self.events.of_container(self.view.name, "Killing");
        let stopping = stopping.filter(|event| event.message.starts_with("Stopping container"));
        let of_spec = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        stopping.filter_map(|event| event.last).max().or_else(|| before(of_spec.unwrap_or(30)))
    }
}

/// The reason of the condition `DisruptionTarget`.
fn disruption(pod: &Pod) -> Option<&str> {
    let condition = condition(pod, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    condition.reason.as_deref()
}

pub(super) fn evicted_remedy(message: &str) -> &'static str {
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["emptyDir", "EmptyDir", "ephemeral"]) {
        "Raise the sizeLimit of the volume or the ephemeral-storage limit, or write less."
    } else if has(&["memory"]) {
        "The node was short of memory. Give the pod a memory request that matches its use: kubelet evicts first what uses more than its \
         request. See what else used the node's memory."
    } else {
        "The node was short of a resource. See the node's conditions with `kubectl describe node`, and give the pod requests that match its \
         use."
    }
}
