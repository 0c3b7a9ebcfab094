//! `cargo xtask fixtures`: cuts recorded files down to what the tests need.

use crate::{exec, toolchain};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

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
    toolchain::ensure()?;
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).with_context(|| format!("cannot resolve {}", path.display()))
    };
    let mut cargo = toolchain::command("cargo");
    cargo.args(["run", "--quiet", "--locked", "--package", "crashtrace", "--example", "cut_btf", "--"]);
    // cargo runs in the root of the workspace.
    cargo.arg("--out").arg(absolute(out)?);
    for file in files {
        cargo.arg(absolute(file)?);
    }
    exec::run(&mut cargo)
}
