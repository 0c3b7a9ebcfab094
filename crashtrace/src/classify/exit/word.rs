//! Kubernetes' word on why it ended a container: the pod's status, and its Events.
//!
//! kubelet's strings (`computePodActions` and `killContainer` in `pkg/kubelet/kuberuntime`, 1.20 to 1.36): an Event `Killing`
//! comes just before the runtime is told to stop a container, with the message `Container NAME failed liveness probe, will be
//! restarted`, `... failed startup probe ...`, `... definition changed ...`, `Container NAME resize requires restart`,
//! `FailedPostStartHook`, or `Stopping container NAME` where the whole pod ends. Each failed probe makes an Event `Unhealthy`
//! with `Liveness probe failed: OUTPUT` (`pkg/kubelet/prober/prober.go`). Events of the same message are one object with a
//! count, so only the first and the last time of a message are known.
//!
//! Of one source and object kubelet writes 25 Events at once and then one in five minutes, and drops the others
//! (`EventSourceObjectSpamFilter`, `client-go/tools/record/events_cache.go`): the `Killing` of a crash loop among them.

use super::{FailedProbe, Scene};
use crate::event::{FailedExec, WaitStatus};
use crate::names::{Events, PodEvent, PodLife, Probe, ProbeAction, RestartPolicy};
use crate::schema::{ContainerRole, NameSource, ProbeKind, Stop};

/// Seconds by which an Event may be later than the signal that it goes with.
const LATER_S: i64 = 1;
/// From a failed probe's end to SIGTERM at most: kubelet acts on the result of a probe at once.
const ACTS_WITHIN_NS: u64 = 2_000_000_000;
/// Failed processes that a record has, of a longer row the latest.
const STORED: usize = 4;
/// Where no spec tells what failed, fewer are chance.
const AT_LEAST: u32 = 3;
/// And more are a readiness probe's, whose failures end nothing: kubelet acts on a liveness probe long before.
const AT_MOST: u32 = 30;
/// A run in which the runtime's signal came sooner can have its `Killing` in the second of its start.
const SHORT_NS: u64 = 1_000_000_000;
/// From `Killing` to the runtime's signal at most, beyond the grace period, in which a hook `preStop` runs.
const HOOK_S: i64 = 15;
/// The same where the grace period is not known.
const UNKNOWN_HOOK_S: i64 = 600;
/// Probes run at intervals of whole seconds (`periodSeconds`), as exactly as this.
const JITTER_NS: u64 = 200_000_000;

/// What an Event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Probe(FailedProbe),
    Stop(Stop),
    /// The whole pod ends, for a reason that is not in the Event.
    PodEnds,
}

/// Times between which an Event belongs to this run, up to `until_ns`.
struct Run {
    from_s: i64,
    until_s: i64,
}

impl Run {
    fn of(scene: &Scene<'_>, until_ns: u64) -> Self {
        let started = scene.event.task.start_boottime_ns.map_or(i64::MIN, |at| scene.second(at));
        Self { from_s: started, until_s: scene.second(until_ns).saturating_add(LATER_S) }
    }

    /// Times of `Killing`. The run before this one was stopped in the second of this one's start, or earlier; so an Event of that
    /// second is of this run only where there was none before it, or where it was stopped as soon as it had started.
    fn of_killing(scene: &Scene<'_>, at_ns: u64) -> Self {
        let run = Self::of(scene, at_ns);
        let grace_s = scene.grace_ns().map(|grace| grace / 1_000_000_000);
        let grace_s = grace_s.and_then(|grace| i64::try_from(grace).ok());
        let hook_s = grace_s.map_or(UNKNOWN_HOOK_S, |grace| grace.saturating_add(HOOK_S));
        let is_first = scene
            .names()
            .is_some_and(|names| names.container.as_ref().is_some_and(|it| it.restart_count == Some(0)));
        let ran_ns = scene.event.task.start_boottime_ns.map(|start| at_ns.saturating_sub(start));
        let from_s = if is_first || ran_ns.is_none_or(|ran| ran <= SHORT_NS) {
            run.from_s
        } else {
            run.from_s.saturating_add(1)
        };
        Self { from_s: from_s.max(scene.second(at_ns).saturating_sub(hook_s)), ..run }
    }

