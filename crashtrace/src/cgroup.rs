//! Cgroup paths.
