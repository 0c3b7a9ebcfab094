//! Fetched once and kept: kernels for guests, and programs for tests.

use crate::files;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The package in `home`, as [`cached`] recorded it.
pub(crate) fn recorded(home: &Path) -> Result<String> {
    let path = home.join("PACKAGE");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Returns `home`. If it is missing, `fill` fills it first and returns the name of what it fetched. `home` appears complete or not at
/// all: an interrupted download leaves a staging directory, which the next attempt removes. A lock in `dir` keeps other processes out.
pub(crate) fn cached(home: &Path, dir: &Path, fill: impl FnOnce(&Path) -> Result<String>) -> Result<PathBuf> {
    if home.is_dir() {
        return Ok(home.to_owned());
    }
    let _lock = files::lock(&dir.join("fetch.lock"))?;
    if home.is_dir() {
        return Ok(home.to_owned()); // Another xtask did it while this one waited.
    }
    let mut staging = home.as_os_str().to_owned();
    staging.push(".partial");
    let staging = PathBuf::from(staging);
    files::remove_dir(&staging)?;
    fs::create_dir_all(&staging).with_context(|| format!("cannot create {}", staging.display()))?;
    let package = fill(&staging)?;
    fs::write(staging.join("PACKAGE"), format!("{package}\n"))
        .with_context(|| format!("cannot write {}/PACKAGE", staging.display()))?;
    fs::rename(&staging, home).with_context(|| format!("cannot rename {}", staging.display()))?;
    eprintln!("xtask: {package} is in {}", home.display());
    Ok(home.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_fetch_leaves_nothing_behind_that_counts() {
        let dir = std::env::temp_dir().join(format!("xtask-cached-{}", std::process::id()));
        let home = dir.join("kernels/x");
        cached(&home, &dir, |staging| {
            fs::write(staging.join("half"), "")?;
            anyhow::bail!("the network went away")
        })
        .expect_err("it failed");
        assert!(!home.exists());
        cached(&home, &dir, |_| Ok("x 1".to_owned())).expect("the second attempt");
        assert!(!home.join("half").exists());
        assert_eq!(recorded(&home).expect("recorded"), "x 1");
        cached(&home, &dir, |_| anyhow::bail!("asked for again")).expect("there already");
        fs::remove_dir_all(dir).expect("removed");
    }
}
