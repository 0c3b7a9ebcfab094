//! Reads the runtime's lists, as they come, into neutral types. PURE: bytes in, values out.
//!
//! Of a container and of a sandbox the fields that name it are kept; of its labels the four by which kubelet names pods. A
//! tenant chooses the others (other labels, annotations), and they are passed over. There are bounds: [`MOST`] of
//! each, [`MOST_BYTES`] in all, [`LONGEST_TEXT`] for a text. Items beyond them are counted.
//!
//! A field that a message lacks is `None` or absent, never made up: in Protocol Buffers an empty text means none.

use std::collections::HashMap;

use super::wire::{Visit, Want};
use super::{CriContainer, CriSandbox, CriState, Listing};

/// How many sandboxes are taken, and how many containers. kubelet runs 110 pods unless told otherwise, and keeps one ended
/// container of each.
pub const MOST: usize = 4096;
/// How much all of them may hold, in bytes. A container takes some 600.
pub const MOST_BYTES: usize = 4 << 20;
/// The longest text that is taken, in bytes: names have at most 253, references to images some 500. A longer one counts as
/// not said: a name that is cut would be another's.
pub const LONGEST_TEXT: usize = 1024;

const POD_UID: &str = "io.kubernetes.pod.uid";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_NAME: &str = "io.kubernetes.pod.name";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

/// The messages that are read: `ListContainersResponse` (`containers`, field 1) and `ListPodSandboxResponse` (`items`,
/// field 1) with the same layout but for these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// `Container`: 1 id, 2 `pod_sandbox_id`, 3 metadata (1 name, 2 attempt), 4 image (1 image, 18 `user_specified_image`),
    /// 5 `image_ref`, 6 state, 7 `created_at`, 8 labels.
    Containers,
    /// `PodSandbox`: 1 id, 2 metadata (1 name, 2 uid, 3 namespace, 4 attempt), 3 state, 4 `created_at`, 5 labels.
    Sandboxes,
}

/// The meaning of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Item,
    Id,
    SandboxId,
    Metadata,
    Name,
    Uid,
    Namespace,
    Attempt,
    Image,
    ImageName,
    ImageAsked,
    ImageRef,
    State,
    Created,
    Label,
    Key,
    Value,
}

impl Of {
    fn field(self, path: &[u32]) -> Option<Field> {
        Some(match (self, path) {
            (_, [1]) => Field::Item,
            (_, [1, 1]) => Field::Id,
            (Self::Containers, [1, 2]) => Field::SandboxId,
            (Self::Containers, [1, 3]) | (Self::Sandboxes, [1, 2]) => Field::Metadata,
            (Self::Containers, [1, 3, 1]) | (Self::Sandboxes, [1, 2, 1]) => Field::Name,
            (Self::Sandboxes, [1, 2, 2]) => Field::Uid,
            (Self::Sandboxes, [1, 2, 3]) => Field::Namespace,
            (Self::Containers, [1, 3, 2]) | (Self::Sandboxes, [1, 2, 4]) => Field::Attempt,
            (Self::Containers, [1, 4]) => Field::Image,
            (Self::Containers, [1, 4, 1]) => Field::ImageName,
            (Self::Containers, [1, 4, 18]) => Field::ImageAsked,
            (Self::Containers, [1, 5]) => Field::ImageRef,
            (Self::Containers, [1, 6]) | (Self::Sandboxes, [1, 3]) => Field::State,
            (Self::Containers, [1, 7]) | (Self::Sandboxes, [1, 4]) => Field::Created,
            (Self::Containers, [1, 8]) | (Self::Sandboxes, [1, 5]) => Field::Label,
            (Self::Containers, [1, 8, 1]) | (Self::Sandboxes, [1, 5, 1]) => Field::Key,
            (Self::Containers, [1, 8, 2]) | (Self::Sandboxes, [1, 5, 2]) => Field::Value,
            _ => return None,
        })
    }
}

/// Reads one of both lists into a listing.
#[derive(Debug)]
pub struct Items<'a> {
    of: Of,
    into: &'a mut Listing,
    item: Item,
}

