//! PURE: the report of `crashtrace doctor`: the facts about the host, which hooks the kernel accepted on trial, what
//! stays unseen, and what to do about it.
//!
//! The caller gathers and tries; here the findings are put together and judged. In JSON the report is one object of schema
//! `crashtrace-doctor/v1`, under the same rules as a report of an incident: fields and values may be added, `null` is unknown, and
//! `facts.unresolved` says why.

use std::collections::BTreeSet;
use std::fmt::Display;

use schemars::JsonSchema;
use serde::Serialize;

use crate::confine::Confinement;
use crate::event::{Hook, Zones};
use crate::exit;
use crate::kernel::host::{Capability, HostFacts, NO_MEMLOCK_SINCE, Unresolved, counts_locked_memory};
use crate::kernel::plan::{
    self, AllocHook, Attach, Beside, Blind, ExitHooks, HooksWanted, KernelView, Refusal, Skipped,
};
use crate::self_test::SelfTestReport;
use crate::symbols::Symbols;

mod allocations;
mod exits;
pub mod fragmentation;
mod names;
mod text;

pub use allocations::FailedAllocations;
pub use exits::ContainerExits;
pub use fragmentation::Fragmentation;
pub use names::{NameTrial, WriteTrial};
pub use text::render_text;

/// Value of [`DoctorReport::schema`].
pub const SCHEMA: &str = "crashtrace-doctor/v1";

/// The caller's findings.
#[derive(Clone, Debug)]
pub struct Findings {
    /// About the host.
    pub facts: HostFacts,
    /// About the functions and the tracepoint; the default where there is no BTF.
    pub kernel: KernelView,
    /// Which hooks the user wants.
    pub wanted: HooksWanted,
    /// What the user wants beside OOM kills.
    pub beside: Beside,
    /// Result of each tier of the plan, in the plan's order. Tiers after the first usable one may be left out.
    pub trials: Vec<TierTrial>,
    /// Values that the kernel side read of this process; `None` if that was not tried, or failed.
    pub self_test: Option<SelfTestReport>,
    /// Why its values are wrong, if so.
    pub self_test_refusal: Option<Refusal>,
    /// Names of fields that this kernel does not have.
    pub absent_fields: Vec<String>,
    /// Symbols that name the functions of a stack.
    pub symbols: Symbols,
    /// The zones of the page allocator, or why they could not be read.
    pub zones: Result<Zones, String>,
    /// Result of each source of the names of pods.
    pub names: Vec<NameTrial>,
    /// Result of each kind of objects that is to be written to the API server.
    pub kube_writes: Vec<WriteTrial>,
    /// Rights that the agent keeps once it watches, from a trial; `None` if it cannot watch.
    pub confinement: Option<Confinement>,
}

/// Result of a tier when the loader tried it and removed it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TierTrial {
    /// The tier, as `--hooks` takes it: `fentry`, `kprobe` or `raw_tp`.
    #[serde(serialize_with = "as_shown")]
    #[schemars(with = "String")]
    pub hook: Hook,
    /// The kernel accepted all hooks that the tier needs.
    pub usable: bool,
    /// It also accepted the hooks on OOMs without a victim, which are optional.
    pub memcg: bool,
    /// It also accepted the hook on tasks that wait at a limit of cgroup v1, which is optional.
    pub wait: bool,
    /// The hook on failed allocations that it accepted, as reports name it: `kprobe:warn_alloc`, or
    /// `raw_tp:mm_page_alloc`, which has a cost for each page.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "Option<String>")]
    pub alloc: Option<Attach>,
    /// Its errors for those of these hooks that it refused. A usable tier works without them.
    pub error: Option<String>,
    /// Its errors for refused hooks on failed allocations, without which the tier works.
    pub alloc_error: Option<String>,
    /// The hooks on ends of containers that it accepted: `raw_tp:sched_process_exit`, and `raw_tp:signal_generate` for the senders
    /// of signals.
    #[serde(serialize_with = "each_shown")]
    #[schemars(with = "Vec<String>")]
    pub exits: Vec<Attach>,
    /// Its errors for refused hooks on ends of containers, without which the tier works.
    pub exits_error: Option<String>,
    /// Why the hooks that it accepted end with the agent also with `--pin`, so that a restart is a gap; null if they can be pinned.
    pub not_pinned: Option<String>,
}

