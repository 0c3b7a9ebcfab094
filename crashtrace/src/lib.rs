//! crashtrace: says why a container died, as it happens.
//!
//! ```text
//! kernel hook -> record -> event -> incident -> case -> verdict -> report -> sinks
//!                (ABI)     decode   correlate   enrich  classify   report    sink
//! ```
//!
//! Each stage depends only on the types of the stage before it; only `agent` knows them all. Decode, correlate,
//! classify and report are pure: bytes or values in, values out, time is an argument.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod classify;
pub mod correlate;
pub mod enrich;
pub mod event;
pub mod report;
