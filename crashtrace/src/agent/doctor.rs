//! `crashtrace doctor`: what can be seen on this node, tried out.

use std::io::Write as _;

use anyhow::{Context as _, Result};

use super::look;
use crate::cli::{Doctor, Output};
use crate::doctor::{DoctorReport, Findings, TierTrial, assemble, render_text};
use crate::source::layout::Layout;
use crate::source::load::LoadError;
use crate::source::plan::{Plan, Tier, plan};

/// Looks, tries each tier of hooks and takes it away again, and says what came of it.
///
/// # Errors
/// The findings cannot be written.
pub fn doctor(config: &Doctor) -> Result<DoctorReport> {
    let look = look::look(config.btf.as_deref());
    let trials = match plan(&look.facts, &look.view, config.hooks, config.allocations) {
        Ok(plan) => plan.tiers.iter().map(|tier| trial(&look, tier, &plan)).collect(),
        Err(_) => Vec::new(),
    };
    let absent = look.layout.iter().flat_map(Layout::absent);
    let report = assemble(Findings {
        absent_fields: absent.map(|field| field.name.to_owned()).collect(),
        facts: look.facts,
        kernel: look.view,
        wanted: config.hooks,
        allocations: config.allocations,
        trials,
        symbols: look.symbols,
    });
    let text = match config.output {
        Output::Json => serde_json::to_string_pretty(&report)? + "\n",
        Output::Text { color } => render_text(&report, color),
    };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(report),
    }
}

fn trial(look: &look::Look, tier: &Tier, plan: &Plan) -> TierTrial {
    let hook = tier.hook;
    let plan = Plan { tiers: vec![tier.clone()], ..plan.clone() };
    let told = |refused: &[crate::source::load::Refused]| {
        let refused: Vec<_> = refused.iter().map(|one| format!("{}: {}", one.name, one.error)).collect();
        (!refused.is_empty()).then(|| refused.join("; "))
    };
    match look.load(&plan, false) {
        Ok(attached) => {
            let (memcg, wait) = (attached.memcg, attached.wait);
            let alloc = attached.alloc.map(|attach| attach.to_string());
            TierTrial { hook, usable: true, memcg, wait, alloc, error: told(&attached.refused) }
        }
        Err(error) => {
            let refused = match error.downcast_ref() {
                Some(look::Unusable::Load(LoadError::Refused(refused))) => told(refused),
                _ => None,
            };
            TierTrial {
                hook,
                usable: false,
                memcg: false,
                wait: false,
                alloc: None,
                error: Some(refused.unwrap_or_else(|| format!("{error:#}"))),
            }
        }
    }
}