/// The report of `doctor`.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct DoctorReport {
    /// Always `crashtrace-doctor/v1`.
    pub schema: String,
    /// Version of the agent.
    pub agent: String,
    pub verdict: Conclusion,
    /// Facts about the host.
    pub facts: HostFacts,
    /// The tiers of hooks, best first.
    pub tiers: Vec<TierTrial>,
    /// The tier that `watch` would use.
    #[serde(serialize_with = "shown")]
    #[schemars(with = "Option<String>")]
    pub uses: Option<Hook>,
    /// How `watch` would see failed allocations; null if `watch` would not work.
    pub failed_allocations: Option<FailedAllocations>,
    /// How `watch` would see ends of containers; null if `watch` would not work.
    pub container_exits: Option<ContainerExits>,
    /// Values that the kernel side read of this process, compared with the true ones; null where that was not tried, or failed.
    pub self_test: Option<SelfTestReport>,
    /// The sources of the names of pods.
    pub names: Vec<NameTrial>,
    /// Kinds of objects that `watch` would write to the API server with the same options; empty without `--kube-reports` and
    /// `--kube-events`.
    pub kube_writes: Vec<WriteTrial>,
    /// Rights that `watch` keeps once its hooks are in place, from a trial; null if `watch` would not work.
    pub confinement: Option<Confinement>,
    /// Events that it would not see.
    pub blind: Vec<Blind>,
    /// The node's free memory at this moment; null where it could not be read.
    pub fragmentation: Option<Fragmentation>,
    /// Fields of `fragmentation` that are unknown, by path, and why.
    pub unresolved: Vec<Unresolved>,
    /// Kernel fields that this kernel does not have, by their names in crashtrace's table. Each kernel lacks some: renamed fields
    /// are found under another name, and cgroup v1's are not built in everywhere.
    pub absent_fields: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Verdict")]
pub struct Conclusion {
    /// In one word.
    pub status: Usability,
    /// In one sentence.
    pub summary: String,
    /// What to do, most important first.
    pub remedies: Vec<String>,
}

/// The conclusion in one word, about what crashtrace can see; it decides the exit code. The state of the node's memory is momentary
/// and never changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Usability {
    /// Everything works.
    Ok,
    /// It works, but something stays unseen.
    Degraded,
    /// Nothing can be watched.
    Unusable,
}

impl DoctorReport {
    /// Exit code of the command.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.verdict.status {
            Usability::Ok => exit::OK,
            Usability::Degraded => exit::DEGRADED,
            Usability::Unusable => exit::UNUSABLE,
        }
    }
}

