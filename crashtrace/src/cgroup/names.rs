//! Facts in the name of one cgroup: a level of kubelet's tree, a container, a unit of systemd.

use super::{Place, Placement};
use crate::schema::{Qos, Runtime};

/// A cgroup that kubelet makes, with the facts in its name.
#[derive(Clone, Copy)]
pub(super) enum Level<'a> {
    Kubepods,
    Class(Qos),
    Pod(Qos, &'a str),
}

impl<'a> Level<'a> {
    /// The name at which Kubernetes' tree begins. A slice's name has all levels.
    pub(super) fn first(name: &'a str) -> Option<Self> {
        if name == "kubepods" { Some(Self::Kubepods) } else { Self::of_slice(name) }
    }

    /// The name as a child of `kubepods` or of a class, depending on `above`.
    pub(super) fn next(name: &'a str, above: &Placement) -> Option<Self> {
        let below_class = above.place == Place::Qos;
        match Self::first(name).or_else(|| Self::of_folder(name, above.qos))? {
            // MicroShift's `--cgroup-root=kubepods` puts a kubepods into a kubepods: the inner one is meant.
            Self::Kubepods | Self::Class(_) if below_class => None,
            level => Some(level),
        }
    }

    /// The cgroupfs driver's names, without the tree above in them.
    fn of_folder(name: &'a str, above: Option<Qos>) -> Option<Self> {
        match name {
            "burstable" => Some(Self::Class(Qos::Burstable)),
            "besteffort" => Some(Self::Class(Qos::BestEffort)),
            _ => {
                let uid = name.strip_prefix("pod").filter(|uid| !uid.is_empty())?;
                Some(Self::Pod(above.unwrap_or(Qos::Guaranteed), uid))
            }
        }
    }

    /// The systemd driver's names, which spell out the tree above, a custom root first: `kubelet-kubepods-...`.
    fn of_slice(name: &'a str) -> Option<Self> {
        let stem = name.strip_suffix(".slice")?;
        // The last level of that name, because a root may be called kubepods too.
        let mut end = stem.len();
        let tail = loop {
            let begin = stem[..end].rfind('-').map_or(0, |dash| dash + 1);
            if &stem[begin..end] == "kubepods" {
                break &stem[end..];
            }
            end = begin.checked_sub(1)?;
        };
        let Some(rest) = tail.strip_prefix('-') else { return Some(Self::Kubepods) };
        let (class, pod) = rest.split_once('-').unwrap_or((rest, ""));
        match Self::of_folder(class, None)? {
            Self::Class(qos) if pod.is_empty() => Some(Self::Class(qos)),
            Self::Class(qos) => {
                Self::of_folder(pod, Some(qos)).filter(|level| matches!(level, Self::Pod(..)))
            }
            // A Guaranteed pod. Kubelet writes no `-` into a UID here, but there are tools that do.
            _ => Self::of_folder(rest, None),
        }
    }
}

/// A container, or its monitor, by the name of its cgroup.
pub(super) struct Container<'a> {
    pub(super) id: &'a str,
    pub(super) runtime: Option<Runtime>,
    pub(super) monitor: bool,
    /// Made for a kubelet, anywhere in the tree.
    pub(super) cri: bool,
    /// The pod, if a runtime took the slice from kubelet for a part of the name.
    pub(super) pod: Option<Level<'a>>,
}

impl<'a> Container<'a> {
    pub(super) fn named(name: &'a str) -> Option<Self> {
        let slice = if name.contains(':') { name.find(".slice:") } else { None };
        let (slice, prefix, id) = if let Some(at) = slice {
            // systemd's notation "slice:prefix:name", made a directory by a runtime that was not told that the
            // kubelet uses the systemd driver.
            let (slice, rest) = name.split_at(at + ".slice".len());
            let (prefix, id) = rest[1..].split_once(':')?;
            (Some(slice), Some(prefix), id)
        } else {
            let stem = name.strip_suffix(".scope").unwrap_or(name);
            stem.rsplit_once('-').map_or((None, None, stem), |(prefix, id)| (None, Some(prefix), id))
        };
        let (runtime, monitor) = match prefix {
            Some("cri-containerd" | "nerdctl") => (Some(Runtime::Containerd), false),
            Some("crio") => (Some(Runtime::Crio), false),
            Some("crio-conmon") => (Some(Runtime::Crio), true),
            Some("docker") => (Some(Runtime::Docker), false),
            // `payload`: `podman run --cgroups=split`, which is how Quadlet runs it.
            Some("libpod" | "libpod-payload") => (Some(Runtime::Podman), false),
            Some("libpod-conmon") => (Some(Runtime::Podman), true),
            Some(_) => return None,
            None => (None, false),
        };
        let pod = slice.and_then(Level::of_slice).filter(|level| matches!(level, Level::Pod(..)));
        let cri = prefix == Some("cri-containerd") || runtime == Some(Runtime::Crio) || pod.is_some();
        is_hex(id, 64).then_some(Self { id, runtime, monitor, cri, pod })
    }
}

/// The name as that of a systemd unit that has a cgroup.
pub(super) fn unit(name: &str) -> Option<&str> {
    // systemd puts a `_` before a name that the kernel reserves ("cgroup.…", "cpu.…").
    let name = name.strip_prefix('_').unwrap_or(name);
    let (stem, kind) = name.rsplit_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let known = matches!(kind, "service" | "scope" | "slice" | "mount" | "socket" | "swap");
    (known && !stem.is_empty() && name.len() <= 255 && name.bytes().all(plain)).then_some(name)
}

pub(super) fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A UUID with its dashes, which the systemd driver writes as `_` because a `-` in a slice's name means a level.
pub(super) fn uuid(text: &str) -> Option<String> {
    let dash = if text.contains('_') { "_" } else { "-" };
    let mut groups = text.split(dash);
    let fits = [8, 4, 4, 4, 12].into_iter().all(|len| groups.next().is_some_and(|group| is_hex(group, len)));
    (fits && groups.next().is_none()).then(|| text.replace('_', "-"))
}
