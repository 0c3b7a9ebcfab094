//! Cgroup paths: where a cgroup sits in the tree, and whose it is.
//!
//! PURE: bytes in, [`Placement`] out. [`parse`] is total: whatever the bytes are, it gives an answer and never
//! panics. What a path does not show is `None`; nothing is guessed from a name that merely looks similar.
//!
//! # Who chose the name
//!
//! A cgroup path is written by several hands. The system's systemd names slices, and the units directly in
//! them; kubelet names `kubepods` and what is below it down to the pod; the runtime names the container. Below
//! that the *workload* may name what it likes (cgroup namespaces are delegated), also
//! `kubepods/burstable/pod<somebody else>/<somebody else's container>`. Hence the rules, read from the root:
//!
//! 1. The outermost Kubernetes container wins. What stands below it is that container, `nested`, by any name.
//! 2. A container outside Kubernetes does not hide a `kubepods` below it: that is kind, k3d, minikube and
//!    every CI runner that starts a cluster in a container.
//! 3. Only slices from the root down, and the first other unit in them, are units of the host: a
//!    `kubelet.service` in a user's service manager is not the kubelet.
//! 4. What rules 2 and 3 let through, anybody who was given a subtree can forge. [`Placement::delegated`] says
//!    so: whoever names a pod from such a path must have it confirmed elsewhere.
//!
//! # What is recognised
//!
//! | written by | form |
//! |---|---|
//! | kubelet, cgroupfs driver | `/kubepods[/burstable\|/besteffort]/pod<uid>/<id>` |
//! | kubelet, systemd driver | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/<runtime>-<id>.scope` |
//! | kubelet with `--cgroup-root` | the same below `/<root>`, slices named `<root>-kubepods...` |
//! | runtime and kubelet with different drivers | `.../kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`, one component |
//! | containerd, CRI-O, Docker, Podman, nerdctl | `cri-containerd-`, `crio-`, `docker-`, `libpod-`, `libpod-payload-`, `nerdctl-` and the ID, with or without `.scope`; the bare ID |
//! | conmon | `crio-conmon-<id>`, `libpod-conmon-<id>`: a monitor, not the container |
//!
//! An ID is 64 lower-case hex digits: each of these runtimes makes them so. `pod<anything>` where a pod must be is a
//! pod; its UID is taken only in the two forms that it normally has (UUID, config hash).

use schemars::JsonSchema;
use serde::Serialize;

/// Kubernetes' quality-of-service class, as the cgroup tree shows it.
// No rename: the variants are spelt as Kubernetes spells `status.qosClass`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Qos {
    /// Each container has equal requests and limits: no folder of its own, the pod is directly in `kubepods`.
    Guaranteed,
    /// Some request or limit is set.
    Burstable,
    /// No request or limit is set.
    BestEffort,
}

/// The container runtime, where the name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd: by its CRI plugin, by nerdctl, or in its namespaces `default` and `k8s.io`.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker: by cri-dockerd or outside Kubernetes.
    Docker,
    /// Podman.
    Podman,
}

/// Where in the tree a cgroup sits, as the level of a limit that it would carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Place {
    /// The root of the tree (also the empty path).
    #[default]
    Root,
    /// `kubepods`, the cgroup of all pods: its limit is what the node may allocate.
    NodeAllocatable,
    /// The cgroup of a class.
    Qos,
    /// A pod's cgroup.
    Pod,
    /// A container's cgroup, or one below it ([`Placement::nested`]).
    Container,
    /// A systemd unit of the host, a slice as well as a service, or a cgroup below it ([`Placement::nested`]).
    HostService,
    /// None of these: a plain directory, the monitor of a pod's container, or an unknown name in `kubepods`.
    Other,
}

