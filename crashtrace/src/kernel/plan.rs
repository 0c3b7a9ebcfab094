//! PURE: facts and configuration in, the hooks to use out, or a refusal with its remedy.
//!
//! Hooks come in tiers, from the one that sees most to the one that also works on hardened kernels:
//!
//! | tier | decision | memcg OOM without a victim | task that waits (v1) | each victim |
//! |---|---|---|---|---|
//! | fentry | fentry + fexit `oom_kill_process` | fexit `mem_cgroup_out_of_memory` | fentry `mem_cgroup_oom_synchronize` | raw tracepoint `oom:mark_victim` |
//! | kprobe | kprobe + kretprobe of the same | kprobe + kretprobe of the same | kprobe of the same | the same |
//! | raw tracepoint | read off the killer's stack at the first victim | none | none | the same |
//!
//! Failed allocations are hooked beside the tier: kprobe `warn_alloc`, else raw tracepoint `kmem:mm_page_alloc`. So are ends of
//! containers: raw tracepoints `sched:sched_process_exit` and, for the senders of signals, `signal:signal_generate`.
//!
//! The plan says what *may* work, in order of preference. Only a trial shows whether it does: 6.1 on arm64 describes every function
//! and accepts a trampoline on none, and some kernels are built without kprobes or without both. So the loader tries the tiers in
//! turn, and nothing here depends on a version where a trial can tell.

use std::fmt;

use crashtrace_ebpf::program;
use strum::{Display, VariantArray as _};

use super::host::{HostFacts, KERNEL_BTF};
use crate::event::Hook;
use crate::symbols::Symbols;

mod blind;
mod refusal;

pub use blind::{AllocHook, Blind, ExitHooks, Optional, TRACEPOINT_COST, blind};
use blind::{EXIT_COST, SIGNAL_COST};
pub(crate) use refusal::and_more;
pub use refusal::{Refusal, refusals};

/// The function that carries out an OOM decision.
const OOM_KILL_PROCESS: &str = "oom_kill_process";
/// The function that handles the OOM of a memory cgroup.
const MEM_CGROUP_OUT_OF_MEMORY: &str = "mem_cgroup_out_of_memory";

/// The function in which a task sleeps at the limit of a memory cgroup whose OOM killer is off. Only where cgroup v1 is
/// built in.
const MEM_CGROUP_OOM_SYNCHRONIZE: &str = "mem_cgroup_oom_synchronize";

/// The function that is called when an allocation has failed.
const WARN_ALLOC: &str = "warn_alloc";

/// All of them: existence and id of these are looked up in the kernel's BTF.
pub const HOOKED: [&str; 4] =
    [OOM_KILL_PROCESS, MEM_CGROUP_OUT_OF_MEMORY, MEM_CGROUP_OOM_SYNCHRONIZE, WARN_ALLOC];

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
#[strum(serialize_all = "snake_case")]
pub enum AttachKind {
    /// BPF trampoline at the entry of a function.
    Fentry,
    /// BPF trampoline at its return.
    Fexit,
    /// At a function's entry.
    Kprobe,
    /// At its return.
    Kretprobe,
    #[strum(serialize = "raw_tp")]
    RawTracepoint,
}

/// One program on one hook. Shown as `fentry:oom_kill_process`, which is how reports name hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attach {
    /// Name of the program in the kernel object, of [`crashtrace_ebpf::program`].
    pub program: &'static str,
    /// How it is attached.
    pub kind: AttachKind,
    /// The kernel function; for a raw tracepoint its name without the group.
    pub target: &'static str,
}

impl fmt::Display for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.target)
    }
}

impl Attach {
    /// What it costs while nothing is wrong; `crashtrace/docs/hooks.md` has the figures.
    #[must_use]
    pub fn cost(&self) -> &'static str {
        match self.target {
            "mm_page_alloc" => TRACEPOINT_COST,
            "sched_process_exit" => EXIT_COST,
            "signal_generate" => SIGNAL_COST,
            _ => "nothing",
        }
    }
}

/// Hooks that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub hook: Hook,
    /// Sees the decision begin and end. The tier needs all of them; the last tier has none.
    pub decision: Vec<Attach>,
    /// Sees an OOM of a memory cgroup that finds no process to kill. All of them or none: the tier does without.
    pub memcg: Vec<Attach>,
    /// Sees a task that waits at a limit of cgroup v1. The tier does without.
    pub wait: Option<Attach>,
    /// Sees each victim. The tier needs it.
    pub victims: Attach,
}

/// The hooks to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In order of preference: the loader takes the first that the kernel accepts. Never empty.
    pub tiers: Vec<Tier>,
    /// Tiers that the user wants and that cannot work here.
    pub skipped: Vec<Skipped>,
    /// Hooks on failed allocations, in order of preference: one is enough, and the tier works without any.
    pub alloc: Vec<Attach>,
    /// Why the first choice among those is left out.
    pub alloc_skipped: Option<String>,
    /// Hooks on ends of containers. The tier works without them, and the first without the second.
    pub exits: Vec<Attach>,
}

