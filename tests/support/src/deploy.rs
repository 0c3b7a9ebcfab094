//! The deployment of deploy/: the agent's needs, the manifests as kubectl renders them, and a pod as a container runtime makes it.

pub mod needs;
pub mod oci;
pub mod render;
