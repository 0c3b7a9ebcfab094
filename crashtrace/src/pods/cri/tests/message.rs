//! The answers of CRI v1 as prost has them: messages of the API's `api.proto`, cut down to the fields that are read. The
//! agent's own reader must get the same from the same bytes.

use std::collections::HashMap;

use prost::Message;

use super::super::decode::{Items, Of};
use super::super::wire::{Malformed, Reader};
use super::super::{CriContainer, CriSandbox, CriState, Listing};

/// `ListPodSandboxResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListPodSandboxResponse {
    /// Every sandbox of the runtime.
    #[prost(message, repeated, tag = "1")]
    pub(super) items: Vec<PodSandbox>,
}

/// `PodSandbox`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// Whose it is.
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<PodSandboxMetadata>,
    /// 0 is ready, 1 not ready.
    #[prost(int32, tag = "3")]
    pub(super) state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "4")]
    pub(super) created_at: i64,
    /// kubelet's labels.
    #[prost(map = "string, string", tag = "5")]
    pub(super) labels: HashMap<String, String>,
}

/// `PodSandboxMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// The pod's UID; of a static pod its config hash.
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    /// How often the sandbox was made anew.
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

/// `ListContainersResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ListContainersResponse {
    /// Every container of the runtime.
    #[prost(message, repeated, tag = "1")]
    pub(super) containers: Vec<Container>,
}

/// `Container`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Container {
    /// Its id.
    #[prost(string, tag = "1")]
    pub(super) id: String,
    /// The sandbox it is in.
    #[prost(string, tag = "2")]
    pub(super) pod_sandbox_id: String,
    /// Its name.
    #[prost(message, optional, tag = "3")]
    pub(super) metadata: Option<ContainerMetadata>,
    /// The image that it was made from.
    #[prost(message, optional, tag = "4")]
    pub(super) image: Option<ImageSpec>,
    /// The image's digest or id.
    #[prost(string, tag = "5")]
    pub(super) image_ref: String,
    /// 0 is created, 1 running, 2 exited, 3 unknown.
    #[prost(int32, tag = "6")]
    pub(super) state: i32,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "7")]
    pub(super) created_at: i64,
    /// kubelet's labels.
    #[prost(map = "string, string", tag = "8")]
    pub(super) labels: HashMap<String, String>,
}

/// `ContainerMetadata`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerMetadata {
    /// Its name in the pod.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    /// How often it was made anew: kubelet's restart count.
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
}

/// `ImageSpec`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ImageSpec {
    /// The image as kubelet named it: mostly the id that it had resolved.
    #[prost(string, tag = "1")]
    pub(super) image: String,
    /// The image as the pod's manifest names it. Empty from kubelets before 1.28.
    #[prost(string, tag = "18")]
    pub(super) user_specified_image: String,
}

/// Reads a list that comes in chunks of so many bytes.
pub(super) fn read_in(of: Of, bytes: &[u8], piece: usize, into: &mut Listing) -> Result<bool, Malformed> {
    let mut items = Items::new(of, into);
    let mut reader = Reader::new(bytes.len() as u64);
    for piece in bytes.chunks(piece) {
        reader.feed(piece, &mut items)?;
    }
    Ok(reader.is_done())
}

/// Two lists of the same runtime, as they are read.
pub(super) fn listing(sandboxes: Vec<PodSandbox>, containers: Vec<Container>) -> Listing {
    let mut listing = Listing::default();
    let containers = ListContainersResponse { containers }.encode_to_vec();
    assert_eq!(read_in(Of::Containers, &containers, 7, &mut listing), Ok(true));
    let sandboxes = ListPodSandboxResponse { items: sandboxes }.encode_to_vec();
    assert_eq!(read_in(Of::Sandboxes, &sandboxes, 7, &mut listing), Ok(true));
    listing.join();
    listing
}

/// The container that must be read from this.
pub(super) fn container(mut it: Container) -> Option<CriContainer> {
    let has_metadata = it.metadata.is_some();
    let ContainerMetadata { name, attempt } = it.metadata.unwrap_or_default();
    let ImageSpec { image, user_specified_image } = it.image.unwrap_or_default();
    let mut label = |name: &str| it.labels.remove(name).and_then(some);
    Some(CriContainer {
        id: some(it.id)?,
        name: some(name).or_else(|| label("io.kubernetes.container.name")),
        attempt: has_metadata.then_some(attempt),
        image: some(user_specified_image).or_else(|| some(image)).or_else(|| some(it.image_ref)),
        pod_uid: label("io.kubernetes.pod.uid"),
        namespace: label("io.kubernetes.pod.namespace"),
        pod_name: label("io.kubernetes.pod.name"),
        sandbox_id: some(it.pod_sandbox_id),
        created_unix_ns: u64::try_from(it.created_at).ok().filter(|ns| *ns > 0),
        state: match it.state {
            0 => CriState::Created,
            1 => CriState::Running,
            2 => CriState::Exited,
            _ => CriState::Unknown,
        },
    })
}

/// The sandbox that must be read from this.
pub(super) fn sandbox(mut it: PodSandbox) -> Option<CriSandbox> {
    let PodSandboxMetadata { name, uid, namespace, attempt } = it.metadata.unwrap_or_default();
    let mut label = |name: &str| it.labels.remove(name).and_then(some);
    Some(CriSandbox {
        id: some(it.id)?,
        pod_uid: some(uid).or_else(|| label("io.kubernetes.pod.uid")),
        namespace: some(namespace).or_else(|| label("io.kubernetes.pod.namespace")),
        pod_name: some(name).or_else(|| label("io.kubernetes.pod.name")),
        attempt,
        ready: it.state == 0,
        created_unix_ns: u64::try_from(it.created_at).ok().filter(|ns| *ns > 0),
    })
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
