//! The memory-backed volumes of the container or pod at its limit, by the pod's spec.

use crate::describe::oom::Oom;
use crate::names::MemoryVolume;
use crate::phrase::{path, size};
use crate::schema::Level;

/// Volumes that one sentence names.
const MOST_NAMED: usize = 4;

/// Memory-backed volumes whose files count against the limit that was hit: at level `container` those that are mounted in it, else
/// all of the pod's. `None`: no source tells.
fn counted<'a>(oom: &Oom<'a>) -> Option<&'a [MemoryVolume]> {
    let limit = oom.verdict.limit.as_ref()?;
    let party = oom.scene.actor_in(&limit.party)?;
    let names = party.owner.names.as_deref()?;
    match oom.level() {
        Some(Level::Container) => names.container.as_ref()?.memory_volumes.as_deref(),
        Some(Level::Pod) => names.memory_volumes.as_deref(),
        _ => None,
    }
}

/// Advice about files in memory, for a limit that they fill: it names the volumes and their `sizeLimit` where the pod's spec is known.
/// Which of them holds the files is not known, so it is not said.
pub(super) fn files_in_memory(oom: &Oom<'_>) -> String {
    let whose = if oom.level() == Some(Level::Pod) { "pod" } else { "container" };
    match counted(oom) {
        None => "Look at /dev/shm and memory-backed emptyDir volumes (medium: Memory): their files count against the limit until \
                 they are deleted, and those of a volume outlive the container. Give each volume a sizeLimit below the limit."
            .to_owned(),
        Some([]) => format!(
            "The {whose} has no memory-backed emptyDir volume: look at /dev/shm and at files that its processes hold in memory \
             (memfd_create), which count against the limit until they are deleted or closed."
        ),
        Some(volumes) => {
            let (noun, verb) = match volumes {
                [_] => ("volume", "Its files count against the limit and outlive the container: delete what is not needed"),
                _ => ("volumes", "Their files count against the limit and outlive the container: delete what is not needed"),
            };
            let limits = if volumes.iter().all(|volume| volume.size_limit_bytes.is_some()) {
                "and keep the sizeLimit, with what the processes need, below the limit"
            } else {
                "and set a sizeLimit that leaves the processes room below the limit"
            };
            format!("Look at the {whose}'s memory-backed {noun} {}, and at /dev/shm. {verb}, {limits}.", list(volumes))
        }
    }
}

/// `data (sizeLimit 32 MiB) and tmp (no sizeLimit)`.
fn list(volumes: &[MemoryVolume]) -> String {
    let one = |volume: &MemoryVolume| {
        let limit = volume
            .size_limit_bytes
            .map_or_else(|| "no sizeLimit".to_owned(), |bytes| format!("sizeLimit {}", size(bytes)));
        format!("{} ({limit})", path(volume.name.as_bytes()))
    };
    let mut named: Vec<_> = volumes.iter().take(MOST_NAMED).map(one).collect();
    let more = volumes.len().saturating_sub(MOST_NAMED);
    if more > 0 {
        named.push(format!("{more} more"));
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
