//! `cargo xtask test`: the gate. Each part is a line of [`PARTS`]; CONTRIBUTING.md has their time budgets.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{exec, setup};

/// Run the gate: everything that must hold before a change lands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Also what does not fit the gate: the guests of all kernels.
    #[arg(long)]
    all: bool,
}

/// One part of the gate.
struct Part {
    /// What it shows.
    name: &'static str,
    /// The command; `xtask` stands for this program.
    command: &'static [&'static str],
    /// Variables set for it.
    variables: &'static [(&'static str, &'static str)],
    /// Only with `--all`.
    only_all: bool,
}

const fn part(name: &'static str, command: &'static [&'static str]) -> Part {
    Part { name, command, variables: &[], only_all: false }
}

/// The quick ones first, so that a slip shows early.
const PARTS: &[Part] = &[
    part("formatting", &["cargo", "fmt", "--all", "--check"]),
    part(
        "lints",
        &["cargo", "clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"],
    ),
    Part {
        variables: &[("RUSTDOCFLAGS", "--deny warnings")],
        ..part(
            "documentation",
            &["cargo", "doc", "--locked", "--workspace", "--no-deps", "--document-private-items"],
        )
    },
    part("tests, and real kills on this host", &["cargo", "test", "--locked", "--workspace"]),
    part(
        "real kills in a guest, through every tier of hooks",
        &["xtask", "vm", "--kernel", "6.1", "--scenario", "all"],
    ),
    Part {
        only_all: true,
        ..part("the same on 5.10", &["xtask", "vm", "--kernel", "5.10", "--scenario", "all"])
    },
    Part {
        only_all: true,
        ..part("the same on 6.12", &["xtask", "vm", "--kernel", "6.12", "--scenario", "all"])
    },
    Part {
        only_all: true,
        ..part("the same on the newest", &["xtask", "vm", "--kernel", "sid", "--scenario", "all"])
    },
];

/// `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    setup::ensure()?;
    let mut failed = Vec::new();
    for part in PARTS.iter().filter(|part| args.all || !part.only_all) {
        eprintln!("\nxtask: ==== {} ====", part.name);
        let begun = Instant::now();
        let result = exec::run(&mut command(part)?);
        eprintln!("xtask: {}: {} after {} s", part.name, verdict(&result), begun.elapsed().as_secs());
        if let Err(error) = result {
            eprintln!("xtask: {error:#}");
            failed.push(part.name);
        }
    }
    eprintln!("\nxtask: the gate took {} s", begun.elapsed().as_secs());
    if failed.is_empty() { Ok(()) } else { bail!("the gate failed: {}", failed.join("; ")) }
}

fn verdict(result: &Result<()>) -> &'static str {
    if result.is_ok() { "passed" } else { "FAILED" }
}

fn command(part: &Part) -> Result<Command> {
    let (program, arguments) = part.command.split_first().context("a part of the gate without a command")?;
    let mut command = match *program {
        "xtask" => Command::new(std::env::current_exe().context("cannot find this program")?),
        program => exec::toolchain(program),
    };
    command.args(arguments).envs(part.variables.iter().copied()).current_dir(exec::root());
    Ok(command)
}
