//! All sources of pods as one: the API server for everything, the container runtime where it does not answer (yet).
//!
//! | the API server's watch | the runtime's list | the names | missing |
//! |---|---|---|---|
//! | has the container | | from the API server | nothing |
//! | has the pod, not the container | has the container | from the API server, the container by its name from the runtime | nothing |
//! | has the pod, not the container | has the sandbox | from the API server, the container is the sandbox | nothing |
//! | has the pod, not the container | does not have it | the pod's | the container |
//! | does not have the pod | has it | from the runtime | workload, requests and limits, if the API server is a source |
//! | does not have the pod | does not have it | none | all |
//! | has it in another pod, or otherwise than the path | | none | all: what does not fit (`pods/confirm.rs`) |
//! | | has it in another pod | none | the same |
//!
//! A static pod is looked up in the runtime in any case: any client that may create pods can write the annotation that ties a pod
//! of the API server to its hash. Where the mirror does not fit the path and the runtime does, the runtime names it.

use std::sync::Arc;
use std::time::Instant;

use super::confirm;
use super::cri::cache::Listed;
use super::cri::{Cri, CriStatus};
use super::index::IndexedContainer;
use super::pod::Pod;
use crate::names::{Answer, ContainerNames, Events, Names, NamesState, NamesStatus, PodNames, Who};
use crate::schema::NameSource;

/// A watch of the API server's pods: answers from memory.
pub trait PodWatch: std::fmt::Debug {
    /// The container with this id, and its pod.
    fn find_container(&self, id: &str) -> Option<IndexedContainer>;
    /// The pod with this UID or, of a static pod, this config hash.
    fn find_pod(&self, uid: &str) -> Option<Arc<Pod>>;
    /// Whether several pods claim this config hash, so that none of them is believed.
    fn disputed(&self, hash: &str) -> bool;
    /// The Events of the pod with this UID or, of a static pod, this config hash, for the end of this container.
    fn events(&self, namespace: &str, uid: &str, container_id: Option<&str>) -> Events;
    /// How far it can be relied on.
    fn reliance(&self) -> Reliance;
    /// How it goes.
    fn status(&self) -> NamesStatus;
}

/// How far a watch can be relied on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reliance {
    /// It has not been heard for so long; `None` while it is.
    pub stale_seconds: Option<u64>,
    /// Why it may not know of an existing pod, as a phrase.
    pub reason: String,
    /// It may know more in a moment.
    pub soon: bool,
    /// It cannot be reached now, and may know more when it can.
    pub later: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Directory {
    /// The API server's watch, if it is a source.
    pub kube: Option<Box<dyn PodWatch>>,
    /// The container runtime, if it is a source.
    pub cri: Option<Cri>,
    /// The node's name, as the API server has it.
    pub node: Option<String>,
    /// Why there is no source, where there is none.
    pub nobody: &'static str,
}

impl Directory {
    /// The sources.
    #[must_use]
    pub fn sources(&self) -> Vec<NameSource> {
        let kube = self.kube.iter().map(|_| NameSource::Kube);
        kube.chain(self.cri.iter().map(|_| NameSource::Cri)).collect()
    }
}

impl PodNames for Directory {
    fn find(&mut self, who: Who<'_>) -> Answer {
        if self.kube.is_none() && self.cri.is_none() {
            return Answer { missing: Some(self.nobody.to_owned()), ..Answer::default() };
        }
        let watched = self.kube.as_ref().map(|kube| Watched::of(kube.as_ref(), who));
        let runtime = self.cri.as_ref().filter(|_| asks_runtime(who, watched.as_ref()));
        let listed = runtime.map(|cri| Asked::of(cri, who));
        Told { who, watched, listed, node: self.node.as_deref() }.answer()
    }

    /// Kubernetes has the Events of a static pod by its config hash, as the path does (or by the UID in its manifest): those of the
    /// mirror are none of the containers'.
    fn events(&mut self, who: Who<'_>) -> Events {
        if self.kube.is_none() {
            let missing = Some("the API server is not a source, and only it has Events".to_owned());
            return Events { missing, ..Events::default() };
        }
        let Answer { names, missing, soon, .. } = self.find(who);
        let namespace = names.and_then(|names| names.namespace);
        match (&self.kube, namespace) {
            (Some(kube), Some(namespace)) => {
                let pod = kube.find_pod(who.pod_uid).filter(|pod| pod.config_hash.is_none());
                let uid = pod.as_deref().map_or(who.pod_uid, |pod| &*pod.uid);
                kube.events(&namespace, uid, who.container_id)
            }
            _ => Events { list: Vec::new(), missing, soon },
        }
    }

