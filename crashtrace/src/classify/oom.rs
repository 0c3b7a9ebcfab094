//! OOM kills, and OOMs without a victim.
//!
//! # The decision table
//!
//! The first row that fits decides. "`oom_control`" is the kernel's structure (or the arguments of an OOM that ended without a
//! kill). Without a probe on the decision it is searched for on the killer's stack; if it is not found, the names of the
//! functions on that stack decide.
//!
//! | `oom_control` | no `oom_control`: stack has | else | cause | origin | level |
//! |---|---|---|---|---|---|
//! | of a task that waits | | | `cgroup_oom` | `charge` | of the limit's cgroup |
//! | of a memory cgroup | `mem_cgroup_out_of_memory`, or another way into it | a limit's cgroup, or the message "Memory cgroup out of memory" | `cgroup_oom` | `limit_write` if `memory_max_write` is on the stack, `charge` if a function that charges is, else unknown | of the limit's cgroup |
//! | of no order | `moom_callback` | | `system_oom` | `sysrq` | none |
//! | without zones, or from kswapd by the stack | `out_of_memory` and `kswapd` or `balance_pgdat` | | `system_oom` | `kswapd` | `node` |
//! | any other | `out_of_memory` | | `system_oom` | `allocation` | `node` |
//! | | | the message "Out of memory" | `system_oom` | unknown | unknown |
//! | | | nothing of all that | `unknown` | unknown | unknown |
//!
//! - **A charge and a lowered limit look alike** in `oom_control`, and only the stack tells them apart: if no stack shows the
//!   way into the OOM killer, the origin of a cgroup OOM stays unknown, in every tier.
//! - **sysrq** is a `system_oom` because the kernel goes the same way and kills anywhere on the node, but it is not a shortage:
//!   the summary says that a user requested it, and there is no level, for no limit was hit.
//! - **cpuset and mempolicy** are a `system_oom` of level `node` too: the memory that ran out is the machine's, but only of the
//!   NUMA nodes that the allocation was bound to. [`Verdict::constraint`], summary and remedy tell. Without `oom_control` the
//!   constraint is unknown, and the summary leaves it open.
//! - The level of a limit follows from the path of its cgroup (`classify/oom/limit.rs`), as does whether a pod's limit is in
//!   truth that of its only container (`classify/oom/whose.rs`). Without `oom_control` the limit owner is inferred, or left open.
//! - Nothing is concluded from the trigger: trigger, victim and limit owner are three parties.

use super::{Facts, Open, Verdict, certainty, zones};
use crate::schema::Cause;

mod cause;
mod holders;
mod kubernetes;
mod limit;
mod limit_kind;
mod scene;
mod victim;
mod weight;
mod whose;

pub use cause::{Basis, OomCause};
pub use holders::{Rank, Requested, Requester};
pub use kubernetes::{Agreement, KubernetesLimit};
pub use limit::NearLimit;
pub use limit_kind::SwapLimit;
pub use scene::{Actor, Request, Scene};
pub use victim::{PidNamespace, StartUp};
pub use weight::Weight;
pub use whose::{SharedLimit, Whose};

/// The facts behind the verdict on an OOM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomFacts {
    pub cause: OomCause,
    /// The facts behind the cause.
    pub basis: Basis,
    /// Whose the limit is, if a container and its pod both have it.
    pub shared_limit: Option<SharedLimit>,
    /// The cgroups that were near their limits, if the limit is inferred; the chosen one first.
    pub near_limit: Vec<NearLimit>,
    /// How the kernel's limit relates to Kubernetes' limit.
    pub kubernetes: Option<KubernetesLimit>,
}

pub(super) fn verdict(scene: &Scene<'_>) -> Verdict {
    let row = cause::row(scene);
    let found = limit::find(scene, &row);
    let constraint = cause::constraint(scene, &row);
    let finding = found.limit.as_ref();
    let container = finding.and_then(|limit| scene.actor_in(&limit.party)).map(|party| &party.owner);
    let kubernetes =
        finding.and_then(|limit| kubernetes::limit(found.level, limit, container, scene.page_size_bytes));
    let mut unresolved = cause::open(scene, &row, constraint);
    unresolved.extend(found.open);
    unresolved.extend(zones_open(scene, &row));
    Verdict {
        cause: match row.cause {
            OomCause::Limit => Cause::CgroupOom,
            OomCause::Node => Cause::SystemOom,
            OomCause::Unknown => Cause::Unknown,
        },
        shortage: scene.sight.as_ref().and_then(zones::Sight::shortage),
        level: found.level,
        origin: row.origin,
        constraint,
        limit: found.limit,
        kubernetes: kubernetes.as_ref().map(|limit| limit.bounds),
        certainty: certainty(&found.inferred),
        inferred: found.inferred,
        unresolved,
        assessment: scene.sight.as_ref().map(|sight| sight.assessment.clone()),
        facts: Facts::Oom(OomFacts {
            cause: row.cause,
            basis: row.basis,
            shared_limit: found.shared_limit,
            near_limit: found.near_limit,
            kubernetes,
        }),
    }
}

/// Why the shortage of a node's OOM is not known; `None` if it is, or if there was none.
fn zones_open(scene: &Scene<'_>, row: &cause::Row) -> Option<Open> {
    use super::Reason;
    use crate::event::Constraint;
    use crate::schema::{Field, Origin, VerdictField};

    if row.cause != OomCause::Node || row.origin == Some(Origin::Sysrq) {
        return None;
    }
    let reason = match (&scene.sight, scene.kill) {
        (Some(sight), _) if sight.shortage().is_some() => return None,
        (Some(sight), _) => sight.open(),
        (None, None) => Reason::ZonesOfKillsOnly,
        (None, Some(kill)) if kill.decision.is_none() => Reason::DecisionLost,
        (None, Some(_)) => match scene.request.map(|request| request.constraint) {
            None => Reason::BlindTier,
            Some(Some(Constraint::None)) => Reason::ZonesUnread,
            Some(_) => Reason::NodesUnknown,
        },
    };
    Some(Open { field: Field::Verdict(VerdictField::Shortage), reason })
}
