//! What is read of real objects, of broken ones, and of the parts of both.

mod lenient;
mod quantity;
pub(in crate::pods) mod recorded;
mod workload;
