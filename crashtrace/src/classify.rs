//! Verdicts: why it happened, as a pure function of the case.
//!
//! # The decision table
//!
//! The first row that fits decides. "Request" is the kernel's `oom_control` (or what the kernel passed to
//! an OOM that ended without a kill). Where there is no probe on the decision it is looked for on the
//! killer's stack; if it is not found, the names of the functions on that stack speak.
//!
//! | request | no request: stack has | else | cause | origin | level |
//! |---|---|---|---|---|---|
//! | of a task that waits | | | `cgroup_oom` | `charge` | of the limit's cgroup |
//! | of a memory cgroup | `mem_cgroup_out_of_memory`, or another way into it | a limit's cgroup, or the message "Memory cgroup out of memory" | `cgroup_oom` | `limit_write` if `memory_max_write` is on the stack, `charge` if a function that charges is, else unknown | of the limit's cgroup |
//! | of no order | `moom_callback` | | `system_oom` | `sysrq` | none |
//! | without zones, or from kswapd by the stack | `out_of_memory` and `kswapd` or `balance_pgdat` | | `system_oom` | `kswapd` | `node` |
//! | any other | `out_of_memory` | | `system_oom` | `allocation` | `node` |
//! | | | the message "Out of memory" | `system_oom` | unknown | unknown |
//! | | | nothing of all that | `unknown` | unknown | unknown |
//!
//! - **A charge and a lowered limit look alike** in the request, and only the stack tells them apart: without a
//!   stack that shows its way in, the origin of a cgroup OOM stays unknown, in every tier.
//! - **sysrq** is a `system_oom` because the kernel goes the same way and kills anywhere on the node, but it is
//!   not a shortage: the summary says that it was requested, and there is no level, for no limit was hit.
//! - **cpuset and mempolicy** are a `system_oom` of level `node` too: the memory that ran out is the machine's,
//!   but only of the NUMA nodes that the request was bound to. [`Verdict::constraint`], summary and remedy tell.
//!   Without a request that cannot be seen, and the summary leaves it open.
//! - The level of a limit follows from the path of its cgroup (`classify/limit.rs`), as does where a pod's limit
//!   is in truth that of its only container. Without a request the limit's owner is inferred, or left open.
//! - Nothing is concluded from who ran into the limit: trigger, victim and owner of the limit are three
//!   parties.

use schemars::JsonSchema;
use serde::Serialize;

use crate::correlate::Incident;
use crate::enrich::{Case, Gap, Party};
use crate::event::{Constraint, Lineage};
use crate::fragmentation::Assessment;
use crate::pods::pod::MemoryBounds;

mod alloc;
pub(crate) mod evidence;
mod kubernetes;
mod limit;
pub(crate) mod memory;
mod oom;
pub(crate) mod scene;
pub(crate) mod summary;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod words;
pub(crate) mod zones;

use scene::Scene;

/// The cause of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Cause {
    /// The node ran out of memory, or the part of it that the request was bound to.
    SystemOom,
    /// A memory cgroup's limit was hit.
    CgroupOom,
    /// Memory was there, in pieces too small for what was asked for.
    Fragmentation,
    /// An allocation failed for want of memory.
    LowMemory,
    /// Could not be told.
    Unknown,
}

/// What of the node's memory was lacking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shortage {
    /// Large pieces: there was enough memory, but no block of the size.
    Fragmentation,
    /// Memory.
    LowMemory,
    /// Memory, and with it the reserves for requests that cannot wait.
    AtomicReserves,
}

/// Whose limit was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The container's own.
    Container,
    /// The pod's, and not just that of its only container.
    Pod,
    /// That of all pods of a QoS class.
    Qos,
    /// That of all pods of the node (`kubepods`).
    NodeAllocatable,
    /// That of a service or slice of the host.
    HostService,
    /// That of some other cgroup: one inside a container, or one that neither Kubernetes nor systemd made.
    Cgroup,
    /// The node's memory.
    Node,
}

/// How a verdict is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// All of it was read from the kernel as it decided.
    Observed,
    /// Some of it, listed in `inferred`, follows from other facts.
    Inferred,
}

