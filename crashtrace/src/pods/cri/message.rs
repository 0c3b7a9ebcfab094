//! The requests of CRI v1: messages of the API's `api.proto`, cut down to the fields that are set. The answers are read by
//! [`decode`](super::decode).
//!
//! Written by hand because the published bindings run `protoc` when they are built. The numbers are the API's and never
//! change.

use prost::Message;

/// The service that all methods belong to.
pub const SERVICE: &str = "runtime.v1.RuntimeService";

/// `ListContainersRequest`. Without a filter: all, ended ones too.
#[derive(Clone, PartialEq, Message)]
pub struct ListContainersRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

/// `ContainerFilter`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerFilter {
    /// Those in this sandbox.
    #[prost(string, tag = "3")]
    pub pod_sandbox_id: String,
}

/// `ListPodSandboxRequest`. Without a filter: all, ended ones too.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<PodSandboxFilter>,
}

/// `PodSandboxFilter`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxFilter {
    /// The one with this id.
    #[prost(string, tag = "1")]
    pub id: String,
}
