//! Why the API server gives no answer, in words with what to do. PURE but for the types of kube's errors.

use std::time::Duration;

use kube::core::Status;

use super::diagnosis::Outcome;
use crate::harmless::one_line;

/// Characters of a text of others.
const LONGEST_TEXT: usize = 300;

/// A request, as RBAC names it.
#[derive(Clone, Debug)]
pub(super) struct Asked<'a> {
    pub(super) verb: &'static str,
    /// `pods`, `deployments.apps`
    pub(super) resource: &'a str,
    pub(super) subresource: Option<&'static str>,
    pub(super) namespace: &'a str,
    /// ` --context x`, as the user gave it.
    pub(super) options: &'a str,
}

impl Asked<'_> {
    /// The command that says whether the user has the right.
    fn check(&self) -> String {
        let subresource = self.subresource.map_or_else(String::new, |it| format!(" --subresource={it}"));
        let Self { verb, resource, namespace, options, .. } = self;
        format!("kubectl auth can-i {verb} {resource}{subresource} -n {namespace}{options}")
    }

    fn what(&self) -> String {
        let subresource = self.subresource.map_or_else(String::new, |it| format!("/{it}"));
        format!("{} {}{subresource} in namespace {}", self.verb, self.resource, self.namespace)
    }
}

/// An answer that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server knows such objects, and has none of this name.
    NoObject(String),
    /// The server does not know such objects.
    NoResource(String),
    Forbidden(String),
    Unauthorized(String),
    Failed(String),
}

impl Refusal {
    pub(super) fn of_status(asked: &Asked<'_>, status: &Status) -> Self {
        let said = one_line(&status.message, LONGEST_TEXT);
        match status.code {
            401 => Self::Unauthorized(format!(
                "the API server does not accept your credentials (401 {said}): log in again, or name another context; `kubectl auth \
                 whoami{}` says who you are to it",
                asked.options
            )),
            403 => Self::Forbidden(format!(
                "you have no right to {} (403): `{}` must say yes; ask for a Role with {} on {}. The API server says: {said}",
                asked.what(),
                asked.check(),
                asked.verb,
                asked.resource,
            )),
            // A path that the server does not have gives text, an object that it does not have a Status that names its kind.
            404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => {
                Self::NoObject(said)
            }
            404 => Self::NoResource(said),
            code => Self::Failed(format!("the API server refuses to {} ({code}): {said}", asked.what())),
        }
    }

    pub(super) fn of(asked: &Asked<'_>, error: &kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::of_status(asked, status);
        }
        let mut root: &dyn std::error::Error = error;
        while let Some(source) = root.source() {
            root = source;
        }
        let root = one_line(&root.to_string(), LONGEST_TEXT);
        Self::Failed(match error {
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => {
                format!("the answer to {} is not of the Kubernetes API: {root}", asked.what())
            }
            kube::Error::Auth(_) => format!("the credentials of the kubeconfig cannot be had: {root}"),
            _ => format!(
                "cannot reach the API server to {}: {root}; check the network (VPN, proxy, firewall) and the server and its CA in the \
                 kubeconfig",
                asked.what()
            ),
        })
    }

    pub(super) fn silent(asked: &Asked<'_>, within: Duration) -> Self {
        Self::Failed(format!("the API server did not answer within {} s: {}", within.as_secs(), asked.what()))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::NoObject(text)
            | Self::NoResource(text)
            | Self::Forbidden(text)
            | Self::Unauthorized(text)
            | Self::Failed(text) => text,
        }
    }

    /// For a source that the diagnosis can do without.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::NoObject(_) => Outcome::None,
            Self::NoResource(_) => Outcome::Unsupported,
            Self::Forbidden(_) => Outcome::Forbidden,
            Self::Unauthorized(_) | Self::Failed(_) => Outcome::Failed,
        }
    }
}
