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
    /// Also this example of the agent's crate (may be repeated).
    #[arg(long = "example", value_name = "NAME")]
    examples: Vec<String>,
}

/// `cargo xtask build`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut programs = vec![Program::Bin("crashtrace")];
    programs.extend(args.examples.iter().map(|name| Program::Example(name)));
    for path in build(&programs, &args.profile, Some(&args.target))? {
        println!("{}", path.display());
    }
    Ok(())
}
