//! PURE: what cannot be seen with the hooks in use, so that silence can be trusted for the rest.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Attach, AttachKind, MEM_CGROUP_OUT_OF_MEMORY, Tier};
use crate::event::Hook;
use crate::source::host::{HostFacts, MemoryCgroup};
use crate::source::symbols::Symbols;

/// Something that happens on this host, or may, and that no report will tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Blind {
    /// What is not seen.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do about it, as an imperative; `null` where nothing is known.
    pub remedy: Option<String>,
    /// The command line asks for it to be left out, so nothing is wrong with the host.
    pub chosen: bool,
}

const BETTER_HOOKS: &str = "run a kernel that accepts fentry hooks or kprobes (CONFIG_KPROBES, \
    CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), with --hooks auto";

const UNSEEN_FRAGMENTATION: &str = "failed allocations, and so the fragmentation of the node's memory";

/// What the second choice of hooks on failed allocations costs: it is the only program that runs while nothing is wrong.
pub const TRACEPOINT_COST: &str =
    "some 90 to 135 instructions (see README) more for each page allocation of the node";

const SHOW_ADDRESSES: &str = "give crashtrace CAP_SYSLOG, and set sysctl kernel.kptr_restrict to 0 or 1";

/// Which of a tier's optional hooks are in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    /// Those on `mem_cgroup_out_of_memory`.
    pub memcg: bool,
    /// That on `mem_cgroup_oom_synchronize`.
    pub wait: bool,
    /// That on failed allocations.
    pub alloc: AllocHook,
}

/// Whether and how failed allocations are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocHook {
    /// By a probe on `warn_alloc`.
    Probe,
    /// By the tracepoint of all allocations.
    Tracepoint,
    /// Not at all: the kernel accepts no hook.
    Refused,
    /// Not at all: the user does not want it.
    NotWanted,
}

impl AllocHook {
    /// What came of the plan.
    #[must_use]
    pub fn of(attached: Option<&Attach>, wanted: bool) -> Self {
        match attached.map(|attach| attach.kind) {
            Some(AttachKind::RawTracepoint) => Self::Tracepoint,
            Some(_) => Self::Probe,
            None if wanted => Self::Refused,
            None => Self::NotWanted,
        }
    }

    /// The same by the hook's name in reports.
    #[must_use]
    pub fn of_name(hook: Option<&str>, wanted: bool) -> Self {
        match hook {
            Some(hook) if hook.starts_with("raw_tp:") => Self::Tracepoint,
            Some(_) => Self::Probe,
            None if wanted => Self::Refused,
            None => Self::NotWanted,
        }
    }
}

/// What `tier` does not see on this host. `symbols` are those that stacks are named by.
#[must_use]
pub fn blind(tier: &Tier, attached: Optional, facts: &HostFacts, symbols: &Symbols) -> Vec<Blind> {
    let mut list = Vec::new();
    let mut add = |what: &str, why: &str, remedy: Option<&str>| {
        list.push(Blind {
            what: what.to_owned(),
            why: why.to_owned(),
            remedy: remedy.map(str::to_owned),
            chosen: false,
        });
    };
    if tier.hook == Hook::RawTracepoint {
        add(
            "an OOM that finds nobody to kill",
            "tracepoint oom:mark_victim, the only hook in use, fires for victims",
            Some(BETTER_HOOKS),
        );
        add(
            "whether all processes of a group kill (memory.oom.group) are in the report",
            "there is no hook on the end of the kill",
            Some(BETTER_HOOKS),
        );
        if !(symbols.covers(MEM_CGROUP_OUT_OF_MEMORY) && symbols.covers("out_of_memory")) {
            add(
                "whether it was the node or a cgroup that ran out of memory, where the victim's cgroups do not tell",
                symbols.unusable().unwrap_or("/proc/kallsyms lacks the functions that would tell them apart"),
                Some(SHOW_ADDRESSES),
            );
        }
    } else if !attached.memcg && facts.memory_cgroup != Some(MemoryCgroup::Disabled) {
        add(
            "an OOM of a memory cgroup that finds nobody to kill",
            if tier.memcg.is_empty() {
                "the kernel does not list function mem_cgroup_out_of_memory"
            } else {
                "the kernel does not accept a hook on mem_cgroup_out_of_memory"
            },
            None,
        );
    }
    if !symbols.covers("memory_max_write") {
        add(
            "whether a cgroup ran out because somebody lowered its limit",
            symbols.unusable().unwrap_or("/proc/kallsyms lacks function memory_max_write"),
            Some(SHOW_ADDRESSES),
        );
    }
    if facts.memory_cgroup == Some(MemoryCgroup::V1) && !attached.wait {
        add(
            "a container that hangs at its limit with oom_kill_disable set",
            match (&tier.wait, tier.hook) {
                (_, Hook::RawTracepoint) => {
                    "on cgroup v1 the kernel then lets it sleep and calls no OOM killer, so no tracepoint is hit"
                }
                (None, _) => {
                    "the kernel does not list function mem_cgroup_oom_synchronize, in which it sleeps"
                }
                (Some(_), _) => {
                    "the kernel does not accept a hook on mem_cgroup_oom_synchronize, in which it sleeps"
                }
            },
            Some("boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), which has no such setting"),
        );
    }
    match attached.alloc {
        // What is not wanted is said last.
        AllocHook::Probe | AllocHook::NotWanted => {}
        AllocHook::Tracepoint => add(
            "a failed vmalloc, and an allocation of a larger order than the kernel has",
            "tracepoint kmem:mm_page_alloc, by which failed allocations are seen, is not hit by those",
            Some(BETTER_HOOKS),
        ),
        AllocHook::Refused => {
            add(UNSEEN_FRAGMENTATION, "the kernel accepts no hook on them", Some(BETTER_HOOKS));
        }
    }
    match facts.panic_on_oom {
        None | Some(0) => {}
        Some(1) => add(
            "an OOM of the whole node",
            "vm.panic_on_oom is 1: the kernel panics before a report can leave",
            Some("set sysctl vm.panic_on_oom=0"),
        ),
        Some(value) => add(
            "every OOM, those of containers included",
            &format!("vm.panic_on_oom is {value}: the kernel panics before a report can leave"),
            Some("set sysctl vm.panic_on_oom=0"),
        ),
    }
    if attached.alloc == AllocHook::NotWanted {
        list.push(Blind {
            what: UNSEEN_FRAGMENTATION.to_owned(),
            why: "--no-alloc leaves them out".to_owned(),
            remedy: None,
            chosen: true,
        });
    }
    list
}
