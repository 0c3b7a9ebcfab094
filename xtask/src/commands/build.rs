//! `cargo xtask build`: the agent, static unless another target is named.

use crate::build::{Program, build};
use crate::toolchain;
use anyhow::Result;

/// Build the agent, and print its path.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The cargo profile.
    #[arg(long, default_value = "release")]
    profile: String,
    /// The target.
    #[arg(long, default_value = toolchain::STATIC_TARGET)]
    target: String,
    /// Also the program that plays the scenarios.
    #[arg(long)]
    scenario: bool,
}

/// `cargo xtask build`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut programs = vec![Program::Crashtrace];
    programs.extend(args.scenario.then_some(Program::Scenario));
    for path in build(&programs, &args.profile, Some(&args.target))? {
        println!("{}", path.display());
    }
    Ok(())
}
