//! PURE: how failed allocations are seen, which is tried beside the tiers and does not affect them.

use schemars::JsonSchema;
use serde::Serialize;

use super::TierTrial;
use crate::kernel::plan::{AllocHook, Attach, TRACEPOINT_COST};

/// How `watch` would see failed allocations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FailedAllocations {
    /// The hook: `kprobe:warn_alloc`, or `raw_tp:mm_page_alloc`, the second choice. Null if there is none.
    #[serde(serialize_with = "super::shown")]
    #[schemars(with = "Option<String>")]
    pub hook: Option<Attach>,
    /// Why it is not `kprobe:warn_alloc`; null where it is.
    pub instead: Option<String>,
    /// The hook's cost while nothing fails; null if it has none.
    pub cost: Option<String>,
}

/// From the trial of the tier in use. `skipped` says why the plan leaves the first choice out.
pub(super) fn failed_allocations(
    trial: Option<&TierTrial>,
    skipped: Option<String>,
    wanted: bool,
) -> Option<FailedAllocations> {
    let trial = trial?;
    let used = AllocHook::of(trial.alloc.as_ref(), wanted);
    let instead = match used {
        AllocHook::Probe => None,
        AllocHook::NotWanted => Some("--no-alloc leaves them out".to_owned()),
        AllocHook::Tracepoint | AllocHook::Refused => Some(
            trial
                .alloc_error
                .clone()
                .or(skipped)
                .unwrap_or_else(|| "--hooks raw_tp excludes kprobes".to_owned()),
        ),
    };
    Some(FailedAllocations {
        hook: trial.alloc,
        instead,
        cost: (used == AllocHook::Tracepoint).then(|| TRACEPOINT_COST.to_owned()),
    })
}

impl FailedAllocations {
    /// Lines of the text for the user.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![match (&self.hook, &self.instead) {
            (Some(hook), None) => format!("{hook}, no cost unless one fails"),
            (Some(hook), Some(_)) => format!("{hook}, the second choice"),
            (None, _) => "not seen".to_owned(),
        }];
        lines.extend(self.cost.as_ref().map(|cost| format!("costs {cost}")));
        lines.extend(self.instead.as_ref().map(|why| match self.hook {
            Some(_) => format!("first choice not available: {why}"),
            None => why.clone(),
        }));
        lines
    }
}

#[cfg(test)]
mod tests;
