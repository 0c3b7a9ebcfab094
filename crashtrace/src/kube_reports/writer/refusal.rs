//! What a refusal of the API server is about: the object, its namespace, all objects, or no refusal at all. PURE.

use crate::pods::kube::{Failure, Problem};

/// What a failure means for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The namespace is gone, or goes.
    Gone,
    /// Somebody else has just changed the object.
    Conflict,
    /// This object is refused: by admission, a quota, a schema.
    OfObject,
    /// All objects of this kind are: there is no CRD, or no right.
    OfAll,
    /// The server does not answer, or not now.
    Trouble,
}

impl Refusal {
    pub(super) fn of(failure: &Failure) -> Self {
        match failure.problem.code() {
            Some(403) if failure.namespace_goes => Self::Gone,
            Some(404) if failure.is_without("namespaces") => Self::Gone,
            // The path itself is unknown, and the answer plain text; or it names no object.
            Some(404) => Self::OfAll,
            // The authorizer says which right is missing; admission and quotas say something else.
            Some(403) if is_of_a_right(&failure.problem) => Self::OfAll,
            Some(409) => Self::Conflict,
            Some(401 | 408 | 429) | None => Self::Trouble,
            Some(code) if code >= 500 => Self::Trouble,
            Some(_) => Self::OfObject,
        }
    }
}

fn is_of_a_right(problem: &Problem) -> bool {
    let Problem::Refused { message, .. } = problem else { return false };
    message.contains("cannot patch resource") || message.contains("cannot create resource")
}

/// What to do about it, as a phrase.
pub(super) fn remedy(refusal: Refusal, problem: &Problem) -> &'static str {
    match (refusal, problem.code()) {
        (Refusal::OfAll, Some(404)) => "install the CRD: kubectl apply --filename deploy/reports/crd.yaml",
        (Refusal::OfAll, _) => "grant create and patch, as deploy/reports/rbac.yaml does",
        (Refusal::OfObject, _) => {
            "look at what the server says: a policy of the cluster, a quota, or a CRD that is not of this version"
        }
        (Refusal::Gone | Refusal::Conflict, _) => "nothing: it is tried again",
        (Refusal::Trouble, _) => problem.remedy(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, message: &str, about: Option<&str>) -> Failure {
        let problem = Problem::Refused { code, message: message.to_owned() };
        Failure { about: about.map(str::to_owned), ..Failure::from(problem) }
    }

    #[test]
    fn what_the_server_says_tells_what_is_refused() {
        let right = r#"crashreports.crashtrace.dev "p" is forbidden: User "u" cannot patch resource "crashreports" in API group "crashtrace.dev""#;
        let policy = "ValidatingAdmissionPolicy 'x' with binding 'y' denied request: not this node's pod";
        let webhook = r#"admission webhook "w" denied the request: no"#;
        for (failure, is) in [
            (refused(404, "404 page not found", None), Refusal::OfAll),
            (refused(404, r#"namespaces "shop" not found"#, Some("namespaces")), Refusal::Gone),
            (Failure { namespace_goes: true, ..refused(403, "is being terminated", None) }, Refusal::Gone),
            (refused(403, right, Some("crashreports")), Refusal::OfAll),
            (refused(403, webhook, None), Refusal::OfObject),
            (refused(422, policy, Some("crashreports")), Refusal::OfObject),
            (refused(403, "exceeded quota: objects", Some("crashreports")), Refusal::OfObject),
            (refused(409, "the object has been modified", Some("crashreports")), Refusal::Conflict),
            (refused(401, "Unauthorized", None), Refusal::Trouble),
            (refused(429, "Too many requests", None), Refusal::Trouble),
            (refused(503, "apiserver is shutting down", None), Refusal::Trouble),
            (Failure::from(Problem::Broken("reset".to_owned())), Refusal::Trouble),
        ] {
            assert_eq!(Refusal::of(&failure), is, "{failure:?}");
            assert!(!remedy(is, &failure.problem).is_empty());
        }
    }
}
