//! Pods: the names that an operator knows, where a cgroup's path has only a UID and an id.
//!
//! ```text
//! API server --kube--> pod object -> Pod -> Index --+
//!                                                   +--> find a container, find a pod: from memory, never waits
//! runtime    --cri---> lists ------------> Known ---+
//! ```

pub mod cri;
pub mod pod;
