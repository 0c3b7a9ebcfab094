//! A pod as the index keeps it: the fields that a report has, and nothing else. PURE.
//!
//! A node has up to some hundred pods, and an object of the API server has kilobytes that no report needs: so only these
//! fields are kept, in the smallest form. Each may be missing: a server's answer cannot be trusted to be whole.

use std::sync::Arc;

use super::life;
use crate::names::{MemoryBounds, MemoryVolume, Workload};
use crate::schema::Qos;

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// A static pod's: annotation `kubernetes.io/config.mirror`. Its cgroups, and the runtime's labels, have this in place of
    /// the UID.
    pub config_hash: Option<Box<str>>,
    /// `metadata.namespace`.
    pub namespace: Box<str>,
    /// `metadata.name`.
    pub name: Box<str>,
    /// The controller that made it.
    pub workload: Option<Workload>,
    /// `status.qosClass`.
    pub qos: Option<Qos>,
    /// What ends it and its containers.
    pub life: life::OfPod,
    /// The pod's own, from `spec.resources`; the sum of its containers is not in here. `status.resources` has the amount
    /// in force only for a pod with a limit at pod level: of others it is a sum that the node does not set (an
    /// init container that has ended counts in it).
    pub memory: MemoryBounds,
    /// `spec.shareProcessNamespace`.
    pub shares_pids: bool,
    /// The memory-backed ones of `spec.volumes`, in its order.
    pub memory_volumes: Box<[MemoryVolume]>,
    /// Its containers: those of the spec, in its order, init containers first, ephemeral ones last.
    pub containers: Box<[Container]>,
}

impl Pod {
    /// Its size on the heap, without the struct itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let texts = [Some(&self.uid), self.config_hash.as_ref(), Some(&self.namespace), Some(&self.name)];
        let workload = self.workload.iter().map(|it| it.kind.len() + it.name.len());
        let containers = self.containers.iter().map(|it| {
            let ids = [&it.id, &it.last_id].into_iter().flatten().map(|id| id.len());
            // An image is counted with the two counters of its `Arc`.
            let image = it.image.as_deref().map_or(0, |image| image.len() + 2 * size_of::<usize>());
            size_of::<Container>() + it.name.len() + ids.sum::<usize>() + image + it.life.heap_bytes()
        });
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let volumes = self.memory_volumes.iter().map(|it| size_of::<MemoryVolume>() + it.name.len());
        texts.chain(workload).chain(containers).chain(volumes).chain([self.life.heap_bytes()]).sum()
    }
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: Box<str>,
    /// The kind of container.
    pub kind: ContainerKind,
    /// Its id, without the runtime's prefix, once it was started. The id that it had before where it is in
    /// [`Container::last_id`].
    pub id: Option<Box<str>>,
    /// The id of its last run that ended (`lastState.terminated.containerID`), without the prefix.
    pub last_id: Option<Box<str>>,
    /// The image, as the spec has it.
    pub image: Option<Arc<str>>,
    /// How often it was started anew.
    pub restart_count: Option<u32>,
    /// Its memory request and limit.
    pub memory: MemoryBounds,
    /// Which of [`Pod::memory_volumes`] are mounted in it.
    pub memory_mounts: MemoryMounts,
    /// What ends it, and how its runs ended.
    pub life: life::OfContainer,
}

/// The kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ContainerKind {
    /// One of `spec.containers`.
    App,
    /// An init container, which must end before the others begin.
    Init,
    /// An init container with `restartPolicy: Always`, which runs beside the others.
    Sidecar,
    /// Added to a running pod, by `kubectl debug` for one. It cannot have a limit.
    Ephemeral,
}

/// A set of a pod's memory-backed volumes: a bit for each place in [`Pod::memory_volumes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryMounts(u16);

impl MemoryMounts {
    /// The most volumes that a set can have.
    pub const MOST: usize = u16::BITS as usize;

    /// The volumes at these places; those beyond [`Self::MOST`] are left out.
    #[must_use]
    pub fn of(places: impl Iterator<Item = usize>) -> Self {
        let bit = |place: usize| u32::try_from(place).ok().and_then(|place| 1_u16.checked_shl(place));
        Self(places.filter_map(bit).fold(0, |all, bit| all | bit))
    }

    #[must_use]
    pub fn has(self, place: usize) -> bool {
        self.0 & Self::of([place].into_iter()).0 != 0
    }
}
