//! Folders of this workspace, and what is done to files in more than one place.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    // Known when this file is compiled: `cargo xtask` compiles it in the tree that it works on.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where everything that xtask makes or fetches goes. Not `CARGO_TARGET_DIR`: `crashtrace/build.rs` looks for
/// the linker here too, and both must mean the same place.
pub(crate) fn target_dir() -> PathBuf {
    root().join("target")
}

/// Kernels, busybox, package lists and runs of guests.
pub(crate) fn vm_dir() -> PathBuf {
    target_dir().join("vm")
}

/// Where cargo keeps the sources of the registry and the advisory databases.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("CARGO_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::home_dir().context("neither CARGO_HOME nor a home directory is set")?;
    Ok(home.join(".cargo"))
}

/// Removes a folder with all that is in it. It may be missing.
pub(crate) fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Waits until no other xtask holds this lock, and holds it until the file is dropped (or the process dies).
pub(crate) fn lock(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("xtask: waiting for another xtask, which holds {}", path.display());
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
