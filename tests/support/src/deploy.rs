//! What deploy/ stands for: what the agent needs, what kubectl makes of the manifests, and what a container runtime makes of a pod.

pub mod needs;
pub mod oci;
pub mod render;