/// What a cgroup path says.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one path, each read alone")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The place of the cgroup that the path names.
    pub place: Place,
    /// The path goes on below the container (or the host's unit) that `place` says: a limit found there is
    /// neither the container's nor the unit's, just that cgroup's.
    pub nested: bool,
    /// The pod's class, in a class's cgroup and below; `None` for `kubepods` itself.
    pub qos: Option<Qos>,
    /// The pod's UID as Kubernetes writes it (the systemd driver's `_` turned back into `-`), or a static pod's
    /// config hash. `None` in a pod whose name has neither form (a manifest file may set any UID).
    pub pod_uid: Option<String>,
    /// `pod_uid` is a config hash (32 hex digits): the API knows this pod by another UID, and carries the hash in
    /// the annotation `kubernetes.io/config.hash`.
    pub static_pod: bool,
    /// The container's ID, 64 hex digits. With `infra`, the ID of the container that is watched.
    pub container_id: Option<String>,
    /// The runtime, where the name tells it: the cgroupfs driver's bare ID in a pod does not.
    pub runtime: Option<Runtime>,
    /// conmon's cgroup, the monitor of CRI-O and Podman: not the container's processes. Its place is `Other`
    /// in a pod (the pod's monitor, inside the pod's limit) and `HostService` where it is a scope of the host.
    pub infra: bool,
    /// The deciding names stand below something that may have been handed to somebody else: a service or scope,
    /// a container outside Kubernetes, or directories of unknown origin. Not delegated is what has above it only
    /// slices, or one plain directory of the root (`/docker`, `/kubelet`).
    pub delegated: bool,
    /// The unit of the host's systemd that the cgroup belongs to, outside Kubernetes: the innermost slice, or the
    /// first service, scope, mount, socket or swap in it. Names are kept escaped (`\x2d`), as `systemctl` takes
    /// them. A unit's name is ASCII, so a name that is not UTF-8 is no unit.
    pub unit: Option<String>,
    /// Length in bytes of the prefix of the path that names `kubepods`.
    pub kubepods_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the class's cgroup.
    pub qos_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the pod's cgroup.
    pub pod_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the container's cgroup.
    pub container_end: Option<usize>,
}

/// Says where the cgroup of this path sits. Empty components and a final ` (deleted)`, which `/proc/<pid>/cgroup` puts
/// behind a removed cgroup, are skipped; the first `/` may be missing.
///
/// The path must begin at the tree's root. One whose beginning is missing could begin in a container, with names that
/// the container chose: do not ask about it.
#[must_use]
pub fn parse(path: &[u8]) -> Placement {
    let mut parts = Parts::of(path);
    let mut found = Placement::default();
    // All components so far are slices: what comes next was named by the host's systemd (rule 3).
    let mut slices = true;
    let mut delegated = false;
    let mut above = "";

    while let Some((name, end)) = parts.next() {
        if let Some(level) = Level::first(name) {
            return below_kubepods(level, end, parts, delegated);
        }
        let unit = if slices { unit(name) } else { None };
        let container = Container::named(name);
        // LXC and Incus put a whole system into a directory of the root.
        let lxc = name.starts_with("lxc.");
        let directory_of_root = above.is_empty() && unit.is_none() && container.is_none() && !lxc;

        if found.container_id.is_some() {
            found.nested = true;
        } else {
            if unit.is_some() {
                found.place = Place::HostService;
                found.unit = unit.map(str::to_owned);
            } else if found.unit.is_some() {
                found.nested = true;
            } else {
                found.place = Place::Other;
            }
            if let Some(container) = container {
                found.delegated = delegated;
                found.hold(&container, above, end);
                // Rule 1; and nothing below a monitor is worth a look.
                if container.cri || above == "k8s.io" || container.monitor {
                    found.nested |= parts.next().is_some();
                    return found;
                }
            }
        }

        slices &= unit.is_some_and(|unit| unit.strip_suffix(".slice").is_some());
        delegated |= !slices && !directory_of_root;
        above = name;
    }
    found
}

/// Reads on below the first name of `kubepods`. Each step is taken only where kubelet would have put it.
fn below_kubepods(first: Level<'_>, end: usize, parts: Parts<'_>, delegated: bool) -> Placement {
    let mut found = Placement { delegated, ..Placement::default() };
    found.enter(first, end);
    for (name, end) in parts {
        match found.place {
            Place::NodeAllocatable | Place::Qos => match Level::next(name, &found) {
                Some(level) => found.enter(level, end),
                None => return Placement { place: Place::Other, ..found },
            },
            Place::Pod => {
                found.place = Place::Other;
                match Container::named(name) {
                    Some(container) => found.hold(&container, "", end),
                    None => return found,
                }
            }
            // Rule 1: below the container (or its monitor) no name counts.
            _ => return Placement { nested: true, ..found },
        }
    }
    found
}

impl Placement {
    fn enter(&mut self, level: Level<'_>, end: usize) {
        match level {
            Level::Kubepods => {
                self.place = Place::NodeAllocatable;
                self.kubepods_end = Some(end);
            }
            Level::Class(qos) => {
                self.place = Place::Qos;
                self.qos = Some(qos);
                self.qos_end = Some(end);
            }
            Level::Pod(qos, uid) => {
                self.place = Place::Pod;
                self.qos = Some(qos);
                self.pod_end = Some(end);
                self.name_pod(uid);
            }
        }
    }

