//! What must be reported of allocations that fail.

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
    /// Order of the request; none for what is no single piece.
    pub order: Option<u32>,
    /// Names of its flags.
    pub gfp: Vec<String>,
    /// Those that it has on some kernels besides.
    #[serde(default)]
    pub gfp_may: Vec<String>,
    pub migrate_type: Option<String>,
    /// Role of the process that asks.
    pub trigger: String,
    /// How many there are.
    pub count: u64,
    /// The kernel had the memory, and could not charge it.
    #[serde(default)]
    pub charge: bool,
    pub limit: Option<Limit>,
    /// The kernel's indices of the largest zone that the request may use, at least and at most.
    pub index: Option<(f64, f64)>,
    pub unusable: Option<(f64, f64)>,
    /// What stands in the evidence.
    #[serde(default)]
    pub evidence: Vec<Words>,
    /// What stands in the remedy.
    #[serde(default)]
    pub remedy: Vec<Words>,
    /// What must stand in neither.
    #[serde(default)]
    pub never: Vec<String>,
    /// Fields that must be in `unresolved`.
    #[serde(default)]
    pub unresolved: Vec<String>,
}
