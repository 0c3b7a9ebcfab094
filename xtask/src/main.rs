//! `cargo xtask`: what a contributor runs besides `cargo` itself.
//!
//! `commands` has one file per command, each with an `Args` (what clap parses) and a `run`. Everything else is library: commands use
//! libraries, libraries use each other downwards, and no command uses another.

#![forbid(unsafe_code)]

mod advisories;
mod apt;
mod arch;
mod build;
mod cache;
mod commands;
mod costs;
mod debian;
mod exec;
mod files;
mod guest;
mod matrix;
mod packages;
mod release;
mod toolchain;
mod tools;
mod tree;

use clap::{Parser, Subcommand};
use commands::{
    bench, build as build_command, demo, deny, docs, fixtures, fuzz, image, krew, setup, test, vm,
};
use std::process::ExitCode;

/// Sets up, builds and tries out crashtrace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Setup(setup::Args),
    Test(test::Args),
    Build(build_command::Args),
    Bench(bench::Args),
    Demo(demo::Args),
    Deny(deny::Args),
    Docs(docs::Args),
    Fixtures(fixtures::Args),
    Fuzz(fuzz::Args),
    Image(image::Args),
    Krew(krew::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup(args) => setup::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Build(args) => build_command::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Deny(args) => deny::run(&args),
        Command::Docs(args) => docs::run(&args),
        Command::Fixtures(args) => fixtures::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Image(args) => image::run(&args),
        Command::Krew(args) => krew::run(&args),
        Command::Vm(args) => vm::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes without a backtrace: the failure is rarely in this program.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
