//! `cargo xtask demo`: one real OOM kill on this machine, and crashtrace's report of it. It sets up all it needs, and removes its
//! cgroups (`tests/scenario/src/demo.rs`).

use crate::build::{self, Program};
use anyhow::{Result, anyhow};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Show one real OOM kill, and crashtrace's report of it as text and as JSON.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The hooks to use: auto, fentry, kprobe, tracepoint.
    #[arg(long, default_value = "auto")]
    hooks: String,
    /// The cargo profile: release takes longer to build, and reports sooner.
    #[arg(long, default_value = "dev")]
    profile: String,
}

/// `cargo xtask demo`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs = [Program::Crashtrace, Program::Scenario];
    let paths = build::build(&programs, &args.profile, None)?;
    let [crashtrace, scenario] = paths.as_slice() else { return Err(anyhow!("cargo built {paths:?}")) };
    let mut demo = Command::new(scenario);
    demo.arg("demo").arg("--crashtrace").arg(crashtrace).args(["--hooks", &args.hooks]);
    // exec, so that a signal reaches the process that cleans up.
    let error = demo.exec();
    Err(anyhow!(error).context(format!("cannot start {}", scenario.display())))
}
