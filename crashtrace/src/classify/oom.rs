//! What an OOM was: the rows of the decision table in [`crate::classify`].

use super::scene::Scene;
use super::{Cause, Origin};
use crate::enrich::Gap;
use crate::enrich::gaps::{BLIND_TIER, DECISION_LOST, gap};
use crate::event::Constraint;

/// The memcg OOM itself. It says nothing about the way there: a stack may end at it, where a kretprobe has put its
/// trampoline in place of the return address (x86 before 5.16, whose unwinder does not see through that).
const MEMCG: &str = "mem_cgroup_out_of_memory";
/// The ways into it by a charge. Most compilers leave `try_charge_memcg` a function of its own; the others are its
/// callers. No page allocation below them comes to an OOM of the node, for reclaim runs with `PF_MEMALLOC`.
const CHARGE: [&str; 7] = [
    "try_charge_memcg",
    "try_charge",
    // Sleeps until there is memory (v1, to 6.1), and may begin an OOM when woken.
    "mem_cgroup_oom_synchronize",
    "charge_memcg",
    "__mem_cgroup_charge",
    "mem_cgroup_charge",
    "obj_cgroup_charge_pages",
];
/// A write to `memory.max`, which kills until the new limit is kept. Writes to v1's limit never do.
const LIMIT_WRITE: &str = "memory_max_write";
const SYSRQ: [&str; 1] = ["moom_callback"];
const KSWAPD: [&str; 2] = ["kswapd", "balance_pgdat"];
const OOM: [&str; 1] = ["out_of_memory"];

/// How the messages of `oom_kill_process` begin.
const MEMCG_MESSAGE: &[u8] = b"Memory cgroup out of memory";
const SYSTEM_MESSAGE: &[u8] = b"Out of memory";

/// What it was.
pub(super) struct Facts {
    pub(super) cause: Cause,
    pub(super) origin: Option<Origin>,
    pub(super) constraint: Option<Constraint>,
    /// What the cause rests on, as evidence.
    pub(super) basis: String,
    pub(super) gaps: Vec<Gap>,
}

/// Finds out.
pub(super) fn facts(scene: &Scene<'_>) -> Facts {
    let (cause, origin, basis) = match scene.request {
        Some(_) => by_request(scene),
        None => by_traces(scene),
    };
    let constraint = match (cause, scene.request.and_then(|request| request.constraint)) {
        (Cause::CgroupOom, _) => Some(Constraint::Memcg),
        (_, Some(Constraint::Other(_)) | None) => None,
        (_, constraint) => constraint,
    };
    let gaps = gaps(scene, cause, origin, constraint);
    Facts { cause, origin, constraint, basis, gaps }
}

type Row = (Cause, Option<Origin>, String);

fn by_request(scene: &Scene<'_>) -> Row {
    let Some(request) = scene.request else { return by_traces(scene) };
    if scene.waits() {
        let basis = "the kernel put the task to sleep at the limit of a memory cgroup whose OOM killer is switched \
                     off (oom_kill_disable)";
        return (Cause::CgroupOom, Some(Origin::Charge), basis.to_owned());
    }
    if request.memcg {
        let basis = "the kernel's request names a memory cgroup, so it is for no page of the node";
        return (Cause::CgroupOom, charge_or_write(scene), basis.to_owned());
    }
    if request.order.is_none() {
        let basis = "the kernel's request has order -1, which is what sysrq sends";
        return (Cause::SystemOom, Some(Origin::Sysrq), basis.to_owned());
    }
    if let Some(function) = scene.on_stack(&KSWAPD) {
        return (Cause::SystemOom, Some(Origin::Kswapd), on_stack(function));
    }
    // A page fault of early 5.10 kernels has no zones either, but no flags besides (`pagefault_out_of_memory`).
    if request.zonelist == Some(false) && request.gfp != 0 {
        let basis = "the kernel's request names neither a memory cgroup nor zones, which only kswapd's does";
        return (Cause::SystemOom, Some(Origin::Kswapd), basis.to_owned());
    }
    let basis = "the kernel's request is for a page of the node, not a charge to a memory cgroup";
    (Cause::SystemOom, Some(Origin::Allocation), basis.to_owned())
}