/// How the kernel came to look for a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A page was asked for and the node had none.
    Allocation,
    /// Memory was charged to a cgroup at its limit.
    Charge,
    /// A limit was lowered below what was in use.
    LimitWrite,
    /// Somebody asked for it by sysrq.
    Sysrq,
    /// kswapd could not keep the working set resident for as long as told (`min_ttl_ms`).
    Kswapd,
}

/// The cgroup limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFinding {
    /// The cgroup whose limit it is, and its ancestors.
    pub cgroups: Lineage,
    /// Whose it is.
    pub party: Party,
    /// Level of that cgroup by itself; the verdict's level may be `container` where this is `pod`.
    pub charged_at: Level,
}

/// Why an incident happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The cause.
    pub cause: Cause,
    /// What of the node's memory was lacking, where that is what it was about and the zones tell.
    pub shortage: Option<Shortage>,
    /// Whose limit it was.
    pub level: Option<Level>,
    /// How the kernel came to it.
    pub origin: Option<Origin>,
    /// Which memory the request was bound to: the request's own word, or `memcg` where the cause is known
    /// otherwise.
    pub constraint: Option<Constraint>,
    /// The limit that was hit, where it is a cgroup's.
    pub limit: Option<LimitFinding>,
    /// What Kubernetes has as the bounds of whose limit it was.
    pub kubernetes: Option<MemoryBounds>,
    /// How it is known.
    pub certainty: Certainty,
    /// Fields of the report that were inferred.
    pub inferred: Vec<&'static str>,
    /// One sentence for people.
    pub summary: String,
    /// The facts that it rests on.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub remedy: String,
    /// What the verdict leaves open, by field of the report, and why; beside [`Case::unresolved`].
    pub unresolved: Vec<Gap>,
    /// What each zone says about the request.
    pub assessment: Option<Assessment>,
}

/// Says why it happened. Never panics, and never guesses: what the facts do not show stays open, with its
/// reason.
#[must_use]
pub fn classify(case: &Case) -> Verdict {
    match &case.incident {
        Incident::OomKill(kill) => oom_verdict(&Scene::of_kill(case, kill)),
        Incident::OomNoKill(none) => oom_verdict(&Scene::of_no_kill(case, none)),
        Incident::AllocFailure(failures) => alloc::verdict(case, failures),
    }
}

fn oom_verdict(scene: &Scene<'_>) -> Verdict {
    let facts = oom::facts(scene);
    let found = limit::find(scene, &facts);

    let mut unresolved = facts.gaps;
    unresolved.extend(found.gaps);
    unresolved.extend(zones::gap_of(scene, facts.cause, facts.origin));
    let finding = found.limit.as_ref();
    let container = finding.and_then(|limit| scene.asker_in(&limit.party)).map(|party| &party.owner);
    let kubernetes = finding.and_then(|limit| kubernetes::bounds(found.level, &limit.party.owner, container));
    let kubernetes_says =
        finding.and_then(|limit| kubernetes::evidence(found.level, limit, container, scene.page_size_bytes));
    let certainty = if found.inferred.is_empty() { Certainty::Observed } else { Certainty::Inferred };
    let mut verdict = Verdict {
        cause: facts.cause,
        shortage: scene.sight.as_ref().and_then(zones::Sight::shortage),
        level: found.level,
        origin: facts.origin,
        constraint: facts.constraint,
        limit: found.limit,
        kubernetes,
        certainty,
        inferred: found.inferred,
        summary: String::new(),
        evidence: Vec::new(),
        remedy: String::new(),
        unresolved,
        assessment: scene.sight.as_ref().map(|sight| sight.assessment.clone()),
    };
    verdict.summary = summary::of(scene, &verdict);
    verdict.evidence = vec![facts.basis];
    verdict.evidence.extend(found.evidence);
    verdict.evidence.extend(kubernetes_says);
    verdict.evidence.extend(evidence::of(scene, &verdict));
    verdict.remedy = crate::remedy::of(scene, &verdict);
    verdict
}
