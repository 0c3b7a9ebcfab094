//! `cargo xtask setup`: installs what the build needs and cargo alone does not bring. Run again it does nothing.

use crate::{guest, toolchain, tools};
use anyhow::Result;

/// Install what the build needs: rust-src, the static target and its C compiler, bpf-linker.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what guests need: the emulator (installed with apt), busybox, and the default kernel.
    #[arg(long)]
    vm: bool,
    /// Also what the tests make pods with: containerd, runc and busybox (installed with apt).
    #[arg(long)]
    runtime: bool,
    /// Also what the tests check the stream, the metrics and the manifests with: rsyslog, Prometheus, kubectl, Helm (in `target`,
    /// not installed).
    #[arg(long)]
    tools: bool,
}

/// `cargo xtask setup`.
pub(crate) fn run(args: &Args) -> Result<()> {
    toolchain::ensure()?;
    if args.vm {
        guest::prepare(guest::DEFAULT_KERNEL)?;
    }
    if args.runtime {
        tools::ensure_runtime()?;
    }
    if args.tools {
        tools::ensure_for_tests()?;
    }
    eprintln!("xtask: set up");
    Ok(())
}
