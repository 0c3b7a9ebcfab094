//! The journal's directory. A user who can write to it could read the lines, or have another file overwritten, so only a directory
//! of the agent's own user, that no other user can write to, is accepted, and no link in it is followed.

use std::fmt::Display;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::age::Now;
use super::spool::Spool;
use super::store::OpenError;
use super::{Files, Limits, SLOTS, frame};
use crate::files;

/// How long opening and reading it may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// A journal that is open, and this process's alone.
#[derive(Debug)]
pub struct Directory {
    pub spool: Spool<File>,
    /// Locked as long as it is open.
    pub lock: File,
}

/// Opens or creates the journal in `directory`, whose parent exists.
///
/// # Errors
/// It cannot be used: the message has the reason and the remedy.
pub fn open(directory: &Path, limits: Limits, now: Now) -> Result<Directory> {
    let path = directory.to_owned();
    // It may be on a mount that hangs.
    let opened = files::within(DEADLINE, move || Ok(open_now(&path, limits, now)));
    opened
        .map_err(Into::into)
        .flatten()
        .with_context(|| format!("cannot use the journal {}", directory.display()))
}

fn open_now(path: &Path, limits: Limits, now: Now) -> Result<Directory> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).context("it cannot be created: create its parent directory"),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => File::from(directory),
        // ENOTDIR is what Linux says of a link here.
        Err(Errno::LOOP | Errno::NOTDIR) => bail!("it is a file or a symbolic link: name a directory"),
        Err(error) => return Err(error).context("it cannot be opened"),
    };
    let own = rustix::process::geteuid().as_raw();
    let there = directory.metadata()?;
    if there.uid() != own {
        bail!(
            "it belongs to user {}, who could read and change lines: use a directory of user {own}",
            there.uid()
        );
    }
    if there.mode() & 0o022 != 0 {
        bail!("other users can write to it: `chmod go-w {}`", path.display());
    }
    let lock = ours(&directory, "lock", own)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => bail!("another agent uses it: stop that one, or use another directory"),
        Err(error) => return Err(error).context("it cannot be locked"),
    }
    let slots = (0..SLOTS).map(|slot| ours(&directory, &format!("lines-{slot:02}"), own));
    let files = Files::new(slots.collect::<Result<_>>()?, ours(&directory, "cursor", own)?);
    directory.sync_all().context("it cannot be synced")?;
    match Spool::open(Arc::new(files), limits, now) {
        Ok(spool) => Ok(Directory { spool, lock }),
        Err(OpenError::Io(error)) => Err(error).context("it cannot be read"),
        Err(OpenError::Version(version)) => bail!(
            "it has version {version} of the format, and this agent knows version {}: let the agent that wrote it deliver its \
             lines, use another directory, or remove this one and with it lines that were not delivered",
            frame::VERSION
        ),
    }
}

/// A file of this name, new or ours.
fn ours(directory: &File, name: &str, own: u32) -> Result<File> {
    let said = |what: &dyn Display| format!("its file {name} {what}");
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file: OwnedFd = match openat(directory, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(Errno::LOOP) => bail!(said(&"is a symbolic link: remove it")),
        Err(error) => return Err(error).with_context(|| said(&"cannot be opened")),
    };
    let file = File::from(file);
    let there = file.metadata()?;
    files::regular(&there).with_context(|| said(&"cannot be used"))?;
    if there.uid() != own || there.nlink() != 1 {
        bail!(said(&"is another user's or has another name too: remove it"));
    }
    // The mode applies to a new file only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    const NOW: Now = Now { boot: 1, boottime_ns: 1, realtime_ns: 1 };
    const LIMITS: Limits = Limits { size_bytes: 1 << 20, age: Duration::from_hours(1) };

    fn parent() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn refused(path: &Path) -> String {
        format!("{:#}", open(path, LIMITS, NOW).expect_err("it is refused"))
    }

    #[test]
    fn a_new_journal_is_its_users_alone_and_opens_again() {
        let parent = parent();
        let path = parent.path().join("journal");
        drop(open(&path, LIMITS, NOW).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700);
        let files: Vec<_> = std::fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), SLOTS + 2);
        assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
        open(&path, LIMITS, NOW).unwrap();
        // Only its last part is created.
        let said = refused(&parent.path().join("none/journal"));
        assert!(said.contains("create its parent directory"), "{said}");
    }

    #[test]
    fn two_agents_cannot_share_one() {
        let parent = parent();
        let first = open(parent.path(), LIMITS, NOW).unwrap();
        let said = refused(parent.path());
        assert!(said.contains("another agent uses it: stop that one"), "{said}");
        drop(first);
        open(parent.path(), LIMITS, NOW).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_to_or_have_is_refused() {
        let parent = parent();
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o770)).unwrap();
        let said = refused(parent.path());
        assert!(said.contains("chmod go-w") && said.contains(parent.path().to_str().unwrap()), "{said}");
        std::fs::set_permissions(parent.path(), Permissions::from_mode(0o755)).unwrap();
        open(parent.path(), LIMITS, NOW).unwrap();
        chown(parent.path(), Some(1234), None).expect("root may");
        let said = refused(parent.path());
        assert!(said.contains("belongs to user 1234") && said.contains("use a directory of user"), "{said}");
    }

    #[test]
    fn no_link_is_followed_and_no_other_file_is_written() {
        let parent = parent();
        let (path, other) = (parent.path().join("journal"), parent.path().join("other"));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(&other, "of a user").unwrap();
        symlink(&path, parent.path().join("link")).unwrap();
        for name in ["link", "other"] {
            let said = refused(&parent.path().join(name));
            assert!(said.contains("file or a symbolic link: name a directory"), "{said}");
        }
        for name in ["lock", "lines-03", "cursor"] {
            let file = path.join(name);
            symlink(&other, &file).unwrap();
            let said = refused(&path);
            assert!(said.contains(&format!("{name} is a symbolic link: remove it")), "{said}");
            std::fs::remove_file(&file).unwrap();
            std::fs::hard_link(&other, &file).unwrap();
            let said = refused(&path);
            assert!(said.contains("has another name too: remove it"), "{said}");
            std::fs::remove_file(&file).unwrap();
            std::fs::create_dir(&file).unwrap();
            refused(&path);
            std::fs::remove_dir(&file).unwrap();
        }
        assert_eq!(std::fs::read(&other).unwrap(), b"of a user");
        open(&path, LIMITS, NOW).unwrap();
    }

    #[test]
    fn a_newer_journal_is_refused_with_what_to_do() {
        let parent = parent();
        std::fs::write(parent.path().join("lines-15"), frame::prologue_of(7)).unwrap();
        let said = refused(parent.path());
        assert!(said.contains("version 7") && said.contains("use another directory"), "{said}");
        assert_eq!(std::fs::read(parent.path().join("lines-15")).unwrap(), frame::prologue_of(7));
    }
}
