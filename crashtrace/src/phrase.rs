//! Owners, processes and sizes as every sentence of a report has them. Names that processes and containers choose go through
//! [`Text`]; further escaping for a terminal is done by the sinks.

use std::cmp::Ordering;

use crate::event::{Lineage, Task};
use crate::schema::{
    AccountKind, ContainerRole, Engine, EngineKind, Owner, OwnerKind, Runtime, Text, shorten,
};

mod signals;
mod size;

pub use signals::{audit_arch, raised, signal, signal_code};
pub use size::size;

/// Bytes of a name or path in a sentence; the report has all of it elsewhere.
const NAME_BYTES: usize = 120;
/// Bytes of what others wrote.
const QUOTED_BYTES: usize = 400;
/// Characters of a container's id: the length that crictl and docker show and accept.
pub const CONTAINER_ID_CHARS: usize = 12;
const POD_UID_CHARS: usize = 8;

/// What CPUs may keep back of a counter: 64 pages (`MEMCG_CHARGE_BATCH`) of a few.
const NOISE_BYTES: u64 = 1 << 20;

/// How far a size is from another, where both are shown as the same: `, 12 MiB below`. Nothing where they look different, or are
/// equal but for what CPUs keep back.
#[must_use]
pub fn apart(bytes: u64, of: u64, what: &str) -> String {
    if size(bytes) != size(of) || bytes.abs_diff(of) < NOISE_BYTES {
        return String::new();
    }
    match bytes.cmp(&of) {
        Ordering::Less => format!(", {} below {what}", size(of - bytes)),
        Ordering::Equal => String::new(),
        Ordering::Greater => format!(", {} above {what}", size(bytes - of)),
    }
}

