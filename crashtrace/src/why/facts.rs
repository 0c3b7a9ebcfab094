//! What a diagnosis is made of: the pod as the API server has it, and what else was read. PURE.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::diagnosis::{Log, OtherPod, SourceState};
use super::object::{Container, ContainerState, ContainerStatus, Event, Pod, PodCondition, Terminated, Time};
use crate::crash_report::CrashReportSpec;
use crate::names::Workload;

/// All that was read of a pod.
#[derive(Clone, Debug)]
pub struct Facts {
    pub namespace: Option<String>,
    pub name: String,
    pub pod: Option<Pod>,
    pub report: Option<CrashReportSpec>,
    pub events: Vec<Event>,
    /// By container.
    pub logs: BTreeMap<String, Log>,
    pub others: Vec<OtherPod>,
    pub sources: Vec<SourceState>,
    /// Only this container.
    pub container: Option<String>,
    pub now: Timestamp,
}

impl Facts {
    /// With nothing but the pod.
    #[must_use]
    pub fn of_pod(pod: Pod, now: Timestamp) -> Self {
        Self {
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            pod: Some(pod),
            ..Self::nothing(now)
        }
    }

    #[must_use]
    pub fn nothing(now: Timestamp) -> Self {
        Self {
            namespace: None,
            name: String::new(),
            pod: None,
            report: None,
            events: Vec::new(),
            logs: BTreeMap::new(),
            others: Vec::new(),
            sources: Vec::new(),
            container: None,
            now,
        }
    }
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Role {
    Init,
    Sidecar,
    App,
    Ephemeral,
}

/// A container of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    /// Absent for an ephemeral one.
    pub(super) spec: Option<&'a Container>,
    pub(super) status: Option<&'a ContainerStatus>,
}

/// A run that ended, by the status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended<'a> {
    /// How often the container had been restarted before it.
    pub(super) restart: u32,
    /// It is the container's last run so far.
    pub(super) is_last: bool,
    pub(super) by: &'a Terminated,
}

/// The pod's containers, in the order in which they start.
pub(super) fn views(pod: &Pod) -> Vec<View<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let status = pod.status.as_ref();
    let of_inits = status.and_then(|status| status.init_container_statuses.as_deref());
    let of_apps = status.and_then(|status| status.container_statuses.as_deref());
    let of_ephemeral = status.and_then(|status| status.ephemeral_container_statuses.as_deref());
    let inits = spec.init_containers.iter().flatten().map(|container| {
        let always = container.restart_policy.as_deref() == Some("Always");
        let role = if always { Role::Sidecar } else { Role::Init };
        let status = status_of(of_inits, &container.name);
        View { name: &container.name, role, spec: Some(container), status }
    });
    let apps = spec.containers.iter().map(|container| {
        let status = status_of(of_apps, &container.name);
        View { name: &container.name, role: Role::App, spec: Some(container), status }
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| {
        let status = status_of(of_ephemeral, &container.name);
        View { name: &container.name, role: Role::Ephemeral, spec: None, status }
    });
    inits.chain(apps).chain(ephemeral).collect()
}

fn status_of<'a>(statuses: Option<&'a [ContainerStatus]>, name: &str) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}

impl<'a> View<'a> {
    pub(super) fn restarts(&self) -> u32 {
        self.status.map_or(0, |status| u32::try_from(status.restart_count).unwrap_or(0))
    }

