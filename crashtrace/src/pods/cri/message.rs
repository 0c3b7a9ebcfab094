//! The part of CRI v1 that is asked: messages of the API's `api.proto`, cut down to the fields that are read.
//!
//! Written by hand because the published bindings run `protoc` when they are built. Protocol Buffers skips fields that
//! a reader does not name, so each message may leave out what is not needed; the numbers are the API's and never change.

use std::collections::HashMap;

use prost::Message;

/// The service that all methods belong to.
pub const SERVICE: &str = "runtime.v1.RuntimeService";

/// `ListPodSandboxRequest` and `ListContainersRequest` without a filter: all that there are, ended ones too.
#[derive(Clone, PartialEq, Message)]
pub struct ListRequest {}

/// `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxResponse {
    /// Every sandbox of the runtime.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// `PodSandbox`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Whose it is.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// 0 is ready, 1 not ready.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub created_at: i64,
    /// kubelet's labels.
    #[prost(map = "string, string", tag = "5")]
    pub labels: HashMap<String, String>,
}

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's UID; of a static pod its config hash.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// How often the sandbox was made anew.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// `ListContainersResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ListContainersResponse {
    /// Every container of the runtime.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Container>,
}

/// `Container`.
#[derive(Clone, PartialEq, Message)]
pub struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The sandbox it is in.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
    /// Its name.
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<ContainerMetadata>,
    /// What it was made from.
    #[prost(message, optional, tag = "4")]
    pub image: Option<ImageSpec>,
    /// The image's digest or id.
    #[prost(string, tag = "5")]
    pub image_ref: String,
    /// 0 is created, 1 running, 2 exited, 3 unknown.
    #[prost(int32, tag = "6")]
    pub state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "7")]
    pub created_at: i64,
    /// kubelet's labels.
    #[prost(map = "string, string", tag = "8")]
    pub labels: HashMap<String, String>,
}

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    /// Its name in the pod.
    #[prost(string, tag = "1")]
    pub name: String,
    /// How often it was made anew: kubelet's restart count.
    #[prost(uint32, tag = "2")]
    pub attempt: u32,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    /// What kubelet asked for: mostly the id that it had resolved.
    #[prost(string, tag = "1")]
    pub image: String,
    /// What stands in the pod's manifest. Empty from kubelets before 1.28.
    #[prost(string, tag = "18")]
    pub user_specified_image: String,
}
