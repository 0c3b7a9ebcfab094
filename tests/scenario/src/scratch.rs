//! Scratch trees of cgroups, shaped like those of Kubernetes' nodes.
//!
//! These trees go after their [`Scratch`] ([`remove_what_is_over`]), also when a test fails half-way, and on a
//! signal (`cleanup`): first the processes in it, then the directories from the leaves up.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crashtrace_judge::cast::{Cast, Place};
use crashtrace_test_support::cgroup::{Cgroup, Hierarchy, kills, random_hex, remove};
use crashtrace_test_support::cleanup;

/// The program that names the cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// kubelet's driver `cgroupfs`.
    Plain,
    /// kubelet's driver `systemd`, with containerd.
    Systemd,
}

/// A tree of cgroups of one test.
#[derive(Debug)]
pub struct Scratch {
    hierarchy: Hierarchy,
    names: Names,
    /// The trees to remove in the end.
    roots: Vec<PathBuf>,
    /// Where cgroups that are no pods go.
    base: PathBuf,
    /// The pods' cgroup.
    kubepods: PathBuf,
    /// That of the burstable ones.
    qos: PathBuf,
}

impl Scratch {
    /// Makes `ct-<pid>-<name>-…/kubepods/burstable`.
    pub fn new(hierarchy: &Hierarchy, name: &str) -> Result<Self> {
        Self::named(hierarchy, name, Names::Plain)
    }

    /// The same with the names that this driver would give.
    pub fn named(hierarchy: &Hierarchy, name: &str, names: Names) -> Result<Self> {
        let id = random_hex()?;
        let base = hierarchy.mount.join(format!("ct-{}-{name}-{}", std::process::id(), &id[..8]));
        let (kubepods, qos) = match names {
            Names::Plain => ("kubepods", "burstable"),
            Names::Systemd => ("kubepods.slice", "kubepods-burstable.slice"),
        };
        let kubepods = base.join(kubepods);
        let roots = vec![base.clone()];
        Self { hierarchy: hierarchy.clone(), names, roots, base, qos: kubepods.join(qos), kubepods }.make()
    }

    /// Makes `/kubepods/burstable` and `/system.slice`, as a node has them: for guests.
    pub fn of_node(hierarchy: &Hierarchy) -> Result<Self> {
        let [kubepods, base] = ["kubepods", "system.slice"].map(|name| hierarchy.mount.join(name));
        ensure!(!base.exists() && !kubepods.exists(), "this machine has system.slice or kubepods already");
        let (roots, qos) = (vec![kubepods.clone(), base.clone()], kubepods.join("burstable"));
        Self { hierarchy: hierarchy.clone(), names: Names::Plain, roots, base, kubepods, qos }.make()
    }

    /// Makes nothing yet: cgroups come where a path says ([`Self::at`]). For guests.
    pub fn anywhere(hierarchy: &Hierarchy) -> Self {
        let [base, kubepods, qos] = [(); 3].map(|()| hierarchy.mount.clone());
        Self { hierarchy: hierarchy.clone(), names: Names::Plain, roots: Vec::new(), base, kubepods, qos }
    }

    /// The cgroup at this path from the root. It and those above it are made where they are not there.
    pub fn at(&mut self, path: &str) -> Result<Cgroup> {
        let mut known = cleanup::lock()?;
        let mut dir = self.hierarchy.mount.clone();
        for (depth, name) in path.split('/').enumerate() {
            dir.push(name);
            if dir.exists() {
                continue;
            }
            if depth == 0 {
                known.cgroups.push(dir.clone());
                self.roots.push(dir.clone());
            }
            self.hierarchy.create(&dir)?;
        }
        drop(known);
        self.hierarchy.cgroup(dir)
    }

    fn make(self) -> Result<Self> {
        // Held while creating: a signal must not find half of it.
        let mut known = cleanup::lock()?;
        known.cgroups.extend(self.roots.iter().cloned());
        for dir in [&self.base, &self.kubepods, &self.qos] {
            self.hierarchy.create(dir)?;
        }
        drop(known);
        Ok(self)
    }

