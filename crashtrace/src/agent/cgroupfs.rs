//! The memory controller's files, where its hierarchy is mounted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::enrich::node::CgroupFiles;

/// A mounted hierarchy.
#[derive(Debug)]
pub(super) struct CgroupFs {
    /// Its mount point, if there is one.
    pub(super) mount: Option<PathBuf>,
}

impl CgroupFiles for CgroupFs {
    fn memory_stat(&mut self, path: &[u8], cgroup_id: Option<u64>) -> Result<Vec<u8>, String> {
        let mount = self.mount.as_ref().ok_or("the memory controller's hierarchy is not mounted here")?;
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        // A cgroup's name may be `..`? No: no directory can. But bytes from elsewhere are not trusted to be names.
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
        fs::read(dir.join("memory.stat")).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_cgroup_that_is_meant_and_no_other() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("kubepods/a b");
        fs::create_dir_all(&dir).expect("a cgroup");
        fs::write(dir.join("memory.stat"), "shmem 1\n").expect("a file");
        let id = fs::metadata(&dir).expect("it is there").ino();
        let mut files = CgroupFs { mount: Some(root.path().to_owned()) };
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
        CgroupFs { mount: None }.memory_stat(b"/kubepods/a b", None).expect_err("nothing is mounted");
    }
}
