//! Cgroup paths: the place of a cgroup in the tree, and its owner.
//!
//! PURE: bytes in, [`Placement`] out. [`parse`] is total: whatever the bytes are, it gives an answer and never
//! panics. What a path does not show is `None`; nothing is guessed from a name that merely looks similar.
//!
//! # Who chose the name
//!
//! A cgroup path has several authors. The system's systemd names slices, and the units directly in them; kubelet names
//! `kubepods` and the cgroups below it down to the pod; the runtime names the container. Below that the *workload* may choose
//! any name (cgroup namespaces are delegated), also `kubepods/burstable/pod<another pod>/<another container>`. Hence the rules,
//! read from the root:
//!
//! 1. The outermost Kubernetes container wins. A cgroup below it is that container, `nested`, whatever its name.
//! 2. Only slices from the root down, and the first other unit in them, are units of the host: a
//!    `kubelet.service` in a user's service manager is not the kubelet.
//! 3. A service, a scope, a container, and a directory that is neither a slice nor directly in the root may have been
//!    *delegated*: another party (a user's service manager, a service with `Delegate=`, a container with its own cgroup
//!    namespace) names the cgroups below. So below it the owner is the party that it was delegated to, and the names in the
//!    rest of the path are stored apart, as [`Placement::claims`]. No level, name or figure is taken from a claim.
//! 4. A container that stands directly in the service of a Kubernetes runtime (`containerd.service`, `k3s.service`), with its
//!    pod in the same name, is no claim: that runtime names its containers, and puts nothing else in there.
//! 5. The tree begins at the root of *the agent's node*. In kind, k3d and minikube the node is itself a container, and its
//!    kubelet's names are as reliable as on a machine: so if the agent sees a cgroup of the machine as the root of its
//!    hierarchy, and kubelet's tree in it, paths below that cgroup are read from there ([`parse_below`]). The same path is a
//!    claim to an agent outside of that container, or in another one.
//!
//! A source that knows the pod and the container of a claim does not confirm it: UIDs and container ids are in
//! `/sys/fs/cgroup`, where every user of the machine can read and imitate them. One directory directly in the root is taken for
//! root's own (kubelet's `--cgroup-root=/<root>` makes it), though root can give that away too (`runc run` by hand, with a
//! writable `/sys/fs/cgroup`); a deeper `--cgroup-root` is not told from a container's directory, and gives claims.
//!
//! # Recognised forms
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
//! What other software calls its cgroups has a table of its own, `cgroup/engine.rs`.
//!
//! An ID is 64 lower-case hex digits: all of these runtimes make such IDs. `pod<anything>` where a pod must be is a pod; its
//! UID is taken only in the two forms that it normally has (UUID, config hash).

use crate::schema::{EngineKind, Qos, Runtime};
use names::{Container, Level, is_hex, unit, uuid};

/// The place of a cgroup in the tree, as the level of a limit that it would carry.
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

/// The facts in a cgroup path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Placement {
    /// The place of the cgroup that the path names.
    pub place: Place,
    /// The path continues below the container (or the host's unit) of `place`: a limit found there is neither the container's
    /// nor the unit's, only that cgroup's.
    pub nested: bool,
    /// The pod's class, in a class's cgroup and below; `None` for `kubepods` itself.
    pub qos: Option<Qos>,
    /// The pod's UID as Kubernetes writes it (the systemd driver's `_` turned back into `-`), or a static pod's
    /// config hash. `None` in a pod whose name has neither form (a manifest file may set any UID).
    pub pod_uid: Option<String>,
    /// `pod_uid` is a config hash (32 hex digits): the API server has this pod under another UID, and the hash in the
    /// annotation `kubernetes.io/config.hash`.
    pub static_pod: bool,
    /// The text in place of a UID in a pod's name, if it has neither form.
    pub odd_uid: Option<String>,
    /// The container's ID, 64 hex digits. With `infra`, the ID of the container that is watched.
    pub container_id: Option<String>,
    /// The runtime, if the name contains it: the cgroupfs driver's bare ID in a pod does not.
    pub runtime: Option<Runtime>,
    /// conmon's cgroup, the monitor of CRI-O and Podman: not the container's processes. Its place is `Other`
    /// in a pod (the pod's monitor, inside the pod's limit) and `HostService` where it is a scope of the host.
    pub infra: bool,
    /// The unit of the host's systemd that the cgroup belongs to, outside Kubernetes: the innermost slice, or the first
    /// service, scope, mount, socket or swap in it. Names stay escaped (`\x2d`), as `systemctl` takes them. A unit's name is
    /// ASCII, so a name that is not UTF-8 is no unit.
    pub unit: Option<String>,
    /// What software other than Kubernetes calls it, outside of Kubernetes' tree.
    pub engine: Option<Engine>,
    /// The unit of a user's service manager that it belongs to: `unit` is then that service manager's own.
    pub user_unit: Option<UserUnit>,
    /// Length in bytes of the prefix of the path that names `kubepods`.
    pub kubepods_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the class's cgroup.
    pub qos_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the pod's cgroup.
    pub pod_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the container's cgroup.
    pub container_end: Option<usize>,
    /// Length in bytes of the prefix of the path that names the delegated cgroup, if there are [`Self::claims`].
    pub delegate_end: Option<usize>,
    /// Placement by the names below it, which are not trusted. All other fields are of the party that it was delegated to.
    pub claims: Option<Box<Placement>>,
}