    /// The time of the last occurrence in this run that is known.
    fn last(&self, event: &PodEvent) -> Option<i64> {
        let within = |at: &i64| (self.from_s..=self.until_s).contains(at);
        [event.first_s, event.last_s].into_iter().flatten().filter(within).max()
    }
}

/// What the Events say of the end of this run, for which the runtime was told to stop the container at `at_ns`.
pub(super) fn of_events(scene: &Scene<'_>, events: &Events, at_ns: u64) -> Option<Word> {
    let (run, of_killing) = (Run::of(scene, at_ns), Run::of_killing(scene, at_ns));
    let of_this =
        |event: &&PodEvent| event.container.is_none() || event.container.as_deref() == scene.container();
    let fitting = events.list.iter().filter(of_this);
    let mut words: Vec<(u8, i64, Word)> = fitting
        .filter_map(|event| {
            let (rank, word) = word(scene, events, event)?;
            let at = if event.reason == "Killing" { of_killing.last(event)? } else { run.last(event)? };
            // A new sandbox comes before the run: in the same second it is the one that this run began in.
            let before = word == Word::Stop(Stop::SandboxChanged) && at == run.from_s;
            (!before).then_some((rank, at, word))
        })
        .collect();
    // Each but `PodEnds` ends a run, so there is one at most; that one says less, and may be later.
    words.sort_by_key(|(rank, at, _)| (*rank, *at));
    // A pod that ends after a probe failed: the probe was first, and the container was already being stopped.
    let probe = words.iter().position(|(_, _, word)| matches!(word, Word::Probe(_)));
    match probe {
        Some(place) => Some(words.swap_remove(place).2),
        None => words.pop().map(|(_, _, word)| word),
    }
}

/// What one Event says, and how much that is.
fn word(scene: &Scene<'_>, events: &Events, event: &PodEvent) -> Option<(u8, Word)> {
    let stop = |stop| Some((1, Word::Stop(stop)));
    match event.reason.as_str() {
        "Killing" => killing(scene, events, event),
        "Evicted" | "TaintManagerEviction" => stop(Stop::Evicted),
        "Preempted" | "Preempting" => stop(Stop::Preempted),
        "DeadlineExceeded" => stop(Stop::DeadlineExceeded),
        "NodeShutdown" | "Shutdown" => stop(Stop::NodeShutdown),
        "FailedPostStartHook" => stop(Stop::PostStartHook),
        "SandboxChanged" => stop(Stop::SandboxChanged),
        _ => None,
    }
}

fn killing(scene: &Scene<'_>, events: &Events, event: &PodEvent) -> Option<(u8, Word)> {
    let message = event.message.strip_suffix(", will be restarted").unwrap_or(&event.message);
    let is_named = |name: &str| {
        // Without a name in the Event, the message has it.
        event.container.is_some() || message.split(' ').any(|word| word == name)
    };
    if !scene.container().is_some_and(is_named) {
        return None;
    }
    let word = match () {
        () if message.ends_with(" failed liveness probe") => {
            Word::Probe(failed(scene, events, ProbeKind::Liveness))
        }
        () if message.ends_with(" failed startup probe") => {
            Word::Probe(failed(scene, events, ProbeKind::Startup))
        }
        () if message.ends_with(" definition changed") => Word::Stop(Stop::SpecChanged),
        () if message.ends_with(" resize requires restart") => Word::Stop(Stop::SpecChanged),
        () if message == "FailedPostStartHook" => Word::Stop(Stop::PostStartHook),
        () if message.starts_with("Stopping container ") => return Some((0, Word::PodEnds)),
        () => return None,
    };
    Some((2, word))
}

