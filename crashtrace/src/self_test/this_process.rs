//! This process according to `/proc/self` and the C library's calls.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::kernel::host::{HostFacts, MemoryCgroup};

/// Facts about this process, from just before to just after the kernel side reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThisProcess {
    /// The process's id, in its own pid namespace.
    pub pid: u32,
    /// The thread's id.
    pub tid: u32,
    /// `CLOCK_BOOTTIME` before, as this process's time namespace has it.
    pub before_ns: i64,
    /// The same after.
    pub after_ns: i64,
    /// Length of the clock tick that `/proc` counts in.
    pub tick_ns: i64,
    /// Files before.
    pub before: ProcSelf,
    /// The same after.
    pub after: ProcSelf,
    /// The inode of the cgroup namespace; `None` if it could not be read.
    pub cgroup_namespace: Option<u64>,
    /// The directory of its cgroup in the memory controller's hierarchy.
    pub cgroup: Result<CgroupDir, String>,
}

/// Files of `/proc/self`, unparsed; `None` where one could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcSelf {
    /// `comm`.
    pub comm: Text,
    /// `stat`.
    pub stat: Text,
    /// `status`.
    pub status: Text,
    /// `oom_score_adj`.
    pub oom_score_adj: Text,
    /// `cgroup`.
    pub cgroup: Text,
    /// `stat` of the thread.
    pub thread_stat: Text,
}

/// A file's bytes; `None` if it could not be read.
pub type Text = Option<Vec<u8>>;

/// A cgroup's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupDir {
    /// Its inode, which is the cgroup's id.
    pub inode: u64,
    /// The memory limit, as in its file.
    pub limit: Text,
    /// The limit of swap (v2) or of memory and swap together (v1).
    pub swap_limit: Text,
    /// Memory in use.
    pub usage: Text,
}

impl ThisProcess {
    /// Reads the files before. Call [`ThisProcess::end`] after.
    #[must_use]
    pub fn begin(proc: &Path, now_ns: i64) -> Self {
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        let files = ProcSelf::read(proc);
        let ticks = i64::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
        Self {
            pid: std::process::id(),
            tid,
            before_ns: now_ns,
            after_ns: now_ns,
            tick_ns: 1_000_000_000 / ticks,
            after: files.clone(),
            before: files,
            cgroup_namespace: fs::metadata(proc.join("self/ns/cgroup")).ok().map(|found| found.ino()),
            cgroup: Err("it was not looked for".to_owned()),
        }
    }

    /// Reads the files after.
    pub fn end(&mut self, proc: &Path, now_ns: i64, facts: &HostFacts) {
        self.after_ns = now_ns;
        self.after = ProcSelf::read(proc);
        self.cgroup = self.cgroup_dir(facts);
    }

    fn cgroup_dir(&self, facts: &HostFacts) -> Result<CgroupDir, String> {
        let mount = facts.memory_cgroup_mount.as_deref().ok_or("its hierarchy is not mounted here")?;
        let v1 = facts.memory_cgroup == Some(MemoryCgroup::V1);
        let table = self.after.cgroup.as_deref().unwrap_or_default();
        let path = super::cgroup::path_in(table, v1).ok_or("/proc/self/cgroup does not say where it is")?;
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let dir = Path::new(mount).join(OsStr::from_bytes(relative));
        let inode = fs::metadata(&dir).map_err(|error| format!("{}: {error}", dir.display()))?.ino();
        let [limit, swap_limit, usage] = if v1 {
            ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.usage_in_bytes"]
        } else {
            ["memory.max", "memory.swap.max", "memory.current"]
        };
        let read = |file: &str| fs::read(dir.join(file)).ok();
        Ok(CgroupDir { inode, limit: read(limit), swap_limit: read(swap_limit), usage: read(usage) })
    }
}

impl ProcSelf {
    fn read(proc: &Path) -> Self {
        let read = |file: &str| fs::read(proc.join(file)).ok();
        Self {
            comm: read("self/comm"),
            stat: read("self/stat"),
            status: read("self/status"),
            oom_score_adj: read("self/oom_score_adj"),
            cgroup: read("self/cgroup"),
            thread_stat: read("thread-self/stat"),
        }
    }

    /// A figure of `status` in KiB, as bytes.
    #[must_use]
    pub fn size(&self, label: &str) -> Option<u64> {
        self.labelled(label)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// A number of `status`.
    #[must_use]
    pub fn number(&self, label: &str) -> Option<u64> {
        self.labelled(label)?.parse().ok()
    }

    fn labelled(&self, label: &str) -> Option<&str> {
        let status = self.status.as_deref()?;
        let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(label.as_bytes()));
        std::str::from_utf8(line?).ok().map(str::trim)
    }
}

/// A field of a `stat` file by its number in proc(5), from 3 on: the name before them may hold anything.
pub(super) fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}
