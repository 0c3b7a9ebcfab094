//! `crashtrace replay`: the same stages over recorded bytes.

use std::fs::File;
use std::io::{self, BufReader, Cursor, IsTerminal as _, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::played::{Next, Played};
use crate::cli::Replay;
use crate::files;
use crate::messages::Messages;
use crate::sinks::print;

/// Reports the incidents in a recording.
///
/// # Errors
/// It cannot be read, is no recording, or has another layout; or the output cannot be written. A truncated recording is read up to
/// its end, and the rest is counted and named.
pub fn replay(config: &Replay, messages: &Messages) -> Result<()> {
    let name = config.file.display();
    let failed = || format!("cannot replay {name}");
    let file = open(&config.file).with_context(failed)?;
    let file = BufReader::new(file);
    let mut played = Played::open(file, std::process::id(), config.filter.clone()).with_context(failed)?;
    if !print(config.output, [played.started()])? {
        return Ok(());
    }
    while let Some(next) = played.frame().with_context(failed)? {
        let lines = match next {
            Next::Lines(lines) => lines,
            Next::Broken(what) => {
                tracing::warn!(recording = %name, "the recording is broken, the rest is lost: {what}");
                continue;
            }
        };
        if !print(config.output, lines)? {
            return Ok(());
        }
    }
    print(config.output, played.losses())?;
    print(config.output, played.stopping(messages.unsaid())).map(drop)
}

/// Opens a file, a pipe that has a writer (`<(zcat a.rec.gz)` of a shell), or standard input for `-`. A FIFO without a writer is an
/// error and not a wait, and so is a device.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "standard input is a terminal, not a recording",
            ));
        }
        return Ok(Box::new(io::stdin()));
    }
    if !std::fs::metadata(path)?.file_type().is_fifo() {
        return Ok(Box::new(files::open_regular(path)?));
    }
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut pipe = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let mut begin = [0; 4096];
    let length = match pipe.read(&mut begin) {
        Ok(0) => {
            let error = "this FIFO has no writer: start one first, or pipe into `replay -`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        Ok(length) => length,
        // It has a writer, which has not written yet.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags - OFlags::NONBLOCK)?;
    Ok(Box::new(Cursor::new(begin).take(length as u64).chain(pipe)))
}
