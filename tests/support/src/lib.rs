//! What tests have in common: agents under test, cgroups, a containerd of their own, an API server of their own, recordings, and what
//! must not outlive a test.

#![expect(clippy::must_use_candidate, clippy::missing_panics_doc, reason = "only tests call these")]

pub mod agent;
pub mod api_server;
pub mod cgroup;
pub mod cleanup;
pub mod clock;
pub mod containerd;
pub mod deploy;
pub mod http;
pub mod large_runtime;
pub mod recording;
pub mod scenario_program;
mod skip;
pub mod trees;

pub use skip::skipped;
