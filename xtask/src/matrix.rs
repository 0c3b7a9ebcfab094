//! The matrix: scenarios of `tests/scenario`, played in guests with many kernels.
//!
//! `plan` says which guests to boot and `gate` which of them the gate boots; `play` boots them; `outcome` judges their output;
//! `record` merges the results, `table` draws them.

pub(crate) mod deployed;
pub(crate) mod gate;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod play;
pub(crate) mod record;
pub(crate) mod shape;
pub(crate) mod table;
pub(crate) mod tier;
