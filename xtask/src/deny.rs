//! `cargo xtask deny`: what is linked, built or tested with is held against `deny.toml`, by cargo-deny.

use crate::{exec, setup};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Check licences, bans and sources of all dependencies, and the advisories that are known of them.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail if the database of advisories cannot be had
    #[arg(long)]
    advisories: bool,
}

/// `cargo xtask deny`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = setup::ensure_deny()?;
    let flag = unchecked_flag();
    fs::write(&flag, "").with_context(|| format!("cannot write {}", flag.display()))?;
    exec::run(deny(&program).args(["check", "licenses", "bans", "sources"]))?;
    let fetched = exec::run(deny(&program).args(["fetch", "db"]));
    let checked = match (fetched, copy()?) {
        (Ok(()), _) => exec::run(deny(&program).args(["check", "advisories"])),
        (Err(error), _) if args.advisories => return Err(error),
        // One that was fetched before. cargo-deny refuses it when it is too old (`maximum-db-staleness`).
        (Err(_), Some(copy)) => {
            eprintln!(
                "xtask: RustSec's database cannot be had from here; the copy in {} is used",
                copy.display()
            );
            exec::run(deny(&program).args(["--offline", "check", "--disable-fetch", "advisories"]))
        }
        // Not a copy of it in this repository: it would be old, and pass for new.
        (Err(_), None) => {
            eprintln!(
                "xtask: ######## {NOT_CHECKED}: RustSec's database cannot be had from here, and no copy of it is at hand ########"
            );
            return Ok(());
        }
    };
    fs::remove_file(&flag).with_context(|| format!("cannot remove {}", flag.display()))?;
    checked
}

/// In capitals, since everything else has passed.
pub(crate) const NOT_CHECKED: &str = "NO ADVISORIES WERE CHECKED";

/// Whether the latest run checked no advisories.
pub(crate) fn unchecked() -> bool {
    unchecked_flag().exists()
}

/// This file is there from the beginning of a run until advisories have been checked.
fn unchecked_flag() -> PathBuf {
    exec::target_dir().join("advisories-unchecked")
}

/// Where cargo-deny keeps the database, if it has it.
fn copy() -> Result<Option<PathBuf>> {
    let dir = exec::cargo_home()?.join("advisory-dbs");
    Ok(holds_a_database(&dir).then_some(dir))
}

/// What a fetch that failed leaves is no database: the advisories lie in folders of their own.
fn holds_a_database(dir: &Path) -> bool {
    let inside = fs::read_dir(dir).into_iter().flatten().flatten();
    inside.into_iter().any(|entry| entry.path().join("crates").is_dir())
}

fn deny(program: &Path) -> Command {
    let mut command = exec::toolchain(program);
    command.arg("--locked");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_advisories_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!holds_a_database(&dir.path().join("none")) && !holds_a_database(dir.path()));
        fs::create_dir_all(dir.path().join("advisory-db-1/.git")).expect("a folder");
        assert!(!holds_a_database(dir.path()), "a fetch that failed");
        fs::create_dir_all(dir.path().join("advisory-db-1/crates/time")).expect("a folder");
        assert!(holds_a_database(dir.path()));
    }
}