    fn name_pod(&mut self, name: &str) {
        self.static_pod = is_hex(name, 32);
        self.pod_uid = if self.static_pod { Some(name.to_owned()) } else { uuid(name) };
    }

    fn hold(&mut self, container: &Container<'_>, above: &str, end: usize) {
        self.container_id = Some(container.id.to_owned());
        self.runtime = container.runtime.or(match above {
            "docker" => Some(Runtime::Docker),
            "default" | "k8s.io" => Some(Runtime::Containerd),
            _ => None,
        });
        self.infra = container.monitor;
        if !container.monitor {
            self.place = Place::Container;
            self.nested = false;
            self.container_end = Some(end);
        }
        // In `kubepods` the pod's own cgroup has been read, and that is the one to believe.
        if let (Some(Level::Pod(qos, uid)), None) = (container.pod, self.kubepods_end.or(self.pod_end)) {
            self.qos = Some(qos);
            self.name_pod(uid);
            self.unit = None;
        }
    }
}

/// A cgroup that kubelet makes, with what its name says.
#[derive(Clone, Copy)]
enum Level<'a> {
    Kubepods,
    Class(Qos),
    Pod(Qos, &'a str),
}

impl<'a> Level<'a> {
    /// The name that shows that Kubernetes' tree begins here. A slice says it all by itself.
    fn first(name: &'a str) -> Option<Self> {
        if name == "kubepods" { Some(Self::Kubepods) } else { Self::of_slice(name) }
    }

    /// The name as a child of `kubepods` or of a class, whichever `above` is.
    fn next(name: &'a str, above: &Placement) -> Option<Self> {
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
        // The last one, because a root may be called kubepods too.
        let tail = stem.rmatch_indices("kubepods").find_map(|(at, name)| {
            let begins = at == 0 || stem[..at].ends_with('-');
            let tail = &stem[at + name.len()..];
            (begins && (tail.is_empty() || tail.starts_with('-'))).then_some(tail)
        })?;
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
struct Container<'a> {
    id: &'a str,
    runtime: Option<Runtime>,
    monitor: bool,
    /// Made for a kubelet, wherever it stands.
    cri: bool,
    /// The pod, where a runtime took the slice that it was told for a part of the name.
    pod: Option<Level<'a>>,
}

impl<'a> Container<'a> {
    fn named(name: &'a str) -> Option<Self> {
        let (slice, prefix, id) = if let Some(at) = name.find(".slice:") {
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

/// The components of a path, each with the length of the prefix that ends with it.
struct Parts<'a> {
    path: &'a [u8],
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(path: &'a [u8]) -> Self {
        let kept = path.strip_suffix(b" (deleted)").filter(|kept| !matches!(kept, [] | [.., b'/']));
        Self { path: kept.unwrap_or(path), at: 0 }
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = (&'a str, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.at + self.path.get(self.at..)?.iter().position(|&byte| byte != b'/')?;
        let rest = &self.path[from..];
        let end = from + rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        self.at = end;
        // Every name that means something is ASCII; any other only has to be there, and to match nothing.
        Some((str::from_utf8(&self.path[from..end]).unwrap_or("?"), end))
    }
}

/// The name as that of a systemd unit that has a cgroup.
fn unit(name: &str) -> Option<&str> {
    // systemd puts a `_` before a name that the kernel keeps for itself ("cgroup.…", "cpu.…").
    let name = name.strip_prefix('_').unwrap_or(name);
    let (stem, kind) = name.rsplit_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let known = matches!(kind, "service" | "scope" | "slice" | "mount" | "socket" | "swap");
    (known && !stem.is_empty() && name.len() <= 255 && name.bytes().all(plain)).then_some(name)
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A UUID with its dashes, which the systemd driver writes as `_` because a `-` in a slice's name means a level.
fn uuid(text: &str) -> Option<String> {
    let dash = if text.contains('_') { "_" } else { "-" };
    let mut groups = text.split(dash);
    let fits = [8, 4, 4, 4, 12].into_iter().all(|len| groups.next().is_some_and(|group| is_hex(group, len)));
    (fits && groups.next().is_none()).then(|| text.replace('_', "-"))
}

#[cfg(test)]
mod tests;
