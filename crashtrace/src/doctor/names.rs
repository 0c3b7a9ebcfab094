//! PURE: the sources of the names of pods.

use schemars::JsonSchema;
use serde::Serialize;

use crate::kernel::plan::Blind;
use crate::schema::NameSource;

/// Trial of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NameTrial {
    pub source: NameSource,
    /// It answered.
    pub usable: bool,
    /// What the source knows, or why it did not answer.
    pub says: String,
    /// What to do about it, as an imperative; null where nothing is wrong.
    pub remedy: Option<String>,
    /// The host has a fault if it does not answer. A host without Kubernetes has no runtime's socket, and needs none.
    pub expected: bool,
    /// Why the API server gives no Events, though it gives names; null if it does, and of the runtime, which has none.
    pub no_events: Option<String>,
}

/// Trial of a kind of objects that `watch` is to write to the API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WriteTrial {
    /// `CrashReport` or `Event`.
    pub object: String,
    /// The API server has the resource and allows what the agent does. Admission was not asked.
    pub usable: bool,
    /// Why it cannot be written; null if it can.
    pub says: Option<String>,
    /// What to do about it, as an imperative; null where nothing is wrong.
    pub remedy: Option<String>,
}

impl WriteTrial {
    /// As a labelled line.
    pub(super) fn pair(&self) -> (&str, String) {
        let says = self.says.as_deref().unwrap_or("can be written");
        (&self.object, says.to_owned())
    }

    /// What is missing if it cannot be written.
    pub(super) fn blind(&self) -> Option<Blind> {
        let Self { object, usable: false, says, remedy } = self else { return None };
        Some(Blind {
            what: format!("no {object} is written to the API server; the stream has all of it"),
            why: says.clone().unwrap_or_default(),
            remedy: remedy.clone(),
            chosen: false,
        })
    }
}

/// What reports lack without the sources that did not answer.
pub(super) fn blind(trials: &[NameTrial]) -> Option<Blind> {
    let usable = |source| trials.iter().any(|trial| trial.source == source && trial.usable);
    let what = match (usable(NameSource::Kube), usable(NameSource::Cri)) {
        (true, _) => return without_events(trials),
        (false, true) => "workload, requests and limits of a pod",
        (false, false) => "the names of pods: they are known by UID and container id",
    };
    let amiss = trials.iter().find(|trial| trial.expected && !trial.usable)?;
    let who = match amiss.source {
        NameSource::Kube => "the API server",
        NameSource::Cri => "the container runtime",
    };
    Some(Blind {
        what: what.to_owned(),
        why: format!("{who} cannot be asked: {}", amiss.says),
        remedy: amiss.remedy.clone(),
        chosen: false,
    })
}

/// What reports lack if Events cannot be listed.
fn without_events(trials: &[NameTrial]) -> Option<Blind> {
    let (trial, why) = trials.iter().find_map(|trial| Some((trial, trial.no_events.clone()?)))?;
    Some(Blind {
        what: "why Kubernetes stopped a container, where only the pod's Events say so (failed probes)"
            .to_owned(),
        why,
        remedy: trial.remedy.clone(),
        chosen: false,
    })
}

impl NameTrial {
    /// As a labelled line.
    pub(super) fn pair(&self) -> (&'static str, String) {
        let name = match self.source {
            NameSource::Kube => "API server",
            NameSource::Cri => "container runtime",
        };
        let state = match (self.usable, self.expected) {
            (true, _) => "answers: ",
            (false, true) => "does not answer: ",
            (false, false) => "",
        };
        (name, format!("{state}{}", self.says))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(source: NameSource, usable: bool, expected: bool) -> NameTrial {
        let remedy = (!usable).then(|| "grant it".to_owned());
        NameTrial { source, usable, says: "403 Forbidden".to_owned(), remedy, expected, no_events: None }
    }

    #[test]
    fn without_events_the_reason_of_some_deaths_is_missed() {
        let kube = trial(NameSource::Kube, true, true);
        assert_eq!(blind(std::slice::from_ref(&kube)), None);
        let (no_events, remedy) =
            (Some("403 for Events".to_owned()), Some("grant list on events".to_owned()));
        let trials = [NameTrial { remedy, no_events, ..kube }, trial(NameSource::Cri, true, true)];
        let blind = blind(&trials).expect("it is missed");
        assert!(blind.what.contains("failed probes") && !blind.chosen, "{blind:?}");
        assert_eq!(
            (blind.why.as_str(), blind.remedy.as_deref()),
            ("403 for Events", Some("grant list on events"))
        );
    }

    #[test]
    fn names_are_missed_only_where_a_source_should_have_answered() {
        use NameSource::{Cri, Kube};
        for (kube, cri, expected) in [
            (Some((true, true)), Some((true, false)), None),
            (Some((true, true)), Some((false, true)), None),
            (Some((false, true)), Some((true, true)), Some("workload, requests")),
            (Some((false, true)), Some((false, false)), Some("the names of pods")),
            (None, Some((true, true)), None),
            (None, Some((false, true)), Some("the names of pods")),
            (None, Some((false, false)), None),
            (None, None, None),
        ] {
            let of = |source, trial: Option<(bool, bool)>| {
                trial.map(|(usable, expected)| self::trial(source, usable, expected))
            };
            let trials: Vec<_> = of(Kube, kube).into_iter().chain(of(Cri, cri)).collect();
            let blind = blind(&trials);
            let what = blind.as_ref().map(|blind| blind.what.as_str());
            match expected {
                Some(words) => {
                    assert!(what.is_some_and(|what| what.starts_with(words)), "{what:?}");
                    assert_eq!(blind.and_then(|blind| blind.remedy).as_deref(), Some("grant it"));
                }
                None => assert_eq!(what, None),
            }
        }
    }
}
