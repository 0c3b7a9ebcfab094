//! The cause of an OOM: the rows of the decision table in [`super`].

use super::scene::Scene;
use crate::classify::{NoTrace, Open, Reason};
use crate::event::Constraint;
use crate::schema::{Field, Origin, VerdictField};

/// The memcg OOM itself. It does not show the way there: a stack may end at it, if a kretprobe has replaced the return address
/// by its trampoline (x86 before 5.16, whose unwinder does not see through that).
const MEMCG: &str = "mem_cgroup_out_of_memory";
/// The ways into it by a charge. Most compilers do not inline `try_charge_memcg`; the others are its callers. No page
/// allocation below them comes to an OOM of the node, for reclaim runs with `PF_MEMALLOC`.
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
/// A write to `memory.max`, which kills until usage is below the new limit. Writes to v1's limit never do.
const LIMIT_WRITE: &str = "memory_max_write";
const SYSRQ: [&str; 1] = ["moom_callback"];
const KSWAPD: [&str; 2] = ["kswapd", "balance_pgdat"];
const OOM: [&str; 1] = ["out_of_memory"];

/// Prefixes of the messages of `oom_kill_process`.
const MEMCG_MESSAGE: &[u8] = b"Memory cgroup out of memory";
const SYSTEM_MESSAGE: &[u8] = b"Out of memory";

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomCause {
    /// The limit of a memory cgroup.
    Limit,
    /// The node's memory, or a part of it.
    Node,
    Unknown,
}

/// The fact that shows the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The task waits at a limit whose OOM killer is switched off.
    Waits,
    /// `oom_control.memcg` is set.
    Memcg,
    /// `oom_control.order` is -1.
    NoOrder,
    /// `oom_control` has neither a memcg nor zones.
    NoZones,
    /// `oom_control` has zones and no memcg.
    Page,
    /// This function is on the stack.
    OnStack(&'static str),
    /// `out_of_memory` is on the stack, and no way into a memcg's OOM.
    OutOfMemoryOnStack,
    /// The limit owner was read, the rest of `oom_control` not.
    LimitCgroups,
    /// The kernel logs the kill as "Memory cgroup out of memory".
    MemcgMessage,
    /// The kernel logs it as "Out of memory".
    SystemMessage,
    /// Neither `oom_control` nor the stack is known.
    Nothing(NoTrace),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) cause: OomCause,
    pub(super) origin: Option<Origin>,
    pub(super) basis: Basis,
}

pub(super) fn row(scene: &Scene<'_>) -> Row {
    let (cause, origin, basis) = match scene.request {
        Some(_) => by_request(scene),
        None => by_traces(scene),
    };
    Row { cause, origin, basis }
}

pub(super) fn constraint(scene: &Scene<'_>, row: &Row) -> Option<Constraint> {
    match (row.cause, scene.request.and_then(|request| request.constraint)) {
        (OomCause::Limit, _) => Some(Constraint::Memcg),
        (_, Some(Constraint::Other(_)) | None) => None,
        (_, constraint) => constraint,
    }
}

fn by_request(scene: &Scene<'_>) -> (OomCause, Option<Origin>, Basis) {
    let Some(request) = scene.request else { return by_traces(scene) };
    if scene.waits() {
        return (OomCause::Limit, Some(Origin::Charge), Basis::Waits);
    }
    if request.memcg {
        return (OomCause::Limit, charge_or_write(scene), Basis::Memcg);
    }
    if request.order.is_none() {
        return (OomCause::Node, Some(Origin::Sysrq), Basis::NoOrder);
    }
    if let Some(function) = scene.on_stack(&KSWAPD) {
        return (OomCause::Node, Some(Origin::Kswapd), Basis::OnStack(function));
    }
    // A page fault of early 5.10 kernels has no zones either, but no flags besides (`pagefault_out_of_memory`).
    if request.zonelist == Some(false) && request.gfp != 0 {
        return (OomCause::Node, Some(Origin::Kswapd), Basis::NoZones);
    }
    (OomCause::Node, Some(Origin::Allocation), Basis::Page)
}

fn by_traces(scene: &Scene<'_>) -> (OomCause, Option<Origin>, Basis) {
    if let Some(function) = scene.on_stack(&SYSRQ) {
        return (OomCause::Node, Some(Origin::Sysrq), Basis::OnStack(function));
    }
    if let Some(function) = scene.on_stack(&[MEMCG, LIMIT_WRITE]).or_else(|| scene.on_stack(&CHARGE)) {
        return (OomCause::Limit, charge_or_write(scene), Basis::OnStack(function));
    }
    if scene.on_stack(&OOM).is_some() {
        return match scene.on_stack(&KSWAPD) {
            Some(function) => (OomCause::Node, Some(Origin::Kswapd), Basis::OnStack(function)),
            None => (OomCause::Node, Some(Origin::Allocation), Basis::OutOfMemoryOnStack),
        };
    }
    if scene.limit_cgroups.is_some() {
        return (OomCause::Limit, None, Basis::LimitCgroups);
    }
    match scene.message {
        Some(message) if message.0.starts_with(MEMCG_MESSAGE) => (OomCause::Limit, None, Basis::MemcgMessage),
        // Also sysrq's message: so there is no further conclusion.
        Some(message) if message.0.starts_with(SYSTEM_MESSAGE) => {
            (OomCause::Node, None, Basis::SystemMessage)
        }
        _ => (OomCause::Unknown, None, Basis::Nothing(no_trace(scene))),
    }
}

fn charge_or_write(scene: &Scene<'_>) -> Option<Origin> {
    match scene.on_stack(&[LIMIT_WRITE]) {
        Some(_) => Some(Origin::LimitWrite),
        None => scene.on_stack(&CHARGE).map(|_| Origin::Charge),
    }
}

fn no_trace(scene: &Scene<'_>) -> NoTrace {
    match (scene.kill.map(|kill| kill.decision.is_some()), scene.stack) {
        (Some(false), _) => NoTrace::DecisionLost,
        (_, None) => NoTrace::StackUnread,
        (_, Some(_)) => NoTrace::NothingOnStack,
    }
}

/// Fields that the row leaves unknown.
pub(super) fn open(scene: &Scene<'_>, row: &Row, constraint: Option<Constraint>) -> Vec<Open> {
    let mut open = Vec::new();
    if row.cause == OomCause::Unknown {
        let reason = Reason::NoTrace(no_trace(scene));
        open.push(Open { field: Field::Verdict(VerdictField::Cause), reason });
    }
    if row.origin.is_none() {
        let reason = match row.cause {
            OomCause::Limit => Reason::ChargeOrWrite(no_trace(scene)),
            OomCause::Node | OomCause::Unknown => Reason::NoTrace(no_trace(scene)),
        };
        open.push(Open { field: Field::Origin, reason });
    }
    if constraint.is_none() {
        let reason = match scene.request.map(|request| request.constraint) {
            Some(Some(Constraint::Other(value))) => Reason::UnknownConstraint(value),
            Some(_) => Reason::NoVictimNoConstraint,
            None if scene.kill.is_some_and(|kill| kill.decision.is_none()) => Reason::DecisionLost,
            None => Reason::BlindTier,
        };
        open.push(Open { field: Field::Constraint, reason });
    }
    open
}
