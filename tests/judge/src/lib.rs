//! Compares agents' reports with the reports that `scenarios.toml` demands. PURE: no kernel, no processes.
//!
//! The file (`catalogue`) has each report that must come and names processes and cgroups by their roles. A scenario that was
//! played gives its cast (`cast`): which process had which role. `matching` finds the line for each report, `report` compares
//! the two, field by field (`check`), and `clock` compares their times with the clock. `exit` has rules for ends of containers that hold in every scenario. `kernel_log` has what the kernel itself logged of a
//! decision. `agree` compares the reports of agents with
//! different hooks about the same kill. `deployed` and `starts` have checks beside the scenarios.

#![expect(clippy::must_use_candidate, reason = "only tests call these")]

pub mod account;
pub mod agree;
pub mod cast;
pub mod catalogue;
mod check;
pub mod clock;
pub mod deployed;
pub mod exit;
pub mod failure;
mod gfp;
pub mod kernel_log;
pub mod matching;
mod report;
pub mod starts;
pub mod storm;
mod validate;

#[cfg(test)]
mod tests;
