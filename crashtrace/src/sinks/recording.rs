//! The file that `watch --record` writes.
//!
//! A user who can replace the file must not be able to have another one overwritten, to read the recording, or to stop the agent:
//! no link is followed, no FIFO or device opened, only a file of this user is accepted, and of those with content only recordings.
//! The file may be on a mount that hangs, so it is opened with a deadline and written by a thread; records that it is too slow for
//! are left out, and the sequence numbers show that in a replay.

use std::fs::{File, Permissions};
use std::future::Future;
use std::io::{self, BufWriter, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::time::Instant;

use super::writer::{Writer, Written};
use super::{RecordSink, Taken};
use crate::files;
use crate::recording::{Preamble, begins_like_a_recording, frame};

/// How long opening the file may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of records that may wait for the file.
const MOST_BYTES: usize = 1024 * 1024;

/// A file that is open. Its content is still intact.
#[derive(Debug)]
pub struct Opened {
    file: File,
    path: PathBuf,
}

/// A file with the beginning of a recording.
#[derive(Debug)]
pub struct Begun {
    file: File,
    path: PathBuf,
}

/// Opens a new file, or overwrites one of ours, for this user alone.
///
/// # Errors
/// It cannot be opened, or another kind of file is there.
pub fn open(path: &Path) -> Result<Opened> {
    let its_path = path.to_owned();
    let file = files::within(DEADLINE, move || open_ours(&its_path)).with_context(|| cannot_write(path))?;
    Ok(Opened { file, path: path.to_owned() })
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the recording {}", path.display())
}

fn open_ours(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let flags = flags.bits().cast_signed();
    let options = |new| {
        let mut options = File::options();
        options.read(true).write(true).create_new(new).mode(0o600).custom_flags(flags);
        options
    };
    // Before the open as well: opening a device may have an effect.
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return options(true).open(path),
        Err(error) => return Err(error),
        Ok(there) => files::regular(&there)?,
    }
    let mut file = options(false).open(path).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => refused("it is a symbolic link"),
        _ => error,
    })?;
    let there = file.metadata()?;
    files::regular(&there)?;
    if there.uid() != rustix::process::geteuid().as_raw() {
        return Err(refused("it belongs to another user, who could read the recording"));
    }
    if there.len() > 0 {
        let mut start = Vec::new();
        (&mut file).take(64).read_to_end(&mut start)?;
        if !begins_like_a_recording(&start) {
            return Err(refused("it is there already and no recording, and is not overwritten"));
        }
    }
    // The mode applies to a new file only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Opened {
    /// Starts a recording. The file's content is lost.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(self, preamble: Preamble) -> Result<Begun> {
        let Self { mut file, path } = self;
        let file = files::within(DEADLINE, move || {
            io::Seek::rewind(&mut file)?;
            file.set_len(0)?;
            let mut writer = BufWriter::new(file);
            preamble.write_to(&mut writer)?;
            writer.into_inner().map_err(io::IntoInnerError::into_error)
        });
        Ok(Begun { file: file.with_context(|| cannot_write(&path))?, path })
    }
}

impl Begun {
    /// Starts the thread that writes the rest.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self) -> Result<Recording> {
        Recording::start(self.file, &self.path)
    }
}

/// A recording that is being written.
pub struct Recording {
    writer: Writer<()>,
    path: String,
    /// Records that were left out for lack of room.
    left_out: u64,
}

impl Recording {
    fn start(file: impl io::Write + Send + 'static, path: &Path) -> Result<Self> {
        // Its backlog is not shown, so the time does not matter.
        let writer = Writer::start("recording", file, MOST_BYTES, (Arc::default(), || 0), |()| {});
        let writer = writer.context("cannot start the thread that writes the recording")?;
        Ok(Self { writer, path: path.display().to_string(), left_out: 0 })
    }
}

impl RecordSink for Recording {
    fn record(&mut self, record: &[u8]) -> Taken {
        if let Some(error) = self.writer.error() {
            tracing::error!(%error, file = self.path, "the recording cannot be written and ends here");
            return Taken::Failed;
        }
        match frame(record) {
            Some(frame) if self.writer.has_room() => {
                self.writer.put(frame, ());
                Taken::Whole
            }
            _ => {
                self.left_out = self.left_out.saturating_add(1);
                tracing::warn!(
                    file = self.path,
                    left_out = self.left_out,
                    "the recording's file is too slow: a record is left out"
                );
                Taken::LeftOut
            }
        }
    }

    fn finish(self: Box<Self>, until: Instant) -> Pin<Box<dyn Future<Output = ()>>> {
        let Self { writer, path, left_out } = *self;
        Box::pin(async move {
            match writer.finish(until).await {
                Written::All if left_out == 0 => {}
                Written::All => tracing::warn!(file = path, left_out, "the recording lacks records"),
                Written::Failed(error) => {
                    tracing::error!(%error, file = path, "the recording cannot be written and lacks its end");
                }
                Written::AllBut(left) => tracing::error!(
                    file = path,
                    "the recording lacks its end: its file did not take the last {left} records in time"
                ),
            }
        })
    }
}

#[cfg(test)]
mod tests;
