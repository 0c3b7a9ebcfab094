//! Which pod's Events are listed next, and what is answered meanwhile. PURE: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::EventOptions;
use super::event::{Latest, MOST_EVENTS};
use crate::names::{Events, PodEvent};
use crate::pods::kube::problem::Problem;

/// The most pods that are asked about at a time.
pub(super) const MOST_PODS: usize = 64;
/// Lists that may follow each other at once. The deaths of one pod's containers come together, and those of a drained node.
pub(super) const BURST: u32 = 8;
/// Then there is one in this time.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The most runs of a pod that are told apart.
const MOST_RUNS: usize = 16;

/// What the task is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// List this pod's Events, now.
    List { namespace: Box<str>, uid: Box<str> },
    /// Look again then, or when somebody asks.
    At(Instant),
    /// Nothing until somebody asks.
    Idle,
}

/// A message for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Trouble { said: String, remedy: &'static str },
    Well,
}

/// A whole list.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    list: Vec<PodEvent>,
    /// Why some of it is not known.
    missing: Option<String>,
}

impl Outcome {
    /// Of the Events that came, before the list ended or was given up.
    pub(super) fn of(latest: Latest, more: bool) -> Self {
        let Latest { list, left_out } = latest;
        let missing = match (more, left_out) {
            (true, _) => Some("the pod has so many Events that not all were read".to_owned()),
            (false, 0) => None,
            (false, _) => Some(format!("the pod has more Events than the {MOST_EVENTS} that are kept")),
        };
        Self { list, missing }
    }
}

/// A pod that was asked about.
#[derive(Debug)]
struct Asked {
    namespace: Box<str>,
    /// The runs that were asked about, and when first.
    runs: Vec<(Option<Box<str>>, Instant)>,
    begun: Instant,
    last: Instant,
    /// When its Events were last listed, or that was tried.
    tried: Option<Instant>,
    /// The last list that came, and when it had begun.
    got: Option<(Instant, Outcome)>,
}

impl Asked {
    /// When it is due, if it is.
    fn due(&self, now: Instant, options: &EventOptions) -> Option<Instant> {
        let unknown = |first: Instant| self.got.as_ref().is_none_or(|(begun, _)| *begun < first);
        let unknown = self.runs.iter().any(|(_, first)| unknown(*first));
        let open = self.runs.iter().any(|(_, first)| now < *first + options.soon);
        let asked = self.tried.is_none_or(|tried| self.last > tried) && now < self.last + options.soon;
        let is_due = unknown && open || asked && (unknown || open);
        // Those that were never listed come first.
        is_due.then(|| self.tried.map_or(self.begun, |tried| tried + options.again))
    }
}

/// [`Problem::kind`].
type Kind = (std::mem::Discriminant<Problem>, Option<u16>);

#[derive(Debug)]
struct Trouble {
    said: String,
    until: Instant,
    kind: Kind,
    /// So often in a row.
    times: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Board {
    options: EventOptions,
    /// By UID.
    pods: HashMap<Box<str>, Asked>,
    /// When lists, had they come one in [`INTERVAL`], would be through.
    paid: Option<Instant>,
    trouble: Option<Trouble>,
    /// The kind of trouble that the log has, as long as it lasts.
    told: Option<Kind>,
}

impl Board {
    pub(super) fn new(options: EventOptions) -> Self {
        Self { options, pods: HashMap::new(), paid: None, trouble: None, told: None }
    }

    /// What is known of this pod's Events, for the end of this run.
    pub(super) fn ask(&mut self, namespace: &str, uid: &str, run: Option<&str>, now: Instant) -> Events {
        self.forget(now);
        if self.pods.len() >= MOST_PODS && !self.pods.contains_key(uid) {
            self.drop_one_that_is_over(now);
        }
        if self.pods.len() >= MOST_PODS && !self.pods.contains_key(uid) {
            let missing = format!("the Events of {MOST_PODS} other pods are asked for, and those come first");
            return Events { missing: Some(missing), ..Events::default() };
        }
        let pod = self.pods.entry(uid.into()).or_insert_with(|| Asked {
            namespace: namespace.into(),
            runs: Vec::new(),
            begun: now,
            last: now,
            tried: None,
            got: None,
        });
        pod.last = now;
        let first = pod.runs.iter().find(|(id, _)| id.as_deref() == run).map(|(_, first)| *first);
        let first = first.unwrap_or_else(|| {
            if pod.runs.len() >= MOST_RUNS {
                pod.runs.remove(0);
            }
            pod.runs.push((run.map(Into::into), now));
            now
        });
        let end = first + self.options.soon;
        // A pause that is longer than that leaves nothing to wait for.
        let soon = now < end && self.trouble.as_ref().is_none_or(|trouble| trouble.until < end);
        match &pod.got {
            Some((begun, outcome)) if *begun >= first => {
                Events { list: outcome.list.clone(), missing: outcome.missing.clone(), soon }
            }
            _ => {
                let said = self.trouble.as_ref().map(|trouble| trouble.said.clone());
                let waits = || "the API server has not sent the pod's Events yet".to_owned();
                Events { list: Vec::new(), missing: Some(said.unwrap_or_else(waits)), soon }
            }
        }
    }

