//! A walk over the node's cgroups from user space, as that of the kernel side: level by level, down into large cgroups only. PURE: the
//! tree and the clock are arguments.
//!
//! The kernel side takes the newest first, so here the oldest are first: those are what it had no time for.

use std::time::Duration;

use crate::event::{Holder, Level, Limit, Name};
use crate::node::Looked;

/// The tree of the memory controller's cgroups, by paths from the root of the node's.
pub trait Tree {
    /// The children of a cgroup, in any order, and no more than `most` of them.
    ///
    /// # Errors
    /// Why they cannot be listed, as a phrase.
    fn children(&mut self, path: &[u8], most: usize) -> Result<Vec<Child>, String>;

    /// The memory of a cgroup; `None` if it is gone.
    fn usage(&mut self, path: &[u8]) -> Option<Usage>;

    /// The limit of a cgroup.
    fn limit(&mut self, path: &[u8]) -> Option<Limit>;
}

/// A child of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Inode of its directory; later ones have larger numbers (`idr_alloc_cyclic`, `fs/kernfs/dir.c`, 5.10 to 7.3).
    pub cgroup_id: u64,
    pub name: Vec<u8>,
}

/// The memory of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    /// Its swap, on cgroup v1 with its memory, as [`Level::swap_usage_bytes`].
    pub swap_bytes: Option<u64>,
}

/// How far a look goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub cgroups: u32,
    pub time: Duration,
}

/// Looks for cgroups of at least `least_bytes`, swap included. `elapsed` is the time since the beginning.
///
/// # Errors
/// The root cannot be listed, for this reason.
pub fn look(
    least_bytes: u64,
    v1: bool,
    tree: &mut dyn Tree,
    bounds: Bounds,
    elapsed: &mut dyn FnMut() -> Duration,
) -> Result<Looked, String> {
    let mut looked = Looked::default();
    // The paths of the large ones, by their places among the holders.
    let mut paths: Vec<Vec<u8>> = Vec::new();
    let mut parent = None;
    loop {
        let path = parent.and_then(|at: usize| paths.get(at).cloned()).unwrap_or_default();
        let left = bounds.cgroups.saturating_sub(looked.looked_at) as usize;
        let mut children = match tree.children(&path, left.saturating_add(1)) {
            Ok(children) => children,
            Err(reason) if parent.is_none() => return Err(reason),
            // It has been removed meanwhile.
            Err(_) => Vec::new(),
        };
        children.sort_by_key(|child| child.cgroup_id);
        for child in children {
            if looked.looked_at >= bounds.cgroups || elapsed() >= bounds.time {
                looked.unfinished = true;
                return Ok(looked);
            }
            let path = [path.as_slice(), b"/", &child.name].concat();
            let Some(usage) = tree.usage(&path) else { continue };
            looked.looked_at += 1;
            if all_bytes(usage, v1) < least_bytes {
                continue;
            }
            let level = Level {
                cgroup_id: Some(child.cgroup_id),
                name: Some(Name(child.name)),
                usage_bytes: Some(usage.bytes),
                swap_usage_bytes: usage.swap_bytes,
                limit: tree.limit(&path),
                ..Level::default()
            };
            looked.holders.push(Holder { parent, level });
            paths.push(path);
        }
        parent = Some(parent.map_or(0, |at| at + 1));
        if parent >= Some(paths.len()) {
            return Ok(looked);
        }
    }
}

/// Memory and swap.
fn all_bytes(usage: Usage, v1: bool) -> u64 {
    let swap_bytes = usage.swap_bytes.unwrap_or(0);
    if v1 { swap_bytes.max(usage.bytes) } else { usage.bytes.saturating_add(swap_bytes) }
}

#[cfg(test)]
mod tests;