/// The probe that failed, with what it said last.
fn failed(scene: &Scene<'_>, events: &Events, kind: ProbeKind) -> FailedProbe {
    let prefix = if kind == ProbeKind::Startup { "Startup probe " } else { "Liveness probe " };
    let run = Run::of(scene, scene.event.stamp.ktime_ns);
    let of_this = |event: &&PodEvent| {
        event.reason == "Unhealthy"
            && event.container.as_deref() == scene.container()
            && event.message.starts_with(prefix)
    };
    let last = events.list.iter().filter(of_this).filter_map(|event| Some((run.last(event)?, event)));
    let said = last.max_by_key(|(at, _)| *at).map(|(_, event)| &event.message[prefix.len()..]);
    let said = said.map(|said| said.strip_prefix("failed: ").unwrap_or(said).trim());
    FailedProbe {
        kind,
        message: said.filter(|said| !said.is_empty()).map(str::to_owned),
        spec: scene.probe(kind).cloned(),
        execs: failed_execs(scene, kind).len(),
        unsaid: false,
    }
}

/// The probe that is left where the runtime ended a container of a pod that goes on, and no Event of it came in time.
pub(super) fn of_silence(scene: &Scene<'_>, events: &Events) -> Option<FailedProbe> {
    let names = scene.names()?;
    let is_known = names.source == NameSource::Kube && names.stale_seconds.is_none();
    let goes_on = of_status(&names.life).is_none();
    if !is_known || !goes_on || events.soon || events.missing.is_some() {
        return None;
    }
    let kind = match (scene.probe(ProbeKind::Liveness), scene.probe(ProbeKind::Startup)) {
        (None, None) => return None,
        (Some(_), None) => ProbeKind::Liveness,
        (None, Some(_)) => ProbeKind::Startup,
        // The liveness probe begins when the startup probe has succeeded, which takes it at most this long.
        (Some(_), Some(startup)) => {
            let may_take_s = u64::from(startup.initial_delay_seconds)
                + u64::from(startup.period_seconds) * u64::from(startup.failure_threshold);
            let started_ns = scene.event.task.start_boottime_ns?;
            let ran_ns = scene.event.stamp.ktime_ns.saturating_sub(started_ns);
            let in_start = ran_ns < may_take_s.saturating_mul(1_000_000_000);
            if in_start { ProbeKind::Startup } else { ProbeKind::Unknown }
        }
    };
    let probe = match kind {
        ProbeKind::Unknown => FailedProbe { kind, message: None, spec: None, execs: 0, unsaid: true },
        kind => FailedProbe { unsaid: true, ..failed(scene, events, kind) },
    };
    Some(probe)
}

/// What the pod's status says.
pub(super) fn of_status(life: &PodLife) -> Option<Stop> {
    let message = life.message.as_deref().unwrap_or_default();
    if let Some(reason) = life.reason.as_deref() {
        return Some(match reason {
            "Evicted" => Stop::Evicted,
            "Preempting" | "Preempted" => Stop::Preempted,
            "DeadlineExceeded" => Stop::DeadlineExceeded,
            // `Terminated` since 1.22 (`pkg/kubelet/nodeshutdown`).
            "NodeShutdown" | "Shutdown" | "Terminated" => Stop::NodeShutdown,
            _ => Stop::Other,
        });
    }
    if let Some(disruption) = life.disruption.as_deref() {
        return Some(match disruption {
            "EvictionByEvictionAPI" => Stop::Drained,
            "PreemptionByScheduler" | "PreemptionByKubeScheduler" => Stop::Preempted,
            // One reason for three (`pkg/kubelet/eviction`, `preemption`, `nodeshutdown`, 1.26 to 1.36).
            "TerminationByKubelet" if message.contains("shutdown") => Stop::NodeShutdown,
            "TerminationByKubelet" if message.contains("critical pod") => Stop::Preempted,
            "TerminationByKubelet" => Stop::Evicted,
            "DeletionByTaintManager" | "DeletionByPodGC" => Stop::Deleted,
            _ => Stop::Other,
        });
    }
    life.deleting.then_some(Stop::Deleted)
}

