//! Ends of containers' first processes.

use crate::schema::{Cause, Incident};

pub(super) fn headline(incident: &Incident) -> (&'static str, &'static str) {
    let cause = match incident.verdict.cause {
        Cause::ContainerExit => "ended by itself",
        Cause::Killed => "killed by another process",
        Cause::HealthCheck => "a probe failed",
        Cause::Stopped => "stopped by Kubernetes",
        Cause::CgroupOom => super::oom::limit(incident.verdict.level),
        Cause::SystemOom => "the node is out of memory",
        _ => "cause unknown",
    };
    ("CONTAINER ENDED", cause)
}
