//! `cargo xtask deny`: cargo-deny checks all dependencies, those of builds and tests too, against `deny.toml`.

use crate::{advisories, exec, files, toolchain, tools};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Check licences, bans, sources and known advisories of all dependencies.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail if the advisory database cannot be fetched.
    #[arg(long)]
    advisories: bool,
}

/// `cargo xtask deny`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let program = tools::ensure_deny()?;
    advisories::set_unchecked()?;
    exec::run(deny(&program).args(["check", "licenses", "bans", "sources"]))?;
    let fetched = exec::run(deny(&program).args(["fetch", "db"]));
    let checked = match (fetched, copy()?) {
        (Ok(()), _) => exec::run(deny(&program).args(["check", "advisories"])),
        (Err(error), _) if args.advisories => return Err(error),
        // cargo-deny refuses a copy that is too old (`maximum-db-staleness`).
        (Err(_), Some(copy)) => {
            eprintln!("xtask: RustSec's database cannot be fetched; the copy in {} is used", copy.display());
            exec::run(deny(&program).args(["--offline", "check", "--disable-fetch", "advisories"]))
        }
        // There is no copy in this repository: it would be old and pass for new.
        (Err(_), None) => {
            eprintln!(
                "xtask: ######## {}: RustSec's database cannot be fetched, and there is no copy of it ########",
                advisories::NOT_CHECKED
            );
            return Ok(());
        }
    };
    advisories::set_checked()?;
    checked
}

/// cargo-deny's copy of the database, if there is one.
fn copy() -> Result<Option<PathBuf>> {
    let dir = files::cargo_home()?.join("advisory-dbs");
    Ok(holds_a_database(&dir).then_some(dir))
}

/// A failed fetch leaves a folder without advisories.
fn holds_a_database(dir: &Path) -> bool {
    let inside = fs::read_dir(dir).into_iter().flatten().flatten();
    inside.into_iter().any(|entry| entry.path().join("crates").is_dir())
}

fn deny(program: &Path) -> Command {
    let mut command = toolchain::command(program);
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