/// The fields so far of the item that is being read.
#[derive(Debug, Default)]
struct Item {
    id: Option<String>,
    sandbox_id: Option<String>,
    has_metadata: bool,
    name: Option<String>,
    uid: Option<String>,
    namespace: Option<String>,
    attempt: u32,
    image: Option<String>,
    image_asked: Option<String>,
    image_ref: Option<String>,
    state: u64,
    created_at: u64,
    labels: Labels,
}

/// The labels that were read, and the label that is being read.
#[derive(Debug, Default)]
struct Labels {
    pod_uid: Option<String>,
    namespace: Option<String>,
    pod_name: Option<String>,
    container_name: Option<String>,
    key: Key,
    value: Option<String>,
}

/// Which label it is. Its value may stand before its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    #[default]
    Unknown,
    PodUid,
    Namespace,
    PodName,
    ContainerName,
    Other,
}

impl Labels {
    fn over(&mut self) {
        let value = self.value.take();
        match std::mem::take(&mut self.key) {
            Key::PodUid => self.pod_uid = value,
            Key::Namespace => self.namespace = value,
            Key::PodName => self.pod_name = value,
            Key::ContainerName => self.container_name = value,
            Key::Unknown | Key::Other => {}
        }
    }
}

impl<'a> Items<'a> {
    /// A reader of such a list.
    #[must_use]
    pub fn new(of: Of, into: &'a mut Listing) -> Self {
        Self { of, into, item: Item::default() }
    }

    fn over(&mut self) {
        let item = std::mem::take(&mut self.item);
        match self.of {
            Of::Containers => {
                if let Some(container) = container(item) {
                    self.into.add_container(container);
                }
            }
            Of::Sandboxes => {
                if let Some(sandbox) = sandbox(item) {
                    self.into.add_sandbox(sandbox);
                }
            }
        }
    }
}

impl Visit for Items<'_> {
    fn want(&mut self, path: &[u32]) -> Want {
        let Some(field) = self.of.field(path) else { return Want::Nothing };
        match field {
            Field::Item => {
                self.item = Item::default();
                Want::Message
            }
            Field::Metadata => {
                self.item.has_metadata = true;
                Want::Message
            }
            Field::Image | Field::Label => Want::Message,
            Field::Key => Want::Text(CONTAINER_NAME.len()),
            Field::Value if self.item.labels.key == Key::Other => Want::Nothing,
            Field::Attempt | Field::State | Field::Created => Want::Number,
            Field::Id
            | Field::SandboxId
            | Field::Name
            | Field::Uid
            | Field::Namespace
            | Field::ImageName
            | Field::ImageAsked
            | Field::ImageRef
            | Field::Value => Want::Text(LONGEST_TEXT),
        }
    }

    fn text(&mut self, path: &[u32], text: Option<&str>) {
        let item = &mut self.item;
        let place = match self.of.field(path) {
            Some(Field::Key) => {
                item.labels.key = match text {
                    Some(POD_UID) => Key::PodUid,
                    Some(NAMESPACE) => Key::Namespace,
                    Some(POD_NAME) => Key::PodName,
                    Some(CONTAINER_NAME) => Key::ContainerName,
                    _ => Key::Other,
                };
                return;
            }
            Some(Field::Id) => &mut item.id,
            Some(Field::SandboxId) => &mut item.sandbox_id,
            Some(Field::Name) => &mut item.name,
            Some(Field::Uid) => &mut item.uid,
            Some(Field::Namespace) => &mut item.namespace,
            Some(Field::ImageName) => &mut item.image,
            Some(Field::ImageAsked) => &mut item.image_asked,
            Some(Field::ImageRef) => &mut item.image_ref,
            Some(Field::Value) => &mut item.labels.value,
            _ => return,
        };
        *place = text.filter(|text| !text.is_empty()).map(str::to_owned);
    }

    fn number(&mut self, path: &[u32], value: u64) {
        match self.of.field(path) {
            // Of a number with fewer bits the lower ones count.
            #[expect(clippy::cast_possible_truncation, reason = "as Protocol Buffers has it")]
            Some(Field::Attempt) => self.item.attempt = value as u32,
            Some(Field::State) => self.item.state = value,
            Some(Field::Created) => self.item.created_at = value,
            _ => {}
        }
    }

    fn end(&mut self, path: &[u32]) {
        match self.of.field(path) {
            Some(Field::Item) => self.over(),
            Some(Field::Label) => self.item.labels.over(),
            _ => {}
        }
    }
}

