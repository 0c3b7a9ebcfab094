//! `crashtrace doctor`: tries which hooks work on this node.

use anyhow::Result;

use super::host::{Host, Unusable};
use super::procfs::ProcFs;
use super::{pods, rights};
use crate::cli::Doctor;
use crate::doctor::{DoctorReport, Findings, TierTrial, assemble, render_text};
use crate::kernel::layout::Layout;
use crate::kernel::load::{KernelCounters, LoadError, Refused};
use crate::kernel::plan::{Attach, Plan, Tier, plan};
use crate::observe::zones_now;
use crate::schema::json;
use crate::self_test;
use crate::sinks::Form;
use crate::stdio;

/// Inspects the host, tries each tier of hooks, removes it again, and prints the findings.
///
/// # Errors
/// The findings cannot be written.
pub fn doctor(config: &Doctor) -> Result<DoctorReport> {
    spare_others();
    let host = Host::inspect(config.btf.as_deref());
    // Before the trials, which need memory themselves.
    let zones = zones_now(&mut ProcFs { mount: "/proc".into() });
    let mut confinement = None;
    // While the first working hooks are in place, as in `watch`.
    let needs = rights::needs(&config.pods, &host);
    let mut confine = |counters: &KernelCounters| {
        if confinement.is_none() {
            confinement = rights::trial(&needs, counters);
        }
    };
    // Where there is none, the report says why.
    let plan = plan(&host.facts, &host.view, config.hooks, config.beside).ok();
    let self_test = plan.as_ref().map(|_| host.self_test()).transpose()?;
    let tiers = plan.iter().flat_map(|plan| plan.tiers.iter().map(move |tier| (tier, plan)));
    let trials = tiers.map(|(tier, plan)| trial(&host, tier, plan, &mut confine)).collect();
    let refusal = self_test.as_ref().and_then(|tried| match tried {
        Ok(report) => self_test::misread(report, &host.facts),
        Err(error) => Some(self_test::untried(error, &host.facts)),
    });
    let absent = host.layout.iter().flat_map(Layout::absent);
    let report = assemble(Findings {
        absent_fields: absent.map(|field| field.name.to_owned()).collect(),
        kernel: host.view,
        wanted: config.hooks,
        beside: config.beside,
        trials,
        self_test_refusal: refusal,
        self_test: self_test.and_then(Result::ok),
        symbols: host.symbols().cloned().unwrap_or_default(),
        facts: host.facts,
        zones,
        names: pods::trials(&config.pods, &config.node_name)?,
        kube_writes: pods::write_trials(&config.pods, &config.node_name)?,
        confinement,
    });
    let text = match config.output {
        Form::Json => json::harmless(&serde_json::to_string_pretty(&report)?).into_owned() + "\n",
        Form::Text { color } => render_text(&report, color),
    };
    stdio::print(text.as_bytes())?;
    Ok(report)
}

/// Makes this process the first that the kernel kills. The trials need some ten MiB, and the user may run them because the node has
/// no memory left: they must not cost a container its life.
fn spare_others() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "cannot raise the doctor's own oom_score_adj");
    }
}

fn trial(host: &Host, tier: &Tier, plan: &Plan, in_place: &mut impl FnMut(&KernelCounters)) -> TierTrial {
    let hook = tier.hook;
    let plan = Plan { tiers: vec![tier.clone()], ..plan.clone() };
    // If the kernel refuses a hook beside the tier, the tier has not failed.
    let told = |refused: &[Refused], hooks: Option<&[Attach]>| {
        let beside = |hook| plan.alloc.contains(hook) || plan.exits.contains(hook);
        let refused = refused.iter().filter(|one| match hooks {
            Some(hooks) => hooks.contains(&one.hook),
            None => !beside(&one.hook),
        });
        let refused: Vec<_> = refused.map(ToString::to_string).collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    };
    match host.load(&plan) {
        Ok(mut attached) => {
            if let Ok((_, counters)) = attached.take_maps() {
                in_place(&counters);
            }
            let not_pinned = attached.can_be_pinned().err().map(|why| why.to_string());
            TierTrial {
                hook,
                usable: true,
                memcg: attached.memcg,
                wait: attached.wait,
                alloc: attached.alloc,
                error: told(&attached.refused, None),
                alloc_error: told(&attached.refused, Some(&plan.alloc)),
                exits: attached.exits,
                exits_error: told(&attached.refused, Some(&plan.exits)),
                not_pinned,
            }
        }
        Err(error) => {
            let refused = match error.downcast_ref() {
                Some(Unusable::Load(LoadError::Refused(refused))) => told(refused, None),
                _ => None,
            };
            TierTrial {
                hook,
                usable: false,
                memcg: false,
                wait: false,
                alloc: None,
                error: Some(refused.unwrap_or_else(|| format!("{error:#}"))),
                alloc_error: None,
                exits: Vec::new(),
                exits_error: None,
                not_pinned: None,
            }
        }
    }
}
