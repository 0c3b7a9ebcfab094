//! Which incidents are reported: `--cause` and `--namespace`. PURE.

use crate::classify::Verdict;
use crate::enrich::Case;
use crate::schema::Cause;

/// Selects incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these causes; all if empty.
    pub causes: Vec<Cause>,
    /// Only incidents of pods in these namespaces; all incidents if empty.
    pub namespaces: Vec<String>,
}

impl Filter {
    /// Whether the incident is to be reported.
    ///
    /// A pod's namespace is not in its cgroup's path. A claim of a pod is no pod. An incident with a pod whose namespace is
    /// unknown passes: missing a wanted incident would be worse than showing an unwanted one. If its namespace becomes known,
    /// and is another one, there is no further revision.
    #[must_use]
    pub fn lets_through(&self, case: &Case, verdict: &Verdict) -> bool {
        let wanted = self.causes.is_empty() || self.causes.contains(&verdict.cause);
        wanted && (self.namespaces.is_empty() || self.concerns_a_pod(case, verdict))
    }

    fn concerns_a_pod(&self, case: &Case, verdict: &Verdict) -> bool {
        let limit = verdict.limit.as_ref().map(|limit| &limit.party);
        let mut parties = case.owners.parties().chain(limit);
        parties.any(|party| {
            let in_a_pod = party.placement.is_in_pod();
            let namespace = party.owner.names.as_ref().and_then(|names| names.namespace.as_ref());
            in_a_pod && namespace.is_none_or(|namespace| self.namespaces.contains(namespace))
        })
    }
}
