//! Unknown fields of a verdict, and their reasons.

use crate::enrich::NoOwner;
use crate::schema::Field;

/// An unknown field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub field: Field,
    pub reason: Reason,
}

/// Why it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    CauseUnknown,
    /// The traces do not show it.
    NoTrace(NoTrace),
    /// A charge and a lowered limit look alike, and the traces do not tell them apart.
    ChargeOrWrite(NoTrace),
    /// The record of the decision was lost.
    DecisionLost,
    /// The hooks in use did not see the kernel's `oom_control`.
    BlindTier,
    /// `oom_control` has a constraint of a value that this version does not know.
    UnknownConstraint(u32),
    /// The kernel has no constraint where it finds no victim.
    NoVictimNoConstraint,
    /// A kill by sysrq has no limit.
    Sysrq,
    /// A shortage of the node and a kill by sysrq look alike.
    ShortageOrSysrq,
    LimitCgroupsUnread,
    LimitTooDeep,
    /// The limit's cgroup has no known owner.
    NoOwner(NoOwner),
    /// The limit is one of the victim's cgroups, which were not read.
    VictimCgroupsUnread,
    /// None of the victim's cgroups was near its limit.
    NoneNearLimit,
    /// The figure is read only for a limit that the kernel named.
    LimitInferred,
    /// The names below the owner come from a delegation.
    Claims,
    Unreadable,
    NoOomGroup,
    /// Zones are gathered only where a process is killed.
    ZonesOfKillsOnly,
    ZonesUnread,
    /// Not all of the eligible zones were read.
    ZonesIncomplete,
    /// A large enough block was free when the zones were read.
    FreeNow,
    /// `oom_control` does not show which NUMA nodes the allocation was bound to.
    NodesUnknown,
    /// The kernel's message is of an allocation that this version does not know.
    UnknownAllocation,
    /// Enough memory was free, so vmalloc may have lacked address space.
    VmallocNotForMemory,
    /// vmalloc's size was larger than the node's memory.
    VmallocBeyondNode,
    /// No cgroup of the process is at its limit any more.
    NoFullCgroup,
    /// The figure is not read for a charge that failed.
    NotReadForCharge,
    /// The kernel had marked the process as an OOM victim, and no record of that OOM kill names it.
    OomKillUnseen,
    /// The verdict on the OOM kill is not known.
    OomVerdictUnknown,
    /// No record has a signal that explains the status.
    SignalUnseen,
    /// The sender of the signal cannot be told.
    SenderUnknown,
    /// The kernel sent it, for a reason that the signal does not tell.
    KernelsReason,
    /// The runtime ended the container for a reason that it was told and the kernel does not see.
    RuntimesReason(NoWord),
}

/// Why the kernel's stack does not show the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTrace {
    DecisionLost,
    StackUnread,
    NothingOnStack,
}

/// Why Kubernetes' word on a container's end is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWord {
    /// The container is in no pod.
    NoPod,
    /// The pod's Events were not looked up, or not yet.
    NotLookedUp,
    /// They could not be had.
    EventsMissing,
    /// None of them fits this end.
    NoneFits,
}
