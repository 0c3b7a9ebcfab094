//! What the runtime lists, as neutral types. PURE: messages in, values out.
//!
//! Whatever a message holds gives an answer. What it lacks is `None` or absent, never made up: an empty text is how
//! Protocol Buffers says that there is none.

use std::collections::HashMap;

use super::message::{Container, ContainerMetadata, PodSandbox, PodSandboxMetadata};
use super::{CriContainer, CriSandbox, CriState, Listing};

/// Two lists of the same runtime, put together. An entry without an id is left out: nothing could find it.
#[must_use]
pub fn listing(sandboxes: Vec<PodSandbox>, containers: Vec<Container>) -> Listing {
    let sandboxes: Vec<_> = sandboxes.into_iter().filter_map(sandbox).collect();
    let by_id: HashMap<_, _> = sandboxes.iter().map(|sandbox| (sandbox.id.as_str(), sandbox)).collect();
    let containers = containers
        .into_iter()
        .filter_map(|it| {
            let of = by_id.get(it.pod_sandbox_id.as_str()).copied();
            container(it, of)
        })
        .collect();
    Listing { sandboxes, containers }
}

fn sandbox(it: PodSandbox) -> Option<CriSandbox> {
    let PodSandbox { id, metadata, state, created_at, mut labels } = it;
    let PodSandboxMetadata { name, uid, namespace, attempt } = metadata.unwrap_or_default();
    let mut label = |name| labels.remove(name).and_then(some);
    Some(CriSandbox {
        id: some(id)?,
        pod_uid: some(uid).or_else(|| label(POD_UID)),
        namespace: some(namespace).or_else(|| label(NAMESPACE)),
        pod_name: some(name).or_else(|| label(POD_NAME)),
        attempt,
        ready: state == 0,
        created_unix_ns: time(created_at),
    })
}

/// A container with the pod that its labels name, and where it has none, that of its sandbox.
fn container(it: Container, sandbox: Option<&CriSandbox>) -> Option<CriContainer> {
    let Container { id, pod_sandbox_id, metadata, image, image_ref, state, created_at, mut labels } = it;
    let metadata = metadata.map(|ContainerMetadata { name, attempt }| (some(name), attempt));
    let (name, attempt) = metadata.map_or((None, None), |(name, attempt)| (name, Some(attempt)));
    let image = image.and_then(|image| some(image.user_specified_image).or_else(|| some(image.image)));
    let mut label = |name| labels.remove(name).and_then(some);
    let of_sandbox =
        |pick: fn(&CriSandbox) -> &Option<String>| sandbox.and_then(|sandbox| pick(sandbox).clone());
    Some(CriContainer {
        id: some(id)?,
        name: name.or_else(|| label(CONTAINER_NAME)),
        attempt,
        image: image.or_else(|| some(image_ref)),
        pod_uid: label(POD_UID).or_else(|| of_sandbox(|sandbox| &sandbox.pod_uid)),
        namespace: label(NAMESPACE).or_else(|| of_sandbox(|sandbox| &sandbox.namespace)),
        pod_name: label(POD_NAME).or_else(|| of_sandbox(|sandbox| &sandbox.pod_name)),
        sandbox_id: some(pod_sandbox_id),
        created_unix_ns: time(created_at),
        state: match state {
            0 => CriState::Created,
            1 => CriState::Running,
            2 => CriState::Exited,
            _ => CriState::Unknown,
        },
    })
}

const POD_UID: &str = "io.kubernetes.pod.uid";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Go's zero time is far before 1970, and the protocol's is 1970 itself; neither is a time.
fn time(unix_ns: i64) -> Option<u64> {
    u64::try_from(unix_ns).ok().filter(|ns| *ns > 0)
}
