//! The workload that a pod's controller belongs to: that controller, or its owner. PURE.
//!
//! A pod names its direct owner only. The owner's name tells the next one in two cases:
//!
//! | owner | its name | workload | how sure |
//! |---|---|---|---|
//! | `ReplicaSet` of `apps` | `<name>-<hash>`, where the pod's label `pod-template-hash` is `<hash>` | Deployment `<name>` | the Deployment controller gives the label and the name together; a `ReplicaSet` made otherwise has no such label |
//! | `Job` of `batch` | `<name>-<minutes>`, eight digits: minutes of Unix time since Kubernetes 1.0 | `CronJob` `<name>` | likely. A pod has no other sign: the annotation `batch.kubernetes.io/cronjob-scheduled-timestamp` is on the Job alone. Names that end in a date `YYYYMMDD` are told apart, those that end in `25112026` are not |
//!
//! A Job made by hand from a `CronJob` has the name that it was given: it stays a Job.

use super::Workload;

/// 21 July 2015, in minutes. As a number it is above all dates `YYYYMMDD` up to the year 2395.
const KUBERNETES_1_0_UNIX_MINUTES: u32 = 23_957_280;

impl Workload {
    /// See the module. `hash` is the pod's label `pod-template-hash`.
    #[must_use]
    pub fn of_controller(api_version: &str, kind: &str, name: &str, hash: Option<&str>) -> Self {
        let is_of = |group: &str| api_version.starts_with(group);
        let behind = match kind {
            // Others have kinds of the same names (Volcano has a `Job`), and other ways to name what they make.
            "ReplicaSet" if is_of("apps/") => {
                hash.and_then(|hash| deployment(name, hash)).map(|name| ("Deployment", name))
            }
            "Job" if is_of("batch/") => cron_job(name).map(|name| ("CronJob", name)),
            _ => None,
        };
        match behind {
            Some((kind, name)) => Self { kind: kind.into(), name: name.into(), inferred: true },
            None => Self { kind: kind.into(), name: name.into(), inferred: false },
        }
    }
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
