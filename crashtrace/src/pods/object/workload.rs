//! The workload of a pod: the controller among its owners, or that controller's owner. PURE.
//!
//! A pod names its direct owner only. The owner's name tells the next one in two cases:
//!
//! | owner | its name | workload | how sure |
//! |---|---|---|---|
//! | `ReplicaSet` of `apps` | `<name>-<hash>`, where the pod's label `pod-template-hash` is `<hash>` | Deployment `<name>` | the Deployment controller gives the label and the name together; a `ReplicaSet` made otherwise has no such label |
//! | `Job` of `batch` | `<name>-<minutes>`, eight digits: minutes of Unix time since Kubernetes 1.0 | `CronJob` `<name>` | likely. A pod has no other sign: the annotation `batch.kubernetes.io/cronjob-scheduled-timestamp` is on the Job alone. Names that end in a date `YYYYMMDD` are told apart, those that end in `25112026` are not |
//!
//! A Job made by hand from a `CronJob` has the name that it was given: it stays a Job.

use super::{Meta, OwnerReference, name};
use crate::names::Workload;

/// 21 July 2015, in minutes. As a number it is above all dates `YYYYMMDD` up to the year 2395.
const KUBERNETES_1_0_UNIX_MINUTES: u32 = 23_957_280;

/// See the module.
pub(super) fn of(metadata: &Meta) -> Option<Workload> {
    let owner = metadata.owner_references.iter().find(|owner| owner.controller == Some(true))?;
    let (kind, own_name) = (name(owner.kind.as_ref())?, name(owner.name.as_ref())?);
    let behind = match &*kind {
        "ReplicaSet" if is_of(owner, "apps/") => {
            let hash = metadata.labels.pod_template_hash.as_deref();
            hash.and_then(|hash| deployment(&own_name, hash)).map(|name| ("Deployment", name))
        }
        "Job" if is_of(owner, "batch/") => cron_job(&own_name).map(|name| ("CronJob", name)),
        _ => None,
    };
    Some(match behind {
        Some((kind, name)) => Workload { kind: kind.into(), name: name.into(), inferred: true },
        None => Workload { kind, name: own_name, inferred: false },
    })
}

/// Others have kinds of the same names (Volcano has a `Job`), and other ways to name what they make.
fn is_of(owner: &OwnerReference, group: &str) -> bool {
    owner.api_version.as_deref().is_some_and(|version| version.starts_with(group))
}

fn deployment<'a>(replica_set: &'a str, hash: &str) -> Option<&'a str> {
    let name = replica_set.strip_suffix(hash)?.strip_suffix('-')?;
    (!hash.is_empty() && !name.is_empty()).then_some(name)
}

fn cron_job(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    let digits = minutes.len() == 8 && minutes.bytes().all(|byte| byte.is_ascii_digit());
    let scheduled = minutes.parse::<u32>().ok().filter(|_| digits)?;
    (!name.is_empty() && scheduled >= KUBERNETES_1_0_UNIX_MINUTES).then_some(name)
}
