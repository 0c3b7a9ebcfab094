//! crashtrace reports why a container died, as it happens.
//!
//! ```text
//! kernel hook -> record -> event -> incident -> case -> verdict -> report -> sinks
//!                (ABI)     decode   correlate   enrich  classify   report    sinks
//! ```
//!
//! Each stage depends only on the types of the stage before it; only [`agent`] knows them all. Decode, correlate,
//! classify and report are pure: bytes or values in, values out, time is an argument. [`pipeline`] is their row,
//! from a record's bytes to the lines of the stream.
#![forbid(unsafe_code)]

pub mod agent;
pub mod backoff;
pub mod cgroup;
pub mod classify;
pub mod cli;
pub mod confine;
pub mod correlate;
pub mod crash_report;
pub mod decode;
pub mod describe;
pub mod doctor;
pub mod enrich;
pub mod event;
pub mod exit;
pub mod files;
pub mod filter;
pub mod fold;
pub mod fragmentation;
pub mod gfp;
mod harmless;
pub mod journal;
pub mod kernel;
pub mod kube_reports;
pub mod messages;
pub mod metrics;
pub mod names;
pub mod node;
pub mod observe;
pub mod phrase;
pub mod pipeline;
pub mod pods;
pub mod recording;
pub mod report;
pub mod schema;
pub mod self_test;
pub mod sinks;
pub mod stats;
pub mod stdio;
pub mod supervise;
pub mod symbols;
pub(crate) mod terminal;
pub mod why;
