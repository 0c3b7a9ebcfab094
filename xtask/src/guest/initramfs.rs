//! A guest's initramfs: busybox, `/init`, the command, and files.

use super::cpio::{Archive, Entry};
use super::modules::Module;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the host for a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestFile {
    /// Its path in the guest; absolute.
    pub(crate) guest: String,
    pub(crate) host: PathBuf,
    pub(crate) mode: u32,
}

/// The root of a guest's file system.
#[derive(Debug, Default)]
pub(crate) struct Initramfs {
    /// By path without the leading slash. Sorted, so a directory comes before what is in it.
    entries: BTreeMap<String, (u32, Entry)>,
}

impl Initramfs {
    /// Adds an entry and the directories above it. An existing entry is replaced.
    pub(crate) fn add(&mut self, path: &str, mode: u32, entry: Entry) {
        let path = path.trim_matches('/');
        for (slash, _) in path.match_indices('/') {
            self.entries.entry(path[..slash].to_owned()).or_insert((0o755, Entry::Dir));
        }
        self.entries.insert(path.to_owned(), (mode, entry));
    }

    /// Adds a file of the host.
    pub(crate) fn add_file(&mut self, file: &GuestFile) -> Result<()> {
        let content = fs::read(&file.host)
            .with_context(|| format!("cannot read {} for the guest's {}", file.host.display(), file.guest))?;
        self.add(&file.guest, file.mode, Entry::File(content));
        Ok(())
    }

    /// The archive that the kernel unpacks.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut archive = Archive::default();
        for (path, (mode, entry)) in &self.entries {
            archive.add(path, *mode, entry);
        }
        archive.finish()
    }
}

/// The initramfs with `/init`, busybox, these modules and files, and `command` as `/run.sh`.
pub(crate) fn guest_root(
    busybox: &Path,
    modules: Vec<Module>,
    files: &[GuestFile],
    command: &str,
) -> Result<Vec<u8>> {
    let mut root = Initramfs::default();
    // Until /init has mounted /dev its errors go to this console, which the kernel opens.
    root.add("/dev/console", 0o600, Entry::CharDevice(5, 1));
    for dir in ["/bin", "/etc", "/proc", "/sbin", "/sys", "/tmp", "/usr/bin"] {
        root.add(dir, 0o755, Entry::Dir);
    }
    root.add("/etc/passwd", 0o644, Entry::File(b"root:x:0:0:root:/:/bin/sh\n".to_vec()));
    root.add("/var/run", 0o777, Entry::Symlink("/run".to_owned()));
    root.add_file(&GuestFile { guest: "/bin/busybox".to_owned(), host: busybox.to_owned(), mode: 0o755 })?;
    root.add("/init", 0o755, Entry::File(include_bytes!("init.sh").to_vec()));
    for (number, module) in modules.into_iter().enumerate() {
        // Loaded in the order of their names.
        root.add(&format!("/modules/{number:02}-{}.ko", module.name), 0o644, Entry::File(module.bytes));
    }
    for file in files {
        root.add_file(file)?;
    }
    root.add("/run.sh", 0o755, Entry::File(format!("{command}\n").into_bytes()));
    Ok(root.archive())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut root = Initramfs::default();
        root.add("/a/b/c", 0o644, Entry::File(Vec::new()));
        // Sorts between "a" and "a/b", and must not come between them in meaning.
        root.add("/a-z", 0o644, Entry::File(Vec::new()));
        root.add("/a/b", 0o700, Entry::Dir);
        let order: Vec<_> = root.entries.iter().map(|(path, (mode, _))| (path.as_str(), *mode)).collect();
        assert_eq!(order, [("a", 0o755), ("a-z", 0o644), ("a/b", 0o700), ("a/b/c", 0o644)]);
    }

    #[test]
    fn a_missing_file_is_named_with_its_place() {
        let file = GuestFile { guest: "/bin/x".into(), host: "/no/such/file".into(), mode: 0o755 };
        let error = Initramfs::default().add_file(&file).expect_err("it is not there").to_string();
        assert!(error.contains("/no/such/file") && error.contains("/bin/x"), "{error}");
    }
}
