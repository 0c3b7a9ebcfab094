//! Real objects, broken ones, and the parts of both.

mod lenient;
mod life;
mod quantity;
pub(in crate::pods) mod recorded;
mod workload;