/// A share, in percent.
#[must_use]
pub fn percent(bytes: u64, of: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 100 / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

/// A time span: `12.3 s`.
#[must_use]
pub fn seconds(ns: u64) -> String {
    let tenths = ns.saturating_add(50_000_000) / 100_000_000;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// A time span of any length: `0.4 ms`, `20 ms`, `12.3 s`, `12 min 3 s`, `3 h 12 min`, `5 d 3 h`.
#[must_use]
pub fn span(ns: u64) -> String {
    let whole = ns / 1_000_000_000;
    match whole {
        0 if ns < 10_000_000 => format!("{}.{} ms", ns / 1_000_000, ns % 1_000_000 / 100_000),
        0 => format!("{} ms", ns / 1_000_000),
        1..60 => seconds(ns),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// A kind of memory in an account.
#[must_use]
pub fn account_kind(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Free => "free",
        AccountKind::FreeIneligible => "free, not for this allocation",
        AccountKind::Pod => "a pod",
        AccountKind::Service => "a host unit",
        AccountKind::Container => "a container",
        AccountKind::Cgroup => "cgroups",
        AccountKind::SmallCgroups => "small cgroups",
        AccountKind::RemovedCgroups => "removed cgroups",
        AccountKind::RootProcesses => "processes in the root cgroup",
        AccountKind::RootShmem => "tmpfs of the root cgroup",
        AccountKind::RootFiles => "page cache of the root cgroup",
        AccountKind::Anon => "anonymous memory",
        AccountKind::File => "page cache",
        AccountKind::Shmem => "shared memory and tmpfs",
        AccountKind::SwapCache => "swap cache",
        AccountKind::HugePages => "huge pages",
        AccountKind::SlabUnreclaimable => "unreclaimable slab",
        AccountKind::SlabReclaimable => "reclaimable slab",
        AccountKind::PageTables => "page tables",
        AccountKind::KernelStacks => "kernel stacks",
        AccountKind::Percpu => "per-CPU memory",
        AccountKind::Vmalloc => "vmalloc",
        AccountKind::Sockets => "socket buffers",
        AccountKind::Zsmalloc => "zram and zswap",
        AccountKind::Zswap => "zswap",
        AccountKind::Balloon => "balloon of the host",
        AccountKind::Iommu => "page tables of IOMMUs",
        AccountKind::Gpu => "graphics drivers",
        AccountKind::Unaccepted => "not yet accepted memory",
        AccountKind::OtherKernel => "other kernel memory",
    }
}

/// What others wrote, in a sentence: harmless, on one line, and not too long.
#[must_use]
pub fn quoted(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = Text::from(one_line.as_str());
    shorten(text.as_str(), QUOTED_BYTES).unwrap_or_else(|| text.as_str().to_owned())
}

/// `1 process`, `3 processes`
#[must_use]
pub fn processes(count: u64) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

/// A name, or the last part of a long one.
#[must_use]
pub fn path(name: &[u8]) -> String {
    match name.len().checked_sub(NAME_BYTES) {
        None | Some(0) => Text::new(name).as_str().to_owned(),
        Some(cut) => format!("…{}", Text::new(name.get(cut..).unwrap_or_default()).as_str()),
    }
}

/// The path of `levels[index]` of a lineage.
#[must_use]
pub fn path_of(lineage: &Lineage, index: usize) -> String {
    path(&lineage.path_of(index))
}

/// `java (pid 4211)`
#[must_use]
pub fn process(task: &Task) -> String {
    let name = task.comm.as_ref().or(task.thread_comm.as_ref());
    let name = name.map_or_else(|| "a process".to_owned(), |name| path(&name.0));
    match (task.pid, task.tid) {
        (Some(pid), _) => format!("{name} (pid {pid})"),
        (None, Some(tid)) => format!("{name} (thread {tid})"),
        (None, None) => name,
    }
}

/// `container api of pod shop/api-7f9c`, or if the names are not known `container 4f2a… of pod 1f6c…`; for a plain cgroup its
/// path, for which `cgroup` is called.
#[must_use]
pub fn owner(owner: &Owner, cgroup: impl FnOnce() -> String) -> String {
    match owner.kind {
        OwnerKind::HostService | OwnerKind::Cgroup if let Some(engine) = &owner.engine => {
            self::engine(engine)
        }
        OwnerKind::Container => {
            let container = container(owner);
            if owner.pod_uid.is_some() || owner.pod.is_some() {
                return format!("{container} of {}", pod(owner));
            }
            let container = match owner.runtime {
                Some(Runtime::Docker) => format!("Docker {container}"),
                Some(Runtime::Podman) => format!("Podman {container}"),
                Some(Runtime::Containerd | Runtime::Crio) | None => container,
            };
            match &owner.engine {
                Some(engine) => format!("{container} of {}", self::engine(engine)),
                None => container,
            }
        }
        OwnerKind::Pod => pod(owner),
        OwnerKind::Qos => match owner.qos_class {
            Some(class) => format!("the node's {class:?} pods"),
            None => "the node's pods of one QoS class".to_owned(),
        },
        OwnerKind::Kubepods => "the node's pods".to_owned(),
        OwnerKind::HostService => match &owner.unit {
            Some(unit) => format!("host unit {}", clipped(unit)),
            None => format!("host cgroup {}", cgroup()),
        },
        OwnerKind::Cgroup => format!("cgroup {}", cgroup()),
        OwnerKind::Host => "the host".to_owned(),
    }
}

/// `Podman pod 4f2a… of uid 1000`, `Nomad task web of allocation 5e33…`, `Slurm job 123`.
#[must_use]
pub fn engine(engine: &Engine) -> String {
    let name = clipped(&engine.name);
    let id = || short(engine.name.as_str(), CONTAINER_ID_CHARS);
    let made = match engine.kind {
        EngineKind::PodmanPod => format!("Podman pod {}", id()),
        EngineKind::PodmanContainer => format!("Podman container {}", id()),
        EngineKind::DockerContainer => format!("Docker container {}", id()),
        EngineKind::BuildkitStep => format!("BuildKit build step {}", id()),
        EngineKind::EcsTask => format!("ECS task {name}"),
        EngineKind::NomadTask => match engine.name.as_str().split_once('.') {
            Some((allocation, task)) => {
                let task = shorten(task, NAME_BYTES).unwrap_or_else(|| task.to_owned());
                format!("Nomad task {task} of allocation {}", short(allocation, POD_UID_CHARS))
            }
            None => format!("the Nomad task in cgroup {name}"),
        },
        EngineKind::GardenContainer => format!("Garden container {name}"),
        EngineKind::LxcContainer => format!("LXC container {name}"),
        EngineKind::SlurmJob => format!("Slurm job {name}"),
        EngineKind::NspawnContainer => format!("nspawn container {name}"),
        EngineKind::KataOverhead => format!("the host's part of Kata sandbox {}", id()),
        EngineKind::UserUnit => format!("unit {name}"),
    };
    match engine.uid {
        Some(uid) if engine.kind == EngineKind::UserUnit => format!("{made} of uid {uid}'s systemd"),
        Some(uid) => format!("{made} of uid {uid}"),
        None => made,
    }
}

/// A word of a shell command: quoted if a shell would read it otherwise.
#[must_use]
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// `container api`
#[must_use]
pub fn container(owner: &Owner) -> String {
    let role = owner.kubernetes.as_ref().and_then(|kubernetes| kubernetes.role);
    match (&owner.container, role) {
        (_, Some(ContainerRole::Sandbox)) => "the sandbox (pause)".to_owned(),
        (Some(name), Some(ContainerRole::Init)) => format!("init container {}", clipped(name)),
        (Some(name), Some(ContainerRole::Ephemeral)) => format!("ephemeral container {}", clipped(name)),
        (Some(name), _) => format!("container {}", clipped(name)),
        (None, _) => match &owner.container_id {
            Some(id) => format!("container {}", short(id.as_str(), CONTAINER_ID_CHARS)),
            None => "a container".to_owned(),
        },
    }
}

/// `pod shop/api-7f9c`; `pod 1f6c…` if the name is not known.
#[must_use]
pub fn pod(owner: &Owner) -> String {
    let kind = if owner.static_pod { "static pod" } else { "pod" };
    match (pod_name(owner), &owner.pod_uid) {
        (Some(name), _) => format!("{kind} {name}"),
        (None, Some(uid)) => format!("{kind} {}", short(uid.as_str(), POD_UID_CHARS)),
        (None, None) => format!("a {kind}"),
    }
}

/// A name, without its middle if it is long.
fn clipped(name: &Text) -> String {
    shorten(name.as_str(), NAME_BYTES).unwrap_or_else(|| name.as_str().to_owned())
}

/// `shop/api-7f9c`
#[must_use]
pub fn pod_name(owner: &Owner) -> Option<String> {
    let name = clipped(owner.pod.as_ref()?);
    Some(match &owner.namespace {
        Some(namespace) => format!("{}/{name}", clipped(namespace)),
        None => name,
    })
}

/// The first characters of an id. An escape may be cut in two, which harms no terminal.
#[must_use]
pub fn short(id: &str, chars: usize) -> String {
    let mut short: String = id.chars().take(chars).collect();
    if short.len() < id.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_to_one_decimal() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (4096, "4 KiB"),
            (536_870_912, "512 MiB"),
            (1_610_612_736, "1.5 GiB"),
            (1_073_741_823, "1 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(
            [12_345_678_901, 1_960_000_000, u64::MAX].map(seconds),
            ["12.3 s", "2.0 s", "18446744073.7 s"]
        );
    }

    #[test]
    fn sizes_that_look_the_same_are_told_apart() {
        const GIB: u64 = 1 << 30;
        for (bytes, of, shown) in [
            (GIB, 2 * GIB, ""),
            (GIB, GIB, ""),
            (2 * GIB - (12 << 20), 2 * GIB, ", 12 MiB below it"),
            (GIB + (2 << 20), GIB, ", 2 MiB above it"),
            (GIB + 4096, GIB, ""),
            (u64::MAX, u64::MAX - 1, ""),
        ] {
            assert_eq!(apart(bytes, of, "it"), shown);
        }
        assert_eq!((percent(1, 0), percent(358, 464), percent(u64::MAX, 1)), (100, 77, u64::MAX));
    }

    #[test]
    fn spans_have_two_units() {
        for (ns, shown) in [
            (0, "0.0 ms"),
            (2_460_000, "2.4 ms"),
            (20_400_000, "20 ms"),
            (12_345_678_901, "12.3 s"),
            (723_000_000_000, "12 min 3 s"),
            (11_520_000_000_000, "3 h 12 min"),
            (442_800_000_000_000, "5 d 3 h"),
        ] {
            assert_eq!(span(ns), shown);
        }
    }

    #[test]
    fn what_others_wrote_is_on_one_line_harmless_and_bounded() {
        assert_eq!(quoted("cat: can't open\n '/a\x1b[2J'\n"), "cat: can't open '/a\\x1b[2J'");
        assert!(quoted(&"x".repeat(10_000)).len() <= QUOTED_BYTES);
    }

    #[test]
    fn a_long_name_that_a_source_gave_loses_its_middle() {
        let long = Text::from("n".repeat(10_000).as_str());
        let owner = Owner {
            kind: OwnerKind::Container,
            namespace: Some(long.clone()),
            pod: Some(long.clone()),
            container: Some(long),
            kubernetes: None,
            pod_uid: None,
            static_pod: false,
            container_id: None,
            qos_class: None,
            runtime: None,
            unit: None,
            engine: None,
            claims: None,
        };
        let words = super::owner(&owner, String::new);
        assert!(words.len() < 4 * NAME_BYTES && words.contains('…'), "{words}");
    }

    #[test]
    fn a_long_name_keeps_its_end() {
        let long = [b'x'; NAME_BYTES + 1];
        assert_eq!(path(&long), format!("…{}", "x".repeat(NAME_BYTES)));
        assert_eq!(short("1f6cbd1e-0d5a", 8), "1f6cbd1e…");
    }
}
