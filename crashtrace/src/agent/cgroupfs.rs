//! The memory controller's files, where its hierarchy is mounted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::second_look::{self, Looks};
use crate::cgroup::NodeRoot;
use crate::cgroup::is_kubepods;
use crate::files;
use crate::node::{CgroupFiles, Look};

/// How many cgroups are searched for kubelet's, which is one of the first or second level.
const MOST_LOOKED_AT: usize = 4096;

const NOT_MOUNTED: &str = "the memory controller's hierarchy is not mounted here";

#[derive(Debug, Default)]
pub(super) struct CgroupFs {
    /// Its mount point, if there is one.
    pub(super) mount: Option<PathBuf>,
    /// Its files are those of cgroup v1.
    pub(super) v1: bool,
    pub(super) looks: Looks,
}

impl CgroupFiles for CgroupFs {
    fn memory_stat(&mut self, path: &[u8], cgroup_id: Option<u64>) -> Result<Vec<u8>, String> {
        let mount = self.mount.as_ref().ok_or(NOT_MOUNTED)?;
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        // A cgroup's name cannot be `..`, because no directory's can. But bytes from elsewhere are not trusted to be names.
        if relative.split(|&byte| byte == b'/').any(|name| name == b".." || name == b".") {
            return Err("the path of the cgroup is no path".to_owned());
        }
        let dir = mount.join(OsStr::from_bytes(relative));
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => "the cgroup was gone, or is not visible here".to_owned(),
            _ => format!("memory.stat cannot be read: {error}"),
        };
        let inode = fs::metadata(&dir).map_err(failed)?.ino();
        if cgroup_id.is_some_and(|id| id != inode) {
            return Err("the cgroup was gone, and another of its name in its place".to_owned());
        }
        files::read_of_kernel(&dir.join("memory.stat")).map_err(failed)
    }

    fn large(&mut self, about: u64, least_bytes: u64) -> Look {
        let Some(mount) = &self.mount else { return Look::Failed(NOT_MOUNTED.to_owned()) };
        self.looks.large(about, || second_look::begin(mount.clone(), self.v1, least_bytes))
    }
}

/// Where the node's cgroups begin, seen from here. Where the hierarchy's mount does not show the machine's root, they begin at the
/// node's container (kind), or only at this agent's own cgroup: kubelet's tree in it decides.
pub(super) fn node_root(mount: Option<&Path>, whole: Option<bool>, v1: bool) -> NodeRoot {
    let root = mount.filter(|mount| whole == Some(false) && has_kubepods(mount));
    NodeRoot {
        cgroup_id: root.and_then(|root| fs::metadata(root).ok()).map(|root| root.ino()),
        v1,
        ..NodeRoot::default()
    }
}

fn has_kubepods(root: &Path) -> bool {
    let children = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(MOST_LOOKED_AT);
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
    };
    let is_it = |dir: &PathBuf| dir.file_name().and_then(OsStr::to_str).is_some_and(is_kubepods);
    let first: Vec<_> = children(root).collect();
    first.iter().any(is_it)
        || first.iter().flat_map(|dir| children(dir)).take(MOST_LOOKED_AT).any(|dir| is_it(&dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_begins_where_a_part_of_the_hierarchy_with_kubelets_tree_does() {
        for (tree, whole, is_node) in [
            ("kubepods/burstable", false, true),
            ("kubepods.slice", false, true),
            ("kubelet.slice/kubelet-kubepods.slice", false, true),
            ("kubelet/kubepods", false, true),
            ("kubepods", true, false),
            ("a/b/kubepods", false, false),
            ("system.slice/kubelet.service", false, false),
            ("kubepodsx", false, false),
        ] {
            let root = tempfile::tempdir().expect("a directory");
            fs::create_dir_all(root.path().join(tree)).expect("cgroups");
            fs::write(root.path().join("kubepods.txt"), "").expect("a file");
            let id = fs::metadata(root.path()).expect("it is there").ino();
            let expected = NodeRoot { cgroup_id: is_node.then_some(id), ..NodeRoot::default() };
            assert_eq!(node_root(Some(root.path()), Some(whole), false), expected, "{tree}");
        }
        assert_eq!(node_root(None, None, false), NodeRoot::default());
    }

    #[test]
    fn reads_the_cgroup_that_is_meant_and_no_other() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("kubepods/a b");
        fs::create_dir_all(&dir).expect("a cgroup");
        fs::write(dir.join("memory.stat"), "shmem 1\n").expect("a file");
        let id = fs::metadata(&dir).expect("it is there").ino();
        let mut files = CgroupFs { mount: Some(root.path().to_owned()), ..CgroupFs::default() };
        assert_eq!(files.memory_stat(b"/kubepods/a b", Some(id)).as_deref(), Ok(b"shmem 1\n".as_slice()));
        assert_eq!(files.memory_stat(b"/kubepods/a b", None).as_deref(), Ok(b"shmem 1\n".as_slice()));
        for (path, id) in [
            (&b"/kubepods/a b"[..], Some(id + 1)),
            (b"/kubepods/gone", None),
            (b"/kubepods", None),
            (b"/kubepods/../kubepods/a b", None),
        ] {
            files.memory_stat(path, id).expect_err(&String::from_utf8_lossy(path));
        }
        let mut none = CgroupFs::default();
        none.memory_stat(b"/kubepods/a b", None).expect_err("nothing is mounted");
        assert_eq!(none.large(1, 1), Look::Failed(NOT_MOUNTED.to_owned()));
    }
}
