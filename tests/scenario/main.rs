//! Real OOM kills, and what `crashtrace watch` must say of them: on this machine (`tests/live.rs`, `cargo xtask
//! demo`) and in guests (`cargo xtask vm --scenario`), where it is one static program.
//!
//! A scenario makes a scratch tree of cgroups (`cgroup`), starts processes in it (`actor`; their own side is
//! `victim`), lets the kernel kill, and gives what must be reported (`scenarios`, `expect`). `run` has agents watch
//! (`agent`) and compares.

#![allow(missing_docs, unreachable_pub, reason = "a program: nobody outside uses its items")]

mod actor;
mod agent;
mod agree;
mod cgroup;
mod cleanup;
mod demo;
mod expect;
mod run;
mod scenarios;
mod verifier;
mod verifier_log;
mod victim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// Print the names of the scenarios
    List,
    /// Print what each program of the kernel object costs this kernel's verifier
    Verifier,
    /// Be a process of a scenario
    #[command(hide = true)]
    Victim(victim::Args),
}

fn main() -> ExitCode {
    let command = Args::parse().command;
    let result = match &command {
        Command::Run(args) => cleanup::on_signals().and_then(|()| run::run(args)),
        Command::Demo(args) => cleanup::on_signals().and_then(|()| demo::run(args)).map(|()| true),
        Command::List => {
            for scenario in scenarios::ALL {
                println!("{}", scenario.name);
            }
            Ok(true)
        }
        Command::Verifier => verifier::run().map(|()| true),
        Command::Victim(args) => victim::run(args).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
