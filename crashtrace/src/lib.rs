//! The agent (being laid out).
pub mod cgroup;
