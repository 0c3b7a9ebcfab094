//! The file that `watch --record` writes.
//!
//! Whoever can put something else where it is to be must not be able to have it overwritten, to read the recording, or to stop the
//! agent: no link is followed, no FIFO or device opened, only a file of this user is taken, and of those that hold something only
//! recordings. The file may be on a mount that hangs, so it is opened with a deadline and written by a thread; records that it is too
//! slow for are left out, and their numbers say so to who replays it.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use crashtrace_ebpf::LAYOUT_VERSION;
use rustix::fs::OFlags;
use rustix::io::Errno;
use tokio::time::Instant;

use super::writer::{Writer, Written};
use crate::decode::Machine;
use crate::enrich::NodeRoot;
use crate::files;
use crate::pipeline::Speaker;
use crate::recording::{FORMAT, Preamble, begins_like_a_recording, frame};
use crate::report::build::Context;

/// How long the file may take to be there.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of records that may wait for the file.
const MOST_BYTES: usize = 1024 * 1024;

/// A file that is open. Nothing of it is lost yet.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    path: PathBuf,
}

/// A file that holds the beginning of a recording.
#[derive(Debug)]
pub(super) struct Begun {
    file: File,
    path: PathBuf,
}

/// Opens a new file, or one of ours that is overwritten, for this user alone.
///
/// # Errors
/// It cannot be had, or something else is there.
pub(super) fn open(path: &Path) -> Result<Opened> {
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
    // Before the open as well: a device may act on being opened.
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
    // The mode is that of a new file only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// What a recording begins with.
pub(super) fn preamble(
    speaker: &Speaker,
    machine: &Machine,
    context: &Context,
    memory_bytes: Option<u64>,
    node_root: NodeRoot,
    started_ns: u64,
) -> Preamble {
    Preamble {
        format: FORMAT.to_owned(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT_VERSION,
        node: speaker.node.clone(),
        kernel: speaker.kernel.clone(),
        boot_id: context.boot_id.clone(),
        page_size_bytes: machine.page_size_bytes,
        memory_bytes,
        node_root,
        memory_cgroup_v1: context.memory_cgroup_v1,
        realtime_offset_ns: context.realtime_offset_ns,
        hooks: speaker.hooks.clone(),
        blind: speaker.blind.clone(),
        gfp: context.gfp.clone(),
        symbols: machine.symbols.clone(),
        started_ktime_ns: started_ns,
    }
}

impl Opened {
    /// Begins a recording. What the file held is lost.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn begin(self, preamble: Preamble) -> Result<Begun> {
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
    /// Has a thread write on.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(self) -> Result<Recording> {
        Recording::start(self.file, &self.path)
    }
}

/// A recording that is being written.
pub(super) struct Recording {
    writer: Writer<()>,
    path: String,
    /// Records that found no room.
    left_out: u64,
}

impl Recording {
    fn start(file: impl io::Write + Send + 'static, path: &Path) -> Result<Self> {
        let writer = Writer::start("recording", file, MOST_BYTES, Arc::default(), |()| {});
        let writer = writer.context("cannot begin the thread that writes the recording")?;
        Ok(Self { writer, path: path.display().to_string(), left_out: 0 })
    }

    /// Records a record. One that cannot be written any more ends; the watch goes on, which matters more. Says whether it goes on.
    pub(super) fn record(&mut self, record: &[u8]) -> bool {
        if let Some(error) = self.writer.error() {
            tracing::error!(%error, file = self.path, "the recording ends here: it cannot be written");
            return false;
        }
        match frame(record) {
            Some(frame) if self.writer.has_room() => self.writer.put(frame, ()),
            _ => {
                self.left_out = self.left_out.saturating_add(1);
                tracing::warn!(
                    file = self.path,
                    left_out = self.left_out,
                    "the recording's file is too slow, and lacks records"
                );
            }
        }
        true
    }

    /// Waits until it is whole, and not longer than that.
    pub(super) async fn finish(self, until: Instant) {
        let Self { writer, path, left_out } = self;
        match writer.finish(until).await {
            Written::All if left_out == 0 => {}
            Written::All => tracing::warn!(file = path, left_out, "the recording lacks records"),
            Written::Failed(error) => {
                tracing::error!(%error, file = path, "the recording is cut: it cannot be written");
            }
            Written::AllBut(left) => tracing::error!(
                file = path,
                "the recording is cut: its file did not take the last {left} records in time"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
