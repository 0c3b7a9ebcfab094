//! `cargo xtask fixtures`: cuts recorded files down to what the tests need.

use crate::btf_cutting;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// Cut recorded files down to what the tests need.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// BTF of whole kernels, uncompressed.
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
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    for file in files {
        let name = file.file_name().with_context(|| format!("{} is not a file", file.display()))?;
        let cutting = btf_cutting::cut(file).with_context(|| format!("cannot cut {}", file.display()))?;
        let to = out.join(name);
        fs::write(&to, &cutting).with_context(|| format!("cannot write {}", to.display()))?;
        println!("{}: {} bytes", to.display(), cutting.len());
    }
    Ok(())
}
