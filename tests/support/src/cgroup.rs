//! Cgroups in the hierarchy that has the memory controller: their settings, their counters, and their removal.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

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
    pub mount: PathBuf,
    /// Path of the cgroup that is mounted there; empty for the root.
    pub above: String,
    /// It has the memory controller.
    pub memory: bool,
}

impl Hierarchy {
    /// Finds it among this process's mounts.
    pub fn find() -> Result<Self> {
        // The unified hierarchy is often mounted beside v1 controllers, and then has no memory controller.
        Self::mounted()?.into_iter().find(|found| found.memory).context(
            "no mounted cgroup hierarchy has the memory controller: mount one (`mount -t cgroup2 none \
             /sys/fs/cgroup`), and see that the kernel was not booted with cgroup_disable=memory",
        )
    }

    /// The same, or the unified hierarchy of a kernel whose memory controller is off.
    pub fn find_any() -> Result<Self> {
        let unified = || Self::mounted().ok()?.into_iter().find(|found| found.version == Version::V2);
        Self::find().or_else(|error| unified().ok_or(error))
    }

    fn mounted() -> Result<Vec<Self>> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
        let found = mounts.lines().filter_map(Self::of_mount);
        Ok(found.map(|found| Self { memory: found.has_memory(), ..found }).collect())
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
        Some(Self {
            version,
            mount: place.into(),
            above: root.trim_end_matches('/').to_owned(),
            memory: false,
        })
    }

    fn has_memory(&self) -> bool {
        match self.version {
            Version::V1 => true,
            Version::V2 => fs::read_to_string(self.mount.join("cgroup.controllers"))
                .is_ok_and(|controllers| controllers.split_whitespace().any(|name| name == "memory")),
        }
    }

    /// Makes a cgroup.
    pub fn create(&self, dir: &Path) -> Result<()> {
        if self.version == Version::V2 {
            let parent = dir.parent().context("a cgroup has a parent")?;
            let control = parent.join("cgroup.subtree_control");
            write(&control, if self.memory { "+memory" } else { "+pids" }).context(
                "cannot hand the memory controller down (in a container, run this on the host, or with the host's \
                 cgroup namespace)",
            )?;
        }
        fs::create_dir(dir).with_context(|| format!("cannot create cgroup {}", dir.display()))?;
        // Only 5.10 and older have a choice, and with the other one limits of cgroups above have no effect.
        let hierarchical = fs::read_to_string(dir.join("memory.use_hierarchy"));
        ensure!(
            hierarchical.is_err() || hierarchical.is_ok_and(|value| value.trim() == "1"),
            "memory.use_hierarchy is 0: write 1 to it in the root cgroup before any other is made"
        );
        Ok(())
    }

    /// The cgroup in this directory.
    pub fn cgroup(&self, dir: PathBuf) -> Result<Cgroup> {
        let below = dir.strip_prefix(&self.mount).context("it lies below the mount")?;
        let path = [self.above.as_bytes(), b"/", below.as_os_str().as_bytes()].concat();
        Ok(Cgroup { version: self.version, dir, path })
    }
}

/// One cgroup.
#[derive(Clone, Debug)]
pub struct Cgroup {
    version: Version,
    /// Its directory.
    pub dir: PathBuf,
    /// Its path in the hierarchy; any bytes.
    pub path: Vec<u8>,
}

impl Cgroup {
    /// Limits its memory, and lets it use no swap: with swap there would be no OOM until that is full too.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        self.set_limits(bytes, 0)
    }

    /// Limits its memory and the swap that it may use besides.
    pub fn set_limits(&self, bytes: u64, swap: u64) -> Result<()> {
        let (limit, swap) = match self.version {
            // v1's is of memory and swap together, and must not be below the first. It may not be there.
            Version::V1 => ("memory.limit_in_bytes", ("memory.memsw.limit_in_bytes", bytes + swap)),
            Version::V2 => ("memory.max", ("memory.swap.max", swap)),
        };
        let (swap, swap_bytes) = (self.dir.join(swap.0), swap.1);
        // The first must not be above the second, at any time.
        if self.version == Version::V1
            && swap.exists()
            && self.number("memory.memsw.limit_in_bytes")? < swap_bytes
        {
            write(&swap, &swap_bytes.to_string())?;
        }
        write(&self.dir.join(limit), &bytes.to_string())?;
        if swap.exists() { write(&swap, &swap_bytes.to_string()) } else { Ok(()) }
    }

    /// Its usage, in bytes.
    pub fn usage_bytes(&self) -> Result<u64> {
        let file = if self.version == Version::V1 { "memory.usage_in_bytes" } else { "memory.current" };
        self.number(file)
    }

    fn number(&self, file: &str) -> Result<u64> {
        let file = self.dir.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        text.trim().parse().with_context(|| format!("{} has no number", file.display()))
    }

    /// Its processes, by their numbers here.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let procs = self.dir.join("cgroup.procs");
        let text = fs::read_to_string(&procs).with_context(|| format!("cannot read {}", procs.display()))?;
        text.lines().map(|pid| pid.parse().context("cgroup.procs has no number")).collect()
    }

    /// Has its processes wait at the limit in place of killing one (v1).
    pub fn set_oom_kill_disable(&self) -> Result<()> {
        write(&self.dir.join("memory.oom_control"), "1")
    }

    /// Whether some process waits at the limit (v1).
    pub fn is_under_oom(&self) -> Result<bool> {
        let text = fs::read_to_string(self.dir.join("memory.oom_control"))?;
        Ok(text.lines().any(|line| line == "under_oom 1"))
    }

    /// Gives it a cpuset, as each of kubelet's containers has one (v2). The cgroups above must hand the controller down.
    pub fn add_cpuset(&self, mount: &Path) -> Result<()> {
        let above: Vec<_> = self.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(mount)).collect();
        for dir in above.into_iter().rev() {
            write(&dir.join("cgroup.subtree_control"), "+cpuset")?;
        }
        Ok(())
    }

    /// Binds its processes to a NUMA node (v2).
    pub fn bind_to_node(&self, node: u32, mount: &Path) -> Result<()> {
        self.add_cpuset(mount)?;
        write(&self.dir.join("cpuset.mems"), &node.to_string())
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
pub fn random_hex() -> Result<String> {
    let mut id = String::new();
    for _ in 0..2 {
        id += fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up an id")?.trim();
    }
    id.retain(|digit| digit != '-');
    Ok(id)
}

/// How many kills the kernel has counted in this tree of cgroups; `None` where it does not count (v1 before 4.13).
pub fn kills(dir: &Path, version: Version) -> Result<Option<u64>> {
    // v2 counts at each level the kills below it, v1 only those in the cgroup itself.
    let file = dir.join(if version == Version::V1 { "memory.oom_control" } else { "memory.events" });
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let Some(count) = text.lines().find_map(|line| line.strip_prefix("oom_kill ")) else { return Ok(None) };
    let mut sum: u64 = count.parse().with_context(|| format!("no number in {}", file.display()))?;
    if version == Version::V1 {
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                sum += kills(&entry.path(), version)?.unwrap_or(0);
            }
        }
    }
    Ok(Some(sum))
}

/// Kills the processes in a tree of cgroups and removes it.
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