/// Why a pod ends that no status explains: a sidecar ends with its pod's other containers.
pub(super) fn of_ending_pod(scene: &Scene<'_>) -> Stop {
    let names = scene.names();
    let is_sidecar = names
        .and_then(|names| names.container.as_ref())
        .is_some_and(|container| container.role == Some(ContainerRole::Sidecar));
    let ends = names
        .and_then(|names| names.life.restart_policy)
        .is_some_and(|policy| matches!(policy, RestartPolicy::Never | RestartPolicy::OnFailure));
    if is_sidecar && ends { Stop::PodDone } else { Stop::Deleted }
}

/// A probe that the kernel saw fail: processes that came by `exec`, as many as the probe's threshold, at its interval, the last
/// of them just before the runtime was told to stop the container.
pub(super) fn of_execs(scene: &Scene<'_>, at_ns: u64) -> Option<FailedProbe> {
    let known = scene.names().is_some_and(|names| names.source == NameSource::Kube);
    let kinds = [ProbeKind::Liveness, ProbeKind::Startup];
    let by_exec =
        |kind: &ProbeKind| scene.probe(*kind).is_some_and(|probe| probe.action == ProbeAction::Exec);
    let mut of_spec = kinds.into_iter().filter(by_exec);
    let kind = match (of_spec.next(), of_spec.next()) {
        (Some(kind), None) => kind,
        (None, _) if known => return None,
        _ => ProbeKind::Unknown,
    };
    let spec = scene.probe(kind);
    let execs = failed_execs(scene, kind);
    let last = execs
        .first()
        .filter(|last| at_ns.checked_sub(last.ktime_ns).is_some_and(|before| before <= ACTS_WITHIN_NS));
    let total = scene.event.failed_execs_total;
    let threshold = spec.map_or(AT_LEAST, |probe| probe.failure_threshold.max(1));
    let enough = total >= threshold
        && (spec.is_some() || total <= AT_MOST)
        && execs.len() >= usize::try_from(threshold).unwrap_or(usize::MAX).min(STORED);
    (last.is_some() && enough).then(|| FailedProbe {
        kind,
        message: None,
        spec: spec.cloned(),
        execs: execs.len(),
        unsaid: false,
    })
}

/// The failed processes that came by `exec`, latest first, as far as they keep the interval of a probe.
fn failed_execs<'a>(scene: &Scene<'a>, kind: ProbeKind) -> &'a [FailedExec] {
    let all = scene.event.failed_execs.as_slice();
    let failed = |exec: &&FailedExec| exec.status != WaitStatus::Exited { code: 0 };
    let row = all.iter().take_while(failed).count();
    let between = |pair: &[FailedExec]| pair[0].ktime_ns.saturating_sub(pair[1].ktime_ns);
    let period_ns = match (scene.probe(kind).map(|probe: &Probe| probe.period_seconds), all) {
        (Some(seconds), _) => u64::from(seconds) * 1_000_000_000,
        (None, [latest, before, ..]) => {
            let between = latest.ktime_ns.saturating_sub(before.ktime_ns);
            between.saturating_add(500_000_000) / 1_000_000_000 * 1_000_000_000
        }
        (None, _) => 0,
    };
    if period_ns == 0 {
        return all.get(..row.min(1)).unwrap_or_default();
    }
    let steady = all
        .windows(2)
        .take(row.saturating_sub(1))
        .take_while(|pair| between(pair).abs_diff(period_ns) <= JITTER_NS);
    let steady = steady.count();
    all.get(..row.min(steady + 1)).unwrap_or_default()
}
