//! Lookups, how long entries stay, and how many there may be.

mod bounds;
mod consistency;
mod ends;
mod life;
mod recorded;

use std::time::Duration;

use crate::names::MemoryBounds;
use crate::pods::life::{OfContainer, OfPod};
use crate::pods::pod::{Container, ContainerKind, MemoryMounts, Pod};

const SECOND: Duration = Duration::from_secs(1);

/// An id like a runtime's.
fn id(number: usize) -> String {
    format!("{number:064x}")
}

/// A pod without containers. Its name is its UID.
fn pod(uid: &str) -> Pod {
    Pod {
        shares_pids: false,
        memory_volumes: Box::default(),
        uid: uid.into(),
        config_hash: None,
        namespace: "n".into(),
        name: uid.into(),
        workload: None,
        qos: None,
        life: OfPod::default(),
        memory: MemoryBounds::default(),
        containers: Box::default(),
    }
}

fn container(name: &str, id: Option<usize>, last_id: Option<usize>, restart_count: Option<u32>) -> Container {
    let text = |id: Option<usize>| id.map(|id| self::id(id).into());
    Container {
        memory_mounts: MemoryMounts::default(),
        name: name.into(),
        kind: ContainerKind::App,
        id: text(id),
        last_id: text(last_id),
        image: Some("image".into()),
        restart_count,
        memory: MemoryBounds::default(),
        life: OfContainer::default(),
    }
}

/// A pod with one container.
fn running(uid: &str, id: usize, last_id: Option<usize>, restart_count: u32) -> Pod {
    Pod { containers: [container("c", Some(id), last_id, Some(restart_count))].into(), ..pod(uid) }
}

/// A mirror pod of the static pod with the hash `h`.
fn mirror(uid: &str, id: usize) -> Pod {
    Pod { name: "static".into(), config_hash: Some("h".into()), ..running(uid, id, None, 0) }
}
