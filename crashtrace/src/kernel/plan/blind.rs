//! PURE: the blind spots of the hooks in use, so that silence can be trusted for the rest.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Attach, AttachKind, MEM_CGROUP_OUT_OF_MEMORY, PROCESS_EXIT, SIGNAL_GENERATE, Tier};
use crate::event::Hook;
use crate::kernel::host::{Capability, HostFacts, MemoryCgroup, NO_KMEM_LIMIT_SINCE};
use crate::symbols::Symbols;

/// An event that happens on this host, or may, and that no report will show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Blind {
    /// The unseen event.
    pub what: String,
    pub why: String,
    /// What to do about it, as an imperative; `null` where nothing is known.
    pub remedy: Option<String>,
    /// The user left it out on the command line, so the host has no fault.
    pub chosen: bool,
}

const BETTER_HOOKS: &str = "run a kernel that accepts fentry hooks or kprobes (CONFIG_KPROBES, \
    CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), with --hooks auto";

/// Kernels of some distributions, Debian's among them, refuse perf events, and so kprobes, to processes without `CAP_SYS_ADMIN`
/// while `kernel.perf_event_paranoid` is above 2, which it is by default. Mainline kernels have no such value.
const PERF_EVENTS_CLOSED_ABOVE: i32 = 2;

const OPEN_PERF_EVENTS: &str = "set sysctl kernel.perf_event_paranoid to 2: above 2 kernels of some distributions \
    (Debian's for one) accept kprobes only with CAP_SYS_ADMIN, even with CAP_PERFMON";

const UNSEEN_FRAGMENTATION: &str = "failed allocations, and so the fragmentation of the node's memory";

/// Cost of the second choice of hooks on failed allocations: it is the only program that runs while nothing is wrong.
pub const TRACEPOINT_COST: &str =
    "some 90 to 135 instructions (see crashtrace/docs/hooks.md) more for each page allocation of the node";

/// Cost of the hook on the ends of processes.
pub(super) const EXIT_COST: &str = "some 500 instructions for each process that ends";

/// Cost of the hook on signals.
pub(super) const SIGNAL_COST: &str = "some 500 instructions for each signal that could end a process";

const UNSEEN_ENDS: &str = "the end of a container for another reason than the OOM killer: its exit code or signal, and \
    who sent that";

const GIVE_SYSLOG: &str = "give crashtrace CAP_SYSLOG";

const SHOW_ALL_ADDRESSES: &str = "set sysctl kernel.kptr_restrict to 0 or 1";

/// Which of a tier's optional hooks are in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optional {
    /// The hooks on `mem_cgroup_out_of_memory`.
    pub memcg: bool,
    /// The hook on `mem_cgroup_oom_synchronize`.
    pub wait: bool,
    /// The hook on failed allocations.
    pub alloc: AllocHook,
    /// The hooks on ends of containers.
    pub exits: ExitHooks,
}

/// Which ends of containers are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitHooks {
    /// All, and who sent the signal.
    Both,
    /// All; the kernel accepts no hook on signals.
    WithoutSignals,
    /// None: the kernel accepts no hook.
    Refused,
    /// None: the user does not want them.
    NotWanted,
}

impl ExitHooks {
    /// By the hooks that are in place.
    #[must_use]
    pub fn of(attached: &[Attach], wanted: bool) -> Self {
        match (attached.contains(&PROCESS_EXIT), attached.contains(&SIGNAL_GENERATE)) {
            (true, true) => Self::Both,
            (true, false) => Self::WithoutSignals,
            (false, _) if wanted => Self::Refused,
            (false, _) => Self::NotWanted,
        }
    }
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
    /// By the hook that is in place.
    #[must_use]
    pub fn of(attached: Option<&Attach>, wanted: bool) -> Self {
        match attached.map(|attach| attach.kind) {
            Some(AttachKind::RawTracepoint) => Self::Tracepoint,
            Some(_) => Self::Probe,
            None if wanted => Self::Refused,
            None => Self::NotWanted,
        }
    }
}

