//! Which incidents are reported: `--cause`, `--namespace`, and of ends of containers `--exits`. PURE.

use crate::classify::Verdict;
use crate::correlate::ContainerEnd;
use crate::enrich::Case;
use crate::event::WaitStatus;
use crate::names::RestartPolicy;
use crate::schema::Cause;

/// Selects incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these causes; all if empty.
    pub causes: Vec<Cause>,
    /// Only incidents of pods in these namespaces; all incidents if empty.
    pub namespaces: Vec<String>,
    /// Which ends of containers.
    pub exits: Exits,
}

/// Ends of containers to report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exits {
    /// Failures only.
    #[default]
    Failed,
    All,
    None,
}

/// What the end of a container was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Failed,
    /// It was done: it ended with code 0, and is not started again.
    Well,
    /// Kubernetes ended it on purpose.
    Stopped,
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
        wanted && self.is_in_namespace(case, verdict)
    }

    /// The same by the namespace alone.
    #[must_use]
    pub fn is_in_namespace(&self, case: &Case, verdict: &Verdict) -> bool {
        self.namespaces.is_empty() || self.concerns_a_pod(case, verdict)
    }

    /// Whether such an end of a container is to be reported.
    #[must_use]
    pub fn reports(&self, ending: Ending) -> bool {
        match self.exits {
            Exits::Failed => ending == Ending::Failed,
            Exits::All => true,
            Exits::None => false,
        }
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

/// What this end was. One whose status could not be read has failed: it must not be hidden.
#[must_use]
pub fn ending(case: &Case, end: &ContainerEnd, verdict: &Verdict) -> Ending {
    let code = end.event.status.map(WaitStatus::exit_code);
    let policy = || case.exited()?.owner.names.as_deref()?.restart_policy();
    match verdict.cause {
        Cause::Stopped => Ending::Stopped,
        // A probe that fails may end it with code 0.
        Cause::HealthCheck | Cause::CgroupOom | Cause::SystemOom => Ending::Failed,
        _ if code == Some(0) && policy() != Some(RestartPolicy::Always) => Ending::Well,
        _ => Ending::Failed,
    }
}
