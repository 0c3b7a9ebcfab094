//! The reports of failed allocations that must come.

use serde::Deserialize;

use super::{Limit, Tier, Words, all_tiers, allocation, no_constraint};

/// Failed allocations of one kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Tiers that see it.
    #[serde(default = "all_tiers")]
    pub tiers: Vec<Tier>,
    pub kind: String,
    pub cause: String,
    pub shortage: Option<String>,
    pub level: Option<String>,
    #[serde(default = "allocation")]
    pub origin: String,
    #[serde(default = "no_constraint")]
    pub constraint: String,
    /// Order of the allocation; none if it is not one contiguous block.
    pub order: Option<u32>,
    /// Its size if it is not, up to two pages more.
    pub mib: Option<u64>,
    /// Names of its flags.
    pub gfp: Vec<String>,
    /// Those that it has on some kernels besides.
    #[serde(default)]
    pub gfp_may: Vec<String>,
    pub migrate_type: Option<String>,
    /// Role of the trigger.
    pub trigger: String,
    /// How many there are.
    pub count: u64,
    /// The kernel had the memory, and could not charge it.
    #[serde(default)]
    pub charge: bool,
    pub limit: Option<Limit>,
    /// The kernel's indices of the largest eligible zone, at least and at most.
    pub index: Option<(f64, f64)>,
    pub unusable: Option<(f64, f64)>,
    /// Words that must be in the evidence.
    #[serde(default)]
    pub evidence: Vec<Words>,
    /// Words that must be in the remedy.
    #[serde(default)]
    pub remedy: Vec<Words>,
    /// Words that must be in neither.
    #[serde(default)]
    pub never: Vec<String>,
    /// Fields that must be in `unresolved`.
    #[serde(default)]
    pub unresolved: Vec<String>,
}
