//! The second look at the node's cgroups ([`crate::observe::second_look`]), on a thread: a node of tens of thousands of cgroups takes
//! half a second, and records must not wait for it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirEntryExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::event::Limit;
use crate::files;
use crate::node::{Look, Looked};
use crate::observe::second_look::{Bounds, Child, Tree, Usage, look};

/// A node of 250 pods has two thousand cgroups; 20 µs for each.
const BOUNDS: Bounds = Bounds { cgroups: 50_000, time: Duration::from_secs(2) };

/// The looks of a session, of which one at a time is under way.
#[derive(Debug, Default)]
pub(super) struct Looks {
    latest: Option<Latest>,
}

#[derive(Debug)]
struct Latest {
    about: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Running(Receiver<io::Result<Result<Looked, String>>>),
    Over(Look),
}

impl Looks {
    /// As [`crate::node::CgroupFiles::large`].
    pub(super) fn large(
        &mut self,
        about: u64,
        begin: impl FnOnce() -> io::Result<Receiver<io::Result<Result<Looked, String>>>>,
    ) -> Look {
        self.poll();
        match &self.latest {
            Some(Latest { about: it, state: State::Over(look) }) if *it == about => return look.clone(),
            Some(Latest { about: it, state: State::Running(_) }) if *it == about => return Look::Pending,
            Some(Latest { state: State::Running(_), .. }) => {
                return Look::Failed("the agent was looking at the cgroups for another incident".to_owned());
            }
            _ => {}
        }
        match begin() {
            Ok(receiver) => {
                self.latest = Some(Latest { about, state: State::Running(receiver) });
                Look::Pending
            }
            Err(error) => Look::Failed(failed(&error)),
        }
    }

    /// Takes the result of a look that has ended.
    fn poll(&mut self) {
        let Some(Latest { state, .. }) = &mut self.latest else { return };
        let State::Running(receiver) = state else { return };
        let look = match receiver.try_recv() {
            Ok(Ok(Ok(looked))) => Look::Done(looked),
            Ok(Ok(Err(reason))) => Look::Failed(reason),
            Ok(Err(error)) => Look::Failed(failed(&error)),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Look::Failed(
                "a fault of crashtrace stopped the look at the cgroups; please report it".to_owned(),
            ),
        };
        *state = State::Over(look);
    }
}

fn failed(error: &io::Error) -> String {
    format!("the cgroups cannot be looked at: {error}")
}

/// Begins a look at the cgroups below `mount`.
pub(super) fn begin(
    mount: PathBuf,
    v1: bool,
    least_bytes: u64,
) -> io::Result<Receiver<io::Result<Result<Looked, String>>>> {
    files::begin(move || {
        let began = Instant::now();
        let mut tree = Mounted { mount, v1 };
        Ok(look(least_bytes, v1, &mut tree, BOUNDS, &mut || began.elapsed()))
    })
}

/// The tree where it is mounted.
struct Mounted {
    mount: PathBuf,
    v1: bool,
}

impl Mounted {
    fn dir(&self, path: &[u8]) -> PathBuf {
        self.mount.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)))
    }
}

impl Tree for Mounted {
    fn children(&mut self, path: &[u8], most: usize) -> Result<Vec<Child>, String> {
        let dir = self.dir(path);
        let entries =
            fs::read_dir(&dir).map_err(|error| format!("{} cannot be listed: {error}", dir.display()))?;
        let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let child =
            |entry: fs::DirEntry| Child { cgroup_id: entry.ino(), name: entry.file_name().into_vec() };
        Ok(dirs.take(most).map(child).collect())
    }

    fn usage(&mut self, path: &[u8]) -> Option<Usage> {
        let dir = self.dir(path);
        let [memory, swap] = if self.v1 {
            ["memory.usage_in_bytes", "memory.memsw.usage_in_bytes"]
        } else {
            ["memory.current", "memory.swap.current"]
        };
        // A cgroup has no file for swap where the kernel does not count that.
        Some(Usage { bytes: number(&dir.join(memory))?, swap_bytes: number(&dir.join(swap)) })
    }

    fn limit(&mut self, path: &[u8]) -> Option<Limit> {
        let file = self.dir(path).join(if self.v1 { "memory.limit_in_bytes" } else { "memory.max" });
        let text = text(&file)?;
        // v1 has no word for it but the largest number of whole pages (`PAGE_COUNTER_MAX`, `include/linux/page_counter.h`).
        let limit = if text == "max" { Some(u64::MAX) } else { text.parse().ok() };
        limit.map(
            |bytes| if bytes > i64::MAX as u64 - (1 << 20) { Limit::Unlimited } else { Limit::Bytes(bytes) },
        )
    }
}

fn text(file: &Path) -> Option<String> {
    let bytes = files::read_of_kernel(file).ok()?;
    Some(String::from_utf8(bytes).ok()?.trim_end().to_owned())
}

fn number(file: &Path) -> Option<u64> {
    text(file)?.parse().ok()
}

#[cfg(test)]
mod tests;
