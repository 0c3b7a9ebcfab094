//! Scratch cgroups, shaped like those of Kubernetes' pods, in whichever hierarchy has the memory controller.
//!
//! What is made here goes with its [`Scratch`], also when a test fails half-way, and on a signal (`cleanup`): first
//! the processes in it, then the directories from the leaves up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::cleanup;

/// How long the kernel may take to let go of a cgroup whose processes were killed.
const REMOVAL: Duration = Duration::from_secs(20);

/// The two kinds of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy a controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where the memory controller is.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Its kind.
    pub version: Version,
    /// Where it is mounted.
    mount: PathBuf,
    /// Path of the cgroup that is mounted there; empty for the root.
    above: String,
}

impl Hierarchy {
    /// Finds it among this process's mounts.
    pub fn find() -> Result<Self> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let mut found: Vec<_> = mounts.lines().filter_map(Self::of_mount).collect();
        // The unified hierarchy is often mounted beside v1 controllers, and then has no memory controller.
        found.retain(Self::has_memory);
        found.into_iter().next().context(
            "no mounted cgroup hierarchy has the memory controller: mount one (`mount -t cgroup2 none \
             /sys/fs/cgroup`), and see that the kernel was not booted with cgroup_disable=memory",
        )
    }

    /// One line of `mountinfo`: `36 35 98:0 /root /mount/point options - type source options`.
    fn of_mount(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mount: Vec<&str> = mount.split(' ').collect();
        let (root, place) = (*mount.get(3)?, *mount.get(4)?);
        let file_system: Vec<&str> = file_system.split(' ').collect();
        let version = match *file_system.first()? {
            "cgroup" if file_system.get(2)?.split(',').any(|option| option == "memory") => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        Some(Self { version, mount: place.into(), above: root.trim_end_matches('/').to_owned() })
    }

    fn has_memory(&self) -> bool {
        match self.version {
            Version::V1 => true,
            Version::V2 => fs::read_to_string(self.mount.join("cgroup.controllers"))
                .is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "memory")),
        }
    }

    fn create(&self, dir: &Path) -> Result<()> {
        if self.version == Version::V2 {
            let parent = dir.parent().context("a cgroup has a parent")?;
            let control = parent.join("cgroup.subtree_control");
            write(&control, "+memory").context(
                "cannot hand the memory controller down (in a container, run this on the host, or with the host's \
                 cgroup namespace)",
            )?;
        }
        fs::create_dir(dir).with_context(|| format!("cannot create cgroup {}", dir.display()))
    }
}

/// A tree of cgroups of one test.
#[derive(Debug)]
pub struct Scratch {
    hierarchy: Hierarchy,
    root: PathBuf,
    qos: PathBuf,
}

impl Scratch {
    /// Makes `ct-<pid>-<name>-…/kubepods/burstable`.
    pub fn new(hierarchy: &Hierarchy, name: &str) -> Result<Self> {
        let id = random_hex()?;
        let root = hierarchy.mount.join(format!("ct-{}-{name}-{}", std::process::id(), &id[..8]));
        let qos = root.join("kubepods/burstable");
        let scratch = Self { hierarchy: hierarchy.clone(), root, qos };
        // Held while creating: a signal must not find half of it.
        let mut known = cleanup::lock()?;
        known.cgroups.push(scratch.root.clone());
        for dir in [&scratch.root, &scratch.root.join("kubepods"), &scratch.qos] {
            hierarchy.create(dir)?;
        }
        drop(known);
        Ok(scratch)
    }

    /// A pod in it, with a UID of its own.
    pub fn pod(&self) -> Result<Pod<'_>> {
        let uid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up a UID")?;
        let uid = uid.trim().to_owned();
        let cgroup = self.cgroup(self.qos.join(format!("pod{uid}")))?;
        Ok(Pod { scratch: self, uid, cgroup })
    }

    /// A cgroup of the host beside the pods, for whoever acts on them from outside.
    pub fn host(&self, name: &str) -> Result<Cgroup> {
        self.cgroup(self.root.join(name))
    }

    fn cgroup(&self, dir: PathBuf) -> Result<Cgroup> {
        let _known = cleanup::lock()?;
        self.hierarchy.create(&dir)?;
        let below = dir.strip_prefix(&self.hierarchy.mount).context("it lies below the mount")?;
        let path = format!("{}/{}", self.hierarchy.above, below.display());
        Ok(Cgroup { version: self.hierarchy.version, dir, path })
    }

    /// What the paths of all its cgroups begin with.
    pub fn prefix(&self) -> String {
        let name = self.root.file_name().unwrap_or_default().to_string_lossy();
        format!("{}/{name}/", self.hierarchy.above)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.root) {
            eprintln!("scenario: {error:#}");
        }
        if let Ok(mut known) = cleanup::lock() {
            known.cgroups.retain(|root| *root != self.root);
        }
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
        let cgroup = self.scratch.cgroup(self.cgroup.dir.join(&id))?;
        Ok(Container { id, pod_uid: self.uid.clone(), cgroup })
    }
}

/// A container's cgroup.
#[derive(Clone, Debug)]
pub struct Container {
    /// The container's id.
    pub id: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// Its cgroup.
    pub cgroup: Cgroup,
}

/// One cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    version: Version,
    /// Its directory.
    pub dir: PathBuf,
    /// Its path in the hierarchy, as reports have it.
    pub path: String,
}

impl Cgroup {
    /// Limits its memory, and lets it use no swap: with swap there would be no OOM until that is full too.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        let (limit, swap) = match self.version {
            // v1's is of memory and swap together, and must not be below the first. It may not be there.
            Version::V1 => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes)),
            Version::V2 => ("memory.max", ("memory.swap.max", 0)),
        };
        write(&self.dir.join(limit), &bytes.to_string())?;
        let (swap, bytes) = (self.dir.join(swap.0), swap.1);
        if swap.exists() { write(&swap, &bytes.to_string()) } else { Ok(()) }
    }

    /// The file whose write lowers the limit.
    pub fn limit_file(&self) -> PathBuf {
        self.dir.join(if self.version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" })
    }

    /// All its processes are to die together (v2).
    pub fn set_oom_group(&self) -> Result<()> {
        write(&self.dir.join("memory.oom.group"), "1")
    }
}

fn write(file: &Path, value: &str) -> Result<()> {
    fs::write(file, value).with_context(|| format!("cannot write {value} to {}", file.display()))
}

/// 64 hex digits, like a container's id.
fn random_hex() -> Result<String> {
    let mut id = String::new();
    for _ in 0..2 {
        id += fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up an id")?.trim();
    }
    id.retain(|digit| digit != '-');
    Ok(id)
}

/// Kills what is in a tree of cgroups and removes it.
pub fn remove(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    let deadline = Instant::now() + REMOVAL;
    loop {
        // Again in each round: a process may have been forking.
        let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // Nothing wakes a waiter when v1 lets go of the last task, so this looks again.
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(2)),
            Err(error) => bail!("cannot remove cgroup {}: {error}", dir.display()),
        }
    }
}
