//! Why a field is not known.

use crate::classify::{NoTrace, NoWord, Reason};
use crate::enrich::{BLIND_TIER, CLAIMS, DECISION_LOST};

pub(super) fn words(reason: Reason) -> String {
    let words = match reason {
        Reason::NoTrace(why) => no_trace(why),
        Reason::ChargeOrWrite(why) => {
            return format!("a charge and a lowered limit look alike, and {}", no_trace(why));
        }
        Reason::UnknownConstraint(value) => {
            return format!("oom_control.constraint is {value}, which this version does not know");
        }
        Reason::NoOwner(why) => return why.to_string(),
        Reason::CauseUnknown => "the cause is unknown",
        Reason::DecisionLost => DECISION_LOST,
        Reason::BlindTier => BLIND_TIER,
        Reason::NoVictimNoConstraint => "the kernel does not keep it when it finds no process to kill",
        Reason::Sysrq => "a kill requested by sysrq is due to no limit",
        Reason::ShortageOrSysrq => "a shortage of the node and a kill requested by sysrq look alike here",
        Reason::LimitCgroupsUnread => "the cgroups of the limit could not be read",
        Reason::LimitTooDeep => "its cgroup is deeper inside the container than a record holds",
        Reason::VictimCgroupsUnread => "it is one of the victim's cgroups, which could not be read",
        Reason::NoneNearLimit => {
            "it is one of the victim's cgroups, but none of them was near its limit when it was read (on cgroup v1 the \
             limit may have been that of memory and swap together)"
        }
        Reason::LimitInferred => "it is read only for a limit that the kernel named",
        Reason::Claims => CLAIMS,
        Reason::Unreadable => "could not be read from the kernel",
        Reason::NoOomGroup => "this kernel has no memory.oom.group, or it could not be read",
        Reason::ZonesOfKillsOnly => "the zones are recorded only for OOM kills",
        Reason::ZonesUnread => "the zones could not be read",
        Reason::ZonesIncomplete => "not all eligible zones could be read",
        Reason::FreeNow => {
            "a large enough block was free when the zones were read: it was freed in between, or the allocation failed for \
             another reason"
        }
        Reason::NodesUnknown => "oom_control does not say which NUMA nodes the allocation was bound to",
        Reason::UnknownAllocation => "this version does not know the kind of allocation",
        Reason::VmallocNotForMemory => {
            "there was memory: the allocation may have been larger than what is left of the kernel's address space"
        }
        Reason::VmallocBeyondNode => {
            "the allocation was larger than the node's memory, which is no cause of its own"
        }
        Reason::NoFullCgroup => {
            "none of the cgroups of the process is at its limit any more (on cgroup v1 it may have been the limit of kernel memory \
             alone)"
        }
        Reason::NotReadForCharge => "it is not read for a failed charge",
        Reason::OomKillUnseen => {
            "the kernel had marked the process as an OOM victim, but no record of that OOM kill names it"
        }
        Reason::OomVerdictUnknown => "the verdict on the OOM kill that ended it is not known any more",
        Reason::SignalUnseen => "no record has a signal that explains this status",
        Reason::SenderUnknown => "the cgroup of the signal's sender could not be read",
        Reason::KernelsReason => "the kernel sent the signal, and does not say why",
        Reason::RuntimesReason(NoWord::NoPod) => {
            "the container runtime ended it, and why only the runtime's own client knows: the container is in no pod"
        }
        Reason::RuntimesReason(NoWord::NotLookedUp) => {
            "the container runtime ended it, and why only Kubernetes knows: the pod's Events were not looked up yet"
        }
        Reason::RuntimesReason(NoWord::EventsMissing) => {
            "the container runtime ended it, and why only Kubernetes knows: the pod's Events could not be had"
        }
        Reason::RuntimesReason(NoWord::NoneFits) => {
            "the container runtime ended it, and why only Kubernetes knows: neither the pod's status nor an Event of this time \
             tells"
        }
    };
    words.to_owned()
}

pub(super) fn no_trace(why: NoTrace) -> &'static str {
    match why {
        NoTrace::DecisionLost => DECISION_LOST,
        NoTrace::StackUnread => "the kernel's stack could not be read",
        NoTrace::NothingOnStack => "no function on the kernel's stack tells",
    }
}
