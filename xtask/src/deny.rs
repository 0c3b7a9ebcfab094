//! `cargo xtask deny`: what is linked, built or tested with is held against `deny.toml`, by cargo-deny.

use crate::{exec, setup};
use anyhow::{Context as _, Result};
use std::fs;
use std::io::ErrorKind;
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
    let unchecked = unchecked_file();
    remember(&unchecked, None)?;
    exec::run(deny(&program).args(["check", "licenses", "bans", "sources"]))?;
    let fetched = exec::run(deny(&program).args(["fetch", "db"]));
    match (fetched, copy()?) {
        (Ok(()), _) => exec::run(deny(&program).args(["check", "advisories"])),
        (Err(error), _) if args.advisories => Err(error),
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
            eprintln!("xtask: {NOT_CHECKED}");
            remember(&unchecked, Some(NOT_CHECKED))
        }
    }
}

const NOT_CHECKED: &str = "######## NO ADVISORIES WERE CHECKED: RustSec's database cannot be had from here, and no copy of it is at hand ########";

/// What the gate says at its end, if the latest run checked no advisories.
pub(crate) fn unchecked() -> Option<String> {
    fs::read_to_string(unchecked_file()).ok()
}

fn unchecked_file() -> PathBuf {
    exec::target_dir().join("advisories-unchecked")
}

fn remember(file: &Path, what: Option<&str>) -> Result<()> {
    let done = match what {
        Some(what) => fs::write(file, what),
        None => fs::remove_file(file).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    done.with_context(|| format!("cannot write {}", file.display()))
}

/// Where cargo-deny keeps the database, if it has it.
fn copy() -> Result<Option<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let dir = home.context("neither CARGO_HOME nor HOME is set")?.join("advisory-dbs");
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
    fn what_was_not_checked_is_remembered_until_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("advisories");
        remember(&file, None).expect("nothing was to be forgotten");
        remember(&file, Some(NOT_CHECKED)).expect("it can be written");
        assert_eq!(fs::read_to_string(&file).expect("it is there"), NOT_CHECKED);
        remember(&file, None).expect("it can be removed");
        assert!(!file.exists());
    }

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
