//! Shared parts of the tests: agents under test, cgroups, their own containerd, their own API server, recordings, and the removal
//! of all that must not outlive a test.

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