fn by_traces(scene: &Scene<'_>) -> Row {
    if let Some(function) = scene.on_stack(&SYSRQ) {
        return (Cause::SystemOom, Some(Origin::Sysrq), on_stack(function));
    }
    if let Some(function) = scene.on_stack(&[MEMCG, LIMIT_WRITE]).or_else(|| scene.on_stack(&CHARGE)) {
        return (Cause::CgroupOom, charge_or_write(scene), on_stack(function));
    }
    if scene.on_stack(&OOM).is_some() {
        let (origin, basis) = match scene.on_stack(&KSWAPD) {
            Some(function) => (Origin::Kswapd, on_stack(function)),
            None => (
                Origin::Allocation,
                "the kernel's stack has out_of_memory and none of the ways into a memory cgroup's OOM"
                    .to_owned(),
            ),
        };
        return (Cause::SystemOom, Some(origin), basis);
    }
    if scene.limit_cgroups.is_some() {
        let basis = "the kernel's request names the cgroup whose limit was hit";
        return (Cause::CgroupOom, None, basis.to_owned());
    }
    match scene.message {
        Some(message) if message.0.starts_with(MEMCG_MESSAGE) => {
            let basis = "the kernel logs the kill as \"Memory cgroup out of memory\"";
            (Cause::CgroupOom, None, basis.to_owned())
        }
        // Also what sysrq is logged as: no more follows from it.
        Some(message) if message.0.starts_with(SYSTEM_MESSAGE) => {
            let basis = "the kernel logs the kill as \"Out of memory\", not as a memory cgroup's";
            (Cause::SystemOom, None, basis.to_owned())
        }
        _ => {
            let basis =
                format!("neither request nor stack of the kernel's decision is known: {}", why(scene));
            (Cause::Unknown, None, basis)
        }
    }
}

fn charge_or_write(scene: &Scene<'_>) -> Option<Origin> {
    match scene.on_stack(&[LIMIT_WRITE]) {
        Some(_) => Some(Origin::LimitWrite),
        None => scene.on_stack(&CHARGE).map(|_| Origin::Charge),
    }
}

fn on_stack(function: &str) -> String {
    format!("the kernel's stack at the decision has {function} on it")
}

/// Why the traces do not show it.
fn why(scene: &Scene<'_>) -> &'static str {
    match (scene.kill.map(|kill| kill.decision.is_some()), scene.stack) {
        (Some(false), _) => DECISION_LOST,
        (_, None) => "the kernel's stack could not be read",
        (_, Some(_)) => "no function that would tell was found on the kernel's stack",
    }
}

fn gaps(scene: &Scene<'_>, cause: Cause, origin: Option<Origin>, constraint: Option<Constraint>) -> Vec<Gap> {
    let mut gaps = Vec::new();
    if cause == Cause::Unknown {
        gaps.push(gap("verdict.cause", why(scene)));
    }
    if origin.is_none() {
        let reason = match cause {
            Cause::CgroupOom => format!("a charge and a lowered limit look alike, and {}", why(scene)),
            _ => why(scene).to_owned(),
        };
        gaps.push(Gap { field: "origin".to_owned(), reason });
    }
    if constraint.is_none() {
        let reason = match scene.request.map(|request| request.constraint) {
            Some(Some(Constraint::Other(value))) => format!("the kernel's value {value} is not known"),
            Some(_) => "the kernel does not say where nobody can be killed".to_owned(),
            None if scene.kill.is_some_and(|kill| kill.decision.is_none()) => DECISION_LOST.to_owned(),
            None => BLIND_TIER.to_owned(),
        };
        gaps.push(Gap { field: "constraint".to_owned(), reason });
    }
    gaps
}