/// What the user wants beside OOM kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Failed allocations.
    pub allocations: bool,
    /// Ends of containers.
    pub exits: bool,
}

impl Beside {
    pub const ALL: Self = Self { allocations: true, exits: true };
}

/// A tier that need not be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub hook: Hook,
    pub reason: String,
}

/// Which hooks the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HooksWanted {
    /// The best tier that the kernel accepts.
    #[default]
    Auto,
    /// This tier, or nothing.
    Only(Hook),
}

impl HooksWanted {
    /// Its tiers, best first.
    fn tiers(self) -> Vec<Hook> {
        match self {
            Self::Auto => Hook::VARIANTS.to_vec(),
            Self::Only(tier) => vec![tier],
        }
    }
}

/// The kernel's description of the functions and the tracepoint to hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelView {
    /// Functions in BTF. That of 5.10 on arm64 lists only the global ones.
    pub btf_functions: Functions,
    /// Functions in kallsyms, by their exact names; `None` if it cannot be read, or is not read yet.
    pub kallsyms_functions: Option<Functions>,
    /// How `oom:mark_victim` passes its victim according to BTF (`crashtrace_ebpf::mark_victim_arg`); `None` if BTF does not
    /// describe the tracepoint.
    pub mark_victim_arg: Option<u32>,
}

/// Which of the functions to hook exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a function of the kernel's")]
pub struct Functions {
    /// `oom_kill_process`.
    pub oom_kill_process: bool,
    /// `mem_cgroup_out_of_memory`.
    pub mem_cgroup_out_of_memory: bool,
    /// `mem_cgroup_oom_synchronize`.
    pub mem_cgroup_oom_synchronize: bool,
    /// `warn_alloc`.
    pub warn_alloc: bool,
}

impl Functions {
    /// Calls `has` for each of them.
    pub fn by(mut has: impl FnMut(&str) -> bool) -> Self {
        Self {
            oom_kill_process: has(OOM_KILL_PROCESS),
            mem_cgroup_out_of_memory: has(MEM_CGROUP_OUT_OF_MEMORY),
            mem_cgroup_oom_synchronize: has(MEM_CGROUP_OOM_SYNCHRONIZE),
            warn_alloc: has(WARN_ALLOC),
        }
    }

    /// Those in kallsyms, if it could be read.
    #[must_use]
    pub fn in_kallsyms(symbols: &Symbols) -> Option<Self> {
        symbols.listed().then(|| Self::by(|function| symbols.has(function)))
    }
}

/// Decides which hooks to try. A tier that the user names is never replaced by another.
pub fn plan(
    facts: &HostFacts,
    kernel: &KernelView,
    wanted: HooksWanted,
    beside: Beside,
) -> Result<Plan, Refusal> {
    if let Some(refusal) = refusals(facts, kernel).into_iter().next() {
        return Err(refusal);
    }
    let (alloc, alloc_skipped) = if beside.allocations { alloc(kernel, wanted) } else { (Vec::new(), None) };
    let exits = if beside.exits { EXITS.to_vec() } else { Vec::new() };
    let mut plan = Plan { tiers: Vec::new(), skipped: Vec::new(), alloc, alloc_skipped, exits };
    for hook in wanted.tiers() {
        match hindrance(hook, facts, kernel) {
            Some(reason) => plan.skipped.push(Skipped { hook, reason }),
            None => plan.tiers.push(tier(hook, kernel)),
        }
    }
    // The last tier is never skipped, so the user named this tier.
    if let (true, Some(skipped)) = (plan.tiers.is_empty(), plan.skipped.first()) {
        return Err(Refusal {
            what: format!("use {} hooks", skipped.hook),
            why: skipped.reason.clone(),
            remedy: "let crashtrace choose with --hooks auto".to_owned(),
        });
    }
    Ok(plan)
}

/// Why a tier cannot work, as far as that is known without a trial.
fn hindrance(hook: Hook, facts: &HostFacts, kernel: &KernelView) -> Option<String> {
    match hook {
        // The kernel checks a trampoline's target against its own BTF, never against a file.
        Hook::Fentry => match &facts.kernel_btf.error {
            Some(error) => Some(format!("the kernel's own BTF, {KERNEL_BTF}, cannot be read: {error}")),
            None if !kernel.btf_functions.oom_kill_process => {
                Some(format!("the kernel's BTF does not list function {OOM_KILL_PROCESS}"))
            }
            None => None,
        },
        Hook::Kprobe => match kernel.kallsyms_functions {
            Some(functions) if !functions.oom_kill_process => Some(format!(
                "the kernel has no symbol {OOM_KILL_PROCESS}: its compiler renamed or inlined the function"
            )),
            _ => None,
        },
        Hook::RawTracepoint => None,
    }
}

