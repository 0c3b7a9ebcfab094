//! Words for sentences. What processes and containers choose goes through [`Text`]; control characters are
//! left to the sinks, each of which has its own way with them.

use crate::enrich::{Owner, OwnerKind, Party};
use crate::event::Task;
use crate::pods::names::{ContainerNames, ContainerRole};
use crate::report::Text;

/// Bytes of a name or path that a sentence takes; the report has all of it elsewhere.
const NAME_BYTES: usize = 120;

/// A size for people: 512.0 MiB.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in units.iter().skip(1) {
        // What would be rounded up to the next unit is given in it.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// The same with a sign.
pub(crate) fn signed(value: i64) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", bytes(value.unsigned_abs()))
}

/// A name, or the last part of a long one.
pub(crate) fn path(name: &[u8]) -> String {
    tail(name, NAME_BYTES)
}

fn tail(name: &[u8], most: usize) -> String {
    match name.len().checked_sub(most) {
        None | Some(0) => Text::new(name).as_str().to_owned(),
        Some(cut) => format!("…{}", Text::new(name.get(cut..).unwrap_or_default()).as_str()),
    }
}

/// The first characters of an id.
fn id(id: &str, most: usize) -> String {
    let mut short: String = id.chars().take(most).collect();
    if short.len() < id.len() {
        short.push('…');
    }
    Text::from(short.as_str()).as_str().to_owned()
}

/// `java (pid 4211)`
pub(crate) fn process(task: &Task) -> String {
    let name = task.comm.as_ref().or(task.thread_comm.as_ref());
    let name = name.map_or_else(|| "a process".to_owned(), |name| path(&name.0));
    match (task.pid, task.tid) {
        (Some(pid), _) => format!("{name} (pid {pid})"),
        (None, Some(tid)) => format!("{name} (thread {tid})"),
        (None, None) => name,
    }
}

/// `container api of pod shop/api-7f9c`, or where the names are not known `container 4f2a… of pod 1f6c…`; for a plain
/// cgroup its path.
pub(crate) fn owner(party: &Party) -> String {
    let (owner, cgroup) = (&party.owner, party.owners_path());
    match owner.kind {
        OwnerKind::Container => {
            let container = container(owner);
            if owner.pod_uid.is_some() || pod_name(owner).is_some() {
                format!("{container} of {}", pod(owner))
            } else {
                container
            }
        }
        OwnerKind::Pod => pod(owner),
        OwnerKind::Qos => match owner.qos_class {
            Some(class) => format!("the {class:?} pods of the node"),
            None => "the pods of a QoS class".to_owned(),
        },
        OwnerKind::Kubepods => "the pods of the node".to_owned(),
        OwnerKind::HostService => match &owner.unit {
            Some(unit) => format!("{} of the host", path(unit.as_bytes())),
            None => format!("cgroup {} of the host", path(cgroup)),
        },
        OwnerKind::Cgroup => format!("cgroup {}", path(cgroup)),
        OwnerKind::Host => "the host".to_owned(),
    }
}

/// `cgroup /system.slice/a`. Where its name is only a claim: `a cgroup inside` that of the one who chose the name.
pub(crate) fn cgroup(party: &Party) -> String {
    match party.placement.claims {
        None => format!("cgroup {}", path(&party.path)),
        Some(_) => format!("a cgroup inside {}", path(party.owners_path())),
    }
}

/// `container api`
pub(crate) fn container(owner: &Owner) -> String {
    let named = owner.names.as_ref().and_then(|names| names.container.as_ref());
    match (named, &owner.container_id) {
        (Some(ContainerNames { role: Some(ContainerRole::Sandbox), .. }), _) => {
            "the sandbox (pause)".to_owned()
        }
        (Some(ContainerNames { name: Some(name), role, .. }), _) => {
            let kind = match role {
                Some(ContainerRole::Init) => "init container",
                Some(ContainerRole::Ephemeral) => "ephemeral container",
                _ => "container",
            };
            format!("{kind} {}", path(name.as_bytes()))
        }
        (_, Some(container)) => format!("container {}", id(container, 12)),
        (_, None) => "a container".to_owned(),
    }
}

/// `pod shop/api-7f9c`; `pod 1f6c…` where the name is not known.
pub(crate) fn pod(owner: &Owner) -> String {
    let kind = if owner.static_pod { "static pod" } else { "pod" };
    match (pod_name(owner), &owner.pod_uid) {
        (Some(name), _) => format!("{kind} {name}"),
        (None, Some(uid)) => format!("{kind} {}", id(uid, 8)),
        (None, None) => format!("a {kind}"),
    }
}

/// `shop/api-7f9c`
pub(crate) fn pod_name(owner: &Owner) -> Option<String> {
    let names = owner.names.as_ref()?;
    let name = path(names.pod.as_ref()?.as_bytes());
    Some(match &names.namespace {
        Some(namespace) => format!("{}/{name}", path(namespace.as_bytes())),
        None => name,
    })
}

/// `1 process`, `3 processes`
pub(crate) fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