    fn status(&self) -> Vec<NamesStatus> {
        let kube = self.kube.iter().map(|kube| kube.status());
        kube.chain(self.cri.iter().map(|cri| of_cri(cri.status(), Instant::now()))).collect()
    }
}

/// Whether the runtime is a source for this pod too. Not without need: an unknown id makes it list anew. PURE.
fn asks_runtime(who: Who<'_>, watched: Option<&Watched>) -> bool {
    let is_static = confirm::is_by_hash(who) || watched.is_some_and(Watched::is_mirror);
    let is_known = watched.is_some_and(|watched| {
        watched.container.is_some() || watched.pod.is_some() && who.container_id.is_none()
    });
    is_static || !is_known
}

/// How it goes with the runtime. PURE.
fn of_cri(status: CriStatus, now: Instant) -> NamesStatus {
    let problem = match status.problem {
        None if status.listed == 0 => Some("the container runtime has not answered yet".to_owned()),
        problem => problem,
    };
    NamesStatus {
        source: NameSource::Cri,
        state: if problem.is_some() { NamesState::Degraded } else { NamesState::Synced },
        problem,
        pods: Some(status.pods as u64),
        containers: Some(status.containers as u64),
        refused_pods: None,
        age_seconds: status.listed_at.map(|at| now.saturating_duration_since(at).as_secs()),
    }
}

/// The watch's answer.
#[derive(Debug, Default)]
struct Watched {
    container: Option<IndexedContainer>,
    pod: Option<Arc<Pod>>,
    stale_seconds: Option<u64>,
    /// Why it does not know more.
    reason: String,
    /// It may know more in a moment.
    soon: bool,
    /// It cannot be reached now.
    later: bool,
}

impl Watched {
    fn of(kube: &dyn PodWatch, who: Who<'_>) -> Self {
        let Reliance { stale_seconds, reason, soon, later } = kube.reliance();
        if kube.disputed(who.pod_uid) {
            let reason = "several pods of the API server claim to be the mirror of this static pod \
                (kubernetes.io/config.mirror), and none of them is believed";
            return Self { reason: reason.to_owned(), stale_seconds, ..Self::default() };
        }
        let container = who.container_id.and_then(|id| kube.find_container(id));
        let pod = container.as_ref().map(|found| Arc::clone(&found.pod));
        let pod = pod.or_else(|| kube.find_pod(who.pod_uid));
        Self { container, pod, stale_seconds, reason, soon, later }
    }

    /// It is the mirror of a static pod, which is not what kubelet runs.
    fn is_mirror(&self) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.config_hash.is_some())
    }

    /// Without the names of a mirror that does not fit the path; the reason says what does not fit.
    fn without_mirror(self, reason: String) -> Self {
        Self { container: None, pod: None, reason, soon: false, later: false, ..self }
    }
}

/// The runtime's answer.
#[derive(Debug, Default)]
struct Asked {
    found: Option<Listed>,
    reason: String,
    soon: bool,
}

impl Asked {
    fn of(cri: &Cri, who: Who<'_>) -> Self {
        let found = match who.container_id {
            Some(id) => cri.look(id),
            None => cri.look_for_pod(who.pod_uid).map(Listed::Sandbox),
        };
        // The lookup made it list anew, and the list is known within a second or two. Once a list lacks it, no other will have it.
        let (found, soon) = match found {
            Ok(found) => (Some(found), false),
            Err(soon) => (None, soon),
        };
        let status = cri.status();
        let reason = match status.problem {
            _ if found.is_some() => String::new(),
            Some(problem) => format!("the container runtime: {problem}"),
            None if status.listed == 0 => "the container runtime has not answered yet".to_owned(),
            None => "the container runtime does not list it".to_owned(),
        };
        Self { found, reason, soon }
    }
}

/// The answers of both about one place in the tree.
#[derive(Debug)]
struct Told<'a> {
    who: Who<'a>,
    watched: Option<Watched>,
    listed: Option<Asked>,
    /// This node's name.
    node: Option<&'a str>,
}

