//! Pods: the names that an operator knows, where a cgroup's path has only a UID and an id.
//!
//! ```text
//! API server --kube--> pod object -> Pod -> Index --+
//!                                                   +--> find a container, find a pod: from memory, never waits
//! runtime    --cri---> lists ------------> Known ---+
//! ```
//!
//! [`object`] reads a pod object, [`pod`] and [`life`] are what is kept of it, and [`index`] keeps it. [`names`] makes a report's names from each
//! source, [`directory`] chooses the sources for a pod, and `confirm` decides what is taken of their answers.

mod confirm;
pub mod cri;
pub mod directory;
pub mod index;
pub mod kube;
pub mod life;
pub mod names;
pub mod object;
pub mod pod;

/// After so many bytes of an answer the others on the loop have their turn: it takes 0.2 ms to read them (at 169 MB/s, with the
/// settings of a release).
const TURN_BYTES: usize = 32 << 10;