/// Events that `tier` does not see on this host. `symbols` are the symbols that name the functions of a stack; `None` where they are
/// not read yet, and then nothing is said to be unseen for want of one.
#[must_use]
pub fn blind(tier: &Tier, attached: Optional, facts: &HostFacts, symbols: Option<&Symbols>) -> Vec<Blind> {
    let cover = |function| symbols.is_none_or(|symbols| symbols.covers(function));
    let unusable = || symbols.and_then(Symbols::unusable);
    let show_addresses = show_addresses(facts);
    let mut list: Vec<_> = no_controller(facts).into_iter().collect();
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
            "an OOM that finds no process to kill",
            "tracepoint oom:mark_victim, the only hook in use, fires for victims",
            Some(BETTER_HOOKS),
        );
        add(
            "whether all processes of a group kill (memory.oom.group) are in the report",
            "there is no hook on the return of oom_kill_process",
            Some(BETTER_HOOKS),
        );
        if !(cover(MEM_CGROUP_OUT_OF_MEMORY) && cover("out_of_memory")) {
            add(
                "whether it was the node or a cgroup that ran out of memory, where the victim's cgroups do not tell",
                unusable().unwrap_or("/proc/kallsyms lacks the functions that would tell them apart"),
                Some(&show_addresses),
            );
        }
    } else if !attached.memcg && facts.memory_cgroup != Some(MemoryCgroup::Disabled) {
        add(
            "an OOM of a memory cgroup that finds no process to kill",
            if tier.memcg.is_empty() {
                "the kernel does not list function mem_cgroup_out_of_memory"
            } else {
                "the kernel does not accept a hook on mem_cgroup_out_of_memory"
            },
            None,
        );
    }
    if !cover("memory_max_write") {
        add(
            "whether a cgroup ran out because somebody lowered its limit",
            unusable().unwrap_or("/proc/kallsyms lacks function memory_max_write"),
            Some(&show_addresses),
        );
    }
    if facts.memory_cgroup == Some(MemoryCgroup::V1) && !attached.wait {
        add(
            "a container that hangs at its limit with oom_kill_disable set",
            match (&tier.wait, tier.hook) {
                (_, Hook::RawTracepoint) => {
                    "on cgroup v1 its tasks then sleep, and no OOM killer runs, so no tracepoint fires"
                }
                (None, _) => {
                    "the kernel does not list function mem_cgroup_oom_synchronize, in which it sleeps"
                }
                (Some(_), _) => {
                    "the kernel does not accept a hook on mem_cgroup_oom_synchronize, in which it sleeps"
                }
            },
            Some(
                "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1): cgroup v2 has no oom_kill_disable",
            ),
        );
    }
    match attached.alloc {
        // Blind spots that the user chose come last.
        AllocHook::Probe | AllocHook::NotWanted => {}
        AllocHook::Tracepoint => add(
            "a failed vmalloc that lacked no page (larger than memory, no address space), and an allocation above MAX_PAGE_ORDER",
            "tracepoint kmem:mm_page_alloc, by which failed allocations are seen, is not hit by those",
            Some(accept_kprobe(facts)),
        ),
        AllocHook::Refused => {
            add(UNSEEN_FRAGMENTATION, "the kernel accepts no hook on them", Some(accept_kprobe(facts)));
        }
    }
    list.extend(panic_on_oom(facts.panic_on_oom));
    list.extend(kmem_limits(attached.alloc, facts));
    let ends = unseen_ends(attached.exits);
    list.extend(ends.iter().filter(|blind| !blind.chosen).cloned());
    list.extend(not_given(facts));
    if attached.alloc == AllocHook::NotWanted {
        list.push(Blind {
            what: UNSEEN_FRAGMENTATION.to_owned(),
            why: "--no-alloc leaves them out".to_owned(),
            remedy: None,
            chosen: true,
        });
    }
    list.extend(ends.filter(|blind| blind.chosen));
    list
}

/// No report survives a panic.
fn panic_on_oom(value: Option<i32>) -> Option<Blind> {
    let (what, value) = match value? {
        0 => return None,
        1 => ("an OOM of the whole node", 1),
        value => ("every OOM, those of containers included", value),
    };
    Some(Blind {
        what: what.to_owned(),
        why: format!("vm.panic_on_oom is {value}: the kernel panics before a report can leave"),
        remedy: Some("set sysctl vm.panic_on_oom=0".to_owned()),
        chosen: false,
    })
}

/// A limit of kernel memory alone, which no hook sees hit.
fn kmem_limits(alloc: AllocHook, facts: &HostFacts) -> Option<Blind> {
    let wanted = !matches!(alloc, AllocHook::NotWanted | AllocHook::Refused);
    (has_kmem_limits(facts) && wanted).then(|| Blind {
        what: "a fork or another system call that fails with ENOMEM at a limit of kernel memory alone \
               (memory.kmem.limit_in_bytes)"
            .to_owned(),
        why: "on cgroup v1 the kernel then refuses the charge of an object or a stack, and no hook is on that path, which all \
              such charges take"
            .to_owned(),
        remedy: Some(
            "leave memory.kmem.limit_in_bytes at its default: kernel memory counts to memory.limit_in_bytes too".to_owned(),
        ),
        chosen: false,
    })
}

