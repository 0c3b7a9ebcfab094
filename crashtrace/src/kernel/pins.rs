//! Pins: what stays in a BPF file system (bpffs) when the agent ends, so that the next one goes on where it stopped.
//!
//! A directory has a pin for each link, which keeps a program attached, and one for each map that the user side reads. Programs and
//! maps that are reached from these stay with them. The directory is locked by the agent that uses it: an advisory lock, which the
//! kernel gives back however the agent ends. No lock file, since bpffs has no files but pins.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use thiserror::Error;

mod held;

pub(crate) use held::hash;
pub use held::{Held, Misfit, Phase, Wanted};

/// Where pins are if the user names no other directory.
pub const DIRECTORY: &str = "/sys/fs/bpf/crashtrace";

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// What the names of pins begin with. bpffs refuses dots in names.
const LINK: &str = "link_";
const MAP: &str = "map_";

/// How often a directory is opened that is removed meanwhile.
const TRIES: usize = 10;

/// A directory of pins that no other process uses.
#[derive(Debug)]
pub struct Pins {
    directory: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// Names of pins, without what they begin with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub links: Vec<String>,
    pub maps: Vec<String>,
    /// What is no pin of crashtrace's.
    pub others: Vec<String>,
}

/// Why a directory cannot be used for pins.
#[derive(Debug, Error)]
pub enum PinsError {
    #[error(
        "cannot keep pins in {}: that is not on a BPF file system (bpffs): name a directory on one, or mount one (`mount -t bpf bpf /sys/fs/bpf`)",
        .0.display()
    )]
    NoBpffs(PathBuf),
    #[error(
        "cannot create {}: {error}: its parent directory must exist and be writable, and bpffs refuses names with dots",
        .path.display()
    )]
    Create {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("cannot keep pins in {}: it is a file or a symbolic link: name a directory", .0.display())]
    NoDirectory(PathBuf),
    #[error(
        "cannot keep pins in {}: it belongs to user {owner}, who could replace them: remove it, or use a directory of user {own}",
        .path.display()
    )]
    OfAnother { path: PathBuf, owner: u32, own: u32 },
    #[error("cannot keep pins in {}: other users can write to it: `chmod go-w {}`", .0.display(), .0.display())]
    Writable(PathBuf),
    #[error("another agent uses the pins in {}: stop that one, or use another directory", .0.display())]
    InUse(PathBuf),
    #[error("cannot {what} {}: {error}", .path.display())]
    Failed {
        what: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl Pins {
    /// Opens the directory, which is created if it does not exist, for this process alone.
    ///
    /// # Errors
    /// It cannot be used: the message has the reason and the remedy.
    pub fn open(directory: &Path) -> Result<Self, PinsError> {
        for _ in 0..TRIES {
            if !directory.exists() {
                on_bpffs(directory, directory.parent().unwrap_or(directory))?;
                match DirBuilder::new().mode(0o700).create(directory) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(PinsError::Create { path: directory.to_owned(), error }),
                }
            }
            if let Some(pins) = Self::existing(directory)? {
                return Ok(pins);
            }
        }
        Err(PinsError::InUse(directory.to_owned()))
    }

    /// The same for one that exists; `None` if it does not.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn existing(directory: &Path) -> Result<Option<Self>, PinsError> {
        let path = directory.to_owned();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = match rustix::fs::open(directory, flags, Mode::empty()) {
            Ok(lock) => File::from(lock),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(PinsError::NoDirectory(path)),
            Err(error) => return Err(failed("open", directory)(error.into())),
        };
        on_bpffs(directory, directory)?;
        let there = lock.metadata().map_err(failed("look at", directory))?;
        let own = rustix::process::geteuid().as_raw();
        if there.uid() != own {
            return Err(PinsError::OfAnother { path, owner: there.uid(), own });
        }
        if there.mode() & 0o022 != 0 {
            return Err(PinsError::Writable(path));
        }
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(PinsError::InUse(path)),
            Err(error) => return Err(failed("lock", directory)(error.into())),
        }
        // Another process may have removed it before the lock was there.
        let same = std::fs::symlink_metadata(directory).is_ok_and(|now| now.ino() == there.ino());
        Ok(same.then_some(Self { directory: path, _lock: lock }))
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the pin of a program's link is.
    #[must_use]
    pub fn link(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{LINK}{program}"))
    }

    /// Where the pin of a map is; the dot of a section's name is left out.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{MAP}{}", name.trim_start_matches('.')))
    }

    /// What is in the directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self) -> Result<Names, PinsError> {
        let failed = failed("read", &self.directory);
        let mut names = Names::default();
        for entry in std::fs::read_dir(&self.directory).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            match (name.strip_prefix(LINK), name.strip_prefix(MAP)) {
                (Some(link), _) => names.links.push(link.to_owned()),
                (_, Some(map)) => names.maps.push(map.to_owned()),
                _ => names.others.push(name),
            }
        }
        names.links.sort_unstable();
        names.maps.sort_unstable();
        names.others.sort_unstable();
        Ok(names)
    }

    /// Removes all pins, and gives what there was. The links go first: no program writes to a map of which no pin is left.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove(&self) -> Result<Names, PinsError> {
        let names = self.names()?;
        let links = names.links.iter().map(|name| self.link(name));
        for path in links.chain(names.maps.iter().map(|name| self.map(name))) {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(names)
    }

    /// Removes the directory, which must be empty.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_directory(self) -> Result<(), PinsError> {
        std::fs::remove_dir(&self.directory).map_err(failed("remove", &self.directory))
    }
}

/// Whether `there`, which is `directory` or where it would be created, is on bpffs.
fn on_bpffs(directory: &Path, there: &Path) -> Result<(), PinsError> {
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    match rustix::fs::statfs(there) {
        Ok(found) if found.f_type & 0xffff_ffff == BPF_FS_MAGIC => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(PinsError::NoBpffs(directory.to_owned())),
        Err(error) => Err(failed("look at", there)(error.into())),
    }
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> PinsError {
    let path = path.to_owned();
    move |error| PinsError::Failed { what, path: path.clone(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_on_no_bpffs_is_refused_with_what_to_do_and_not_created() {
        let folder = tempfile::tempdir().expect("a directory");
        let pins = folder.path().join("pins");
        for (path, exists) in
            [(pins.as_path(), false), (folder.path(), true), (Path::new("/no/such/pins"), false)]
        {
            let error = Pins::open(path).expect_err("it is on no bpffs").to_string();
            assert!(error.starts_with(&format!("cannot keep pins in {}: ", path.display())), "{error}");
            assert!(error.contains("bpffs") && error.contains("mount -t bpf"), "{error}");
            assert_eq!(path.exists(), exists);
        }
        assert!(Pins::existing(&pins).expect("there is none").is_none());
        std::fs::write(&pins, "").expect("a file");
        for refused in [Pins::open(&pins).map(drop), Pins::existing(&pins).map(drop)] {
            assert!(matches!(refused, Err(PinsError::NoDirectory(_))), "{refused:?}");
        }
    }
}