    pub(super) fn state(&self) -> Option<&'a ContainerState> {
        self.status?.state.as_ref()
    }

    pub(super) fn waiting(&self) -> Option<(&'a str, &'a str)> {
        let waiting = self.state()?.waiting.as_ref()?;
        Some((waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default()))
    }

    pub(super) fn is_running(&self) -> bool {
        self.state().is_some_and(|state| state.running.is_some())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().is_some_and(|state| state.terminated.is_some())
    }

    /// Its ended runs, newest first. `state.terminated` stays for most of a back-off, so both places have to be read.
    pub(super) fn ended(&self) -> Vec<Ended<'a>> {
        let Some(status) = self.status else { return Vec::new() };
        let now = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        let restarts = self.restarts();
        // Where a pod ends in a back-off, both are the same run.
        let last = last.filter(|last| {
            last.container_id.is_none() || Some(&last.container_id) != now.map(|it| &it.container_id)
        });
        let mut ended = Vec::new();
        ended.extend(now.map(|by| Ended { restart: restarts, is_last: true, by }));
        // While it waits, the last run is the one before the next restart, which is counted when it begins.
        let is_last = now.is_none() && !self.is_running();
        let restart = if is_last { restarts } else { restarts.saturating_sub(1) };
        ended.extend(last.map(|by| Ended { restart, is_last, by }));
        ended
    }

    /// How many of its runs have ended, by the count of restarts.
    pub(super) fn ends(&self) -> u32 {
        let ended_now = !self.is_running() && !self.ended().is_empty();
        self.restarts().saturating_add(u32::from(ended_now))
    }

    /// Whether it is started again however it ends.
    pub(super) fn always_runs(&self, pod: &Pod) -> bool {
        match self.role {
            Role::Sidecar => true,
            Role::Init | Role::Ephemeral => false,
            Role::App => {
                let own = self.spec.and_then(|spec| spec.restart_policy.as_deref());
                let of_pod = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
                // The API server's default.
                own.or(of_pod).unwrap_or("Always") == "Always"
            }
        }
    }
}

/// A time that was set. One that was not is year 1 or 1970.
pub(super) fn time(time: Option<&Time>) -> Option<Timestamp> {
    time.map(|time| time.0).filter(|time| time.as_second() > 0)
}

/// Whole seconds between two times.
pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> Option<u64> {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).ok()
}

impl Ended<'_> {
    pub(super) fn started(&self) -> Option<Timestamp> {
        time(self.by.started_at.as_ref())
    }

    pub(super) fn finished(&self) -> Option<Timestamp> {
        time(self.by.finished_at.as_ref())
    }

    pub(super) fn ran_seconds(&self) -> Option<u64> {
        seconds_between(self.started()?, self.finished()?)
    }

    pub(super) fn reason(&self) -> &str {
        self.by.reason.as_deref().unwrap_or_default()
    }

    /// The id without the runtime's prefix.
    pub(super) fn container_id(&self) -> Option<&str> {
        let id = self.by.container_id.as_deref()?;
        Some(id.split_once("://").map_or(id, |(_, id)| id)).filter(|id| !id.is_empty())
    }
}

/// The pod's condition of this type.
pub(super) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

/// `status.reason`.
pub(super) fn pod_reason(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.reason.as_deref().filter(|reason| !reason.is_empty())
}

/// `status.message`.
pub(super) fn pod_message(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default()
}

/// `status.phase`.
pub(super) fn phase(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// The pod's controller or, where its name shows one, the controller of that.
pub(super) fn workload(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
    let hash = hash.map(String::as_str);
    let Workload { kind, name, .. } =
        Workload::of_controller(&owner.api_version, &owner.kind, &owner.name, hash);
    Some(format!("{kind}/{name}"))
}

/// When a run of any container ended last.
pub(super) fn last_ended(pod: &Pod) -> Option<Timestamp> {
    views(pod).iter().flat_map(View::ended).filter_map(|ended| ended.finished()).max()
}

/// Restarts of all containers.
pub(super) fn restarts(pod: &Pod) -> u32 {
    views(pod).iter().fold(0, |sum, view| sum.saturating_add(view.restarts()))
}

/// A pod that is not the one that is diagnosed.
#[must_use]
pub fn other(pod: &Pod) -> OtherPod {
    OtherPod {
        namespace: pod.metadata.namespace.clone(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
        restarts: Some(restarts(pod)),
        last_ended: last_ended(pod),
        ready: Some(condition(pod, "Ready").is_some_and(|ready| ready.status == "True")),
    }
}

/// The one that crashed most recently first, then those with trouble now, then the rest by name.
pub fn by_urgency(pods: &mut [Pod]) {
    let failed = |pod: &Pod| {
        let failures =
            views(pod).into_iter().flat_map(|view| view.ended()).filter(|ended| ended.by.exit_code != 0);
        failures.filter_map(|ended| ended.finished()).max()
    };
    let ready = |pod: &Pod| condition(pod, "Ready").is_some_and(|ready| ready.status == "True");
    pods.sort_by_cached_key(|pod| {
        let name = pod.metadata.name.clone();
        (std::cmp::Reverse(failed(pod)), ready(pod), std::cmp::Reverse(last_ended(pod)), name)
    });
}
