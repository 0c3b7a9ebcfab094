//! `cargo xtask fixtures`: cuts recorded files down to what the tests need.

use crate::build::{Program, build};
use crate::exec;
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::process::Command;

/// Cut recorded files down to what the tests need.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// BTF of whole kernels, uncompressed (`tests/fixtures/btf/cut.rs`).
    Btf {
        /// Files named after their kernel (`x86_64-6.1.btf`): copies of `/sys/kernel/btf/vmlinux`.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The folder for the cuttings, under the same names.
        #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/btf"))]
        out: PathBuf,
    },
}

/// `cargo xtask fixtures`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let What::Btf { files, out } = &args.what;
    let programs = build(&[Program::Example("cut_btf")], "dev", None)?;
    let program = programs.first().context("cargo built nothing")?;
    exec::run(Command::new(program).arg("--out").arg(out).args(files))
}