impl Told<'_> {
    fn listed(&self) -> Option<&Listed> {
        self.listed.as_ref()?.found.as_ref()
    }

    /// What contradicts the mirror of a static pod, as a phrase, where the runtime agrees with the path. The mirror is a copy that
    /// the API server may have changed (its admission sets requests, and so the class, for kubelet's static pods too), and a
    /// manifest may set a UID, which the path then has in place of a hash. kubelet gave the runtime its names.
    fn against_mirror(&self) -> Option<String> {
        let watched = self.watched.as_ref().filter(|watched| watched.is_mirror())?;
        let against = confirm::against_pod(self.who, watched.pod.as_deref()?, self.node)?;
        confirm::against_listed(self.who, self.listed()?).is_none().then_some(against)
    }

    /// What contradicts any name, as a phrase.
    fn contradiction(&self) -> Option<String> {
        let pod = self.watched.as_ref().and_then(|watched| watched.pod.as_deref());
        let all = [
            pod.and_then(|pod| confirm::against_pod(self.who, pod, self.node)),
            self.listed().and_then(|listed| confirm::against_listed(self.who, listed)),
        ];
        let all: Vec<_> = all.into_iter().flatten().collect();
        if all.is_empty() { confirm::against_both(pod?, self.listed()?) } else { Some(all.join("; ")) }
    }

    /// Puts both together. PURE.
    fn answer(mut self) -> Answer {
        if let Some(reason) = self.against_mirror() {
            self.watched = self.watched.map(|watched| watched.without_mirror(reason));
        }
        if let Some(reason) = self.contradiction() {
            return Answer { missing: Some(reason), ..Answer::default() };
        }
        together(self.who, self.watched, self.listed.unwrap_or_default())
    }
}

/// The answer where nothing contradicts it.
fn together(who: Who<'_>, watched: Option<Watched>, listed: Asked) -> Answer {
    let Asked { found: listed, reason: runtime_reason, soon: runtime_soon } = listed;
    let Some(watched) = watched else {
        let missing = listed.is_none().then_some(runtime_reason);
        let names = listed.map(|listed| of_runtime(who, &listed));
        return Answer { soon: missing.is_some() && runtime_soon, later: false, names, missing };
    };
    let stale = watched.stale_seconds;
    if let Some(found) = watched.container
        && let Some(container) = found.pod.containers.get(found.container)
    {
        let names = Names::of_pod(&found.pod, stale).with_container(
            container,
            found.restart_count,
            found.ended.as_ref(),
        );
        return Answer { names: Some(names), ..Answer::default() };
    }
    let reasons = [watched.reason, runtime_reason].into_iter().filter(|reason| !reason.is_empty());
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    let Some(pod) = watched.pod else {
        let names = listed.map(|listed| of_runtime(who, &listed));
        let missing = match &names {
            Some(_) => format!(
                "only the container runtime names it, which knows no workload and no limits: {reasons}"
            ),
            None => reasons,
        };
        return Answer {
            soon: watched.soon || names.is_none() && runtime_soon,
            later: watched.later,
            names,
            missing: Some(missing),
        };
    };
    let names = Names::of_pod(&pod, stale);
    if who.container_id.is_none() {
        return Answer { names: Some(names), ..Answer::default() };
    }
    match listed {
        Some(Listed::Sandbox(_)) => Answer {
            names: Some(Names { container: Some(ContainerNames::sandbox()), ..names }),
            ..Answer::default()
        },
        Some(Listed::Container(listed)) => {
            let container = pod.containers.iter().find(|it| Some(&*it.name) == listed.name.as_deref());
            let names = match container {
                Some(container) => names.with_container(container, listed.attempt, None),
                None => Names {
                    container: Names::of_runtime(&Listed::Container(listed), None).container,
                    ..names
                },
            };
            Answer { names: Some(names), ..Answer::default() }
        }
        None => Answer {
            names: Some(names),
            missing: Some(format!("the pod is known, and no container of this id in it: {reasons}")),
            soon: watched.soon || runtime_soon,
            later: watched.later,
        },
    }
}

fn of_runtime(who: Who<'_>, listed: &Listed) -> Names {
    let names = Names::of_runtime(listed, None);
    if who.container_id.is_none() { names.without_container() } else { names }
}

#[cfg(test)]
pub(crate) mod tests;
mod watch;
