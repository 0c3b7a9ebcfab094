//! PURE: how ends of containers are seen, which is tried beside the tiers and does not affect them.

use schemars::JsonSchema;
use serde::Serialize;

use super::TierTrial;
use crate::kernel::plan::{Attach, ExitHooks};

/// How `watch` would see ends of containers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ContainerExits {
    /// The hooks: `raw_tp:sched_process_exit`, and `raw_tp:signal_generate` for the senders of signals.
    #[serde(serialize_with = "super::each_shown")]
    #[schemars(with = "Vec<String>")]
    pub hooks: Vec<Attach>,
    /// Why one of them is missing; null if none is.
    pub missing: Option<String>,
    /// What they cost while no container ends.
    pub cost: Vec<String>,
}

/// From the trial of the tier in use.
pub(super) fn container_exits(trial: Option<&TierTrial>, wanted: bool) -> Option<ContainerExits> {
    let trial = trial?;
    let missing = match ExitHooks::of(&trial.exits, wanted) {
        ExitHooks::Both => None,
        ExitHooks::NotWanted => Some("--no-exits leaves them out".to_owned()),
        ExitHooks::WithoutSignals | ExitHooks::Refused => {
            Some(trial.exits_error.clone().unwrap_or_else(|| "the kernel refused them".to_owned()))
        }
    };
    let cost = trial.exits.iter().map(|hook| format!("{hook} costs {}", hook.cost())).collect();
    Some(ContainerExits { hooks: trial.exits.clone(), missing, cost })
}

impl ContainerExits {
    /// Lines of the text for the user.
    pub(super) fn lines(&self) -> Vec<String> {
        let hooks: Vec<_> = self.hooks.iter().map(ToString::to_string).collect();
        let first = if hooks.is_empty() { "not seen".to_owned() } else { hooks.join(", ") };
        [first].into_iter().chain(self.cost.clone()).chain(self.missing.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