/// Services of the host that are a Kubernetes runtime, or contain one. A runtime that uses the driver `cgroupfs` under a
/// kubelet that uses `systemd` puts containers directly into its own cgroup.
const RUNTIMES: [&str; 6] = [
    "containerd.service",
    "crio.service",
    "k3s.service",
    "k3s-agent.service",
    "rke2-server.service",
    "rke2-agent.service",
];

/// Places the cgroup of this path. Empty components and a final ` (deleted)`, which `/proc/<pid>/cgroup` appends to a removed
/// cgroup, are skipped; the first `/` may be missing.
///
/// The path must begin at the tree's root. A path whose beginning is missing could begin in a container, with names that the
/// container chose: do not pass it.
#[must_use]
pub fn parse(path: &[u8]) -> Placement {
    parse_below(path, 0)
}

/// The same for an agent whose node has its root at the cgroup that the first `root_bytes` of the path name (rule 5). Other
/// paths are read from the machine's root.
#[must_use]
pub fn parse_below(path: &[u8], root_bytes: usize) -> Placement {
    let mut parts = Parts::of(path);
    if (1..path.len()).contains(&root_bytes) && path[root_bytes] == b'/' {
        parts.at = root_bytes;
        // The cgroup itself is placed as on the machine.
        if parts.clone().next().is_none() {
            parts.at = 0;
        }
    }
    let mut found = read(parts.clone());
    if found.kubepods_end.is_none() && !found.is_in_pod() {
        (found.engine, found.user_unit) = engine::of(parts);
        // Nomad makes a directory with the name of a scope.
        let nomads = found.engine.as_ref().is_some_and(|engine| engine.kind == EngineKind::NomadTask);
        if nomads && found.place == Place::HostService {
            (found.place, found.unit, found.nested) = (Place::Other, None, false);
        }
    }
    found
}

/// Whether kubelet gives this name to the cgroup of all pods.
#[must_use]
pub fn is_kubepods(name: &str) -> bool {
    matches!(Level::first(name), Some(Level::Kubepods))
}

/// Whether these parts of a path have a name that kubelet gives: a level of its tree, its service or slice, a pod that a runtime
/// took into the name of a container. Below a delegation that is no more than a claim.
#[must_use]
pub fn has_kubelets_names(path: &[u8]) -> bool {
    let kubelets = ["kubelet", "kubelet.slice", "kubelet.service"];
    Parts::of(path).any(|(name, _)| {
        kubelets.contains(&name)
            || Level::first(name).is_some()
            || Container::named(name).is_some_and(|it| it.pod.is_some())
    })
}

/// Whether it is the service of a Kubernetes runtime, or one that contains it.
#[must_use]
pub fn is_runtimes_service(unit: &str) -> bool {
    RUNTIMES.contains(&unit)
}

/// Whether it is a UUID, the form of Kubernetes' UIDs.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    uuid(text).as_deref() == Some(text)
}

