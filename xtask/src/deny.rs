//! `cargo xtask deny`: what is linked, built or tested with is held against `deny.toml`, by cargo-deny.

use crate::{exec, setup};
use anyhow::Result;
use std::path::Path;
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
    exec::run(deny(&program).args(["check", "licenses", "bans", "sources"]))?;
    match exec::run(deny(&program).args(["fetch", "db"])) {
        Ok(()) => exec::run(deny(&program).args(["check", "advisories"])),
        Err(error) if args.advisories => Err(error),
        // Not a copy of it in this repository: it would be old, and pass for new.
        Err(_) => {
            eprintln!(
                "xtask: ######## NO ADVISORIES WERE CHECKED: RustSec's database cannot be had from here ########"
            );
            Ok(())
        }
    }
}

fn deny(program: &Path) -> Command {
    let mut command = exec::toolchain(program);
    command.arg("--locked");
    command
}
