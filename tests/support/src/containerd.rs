//! A containerd of a test's own, and pods in it as kubelet makes them.

pub mod image;
pub mod kubelet;
pub mod log;
pub mod message;
pub mod pods;
pub mod remains;
pub mod runtime;
