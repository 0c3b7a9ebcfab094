//! The stages' interface to the node. Nothing here accesses it: the shell that runs the stages passes in the implementations,
//! and a recording has none.

use std::fmt;

use crate::cgroup::NodeRoot;
use crate::event::Holder;
use crate::gfp::GfpNames;
use crate::names::{NoNames, PodNames};

/// The node, as far as it can be read.
pub struct Node {
    /// Its memory; `None` if that is not known.
    pub memory_bytes: Option<u64>,
    /// Bytes of a page.
    pub page_size_bytes: u64,
    /// The root of its cgroups.
    pub root: NodeRoot,
    /// Its cgroups.
    pub cgroups: Box<dyn CgroupFiles>,
    /// Its files about memory.
    pub proc: Box<dyn ProcFiles>,
    /// Its pods.
    pub pods: Box<dyn PodNames>,
    /// Its kernel's names of allocation flags.
    pub gfp: GfpNames,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("memory_bytes", &self.memory_bytes).finish_non_exhaustive()
    }
}

impl Node {
    /// A node of which nothing is known, for this reason.
    #[must_use]
    pub fn unseen(reason: &'static str) -> Self {
        Self {
            memory_bytes: None,
            root: NodeRoot::default(),
            page_size_bytes: 4096,
            cgroups: Box::new(NoFiles(reason)),
            proc: Box::new(NoFiles(reason)),
            pods: Box::new(NoNames(reason)),
            gfp: GfpNames::default(),
        }
    }
}

/// Files of the memory controller.
pub trait CgroupFiles {
    /// `memory.stat` of a cgroup, by its path in the memory controller's hierarchy, from the root of the node's cgroups.
    /// `cgroup_id` is the inode that its directory must have: another cgroup of that name may have replaced it.
    ///
    /// # Errors
    /// Why it cannot be read, as a phrase.
    fn memory_stat(&mut self, path: &[u8], cgroup_id: Option<u64>) -> Result<Vec<u8>, String>;

    /// Looks for cgroups of at least `least_bytes`, swap included, in all of the node, and does not wait: the first call for an
    /// incident (`about`) begins it, each later one gives what has come of it.
    fn large(&mut self, about: u64, least_bytes: u64) -> Look {
        let _ = (about, least_bytes);
        Look::Failed("only single cgroups can be read here".to_owned())
    }
}

/// What has come of a look at the node's cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing yet.
    Pending,
    /// It is over.
    Done(Looked),
    /// There will be nothing, for this reason: a phrase.
    Failed(String),
}

/// What a look at the node's cgroups has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// The large cgroups, level by level.
    pub holders: Vec<Holder>,
    /// Cgroups whose memory was read.
    pub looked_at: u32,
    /// It ended at a bound, so there may be more.
    pub unfinished: bool,
}

/// Files of `/proc`.
pub trait ProcFiles {
    /// A whole file.
    ///
    /// # Errors
    /// Why it cannot be read, as a phrase.
    fn read(&mut self, file: ProcFile) -> Result<Vec<u8>, String>;
}

/// A file of `/proc` about the node's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcFile {
    /// Free blocks by order.
    Buddyinfo,
    /// Figures of each zone.
    Zoneinfo,
    /// Types of free blocks.
    Pagetypeinfo,
    /// Figures of the node.
    Meminfo,
    /// Swap devices.
    Swaps,
}

impl ProcFile {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buddyinfo => "buddyinfo",
            Self::Zoneinfo => "zoneinfo",
            Self::Pagetypeinfo => "pagetypeinfo",
            Self::Meminfo => "meminfo",
            Self::Swaps => "swaps",
        }
    }
}

/// No files, for one reason.
#[derive(Debug)]
struct NoFiles(&'static str);

impl CgroupFiles for NoFiles {
    fn memory_stat(&mut self, _: &[u8], _: Option<u64>) -> Result<Vec<u8>, String> {
        Err(self.0.to_owned())
    }

    fn large(&mut self, _: u64, _: u64) -> Look {
        Look::Failed(self.0.to_owned())
    }
}

impl ProcFiles for NoFiles {
    fn read(&mut self, _: ProcFile) -> Result<Vec<u8>, String> {
        Err(self.0.to_owned())
    }
}

/// Shared memory and tmpfs of a cgroup and those below it, from its `memory.stat`: `shmem` on v2, where all figures include
/// descendants, `total_shmem` on v1.
///
/// # Errors
/// It is not there, as a phrase.
pub fn shmem_bytes(stat: &[u8]) -> Result<u64, String> {
    let value = |name: &[u8]| {
        stat.split(|&byte| byte == b'\n').find_map(|line| {
            let number = line.strip_prefix(name)?.strip_prefix(b" ")?;
            std::str::from_utf8(number).ok()?.trim().parse::<u64>().ok()
        })
    };
    value(b"total_shmem")
        .or_else(|| value(b"shmem"))
        .ok_or_else(|| "memory.stat has no figure for it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_figure_that_includes_descendants() {
        assert_eq!(shmem_bytes(b"anon 1\nshmem 4096\nshmem_thp 7\n"), Ok(4096));
        assert_eq!(shmem_bytes(b"cache 9\nshmem 4096\ntotal_cache 9\ntotal_shmem 8192\n"), Ok(8192));
        for lacking in [&b""[..], b"anon 4096", b"shmem", b"shmem -1", b"shmem \xff", b"xshmem 1"] {
            shmem_bytes(lacking).expect_err(&String::from_utf8_lossy(lacking));
        }
    }
}