fn read(mut parts: Parts<'_>) -> Placement {
    let mut found = Placement::default();
    // All components so far are slices: the host's systemd named the next one (rule 2).
    let mut slices = true;
    // The delegate that chose all further names (rule 3), and the length of the path that names it.
    let mut delegate: Option<(Placement, usize)> = None;
    let mut above = "";

    while let Some((name, end)) = parts.next() {
        if let Some(level) = Level::first(name) {
            return below(delegate, below_kubepods(level, end, parts));
        }
        let unit = if slices { unit(name) } else { None };
        // Not containers, though their ids look like those: a pod of Podman, a sandbox of Kata.
        let group = !slices && engine::groups(above) && {
            let path = parts.path.get(..end).map(Parts::of);
            path.and_then(|path| engine::of(path).0).is_some_and(|it| it.end == end)
        };
        let container = Container::named(name).filter(|_| !group);
        // LXC and Incus put a whole system into a directory of the root.
        let lxc = name.starts_with("lxc.");
        // The ECS agent and Podman name their tasks and pods, and the runtimes the containers in them.
        let named_by_root = group && above != "kata_overhead";
        let directory_of_root = above.is_empty() && unit.is_none() && container.is_none() && !lxc;

        if found.container_id.is_some() {
            found.nested = true;
        } else {
            // Rule 4.
            if container.as_ref().is_some_and(|it| it.cri && it.pod.is_some())
                && found.unit.as_deref() == Some(above)
                && RUNTIMES.contains(&above)
            {
                delegate = None;
            }
            if unit.is_some() {
                found.place = Place::HostService;
                found.unit = unit.map(str::to_owned);
            } else if found.unit.is_some() {
                found.nested = true;
            } else {
                found.place = Place::Other;
            }
            if let Some(container) = container {
                found.hold(&container, above, end);
                // Rule 1; and names below a monitor do not count.
                if container.cri || above == "k8s.io" || container.monitor {
                    found.nested |= parts.next().is_some();
                    return below(delegate, found);
                }
            }
        }

        slices &= unit.is_some_and(|unit| unit.strip_suffix(".slice").is_some());
        if !slices && !directory_of_root && !named_by_root && delegate.is_none() {
            delegate = Some((found.clone(), end));
        }
        above = name;
    }
    // The delegate itself, or names below it without a known form.
    let claims_container = |(it, _): &(Placement, usize)| it.container_id != found.container_id;
    if delegate.as_ref().is_some_and(claims_container) { below(delegate, found) } else { found }
}

/// The delegate's placement, with that of the names below it as claims.
fn below(delegate: Option<(Placement, usize)>, claims: Placement) -> Placement {
    match delegate {
        None => claims,
        Some((delegate, end)) => Placement {
            nested: matches!(delegate.place, Place::Container | Place::HostService),
            delegate_end: Some(end),
            claims: Some(Box::new(claims)),
            ..delegate
        },
    }
}

/// Reads on below the first name of `kubepods`. Each step is taken only if kubelet would have put the name there.
fn below_kubepods(first: Level<'_>, end: usize, parts: Parts<'_>) -> Placement {
    let mut found = Placement::default();
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
    /// The cgroup is a pod's, or in one.
    #[must_use]
    pub fn is_in_pod(&self) -> bool {
        self.pod_end.is_some() || self.pod_uid.is_some()
    }

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
        self.odd_uid = self.pod_uid.is_none().then(|| name.to_owned());
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
        // In `kubepods` the pod's own cgroup has been read, and takes precedence.
        if let (Some(Level::Pod(qos, uid)), None) = (container.pod, self.kubepods_end.or(self.pod_end)) {
            self.qos = Some(qos);
            self.name_pod(uid);
            self.unit = None;
        }
    }
}

/// Stands for a name that is not UTF-8: no cgroup can be called so.
const NO_TEXT: &str = "/";

/// Components of a path, each with the length of the prefix that ends with it.
#[derive(Clone)]
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
        // Every known name is ASCII; any other must only be there, and match nothing.
        Some((str::from_utf8(&self.path[from..end]).unwrap_or(NO_TEXT), end))
    }
}

mod engine;
mod names;
mod root;

pub use engine::{Engine, UserUnit};
pub use root::NodeRoot;

#[cfg(test)]
mod tests;
