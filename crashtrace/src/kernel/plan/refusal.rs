//! PURE: the reasons why crashtrace cannot watch a kernel at all, with remedies.

use schemars::JsonSchema;
use serde::Serialize;

use super::KernelView;
use crate::kernel::host::{Capability, HostFacts, KERNEL_BTF, KernelVersion, Lockdown};

/// The oldest kernel with BPF ring buffers.
const RING_BUFFER_SINCE: KernelVersion = KernelVersion(5, 8);

/// Why the node cannot be watched, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, JsonSchema)]
#[error("cannot {what}: {why}; {remedy}")]
pub struct Refusal {
    /// The refused action, as an infinitive without "to".
    pub what: String,
    pub why: String,
    /// What to do, as an imperative.
    pub remedy: String,
}

/// All reasons why no tier can work, most fundamental first. An unknown fact is not held against the host: the trial will
/// show it.
#[must_use]
pub fn refusals(facts: &HostFacts, kernel: &KernelView) -> Vec<Refusal> {
    let refuse = |why: String, remedy: &str| Refusal {
        what: "watch this kernel".to_owned(),
        why,
        remedy: remedy.to_owned(),
    };
    let mut refusals = Vec::new();
    if let Some(version) = facts.version().filter(|version| *version < RING_BUFFER_SINCE) {
        refusals.push(refuse(
            format!("it is {version}, and BPF ring buffers came with {RING_BUFFER_SINCE}"),
            "run a kernel of 5.10 or later",
        ));
    }
    if facts.init_user_namespace == Some(false) {
        refusals.push(refuse(
            "this process is in a user namespace, where its capabilities do not count for BPF".to_owned(),
            "run crashtrace as the host's root, not in a rootless container (in a pod: `hostUsers: true`)",
        ));
    }
    refusals.extend(missing_capabilities(facts).map(|why| {
        refuse(
            why,
            "run crashtrace as root, or give it CAP_BPF and CAP_PERFMON (in a pod: `securityContext.privileged: true`, or \
             BPF and PERFMON in `securityContext.capabilities.add`)",
        )
    }));
    if facts.lockdown == Some(Lockdown::Confidentiality) {
        refusals.push(refuse(
            "it is locked down for confidentiality, which keeps BPF programs from reading its memory"
                .to_owned(),
            "boot the kernel with `lockdown=integrity` or without lockdown",
        ));
    }
    if let Some(error) = &facts.btf.error {
        let path = &facts.btf.path;
        refusals.push(refuse(
            format!("{path}, which is to describe its structures, cannot be used: {error}"),
            if path == KERNEL_BTF {
                "run a kernel that is built with CONFIG_DEBUG_INFO_BTF, or name a BTF file of this very kernel \
                 with --btf FILE"
            } else {
                "name a readable BTF file of this very kernel with --btf FILE, or use the kernel's own by \
                 leaving --btf out"
            },
        ));
    } else if let [first, rest @ ..] = facts.btf.differs.as_slice() {
        let more = and_more(rest.len(), "differ");
        refusals.push(refuse(
            format!("the BTF in {} is another kernel's: {first}{more}", facts.btf.path),
            "leave --btf out: the kernel's own BTF is there",
        ));
    } else if kernel.mark_victim_arg.is_none() {
        refusals.push(refuse(
            format!("the BTF in {} does not describe tracepoint oom:mark_victim", facts.btf.path),
            "name a BTF file of this very kernel with --btf FILE, or run a kernel that is built with \
             CONFIG_TRACEPOINTS",
        ));
    }
    refusals
}

/// The number of further items, after the named one.
pub(crate) fn and_more(more: usize, are: &str) -> String {
    if more == 0 { String::new() } else { format!(" ({more} more {are})") }
}

/// The capabilities that this process needs and lacks.
fn missing_capabilities(facts: &HostFacts) -> Option<String> {
    if facts.can(Capability::SysAdmin)? {
        return None;
    }
    let lacks = |capability: &Capability| facts.can(*capability) == Some(false);
    let missing: Vec<_> = [Capability::Bpf, Capability::Perfmon].into_iter().filter(lacks).collect();
    let user = facts.euid.map_or(String::new(), |euid| format!(" (user id {euid})"));
    match missing.as_slice() {
        [] => None,
        [one] => Some(format!("this process{user} lacks {one}")),
        [one, other, ..] => Some(format!("this process{user} lacks {one} and {other}")),
    }
}
