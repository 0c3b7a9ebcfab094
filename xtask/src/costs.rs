//! What crashtrace costs, as `cargo xtask bench` measures it: the record of a run, and its tables.

pub(crate) mod record;
pub(crate) mod table;
