//! Whether the latest `cargo xtask deny` checked advisories. The gate says at its end if not.

use crate::files;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// In capitals, since everything else has passed.
pub(crate) const NOT_CHECKED: &str = "NO ADVISORIES WERE CHECKED";

/// A run begins with this.
pub(crate) fn set_unchecked() -> Result<()> {
    let flag = flag();
    fs::write(&flag, "").with_context(|| format!("cannot write {}", flag.display()))
}

/// Advisories were checked, whatever the result.
pub(crate) fn set_checked() -> Result<()> {
    let flag = flag();
    fs::remove_file(&flag).with_context(|| format!("cannot remove {}", flag.display()))
}

pub(crate) fn are_unchecked() -> bool {
    flag().exists()
}

fn flag() -> PathBuf {
    files::target_dir().join("advisories-unchecked")
}
