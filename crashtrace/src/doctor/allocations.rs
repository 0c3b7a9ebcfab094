//! PURE: how failed allocations are seen, which is tried beside the tiers and takes nothing from them.

use schemars::JsonSchema;
use serde::Serialize;

use super::TierTrial;
use crate::kernel::plan::{AllocHook, TRACEPOINT_COST};

/// How `watch` would see failed allocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedAllocations {
    /// The hook: `kprobe:warn_alloc`, or `raw_tp:mm_page_alloc`, the second choice. Null if there is none.
    pub hook: Option<String>,
    /// Why it is not `kprobe:warn_alloc`; null where it is.
    pub instead: Option<String>,
    /// What the hook costs while nothing fails; null if nothing.
    pub cost: Option<String>,
}

/// From the trial of the tier in use. `skipped` is why the plan leaves the first choice out.
pub(super) fn failed_allocations(
    trial: Option<&TierTrial>,
    skipped: Option<String>,
    wanted: bool,
) -> Option<FailedAllocations> {
    let trial = trial?;
    let used = AllocHook::of_name(trial.alloc.as_deref(), wanted);
    let instead = match used {
        AllocHook::Probe => None,
        AllocHook::NotWanted => Some("they are not asked for (--no-alloc)".to_owned()),
        AllocHook::Tracepoint | AllocHook::Refused => Some(
            trial
                .alloc_error
                .clone()
                .or(skipped)
                .unwrap_or_else(|| "--hooks asks for tracepoints".to_owned()),
        ),
    };
    Some(FailedAllocations {
        hook: trial.alloc.clone(),
        instead,
        cost: (used == AllocHook::Tracepoint).then(|| TRACEPOINT_COST.to_owned()),
    })
}

impl FailedAllocations {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![match (&self.hook, &self.instead) {
            (Some(hook), None) => format!("{hook}, which costs nothing until one fails"),
            (Some(hook), Some(_)) => format!("{hook}, the second choice"),
            (None, _) => "not seen".to_owned(),
        }];
        lines.extend(self.cost.as_ref().map(|cost| format!("costs {cost}")));
        lines.extend(self.instead.as_ref().map(|why| match self.hook {
            Some(_) => format!("first choice not used, which takes nothing from the hooks above: {why}"),
            None => why.clone(),
        }));
        lines
    }
}

#[cfg(test)]
mod tests;