/// `None` for one without an id: nothing could find it.
fn sandbox(it: Item) -> Option<CriSandbox> {
    Some(CriSandbox {
        id: it.id?,
        pod_uid: it.uid.or(it.labels.pod_uid),
        namespace: it.namespace.or(it.labels.namespace),
        pod_name: it.name.or(it.labels.pod_name),
        attempt: it.attempt,
        ready: it.state == 0,
        created_unix_ns: time(it.created_at),
    })
}

/// The same.
fn container(it: Item) -> Option<CriContainer> {
    Some(CriContainer {
        id: it.id?,
        name: it.name.or(it.labels.container_name),
        attempt: it.has_metadata.then_some(it.attempt),
        image: it.image_asked.or(it.image).or(it.image_ref),
        pod_uid: it.labels.pod_uid,
        namespace: it.labels.namespace,
        pod_name: it.labels.pod_name,
        sandbox_id: it.sandbox_id,
        created_unix_ns: time(it.created_at),
        state: match it.state {
            0 => CriState::Created,
            1 => CriState::Running,
            2 => CriState::Exited,
            _ => CriState::Unknown,
        },
    })
}

/// Nanoseconds since 1970, a signed number. Go's zero time is far before 1970, and the protocol's is 1970 itself; neither is a
/// time.
fn time(unix_ns: u64) -> Option<u64> {
    Some(unix_ns).filter(|ns| (1..=i64::MAX as u64).contains(ns))
}

impl Listing {
    /// Takes a container, if there is room.
    pub fn add_container(&mut self, it: CriContainer) {
        let texts = [&it.name, &it.image, &it.pod_uid, &it.namespace, &it.pod_name, &it.sandbox_id];
        if self.has_room(self.containers.len(), size_of_val(&it), &it.id, &texts) {
            self.containers.push(it);
        }
    }

    /// Takes a sandbox, if there is room.
    pub fn add_sandbox(&mut self, it: CriSandbox) {
        let texts = [&it.pod_uid, &it.namespace, &it.pod_name];
        if self.has_room(self.sandboxes.len(), size_of_val(&it), &it.id, &texts) {
            self.sandboxes.push(it);
        }
    }

    fn has_room(&mut self, there: usize, own: usize, id: &str, texts: &[&Option<String>]) -> bool {
        let bytes =
            own + id.len() + texts.iter().filter_map(|text| text.as_deref()).map(str::len).sum::<usize>();
        let fits = there < MOST && self.bytes + bytes <= MOST_BYTES;
        if fits {
            self.bytes += bytes;
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        fits
    }

    /// Names the pod of each container that its own labels do not name, by its sandbox.
    pub fn join(&mut self) {
        let Self { sandboxes, containers, bytes, .. } = self;
        let by_id: HashMap<_, _> = sandboxes.iter().map(|sandbox| (sandbox.id.as_str(), sandbox)).collect();
        for container in containers {
            let Some(sandbox) = container.sandbox_id.as_deref().and_then(|id| by_id.get(id)) else {
                continue;
            };
            for (mine, its) in [
                (&mut container.pod_uid, &sandbox.pod_uid),
                (&mut container.namespace, &sandbox.namespace),
                (&mut container.pod_name, &sandbox.pod_name),
            ] {
                let more = its.as_deref().map_or(0, str::len);
                if mine.is_none() && *bytes + more <= MOST_BYTES {
                    *bytes += more;
                    mine.clone_from(its);
                }
            }
        }
    }
}
