//! `cargo xtask test`: the gate. Each part is a line of [`PARTS`]; CONTRIBUTING.md has their time budgets.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{advisories, exec, files, toolchain, tools};

/// Run the gate: everything that must hold before a change lands.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Play the whole matrix instead of the gate's part of it: an hour.
    #[arg(long)]
    all: bool,
}

struct Part {
    name: &'static str,
    /// The command; `xtask` stands for this program.
    command: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    when: When,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Replaced with `--all`.
    UnlessAll,
    WithAll,
}

impl When {
    fn is_now(self, all: bool) -> bool {
        self != if all { Self::UnlessAll } else { Self::WithAll }
    }
}

const fn part(name: &'static str, command: &'static [&'static str]) -> Part {
    Part { name, command, variables: &[], when: When::Always }
}

/// The quick ones first, so that a small mistake shows early.
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
    part("licences, sources and advisories of dependencies", &["xtask", "deny"]),
    part("generated parts of the documents", &["xtask", "docs", "--check"]),
    part(
        "tests, and real kills on this host",
        // All, so that one run shows all failures.
        &["cargo", "test", "--locked", "--workspace", "--no-fail-fast"],
    ),
    // Without it the tests read the seeds and what was kept of earlier runs: the instrumented build takes some minutes of a CPU.
    Part {
        when: When::WithAll,
        ..part("a minute of made-up inputs for each reader", &["xtask", "fuzz", "--seconds", "60"])
    },
    // This builds the programs that guests run.
    part("the image, and real kills under it", &["xtask", "image", "--test"]),
    Part {
        when: When::UnlessAll,
        ..part("real kills in guests: the gate's part of the matrix", &["xtask", "vm", "--gate"])
    },
    Part { when: When::WithAll, ..part("real kills in guests: the whole matrix", &["xtask", "vm", "--all"]) },
];

/// `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let begun = Instant::now();
    toolchain::ensure()?;
    tools::ensure_runtime()?;
    tools::ensure_for_tests()?;
    let mut failed = Vec::new();
    for part in PARTS.iter().filter(|part| part.when.is_now(args.all)) {
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
    if advisories::are_unchecked() {
        // Repeated, since the reason is far above.
        eprintln!("xtask: ######## {} ########", advisories::NOT_CHECKED);
    }
    if failed.is_empty() { Ok(()) } else { bail!("the gate failed: {}", failed.join("; ")) }
}

fn verdict(result: &Result<()>) -> &'static str {
    if result.is_ok() { "passed" } else { "FAILED" }
}

fn command(part: &Part) -> Result<Command> {
    let (program, arguments) = part.command.split_first().context("a part of the gate without a command")?;
    let mut command = match *program {
        "xtask" => Command::new(std::env::current_exe().context("cannot find this program")?),
        program => toolchain::command(program),
    };
    command.args(arguments).envs(part.variables.iter().copied()).current_dir(files::root());
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_run_once_with_all_and_without() {
        for (all, argument) in [(false, "--gate"), (true, "--all")] {
            let guests = PARTS
                .iter()
                .filter(|part| part.when.is_now(all) && part.command.starts_with(&["xtask", "vm"]));
            let arguments: Vec<_> = guests.flat_map(|part| &part.command[2..]).collect();
            assert_eq!(arguments, [&argument]);
        }
    }
}
