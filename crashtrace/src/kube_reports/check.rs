//! Looks once whether reports and Events could be written, for `crashtrace doctor`: nothing is written.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::Object;
use super::writer::JSON;
use crate::crash_report::{GROUP, PLURAL, VERSION};
use crate::pods::kube::{self, Connection, Failure, Problem};

/// Why objects of a kind cannot be written, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amiss {
    pub says: String,
    pub remedy: String,
}

/// Asks the API server whether it has the resource, and whether it allows what the agent does. Admission is not asked: it decides on an
/// object.
///
/// # Errors
/// They cannot be written.
pub async fn check(options: &kube::Options, object: Object, deadline: Duration) -> Result<(), Amiss> {
    let looked = timeout(deadline, look(options, object)).await;
    looked.unwrap_or_else(|_| Err(amiss(&Problem::Silent(deadline))))
}

async fn look(options: &kube::Options, object: Object) -> Result<(), Amiss> {
    let failed = |failure: Failure| amiss(&failure.problem);
    let connection = Connection::open(options).await.map_err(|problem| amiss(&problem))?;
    let (group, resource) = match object {
        Object::Report => (GROUP, PLURAL),
        Object::Event => ("", "events"),
    };
    if object == Object::Report {
        match connection.get(&format!("/apis/{GROUP}/{VERSION}")).await {
            Ok(_) => {}
            Err(failure) if failure.problem.code() == Some(404) => {
                return Err(Amiss {
                    says: format!("the API server has no {PLURAL}.{GROUP}"),
                    remedy: "install the CRD: kubectl apply --filename deploy/reports/crd.yaml".to_owned(),
                });
            }
            Err(failure) => return Err(failed(failure)),
        }
    }
    for verb in ["create", "patch"] {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": { "group": group, "resource": resource, "verb": verb } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = connection.send(Method::POST, path, JSON, review.to_string().into_bytes()).await;
        if !is_allowed(&answer.map_err(failed)?) {
            return Err(Amiss {
                says: format!("no right to {verb} {resource} in all namespaces"),
                remedy: format!(
                    "grant create and patch on {resource}, as deploy/reports/rbac.yaml does, or do without --kube-{}s",
                    if object == Object::Report { "report" } else { "event" }
                ),
            });
        }
    }
    Ok(())
}

fn is_allowed(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        allowed: bool,
    }
    serde_json::from_slice::<Review>(answer).is_ok_and(|review| review.status.allowed)
}

fn amiss(problem: &Problem) -> Amiss {
    Amiss { says: problem.to_string(), remedy: problem.remedy().to_owned() }
}