    /// What to do now. A list that is to be made counts as begun.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.forget(now);
        let due = self.pods.iter().filter_map(|(uid, pod)| Some((pod.due(now, &self.options)?, uid.clone())));
        let Some((at, uid)) = due.min() else {
            let last = self.pods.values().map(|pod| pod.last).min();
            return last.map_or(Next::Idle, |last| Next::At(last + self.options.kept));
        };
        let paused = self.trouble.as_ref().map(|trouble| trouble.until);
        let paid = self.paid.map_or(now, |paid| paid.max(now));
        let free = paid.checked_sub(INTERVAL * (BURST - 1)).unwrap_or(now);
        let at = at.max(paused.unwrap_or(at)).max(free);
        if at > now {
            return Next::At(at);
        }
        self.paid = Some(paid + INTERVAL);
        let Some(pod) = self.pods.get_mut(&uid) else { return Next::Idle };
        pod.tried = Some(now);
        Next::List { namespace: pod.namespace.clone(), uid }
    }

    /// The list that was begun last has come.
    pub(super) fn got(&mut self, uid: &str, outcome: Outcome) -> Option<Told> {
        if let Some(pod) = self.pods.get_mut(uid)
            && let Some(begun) = pod.tried
        {
            pod.got = Some((begun, outcome));
        }
        self.trouble = None;
        self.told.take().map(|_| Told::Well)
    }

    /// It has not: nothing is listed until then.
    pub(super) fn fails(&mut self, problem: &Problem, now: Instant, until: Instant) -> Option<Told> {
        let kind = problem.kind();
        let before = self.trouble.take().filter(|trouble| trouble.kind == kind);
        let times = before.map_or(0, |before| before.times).saturating_add(1);
        let (said, remedy) = words(problem);
        self.trouble = Some(Trouble { said: said.clone(), until: until.max(now), kind, times });
        // One of a moment is not in the log; nor is a fault, which is there already.
        let lasts = times >= 2 && !matches!(problem, Problem::Fault(_));
        let is_new = lasts && self.told.replace(kind) != Some(kind);
        is_new.then_some(Told::Trouble { said, remedy })
    }

    /// The last answer was a refusal too: the right is missing. A server that starts refuses for a moment.
    pub(super) fn is_forbidden(&self) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.kind.1 == Some(403))
    }

    /// Trouble that lasts.
    pub(super) fn problem(&self) -> Option<String> {
        let lasts = |trouble: &&Trouble| self.told == Some(trouble.kind);
        self.trouble.as_ref().filter(lasts).map(|trouble| trouble.said.clone())
    }

    /// The pod that was asked about longest ago, of those of which no Event is awaited any more.
    fn drop_one_that_is_over(&mut self, now: Instant) {
        let soon = self.options.soon;
        let is_over = |pod: &Asked| pod.runs.iter().all(|(_, first)| now >= *first + soon);
        let over = self.pods.iter().filter(|(_, pod)| is_over(pod)).min_by_key(|(_, pod)| pod.last);
        if let Some(uid) = over.map(|(uid, _)| uid.clone()) {
            self.pods.remove(&uid);
        }
    }

    fn forget(&mut self, now: Instant) {
        let kept = self.options.kept;
        self.pods.retain(|_, pod| now.saturating_duration_since(pod.last) < kept);
    }
}

/// The problem, and what to do about it.
pub(in crate::pods::kube) fn words(problem: &Problem) -> (String, &'static str) {
    match problem {
        Problem::Refused { code: 403, message } => (
            format!("the API server refuses the pod's Events: 403 {message}; grant list on events"),
            "bind the service account, or the user, to a ClusterRole with list on events",
        ),
        other => (format!("the pod's Events: {other}"), other.remedy()),
    }
}

#[cfg(test)]
mod tests;