/// Puts the findings together and judges them.
#[must_use]
pub fn assemble(findings: Findings) -> DoctorReport {
    let Findings {
        facts,
        kernel,
        wanted,
        beside,
        trials,
        absent_fields,
        symbols,
        zones,
        names,
        kube_writes,
        confinement,
        self_test,
        self_test_refusal,
    } = findings;
    let plan = plan::plan(&facts, &kernel, wanted, beside);
    let mut refusals = plan::refusals(&facts, &kernel);
    let (planned, skipped, alloc_skipped) = match plan {
        Ok(plan) => (plan.tiers, plan.skipped, plan.alloc_skipped),
        Err(refusal) => {
            // The plan refuses for one of these reasons, or for another one.
            if refusals.is_empty() {
                refusals.push(refusal);
            }
            (Vec::new(), Vec::new(), None)
        }
    };
    let believed = self_test_refusal.is_none();
    refusals.extend(self_test_refusal);
    let used = planned.iter().filter(|_| believed).find_map(|tier| {
        let trial = trials.iter().find(|trial| trial.hook == tier.hook && trial.usable)?;
        Some((tier, trial))
    });
    let mut blind = used.map_or(Vec::new(), |(tier, trial)| {
        plan::blind(tier, optional(trial, beside), &facts, Some(&symbols))
    });
    // Another kind of hook may see more of the kernel, but none of this.
    let hooks_see_all = blind.iter().all(|blind| blind.chosen);
    blind.extend(used.and_then(|_| names::blind(&names)));
    blind.extend(kube_writes.iter().filter(|_| used.is_some()).filter_map(WriteTrial::blind));
    let mut remedies: Vec<String> = match used {
        Some(_) => blind.iter().filter_map(|blind| blind.remedy.clone()).collect(),
        None if refusals.is_empty() => refused_by_the_kernel(&facts),
        None => refusals.iter().map(|refusal| refusal.remedy.clone()).collect(),
    };
    if used.is_some() && wanted != HooksWanted::Auto && !hooks_see_all {
        remedies.push("try --hooks auto: another kind of hook may see more".to_owned());
    }
    // Sources that do not answer are among the blind spots.
    let odd = names.iter().filter(|trial| used.is_some() && trial.usable);
    remedies.extend(odd.filter_map(|trial| trial.remedy.clone()));
    let mut unresolved = Vec::new();
    let fragmentation = match zones {
        Ok(zones) => Some(fragmentation::look(&zones, facts.page_size_bytes, &mut unresolved)),
        Err(reason) => {
            unresolved.push(Unresolved { field: "fragmentation".to_owned(), reason });
            None
        }
    };
    remedies.extend(fragmentation.iter().flat_map(|found| fragmentation::remedies(found, &facts)));
    let mut seen = BTreeSet::new();
    remedies.retain(|remedy| seen.insert(remedy.clone()));
    let (status, summary) = match used {
        None => {
            let whys: Vec<_> = refusals.iter().map(|refusal| refusal.why.as_str()).collect();
            let why =
                if whys.is_empty() { "it accepts none of the hooks".into() } else { whys.join("; and ") };
            (Usability::Unusable, format!("cannot watch this kernel: {why}"))
        }
        Some((tier, _)) if blind.iter().all(|blind| blind.chosen) => {
            (Usability::Ok, format!("can watch this node with {} hooks", tier.hook))
        }
        Some((tier, _)) => (
            Usability::Degraded,
            format!("can watch this node with {} hooks, but does not see everything", tier.hook),
        ),
    };
    let in_use = used.map(|(tier, _)| tier.hook);
    let failed_allocations =
        allocations::failed_allocations(used.map(|(_, trial)| trial), alloc_skipped, beside.allocations);
    let container_exits = exits::container_exits(used.map(|(_, trial)| trial), beside.exits);
    let mut tiers: Vec<_> = trials.into_iter().chain(skipped.into_iter().map(untried)).collect();
    tiers.sort_by_key(|trial| trial.hook);
    DoctorReport {
        schema: SCHEMA.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        verdict: Conclusion { status, summary, remedies },
        facts,
        tiers,
        uses: in_use,
        failed_allocations,
        container_exits,
        self_test,
        names,
        kube_writes,
        confinement,
        blind,
        fragmentation,
        unresolved,
        absent_fields,
    }
}

fn untried(skipped: Skipped) -> TierTrial {
    TierTrial {
        hook: skipped.hook,
        usable: false,
        memcg: false,
        wait: false,
        alloc: None,
        error: Some(skipped.reason),
        alloc_error: None,
        exits: Vec::new(),
        exits_error: None,
        not_pinned: None,
    }
}

fn optional(trial: &TierTrial, wanted: Beside) -> plan::Optional {
    let alloc = AllocHook::of(trial.alloc.as_ref(), wanted.allocations);
    let exits = ExitHooks::of(&trial.exits, wanted.exits);
    plan::Optional { memcg: trial.memcg, wait: trial.wait, alloc, exits }
}

/// Remedies where no fact is against it and the kernel still refuses.
fn refused_by_the_kernel(facts: &HostFacts) -> Vec<String> {
    let mut remedies = Vec::new();
    if counts_locked_memory(facts.version()) && facts.can(Capability::SysResource) != Some(true) {
        remedies.push(format!(
            "give crashtrace CAP_SYS_RESOURCE, or an unlimited RLIMIT_MEMLOCK: before {NO_MEMLOCK_SINCE} BPF \
             maps count as locked memory"
        ));
    }
    remedies.push(
        "read what the kernel said to each hook (\"Hooks, best first\"); \"operation not permitted\" in spite of the capabilities is a \
         seccomp profile or a security module (in a pod: `securityContext.privileged: true`)"
            .to_owned(),
    );
    remedies
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn as_shown<S: serde::Serializer>(hook: &Hook, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(hook)
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn shown<T: Display, S: serde::Serializer>(hook: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match hook {
        Some(hook) => serializer.collect_str(hook),
        None => serializer.serialize_none(),
    }
}

fn each_shown<T: Display, S: serde::Serializer>(hooks: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hooks.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests;