/// The hooks on failed allocations. No trampoline fits `warn_alloc`, which is variadic. The tracepoint is hit by each
/// allocation, so it comes last, and is left out where the user names another kind of hooks.
fn alloc(kernel: &KernelView, wanted: HooksWanted) -> (Vec<Attach>, Option<String>) {
    let probe = Attach { program: program::WARN_ALLOC, kind: AttachKind::Kprobe, target: WARN_ALLOC };
    let tracepoint =
        Attach { program: program::MM_PAGE_ALLOC, kind: AttachKind::RawTracepoint, target: "mm_page_alloc" };
    let missing = match kernel.kallsyms_functions {
        Some(functions) if !functions.warn_alloc => Some(format!("the kernel has no symbol {WARN_ALLOC}")),
        _ => None,
    };
    match (wanted, &missing) {
        (HooksWanted::Only(Hook::RawTracepoint), _) => (vec![tracepoint], None),
        (HooksWanted::Auto, None) => (vec![probe, tracepoint], None),
        (HooksWanted::Auto, Some(_)) => (vec![tracepoint], missing),
        (HooksWanted::Only(Hook::Fentry | Hook::Kprobe), None) => (vec![probe], None),
        (HooksWanted::Only(Hook::Fentry | Hook::Kprobe), Some(_)) => (Vec::new(), missing),
    }
}

/// The hook on the ends of processes.
const PROCESS_EXIT: Attach =
    Attach { program: program::PROCESS_EXIT, kind: AttachKind::RawTracepoint, target: "sched_process_exit" };

/// The same, for ends while that program is running: it costs a few instructions otherwise.
const PROCESS_EXIT_BESIDE: Attach = Attach { program: program::PROCESS_EXIT_BESIDE, ..PROCESS_EXIT };

/// The hook on signals.
const SIGNAL_GENERATE: Attach =
    Attach { program: program::SIGNAL_GENERATE, kind: AttachKind::RawTracepoint, target: "signal_generate" };

/// The hooks on ends of containers: the end itself, and who sent the signal before it.
const EXITS: [Attach; 3] = [PROCESS_EXIT, PROCESS_EXIT_BESIDE, SIGNAL_GENERATE];

/// The hooks on the decision. The last tier has none.
fn decision(tier: Hook) -> Vec<Attach> {
    let decision = |program, kind| Attach { program, kind, target: OOM_KILL_PROCESS };
    match tier {
        Hook::Fentry => vec![
            decision(program::OOM_KILL_FENTRY, AttachKind::Fentry),
            decision(program::OOM_KILL_FEXIT, AttachKind::Fexit),
        ],
        Hook::Kprobe => vec![
            decision(program::OOM_KILL_KPROBE, AttachKind::Kprobe),
            decision(program::OOM_KILL_KRETPROBE, AttachKind::Kretprobe),
        ],
        Hook::RawTracepoint => Vec::new(),
    }
}

/// Whether one of these hooks, by their names in reports and recordings, sees decisions.
#[must_use]
pub fn sees_decisions(names: &[String]) -> bool {
    let hooks: Vec<_> =
        Hook::VARIANTS.iter().flat_map(|tier| decision(*tier)).map(|hook| hook.to_string()).collect();
    names.iter().any(|name| hooks.contains(name))
}

/// The programs of a tier.
fn tier(hook: Hook, kernel: &KernelView) -> Tier {
    use AttachKind::{Fentry, Fexit, Kprobe, Kretprobe, RawTracepoint};
    let memcg = |program, kind| Attach { program, kind, target: MEM_CGROUP_OUT_OF_MEMORY };
    let wait = |program, kind| Attach { program, kind, target: MEM_CGROUP_OOM_SYNCHRONIZE };
    let victims = |program| Attach { program, kind: RawTracepoint, target: "mark_victim" };
    match hook {
        Hook::Fentry => Tier {
            hook,
            wait: kernel
                .btf_functions
                .mem_cgroup_oom_synchronize
                .then(|| wait(program::MEMCG_WAIT_FENTRY, Fentry)),
            decision: decision(hook),
            memcg: if kernel.btf_functions.mem_cgroup_out_of_memory {
                vec![memcg(program::MEMCG_OOM_FEXIT, Fexit)]
            } else {
                Vec::new()
            },
            victims: victims(program::MARK_VICTIM),
        },
        Hook::Kprobe => Tier {
            hook,
            // Most current kernels do not have it, so it is not tried where its existence is unknown. It is a global function.
            wait: kernel
                .kallsyms_functions
                .unwrap_or(kernel.btf_functions)
                .mem_cgroup_oom_synchronize
                .then(|| wait(program::MEMCG_WAIT_KPROBE, Kprobe)),
            decision: decision(hook),
            memcg: if kernel.kallsyms_functions.is_none_or(|functions| functions.mem_cgroup_out_of_memory) {
                vec![memcg(program::MEMCG_OOM_KPROBE, Kprobe), memcg(program::MEMCG_OOM_KRETPROBE, Kretprobe)]
            } else {
                Vec::new()
            },
            victims: victims(program::MARK_VICTIM),
        },
        Hook::RawTracepoint => Tier {
            hook,
            wait: None,
            decision: decision(hook),
            memcg: Vec::new(),
            victims: victims(program::MARK_VICTIM_ALONE),
        },
    }
}

#[cfg(test)]
mod tests;
