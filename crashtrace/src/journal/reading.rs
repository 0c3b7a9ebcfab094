//! Reads a journal beside the agent that writes it: without its lock, and without a change.
//!
//! Each entry has checksums, so what the agent is writing or cutting at the same moment is no entry. Delivered lines are there too
//! until their segment is used again.

use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::frame::{self, PROLOGUE_BYTES, Prologue};
use super::scan::Scan;
use super::{SLOTS, Storage};
use crate::files;

/// Hands each line that is in the journal's files to `line`, in no order. Returns how many there were.
///
/// # Errors
/// There is no journal, it cannot be read, or it has another version.
pub fn read(directory: &Path, line: impl FnMut(&[u8])) -> Result<u64> {
    read_in(directory, line).with_context(|| format!("cannot read the journal {}", directory.display()))
}

fn read_in(path: &Path, mut line: impl FnMut(&[u8])) -> Result<u64> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    let (mut files, mut lines) = (0, 0);
    for slot in 0..SLOTS {
        let name = format!("lines-{slot:02}");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match openat(&directory, &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error).with_context(|| format!("its file {name} cannot be opened")),
        };
        files::regular(&file.metadata()?).with_context(|| format!("its file {name} cannot be used"))?;
        files += 1;
        lines += read_file(&file, &mut line).with_context(|| format!("its file {name} cannot be read"))?;
    }
    if files == 0 {
        bail!("there is none: name the directory that `watch --journal` has");
    }
    Ok(lines)
}

fn read_file(file: &impl Storage, line: &mut impl FnMut(&[u8])) -> Result<u64> {
    let mut begin = [0; PROLOGUE_BYTES];
    let read = read_begin(file, &mut begin)?;
    if let Prologue::Other(version) = frame::read_prologue(&begin[..read]) {
        bail!("it has version {version} of the format, and this program knows version {}", frame::VERSION);
    }
    let (mut scan, mut at, mut lines) = (Scan::default(), 0, 0);
    let end = file.bytes()?;
    while let Some(entry) = scan.next(file, at, end)? {
        at = entry.end;
        line(entry.line);
        lines += 1;
    }
    Ok(lines)
}

fn read_begin(file: &impl Storage, to: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = to.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Limits, Now, open};
    use super::*;

    const NOW: Now = Now { boot: 1, boottime_ns: 1, realtime_ns: 1 };
    const LIMITS: Limits = Limits { size_bytes: 1 << 20, age: Duration::from_hours(1) };

    fn all(directory: &Path) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let count = read(directory, |line| lines.push(String::from_utf8_lossy(line).into_owned()))?;
        assert_eq!(count, lines.len() as u64);
        Ok(lines)
    }

    #[test]
    fn lines_are_read_while_the_agent_has_the_journal() {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("journal");
        let mut agents = open(&path, LIMITS, NOW).expect("a journal");
        assert_eq!(all(&path).unwrap(), [""; 0]);
        for line in ["{\"a\":1}\n", "{\"b\":2}\n"] {
            agents.spool.put(line.as_bytes(), NOW);
        }
        let before = std::fs::read(path.join("lines-00")).unwrap();
        assert_eq!(all(&path).unwrap(), ["{\"a\":1}\n", "{\"b\":2}\n"]);
        assert_eq!(std::fs::read(path.join("lines-00")).unwrap(), before, "it only reads");
        // A line that is being written.
        std::fs::write(path.join("lines-00"), &before[..before.len() - 3]).unwrap();
        assert_eq!(all(&path).unwrap(), ["{\"a\":1}\n"]);
    }

    #[test]
    fn what_is_no_journal_of_this_version_is_refused() {
        let parent = tempfile::tempdir().expect("a directory");
        let said = |path: &Path| format!("{:#}", all(path).expect_err("it is refused"));
        assert!(said(parent.path()).contains("watch --journal"), "{}", said(parent.path()));
        assert!(said(&parent.path().join("none")).contains("No such file"), "{}", said(parent.path()));
        std::fs::write(parent.path().join("lines-03"), frame::prologue_of(7)).unwrap();
        assert!(said(parent.path()).contains("version 7"), "{}", said(parent.path()));
    }
}