/// Without the memory controller no limit is in force. That is no fault of the hooks, but no report will be of a limit.
fn no_controller(facts: &HostFacts) -> Option<Blind> {
    (facts.memory_cgroup == Some(MemoryCgroup::Disabled)).then(|| Blind {
        what: "an OOM at a memory limit of a container, pod or service: no such limit is in force".to_owned(),
        why: "the kernel's memory controller is switched off (cgroup_disable=memory) or not built in".to_owned(),
        remedy: Some(
            "switch the memory controller on: remove cgroup_disable=memory from the kernel's command line (on Raspberry Pi OS add \
             cgroup_enable=memory cgroup_memory=1 to cmdline.txt) and boot anew"
                .to_owned(),
        ),
        chosen: false,
    })
}

/// Whether a container may have a limit of kernel memory beside that of memory. At that limit there is no OOM kill: each charge fails
/// (`memcg_charge_kmem` and the like, `mm/memcontrol.c`, 5.10; removed in 5.16). By the version: later kernels still have the counter
/// in BTF, and the file, which then cannot be written.
fn has_kmem_limits(facts: &HostFacts) -> bool {
    facts.memory_cgroup == Some(MemoryCgroup::V1)
        && facts.version().is_some_and(|version| version < NO_KMEM_LIMIT_SINCE)
}

/// What of ends of containers is not seen.
fn unseen_ends(exits: ExitHooks) -> Option<Blind> {
    let (what, why) = match exits {
        ExitHooks::Both => return None,
        ExitHooks::WithoutSignals => (
            "who sent the signal that ended a container",
            "the kernel does not accept a hook on tracepoint signal:signal_generate",
        ),
        ExitHooks::Refused => {
            (UNSEEN_ENDS, "the kernel does not accept a hook on tracepoint sched:sched_process_exit")
        }
        ExitHooks::NotWanted => (UNSEEN_ENDS, "--no-exits leaves them out"),
    };
    let chosen = exits == ExitHooks::NotWanted;
    Some(Blind { what: what.to_owned(), why: why.to_owned(), remedy: None, chosen })
}

/// Events that this process would see with more rights or mounts, whatever its hooks.
fn not_given(facts: &HostFacts) -> impl Iterator<Item = Blind> {
    let cgroups = hidden_cgroups(facts).map(|why| Blind {
        what: "shared memory of the cgroup whose limit was hit (limit.shmem_bytes)".to_owned(),
        why,
        remedy: Some("mount the host's /sys/fs/cgroup in crashtrace's container, read-only, for example at /host/sys/fs/cgroup".to_owned()),
        chosen: false,
    });
    let itself = (facts.can(Capability::SysResource) == Some(false)).then(|| Blind {
        what: "an OOM of the node in which crashtrace itself is killed".to_owned(),
        why: "without CAP_SYS_RESOURCE it cannot lower its own oom_score_adj".to_owned(),
        remedy: Some("give crashtrace CAP_SYS_RESOURCE".to_owned()),
        chosen: false,
    });
    cgroups.into_iter().chain(itself)
}

/// The remedy with which the kernel accepts a kprobe.
fn accept_kprobe(facts: &HostFacts) -> &'static str {
    let closed = facts.perf_event_paranoid.is_some_and(|value| value > PERF_EVENTS_CLOSED_ABOVE);
    if closed && facts.can(Capability::SysAdmin) == Some(false) { OPEN_PERF_EVENTS } else { BETTER_HOOKS }
}

/// The missing conditions for seeing kernel addresses.
fn show_addresses(facts: &HostFacts) -> String {
    let lacking = facts.can(Capability::Syslog).map(|can| !can);
    let hidden = facts.kptr_restrict.map(|value| value >= 2);
    match (lacking, hidden) {
        (Some(true), Some(false)) => GIVE_SYSLOG.to_owned(),
        (Some(false), Some(true)) => SHOW_ALL_ADDRESSES.to_owned(),
        _ => format!("{GIVE_SYSLOG}, and {SHOW_ALL_ADDRESSES}"),
    }
}

/// Why the files of other cgroups cannot be read, if so.
fn hidden_cgroups(facts: &HostFacts) -> Option<String> {
    // An unknown fact is not held against the host.
    if !matches!(facts.memory_cgroup, Some(MemoryCgroup::V1 | MemoryCgroup::V2)) {
        return None;
    }
    match (&facts.memory_cgroup_mount, facts.memory_cgroup_whole) {
        (Some(_), Some(true)) => None,
        (Some(mount), _) => Some(format!(
            "the cgroup hierarchy is mounted at {mount} only from this container's own cgroup on"
        )),
        (None, _) => Some("the cgroup hierarchy of the memory controller is not mounted here".to_owned()),
    }
}
