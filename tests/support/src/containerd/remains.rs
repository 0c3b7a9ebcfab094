//! The objects that must not outlive a containerd of a test's: its shims and containers, their cgroups and mounts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::cgroup;

/// How long it may take until processes that were killed are gone.
const END: Duration = Duration::from_secs(20);

/// The objects of a runtime.
#[derive(Clone, Debug)]
pub struct Remains {
    /// The folder that all of it is in. No other paths begin so.
    pub dir: PathBuf,
    /// containerd itself, a child of this process.
    pub containerd: Option<u32>,
    /// Trees of cgroups of its pods, in all hierarchies.
    pub cgroups: Vec<PathBuf>,
    /// Folders that were made for the objects above, to be removed in this order if they are empty by then.
    pub folders: Vec<PathBuf>,
}

impl Remains {
    /// Removes all of self.
    pub fn remove(&self) {
        // First the processes that would make or remove something themselves, then the containers.
        if let Some(pid) = self.containerd {
            kill(pid, Signal::KILL);
            // Its owner may have waited for it already.
            let _ = pid_of(pid).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
        }
        let deadline = Instant::now() + END;
        loop {
            let shims = processes_of(&self.dir);
            if shims.is_empty() || Instant::now() > deadline {
                break;
            }
            for pid in shims {
                kill(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for tree in &self.cgroups {
            if let Err(error) = cgroup::remove(tree) {
                eprintln!("containerd: {error:#}");
            }
        }
        let sockets = sockets_of(&self.dir);
        for mount in mounts_below(&self.dir).iter().rev() {
            let _ = Command::new("umount").arg(mount).status(); // A mount that is left shows in the folder's removal.
        }
        if mounts_below(&self.dir).is_empty()
            && let Err(error) = fs::remove_dir_all(&self.dir)
        {
            eprintln!("containerd: cannot remove {}: {error}", self.dir.display());
        }
        for socket in sockets {
            let _ = fs::remove_file(socket); // A shim that ended by itself has removed self.
        }
        for folder in &self.folders {
            let _ = fs::remove_dir(folder); // Other things may be in it by now.
        }
    }
}

/// The remains of the runtime in the folder of this name: for tests of the above.
pub fn left_of(name: &str) -> Vec<String> {
    let dir = std::env::temp_dir().join(name);
    let mut left: Vec<_> = processes_of(&dir).iter().map(|pid| format!("process {pid}")).collect();
    left.extend(mounts_below(&dir).iter().map(|mount| format!("mount {}", mount.display())));
    left.extend(dir.exists().then(|| dir.display().to_string()));
    for hierarchy in hierarchies() {
        let pods = fs::read_dir(hierarchy.join("kubepods/burstable")).into_iter().flatten().flatten();
        let own = pods.filter(|pod| pod.file_name().to_string_lossy().ends_with(&suffix(name)));
        left.extend(own.map(|pod| pod.path().display().to_string()));
    }
    left
}

/// The end of the UIDs of the pods of the runtime in this folder.
pub fn suffix(name: &str) -> String {
    let pid: u64 = name.rsplit('-').next().and_then(|pid| pid.parse().ok()).unwrap_or(0);
    format!("-{pid:012}")
}

/// Where hierarchies of cgroups are mounted.
pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.filter_map(|line| Some(line.split(' ').nth(4)?.into())).collect()
}

/// Mount points below this folder, in the order in which they were mounted.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let all = mounts.lines().filter_map(|line| Some(PathBuf::from(line.split(' ').nth(4)?)));
    all.filter(|mount| mount.starts_with(dir)).collect()
}

/// Processes that were started with a path in this folder: containerd and its shims.
fn processes_of(dir: &Path) -> Vec<u32> {
    let dir = format!("{}/", dir.display());
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = line.split(|byte| *byte == 0);
        let program = String::from_utf8_lossy(arguments.next().unwrap_or_default()).into_owned();
        let program = program.rsplit('/').next().unwrap_or_default();
        let ours = |argument: &[u8]| String::from_utf8_lossy(argument).starts_with(&dir);
        (program == "containerd" || program.starts_with("containerd-shim")) && arguments.any(ours)
    })
    .collect()
}

/// The sockets of its shims, which are in a folder that all containerds of a machine share.
fn sockets_of(dir: &Path) -> Vec<PathBuf> {
    let tasks = fs::read_dir(dir.join("state/io.containerd.runtime.v2.task/k8s.io"));
    let tasks = tasks.into_iter().flatten().flatten();
    let addresses = tasks.filter_map(|task| fs::read_to_string(task.path().join("address")).ok());
    addresses.filter_map(|address| Some(address.trim().strip_prefix("unix://")?.into())).collect()
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

fn kill(pid: u32, with: Signal) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process(pid, with); // It may have ended.
    }
}