    /// A pod in it, with a new UID.
    pub fn pod(&self) -> Result<Pod<'_>> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up a UID")?;
        let uid = uid.trim().to_owned();
        let name = match self.names {
            Names::Plain => format!("pod{uid}"),
            Names::Systemd => format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_")),
        };
        let cgroup = self.child(&self.qos, name)?;
        Ok(Pod { scratch: self, uid, cgroup })
    }

    /// A cgroup of the host beside the pods. In the tree of a node it is a unit.
    pub fn host(&self, name: &str) -> Result<Cgroup> {
        self.child(&self.base, name)
    }

    /// The part of a cgroup of the host beside the pods.
    pub fn service_place(&self, service: &Cgroup) -> Place {
        if self.roots.len() > 1 { unit(service) } else { plain(service) }
    }

    /// A cgroup in another.
    pub fn child(&self, parent: &Path, name: impl AsRef<OsStr>) -> Result<Cgroup> {
        let _known = cleanup::lock()?;
        let dir = parent.join(name.as_ref());
        self.hierarchy.create(&dir)?;
        self.hierarchy.cgroup(dir)
    }

    /// The cgroup of all pods, and its part in a report.
    pub fn kubepods(&self) -> Result<(Cgroup, Place)> {
        let cgroup = self.hierarchy.cgroup(self.kubepods.clone())?;
        let owner = json!({ "kind": "kubepods", "pod_uid": null, "container_id": null, "qos_class": null });
        Ok((cgroup.clone(), Place { path: cgroup.path, owner }))
    }

    /// The cgroup of all burstable pods, and its part in a report.
    pub fn qos(&self) -> Result<(Cgroup, Place)> {
        let cgroup = self.hierarchy.cgroup(self.qos.clone())?;
        let owner = json!({ "kind": "qos", "pod_uid": null, "container_id": null, "qos_class": "Burstable" });
        Ok((cgroup.clone(), Place { path: cgroup.path, owner }))
    }

    /// Where the hierarchy is mounted.
    pub fn mount(&self) -> &Path {
        &self.hierarchy.mount
    }

    /// An empty cast. To be called when all that was to happen has happened.
    pub fn cast(&self) -> Result<Cast> {
        let mut sum = self.hierarchy.memory.then_some(0);
        for root in self.roots.iter().filter(|_| self.hierarchy.memory) {
            let count = kills(root, self.hierarchy.version)?;
            sum = sum.zip(count).map(|(sum, count)| sum + count);
        }
        Ok(Cast { prefixes: self.prefixes(), kills: sum, ..Cast::default() })
    }

    /// The beginnings of the paths of all its cgroups. In the tree of a node, where names come again, the paths of the cgroups
    /// that are in it now.
    pub fn prefixes(&self) -> Vec<String> {
        let path = |dir: &Path| {
            let below = dir.strip_prefix(&self.hierarchy.mount).unwrap_or(dir);
            format!("{}/{}", self.hierarchy.above, below.display())
        };
        if self.roots == [self.base.clone()] {
            return vec![path(&self.base)];
        }
        let children = [&self.base, &self.qos].map(fs::read_dir).into_iter().flatten().flatten().flatten();
        let dirs = children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.map(|entry| path(&entry.path())).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut over = OVER.lock().unwrap_or_else(PoisonError::into_inner);
        over.append(&mut self.roots);
    }
}

/// Trees that are not needed any more.
static OVER: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the trees whose [`Scratch`] is gone. To be called when the agents have told all: they look into the cgroup
/// whose limit was hit right after a kill, and on a node it does not go that fast.
pub fn remove_what_is_over() {
    let over = std::mem::take(&mut *OVER.lock().unwrap_or_else(PoisonError::into_inner));
    for root in &over {
        if let Err(error) = remove(root) {
            eprintln!("scenario: {error:#}");
        }
    }
    if let Ok(mut known) = cleanup::lock() {
        known.cgroups.retain(|root| !over.contains(root));
    }
}

/// A pod's cgroup.
#[derive(Debug)]
pub struct Pod<'a> {
    scratch: &'a Scratch,
    /// The pod's UID.
    pub uid: String,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

impl Pod<'_> {
    /// A container in it.
    pub fn container(&self) -> Result<Container> {
        let id = random_hex()?;
        let name = match self.scratch.names {
            Names::Plain => id.clone(),
            Names::Systemd => format!("cri-containerd-{id}.scope"),
        };
        let runtime = (self.scratch.names == Names::Systemd).then_some("containerd");
        let owner = json!({ "kind": "container", "pod_uid": self.uid, "container_id": id,
            "qos_class": "Burstable", "static_pod": false, "runtime": runtime });
        let cgroup = self.scratch.child(&self.cgroup.dir, name)?;
        let place = Place { path: cgroup.path.clone(), owner };
        Ok(Container { cgroup, place })
    }

    /// Its part in a report.
    pub fn place(&self) -> Place {
        let owner =
            json!({ "kind": "pod", "pod_uid": self.uid, "container_id": null, "qos_class": "Burstable" });
        Place { path: self.cgroup.path.clone(), owner }
    }
}

/// A container's cgroup.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Its part in a report.
    pub place: Place,
}

impl Container {
    /// Its id.
    pub fn id(&self) -> &str {
        self.place.owner["container_id"].as_str().unwrap_or_default()
    }
}

/// The part of a cgroup that is no pod's.
pub fn plain(cgroup: &Cgroup) -> Place {
    let owner = json!({ "kind": "cgroup", "pod_uid": null, "container_id": null, "unit": null });
    Place { path: cgroup.path.clone(), owner }
}

/// The part of a unit of the host.
pub fn unit(cgroup: &Cgroup) -> Place {
    let name = cgroup.dir.file_name().unwrap_or_default().to_string_lossy();
    let owner = json!({ "kind": "host_service", "pod_uid": null, "container_id": null, "unit": name });
    Place { path: cgroup.path.clone(), owner }
}
