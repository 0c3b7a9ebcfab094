//! Cgroups of pods, with the paths that kubelet and containerd give them on a node with systemd.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use crashtrace_test_support::cgroup::{self, Hierarchy, random_hex, remove};

/// As small as it can be: what the victims touch on the way to it is time that nothing is learnt from.
const LIMIT_BYTES: u64 = 1 << 20;

/// Pods of one container each, both with the same limit, as kubelet sets them. They go when this is dropped.
pub struct Pods {
    root: PathBuf,
    /// `cgroup.procs` of each container.
    pub containers: Vec<File>,
}

impl Pods {
    pub fn make(hierarchy: &Hierarchy, count: usize) -> Result<Self> {
        let root = hierarchy.mount.join("kubepods.slice");
        remove(&root)?;
        hierarchy.create(&root)?;
        let qos = root.join("kubepods-burstable.slice");
        hierarchy.create(&qos)?;
        let mut containers = Vec::new();
        for _ in 0..count {
            let uid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make up a UID")?;
            let pod = qos.join(format!("kubepods-burstable-pod{}.slice", uid.trim().replace('-', "_")));
            let container = pod.join(format!("cri-containerd-{}.scope", random_hex()?));
            for dir in [&pod, &container] {
                hierarchy.create(dir)?;
                hierarchy.cgroup(dir.clone())?.set_limit(LIMIT_BYTES)?;
            }
            let procs = container.join("cgroup.procs");
            let procs = File::options().write(true).open(&procs);
            containers.push(procs.context("cannot open cgroup.procs")?);
        }
        Ok(Self { root, containers })
    }

    /// How many processes the OOM killer has killed in them, by the kernel's own count.
    pub fn kills(&self, hierarchy: &Hierarchy) -> Result<u64> {
        cgroup::kills(&self.root, hierarchy.version)?.context("this kernel counts no OOM kills")
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.root) {
            eprintln!("scenario: {error:#}");
        }
    }
}
