//! Real OOM kills and ends of containers, and the reports that `crashtrace watch` must make of them: on this machine
//! (`tests/live`, `cargo xtask demo`) and in guests (`cargo xtask vm --scenario`), where it is one static program.
//!
//! A scenario (`scenarios`) makes a scratch tree of cgroups (`scratch`, `cgroup`), starts processes in it (`actor`; their own side
//! is `victim`) or containers (`runtime`; their program is `life`), has some of them end, and gives its cast: which process had
//! which role. `scenarios.toml` says what must be reported of each role. `run` has agents watch (`agent`) and compares their reports
//! with it (`judge`), with each other, with the kernel's own counts and its log, and with what parents saw of their children's ends.

#![allow(unreachable_pub, reason = "a program: its items have no users outside")]

mod actor;
mod bench;
mod container_ends;
mod decisions;
mod demo;
mod deployed;
mod kernel_log;
mod life;
mod page_faults;
mod privileges;
mod process_ends;
mod run;
mod runtime;
mod scenarios;
mod scratch;
mod starts;
mod verifier;
mod verifier_log;
mod victim;
mod watcher;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crashtrace_judge::catalogue::Catalogue;
use crashtrace_test_support::cleanup;

/// Brings OOM kills about and checks what crashtrace says of them.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play scenarios; prints one JSON object for each and each kind of hook
    Run(run::Args),
    /// Show one kill and its report
    Demo(demo::Args),
    /// Check the agent as deploy/ has it, in a container; prints one JSON object for each check
    Deployed(deployed::Args),
    /// Check how agents start and stop; prints one JSON object for each check and each kind of hook
    Starts(starts::Args),
    /// Print the names of the scenarios
    List,
    /// Print what each program of the kernel object costs this kernel's verifier
    Verifier,
    /// Print what a page fault costs this kernel
    Faults(page_faults::Args),
    /// End processes as those of containers; prints one JSON object for each
    ContainerEnds,
    /// Print what ends of processes and signals cost this kernel
    Ends(process_ends::Args),
    /// Measure how long the agent's programs run for an OOM kill
    Decisions(decisions::Args),
    /// Measure what a tool that tells of OOM kills costs, and what it loses
    Bench(bench::Args),
    /// Measure what `crashtrace replay` spends on many incidents
    Replay(bench::replay::Args),
    /// Check that an agent's memory stays as it is through storms, for as long as is asked
    Soak(bench::soak::Args),
    /// Be a process of a scenario
    #[command(hide = true)]
    Victim(Box<victim::Args>),
    /// Be a container's program
    #[command(hide = true)]
    Life(life::Args),
    /// Be the parent of containers
    #[command(hide = true)]
    Shim(runtime::shim::Args),
    /// Be a command of a container runtime
    #[command(hide = true, subcommand)]
    Runtime(runtime::stand_in::Do),
}

fn main() -> ExitCode {
    let command = Args::parse().command;
    let result = match &command {
        Command::Run(args) => cleanup::on_signals().and_then(|()| run::run(args)),
        Command::Demo(args) => cleanup::on_signals().and_then(|()| demo::run(args)).map(|()| true),
        Command::Deployed(args) => cleanup::on_signals().and_then(|()| deployed::run(args)),
        Command::Starts(args) => cleanup::on_signals().map(|()| starts::run(args)),
        Command::List => list().map(|()| true),
        Command::Verifier => verifier::run().map(|()| true),
        Command::Faults(args) => page_faults::run(args).map(|()| true),
        Command::ContainerEnds => container_ends::run().map(|()| true),
        Command::Ends(args) => process_ends::run(args).map(|()| true),
        Command::Decisions(args) => decisions::run(args).map(|()| true),
        Command::Bench(args) => bench::run(args).map(|()| true),
        Command::Replay(args) => bench::replay::run(args).map(|()| true),
        Command::Soak(args) => bench::soak::run(args),
        Command::Victim(args) => victim::run(args).map(|()| true),
        Command::Life(args) => life::run(args).map(|()| true),
        Command::Shim(args) => runtime::shim::run(args).map(|()| true),
        Command::Runtime(what) => runtime::stand_in::run(what).map(|()| true),
    };
    scratch::remove_what_is_over();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() -> anyhow::Result<()> {
    let catalogue = Catalogue::read()?;
    scenarios::fit(&catalogue.names())?;
    for name in catalogue.names() {
        println!("{name}");
    }
    Ok(())
}
