//! Trees of cgroups of a test.

use std::path::PathBuf;

use anyhow::Result;

use crate::cgroup::{Hierarchy, random_hex, remove};
use crate::cleanup;

/// Trees that are removed with all that is in them when this is dropped, or on a signal.
#[derive(Debug)]
pub struct Trees {
    pub hierarchy: Hierarchy,
    pub roots: Vec<PathBuf>,
}

impl Trees {
    /// Their roots, at the top of the hierarchy, have one new name with each of these endings. They are not made here.
    pub fn new(endings: &[&str]) -> Result<Self> {
        let hierarchy = Hierarchy::find()?;
        let name = format!("ct-{}-{}", std::process::id(), &random_hex()?[..8]);
        let roots: Vec<_> =
            endings.iter().map(|ending| hierarchy.mount.join(format!("{name}{ending}"))).collect();
        cleanup::lock()?.cgroups.extend(roots.iter().cloned());
        Ok(Self { hierarchy, roots })
    }

    /// Makes the cgroup of this path below a root, and those above it.
    pub fn make(&self, root: usize, path: &str) -> Result<PathBuf> {
        let mut dir = self.roots[root].clone();
        for name in [""].into_iter().chain(path.split('/')) {
            dir.push(name);
            if !dir.exists() {
                self.hierarchy.create(&dir)?;
            }
        }
        Ok(dir)
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        let removed: Result<()> = self.roots.iter().try_for_each(|root| remove(root));
        if let Ok(mut known) = cleanup::lock() {
            known.cgroups.retain(|root| !self.roots.contains(root));
        }
        assert!(std::thread::panicking() || removed.is_ok(), "{removed:?}");
    }
}
