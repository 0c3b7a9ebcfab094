//! What the command is asked about: `[NAMESPACE/]POD`, or a workload as `kubectl` names it. PURE.

use std::fmt;
use std::str::FromStr;

use crate::names::{is_label, is_name};

/// A workload whose pods are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum WorkloadKind {
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
}

impl WorkloadKind {
    /// As the API has it: `Deployment`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        self.into()
    }

    /// As RBAC and `kubectl` have it: `deployments.apps`.
    #[must_use]
    pub fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments.apps",
            Self::StatefulSet => "statefulsets.apps",
            Self::DaemonSet => "daemonsets.apps",
            Self::Job => "jobs.batch",
        }
    }

    /// The words that `kubectl` takes for it.
    fn of_word(word: &str) -> Option<Self> {
        match word {
            "deploy" | "deployment" | "deployments" => Some(Self::Deployment),
            "sts" | "statefulset" | "statefulsets" => Some(Self::StatefulSet),
            "ds" | "daemonset" | "daemonsets" => Some(Self::DaemonSet),
            "job" | "jobs" => Some(Self::Job),
            _ => None,
        }
    }
}

/// A pod, or a workload with its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Absent: `-n` or the context says it.
    pub namespace: Option<String>,
    /// Absent for a pod.
    pub workload: Option<WorkloadKind>,
    pub name: String,
}

impl Target {
    /// As a `CrashReport` and a pod's owner name it: `Deployment/api`; absent for a pod.
    #[must_use]
    pub fn workload_name(&self) -> Option<String> {
        Some(format!("{}/{}", self.workload?.kind(), self.name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.workload, &self.namespace) {
            (Some(kind), _) => write!(f, "{} {}", kind.kind(), self.name),
            (None, Some(namespace)) => write!(f, "pod {namespace}/{}", self.name),
            (None, None) => write!(f, "pod {}", self.name),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// A word that is a kind is one: a pod in a namespace of that name is reached with `-n`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (before, name) = text.split_once('/').map_or((None, text), |(before, name)| (Some(before), name));
        if !is_name(name) {
            return Err(format!("`{name}` cannot be a name in Kubernetes"));
        }
        let of = |namespace: Option<&str>, workload| Self {
            namespace: namespace.map(str::to_owned),
            workload,
            name: name.to_owned(),
        };
        match before {
            None | Some("pod" | "pods" | "po") => Ok(of(None, None)),
            Some(word) => match WorkloadKind::of_word(word) {
                Some(kind) => Ok(of(None, Some(kind))),
                None if is_label(word) => Ok(of(Some(word), None)),
                None => Err(format!("`{word}` is neither a namespace nor deploy, sts, ds, job or pod")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(Option<String>, Option<WorkloadKind>, String)> {
        text.parse::<Target>().ok().map(|it| (it.namespace, it.workload, it.name))
    }

    #[test]
    fn pods_and_workloads_are_told_apart() {
        let pod =
            |namespace: Option<&str>, name: &str| Some((namespace.map(str::to_owned), None, name.to_owned()));
        assert_eq!(parsed("api-7f9c"), pod(None, "api-7f9c"));
        assert_eq!(parsed("shop/api-7f9c"), pod(Some("shop"), "api-7f9c"));
        assert_eq!(parsed("pod/api-7f9c"), pod(None, "api-7f9c"));
        for (word, kind) in [
            ("deploy", WorkloadKind::Deployment),
            ("deployments", WorkloadKind::Deployment),
            ("sts", WorkloadKind::StatefulSet),
            ("ds", WorkloadKind::DaemonSet),
            ("job", WorkloadKind::Job),
        ] {
            assert_eq!(parsed(&format!("{word}/api")), Some((None, Some(kind), "api".to_owned())));
        }
        let workload: Target = "deploy/api".parse().unwrap();
        assert_eq!(workload.workload_name().as_deref(), Some("Deployment/api"));
        assert_eq!(workload.to_string(), "Deployment api");
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        for text in ["", "/", "shop/", "/api", "a/b/c", "Shop/api", "shop/..", "shop/api?x", "a b", "é", "-a"]
        {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
